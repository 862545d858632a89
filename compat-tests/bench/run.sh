#!/bin/bash
# run.sh - gshim, NPTL and Go side by side, from one run; `make bench`.
#
#   run.sh [--quick] [--raw FILE] [NAME...]
#
#   --quick     three repetitions and no million threads
#   --raw FILE  keep every value ("implementation row value unit") there
#   NAME...     only these measurements (names of bench.c)
#
# BENCH_REPS (default 5) says how often everything is repeated. The implementations take
# turns within each repetition, so that a busy moment of the machine hits all of them. The
# table has medians. It is never a verdict: the exit status only says whether the programs
# ran. Environment: GSHIM_LIB (without it that column stays empty), GSHIM_BUILD, CC.
set -u

DIR=$(cd "$(dirname "$0")" && pwd)
GSHIM_LIB=${GSHIM_LIB-}
BIN=${GSHIM_BUILD:-${TMPDIR:-/tmp}/gshim-build}/bench
REPS=${BENCH_REPS:-5}
TIMEOUT=300
TRACE_PAIRS=15
quick=
raw=
names=
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=1 REPS=${BENCH_REPS:-3} ;;
    --raw) raw=$2; shift ;;
    -*) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) names="$names $1" ;;
    esac
    shift
done
unset LD_PRELOAD GSHIM_MAXPROCS

if [ -n "$GSHIM_LIB" ] && [ ! -f "$GSHIM_LIB" ]; then
    echo "bench: GSHIM_LIB=$GSHIM_LIB does not exist" >&2
    exit 2
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/gshim-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
values=$work/values
: > "$values"

# --- build ---

mkdir -p "$BIN"
for program in bench echo calls preempt cost jobs; do
    [ ! "$BIN/$program" -nt "$DIR/$program.c" ] || continue
    "${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra "-I$DIR/../.." -pthread -o "$BIN/$program" \
        "$DIR/$program.c" || exit 1
done
[ "$BIN/gen" -nt "$DIR/../apps/gen.c" ] ||
    "${CC:-cc}" -std=gnu11 -O2 -o "$BIN/gen" "$DIR/../apps/gen.c" || exit 1
go=
if command -v go > /dev/null 2>&1; then
    go="$BIN/bench-go"
    for program in bench echo; do
        [ ! "$BIN/$program-go" -nt "$DIR/$program.go" ] || continue
        # No network, no module: one file of the standard library's users.
        (cd "$work" && GOFLAGS=-mod=mod GOPROXY=off GO111MODULE=off GOTOOLCHAIN=local \
            GOCACHE="$work/go-cache" go build -o "$BIN/$program-go" \
            "$DIR/$program.go") || go=
    done
fi
[ -n "$go" ] || echo "bench: no Go here, its column stays empty"

# --- run ---

# one IMPLEMENTATION ROW-SUFFIX WRAPPER... -- NAME [ARG] - adds the values of one run.
failed=0
one()
{
    local impl=$1 suffix=$2 wrap=() cmd=() program=bench
    shift 2
    while [ "$1" != -- ]; do
        wrap+=("$1")
        shift
    done
    shift
    case $1 in
    echo | calls | preempt | cost) # programs of their own
        program=$1
        shift
        ;;
    esac
    case $impl in
    gshim)
        [ -n "$GSHIM_LIB" ] || return 0
        cmd=(env LD_PRELOAD="$GSHIM_LIB" "$BIN/$program")
        ;;
    nptl) cmd=("$BIN/$program") ;;
    go)
        [ -n "$go" ] || return 0
        cmd=("$BIN/$program-go")
        ;;
    esac
    timeout -k 5 "$TIMEOUT" "${wrap[@]}" "${cmd[@]}" "$@" > "$work/out" 2> "$work/err"
    local status=$?
    if [ "$status" = 124 ] && [ "$impl" = nptl ]; then
        echo "bench: nptl: $program $* was not done in $TIMEOUT s" >&2
        return 0
    elif [ "$status" != 0 ]; then
        echo "bench: $impl: $program $* failed ($status): $(tail -n 1 "$work/err")" >&2
        failed=1
        return 0
    fi
    awk -v impl="$impl" -v suffix="$suffix" '{ print impl, $1 suffix, $2, $3 }' \
        "$work/out" >> "$values"
}

