"""gshim-gdb.py - libgshim's threads in gdb, of a live process or a core.

    info gshim               every thread: number, name, tid, state, what it waits for
    gshim bt N|all [ARG]     backtrace of thread N; ARG goes to gdb's bt (full, 5, -full)
    gshim apply N|all CMD    any gdb command as if thread N were selected
    gshim thread N           stay on thread N: bt, up, down, print ...; without N: back

gdb itself sees the kernel threads, of which there are few.  A thread that runs is shown by way
of its kernel thread; of one that waits or is ready to run, the registers lie on its own stack,
where an unwinder finds them.  Needs the library's debug information.

Cores written by the kernel are complete.  Those of gdb's generate-core-file lack the stacks behind
the first guard page of each arena, which gdb cannot read and stops at.

gdb loads this file by itself when it finds it beside the library, or below its auto-load
directory, and trusts the place (add-auto-load-safe-path).
"""

import re

import gdb
from gdb.unwinder import Unwinder, register_unwinder

G_PARKED, G_DEAD = 1, 3  # enum g_wstate
P_MODE, P_SYSCALL = 3, 3  # enum p_mode


def static(file, name):
    return gdb.parse_and_eval(f"'shim/rt/{file}'::{name}")


class Thread:
    """One G, as it is now."""

    def __init__(self, gp):
        self.gp = gp
        self.number = 1 if gp["is_main"] else int(gp["slot"]) + 2
        self.tid = int(gp["tid"])
        name = gp["name"].string(errors="replace")
        self.name = name or ("main" if gp["is_main"] else "")

    def on_cpu(self):
        return int(self.gp["on_cpu"]) != 0

    def lwp(self):
        return int(self.gp["m"]["tid"]) if self.on_cpu() and int(self.gp["m"]) else 0

    def state(self):
        wstate = int(self.gp["wstate"])
        if wstate == G_PARKED:
            names = gdb.parse_and_eval("rt_wait_names")
            return "waits: " + names[int(self.gp["wait_reason"])].string()
        if wstate == G_DEAD:
            return "finished"
        if not self.on_cpu():
            return "ready"
        pp = self.gp["m"]["p"]
        in_call = int(pp) and int(pp["owner"]) & P_MODE == P_SYSCALL
        return f"{'in a system call' if in_call else 'runs'}, kernel thread {self.lwp()}"


def threads():
    """Every living G, the main thread first."""
    main = static("start.c", "main_g")
    if static("start.c", "main_adopted"):
        yield Thread(main.dereference())
    rows = static("gtable.c", "rows")
    for i in range(int(static("gtable.c", "nrows")) if int(rows) else 0):
        gp = rows[i]["gp"]
        if int(gp) and int(gp["tid"]) and int(gp) != int(main):
            yield Thread(gp.dereference())


def thread(number):
    for t in threads():
        if t.number == number:
            return t
    raise gdb.GdbError(f"libgshim has no thread {number}")


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class SwitchedOut(Unwinder):
    """Makes the caller of the innermost frame that place in arch_switch where G left off.

    The innermost frame is told by its registers: functions inlined there are frames, too."""

    def __init__(self):
        super().__init__("gshim")
        self.target, self.lender = None, None

    def __call__(self, pending):
        if self.target is None:
            return None
        sp, pc = pending.read_register("rsp"), pending.read_register("rip")
        if (int(sp), int(pc)) != self.lender:
            return None
        # Below every stack: gdb takes a caller's frame below its callee's for corrupt.
        info = pending.create_unwind_info(FrameId(gdb.Value(0).cast(sp.type), pc))
        info.add_saved_register("rsp", self.target["ctx"]["sp"].cast(sp.type))
        info.add_saved_register("rip", gdb.Value(self.resume).cast(pc.type))
        return info

    def clear(self):
        self.target = None
        gdb.invalidate_cached_frames()

    def select(self, gp):
        """Returns how many frames are not those of GP."""
        self.clear()
        self.resume = int(gdb.parse_and_eval("(unsigned long)&arch_switch_resume"))
        frame = gdb.newest_frame()
        self.lender = int(frame.read_register("rsp")), int(frame.read_register("rip"))
        self.target = gp
        gdb.invalidate_cached_frames()
        frame, skip = gdb.newest_frame(), 0
        while frame is not None and frame.pc() != self.resume:
            frame, skip = frame.older(), skip + 1
        if frame is None:
            raise gdb.GdbError("the frames of the thread cannot be found")
        frame.select()
        return skip


