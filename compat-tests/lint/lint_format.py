#!/usr/bin/env python3
"""clang-format would change nothing (make fmt does it)."""

import re
import subprocess

from lintlib import PRODUCT, ROOT, fails, passes, run, sources

PLACE = re.compile(r"^(.+?):(\d+):\d+: (?:error|warning): ")


def violations(stderr):
    seen = set()
    for line in stderr.splitlines():
        m = PLACE.match(line)
        if m and m.groups() not in seen:
            seen.add(m.groups())
            yield m[1], int(m[2]), "not as clang-format writes it: make fmt"


def clang_format(*args, **kwargs):
    return subprocess.run(["clang-format", "--dry-run", *args], cwd=ROOT, text=True,
                          stderr=subprocess.PIPE, **kwargs).stderr


def check(_build):
    paths = [p for p, _ in sources({".c", ".h", ".cc"}, PRODUCT + ("compat-tests",))]
    return violations(clang_format(*paths) if paths else "")


def self_test():
    def text(code):
        return list(violations(clang_format("--assume-filename=a.c", input=code)))
    passes(text("int f(void)\n{\n    return 0;\n}\n"), "formatted")
    fails(text("int f(void) {\n    return 0;\n}\n"), 1, "brace of a function")
    fails(text("int f(void)\n{\n  return 0;\n}\n"), 1, "two spaces")


run("format", check, self_test)
