#!/bin/bash
# run.sh [NAME...] - how the library behaves in its environment: settings, limits, other
# preloads, the edges of a process's life.  What can only be seen from outside a process.
#
# Each check is a function t_NAME below; it is ok when it calls `bad` never.  Checks that
# need root, a package or a file system option that is not there say so and are skipped.
#
# Environment, set by the Makefile: GSHIM_LIB, GSHIM_BUILD, CC.  Nothing is judged by
# time.
set -u

here=$(cd "$(dirname "$0")" && pwd)
lib=${GSHIM_LIB:?run this by make check-env}
bin=${GSHIM_BUILD:?run this by make check-env}/env
probe=$bin/probe
unset GSHIM_MAXPROCS GSHIM_DEBUG GSHIM_TRACE LD_PRELOAD
# Messages of the C library's are compared.
export LC_ALL=C

tmp=$(mktemp -d "${TMPDIR:-/tmp}/gshim-env.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"

# build NAME SOURCE [compiler flags...] - into $bin, when it is older than its source.
build()
{
    local out=$bin/$1 src=$here/$2
    shift 2
    [ "$out" -nt "$src" ] && return 0
    mkdir -p "$bin"
    "${CC:-cc}" -std=gnu11 -O1 -g -Wall -Wextra -pthread -o "$out" "$src" "$@"
}

# run [VAR=VALUE...] COMMAND... - leaves out, err and $rc.
run()
{
    # In a child, so that the shell's report of a signal goes nowhere.
    (exec timeout -k 5 30 env "$@") > "$tmp/out" 2> "$tmp/err"
    rc=$?
} 2> /dev/null

preloaded()
{
    run LD_PRELOAD="$lib" "$@"
}

bad()
{
    problems+="    $*"$'\n'
}

# must RC [TEXT] - status of the last run and, if given, all of its output.
must()
{
    [ "$rc" = "$1" ] || bad "status $rc, not $1"
    [ $# = 1 ] || [ "$(< "$tmp/out")" = "$2" ] || bad "printed: $(head -n 5 "$tmp/out")"
    [ -z "$problems" ] || [ ! -s "$tmp/err" ] || bad "stderr: $(head -n 3 "$tmp/err")"
}

# stderr_lines N [PATTERN...] - exactly N lines; each pattern is found in them.
stderr_lines()
{
    local n pattern
    n=$(wc -l < "$tmp/err")
    [ "$n" = "$1" ] || bad "$n lines on stderr, not $1: $(head -n 5 "$tmp/err")"
    shift
    for pattern in "$@"; do
        grep -qE -- "$pattern" "$tmp/err" || bad "no '$pattern' in: $(< "$tmp/err")"
    done
}

# as_native COMMAND... - same output and status natively and preloaded, stderr silent.
as_native()
{
    local want
    run "$@"
    want="$rc $(< "$tmp/out")"
    preloaded "$@"
    [ "$rc $(< "$tmp/out")" = "$want" ] ||
        bad "'$*': '$rc $(< "$tmp/out")', natively '$want'"
    stderr_lines 0
}

skip()
{
    skipped=$*
}

# --- settings ---------------------------------------------------------------------------

four="sum 10"

t_maxprocs_bad()
{
    local v
    for v in abc 0 99999 -1 2.5 '1 ' 18446744073709551617; do
        preloaded GSHIM_MAXPROCS="$v" "$probe" threads 4
        must 0
        grep -qx "$four" "$tmp/out" || bad "$v: $(< "$tmp/out")"
        stderr_lines 1 "GSHIM_MAXPROCS=\"$v\"" "using [1-9]"
    done
}

# An empty variable is as none, as with most programs.
t_maxprocs_empty()
{
    preloaded GSHIM_MAXPROCS= "$probe" threads 4
    must 0
    grep -qx "$four" "$tmp/out" || bad "$(< "$tmp/out")"
    stderr_lines 0
}

t_maxprocs_good()
{
    local v
    for v in 1 3 1024; do
        preloaded GSHIM_MAXPROCS=$v "$probe" threads 4
        must 0
        grep -qx "$four" "$tmp/out" || bad "$v: $(< "$tmp/out")"
        stderr_lines 0
    done
}

t_debug_unknown()
{
    preloaded GSHIM_DEBUG=nosuch=1 "$probe" threads 4
    must 0
    grep -qx "$four" "$tmp/out" || bad "$(< "$tmp/out")"
    stderr_lines 1 'GSHIM_DEBUG="nosuch=1"' ignored
    preloaded GSHIM_DEBUG=off=maybe "$probe" threads 4
    must 0
    stderr_lines 1 'GSHIM_DEBUG="off=maybe"' 'using 0'
    preloaded GSHIM_DEBUG= "$probe" threads 4
    must 0
    stderr_lines 0
}

t_debug_off()
{
    as_native GSHIM_DEBUG=off=1 "$probe" threads 4
    must 0 "kernel threads 5"$'\n'"$four"
    as_native GSHIM_DEBUG=off=1 "$probe" malloc
    as_native GSHIM_DEBUG=off=1 "$probe" none
}

t_trace_bad()
{
    preloaded GSHIM_TRACE=/nonexistent/folder/file "$probe" threads 4
    must 0
    grep -qx "$four" "$tmp/out" || bad "$(< "$tmp/out")"
}

# The kernel thread that writes the trace changes its ids with the others.
t_setuid_of_traced_never_returns()
{
    [ "$(id -u)" = 0 ] || { skip "needs root"; return; }
    preloaded GSHIM_TRACE="$tmp/ids.trace" python3 -c '
import os, threading
t = threading.Thread(target=print, args=("thread",))
t.start()
t.join()
os.setresuid(65534, 65534, 65534)
for task in os.listdir("/proc/self/task"):
    status = open("/proc/self/task/%s/status" % task).read()
    assert status.split("Uid:")[1].split()[0] == "65534", status
print(os.getuid())'
    must 0 $'thread\n65534'
    [ -s "$tmp/ids.trace" ] || bad "no trace"
}

# A program that runs for somebody more privileged does not listen to the caller.
t_setuid()
{
    [ "$(id -u)" = 0 ] || { skip "needs root"; return; }
    cp "$lib" "$tmp/libgshim.so.0"
    "${CC:-cc}" -std=gnu11 -O1 -pthread -o "$tmp/suid" "$here/probe.c" \
        -Wl,--no-as-needed "$tmp/libgshim.so.0" -Wl,-rpath,"$tmp" || bad "does not link"
    chown nobody "$tmp/suid" && chmod 4755 "$tmp/suid"
    run "$tmp/suid" secure
    if grep -qx 'AT_SECURE 0' "$tmp/out"; then
        skip "set-uid has no effect in $tmp"
        return
    fi
    run GSHIM_MAXPROCS=abc GSHIM_DEBUG=off=1,nosuch=1 "$tmp/suid" secure
    must 0 $'AT_SECURE 1\nfew\nsum 1275'
    stderr_lines 0
    # The same program, not set-uid, listens.
    chmod 755 "$tmp/suid"
    run GSHIM_DEBUG=off=1 "$tmp/suid" secure
    must 0 $'AT_SECURE 0\nmany\nsum 1275'
}

# --- free for those who do not need it --------------------------------------------------

t_no_threads()
{
    as_native "$probe" none
    grep -qx 'kernel threads 1' "$tmp/out" || bad "$(head -n 1 "$tmp/out")"
    as_native /bin/sh -c 'trap : USR1; grep -E "^(Threads|Sig)" /proc/$$/status |
        grep -v SigQ; echo | cat'
}

t_no_keys()
{
    as_native "$probe" keys
}

# Reported, not judged: it belongs to the machine.
t_start_up()
{
    local native preload
    run "$probe" time 300 "$probe"
    native=$(< "$tmp/out")
    preloaded "$probe" time 300 "$probe"
    preload=$(< "$tmp/out")
    note="$native us natively, $((preload - native)) us more preloaded"
}

t_kernel_threads()
{
    local p n
    for p in 1 2 8; do
        preloaded GSHIM_MAXPROCS=$p "$probe" threads 1000
        must 0
        stderr_lines 0
        n=$(sed -n 's/^kernel threads //p' "$tmp/out")
        [ "${n:-999}" -le $((p + 4)) ] || bad "$n kernel threads for 1000 with $p P"
        grep -qx 'sum 500500' "$tmp/out" || bad "$(< "$tmp/out")"
    done
}

# top and ps show kernel threads under the program's name, as natively.
t_kernel_threads_have_the_programs_name()
{
    preloaded GSHIM_MAXPROCS=4 "$probe" thread-names
    must 0 'sum 36'
}

# --- limits -----------------------------------------------------------------------------

# limited N - the probe as a user who owns nothing else and may have N tasks.
limited()
{
    cp "$lib" "$tmp/libgshim.so.0"
    cp "$probe" "$tmp/probe"
    run setpriv --reuid=54321 --regid=54321 --clear-groups \
        env GSHIM_MAXPROCS=2 LD_PRELOAD="$tmp/libgshim.so.0" "$tmp/probe" nproc "$1"
}

can_limit()
{
    [ "$(id -u)" = 0 ] && command -v setpriv > /dev/null && return 0
    skip "needs root and setpriv"
    return 1
}

# The process, its feeder, the monitor and one or two more: eight threads that block in
# the kernel have to share what there is.
t_few_kernel_threads()
{
    local n
    can_limit || return
    for n in 4 5; do
        limited $n
        must 0 $'sum 36\nwent on'
        stderr_lines 1 'refuses' 'error 11'
    done
    limited 100
    must 0 $'sum 36\nwent on'
    stderr_lines 0
}

# Not even the monitor: then threads are the kernel's, and there is none to be had.
t_no_kernel_threads()
{
    can_limit || return
    limited 2
    must 0 $'pthread_create: EAGAIN\nwent on'
    stderr_lines 1 'passing threads through'
}

t_memory()
{
    as_native GSHIM_MAXPROCS=1 "$probe" memory 20
    as_native GSHIM_MAXPROCS=2 "$probe" memory 300
    must 0 $'some\nsum 10'
}

# From none to plenty, in KB: refused or served, never worse.
t_memory_at_start()
{
    local kb seen=
    for kb in 16 64 256 512 1024 2048 4096 8192 12288 16384 24576 32768 65536 1000000; do
        preloaded "$probe" memory-at-start $kb
        must 0
        case $(< "$tmp/out") in
        $'EAGAIN\nwent on' | $'created\nwent on') seen+=$(head -c 1 "$tmp/out") ;;
        *) bad "$kb KB: $(< "$tmp/out")" ;;
        esac
        [ "$(wc -l < "$tmp/err")" -le 1 ] || bad "$kb KB: $(< "$tmp/err")"
    done
    case $seen in
    E*c) ;;
    *) bad "refused or created: $seen" ;;
    esac
}