wanted()
{
    [ -z "$names" ] && return 0
    case " $names " in
    *" $1 "*) return 0 ;;
    esac
    return 1
}

# NPTL is not driven to the last pid of the machine: others need some, too.
pid_max=$(cat /proc/sys/kernel/pid_max)
threads_max=$(cat /proc/sys/kernel/threads-max)
maps_max=$(($(cat /proc/sys/vm/max_map_count) / 2))
nptl_most=$pid_max
[ "$threads_max" -lt "$nptl_most" ] && nptl_most=$threads_max
[ "$maps_max" -lt "$nptl_most" ] && nptl_most=$maps_max
nptl_most=$((nptl_most - 2500))

parked()
{
    local n=$1 need_mb=$(($1 * 12 / 1024)) have_mb impl count
    need_mb=$((need_mb + 500))
    have_mb=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
    if [ "$have_mb" -lt "$need_mb" ]; then
        [ "$rep" != 1 ] || echo "bench: $n parked threads need $need_mb MB, left out"
        return 0
    fi
    for impl in gshim nptl go; do
        count=$n
        if [ "$impl" = nptl ] && [ "$n" -gt "$nptl_most" ]; then
            [ "$nptl_most" -gt 10000 ] || continue
            count=$nptl_most
        fi
        one "$impl" "_$n" -- parked "$count"
    done
}

# cpu_and_wall COMMAND... - sets $cpu_s to its CPU time and $wall_s to the time it took.
cpu_and_wall()
{
    local TIMEFORMAT='%R %U %S'
    { time "$@" > "$work/out" 2> "$work/err"; } 2> "$work/time" || return
    read -r wall_s cpu_s < <(awk '{ print $1, $2 + $3 }' "$work/time")
}

# trace_pair NAME COMMAND... - what writing a trace costs it, in per cent: one pair of runs.
trace_pair()
{
    local name=$1 without cpu without_wall first=$((RANDOM % 2)) i
    shift
    for i in "$first" $((1 - first)); do
        if ! cpu_and_wall env LD_PRELOAD="$GSHIM_LIB" \
            GSHIM_TRACE="$([ "$i" = 0 ] || echo "$work/trace")" "$@"; then
            echo "bench: trace: $* failed: $(tail -n 1 "$work/err")" >&2
            failed=1
            return 0
        fi
        if [ "$i" = 0 ]; then
            without=$cpu_s without_wall=$wall_s
        else
            cpu=$cpu_s wall=$wall_s
        fi
    done
    awk -v name="$name" -v a="$without" -v b="$cpu" -v c="$without_wall" -v d="$wall" 'BEGIN {
        if (a > 0 && c > 0) {
            print "gshim", name "_cpu", 100 * (b / a - 1), "%"
            print "gshim", name "_wall", 100 * (d / c - 1), "%"
        } }' >> "$values"
}

