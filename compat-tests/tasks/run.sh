#!/bin/bash
# run.sh [NUMBER...] - the exercises, all or some: each prints what is expected and what is
# observed, and fails when they differ.
#
# Environment, set by the Makefile: GSHIM_LIB, GSHIM_BUILD.
set -u

here=$(cd "$(dirname "$0")" && pwd)
bin=${GSHIM_BUILD:?run this by make tasks}/tasks
export GSHIM_LIB=${GSHIM_LIB:?run this by make tasks}
GSHIM_SOURCE=$(cd "$here/../.." && pwd)
export GSHIM_SOURCE
unset GSHIM_MAXPROCS GSHIM_DEBUG GSHIM_TRACE LD_PRELOAD

passed=0 skipped=0 failed=()
for source in "$here"/[0-9][0-9]_*.c; do
    name=$(basename "$source" .c)
    if [ $# != 0 ] && [[ " $* " != *" ${name%%_*} "* ]]; then
        continue
    fi
    timeout -k 5 600 "$bin/$name"
    case $? in
        0) passed=$((passed + 1)) ;;
        77) skipped=$((skipped + 1)) ;;
        *) failed+=("$name") ;;
    esac
done
echo "tasks: $passed as expected, $skipped skipped, ${#failed[@]} not as expected ${failed[*]}"
[ ${#failed[@]} = 0 ]
