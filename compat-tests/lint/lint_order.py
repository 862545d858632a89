#!/usr/bin/env python3
"""A memory-order tag [Xn] in a comment occurs at least twice: an order has two sides."""

import re

from lintlib import fails, only_comments, passes, run, sources

TAG = re.compile(r"\[([A-Z]{1,3}[0-9]{1,3})\]")


def check_texts(files):
    places = {}
    for path, text in files:
        for number, line in enumerate(only_comments(text).splitlines(), 1):
            for m in TAG.finditer(line):
                places.setdefault(m[1], []).append((path, number))
    for tag, where in sorted(places.items()):
        if len(where) == 1:
            yield *where[0], f"[{tag}] occurs only here: where is the other side?"


def check(_build):
    return check_texts(sources({".c", ".h", ".S"}))


def self_test():
    one = ("shim/rt/a.c", "/* MO: release -> [P3] acquire in b */\n")
    two = ("shim/rt/b.c", "x = 1; // [P3] acquire\n")
    fails(check_texts([one]), 1, "one side")
    fails(check_texts([one, ("b.c", "x = a[P3];\n")]), 1, "an index is no tag")
    passes(check_texts([one, two]), "both sides")
    other = "/* [G] [g0] [any] [nopreempt] a[0] */\n"
    passes(check_texts([("a.h", other)]), "other brackets")


run("order", check, self_test)