# Server and client are a process each, with a descriptor for each connection.
nofile=$(ulimit -Hn)
[ "$nofile" != unlimited ] || nofile=1000000
[ "$nofile" -ge 10100 ] || echo "bench: $nofile open files, no echo with 10,000 connections"
cpu=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
for rep in $(seq "$REPS"); do
    [ ! -t 2 ] || printf 'bench: repetition %s of %s\r' "$rep" "$REPS" >&2
    for name in create_join create_batch yield sem locked cond mutex hot sleeper; do
        wanted "$name" || continue
        for impl in gshim nptl go; do
            one "$impl" "" -- "$name"
        done
        case $name in
        yield)
            # On one CPU every yield is a switch; the default has a CPU for each thread.
            for impl in gshim nptl go; do
                one "$impl" _1cpu taskset -c "$cpu" -- "$name"
            done
            ;;
        esac
    done
    for name in cpu startup; do
        wanted "$name" || continue
        one gshim "" -- "$name"
        one nptl "" -- "$name"
    done
    if wanted calls; then
        one gshim "" -- calls
        one nptl "" -- calls
    fi
    if wanted preempt; then
        # One at a time runs: on one P, or on one CPU.
        one gshim "" env GSHIM_MAXPROCS=1 -- preempt turns
        one nptl "" taskset -c "$cpu" -- preempt turns
        for what in idle busy stop; do
            one gshim "" -- preempt "$what"
        done
        one gshim "" env GSHIM_MAXPROCS=1 GSHIM_DEBUG=preemptus=50 -- cost
    fi
    if wanted trace && [ -n "$GSHIM_LIB" ]; then
        [ -f "$work/text" ] || "$BIN/gen" $((16 << 20)) > "$work/text"
        for _ in $(seq $(((TRACE_PAIRS + REPS - 1) / REPS))); do
            trace_pair trace_pigz pigz -p4 -c "$work/text"
            trace_pair trace_jobs "$BIN/jobs" 40000
        done
    fi
    if wanted echo; then
        for impl in gshim nptl go; do
            one "$impl" _500 -- echo 500
            # NPTL has 20,000 kernel threads then: in a minute or not at all.
            [ "$nofile" -lt 10100 ] || TIMEOUT=150 one "$impl" _10000 -- echo 10000
        done
    fi
    if wanted parked; then
        parked 10000
        # The large ones take long and vary little.
        if [ "$rep" -le 3 ]; then
            parked 100000
            [ -n "$quick" ] || parked 1000000
        fi
    fi
done
[ -z "$raw" ] || cp "$values" "$raw"

# --- table ---

echo "$(uname -m), $(nproc) CPUs, Linux $(uname -r), $(getconf GNU_LIBC_VERSION)," \
    "${go:+$(go version | cut -d' ' -f3), }$REPS repetitions, medians"
[ "$nptl_most" -ge 1000000 ] ||
    echo "NPTL parks at most $nptl_most threads here (pid_max, max_map_count)," \
        "also in the rows for more"
