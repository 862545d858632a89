#!/usr/bin/env python3
"""What the .so needs of the C library beyond 2.31 is weak (shim/libc/weak.h): with an older one
it can then be loaded, and steps aside."""

import re

from lintlib import fails, output, passes, run

OLDEST = (2, 31)
LINE = re.compile(r"^\s*([A-Za-z]) (\S+)@(GLIBC_(\d+)\.(\d+)\S*)$")


def too_new(nm_text, so):
    for line in nm_text.splitlines():
        m = LINE.match(line)
        if m and m[1] not in "wv" and (int(m[4]), int(m[5])) > OLDEST:
            yield so, 0, f"{m[2]} needs {m[3]}: make it weak in shim/libc/weak.h"


VERSION = re.compile(r"^\s*0x[0-9a-f]+ 0x([0-9a-f]+) \d+ GLIBC_(\d+)\.(\d+)$")


def not_weak(objdump_text, so):
    """The flags of the versions themselves; the Makefile sets them."""
    for line in objdump_text.splitlines():
        m = VERSION.match(line)
        if m and (int(m[2]), int(m[3])) > OLDEST and not int(m[1], 16) & 2:
            yield so, 0, f"the need of version GLIBC_{m[2]}.{m[3]} is not marked weak"


def check(build):
    so = build / "libgshim.so"
    if not so.exists():
        yield str(so), 0, "not built: run make first"
        return
    yield from too_new(output("nm", "-D", "--undefined-only", str(so)), str(so))
    yield from not_weak(output("objdump", "-p", str(so)), str(so))


def self_test():
    passes(too_new("   w dlsym@GLIBC_2.34\n   U read@GLIBC_2.2.5\n", "x.so"), "weak, old")
    fails(too_new("   U dlsym@GLIBC_2.34\n", "x.so"), 1, "strong and new")
    passes(not_weak("    0x069691b4 0x02 04 GLIBC_2.34\n", "x.so"), "marked")
    fails(not_weak("    0x069691b4 0x00 04 GLIBC_2.34\n", "x.so"), 1, "not marked")


run("imports", check, self_test)
