# shellcheck shell=bash
# haproxy with four threads: each has an epoll of its own and spins on futex-free locks.
needs haproxy haproxy || return 1
build netload.c || return 1
prepare_haproxy()
{
    cat > haproxy.cfg <<EOF
global
    nbthread 4
    maxconn 4000
    stats socket $RUN_DIR/sock
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 10s
frontend in
    bind 127.0.0.1:$PORT
    default_backend files
backend files
    balance roundrobin
    server a 127.0.0.1:$BACKEND
EOF
}
web_backend 1 4096 70000
export requests
requests=$(pick 50 1000)
load_haproxy()
{
    "$APPS_BIN/netload" http "$PORT" 100 "$requests" "$APP_WORK/www" f1 f4096 f70000
}
step -b prepare_haproxy -l load_haproxy "haproxy nbthread 4" haproxy -db -f @RUN@/haproxy.cfg
