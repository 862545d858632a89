# shellcheck shell=bash
# curl: a name is looked up in a thread of its own; many transfers at once.
needs curl curl || return 1
build netload.c || return 1
mkdir -p "$APP_WORK/www"
input text2 2
for size in 1 4096 1000000; do
    head -c $size "$IN/text2" > "$APP_WORK/www/f$size"
done
free_port
background "$APPS_BIN/netload" listen "$PORT" "$APP_WORK/www" f1 f4096 f1000000
until (: < "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; do sleep 0.1; done
url=http://localhost:$PORT
urls=
for i in $(seq 1 "$(pick 20 200)"); do
    urls="$urls $url/f1 -o a$i $url/f4096 -o b$i $url/f1000000 -o c$i"
done
contents()
{
    (cd "$RUN_DIR" && sha256sum -- *)
}
step "curl, one by name" curl -s -S "$url/f4096"
# shellcheck disable=SC2086
step -f contents "curl --parallel" curl -s -S --parallel --parallel-max 30 $urls
step "curl, a name that does not exist" curl -s --connect-timeout 5 http://nowhere.invalid/
