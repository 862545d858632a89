#!/usr/bin/env python3
"""No thread-local access in runtime objects, other than the one accessor.

A runtime function may be switched out on one kernel thread and go on upon another, with
another thread pointer; an address derived from it before the switch is then wrong.  So,
in the disassembly of shim/rt, shim/sync, shim/os, preempt and arch:

  - a TLS relocation is only against gshim_self_tls (the accessor in arch_impl.h);
  - a fixed %fs:OFFSET is only one of ALLOWED_FS, each an opaque accessor of arch_impl.h;
  - nothing of libc is called that reads or sets a thread-local, or that the program may
    replace (FORBIDDEN).

In all objects: gshim_self_tls is the only thread-local variable that is defined.
x86-64 only; objects of another machine are reported as unchecked.
"""

import os
import pathlib
import re
import subprocess
import tempfile

from lintlib import ROOT, fails, output, passes, run, warn

CC = os.environ.get("CC", "cc")
RUNTIME = ("shim/rt/", "shim/sync/", "shim/os/", "preempt/", "arch/")
SLOT = "gshim_self_tls"
ALLOWED_FS = {0x10: "arch_tp: the TCB's pointer to itself",
              0x70: "__morestack: the guard word, in the program's half"}
# (function, forbidden name) that is right, with the reason.
# sync/pshared.c: right after the call, with the identity of the M to which the G is bound
ALLOWED_CALL = {("real_sem_wait", "__errno_location")}
FORBIDDEN = {
    "__errno_location": "errno", "__h_errno_location": "h_errno",
    "__tls_get_addr": "thread-local", "__ctype_b_loc": "thread-local",
    "__ctype_tolower_loc": "thread-local", "__ctype_toupper_loc": "thread-local",
    "__res_state": "thread-local",
}
FORBIDDEN.update({f: "allocates, and the program may replace it" for f in (
    "malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc",
    "memalign")})
FORBIDDEN.update({f: "stdio: locks and allocates" for f in (
    "printf", "fprintf", "vfprintf", "puts", "putchar", "fputs", "fputc", "fwrite",
    "snprintf", "vsnprintf", "sprintf", "dprintf", "perror")})

FUNC = re.compile(r"^[0-9a-f]+ <(.+)>:$")
RELOC = re.compile(r"^\s+[0-9a-f]+: (R_X86_64_\S+)\s+(\S+?)(?:[-+]0x[0-9a-f]+)?$")
TLS_RELOC = re.compile(r"TPOFF|TLS|DTP")
FIXED_FS = re.compile(r"%fs:(-?(?:0x)?[0-9a-f]+)(?![0-9a-fx(])")
PLACE = re.compile(r"^(\S+\.[chS]):(\d+)")


def check_disassembly(text, where):
    """TEXT: objdump -d -r -l of one object."""
    function, place = "?", (where, 0)
    for line in text.splitlines():
        if m := FUNC.match(line):
            function = m[1]
        elif m := PLACE.match(line):
            place = (os.path.relpath(m[1]), int(m[2]))
        elif m := RELOC.match(line):
            kind, symbol = m[1], m[2].split("@")[0]
            if TLS_RELOC.search(kind) and symbol != SLOT:
                yield *place, f"{function}: thread-local access to {symbol} ({kind})"
            elif symbol in FORBIDDEN and (function, symbol) not in ALLOWED_CALL:
                yield *place, f"{function}: {symbol} ({FORBIDDEN[symbol]})"
        elif m := FIXED_FS.search(line):
            if int(m[1], 16) not in ALLOWED_FS:
                yield *place, f"{function}: fixed thread-pointer access %fs:{m[1]}"


def drop_relocated(text):
    """Blank a %fs: that the next line's relocation completes: that one is judged."""
    lines = text.splitlines()
    for i, line in enumerate(lines[:-1]):
        m = RELOC.match(lines[i + 1])
        if m and "TPOFF32" in m[1]:
            lines[i] = line.replace("%fs:", "%fs_relocated:")
    return "\n".join(lines)


def check_object(path):
    text = output("objdump", "-d", "-r", "-l", "--no-show-raw-insn", str(path))
    return check_disassembly(drop_relocated(text), str(path))


def check_definitions(path):
    for line in output("readelf", "-sW", str(path)).splitlines():
        f = line.split()
        if len(f) >= 8 and f[3] == "TLS" and f[6] != "UND" and f[7] != SLOT:
            yield str(path), 0, f"defines the thread-local variable {f[7]}"


def has_source(build, path):
    """False for the left-over object of a source that is gone."""
    stem = ROOT / str(path.relative_to(build / "obj"))[:-len(".o")]
    return stem.exists() or stem.with_name(stem.name + ".c").exists()


def check(build):
    objects = [o for o in sorted((build / "obj").rglob("*.o")) if has_source(build, o)]
    if not objects:
        yield str(build), 0, "no objects to check: run make first"
        return
    if "X86-64" not in output("readelf", "-h", str(objects[0])):
        warn(str(build), 0, "thread-local access is not checked on this machine")
        return
    for path in objects:
        yield from check_definitions(path)
        if path.relative_to(build / "obj").as_posix().startswith(RUNTIME):
            yield from check_object(path)


def compiled(code):
    with tempfile.TemporaryDirectory() as d:
        o = pathlib.Path(d) / "fixture.o"
        subprocess.run([CC, "-x", "c", "-O1", "-g", "-fPIC", "-ftls-model=initial-exec",
                        "-c", "-", "-o", str(o)], input=code, text=True, check=True)
        return list(check_object(o)) + list(check_definitions(o))


GOOD = """
extern __thread void *gshim_self_tls;
void *f(void)
{
    void *gp;
    __asm__ volatile("movq gshim_self_tls@gottpoff(%%rip), %0\\n\\t"
                     "movq %%fs:(%0), %0" : "=r"(gp) : : "memory");
    return gp;
}
unsigned long g(void)
{
    unsigned long tp;
    __asm__ volatile("movq %%fs:0x10, %0" : "=r"(tp) : : "memory");
    return tp;
}
"""


def self_test():
    if not output(CC, "-dumpmachine").startswith("x86_64"):
        return
    passes(compiled(GOOD), "the accessor")
    based = "   0:\tmov    %fs:0x0(%rbp),%rbp\n"
    passes(check_disassembly(based, "a.o"), "base register")
    fails(compiled("extern __thread int x; int f(void) { return x; }"), 1, "extern TLS")
    fails(compiled("#include <errno.h>\nint f(void) { return errno; }"), 1, "errno")
    allocates = "#include <stdlib.h>\nvoid *f(void) { return malloc(9); }"
    fails(compiled(allocates), 1, "malloc")
    fails(compiled('unsigned long f(void) { unsigned long v;\n'
                   '__asm__ volatile("movq %%fs:0x28, %0" : "=r"(v)); return v; }'), 1,
          "a fixed offset")
    assert compiled("static __thread int x; int *f(void) { return &x; }"), "static TLS"


run("tls", check, self_test)
