#!/usr/bin/env python3
"""run.py [NAME...] - what the library tells about itself: schedtrace, dumps, deadlock report.

Each check is a function t_NAME; it fails by raising.  Nothing is judged by how long it took;
where something must appear sooner or later, LIMIT is how long we wait before giving up.
Environment, set by the Makefile: GSHIM_LIB, GSHIM_BUILD, CC, SPLIT_CFLAGS.
"""

import collections
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# A shell ignores these in what it runs in the background, and so would our programs.
for sig in (signal.SIGINT, signal.SIGQUIT):
    signal.signal(sig, signal.SIG_DFL)

HERE = pathlib.Path(__file__).resolve().parent
LIB = os.environ["GSHIM_LIB"]
BIN = pathlib.Path(os.environ["GSHIM_BUILD"]) / "debug"
LIMIT = 60
WAITS = ("mutex", "condition", "rwlock", "semaphore", "barrier", "futex", "join", "sleep")


class Failed(Exception):
    pass


def must(condition, *what):
    if not condition:
        raise Failed("\n".join(str(w) for w in what))


def build(name, *flags):
    source, out = HERE / f"{name}.c", BIN / name
    BIN.mkdir(parents=True, exist_ok=True)
    if not out.exists() or out.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra",
                        "-Werror", "-D_GNU_SOURCE", f"-I{HERE.parent.parent}", "-pthread",
                        "-o", out, source, *flags], check=True)
    return str(out)


def environment(debug=None, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("GSHIM_")}
    env.update(LD_PRELOAD=LIB, LC_ALL="C", **more)
    if debug:
        env["GSHIM_DEBUG"] = debug
    return env


