"""What the lint scripts share: the frame, the list of sources, the symbol tables.

A rule is a script lint_NAME.py with

    check(build) -> iterable of (file, line, message), the violations in the tree
    self_test()  -> uses fails()/passes() on fixtures of its own

and ends with run("NAME", check, self_test).  `--self-test` shows that the rule can fail;
`--build DIR` checks the tree, with the objects in DIR where the rule needs them.
"""

import argparse
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRODUCT = ("shim", "preempt", "arch")


def run(rule, check, self_test):
    """The main program of every rule."""
    ap = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    ap.add_argument("--self-test", action="store_true")
    ap.add_argument("--build", default=".build", type=pathlib.Path)
    args = ap.parse_args()
    if args.self_test:
        self_test()
        return
    found = list(check(args.build))
    for path, line, message in found:
        print(f"{path}:{line}: [{rule}] {message}")
    print(f"lint {rule}: {'ok' if not found else f'{len(found)} violation(s)'}")
    sys.exit(1 if found else 0)


def warn(path, line, message):
    print(f"{path}:{line}: warning: {message}")


def fails(found, want, what):
    """Self-test: FOUND (violations) must have WANT entries."""
    found = list(found)
    if len(found) != want:
        print(f"lint self-test: {what}: {len(found)} violation(s), not {want}: {found}")
        sys.exit(2)


def passes(found, what):
    fails(found, 0, what)


def sources(suffixes, folders=PRODUCT):
    """(path relative to the root, text) of every source file below FOLDERS."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield str(path.relative_to(ROOT)), path.read_text()


TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(text):
    return re.sub(r"[^\n]", " ", text)


def without_comments(text):
    """TEXT with comments blanked; lines and columns stay."""
    return TOKEN.sub(lambda m: blank(m[0]) if m[0][0] == "/" else m[0], text)


def only_comments(text):
    """TEXT with everything but comments blanked."""
    out, end = [], 0
    for m in TOKEN.finditer(text):
        out.append(blank(text[end:m.start()]))
        out.append(m[0] if m[0][0] == "/" else blank(m[0]))
        end = m.end()
    return "".join(out) + blank(text[end:])


def grep(path, text, pattern, message):
    """A violation for every match of PATTERN; {0} in MESSAGE is what matched."""
    for number, line in enumerate(text.splitlines(), 1):
        for m in re.finditer(pattern, line):
            yield path, number, message.format(m[0])


def output(*command, **kwargs):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                          **kwargs).stdout


# --- the tables in shim/posix/*.def ----------------------------------------------------

ROW = re.compile(r"^(GSHIM_[A-Z_]+)\(([A-Za-z0-9_]+)(.*)$")
FAMILY = re.compile(r"^/\* -+ (.*?) -*\s*\*/$")
RULES = re.compile(r"^, (CANCEL|NO), (RESTART|EINTR|NONE)\b")
REASON = re.compile(r'^, "(.*)"\)$')


class Row:
    def __init__(self, path, line, family, kind, name, rest):
        self.path, self.line, self.family = path, line, family
        self.kind, self.name = kind, name
        m = REASON.match(rest)
        self.reason = m[1].strip() if m else ""
        self.implemented = kind != "GSHIM_PASS"
        m = RULES.match(rest)
        self.cancel, self.eintr = (m[1] == "CANCEL", m[2]) if m else (False, "")


def parse_table(path, text):
    family = ""
    for number, line in enumerate(text.splitlines(), 1):
        if m := FAMILY.match(line):
            family = m[1].strip()
        elif m := ROW.match(line):
            yield Row(path, number, family, m[1], m[2], m[3].rstrip())


def tables():
    """Every row of every table, symbols.def first."""
    for path in sorted((ROOT / "shim/posix").glob("*.def"),
                       key=lambda p: (p.name != "symbols.def", p.name)):
        yield from parse_table(str(path.relative_to(ROOT)), path.read_text())
