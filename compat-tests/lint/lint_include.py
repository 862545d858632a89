#!/usr/bin/env python3
"""Includes only go down: each layer may include itself and the layers listed for it.

shim/posix -> shim/sync -> shim/rt -> {shim/os, shim/libc, arch};
preempt -> shim/rt, shim/os, arch; shim/posix -> preempt.  A layer may also skip a step
(shim/posix -> shim/rt): the direction is what matters.  arch includes nothing of ours.
"""

import posixpath
import re

from lintlib import fails, passes, run, sources, without_comments

BASE = {"shim/os", "shim/libc", "arch"}
MAY_INCLUDE = {
    "arch": set(),
    "shim/os": {"arch"},
    "shim/libc": {"arch", "shim/os"},
    "shim/rt": BASE,
    "shim/sync": BASE | {"shim/rt"},
    "preempt": BASE | {"shim/rt"},
    "shim/posix": BASE | {"shim/rt", "shim/sync", "preempt"},
}
PUBLIC = "shim/gshim.h"  # part of no layer; any layer may see it
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def layer(path):
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "shim" and len(parts) > 2 else parts[0]


def resolve(includer, name):
    """The repository path of an #include: from the root, else beside the includer."""
    if name.split("/")[0] in ("shim", "preempt", "arch", "compat-tests"):
        return posixpath.normpath(name)
    if name == "arch_impl.h":  # found by -Iarch/<cpu>
        return "arch/arch_impl.h"
    return posixpath.normpath(posixpath.join(posixpath.dirname(includer), name))


def check_text(path, text):
    mine = layer(path)
    allowed = MAY_INCLUDE.get(mine)
    for number, line in enumerate(without_comments(text).splitlines(), 1):
        m = INCLUDE.match(line)
        if not m:
            continue
        target = resolve(path, m[1])
        if target == PUBLIC or layer(target) == mine:
            continue
        if allowed is None and target != path:
            yield path, number, f"{mine} is not a layer and includes {m[1]}"
        elif layer(target) not in allowed:
            yield path, number, f"{mine} must not include {m[1]} ({layer(target)})"


def check(_build):
    for path, text in sources({".c", ".h", ".S", ".def"}):
        yield from check_text(path, text)


def self_test():
    bad = [("shim/rt/a.c", "shim/sync/park.h"), ("shim/rt/a.c", "preempt/preempt.h"),
           ("shim/rt/a.c", "shim/posix/real.h"), ("shim/sync/a.c", "shim/posix/a.h"),
           ("arch/x86_64/a.c", "shim/rt/rt.h"), ("shim/os/a.c", "shim/rt/rt.h"),
           ("preempt/a.c", "shim/sync/park.h"), ("shim/sync/a.c", "preempt/preempt.h"),
           ("shim/rt/a.c", "../sync/park.h"), ("shim/libc/a.c", "shim/rt/rt.h")]
    for path, name in bad:
        fails(check_text(path, f'#include "{name}"\n'), 1, f"{path} includes {name}")
    good = [("shim/rt/a.c", "shim/os/os.h"), ("shim/posix/a.c", "preempt/preempt.h"),
            ("shim/posix/a.c", "shim/rt/rt.h"), ("arch/x86_64/a.c", "arch_impl.h"),
            ("shim/rt/a.c", "rt.h"), ("arch/arch.h", "arch/atomic.h"),
            ("shim/posix/a.c", "shim/gshim.h")]
    for path, name in good:
        passes(check_text(path, f'#include "{name}"\n'), f"{path} includes {name}")
    passes(check_text("shim/rt/a.c", '/* #include "shim/sync/park.h" */\n'), "a comment")


run("include", check, self_test)
