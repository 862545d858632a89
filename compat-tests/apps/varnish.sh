# shellcheck shell=bash
# varnish: pools of hundreds of threads, a thread per request, conditions with deadlines.
needs varnishd varnish gcc libc6-dev || return 1
build netload.c || return 1
web_backend 1 4096 70000
export requests
requests=$(pick 30 1000)
load_varnish()
{
    "$APPS_BIN/netload" http "$PORT" 100 "$requests" "$APP_WORK/www" f1 f4096 f70000
}
step -l load_varnish "varnish, 2 pools of 100 threads" varnishd -F -j none -n @RUN@/v \
    -a 127.0.0.1:@PORT@ -b "127.0.0.1:$BACKEND" -s malloc,64m \
    -p thread_pools=2 -p thread_pool_min=100 -p thread_pool_max=200
