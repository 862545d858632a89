#!/usr/bin/env python3
"""The .so exports exactly the rows of shim/posix/*.def that are not pass-throughs."""

from lintlib import Row, fails, output, parse_table, passes, run, tables


def exported(nm_text):
    """Names in the output of nm -D --defined-only."""
    lines = filter(str.strip, nm_text.splitlines())
    return {line.split()[-1].split("@")[0] for line in lines}


def compare(rows, names, so):
    seen = {}
    for row in rows:
        if row.name in seen:
            yield row.path, row.line, f"{row.name}: second row, first at {seen[row.name]}"
        seen.setdefault(row.name, row.line)
        if row.implemented and row.name not in names:
            yield row.path, row.line, f"{row.name} is a row but {so} does not export it"
    passed = {row.name for row in rows if not row.implemented}
    for name in sorted(names - {row.name for row in rows if row.implemented}):
        kind = "is listed as left to libc" if name in passed else "has no row"
        yield so, 0, f"{so} exports {name}, which {kind}"


def check(build):
    so = build / "libgshim.so"
    if not so.exists():
        return [(str(so), 0, "not built: run make first")]
    names = exported(output("nm", "-D", "--defined-only", str(so)))
    return compare(list(tables()), names, str(so))


def self_test():
    rows = list(parse_table("t.def", 'GSHIM_IMPL(a)\nGSHIM_PASS(b, "why")\n'))
    assert [type(r) for r in rows] == [Row, Row]
    passes(compare(rows, exported("0 T a\n"), "x.so"), "equal")
    fails(compare(rows, exported(""), "x.so"), 1, "missing")
    fails(compare(rows, exported("0 T a\n0 T c@@V\n"), "x.so"), 1, "not in the table")
    fails(compare(rows, exported("0 T a\n0 W b\n"), "x.so"), 1, "a pass-through")
    fails(compare(rows + rows[:1], exported("0 T a\n"), "x.so"), 1, "a row twice")


run("exports", check, self_test)
