# shellcheck shell=bash
# Boehm's garbage collector: stops all threads with signals, searches their stacks.
[ -f /usr/include/gc.h ] || needs_packages libgc-dev || return 1
build gc.c -lgc || return 1
step "Boehm GC, 4 threads" "$APPS_BIN/gc" 4 "$(pick 1000 10000)"
step "Boehm GC, 100 threads" "$APPS_BIN/gc" 100 "$(pick 100 500)"