class Running:
    """A program under the preload whose stderr can be waited for."""

    def __init__(self, *command, debug=None, **env):
        self.p = subprocess.Popen(command, env=environment(debug, **env), bufsize=0,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.err = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.communicate()

    def ready(self):
        must(self.p.stdout.readline() == b"ready\n", "the program did not get ready")

    def read(self, seconds):
        """What comes on stderr within SECONDS; True: something came."""
        if not select.select([self.p.stderr], [], [], seconds)[0]:
            return False
        data = os.read(self.p.stderr.fileno(), 1 << 16)
        self.err += data.decode(errors="replace")
        return bool(data)

    def until(self, condition, what, poke=None):
        """Read stderr until CONDITION(text) holds; POKE is called now and then."""
        end = time.monotonic() + LIMIT
        while not condition(self.err):
            must(time.monotonic() < end, f"{what} never came:", self.err)
            if poke:
                poke()
            self.read(0.3)


# --- schedtrace ----------------------------------------------------------------------------

SCHED = re.compile(r"^SCHED (\d+)ms: gomaxprocs=(\d+) idleprocs=(\d+) threads=(\d+) "
                   r"spinningthreads=(\d+) idlethreads=(\d+) threadswithoutp=(\d+) "
                   r"runqueue=(\d+)(?: \[(\d+(?: \d+)*)\])?$", re.M)


def t_schedtrace_idle():
    with Running(WAITS_BIN, "all", debug="schedtrace=50", GSHIM_MAXPROCS="3") as r:
        r.ready()
        r.until(lambda text: len(SCHED.findall(text)) >= 6, "six lines")
        lines = r.err.splitlines()[:6]
        for line in lines:
            m = SCHED.match(line)
            must(m and m[2] == "3" and len(m[9].split()) == 3, f"odd line: {line}")
        # Main and one thread read; that may hold a P each as long as nobody wants it.
        must(int(SCHED.match(lines[-1])[3]) >= 1, f"not idle: {lines[-1]}")
        times = [int(SCHED.match(line)[1]) for line in lines]
        # One for each period; a late one does not move the next.
        must(all(a // 50 < b // 50 for a, b in zip(times, times[1:])), f"too often: {times}")


def t_schedtrace_busy():
    with Running(WAITS_BIN, "spin", debug="schedtrace=50", GSHIM_MAXPROCS="2") as r:
        r.until(lambda text: any(m[2] == "1" for m in SCHED.findall(text)),
                "a line with one idle P of two")


def t_scheddetail():
    with Running(WAITS_BIN, "all", debug="schedtrace=50,scheddetail=1",
                 GSHIM_MAXPROCS="2") as r:
        r.ready()
        r.until(lambda text: text.count("SCHED ") >= 5, "five reports")
        report = r.err.split("SCHED ")[-2]
        for p in (0, 1):
            must(re.search(rf"^  P{p}: status=\d schedtick=\d+ syscalltick=\d+ m=-?\d+ "
                           r"runqsize=\d+ gfreecnt=\d+ timerslen=\d+$", report, re.M),
                 f"no P{p}:", report)
        must(re.search(r"^  M\d+: p=\w+ curg=\w+ spinning=(true|false) "
                       r"blocked=(true|false) lockedg=\w+$", report, re.M), "no M:", report)
        for why in WAITS:
            must(re.search(rf"^  G\d+: status=4\({why}\) m=nil lockedm=nil$", report, re.M),
                 f"nobody waits for {why}:", report)


# --- dumps ---------------------------------------------------------------------------------

def sections(text):
    """Name of each thread in a dump: (state, functions from the innermost outwards)."""
    found = {}
    for part in re.split(r"^thread ", text, flags=re.M)[1:]:
        head, *rest = part.splitlines()
        m = re.match(r'\d+ "([^"]*)" tid \d+ \[([^,]*), \d+\.\d{3}s', head)
        if m:
            frames = (re.match(r"    #\d+ (\S+?)\+0x", x) for x in rest)
            found[m[1]] = (m[2], [f[1] for f in frames if f])
    return found


def complete(text):
    """Does the last dump show every kind of wait inside its function?"""
    found = sections(text.split("gshim: process ")[-1])
    return (all(found.get(w, ("", []))[0] == w and f"in_{w}" in found[w][1] for w in WAITS)
            and "in_read" in found.get("read", ("", []))[1])


def t_quit_dumps_all():
    with Running(WAITS_BIN, "all", debug="dumponquit=1") as r:
        r.ready()
        r.until(complete, "a complete dump", lambda: r.p.send_signal(signal.SIGQUIT))
        must(r.p.poll() is None, "SIGQUIT ended the program")
        dump = r.err.split("gshim: process ")[-1]
        must("main" in sections(dump), "no main thread:", dump)


def t_quit_without_the_key():
    with Running(WAITS_BIN, "all") as r:
        r.ready()
        r.p.send_signal(signal.SIGQUIT)
        must(r.p.wait(LIMIT) == -signal.SIGQUIT, f"status {r.p.returncode}")


def t_dump_function():
    p = subprocess.run([WAITS_BIN, "dump"], env=environment(), capture_output=True, text=True,
                       timeout=LIMIT, check=False)
    must(p.returncode == 0 and "gshim: process" in p.stdout, p.returncode, p.stdout, p.stderr)
    must(sections(p.stdout).get("main", ("",))[0].startswith("running"), p.stdout)
    native = dict(environment())
    del native["LD_PRELOAD"]
    p = subprocess.run([WAITS_BIN, "dump"], env=native, capture_output=True, text=True,
                       timeout=LIMIT, check=False)
    must(p.returncode == 0 and p.stdout == "", "without the library:", p.returncode, p.stdout)


# --- deadlock ------------------------------------------------------------------------------

REPORT = "all threads are asleep"


def t_deadlock():
    with Running(WAITS_BIN, "deadlock", debug="deadlock=1") as r:
        r.until(lambda text: text.count("in_embrace+") == 2, "the report with both threads")
        must(r.err.count(REPORT) == 1, r.err)
        must(r.err.count("[mutex, ") == 2 and r.err.count("[join, ") == 1, r.err)
        while r.read(0.5):
            pass
        must(r.err.count(REPORT) == 1, "told twice:", r.err)


def never(mode):
    with Running(WAITS_BIN, mode, debug="deadlock=1") as r:
        end = time.monotonic() + 1.5  # some 15 looks
        while time.monotonic() < end:
            r.read(0.1)
            must(REPORT not in r.err, r.err)


def t_no_deadlock_sleep():
    never("sleep")


def t_no_deadlock_read():
    never("read")


def t_no_deadlock_timed():
    never("timed")


def t_no_deadlock_alarm():
    never("alarm")


def t_no_deadlock_foreign():
    never("foreign")


def t_no_deadlock_spin():
    never("spin")


# --- execution trace -----------------------------------------------------------------------

PROCESSORS, THREADS = 1, 2
STATES = {"running", "runnable", "io", *WAITS}


def load_trace(path, whole=True):
    """The events; of a file that was cut short those that are there."""
    text = path.read_text()
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        must(not whole, f"no JSON: ...{text[-200:]}")
    must(text.endswith("}"), f"the last line is no whole event: {text[-200:]}")
    return json.loads(text + "]")


def check_nesting(slices, where):
    """Each slice lies inside, or beside, every other.  Yields (slice, the one around it)."""
    open_now = []
    for e in sorted(slices, key=lambda e: (e["ns"], -e["ns_end"])):
        while open_now and open_now[-1]["ns_end"] <= e["ns"]:
            open_now.pop()
        around = open_now[-1] if open_now else None
        must(around is None or e["ns_end"] <= around["ns_end"], f"overlap on {where}:", around, e)
        open_now.append(e)
        yield e, around


def check_processor(slices, p):
    for e, around in check_nesting(slices, f"P{p}"):
        must(around is None, f"two threads on P{p}:", around, e)
        must(re.fullmatch(r"G\d+", e["name"]) and e["args"]["m"] > 0, e)


def check_thread(slices, lives, g, whole):
    told = max((e["ns_end"] for e in slices if not e["name"].startswith("call")), default=0)
    for e, around in check_nesting(slices, f"G{g}"):
        if e["name"].startswith("call"):
            if not whole and e["ns"] >= told:  # of a run whose end was cut off
                continue
            must(around and around["name"] == "running", "a call outside of a run:", e, around)
        else:
            must(around is None, "two states at once:", around, e)
        must(any(b <= e["ns"] and e["ns_end"] <= x for b, x in lives), f"G{g} lives {lives}", e)


def lives_of(events):
    """(born, gone) of each thread that a number stood for."""
    found, born = [], None
    for e in sorted(events, key=lambda e: (e["ns"], e["ph"] == "B")):
        if e["ph"] == "B":
            must(born is None, "born twice:", e)
            born = e["ns"]
        elif born is not None:
            found.append((born, e["ns"]))
            born = None
    return found + ([(born, 1 << 62)] if born is not None else [])


def check_trace(events, whole=True):
    """Everything that must hold of any trace; returns the slices of threads by number."""
    tracks = collections.defaultdict(list)
    lives = collections.defaultdict(list)
    for e in events:
        if "ts" in e:
            e["ns"] = round(e["ts"] * 1000)
            e["ns_end"] = e["ns"] + round(e.get("dur", 0) * 1000)
        if e["ph"] == "X":
            tracks[e["pid"], e["tid"]].append(e)
        elif e["ph"] in "BE":
            lives[e["tid"]].append(e)
    for (pid, track), slices in tracks.items():
        if pid == PROCESSORS:
            check_processor(slices, track)
        else:
            check_thread(slices, lives_of(lives[track]), track, whole)
    return {g: x for (pid, g), x in tracks.items() if pid == THREADS}


def trace_run(end, status, procs, directory):
    path = pathlib.Path(directory) / "trace.json"
    p = subprocess.run([MIX_BIN, end], env=environment(GSHIM_TRACE=str(path), GSHIM_MAXPROCS=procs),
                       capture_output=True, text=True, timeout=LIMIT, check=False)
    must(p.returncode == status, f"{end}: status {p.returncode}", p.stdout, p.stderr)
    must(p.stdout.startswith("9"), p.stdout)
    return path, p


WORKERS = {"main", "ping", "pong", "reader", "spin", "short"}


def check_mix(events, procs, workers=frozenset(WORKERS | {"goes on"})):
    threads = check_trace(events)
    names = {e["args"]["name"].split(" ", 1)[-1] for e in events
             if e["ph"] == "M" and e["name"] == "thread_name" and e["pid"] == THREADS}
    must(workers <= names, names)
    processors = {e["tid"] for e in events if e["pid"] == PROCESSORS and e["ph"] == "X"}
    must(processors <= set(range(procs)), processors)
    kinds = collections.Counter(e["name"] for g in threads.values() for e in g)
    must(kinds["running"] >= 1000 and kinds["semaphore"] >= 600, kinds)
    must(kinds["sleep"] >= 5 and kinds["join"] >= 1, kinds)
    woken_by = {e.get("args", {}).get("by") for g in threads.values() for e in g if e["name"] == "running"}
    must(len(woken_by & threads.keys()) >= 3, "nobody wakes anybody:", woken_by)
    for e in (e for g in threads.values() for e in g):
        must(e["name"] in STATES or e["name"].startswith("call"), e)
    return kinds


def t_trace_complete():
    notes = []
    for end in ("return", "exit", "_exit"):
        for procs in (1, 2, 8):
            with tempfile.TemporaryDirectory() as d:
                path, p = trace_run(end, 0, str(procs), d)
                must(p.stderr == "", p.stderr)
                notes.append(sum(check_mix(load_trace(path), procs).values()))
    return f"{min(notes)} to {max(notes)} slices"


def t_trace_cut_short():
    for end, status in (("kill", -signal.SIGKILL), ("abort", -signal.SIGABRT)):
        with tempfile.TemporaryDirectory() as d:
            path, _ = trace_run(end, status, "2", d)
            events = load_trace(path, whole=False)
            check_trace(events, whole=False)
            must(end == "abort" or len(events) > 1000, f"{end}: only {len(events)} events")


def t_trace_of_fork():
    with tempfile.TemporaryDirectory() as d:
        path, _ = trace_run("fork", 0, "2", d)
        files = sorted(pathlib.Path(d).iterdir())
        must(len(files) == 2 and files[0] == path, files)
        for f in files:
            kinds = check_mix(load_trace(f), 2, WORKERS)
            must(kinds["running"] > 1000, f, kinds)


def t_trace_file_closed_by_the_program():
    with tempfile.TemporaryDirectory() as d:
        path, p = trace_run("closer", 0, "2", d)
        check_trace(load_trace(path, whole=False), whole=False)
        must(p.stderr == "" or "closed the file" in p.stderr, p.stderr)


def t_trace_not_possible():
    with tempfile.TemporaryDirectory() as d:
        p = subprocess.run([MIX_BIN], env=environment(GSHIM_TRACE=d + "/no/such/file"),
                           capture_output=True, text=True, timeout=LIMIT, check=False)
        must(p.returncode == 0 and p.stderr.count("\n") == 1 and "GSHIM_TRACE" in p.stderr, p)
    p = subprocess.run([MIX_BIN], env=environment(GSHIM_TRACE="/dev/full"),
                       capture_output=True, text=True, timeout=LIMIT, check=False)
    must(p.returncode == 0 and p.stderr.count("\n") == 1 and "cannot write" in p.stderr, p)


# --- gdb -----------------------------------------------------------------------------------

def gdb(*args):
    """What gdb prints with the script auto-loaded from beside the library."""
    if shutil.which("gdb") is None:
        return None
    p = subprocess.run(["gdb", "-batch", "-nx", "-iex", "set auto-load safe-path /",
                        "-iex", "set debuginfod enabled off", *args],
                       capture_output=True, text=True, timeout=LIMIT, check=False)
    must("Error" not in p.stderr, p.stdout, p.stderr)
    return p.stdout


HANDLER = "<signal handler called>"


def gdb_live(pid, *commands):
    return gdb("-p", str(pid), *(x for c in commands for x in ("-ex", c)))


def backtraces(text):
    """Name of each thread in `gshim bt all' -> list of (state, functions)."""
    found = collections.defaultdict(list)
    for part in re.split(r"^Thread (?=\d)", text, flags=re.M)[1:]:
        m = re.match(r'\d+ "([^"]*)" \((.*)\):', part)
        frames = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(<signal handler called>|\S+(?= \())",
                            part, re.M)
        if m:
            found[m[1]].append((m[2], frames))
    return found


def check_waits(text):
    listed = dict(re.findall(r"^[* ] \d+ +(\w+) +tid \d+ +(.*)$", text, re.M))
    found = backtraces(text)
    for why in WAITS:
        must(listed.get(why) == f"waits: {why}", f"not listed: {why}", text)
        state, frames = found[why][0]
        must(state == f"waits: {why}" and f"in_{why}" in frames and "arch_first_run" in frames,
             why, text)
    must("in_read" in found["read"][0][1] and "main" in found["main"][0][1], text)


def settled(r):
    """Wait until every thread of `waits all' waits."""
    r.ready()
    r.until(complete, "a complete dump", lambda: r.p.send_signal(signal.SIGQUIT))


def t_gdb_live():
    with Running(WAITS_BIN, "all", debug="dumponquit=1") as r:
        settled(r)
        text = gdb_live(r.p.pid, "info gshim", "gshim bt all", "gshim apply 3 print $_",
                        "gshim thread 3", "bt 8", "gshim thread", "bt 2", "info gshim")
        if text is None:
            return "skipped: no gdb"
        check_waits(text)
        must(text.count("tid ") >= 20, "no second list after selecting threads:", text)
        # The process is unharmed.
        seen = r.err.count("gshim: process ")
        r.until(lambda err: err.count("gshim: process ") > seen and complete(err), "a new dump",
                lambda: r.p.send_signal(signal.SIGQUIT))
    return None


def no_cores():
    if pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core" or \
            pathlib.Path("/proc/sys/kernel/core_uses_pid").read_text().strip() != "0":
        return "skipped: cores do not go to the file core"
    return None


def t_gdb_core():
    if note := no_cores():
        return note
    with tempfile.TemporaryDirectory() as d, \
            Running("sh", "-c", f"cd {d} && ulimit -c unlimited && exec {WAITS_BIN} all",
                    debug="dumponquit=1") as r:
        settled(r)
        r.p.send_signal(signal.SIGABRT)
        r.p.wait(LIMIT)
        text = gdb(WAITS_BIN, f"{d}/core", "-ex", "info gshim", "-ex", "gshim bt all")
        if text is None:
            return "skipped: no gdb"
        check_waits(text)
    return None


def crash(program, how, procs):
    """What gdb, that knows nothing of us, shows of the thread that the core says has died."""
    with tempfile.TemporaryDirectory() as d:
        p = subprocess.run([program, how], env=environment(GSHIM_MAXPROCS=procs), cwd=d,
                           capture_output=True, text=True, timeout=LIMIT, check=False)
        must(not p.stderr, p.stderr)
        text = gdb(program, f"{d}/core", "-ex", "bt", "-ex", "frame function in_crash",
                   "-ex", "info registers r12")
    return -p.returncode, text


def t_gdb_core_of_a_crash():
    """The thread that died is the core's first, with its stack and its registers (abort, which
    never returns, keeps none)."""
    if note := no_cores():
        return note
    program = build("crash")
    for how, sig in (("null", signal.SIGSEGV), ("divide", signal.SIGFPE), ("trap", signal.SIGILL),
                     ("abort", signal.SIGABRT), ("raise", signal.SIGBUS),
                     ("sent", signal.SIGQUIT), ("asleep", signal.SIGQUIT)):
        for procs in ("1", "8"):
            died_of, text = crash(program, how, procs)
            if text is None:
                return "skipped: no gdb"
            must(died_of == sig, how, procs, f"died of {died_of}, not of {sig}")
            must(re.search(r"^#\d+ .*\bin_crash \(", text, re.M) and
                 (how == "abort" or re.search(r"^r12 +0x5eed\b", text, re.M)), how, procs,
                 "the core shows another thread, or not its registers:", text)
    return None


def t_gdb_preempted():
    """A thread that was interrupted shows where, below the runtime's frames; gdb calls the one of
    arch_async_preempt a signal handler's."""
    with Running(WAITS_BIN, "hogs", GSHIM_MAXPROCS="1") as r:
        r.ready()
        end = time.monotonic() + LIMIT
        while True:
            text = gdb_live(r.p.pid, "gshim bt all")
            if text is None:
                return "skipped: no gdb"
            spins = backtraces(text)["spin"]
            must(len(spins) == 4, text)
            through = [f for _, f in spins if HANDLER in f]
            if len(through) >= 2:
                break
            must(time.monotonic() < end, "nobody was ever preempted:", text)
            time.sleep(0.05)
        for frames in through:
            at = frames.index(HANDLER)
            must(frames[at + 1] == "in_spin" and "arch_first_run" in frames, frames)
    return None


def t_quit_dumps_preempted():
    with Running(WAITS_BIN, "hogs", debug="dumponquit=1", GSHIM_MAXPROCS="1") as r:
        r.ready()
        r.until(lambda text: re.search(r"\[runnable, .*\n(    #.*\n)*    #\d+ in_spin\+", text),
                "a thread that was preempted", lambda: r.p.send_signal(signal.SIGQUIT))


def prologue_program():
    flags = os.environ.get("SPLIT_CFLAGS", "").split()
    return build("prologue", *flags, f"-L{BIN.parent}", "-lgshim-split") if flags else None


def t_gdb_prologue():
    """One that gave way at the beginning of a function shows which, and its callers."""
    if (program := prologue_program()) is None:
        return "skipped: the compiler has no -fsplit-stack"
    below = ["gshim_morestack", "__morestack", "begins", "calls_it"]
    with Running(program, debug="asyncpreemptoff=1", GSHIM_MAXPROCS="1") as r:
        r.ready()
        end = time.monotonic() + LIMIT
        while True:
            text = gdb_live(r.p.pid, "gshim bt all")
            if text is None:
                return "skipped: no gdb"
            loops = [f for _, f in backtraces(text)["loop"]]
            through = [f for f in loops if "arch_prologue_preempt" in f]
            if len(through) >= 2:
                break
            must(time.monotonic() < end, "nobody ever gave way:", text)
            time.sleep(0.05)
        for frames in through:
            at = frames.index("arch_prologue_preempt") + 1
            must(frames[at:at + 4] == below and "arch_first_run" in frames, frames)
    return None


def t_quit_dumps_prologue():
    if (program := prologue_program()) is None:
        return "skipped: the compiler has no -fsplit-stack"
    with Running(program, debug="asyncpreemptoff=1,dumponquit=1", GSHIM_MAXPROCS="1") as r:
        r.ready()
        r.until(lambda text: re.search(r"\[runnable, .*\n(    #.*\n)*    #\d+ __morestack\+.*\n"
                                       r"    #\d+ begins\+.*\n    #\d+ calls_it\+", text),
                "a thread that gave way", lambda: r.p.send_signal(signal.SIGQUIT))
    return None


# --- all of them ---------------------------------------------------------------------------

def main():
    names = sys.argv[1:] or [n[2:] for n in globals() if n.startswith("t_")]
    failed = 0
    for name in names:
        try:
            note = globals()["t_" + name]()
            print(f"ok {name}{f' ({note})' if note else ''}", flush=True)
        except (Failed, subprocess.TimeoutExpired, KeyError, IndexError) as e:
            failed += 1
            print(f"FAIL {name}\n    " + str(e).replace("\n", "\n    "), flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return failed != 0


WAITS_BIN = build("waits")
MIX_BIN = build("mix")
sys.exit(main())
