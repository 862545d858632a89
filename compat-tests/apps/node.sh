# shellcheck shell=bash
# node: worker threads, libuv's pool, child processes.
needs node nodejs || return 1
step "node, 8 workers and libuv's pool" node "$APPS_DIR/node_threads.js" 8 "$(pick 10 100)"
