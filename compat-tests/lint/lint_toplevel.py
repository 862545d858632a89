#!/usr/bin/env python3
"""The top level is exactly the agreed set of names, dot-files apart."""

from lintlib import ROOT, fails, output, passes, run

WANTED = {"shim", "preempt", "arch", "compat-tests", "Makefile", "LD_PRELOAD.md",
          "LICENSE", "README.md"}


def compare(names):
    names = {n for n in names if not n.startswith(".")}
    for name in sorted(names - WANTED):
        yield name, 0, f"{name} does not belong to the top level"
    for name in sorted(WANTED - names):
        yield name, 0, f"{name} is missing"


def check(_build):
    # Files that git ignores (build results) do not count; outside of git all do.
    if (ROOT / ".git").exists():
        listed = output("git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT),
                        "ls-files", "--cached", "--others", "--exclude-standard", "-z")
        names = {p.split("/")[0] for p in listed.split("\0")
                 if p and (ROOT / p).exists()}
    else:
        names = {p.name for p in ROOT.iterdir()}
    return compare(names)


def self_test():
    passes(compare(WANTED | {".ci", ".gitignore"}), "the agreed set")
    fails(compare(WANTED | {"docs"}), 1, "an extra name")
    fails(compare(WANTED - {"LICENSE"}), 1, "a missing name")


run("toplevel", check, self_test)
