# shellcheck shell=bash
# Robust mutexes between two processes, whose owner is killed with SIGKILL.
build robust.c || return 1
step "robust mutexes, owner killed" "$APPS_BIN/robust" "$(pick 30 500)"
