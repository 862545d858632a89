#!/usr/bin/env python3
"""Writes the tables of interposed symbols between two markers of LD_PRELOAD.md.

gen_table.py            prints the tables
gen_table.py --write F  replaces them in F
"""

import pathlib
import sys

from lintlib import tables

BEGIN = "<!-- generated from shim/posix/*.def by make docs: do not edit -->"
END = "<!-- end of the generated part -->"


def names(rows):
    return ", ".join(f"`{r.name}`" for r in rows)


def by_family(rows):
    families = {}
    for row in rows:
        families.setdefault(row.family, []).append(row)
    return families


def cell(text):
    """TEXT as Markdown shows it literally inside a table."""
    return text.replace("<", "&lt;").replace("|", "\\|")


KINDS = {
    "GSHIM_WAIT": "tries, then the coroutine waits",
    "GSHIM_SLEEP": "the coroutine waits",
    "GSHIM_HANDOFF": "a kernel thread blocks",
    "GSHIM_FILE": "a kernel thread blocks, at most GSHIM_MAXFILECALLS of them",
    "GSHIM_LIBC": "libc's function, in which a kernel thread blocks",
    "GSHIM_DIRECT": "depends on its arguments",
}
HANDLERS = {"RESTART": "EINTR without SA_RESTART", "EINTR": "EINTR", "NONE": "goes on"}


def calls_table(rows):
    """How each call that may block is made (syscalls.def)."""
    groups = {}
    for row in rows:
        if row.eintr:
            key = (KINDS[row.kind], "yes" if row.cancel else "no", HANDLERS[row.eintr])
            groups.setdefault(key, []).append(row)
    if not groups:
        return []
    out = ["", "Calls that may block, how a coroutine makes them, and what ends them:", "",
           "| Calls | How | Cancellation point | After a signal handler |",
           "|---|---|---|---|"]
    return out + [f"| {names(members)} | {' | '.join(key)} |"
                  for key, members in groups.items()]


def generate(rows):
    mine = [r for r in rows if r.implemented]
    left = [r for r in rows if not r.implemented]
    out = [f"By gshim ({len(mine)}):", "", "| Family | Symbols |", "|---|---|"]
    for family, members in by_family(mine).items():
        out.append(f"| {cell(family)} | {names(members)} |")
    out += calls_table(mine)
    out += ["", f"Left to libc ({len(left)}):", "", "| Symbols | Why that is right |",
            "|---|---|"]
    reasons = {}
    for row in left:
        reasons.setdefault((row.family, row.reason), []).append(row)
    for (_, reason), members in reasons.items():
        out.append(f"| {names(members)} | {cell(reason)} |")
    return "\n".join(out) + "\n"


def replace(text, table):
    head, begin, rest = text.partition(BEGIN + "\n")
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"lacks the markers {BEGIN} and {END}")
    return f"{head}{begin}\n{table}\n{end}{tail}"


def main():
    table = generate(list(tables()))
    if sys.argv[1:2] == ["--write"]:
        path = pathlib.Path(sys.argv[2])
        path.write_text(replace(path.read_text(), table))
    else:
        sys.stdout.write(table)


if __name__ == "__main__":
    main()
