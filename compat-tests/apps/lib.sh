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
# the same exit status as the native one. Options of step:
#
#   -t SECONDS   give up after so long (default 120): the whole session is killed
#   -f FUNCTION  reduce the output before it is compared: FUNCTION reads the output on
#                stdin and may look into the directory $RUN_DIR, where the command ran
#   -k NAME      keep the native output as file NAME in $IN for later steps
#   -x           the native run may fail or fall short (that is the point of the program);
#                the preloaded one has to exit 0
#   -p ORDER     value of LD_PRELOAD for the preloaded run, @ stands for the library
#   -n ORDER     value of LD_PRELOAD for the native run (default: none)
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

# build NAME.c|.cc|.rs [compiler flags...] - into $APPS_BIN, when it is older than its
# source.
build()
{
    local src=$APPS_DIR/$1 bin=$APPS_BIN/${1%.*}
    shift
    [ "$bin" -nt "$src" ] && return 0
    mkdir -p "$APPS_BIN"
    case $src in
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

# pick QUICK FULL - one of them, by the mode.
pick()
{
    if [ "$APP_MODE" = quick ]; then echo "$1"; else echo "$2"; fi
}

# --- one measured run ---

# measured PRELOAD PROCS DIR TIMEOUT COMMAND... - runs in DIR/run; leaves DIR/out, err and
# stats there. PROCS is "-" for a native run, "auto" for the library's own choice.
measured()
{
    local preload=$1 procs=$2 dir=$3 timeout=$4 set=()
    shift 4
    rm -rf "$dir"
    mkdir -p "$dir/run"
    [ -z "$preload" ] || set+=(-E "LD_PRELOAD=$preload")
    case $procs in
    - | auto) ;;
    *) set+=(-E "GSHIM_MAXPROCS=$procs") ;;
    esac
    (cd "$dir/run" && exec "$APPS_BIN/measure" -s "$dir/stats" -t "$timeout" \
        -o "$dir/out" -e "$dir/err" "${set[@]}" -- "$@")
    # A run that never got as far as to be measured counts as failed.
    [ -s "$dir/stats" ] || echo "125 0 0 0 0" > "$dir/stats"
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
    printf '%-36s %4s | %8s %7s %8s | %8s %7s %8s | %6s | %s\n' \
        "" "" native kernel peak gshim kernel peak time ""
    printf '%-36s %4s | %8s %7s %8s | %8s %7s %8s | %6s | %s\n' \
        program P seconds threads "RSS MB" seconds threads "RSS MB" ratio "output"
    printf '%s\n' "$(printf '%*s' 118 '' | tr ' ' -)"
}

# columns STATS - "seconds threads rss" of a stats line.
columns()
{
    local ms threads kb
    read -r _ _ ms threads kb < "$1"
    printf '%8s %7s %8s' "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))" "$threads" \
        "$((kb / 1024)).$((kb % 1024 * 10 / 1024))"
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
    local title dir native_sum sum word procs
    while getopts 't:f:k:xp:n:' opt; do
        case $opt in
        t) timeout=$OPTARG ;;
        f) filter=$OPTARG ;;
        k) keep=$OPTARG ;;
        x) native_may_fail=1 ;;
        p) order=$OPTARG ;;
        n) native=$OPTARG ;;
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
        measured "$(preload_list "$order")" "$procs" "$dir/$procs" "$timeout" "$@"
        digest "$dir/$procs" "$filter"
        if verdict "$dir/native" "$dir/$procs"; then
            echo pass >> "$APP_WORK/results"
        else
            echo "fail $title (P=$procs): $word" >> "$APP_WORK/results"
            failed=1
        fi
        printf '%-36s %4s | %s | %s | %6s | %s\n' "$title" "$procs" \
            "$(columns "$dir/native/stats")" "$(columns "$dir/$procs/stats")" \
            "$(ratio "$dir/native/stats" "$dir/$procs/stats")" "$word"
        case $word in
        same* | ok*) rm -rf "${dir:?}/$procs" ;;
        *)
            show_failure "$dir/$procs" "$*"
            if [ "$filter" != cat ]; then
                diff "$dir/native/compared" "$dir/$procs/compared" | head -n 20 |
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
