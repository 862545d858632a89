#!/usr/bin/env python3
"""run.py - test programs natively and under the preload: is any of them worse off?

  run.py FOLDER --lib LIBRARY [--procs 1,2,8] [--debug SETTINGS] [options]

FOLDER holds built test programs: the Open POSIX Test Suite (posix.py builds it), LTP's fork
of it, glibc's nptl tests, ...  Every executable in it runs natively once, then preloaded at
each number of P.  What came out worse is run again, alone and in company, natively too, to
tell wrong from flaky from bad luck.  Prints a line for each interface, then every difference.
Exit: 0 nothing is worse than natively, 1 something is, 2 it could not be found out.
"""

import argparse
import fnmatch
import os
import pathlib
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pool
import verdict
from jail import Run

SLOWER = 3      # times the native run, and --slack seconds: then a test hangs


@dataclass
class Test:
    path: str
    name: str
    timeout: float
    alone: bool = False
    args: list = field(default_factory=list)
    native: list = field(default_factory=list)          # statuses, one for each run
    ours: dict = field(default_factory=dict)            # setting -> statuses
    seconds: float = 0.0                                # of the first native run
    output: dict = field(default_factory=dict)          # setting -> of the last bad run


def die(message):
    print(f"run.py: {message}", file=sys.stderr)
    sys.exit(2)


# --- what to run -------------------------------------------------------------------------

def is_program(path):
    if not path.is_file() or not os.access(path, os.X_OK):
        return False
    with open(path, "rb") as f:
        return f.read(4) == b"\x7fELF"


def read_config(path):
    """Lines `WORD PATTERN VALUE...`: skip, timeout, alone, args; see posix.conf."""
    for line in path.read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            yield words[0], words[1], words[2:]


def configure(test, rules):
    for word, pattern, value in rules:
        if not fnmatch.fnmatch(test.name, pattern):
            continue
        if word == "skip":
            return False
        if word == "timeout":
            test.timeout = float(value[0])
        elif word == "alone":
            test.alone = True
        elif word == "args":
            test.args = [v.format(path=test.path) for v in value]
    return True


def find(o):
    root = o.folder.resolve()
    rules = list(read_config(o.config)) if o.config else []
    tests = []
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        test = Test(str(path), name, o.timeout)
        if is_program(path) and fnmatch.fnmatch(name, o.only) and configure(test, rules):
            tests.append(test)
    return tests


# --- running -----------------------------------------------------------------------------

class Suite:
    """The tests and how they are run; a setting is None (native) or a number of P."""

    def __init__(self, tests, o):
        self.tests, self.o = tests, o

    def _run(self, test, setting):
        env = {k: v for k, v in os.environ.items()
               if k != "LD_PRELOAD" and not k.startswith("GSHIM_")}
        if setting is None:
            return Run(test.path, test.timeout, env, test.args)
        env.update(LD_PRELOAD=str(self.o.lib), GSHIM_MAXPROCS=setting)
        if self.o.debug:
            env["GSHIM_DEBUG"] = self.o.debug
        limit = max(test.timeout, test.seconds * SLOWER + self.o.slack)
        return Run(test.path, limit, env, test.args)

    def _note(self, test, setting, result):
        if setting is None:
            test.native.append(result.status)
            test.seconds = max(test.seconds, result.seconds)
            return
        test.ours.setdefault(setting, []).append(result.status)
        if verdict.rank(result.status) > max(map(verdict.rank, test.native)):
            test.output[setting] = result.output

    def run(self, jobs, company):
        """Run (test, setting) pairs; those that want to be alone after the others."""
        for alone in (False, True):
            part = [j for j in jobs if j[0].alone == alone]
            # The long ones first, so that none is left running by itself at the end.
            part.sort(key=lambda j: -j[0].seconds)
            runs = [self._run(*j) for j in part]
            for index, result in pool.run_all(runs, 1 if alone else company):
                self._note(*part[index], result)

    def natively(self):
        if self.o.max_seconds:
            for t in self.tests:
                t.timeout = min(t.timeout, self.o.max_seconds)
        self.run([(t, None) for t in self.tests], self.o.jobs)
        long = [t for t in self.tests if t.native == ["timeout"]]
        self.tests = [t for t in self.tests if t.native != ["timeout"]]
        return long

    def preloaded(self):
        self.run([(t, s) for s in self.o.procs for t in self.tests], self.o.jobs)

    def judged(self, words):
        return [(t, s) for t in self.tests for s in t.ours
                if verdict.judge(t.native, t.ours[s]) in words]

    def again(self):
        """More runs of both sides: of all that was worse, alone; then, in company, of what
        was not worse every time."""
        for company, words in ((1, ("worse", "flaky")), (self.o.jobs, ("flaky",))):
            jobs = []
            for test, setting in self.judged(words):
                jobs += [(test, None), (test, setting)] * self.o.repeat
            self.run(jobs, company)


