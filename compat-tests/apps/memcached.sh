# shellcheck shell=bash
# memcached: worker threads around libevent, the dispatcher passes connections on through
# eventfds, maintenance threads sleep in conditions.
needs memcached memcached || return 1
build netload.c || return 1
user=$(id -un)
load_memcached()
{
    "$APPS_BIN/netload" memcached "$PORT" 100 "$requests"
}
load_many()
{
    "$APPS_BIN/netload" memcached "$PORT" 800 40
}
export requests
requests=$(pick 200 3000)
step -l load_memcached "memcached -t 4, 100 connections" \
    memcached -u "$user" -l 127.0.0.1 -p @PORT@ -U 0 -t 4 -m 128 -c 2048
step -l load_many "memcached -t 8, 800 connections" \
    memcached -u "$user" -l 127.0.0.1 -p @PORT@ -U 0 -t 8 -m 128 -c 2048
