#!/bin/bash
# run.sh - real programs, natively and under the preload, side by side.
#
#   run.sh [--quick|--demo|--apps|--all] [NAME...]
#
#   --quick  the programs that are fast and small to install (default; part of `make check`)
#   --demo   the ones worth showing, larger inputs, at the default number of P
#   --apps   all programs, small inputs; also under torture (preempted every 100 us);
#            makes the table of README.md, and without NAME puts it there (`make apps`)
#   --all    all programs, larger inputs, the complete test suites (part of `make soak`)
#   NAME...  only these (the NAME.sh files in this folder)
#
# Each program runs natively once and preloaded with GSHIM_MAXPROCS unset, 1 and 8, and with
# --all preempted every 50 us
# (APP_PROCS="auto 1 8" changes that; lib.sh says how settings of GSHIM_DEBUG go into it).
# Prints a table and "N passed, M failed"; exit 1 when something failed. What failed keeps
# its files, the table says where. lib.sh has the rest.
set -u

APPS_DIR=$(cd "$(dirname "$0")" && pwd)
export APPS_DIR
DEMO='pigz pbzip2 xz zstd sort python_threads threads100k'
QUICK="$DEMO cxx omp jemalloc sysbench rust stress_ng pytests"
ALL="$QUICK waiting100k memcached redis nginx apache haproxy curl gc sigev robust
    sqlite tbb perl git gdb mariadb node ruby java media imagemagick pysuites
    lbzip2 p7zip fio varnish numpy erlang ocaml guile sbcl lua tcl mono"

usage()
{
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit "$1"
}

APP_MODE=quick
names=
while [ $# -gt 0 ]; do
    case $1 in
    --quick | --apps | --all | --demo) APP_MODE=${1#--} ;;
    -h | --help) usage 0 ;;
    -*) usage 2 ;;
    *)
        if [ ! -f "$APPS_DIR/$1.sh" ] || [ "$1" = run ] || [ "$1" = lib ]; then
            echo "run.sh: no program '$1'; there are: $ALL" >&2
            exit 2
        fi
        names="$names $1"
        ;;
    esac
    shift
done
if [ "$APP_MODE" = demo ]; then
    names=${names:-$DEMO}
    APP_PROCS=${APP_PROCS:-auto}
fi
[ "$APP_MODE" != all ] || APP_PROCS=${APP_PROCS:-auto 1 8 auto/preemptus=50}
[ "$APP_MODE" != apps ] || APP_PROCS=${APP_PROCS:-auto 1 auto/preemptus=100}
[ "$APP_MODE" != quick ] || names=${names:-$QUICK}
everything=
[ -n "$names" ] || everything=1
names=${names:-$ALL}
APP_PROCS=${APP_PROCS:-auto 1 8}
# The caller's own settings must not leak into the native runs.
unset LD_PRELOAD GSHIM_MAXPROCS GSHIM_DEBUG
LC_ALL=C
export APP_MODE APP_PROCS LC_ALL

# shellcheck source=compat-tests/apps/lib.sh
. "$APPS_DIR/lib.sh"

if [ -n "$GSHIM_LIB" ] && [ ! -f "$GSHIM_LIB" ]; then
    echo "run.sh: GSHIM_LIB=$GSHIM_LIB does not exist" >&2
    exit 2
fi
case $GSHIM_LIB in
'' | /*) ;;
*) GSHIM_LIB=$PWD/$GSHIM_LIB ;;
esac
[ -n "$GSHIM_LIB" ] || echo "run.sh: GSHIM_LIB is empty: everything runs natively twice"
# ld.so only warns about a library that it cannot load, and then everything would pass.
if LD_PRELOAD=$GSHIM_LIB sh -c : 2>&1 | grep 'cannot be preloaded'; then
    exit 2
fi

APP_WORK=$(mktemp -d "${TMPDIR:-/tmp}/gshim-apps.XXXXXX")
IN=$APP_WORK/in
export APP_WORK IN
mkdir -p "$IN"
: > "$APP_WORK/results"
trap 'exit 130' INT TERM
trap '[ -s "$APP_WORK/failed" ] || rm -rf "$APP_WORK"' EXIT

needs_packages gcc libc6-dev || exit 1
build measure.c && build gen.c || exit 1

table_head
for APP in $names; do
    # A subshell: one program's variables and functions do not reach the next.
    (
        failed=
        # shellcheck source=/dev/null
        . "$APPS_DIR/$APP.sh"
        [ -z "$failed" ]
    ) || {
        grep -q "^fail" "$APP_WORK/results" 2> /dev/null ||
            echo "fail $APP: did not run" >> "$APP_WORK/results"
        echo "$APP" >> "$APP_WORK/failed"
    }
done

# One row per program: its steps' times and CPU added up, the largest of the rest.
if [ "$APP_MODE" = apps ]; then
    table=$GSHIM_BUILD/apps/table.md
    readme=$APPS_DIR/../../README.md
    awk -f "$APPS_DIR/table.awk" "$APP_WORK/rows" > "$table"
    say
    say "table: $table"
    if [ -n "$everything" ]; then
        awk -v table="$table" '/^<!-- end of the table -->/ { skip = 0 }
            !skip { print }
            /^<!-- table by make apps -->/ {
                while ((getline line < table) > 0) print line
                skip = 1
            }' "$readme" > "$readme.new" && mv "$readme.new" "$readme"
    fi
fi
passed=$(grep -c '^pass' "$APP_WORK/results")
failed=$(grep -c '^fail' "$APP_WORK/results")
echo
if [ "$failed" -gt 0 ]; then
    sed -n 's/^fail /FAILED: /p' "$APP_WORK/results"
    echo "files of the failed runs: $APP_WORK"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
