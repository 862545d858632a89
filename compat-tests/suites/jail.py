"""Runs one test program where it can do no harm, and says how it ended.

To run: a supervisor is forked for each run.  It gives the test a session, an empty working
directory and, for root, mount and IPC namespaces of its own: what one test leaves behind
(semaphores, queues, shared memory) is not there for the next.  Nobody, root included, may
set the machine's clock.
To end: a test that overruns its time is killed with all its descendants.  The supervisor is
their subreaper, so those that outlive their parent come to it, whatever session they made.

Rejected: a PID namespace would clean up by itself, but tests that look at process ids, and
the library's own ids, would then see a machine that no user has.
"""

import ctypes
import os
import resource
import select
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, field

LIBC = ctypes.CDLL(None, use_errno=True)
PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, CAP_SYS_TIME = 24, 36, 25
CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
MS_REC_PRIVATE = 0x4000 | 0x40000
KEPT_OUTPUT = 8192          # bytes at the end of what a test printed

# What the exit codes of the POSIX test suites mean; 77 is glibc's and automake's.
EXIT_CODES = {0: "pass", 1: "fail", 2: "unresolved", 4: "unsupported", 5: "untested",
              77: "unsupported"}


@dataclass
class Run:
    """One run of one program."""
    path: str
    timeout: float
    env: dict = field(default_factory=dict)
    args: list = field(default_factory=list)


@dataclass
class Result:
    status: str = "norun"
    seconds: float = 0.0
    output: str = ""


def _namespaces():
    """Mounts and IPC objects of our own; silently less where the kernel refuses."""
    if os.geteuid() != 0 or LIBC.unshare(CLONE_NEWNS | CLONE_NEWIPC) != 0:
        return
    LIBC.mount(None, b"/", None, MS_REC_PRIVATE, None)
    LIBC.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"mode=1777")
    LIBC.mount(b"mqueue", b"/dev/mqueue", b"mqueue", 0, None)
    for name, value in (("msg_max", "1000"), ("queues_max", "1024")):
        try:
            with open(f"/proc/sys/fs/mqueue/{name}", "w") as f:
                f.write(value)
        except OSError:
            pass


def _become(run, output, folder):
    """In the child: turn into the test."""
    os.setsid()
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LIBC.prctl(PR_CAPBSET_DROP, CAP_SYS_TIME, 0, 0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 4096)
    os.chdir(folder)
    os.execve(run.path, [run.path, *run.args], run.env)


def _children():
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children") as f:
            return [int(pid) for pid in f.read().split()]
    except OSError:
        return []


def _end_all():
    """Kill and reap whatever descends from us."""
    for _ in range(1000):
        for pid in _children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _status(wait_status):
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"SIG{number}"
    code = os.WEXITSTATUS(wait_status)
    return EXIT_CODES.get(code, f"exit{code}")


def supervise(run, scratch):
    """Run it to its end.  In a process of its own: namespaces and children are its."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder = tempfile.mkdtemp(dir=scratch)
    os.chmod(folder, 0o777)             # tests may drop their privileges
    _namespaces()
    with tempfile.TemporaryFile(dir=scratch) as output:
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                _become(run, output.fileno(), folder)
            finally:
                os._exit(126)
        fd = os.pidfd_open(pid)
        ended = select.select([fd], [], [], run.timeout)[0]
        result = Result("timeout", time.monotonic() - start)
        if ended:
            result.status = _status(os.waitpid(pid, 0)[1])
        _end_all()
        output.seek(max(0, output.seek(0, os.SEEK_END) - KEPT_OUTPUT))
        result.output = output.read().decode("utf8", "replace")
    shutil.rmtree(folder, ignore_errors=True)
    return result
