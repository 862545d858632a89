# shellcheck shell=bash
# 100,000 threads that live at once. NPTL refuses on a default machine (pid_max is 32768,
# and max_map_count allows about as many stacks): its row shows how far it came.
build threads100k.c || return 1
step -x -t 120 "C program, 100,000 threads" "$APPS_BIN/threads100k" 100000
