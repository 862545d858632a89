# shellcheck shell=bash
# gdb: attach, threads, backtraces, a call, detach. It stops every kernel thread and reads
# libc's own list of threads (libthread_db), on which ours stand too.
needs gdb gdb || return 1
build gdb.c || return 1
step -t 200 "gdb attach and detach" sh "$APPS_DIR/gdb_attach.sh" "$APPS_BIN/gdb" \
    "$(pick 2 10)"