unwinder = SwitchedOut()


class On:
    """with On(thread): the frames are those of the thread; .skip of them are not its own."""

    def __init__(self, t):
        self.t, self.skip = t, 0

    def __enter__(self):
        self.before = gdb.selected_thread()
        if self.t.on_cpu():
            lwp = self.t.lwp()
            for th in gdb.selected_inferior().threads():
                if th.ptid[1] == lwp:
                    th.switch()
                    return self
            raise gdb.GdbError(f"kernel thread {lwp} is not there")
        self.skip = unwinder.select(self.t.gp)
        return self

    def __exit__(self, *_):
        unwinder.clear()
        if self.before is not None and self.before.is_valid():
            self.before.switch()


def backtrace(skip, args):
    """gdb's own, without the frames of the kernel thread that lent us its registers."""
    if args.strip().isdigit():
        args = str(int(args) + skip)
    text = gdb.execute(f"bt {args}", to_string=True)
    frames = re.split(r"^(?=#\d)", text, flags=re.M)
    shown = [f for f in frames if f.startswith("#")][skip:]
    for i, f in enumerate(shown):
        gdb.write(re.sub(r"^#\d+ *", f"#{i:<3} ", f))


def chosen(word):
    if word == "all":
        return list(threads())
    if not word.isdigit():
        raise gdb.GdbError("a thread's number, as in `info gshim', or `all'")
    return [thread(int(word))]


class InfoGshim(gdb.Command):
    """List the threads of libgshim: running, ready and waiting."""

    def __init__(self):
        super().__init__("info gshim", gdb.COMMAND_STATUS)

    def invoke(self, _arg, _tty):
        n = 0
        for t in threads():
            n += 1
            mark = "*" if unwinder.target is not None and t.gp.address == \
                unwinder.target.address else " "
            gdb.write(f"{mark} {t.number:<5} {t.name:<16} tid {t.tid:<9} {t.state()}\n")
        if n == 0:
            gdb.write("No threads: libgshim has not started, or passes through to libc.\n")


class Gshim(gdb.Command):
    """Commands on the threads of libgshim; see `info gshim' for their numbers."""

    def __init__(self):
        super().__init__("gshim", gdb.COMMAND_STACK, gdb.COMPLETE_NONE, True)


class Backtrace(gdb.Command):
    """gshim bt N|all [ARG]: backtrace of one thread of libgshim, or of all."""

    def __init__(self):
        super().__init__("gshim bt", gdb.COMMAND_STACK)

    def invoke(self, arg, _tty):
        word, _, rest = arg.partition(" ")
        for t in chosen(word or "all"):
            gdb.write(f"\nThread {t.number} \"{t.name}\" ({t.state()}):\n")
            with On(t) as on:
                backtrace(on.skip, rest)


class Apply(gdb.Command):
    """gshim apply N|all COMMAND: a gdb command in a thread of libgshim."""

    def __init__(self):
        super().__init__("gshim apply", gdb.COMMAND_STACK)

    def invoke(self, arg, _tty):
        word, _, command = arg.partition(" ")
        for t in chosen(word):
            gdb.write(f"\nThread {t.number} \"{t.name}\":\n")
            with On(t):
                gdb.execute(command)


class Select(gdb.Command):
    """gshim thread N: select a thread of libgshim until `gshim thread' or the program goes on."""

    def __init__(self):
        super().__init__("gshim thread", gdb.COMMAND_STACK)

    def invoke(self, arg, _tty):
        unwinder.clear()
        if not arg:
            return
        t = thread(int(arg))
        if t.on_cpu():
            On(t).__enter__()
        else:
            unwinder.select(t.gp)
        gdb.write(f"[thread {t.number} \"{t.name}\", {t.state()}]\n")


def on_continue(_event):
    unwinder.target = None


InfoGshim()
Gshim()
Backtrace()
Apply()
Select()
register_unwinder(None, unwinder, replace=True)
gdb.events.cont.connect(on_continue)
# The signal that preempts: every 10 ms where threads compete.
gdb.execute("handle SIGURG nostop noprint pass", to_string=True)
