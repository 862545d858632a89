# shellcheck shell=bash
# MariaDB, a thread per connection: sysbench's read and write transactions, 500 connections
# that live at once, CHECK TABLE, and a clean end whose data are whole at the next start.
needs mariadbd mariadb-server-core || return 1
needs mariadb mariadb-client-core || return 1
needs sysbench sysbench || return 1
prepare_mariadb()
{
    cp -r "$IN/mysql" data
}
query()
{
    mariadb --no-defaults -u root -h 127.0.0.1 -P "$PORT" -N -B "$@"
}
oltp()
{
    sysbench "$1" --db-driver=mysql --mysql-host=127.0.0.1 --mysql-port="$PORT" \
        --mysql-user=root --mysql-db=test --tables=4 --table-size="$2" "${@:3}" |
        tee sysbench.log
    ! grep FATAL sysbench.log >&2
}
load_oltp()
{
    query -e 'create database test' || return
    oltp oltp_read_write 2000 prepare > /dev/null || return
    oltp oltp_read_write 2000 --threads=32 --time=0 --events="$events" \
        --mysql-ignore-errors=1213,1205,1020 run |
        sed -n 's/^ *total number of events: */events /p'
    oltp oltp_point_select 2000 --threads=500 --time=0 --events=5000 run |
        sed -n 's/^ *total number of events: */events /p'
    query -e 'check table test.sbtest1, test.sbtest2, test.sbtest3, test.sbtest4 extended'
    query -e 'select count(*), count(distinct id) from test.sbtest1'
    query -e 'select variable_value >= 500 from information_schema.global_status
        where variable_name = "max_used_connections"'
}
if [ ! -d "$IN/mysql" ]; then
    mariadb-install-db --no-defaults --datadir="$IN/mysql" --user="$(id -un)" \
        --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve \
        > "$APP_WORK/install.log" 2>&1 || { cat "$APP_WORK/install.log"; return 1; }
fi
export -f query oltp
export events
events=$(pick 1000 20000)
step -t 400 -b prepare_mariadb -l load_oltp "MariaDB, sysbench, 500 connections" \
    mariadbd --no-defaults --datadir=@RUN@/data --socket=@RUN@/sock --port=@PORT@ \
    --bind-address=127.0.0.1 --pid-file=@RUN@/pid --user="$(id -un)" \
    --max-connections=600 --thread-handling=one-thread-per-connection \
    --innodb-buffer-pool-size=128M --innodb-flush-log-at-trx-commit=2 \
    --skip-name-resolve --table-open-cache=2000
