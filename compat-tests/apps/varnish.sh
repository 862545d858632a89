# shellcheck shell=bash
# varnish: pools of hundreds of threads, a thread per request, conditions with deadlines.
needs varnishd varnish gcc libc6-dev || return 1
build netload.c || return 1
mkdir -p "$APP_WORK/www"
input text2 2
for size in 1 4096 70000; do
    head -c $size "$IN/text2" > "$APP_WORK/www/f$size"
done
free_port
backend=$PORT
background "$APPS_BIN/netload" listen "$backend" "$APP_WORK/www" f1 f4096 f70000
export requests
requests=$(pick 30 1000)
load_varnish()
{
    "$APPS_BIN/netload" http "$PORT" 100 "$requests" "$APP_WORK/www" f1 f4096 f70000
}
step -l load_varnish "varnish, 2 pools of 100 threads" varnishd -F -j none -n @RUN@/v \
    -a 127.0.0.1:@PORT@ -b "127.0.0.1:$backend" -s malloc,64m \
    -p thread_pools=2 -p thread_pool_min=100 -p thread_pool_max=200
