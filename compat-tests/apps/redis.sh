# shellcheck shell=bash
# redis-server with four I/O threads, which spin for work; background threads for fsync and
# freeing; BGSAVE forks. The append-only file that it leaves must be whole.
# Debian's redis-server is a link to this file; the package with the service is not needed.
needs redis-check-rdb redis-tools || return 1
build netload.c || return 1
prepare_redis()
{
    ln -s "$(command -v redis-check-rdb)" redis-server
}
load_redis()
{
    "$APPS_BIN/netload" redis "$PORT" 100 "$requests" || return
    redis-cli -p "$PORT" config set rdbcompression yes
    redis-cli -p "$PORT" bgrewriteaof
    redis-cli -p "$PORT" flushall async
    "$APPS_BIN/netload" redis "$PORT" 50 20
    # One background child at a time: bgsave is refused until the other has ended.
    until [ "$(redis-cli -p "$PORT" save)" = OK ]; do sleep 0.1; done
    redis-check-rdb dump.rdb | grep -o 'RDB looks OK'
    redis-cli -p "$PORT" dbsize
    redis-cli -p "$PORT" shutdown nosave
    redis-check-aof appendonlydir/*.manifest | grep -c 'is valid'
}
export requests
requests=$(pick 20 1000)
step -b prepare_redis -l load_redis "redis-server --io-threads 4" \
    ./redis-server --bind 127.0.0.1 --port @PORT@ --io-threads 4 \
    --io-threads-do-reads yes --save '' --appendonly yes --daemonize no
