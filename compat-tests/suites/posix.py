#!/usr/bin/env python3
"""posix.py DIR - fetch and build the Open POSIX Test Suite below DIR.

The suite is Debian's source package posixtestsuite (GPL), taken at test time and never part
of this repository.  Debian 12's archive is asked whatever the machine runs, through lists of
our own, so its apt set-up is neither needed nor changed; SUITE_SRC=folder uses a tree that
is there already, SUITE_MIRROR another mirror.  Built are the interfaces of threads and of
all that threads meet: DIR/bin/INTERFACE/TEST.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

MIRROR = os.environ.get("SUITE_MIRROR", "http://deb.debian.org/debian")
SOURCES = f"""Types: deb-src
URIs: {MIRROR}
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
WANTED = re.compile(r"pthread_|sem_|sched_|sig|kill|raise$|timer_|clock_get|clock_nano|"
                    r"nanosleep|mq_|aio_|lio_|fork$|shm_")
# Some files rely on headers that included these once.
HEADERS = ["-include", "signal.h", "-include", "fcntl.h"]
CFLAGS = ["-O2", "-w", "-std=gnu99", "-D_GNU_SOURCE"]
LIBS = ["-lpthread", "-lrt"]


def apt(folder, *command):
    for sub in ("parts", "lists/partial", "cache/archives/partial"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    (folder / "parts/suite.sources").write_text(SOURCES)
    options = {"Dir::Etc::SourceList": "/dev/null", "Dir::Etc::SourceParts": folder / "parts",
               "Dir::State::Lists": folder / "lists", "Dir::Cache": folder / "cache",
               "APT::Sandbox::User": "root"}
    done = subprocess.run(["apt-get", "-q", *(f"-o{k}={v}" for k, v in options.items()),
                           *command], cwd=folder, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        print(done.stdout, file=sys.stderr)
        sys.exit(f"posix.py: apt-get {command[0]} failed; SUITE_SRC=folder names a source "
                 "tree that is there already")


def fetch(folder):
    """The top of the source tree."""
    if "SUITE_SRC" in os.environ:
        return pathlib.Path(os.environ["SUITE_SRC"]).resolve()
    found = list(folder.glob("posixtestsuite-*/conformance"))
    if not found:
        apt(folder / "apt", "update")
        apt(folder / "apt", "source", "posixtestsuite")
        for tree in (folder / "apt").glob("posixtestsuite-*"):
            tree.rename(folder / tree.name)
        found = list(folder.glob("posixtestsuite-*/conformance"))
    return found[0].parent


def compile_one(source, out, includes):
    """'built', 'no main' (there is nothing to run) or the compiler's words."""
    out.parent.mkdir(parents=True, exist_ok=True)
    said = ""
    for extra in ([], HEADERS):
        done = subprocess.run([os.environ.get("CC", "gcc"), *CFLAGS, *extra, *includes,
                               str(source), "-o", str(out), *LIBS], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode == 0:
            return "built"
        if "undefined reference to `main'" in done.stdout:
            return "no main"
        said = said or done.stdout
    return said


def build(tree, out):
    top = tree / "conformance/interfaces"
    includes = [f"-I{tree / 'include'}", f"-I{tree}"]
    sources = sorted(p for p in top.rglob("*.c") if re.match(r"\d+-\d+\.c$", p.name)
                     and WANTED.match(str(p.relative_to(top))))
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        results = list(workers.map(
            lambda p: compile_one(p, out / p.relative_to(top).with_suffix(""), includes),
            sources))
    for source, result in zip(sources, results):
        if result not in ("built", "no main"):
            print(f"{source}: {result}", file=sys.stderr)
    return results.count("built"), len(results) - results.count("no main")


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "built"
    if stamp.exists():
        return
    built, wanted = build(fetch(folder), folder / "bin")
    print(f"Open POSIX Test Suite: {built} of {wanted} tests built")
    if built < wanted:
        sys.exit(1)
    stamp.touch()


if __name__ == "__main__":
    main()
