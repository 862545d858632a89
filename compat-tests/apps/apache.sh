# shellcheck shell=bash
# Apache httpd with its two threaded models: a listener and 64 worker threads a process.
needs apache2 apache2-bin || return 1
build netload.c || return 1
prepare_apache()
{
    web_files www 1 100 4096 70000 1000000
    modules=$(dirname "$(find /usr/lib/apache2 /usr/libexec/apache2 \
        -name mod_mpm_worker.so 2> /dev/null | head -n 1)")
    cat > httpd.conf <<EOF
ServerRoot $RUN_DIR
ServerName localhost
PidFile $RUN_DIR/pid
ErrorLog $RUN_DIR/error.log
Mutex default:$RUN_DIR
Listen 127.0.0.1:$PORT
LoadModule mpm_${mpm}_module $modules/mod_mpm_$mpm.so
LoadModule authz_core_module $modules/mod_authz_core.so
DocumentRoot $RUN_DIR/www
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
ServerLimit 4
StartServers 4
ThreadsPerChild 64
MaxRequestWorkers 256
EnableSendfile On
EOF
    # As root, the workers become another user, who has to reach the files.
    [ "$(id -u)" != 0 ] || {
        printf 'User www-data\nGroup www-data\n' >> httpd.conf
        chmod 711 "$APP_WORK"
    }
}
load_apache()
{
    "$APPS_BIN/netload" http "$PORT" 120 "$requests" www f1 f100 f4096 f70000 f1000000
}
export requests
requests=$(pick 25 250)
for mpm in worker event; do
    step -b prepare_apache -l load_apache "Apache, mpm $mpm" \
        apache2 -D FOREGROUND -f @RUN@/httpd.conf
done
