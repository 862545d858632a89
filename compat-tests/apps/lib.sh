# shellcheck shell=bash
# lib.sh - what the application scripts share: install, run, measure, compare, report.
#
# run.sh sources this file and then, in a subshell, one NAME.sh per program. Such a script
# is a list of steps in plain bash:
#
#   needs COMMAND PACKAGE...          install the Debian packages when COMMAND is missing
#   step [options] TITLE COMMAND...   run natively once, then preloaded for every P in
#                                     $APP_PROCS, compare, print a row for each
#
# A step passes when the preloaded command gives the same standard output (checksum) and
# the same exit status as the native one. A P in $APP_PROCS may carry settings of
# GSHIM_DEBUG: "1/preemptus=100" (several: with + in place of a comma). Options of step:
#
#   -t SECONDS   give up after so long (default 120): the whole session is killed
#   -f FUNCTION  reduce the output before it is compared: FUNCTION reads the output on
#                stdin and may look into the directory $RUN_DIR, where the command ran
#   -k NAME      keep the native output as file NAME in $IN for later steps
#   -x           the native run may fail or fall short (that is the point of the program);
#                the preloaded one has to exit 0
#   -p ORDER     value of LD_PRELOAD for the preloaded run, @ stands for the library
#   -n ORDER     value of LD_PRELOAD for the native run (default: none)
#   -b FUNCTION  called before the command, natively, in the directory where it will run
#   -l FUNCTION  the command is a server, to be ended by SIGTERM: when it accepts
#                connections on $PORT, FUNCTION loads it, natively. What FUNCTION prints is
#                compared, its time is the step's; the server's exit status, CPU, memory
#                and threads are those shown. $PORT is free, $SERVER the server's process;
#                @PORT@ and @RUN@ (the directory) in the words of COMMAND are replaced
#
# Environment: GSHIM_LIB (may be empty or unset: everything runs natively twice, which
# tests these scripts), GSHIM_BUILD, CC, CXX. Set by run.sh: APP_MODE, APP_PROCS,
# APP_WORK. Output of a failed run is kept and shown. Nothing here is judged by time.

GSHIM_LIB=${GSHIM_LIB-}
GSHIM_BUILD=${GSHIM_BUILD:-${TMPDIR:-/tmp}/gshim-build}
APPS_BIN=$GSHIM_BUILD/apps

say()
{
    printf '%s\n' "$*"
}

# --- packages and helper programs ---

# needs COMMAND PACKAGE... - a missing tool is installed, and that is said; a tool that
# cannot be had fails the program, it is not skipped.
needs()
{
    local command=$1
    shift
    command -v "$command" > /dev/null 2>&1 && return 0
    needs_packages "$@" && command -v "$command" > /dev/null 2>&1 && return 0
    say "$APP: cannot get '$command' (packages: $*)"
    return 1
}

needs_packages()
{
    # shellcheck disable=SC2153
    "$APPS_DIR/../deps.sh" "$@"
}

# build NAME.c|.cc|.rs|.java [compiler flags...] - into $APPS_BIN, when it is older than
# its source.
build()
{
    local src=$APPS_DIR/$1 bin=$APPS_BIN/${1%.*}
    shift
    [ "$bin" -nt "$src" ] && return 0
    mkdir -p "$APPS_BIN"
    case $src in
    *.java) javac -d "$APPS_BIN" "$src" && touch "$bin" ;;
    *.c) "${CC:-cc}" -std=gnu11 -O2 -g -Wall -Wextra -pthread -o "$bin" "$src" "$@" ;;
    *.cc) "${CXX:-c++}" -std=c++20 -O2 -g -Wall -Wextra -pthread -o "$bin" "$src" "$@" ;;
    *.rs) "${RUSTC:-rustc}" --edition 2021 -O -o "$bin" "$src" "$@" ;;
    esac
}

# input NAME MEGABYTES - a generated text file $IN/NAME, the same on every machine.
input()
{
    [ -f "$IN/$1" ] || "$APPS_BIN/gen" $(($2 * 1048576)) > "$IN/$1"
}

# web_files DIR SIZE... - DIR with a file fSIZE of that many bytes for each.
web_files()
{
    local dir=$1 size
    shift
    input text2 2
    mkdir -p "$dir"
    for size in "$@"; do
        head -c "$size" "$IN/text2" > "$dir/f$size"
    done
}

# pick QUICK FULL - one of them, by the mode.
pick()
{
    if [ "$APP_MODE" = quick ] || [ "$APP_MODE" = apps ]; then echo "$1"; else echo "$2"; fi
}

# background COMMAND... - a native helper of the program's steps, for example a server that
# clients under test talk to; ended with the program.
background()
{
    "$@" > "$APP_WORK/$APP.background" 2>&1 &
    # shellcheck disable=SC2064
    trap "kill $! 2> /dev/null" EXIT
}

