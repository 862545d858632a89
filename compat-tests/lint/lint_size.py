#!/usr/bin/env python3
"""Files have at most 800 lines (500 is the aim), functions at most 80.

A longer function says why in a comment just before or inside it, as
lint: long function: REASON
"""

import re

from lintlib import PRODUCT, fails, passes, run, sources, warn

FILE_MAX, FILE_AIM, FUNCTION_MAX = 800, 500, 80
WAIVER = re.compile(r"lint: long function: [^\s*]")


def functions(lines):
    """(first, last) line numbers: clang-format puts a function's braces in column 1."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
            while start > 1 and lines[start - 2] and lines[start - 2][-1] not in ";}/":
                start -= 1
        elif line == "}" and start is not None:
            yield start, number
            start = None


def check_text(path, text):
    lines = text.splitlines()
    if len(lines) > FILE_MAX:
        yield path, len(lines), f"{len(lines)} lines, limit {FILE_MAX}"
    for first, last in functions(lines):
        length = last - first + 1
        if length <= FUNCTION_MAX:
            continue
        if not any(WAIVER.search(x) for x in lines[max(0, first - 6):last]):
            yield path, first, f"function of {length} lines, limit {FUNCTION_MAX}"


def check(_build):
    for path, text in sources({".c", ".h", ".S", ".cc"}, PRODUCT + ("compat-tests",)):
        if FILE_AIM < text.count("\n") <= FILE_MAX:
            warn(path, text.count("\n"), f"{text.count(chr(10))} lines, aim {FILE_AIM}")
        yield from check_text(path, text)


def self_test():
    def function(n, comment=""):
        head = f"{comment}int f(int a,\n      int b)\n{{\n"
        return head + "    a++;\n" * (n - 4) + "}\n"
    passes(check_text("a.c", function(80)), "80 lines")
    fails(check_text("a.c", function(81)), 1, "81 lines")
    waiver = "/* lint: long function: a table */\n"
    passes(check_text("a.c", function(81, waiver)), "waived")
    fails(check_text("a.c", function(81, waiver.replace("a table", ""))), 1, "no reason")
    passes(check_text("a.c", "x;\n" * 800), "800 lines")
    fails(check_text("a.c", "x;\n" * 801), 1, "801 lines")


run("size", check, self_test)
