# shellcheck shell=bash
# SQLite: a connection per thread (file locks, WAL), then one connection for all.
[ -f /usr/include/sqlite3.h ] || needs_packages libsqlite3-dev || return 1
build sqlite.c -lsqlite3 || return 1
step "SQLite, 16 threads" "$APPS_BIN/sqlite" test.db 16 "$(pick 500 5000)"