cat > "$work/rows" <<'ROWS'
create_join|create + join, one at a time|us|1000|0.28 us
create_batch|create + join, batches of 1000|us|1000|0.18 us
yield_1cpu|yield, 2 threads on 1 CPU|us|1000|0.045 us
yield|yield, 2 threads, all CPUs|us|1000|
sem|semaphore ping-pong, round trip|us|1000|0.18 us
locked|the same, both bound to kernel threads|us|1000|NPTL
cond|condvar ping-pong, round trip|us|1000|0.20 us
mutex_before|mutex lock + unlock, no thread yet|ns|1|1.1 x NPTL
mutex_after|the same after the first thread|ns|1|1.1 x NPTL
hot|one hot mutex, 8 threads, per op|ns|1|24 ns
parked_create_10000|first creation of 10 k parked, each|us|1000|1.5 us
parked_join_10000|waking and joining them, each|us|1000|0.13 us
parked_rss_10000|RSS per parked thread, 10 k|KB|1|8.5 KB
parked_all_10000|all-in with kernel memory, 10 k|KB|1|9 KB
parked_create_100000|creation at 100 k, each|us|1000|
parked_join_100000|waking and joining at 100 k, each|us|1000|
parked_rss_100000|RSS per parked thread, 100 k|KB|1|8.5 KB
parked_all_100000|all-in, 100 k|KB|1|9 KB
parked_create_1000000|creation at 1 M, each|us|1000|
parked_join_1000000|waking and joining at 1 M, each|us|1000|
parked_rss_1000000|RSS per parked thread, 1 M|KB|1|8.5 KB
parked_all_1000000|all-in, 1 M|KB|1|9 KB
parked_live_1000000|most threads that lived at once||1|1 M
sleeper_p50|1 ms sleeper, 4 hogs: late, p50|us|1|60 us
sleeper_p99|1 ms sleeper, 4 hogs: late, p99|us|1|600 us
turns|a busy thread gives way to another|us|1000|
signal_empty|an empty signal, gap in a busy loop|us|1000|
preempt_switch|a preemption, gap between two loops|us|1000|2 us
preempt_over|what is ours of that|us|1000|2 us
trace_pigz_cpu|GSHIM_TRACE, pigz: more CPU time|%|1|5 %
trace_pigz_wall|the same, time|%|1|5 %
trace_jobs_cpu|GSHIM_TRACE, 50 k jobs/s: more CPU time|%|1|5 %
trace_jobs_wall|the same, time|%|1|5 %
monitor_idle|CPU share of sysmon, all asleep|%|1|0.5 %
monitor_busy|CPU share of sysmon, 2 hogs per CPU|%|1|0.5 %
stop_p50|stopping the world, 4 hogs: p50|us|1000|
stop_p99|stopping the world, 4 hogs: p99|us|1000|
echo_500|echo, 500 connections, per message|us|1000|NPTL / 2
echo_cpu_500|the same, CPU time|us|1000|
echo_10000|echo, 10,000 connections|us|1000|NPTL / 1.5
echo_cpu_10000|the same, CPU time|us|1000|
echo_threads_10000|kernel threads meanwhile||1|10
calls_pipe_before|read or write of a pipe, no thread yet|ns|1|1.1 x NPTL
calls_pipe_after|the same after the first thread|ns|1|1.1 x NPTL
calls_socket_before|send or recv, no thread yet|ns|1|1.1 x NPTL
calls_socket_after|the same after the first thread|ns|1|1.1 x NPTL
calls_null_before|write to /dev/null, no thread yet|ns|1|1.1 x NPTL
calls_null_after|the same after the first thread|ns|1|1.1 x NPTL
calls_file_before|pread of a file, no thread yet|ns|1|1.1 x NPTL
calls_file_after|the same after the first thread|ns|1|1.1 x NPTL
calls_poll_before|poll, both ready, no thread yet|ns|1|1.1 x NPTL
calls_poll_after|the same after the first thread|ns|1|1.1 x NPTL
calls_ping|message over a pipe and back|us|1000|
calls_accept|connection made, accepted, closed|us|1000|
cpu|CPU-bound, 2 threads per CPU|ms|1e6|1.01 x NPTL
startup|start of a process without threads|us|1000|NPTL + 300 us
ROWS
# sort -g brings each row's values of one implementation into order for the median.
sort -k1,1 -k2,2 -k3,3g "$values" | awk -v rows="$work/rows" '
function median(key,  n) {
    n = count[key]
    if (!n)
        return ""
    return n % 2 ? v[key, (n + 1) / 2] : (v[key, n / 2] + v[key, n / 2 + 1]) / 2
}
function show(x, scale,  y) {
    if (x == "")
        return "-"
    y = x / scale
    if (y < 0)
        return sprintf("%.3f", y)
    return sprintf(y >= 1000 ? "%.0f" : y >= 100 ? "%.1f" : y >= 1 ? "%.2f" : "%.3f", y)
}
function ratio(other, ours) {
    return other == "" || ours == "" || ours <= 0 ? "-" : sprintf("%.2f", other / ours)
}
{
    key = $1 " " $2
    v[key, ++count[key]] = $3
}
END {
    line = "-----------------------------------------------------"
    printf "%-36s %5s %10s %10s %10s %10s %8s  %s\n", "median", "", "gshim", "NPTL", "Go",
        "NPTL/gshim", "Go/gshim", "goal"
    print line line
    while ((getline row < rows) > 0) {
        split(row, f, "|")
        g = median("gshim " f[1])
        n = median("nptl " f[1])
        o = median("go " f[1])
        if (g == "" && n == "" && o == "")
            continue
        printf "%-36s %5s %10s %10s %10s %10s %8s  %s\n", f[2], f[3], show(g, f[4]),
            show(n, f[4]), show(o, f[4]), ratio(n, g), ratio(o, g), f[5]
    }
}'
exit "$failed"
