#!/bin/bash
# run.sh - check every model (*.pml, beside the code it is about) with SPIN, and each of its
# variants that are broken on purpose: those must fail, or the model shows nothing.
#
# Environment, set by the Makefile: GSHIM_BUILD, CC.
set -u

top=$(cd "$(dirname "$0")/../.." && pwd)
work=${GSHIM_BUILD:?run this by make models}/models
command -v spin > /dev/null || { echo "models: spin is not installed (make deps)"; exit 1; }
mkdir -p "$work"
failed=0

# check MODEL [VARIANT] - prints errors and states; status 0: the search was complete, no error.
check()
{
    local dir=$work/$(basename "$1" .pml)${2:+.$2}
    rm -rf "$dir" && mkdir -p "$dir" && cd "$dir" || exit 1
    spin ${2:+-D$2} -a "$1" > spin.log 2>&1 || { cat spin.log; return 2; }
    ${CC:-cc} -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=4096 -o pan pan.c || return 2
    ./pan -m200000 > pan.log 2>&1
    grep -q 'error: max search depth\|pan: out of memory\|pan: reached' pan.log && return 2
    sed -n 's/.*\(errors: [0-9]*\).*/\1/p; s/^ *\([0-9.e+]*\) states, stored.*/\1 states/p' \
        pan.log | paste -sd' '
    grep -q 'errors: 0' pan.log
}

for model in "$top"/shim/*/*.pml "$top"/preempt/*.pml; do
    [ -e "$model" ] || continue
    name=${model#"$top"/}
    text=$(check "$model")
    case $? in
        0) echo "ok $name: $text" ;;
        *) echo "FAIL $name: $text"; failed=1 ;;
    esac
    for variant in $(sed -n 's/^ \* also: //p' "$model"); do
        text=$(check "$model" "$variant")
        case $? in
            0) echo "ok $name with $variant: $text" ;;
            *) echo "FAIL $name with $variant: $text"; failed=1 ;;
        esac
    done
    for broken in $(sed -n 's/^ \* broken: //p' "$model"); do
        text=$(check "$model" "$broken")
        case $? in
            1) echo "ok $name with $broken fails: $text" ;;
            *) echo "FAIL $name with $broken is not found to be wrong: $text"; failed=1 ;;
        esac
    done
done
exit $failed