# --- one measured run ---

# measured PRELOAD PROCS DIR TIMEOUT COMMAND... - runs in DIR/run; leaves DIR/out, err and
# stats there. PROCS is "-" for a native run, "auto" for the library's own choice. Uses
# $before and $load of step.
measured()
{
    local preload=$1 procs=$2 dir=$3 timeout=$4 set=()
    shift 4
    rm -rf "$dir"
    mkdir -p "$dir/run"
    [ -z "$preload" ] || set+=(-E "LD_PRELOAD=$preload")
    case $procs in
    */*) set+=(-E "GSHIM_DEBUG=$(echo "${procs#*/}" | tr + ,)") ;;
    esac
    case ${procs%%/*} in
    - | auto) ;;
    *) set+=(-E "GSHIM_MAXPROCS=${procs%%/*}") ;;
    esac
    [ -z "$load" ] || free_port
    (cd "$dir/run" && RUN_DIR=$dir/run && $before) > "$dir/before" 2>&1
    if [ -n "$load" ]; then
        serve "$@"
    else
        (cd "$dir/run" && exec "$APPS_BIN/measure" -s "$dir/stats" -t "$timeout" \
            -o "$dir/out" -e "$dir/err" "${set[@]}" -- "$@")
    fi
    # A run that never got as far as to be measured counts as failed.
    [ -s "$dir/stats" ] || echo "125 0 0 0 0 0" > "$dir/stats"
}

# free_port - sets PORT to a port of 127.0.0.1 that nobody listens on. Below the range that
# the kernel gives to clients.
free_port()
{
    PORT=$((12000 + RANDOM % 18000))
    while (: < "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; do
        PORT=$((12000 + RANDOM % 18000))
    done
}

# web_backend SIZE... - a native server of such files, in $APP_WORK/www; sets BACKEND to its port.
web_backend()
{
    web_files "$APP_WORK/www" "$@"
    free_port
    BACKEND=$PORT
    background "$APPS_BIN/netload" listen "$BACKEND" "$APP_WORK/www" "${@/#/f}"
}

# wait_port MEASURE - until the server accepts connections; false when it ended or is late.
wait_port()
{
    local end=$((SECONDS + 60))
    while ! (: < "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; do
        kill -0 "$1" 2> /dev/null && [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# serve SERVER... - part of measured (uses its variables): run, load, end. A load that fails
# or is late shows in what is compared.
serve()
{
    local words=("$@") measure began ms=
    words=("${words[@]//@PORT@/$PORT}")
    words=("${words[@]//@RUN@/$dir/run}")
    (cd "$dir/run" && exec "$APPS_BIN/measure" -s "$dir/stats" -t $((timeout + 60)) \
        -q 30 -o "$dir/server.out" -e "$dir/err" "${set[@]}" -- "${words[@]}") &
    measure=$!
    if wait_port $measure; then
        began=$(date +%s%3N)
        (
            cd "$dir/run" || exit
            RUN_DIR=$dir/run
            SERVER=$(pgrep -o -P $measure)
            # shellcheck disable=SC2163
            export -f "$load"
            export RUN_DIR SERVER PORT APPS_BIN APPS_DIR
            timeout -k 1 "$timeout" bash -c "$load"
            echo "load: status $?"
        ) > "$dir/out" 2>> "$dir/load.err" < /dev/null
        ms=$(($(date +%s%3N) - began))
    else
        echo "the server does not listen" | tee "$dir/out" >> "$dir/err"
    fi
    kill -TERM $measure 2> /dev/null
    wait $measure
    if [ -n "$ms" ] && [ -s "$dir/stats" ]; then
        awk -v ms="$ms" '{ $3 = ms; print }' "$dir/stats" > "$dir/stats.new"
        mv "$dir/stats.new" "$dir/stats"
        sed 's/^/load: /' "$dir/load.err" >> "$dir/err"
    fi
}

# digest DIR [FILTER] - sets $sum to the checksum of what is compared.
digest()
{
    local dir=$1 filter=${2:-cat}
    (export RUN_DIR="$dir/run"; $filter < "$dir/out") > "$dir/compared" 2>> "$dir/err"
    sum=$(sha256sum < "$dir/compared")
    sum=${sum:0:12}
}

# --- the table ---

table_head()
{
    printf '%-36s %8s | %8s %7s %6s %7s | %8s %7s %6s %7s | %5s | %s\n' "" "" \
        native CPU kernel peak gshim CPU kernel peak time ""
    printf '%-36s %8s | %8s %7s %6s %7s | %8s %7s %6s %7s | %5s | %s\n' program P \
        seconds seconds thrds "RSS MB" seconds seconds thrds "RSS MB" ratio "output"
    printf '%s\n' "$(printf '%*s' 132 '' | tr ' ' -)"
}

# columns STATS - "seconds CPU threads rss" of a stats line.
columns()
{
    awk '{ printf "%8.3f %7.2f %6d %7.1f", $3 / 1e3, $6 / 1e3, $4, $5 / 1024 }' "$1"
}

ratio()
{
    awk 'NR == 1 { a = $3 } NR == 2 && a > 0 { printf "%.2f", $3 / a }' "$1" "$2"
}

show_failure()
{
    local dir=$1
    say "    command: $2"
    say "    its last output is below, all of it in $dir"
    # Compressed output must not reach the terminal as it is.
    { tail -n 5 "$dir/out"; tail -n 15 "$dir/err"; } 2> /dev/null | tail -c 8000 |
        cat -v | cut -c 1-150 | sed 's/^/    | /'
}

# verdict NATIVE_DIR DIR - sets $word, and is true when the step passed.
verdict()
{
    local n_rc n_late rc late
    read -r n_rc n_late _ < "$1/stats"
    read -r rc late _ < "$2/stats"
    if [ "$late" = 1 ]; then
        word="TIMED OUT"
    elif [ -n "$native_may_fail" ]; then
        word="ok ($(head -n 1 "$2/compared" | cut -c 1-40); native exit $n_rc)"
        [ "$rc" = 0 ] && return 0
        # Both natively: then it may fall short both times.
        [ -z "$GSHIM_LIB" ] && [ "$rc" = "$n_rc" ] && return 0
        word="FAILED, exit $rc"
    elif [ -n "$load" ] && ! grep -q '^load: status 0$' "$1/out"; then
        word="NATIVE LOAD FAILED"
    elif [ "$n_late" = 1 ]; then
        word="NATIVE RUN TIMED OUT"
    elif [ "$rc" != "$n_rc" ]; then
        word="EXIT $rc, native $n_rc"
    elif [ "$sum" != "$native_sum" ]; then
        word="DIFFERS, $sum, native $native_sum"
    else
        word="same $sum"
        [ "$rc" = 0 ] || word="$word (both exit $rc)"
        return 0
    fi
    return 1
}

# step - see the top of the file.
step()
{
    local OPTIND opt timeout=120 filter=cat keep='' native_may_fail='' order=@ native=''
    local before=: load=''
    local title dir run native_sum sum word procs
    while getopts 't:f:k:xp:n:b:l:' opt; do
        case $opt in
        t) timeout=$OPTARG ;;
        f) filter=$OPTARG ;;
        k) keep=$OPTARG ;;
        x) native_may_fail=1 ;;
        p) order=$OPTARG ;;
        n) native=$OPTARG ;;
        b) before=$OPTARG ;;
        l) load=$OPTARG ;;
        *) return 2 ;;
        esac
    done
    shift $((OPTIND - 1))
    title=$1
    shift
    dir=$APP_WORK/$APP/${title//[^A-Za-z0-9]/_}
    mkdir -p "$dir"
    measured "$native" - "$dir/native" "$timeout" "$@"
    digest "$dir/native" "$filter"
    native_sum=$sum
    [ -z "$keep" ] || cp "$dir/native/out" "$IN/$keep"
    for procs in $APP_PROCS; do
        run=$dir/${procs//[^A-Za-z0-9]/_}
        measured "$(preload_list "$order")" "$procs" "$run" "$timeout" "$@"
        digest "$run" "$filter"
        if verdict "$dir/native" "$run"; then
            echo pass >> "$APP_WORK/results"
        else
            echo "fail $title (P=$procs): $word" >> "$APP_WORK/results"
            failed=1
        fi
        printf '%-36s %8s | %s | %s | %5s | %s\n' "$title" "${procs/preemptus=/}" \
            "$(columns "$dir/native/stats")" "$(columns "$run/stats")" \
            "$(ratio "$dir/native/stats" "$run/stats")" "$word"
        printf '%s\t%s\t%s\t%s\t%s\n' "$APP" "$procs" "${word%% *}" \
            "$(cat "$dir/native/stats")" "$(cat "$run/stats")" >> "$APP_WORK/rows"
        case $word in
        same* | ok*) rm -rf "${run:?}" ;;
        *)
            show_failure "$run" "$*"
            if [ "$filter" != cat ] || [ -n "$load" ]; then
                diff "$dir/native/compared" "$run/compared" | head -n 20 |
                    sed 's/^/    < native, > gshim: /'
            fi
            ;;
        esac
    done
    [ -n "${failed:-}" ] || rm -rf "$dir"
}

# preload_list ORDER - the library put into ORDER; without a library what remains of it.
preload_list()
{
    local list=${1//@/$GSHIM_LIB}
    list=${list#:}
    printf '%s' "${list%:}"
}
