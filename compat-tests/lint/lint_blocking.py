#!/usr/bin/env python3
"""No blocking call of the installed libc is forgotten.

Every function that POSIX names as blocking or as a cancellation point, or that Linux adds to
those, with its __ and *64 aliases and its fortified variant, is a row of shim/posix/*.def if
libc.so.6 exports it under a public version.  And each row of syscalls.def says whether it is
a cancellation point and what a handler does to it.
"""

import re

from lint_complete import libc_path
from lintlib import ROOT, fails, output, passes, run, tables

CALLS = """
read write readv writev pread pwrite preadv pwritev preadv2 pwritev2 preadv64v2 pwritev64v2
recv recvfrom recvmsg recvmmsg send sendto sendmsg sendmmsg accept accept4 connect
poll ppoll select pselect epoll_wait epoll_pwait epoll_pwait2
nanosleep clock_nanosleep usleep sleep pause sigpause sigsuspend sigwait sigwaitinfo
sigtimedwait wait waitpid waitid wait3 wait4 fcntl ioctl lockf flock fsync fdatasync msync
open openat creat close dup2 dup3 close_range closefrom open_by_handle_at
splice tee vmsplice sendfile copy_file_range sync sync_file_range syncfs fallocate
posix_fallocate ftruncate readahead getrandom
msgrcv msgsnd semop semtimedop mq_send mq_timedsend mq_receive mq_timedreceive
aio_suspend lio_listio gai_suspend getaddrinfo getaddrinfo_a getnameinfo
gethostbyname gethostbyname2 gethostbyaddr gethostbyname_r gethostbyname2_r
gethostbyaddr_r res_query res_search res_send res_nquery res_nsearch res_nsend
tcdrain syscall
""".split()
ROW = re.compile(r"^GSHIM_(WAIT|SLEEP|HANDOFF|FILE|LIBC|DIRECT)\((\w+)(.*)$")
RULES = re.compile(r"^, (CANCEL|NO), (RESTART|EINTR|NONE)\b")


def wanted(name):
    """The names under which libc may export NAME."""
    for base in (name, f"{name}64"):
        yield base
        yield f"__{base}"
        yield f"__{base}_chk"
        yield f"__{base}_2"


def exported(nm_text):
    names = set()
    for line in filter(str.strip, nm_text.splitlines()):
        name, _, version = line.split()[-1].partition("@")
        if "GLIBC_PRIVATE" not in version:
            names.add(name)
    return names


def compare(known, names, calls):
    for call in calls:
        for name in wanted(call):
            if name in names and name not in known:
                yield "shim/posix/syscalls.def", 0, f"libc exports {name}, which has no row"


def check_rules(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        if (m := ROW.match(line)) and not RULES.match(m[3]):
            yield path, number, f"{m[2]} says not whether it is a cancellation point"


def check(_build):
    names = exported(output("nm", "-D", "--defined-only", libc_path()))
    path = "shim/posix/syscalls.def"
    yield from compare({row.name for row in tables()}, names, CALLS)
    yield from check_rules(path, (ROOT / path).read_text())


def self_test():
    nm = "0 T read@@GLIBC_2.2.5\n0 W __read@@GLIBC_2.2.5\n0 T __recv@@GLIBC_PRIVATE\n"
    passes(compare({"read", "__read"}, exported(nm), ["read", "recv"]), "complete")
    fails(compare({"read"}, exported(nm), ["read"]), 1, "an alias")
    fails(compare(set(), exported("0 T __poll_chk@@V\n"), ["poll"]), 1, "a fortified one")
    passes(check_rules("t.def", "GSHIM_WAIT(read, CANCEL, RESTART)\n"), "a good row")
    fails(check_rules("t.def", "GSHIM_WAIT(read)\n"), 1, "a row without rules")
    fails(check_rules("t.def", "GSHIM_WAIT(read, CANCEL, NEVER)\n"), 1, "an unknown rule")


if __name__ == "__main__":
    run("blocking", check, self_test)
