"""What statuses mean next to each other, and how a comparison is shown."""

import re
from collections import Counter

# From best to worst; a status that ranks higher preloaded than natively is worse.
RANKS = {"pass": 0, "untested": 1, "unsupported": 1, "unresolved": 2, "fail": 3,
         "exit": 4, "SIG": 5, "timeout": 6, "norun": 7}


def rank(status):
    if status in RANKS:
        return RANKS[status]
    return RANKS["SIG" if status.startswith("SIG") else "exit"]


def judge(native, ours):
    """The verdict over all runs of one test in one setting; both are lists of statuses.

    worse     every run is worse than the worst native one
    flaky     some runs are worse than the worst native one, some are not
    better    every run is better than the best native one
    same      everything else
    """
    low, high = min(map(rank, native)), max(map(rank, native))
    ranks = [rank(s) for s in ours]
    if min(ranks) > high:
        return "worse"
    if max(ranks) > high:
        return "flaky"
    return "better" if max(ranks) < low else "same"


def interface(name):
    """The interface a test belongs to: its folder, or what its name says before a number."""
    return name.split("/")[0] if "/" in name else re.match(r"\D*", name)[0].rstrip("-")


def summary(statuses):
    """'12 pass, 1 fail', best first."""
    counts = Counter(statuses)
    return ", ".join(f"{n} {s}" for s, n in sorted(counts.items(),
                                                   key=lambda x: (rank(x[0]), x[0])))


def several(statuses):
    """'fail 3x, pass': what some runs of one test gave."""
    return ", ".join(s if n == 1 else f"{s} {n}x" for s, n in Counter(statuses).items())


def table(tests, settings):
    """Lines: one for each interface, native and each setting.  '=' means: test for test."""
    rows = {}
    for test in tests:
        rows.setdefault(interface(test.name), []).append(test)
    yield "%-32s %-34s %s" % ("interface", "native", "  ".join(
        "%-20s" % s for s in settings))
    for name, members in sorted(rows.items()):
        cells = []
        for s in settings:
            run = [t for t in members if s in t.ours]
            if all(t.ours[s][-1] == t.native[-1] for t in run):
                cells.append("=" if run else "not run")
            else:
                cells.append(summary(t.ours[s][-1] for t in run))
        yield "%-32s %-34s %s" % (name, summary(t.native[-1] for t in members),
                                  "  ".join("%-20s" % c for c in cells))
