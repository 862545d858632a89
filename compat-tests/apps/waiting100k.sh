# shellcheck shell=bash
# 100,000 threads that sleep, read and poll at once, on ten kernel threads at most; the sleepers
# wake in time and in order. NPTL, which has one for each, is expected to fail.
build waiting100k.c || return 1
n=100000
[ "$APP_MODE" != quick ] || n=20000
step -x -t 120 "C program, $n threads wait" "$APPS_BIN/waiting100k" "$n" 10
