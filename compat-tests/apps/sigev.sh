# shellcheck shell=bash
# timer_create and mq_notify with SIGEV_THREAD.
build sigev.c -lrt || return 1
step "SIGEV_THREAD timers and messages" "$APPS_BIN/sigev" 8 "$(pick 100 1000)"
