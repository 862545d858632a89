#!/usr/bin/env python3
"""CPU differences live only below arch/: no CPU #ifdef, no instructions elsewhere.

An empty asm (a compiler barrier) and assembler directives (.symver) are no instructions.
"""

import re

from lintlib import fails, grep, passes, run, sources, without_comments

CPU = (r"__(?:x86_64|amd64|i386|aarch64|arm|riscv|powerpc|powerpc64|PPC64|s390x?|mips|"
       r"loongarch\w*|sparc|ILP32)__|__riscv\w*|_M_(?:X64|IX86|ARM64)|__(?:SSE|AVX)\w*__")
IFDEF = rf"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*\b(?:{CPU})"
ASM = re.compile(r'\b(?:asm|__asm__|__asm)\s*(?:volatile|__volatile__)?'
                 r'\s*\(\s*"\s*([^"\s.])')


def check_text(path, text):
    code = without_comments(text)
    yield from grep(path, code, IFDEF, "CPU #if outside arch/: {0}")
    yield from grep(path, code, r"<(?:immintrin|x86intrin|cpuid|arm_neon)\.h>",
                    "CPU header outside arch/: {0}")
    for m in ASM.finditer(code):
        # A declaration's asm("name") renames a symbol; instructions stand in statements.
        before = code[:m.start()].rstrip()
        if before and before[-1] == ")":
            continue
        name = re.search(r"\b(\w+)$", before)
        if name and name[1] not in ("else", "do"):
            continue
        yield path, code.count("\n", 0, m.start()) + 1, "instructions outside arch/"


def check(_build):
    for path, text in sources({".c", ".h", ".def"}, ("shim", "preempt")):
        yield from check_text(path, text)


def self_test():
    for bad in ("#ifdef __x86_64__\n", "#if defined(__aarch64__) || 1\n",
                "# elif __riscv_xlen == 64\n", "#include <immintrin.h>\n",
                'void f(void)\n{\n    __asm__ volatile("pause");\n}\n'):
        fails(check_text("shim/rt/a.c", bad), 1, bad)
    for good in ("#ifdef __linux__\n", "/* #ifdef __x86_64__ */\n",
                 'void f(void)\n{\n    __asm__ volatile("" ::: "memory");\n}\n',
                 'int f(void) __asm__("g");\n', 'T f __asm__("g");\n', '__asm__(".symver a, b@C");\n'):
        passes(check_text("shim/rt/a.c", good), good)


run("cpu", check, self_test)
