"""Runs many tests at a time: one forked supervisor (jail.py) for each.

Processes, not threads: a supervisor enters namespaces and reaps strangers.  What it found
comes back through a pipe that closes when it dies, so nothing is waited for in vain.
"""

import json
import os
import select
import shutil
import signal
import sys
import tempfile

import jail


def _start(run, scratch):
    """(reading end, pid of the supervisor)."""
    r, w = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid != 0:
        os.close(w)
        return r, pid
    try:
        os.close(r)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        result = jail.supervise(run, scratch)
        with os.fdopen(w, "w") as f:
            json.dump([result.status, result.seconds, result.output], f)
    finally:
        os._exit(0)


def _collect(fd, parts):
    """More of a report: None while it goes on, the Result at its end."""
    data = os.read(fd, 65536)
    if data:
        parts.append(data)
        return None
    os.close(fd)
    try:
        return jail.Result(*json.loads(b"".join(parts)))
    except ValueError:
        return jail.Result(output="the supervisor died")


def run_all(runs, jobs):
    """Yields (index, Result) for every Run of the list, as they end, JOBS at a time."""
    scratch = tempfile.mkdtemp(prefix="gshim-suites.")
    os.chmod(scratch, 0o711)
    todo = list(enumerate(runs))[::-1]
    active = {}
    try:
        while todo or active:
            while todo and len(active) < jobs:
                index, run = todo.pop()
                fd, pid = _start(run, scratch)
                active[fd] = (index, pid, [])
            for fd in select.select(list(active), [], [])[0]:
                index, pid, parts = active[fd]
                result = _collect(fd, parts)
                if result is not None:
                    del active[fd]
                    os.waitpid(pid, 0)
                    yield index, result
    finally:
        # Left early: the tests' supervisors end them when they notice, at the timeout.
        shutil.rmtree(scratch, ignore_errors=True)