def check_library(lib):
    """ld.so only warns about a library that it cannot load; everything would then pass."""
    maps = subprocess.run(["/bin/cat", "/proc/self/maps"], capture_output=True, text=True,
                          env={"LD_PRELOAD": str(lib)}, timeout=60, check=False).stdout
    if str(lib.resolve()) not in maps:
        die(f"{lib} cannot be preloaded")


# --- telling -----------------------------------------------------------------------------

def lucky(statuses, native):
    """Worse once, in the first run, and never again in any of the repeats."""
    high = max(map(verdict.rank, native))
    return sum(verdict.rank(s) > high for s in statuses) == 1 and len(statuses) > 4


def report(suite, long, o, seconds):
    print("\n".join(verdict.table(suite.tests, o.procs)))
    if long:
        print(f"\nNot compared, for they do not end natively within their time "
              f"({len(long)}): " + " ".join(t.name for t in long))
    found = {"worse": 0, "flaky": 0, "once": 0, "better": 0}
    lines = []
    for t in suite.tests:
        for s, statuses in t.ours.items():
            v = verdict.judge(t.native, statuses)
            if v == "flaky" and lucky(statuses, t.native):
                v = "once"
            if v != "same":
                found[v] += 1
                lines.append(f"{v:7} {t.name:44} {s:>3} P: {verdict.several(statuses)}"
                             f"   (native: {verdict.several(t.native)})")
            if v in ("worse", "flaky") and o.verbose:
                lines += ["        | " + x for x in t.output[s].splitlines()[-8:]]
    if lines:
        print("\nDifferences (once: worse in one run, not in the repeats)")
        print("\n".join(lines))
    print(f"\n{len(suite.tests)} tests natively and at {', '.join(o.procs)} P"
          f"{' with ' + o.debug if o.debug else ''}, {seconds:.0f} s: "
          + ", ".join(f"{n} {v}" for v, n in found.items()))
    return found["worse"] + found["flaky"]


def arguments():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder", type=pathlib.Path)
    ap.add_argument("--lib", type=pathlib.Path, required=True)
    ap.add_argument("--procs", default="1,2,8", help="numbers of P (1,2,8)")
    ap.add_argument("--debug", default="", help="GSHIM_DEBUG of the preloaded runs")
    ap.add_argument("--config", type=pathlib.Path, help="what single tests need")
    ap.add_argument("--only", default="*", help="a pattern of names")
    ap.add_argument("--timeout", type=float, default=20, help="seconds for a test (20)")
    ap.add_argument("--slack", type=float, default=10, help="seconds a preloaded run may "
                    "take beyond thrice the native one (10)")
    ap.add_argument("--max-seconds", type=float, default=0,
                    help="leave out what takes longer natively")
    ap.add_argument("--jobs", type=int, default=4 * len(os.sched_getaffinity(0)))
    ap.add_argument("--repeat", type=int, default=3,
                    help="runs of what was worse, alone and in company each (3)")
    ap.add_argument("-v", "--verbose", action="store_true", help="what bad tests printed")
    o = ap.parse_args()
    o.procs = o.procs.split(",")
    return o


def main():
    o = arguments()
    if not o.lib.is_file() or not o.folder.is_dir():
        die(f"{o.lib} or {o.folder} does not exist")
    o.lib = o.lib.resolve()
    check_library(o.lib)
    tests = find(o)
    if not tests:
        die(f"no test program in {o.folder}")
    start = time.monotonic()
    suite = Suite(tests, o)
    long = suite.natively()
    suite.preloaded()
    suite.again()
    sys.exit(1 if report(suite, long, o, time.monotonic() - start) else 0)


if __name__ == "__main__":
    main()
