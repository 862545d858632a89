#!/bin/bash
# run.sh - the tests of preemption: each program with the settings that make it bite.
#
#   PREEMPT_SECONDS  running time of the programs that take one (default 1)
#   GSHIM_BUILD, GSHIM_LIB  set by the Makefile
#
# A program says "ok" or "FAIL" by itself and has a watchdog; here it gets a time limit on
# top, and P = 1 and 2.
set -u

bin=${GSHIM_BUILD:?run this by make check-preempt}/preempt
lib=${GSHIM_LIB:?run this by make check-preempt}
seconds=${PREEMPT_SECONDS:-1}
limit=$((seconds * 10 + 120))
unset GSHIM_MAXPROCS GSHIM_DEBUG LD_PRELOAD
failed=0

say_failed()
{
    echo "FAILED: $1 (status $2)"
    failed=1
}

# native PROGRAM [argument...]
native()
{
    timeout -k 5 "$limit" "$bin/$1" "${@:2}" || say_failed "$* natively" $?
}

# under DEBUG PROGRAM [argument...] - preloaded, at 1 and 2 P
under()
{
    local p
    for p in 1 2; do
        GSHIM_DEBUG=$1 GSHIM_MAXPROCS=$p LD_PRELOAD=$lib \
            timeout -k 5 "$limit" "$bin/$2" "${@:3}" ||
            say_failed "${*:2} at GSHIM_MAXPROCS=$p GSHIM_DEBUG=$1" $?
    done
}

# refused LINES [all] - signals are refused: the program works, and LINES lines are said.
refused()
{
    local said n
    said=$(GSHIM_MAXPROCS=1 LD_PRELOAD=$lib timeout -k 5 60 "$bin/refused" 1 ${2+"$2"} 2>&1) ||
        say_failed "refused $*" $?
    n=$(grep -c '^gshim: signals to own threads are refused' <<< "$said")
    [ "$n" = "$1" ] || say_failed "refused $*: $n lines said" 0
    grep '^ok' <<< "$said"
}

# overflows HOW - a thread with code for split stacks overflows its stack: said, and killed.
overflows()
{
    local said status
    said=$(GSHIM_MAXPROCS=1 GSHIM_DEBUG=preemptus=100 LD_PRELOAD=$lib timeout -k 5 60 \
        "$bin/split" 1 "$1" 2>&1)
    status=$?
    [[ $said == *"has no -fsplit-stack"* ]] && return
    [ $status = 139 ] || say_failed "split $1: $said" $status
    [[ $said == *"gshim: stack overflow in thread unnamed "*" stack of 65536 bytes" ]] ||
        say_failed "split $1 said: $said" $status
}

# numbers_under DEBUG - what is computed under the library is what is computed natively.
numbers_under()
{
    local want said p
    want=$(timeout -k 5 "$limit" "$bin/numbers" 0.1 | grep -v '^ok') && [ -n "$want" ] ||
        say_failed "numbers natively" $?
    for p in 1 2; do
        said=$(GSHIM_DEBUG=$1 GSHIM_MAXPROCS=$p LD_PRELOAD=$lib \
            timeout -k 5 "$limit" "$bin/numbers" "$seconds") ||
            say_failed "numbers at GSHIM_MAXPROCS=$p GSHIM_DEBUG=$1" $?
        [ "$(grep -v '^ok' <<< "$said")" = "$want" ] ||
            say_failed "numbers at GSHIM_MAXPROCS=$p GSHIM_DEBUG=$1: others than natively" 0
        grep '^ok' <<< "$said"
    done
}

for class in gpr flags x87 mxcsr xmm ymm zmm mask redzone; do
    native registers 20 "$class"
done
under preemptus=50 registers "$seconds"
under preemptus=50,yieldrandom=1 registers "$seconds"
numbers_under preemptus=50
numbers_under preemptus=50,yieldrandom=1

under "" spin
under "" short_calls 2
under "" stuck 0.1
under preemptus=100 stuck 0.1
under preemptus=50 throw "$seconds"
under preemptus=50,yieldrandom=1 throw "$seconds"
native split "$seconds"
for debug in asyncpreemptoff=1 asyncpreemptoff=1,yieldrandom=1 preemptus=100 off=1; do
    under "$debug" split "$seconds"
done
for how in @deep @frame @alloca; do
    overflows $how
done
under preemptus=50,asyncpreemptoff=1 throw-split "$seconds"
under preemptus=50,yieldrandom=1 throw-split "$seconds"

under "" world 0.1
under preemptus=100 world 0.1
for debug in "" preemptus=50 preemptsig=12; do
    under "$debug" sigurg 0.1
done
refused 0
refused 1 all
under "" eintr "$seconds"
under preemptus=50 eintr "$seconds"
# Lateness depends on the machine's load: only in the long runs of make soak.
if [ "${seconds%.*}" -gt 5 ]; then
    GSHIM_MAXPROCS=2 LD_PRELOAD=$lib timeout -k 5 200 "$bin/wake" || say_failed wake $?
fi

exit $failed
