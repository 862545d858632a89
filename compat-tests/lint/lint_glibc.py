#!/usr/bin/env python3
"""glibc-private facts stand only in shim/libc/glibc*; comments may name them."""

from lintlib import fails, grep, passes, run, sources, without_comments

HOMES = ("shim/libc/glibc.c", "shim/libc/glibc.h", "shim/libc/glibc_probe.c",
         "shim/libc/glibc_objects.c", "shim/libc/glibc_tcb.c")
PRIVATE = (r"\b_dl_\w*|\b_thread_db_\w*|\b__resp\b|\b__ctype_init\b|\b__call_tls_dtors\b|"
           r"\bGLIBC_PRIVATE\b|\b_rtld_global\w*|\b__nptl_\w*|\b__libc_(?:early_init|"
           r"thread_freeres|single_threaded_internal|enable_secure)\b")


def check_text(path, text):
    if path not in HOMES:
        yield from grep(path, without_comments(text), PRIVATE, "glibc-private: {0}")


def check(_build):
    for path, text in sources({".c", ".h", ".S", ".def"}):
        yield from check_text(path, text)


def self_test():
    for bad in ('p = dlvsym(h, "_dl_allocate_tls", v);\n', 'v = "GLIBC_PRIVATE";\n',
                "extern int _thread_db_pthread_tid[];\n", "__ctype_init();\n",
                "__call_tls_dtors();\n", "x = &__resp;\n", "_rtld_global_ro.x = 1;\n",
                "__nptl_initial_report_events = 1;\n"):
        fails(check_text("shim/rt/a.c", bad), 1, bad)
        passes(check_text(HOMES[0], bad), bad)
    for good in ("dl_iterate_phdr(f, 0);\n", "/* as _dl_allocate_tls does */\n",
                 "__respond(1);\n", "my_dl_thing();\n"):
        passes(check_text("shim/rt/a.c", good), good)


run("glibc", check, self_test)
