# shellcheck shell=bash
# nginx with "aio threads": each worker hands its file reads to a pool of threads.
needs nginx nginx-light || return 1
build netload.c || return 1
prepare_nginx()
{
    web_files www 1 100 4096 70000 1000000
    cat > nginx.conf <<EOF
daemon off;
pid $RUN_DIR/pid;
error_log $RUN_DIR/error.log;
worker_processes 2;
thread_pool default threads=16;
events { worker_connections 1024; }
http {
    access_log off;
    aio threads;
    sendfile $sendfile;
    client_body_temp_path $RUN_DIR/tmp1;
    proxy_temp_path $RUN_DIR/tmp2;
    fastcgi_temp_path $RUN_DIR/tmp3;
    uwsgi_temp_path $RUN_DIR/tmp4;
    scgi_temp_path $RUN_DIR/tmp5;
    server { listen 127.0.0.1:$PORT; root $RUN_DIR/www; keepalive_requests 100000; }
}
EOF
    [ "$(id -u)" != 0 ] || sed -i '1i user root;' nginx.conf
}
load_nginx()
{
    "$APPS_BIN/netload" http "$PORT" 100 "$requests" www f1 f100 f4096 f70000 f1000000
}
export requests
requests=$(pick 50 500)
for sendfile in off on; do
    step -b prepare_nginx -l load_nginx "nginx, thread pool, sendfile $sendfile" \
        nginx -e stderr -p @RUN@ -c @RUN@/nginx.conf
done
