#!/usr/bin/env python3
"""The generated tables in LD_PRELOAD.md are up to date (make docs writes them)."""

from gen_table import BEGIN, END, generate, replace
from lintlib import ROOT, fails, parse_table, passes, run, tables

DOC = "LD_PRELOAD.md"


def compare(doc, text, rows):
    try:
        fresh = replace(text, generate(rows))
    except ValueError as e:
        yield doc, 0, str(e)
        return
    for number, (a, b) in enumerate(zip(text.splitlines(), fresh.splitlines()), 1):
        if a != b:
            yield doc, number, "the generated table is stale: make docs"
            return
    if text != fresh:
        yield doc, len(text.splitlines()), "the generated table is stale: make docs"


def check(_build):
    return compare(DOC, (ROOT / DOC).read_text(), list(tables()))


def self_test():
    rows = list(parse_table("t.def", "/* --- a ---- */\nGSHIM_IMPL(x)\n"))
    fresh = replace(f"a\n{BEGIN}\n{END}\nb\n", generate(rows))
    passes(compare("d", fresh, rows), "fresh")
    more = rows + list(parse_table("t.def", 'GSHIM_PASS(y, "why")\n'))
    fails(compare("d", fresh, more), 1, "a new row")
    fails(compare("d", fresh.replace("`x`", "`z`"), rows), 1, "edited by hand")
    fails(compare("d", "no markers\n", rows), 1, "no markers")


run("docs", check, self_test)
