#!/usr/bin/env python3
"""selftest.py - shows that the runner can fail, and that its jail holds.

A doctored library must be caught in each way it breaks a program; an empty one must pass; one
that cannot be loaded must not pass for good.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import verdict

HERE = pathlib.Path(__file__).resolve().parent
CC = os.environ.get("CC", "gcc")
GOOD = ["good", "left-behind", "named-1", "named-2", "clock"]
BAD = ["bad-fail", "bad-hang", "bad-crash", "bad-sometimes"]


def expect(fact, what, said=""):
    if not fact:
        sys.exit(f"selftest: {what}\n{said}")


def compiled(source, out, *flags):
    subprocess.run([CC, "-O1", "-w", "-D_GNU_SOURCE", *flags, "-o", out, "-x", "c", source,
                    "-pthread"], check=True)
    return out


def runner(folder, lib, *options):
    done = subprocess.run([sys.executable, HERE / "run.py", folder, "--lib", lib, "--procs",
                           "2", "--timeout", "2", "--slack", "1", "--repeat", "4", *options], text=True,
                          check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def running(program):
    """Does any process run PROGRAM?"""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(bytes(program)):
                return True
        except OSError:
            pass
    return False


def verdicts():
    for native, ours, want in (
            (["pass"], ["fail", "fail"], "worse"), (["pass"], ["fail", "pass"], "flaky"),
            (["pass", "fail"], ["fail"], "same"), (["fail"], ["pass"], "better"),
            (["fail"], ["SIGSEGV"], "worse"), (["timeout"], ["timeout"], "same"),
            (["unsupported"], ["pass"], "better"), (["pass"], ["exit99"], "worse")):
        expect(verdict.judge(native, ours) == want, f"{native} and {ours} are not {want}")


def main():
    verdicts()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        os.environ["TOY_STATE"] = str(work / "state")
        tests = work / "tests"
        tests.mkdir()
        for name in GOOD + BAD:
            compiled(HERE / "toy.c", tests / name)
        doctored = compiled(HERE / "doctored.c", work / "doctored.so", "-shared", "-fPIC")
        empty = compiled("/dev/null", work / "empty.so", "-shared", "-fPIC")

        code, said = runner(tests, empty)
        expect(code == 0, f"an empty library does not pass ({code})", said)
        code, said = runner(tests, doctored)
        expect(code == 1, f"the doctored library is not caught ({code})", said)
        lines = said.splitlines()
        for name in BAD:
            word = "flaky" if name == "bad-sometimes" else "worse"
            expect(any(x.startswith(word) and f" {name} " in x for x in lines),
                   f"{name} is not reported as {word}", said)
        for name in GOOD:
            expect(not any(x.startswith(("worse", "flaky")) and f" {name} " in x
                           for x in lines), f"{name} is reported", said)
        (work / "text.so").write_text("no library")
        code, said = runner(tests, work / "text.so")
        expect(code == 2, f"a library that cannot be loaded passes ({code})", said)
        expect(not running(tests / "left-behind"), "processes are left behind")
    print("suites self-test: ok")


if __name__ == "__main__":
    main()
