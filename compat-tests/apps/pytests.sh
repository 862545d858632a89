# shellcheck shell=bash
# Python's own tests of its threading modules, from Debian's python3. Compared: the result
# of every single test.
#
# Most of their time is fixed sleeps. So in quick mode, at a number of P other than the
# library's own choice, the tests that sleep a second or more in test_queue and
# test_concurrent_futures are left out; and the process pools of test_concurrent_futures
# (two minutes natively, hardly any threads) are left to --all.
needs /usr/bin/python3 python3 || return 1
if ! /usr/bin/python3 -c 'import test.test_threading' 2> /dev/null; then
    version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    needs_packages "libpython$version-testsuite" || return 1
fi
results()
{
    /usr/bin/python3 "$APPS_DIR/pytests.py" "$RUN_DIR/junit.xml"
}
# suite [-P PROCS] NAME [OPTIONS of regrtest...]
suite()
{
    local APP_PROCS=$APP_PROCS name
    [ "$1" != -P ] || { APP_PROCS=$2; shift 2; }
    name=$1
    shift
    [ -z "$APP_PROCS" ] || step -t 900 -f results "python3 -m test $name" \
        /usr/bin/python3 -m test --junit-xml junit.xml "$@" "$name"
}
for name in test_thread test_threading test_threading_local; do
    suite "$name"
done
if [ "$APP_MODE" = all ]; then
    suite test_queue
    suite test_concurrent_futures
    return
fi
others=
for procs in $APP_PROCS; do
    [ "$procs" = auto ] || others="$others $procs"
done
case $APP_PROCS in
*auto*)
    suite -P auto test_queue
    suite -P auto test_concurrent_futures -m '*ThreadPool*'
    ;;
esac
suite -P "$others" test_queue -i test_basic -i test_failing_queue
suite -P "$others" test_concurrent_futures -m '*ThreadPool*' -i test_timeout \
    -i test_map_timeout -i test_hang_global_shutdown_lock -i 'test_first_*' \
    -i test_zero_timeout -i test_duplicate_futures -i test_20369
