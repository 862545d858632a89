#!/usr/bin/env python3
"""No thread symbol of the installed libc is forgotten.

Every pthread_* __pthread_* sem_* thrd_* mtx_* cnd_* tss_* call_once sched_yield that
libc.so.6 exports under a public version is a row of shim/posix/*.def: implemented, or
left to libc with a reason.
"""

import ctypes.util
import os
import re

from lintlib import fails, output, parse_table, passes, run, tables

WANTED = re.compile(r"^(?:(?:__)?pthread_\w+|sem_\w+|thrd_\w+|mtx_\w+|cnd_\w+|tss_\w+|"
                    r"call_once|(?:__)?sched_yield)$")


def thread_symbols(nm_text):
    """Names in the output of nm -D; those with a private version only are left out."""
    names = set()
    for line in nm_text.splitlines():
        name, _, version = line.split()[-1].partition("@")
        if WANTED.match(name) and "GLIBC_PRIVATE" not in version:
            names.add(name)
    return names


def compare(rows, names, libc):
    known = {row.name for row in rows}
    for name in sorted(names - known):
        yield "shim/posix/symbols.def", 0, f"{libc} exports {name}, which has no row"
    for row in rows:
        if not row.implemented and not row.reason:
            yield row.path, row.line, f"{row.name} is left to libc without a reason"


def libc_path():
    path = output(os.environ.get("CC", "cc"), "-print-file-name=libc.so.6").strip()
    return path if os.path.exists(path) else ctypes.util.find_library("c")


def check(_build):
    libc = libc_path()
    names = thread_symbols(output("nm", "-D", "--defined-only", libc))
    if "pthread_create" not in names:
        return [(libc, 0, "exports no pthread_create: is this glibc 2.34 or later?")]
    return compare(list(tables()), names, libc)


def self_test():
    table = 'GSHIM_IMPL(pthread_join)\nGSHIM_PASS(sem_open, "r")\n'
    rows = list(parse_table("t.def", table))
    nm = "0 T pthread_join@@GLIBC_2.34\n0 T sem_open@GLIBC_2.2.5\n0 T puts@@GLIBC_2.2.5\n"
    passes(compare(rows, thread_symbols(nm), "libc"), "complete")
    private = thread_symbols(nm + "0 B __pthread_keys@@GLIBC_PRIVATE\n")
    passes(compare(rows, private, "libc"), "a private symbol")
    for name in ("pthread_new_np@@GLIBC_2.99", "__pthread_old@GLIBC_2.2.5",
                 "sem_x@@GLIBC_2.34", "thrd_x@@GLIBC_2.34", "mtx_x@@V", "cnd_x@@V",
                 "tss_x@@V", "call_once@@V", "sched_yield@@V"):
        fails(compare(rows, thread_symbols(f"{nm}0 T {name}\n"), "libc"), 1, name)
    for bad in ('GSHIM_PASS(sem_open)\n', 'GSHIM_PASS(sem_open, "")\n',
                'GSHIM_PASS(sem_open, " ")\n'):
        fails(compare(list(parse_table("t.def", bad)), set(), "libc"), 1, bad)


if __name__ == "__main__":
    run("complete", check, self_test)