# --- other preloads ---------------------------------------------------------------------

t_jemalloc()
{
    local je='' f order
    for f in /usr/lib/*/libjemalloc.so.2 /usr/lib/libjemalloc.so.2; do
        [ ! -f "$f" ] || je=$f
    done
    [ -n "$je" ] || { skip "libjemalloc.so.2 is not installed"; return; }
    for order in "$je:$lib" "$lib:$je"; do
        run LD_PRELOAD="$order" "$probe" malloc
        must 0 "sum 78"
        stderr_lines 0
        run LD_PRELOAD="$order" "$probe" none
        must 0
        run LD_PRELOAD="$order" MALLOC_CONF=background_thread:true "$probe" malloc
        must 0 "sum 78"
        stderr_lines 0
    done
}

# with_lib NAME MODE... - NAME.so before and after the library, as with NAME.so alone.
with_lib()
{
    local so=$bin/$1.so want order p
    shift
    run LD_PRELOAD="$so" "$@"
    want="$rc $(< "$tmp/out")"
    for order in "$so:$lib" "$lib:$so"; do
        for p in 1 2; do
            run LD_PRELOAD="$order" GSHIM_MAXPROCS=$p "$@"
            [ "$rc $(< "$tmp/out")" = "$want" ] ||
                bad "$order, P=$p: '$rc $(< "$tmp/out")', not '$want'"
            stderr_lines 0
        done
    done
}

t_malloc_interposer()
{
    with_lib lib_malloc "$probe" malloc
    with_lib lib_malloc "$probe" none
    with_lib lib_malloc "$probe" keys
}

# --- the edges of a process's life ------------------------------------------------------

t_constructor()
{
    with_lib lib_ctor "$probe"
    with_lib lib_ctor "$probe" keys
    with_lib lib_ctor "$probe" atexit before
}

# Threads were there before main; its pthread_exit still ends only itself.
t_constructor_then_main_exit()
{
    with_lib lib_ctor LIB_CTOR_NOT_AT_END=1 "$probe" main-exit
    grep -qx 'outlived main' "$tmp/out" || bad "$(< "$tmp/out")"
}

t_main_exit()
{
    as_native "$probe" main-exit
    must 0 'outlived main'
}

t_dlopen()
{
    as_native "$probe" dlopen "$bin/lib_ctor.so"
    as_native GSHIM_MAXPROCS=1 "$probe" dlopen "$bin/lib_ctor.so"
}

t_atexit()
{
    as_native "$probe" atexit before
    as_native "$probe" atexit only
    must 0 $'atexit: sum 10\ndestructor: sum 10'
}

# --- installed --------------------------------------------------------------------------

# What pkg-config says is enough to build a program whose threads share at its prologues.
t_pkg_config()
{
    local root flags defines=() out=$tmp/installed
    root=$(cd "$here/../.." && pwd)
    command -v pkg-config > /dev/null || { skip "pkg-config is not installed"; return; }
    env -u MAKEFLAGS -u MAKELEVEL make -s -C "$root" O="$GSHIM_BUILD" DESTDIR=/ PREFIX="$out" \
        install > "$tmp/out" 2> "$tmp/err" || bad "make install: $(head -n 3 "$tmp/err")"
    flags=$(PKG_CONFIG_PATH=$out/lib/pkgconfig pkg-config --cflags --libs gshim)
    [[ $flags != *-fsplit-stack* ]] || defines=(-DSPLIT)
    # shellcheck disable=SC2086 # words are meant
    "${CC:-cc}" -std=gnu11 -O2 -D_GNU_SOURCE "-I$root" "${defines[@]}" -pthread -o "$tmp/split" \
        "$root/compat-tests/preempt/split.c" $flags -lm 2> "$tmp/err" ||
        bad "does not compile with $flags: $(head -n 3 "$tmp/err")"
    run GSHIM_DEBUG=asyncpreemptoff=1 GSHIM_MAXPROCS=1 LD_LIBRARY_PATH="$out/lib" \
        "$tmp/split" 0.1
    must 0
    env -u MAKEFLAGS -u MAKELEVEL make -s -C "$root" O="$GSHIM_BUILD" DESTDIR=/ PREFIX="$out" \
        uninstall > "$tmp/out" 2> "$tmp/err" || bad "make uninstall: $(head -n 3 "$tmp/err")"
    [ -z "$(find "$out" ! -type d)" ] || bad "left: $(find "$out" ! -type d)"
}

# Linked with libgcc's split stacks instead of ours: left to the C library, in one line.
t_libgcc_split_stacks()
{
    local root
    root=$(cd "$here/../.." && pwd)
    "${CC:-cc}" -std=gnu11 -O2 -D_GNU_SOURCE "-I$root" -DSPLIT -fsplit-stack -pthread \
        -o "$tmp/libgcc" "$root/compat-tests/preempt/split.c" -lm 2> "$tmp/err" ||
        { skip "the compiler has no -fsplit-stack"; return; }
    preloaded "$tmp/libgcc" 0.1
    [ "$rc" = 0 ] || bad "status $rc"
    stderr_lines 1 'gshim: passing threads through' 'fsplit-stack'
}

# --- faults -----------------------------------------------------------------------------

t_stack_overflow()
{
    local bytes
    for bytes in 65536 262144 8388608; do
        preloaded "$probe" overflow $bytes deep-one
        must 139
        stderr_lines 1 'gshim: stack overflow' 'deep-one' "$bytes"
    done
}

# A fault that is no overflow says nothing.
t_fault()
{
    preloaded "$probe" null
    must 139
    stderr_lines 0
}

t_fault_handler()
{
    as_native "$probe" handled before
    as_native "$probe" handled after
    must 0
}

# --- a C library that we do not know -------------------------------------------------------

# doctored NAME BITS COUNT OFFSET - a library that describes one field of a thread that way.
doctored()
{
    rm -f "$bin/lib_layout.so"
    printf 'GLIBC_PRIVATE { global: %s; local: *; };' "$1" > "$tmp/map"
    build lib_layout.so lib_layout.c -fPIC -shared -DNAME="$1" -DBITS="$2" -DCOUNT="$3" \
        -DOFFSET="$4" -Wl,--version-script="$tmp/map" || bad "lib_layout.so: $1"
}

# Each is wrong in a way of its own: out of range, in range but elsewhere, of another kind.
t_unknown_layout()
{
    local row
    while read -r row; do
        doctored $row
        run LD_PRELOAD="$bin/lib_layout.so $lib" "$probe" threads 4
        must 0
        grep -qx "$four" "$tmp/out" || bad "$row: $(< "$tmp/out")"
        grep -qx 'kernel threads 5' "$tmp/out" || bad "$row: not on libc's threads"
        stderr_lines 1 'passing threads through'
    done << 'END'
_thread_db_pthread_tid 32 1 70000
_thread_db_pthread_tid 32 1 64
_thread_db_pthread_tid 64 1 720
_thread_db_pthread_list 128 1 16
_thread_db_pthread_specific 64 32 8
_thread_db_sizeof_pthread 0 0 0
_thread_db_sizeof_pthread_key_data 0 0 0
_thread_db_rtld_global__dl_stack_user 128 1 8
END
}

# --- other processes ----------------------------------------------------------------------

# Every kind of shared object between a process on libc's threads and one on ours.
t_shared_with_a_native_process()
{
    local want p
    build oneside oneside.c || bad "does not build"
    run "$bin/oneside"
    must 0
    want=$(< "$tmp/out")
    for p in 1 2 8; do
        preloaded GSHIM_MAXPROCS=$p "$bin/oneside"
        must 0 "$want"
        run GSHIM_MAXPROCS=$p PEER_PRELOAD="$lib" "$bin/oneside"
        must 0 "$want"
        stderr_lines 0
    done
}

# --- files and descriptors ----------------------------------------------------------------

# Of 50 file calls that block, as many as allowed have a kernel thread; the others their turn.
t_file_calls()
{
    build filecalls filecalls.c || bad "does not build"
    preloaded GSHIM_MAXPROCS=2 GSHIM_MAXFILECALLS=3 "$bin/filecalls" 50 4 16
    must 0 $'few\n0 wrong'
    preloaded GSHIM_MAXPROCS=1 GSHIM_MAXFILECALLS=1 "$bin/filecalls" 50 2 14
    must 0 $'few\n0 wrong'
    preloaded GSHIM_MAXPROCS=2 GSHIM_MAXFILECALLS=100 "$bin/filecalls" 50 50 100
    must 0 $'few\n0 wrong'
    stderr_lines 0
}

# The poller takes no descriptor of the program: all calls block a kernel thread, and are right.
t_poller_refuses()
{
    local how p err program
    build deny deny.c || bad "does not build"
    run "$bin/deny" ENOSPC true
    [ "$rc" = 0 ] || { skip "no seccomp here"; return; }
    for program in io_rw io_sock io_change io_more; do
        for how in '1 ENOSPC' '2 ENOMEM'; do
            read -r p err <<< "$how"
            preloaded GSHIM_MAXPROCS="$p" "$bin/deny" "$err" \
                "${bin%/env}/conform/$program"
            [ "$rc" = 0 ] || bad "$program, $how: status $rc: $(< "$tmp/out")"
            stderr_lines 0
        done
    done
}

# RLIMIT_SIGPENDING is 0: the kernel has no memory for what marks our own signals.
t_no_signal_memory()
{
    local native mode p debug tests program=${bin%/env}/conform
    local limited=(bash -c 'ulimit -i 0; LD_PRELOAD=$1 exec "${@:2}"' limited)
    build bare bare.c -D_GNU_SOURCE || { bad "does not build"; return; }
    for mode in errors urgent cross; do
        run "${limited[@]}" '' "$bin/bare" "$mode"
        native=$(< "$tmp/out")
        [ "$rc" = 0 ] || { skip "natively $mode: status $rc"; return; }
        for p in 1 2 8; do
            for debug in '' preemptus=100; do
                run GSHIM_MAXPROCS="$p" GSHIM_DEBUG="$debug" "${limited[@]}" "$lib" \
                    "$bin/bare" "$mode"
                must 0 "$native"
            done
        done
    done
    # What does the same natively with and without the limit.
    for tests in "signal_handler mask no_defer reset context_mask jumps_out handler_waits" \
        "signal_own" "signals" \
        "signal_thread in_on_cond in_on_futex in_on_read in_on_spin by_tid ignoring_discards" \
        "signal_wait one_signal_one_taker interrupted suspend_is_atomic many_suspended" \
        "signal_process goes_to_the_one_that_does_not_block_it fork_from_a_thread"; do
        for p in 1 2 8; do
            # shellcheck disable=SC2086
            run GSHIM_MAXPROCS="$p" "${limited[@]}" "$lib" "$program"/$tests
            [ "$rc" = 0 ] || bad "$tests, $p: status $rc: $(< "$tmp/out")"
            stderr_lines 0
        done
    done
}

# --- all of them ------------------------------------------------------------------------

build probe probe.c || exit 1
build lib_ctor.so lib_ctor.c -fPIC -shared || exit 1
build lib_malloc.so lib_malloc.c -fPIC -shared -fno-builtin || exit 1

passed=0 failed=0
if [ $# = 0 ]; then
    mapfile -t names < <(sed -n 's/^t_\([a-z_]*\)()$/\1/p' "$0")
else
    names=("$@")
fi
for name in "${names[@]}"; do
    problems='' skipped='' note=''
    "t_$name"
    if [ -n "$problems" ]; then
        failed=$((failed + 1))
        printf 'FAIL %s\n%s' "$name" "$problems"
    else
        passed=$((passed + 1))
        printf 'ok %s%s%s\n' "$name" "${skipped:+ (skipped: $skipped)}" \
            "${note:+ ($note)}"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
