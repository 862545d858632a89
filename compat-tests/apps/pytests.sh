# shellcheck shell=bash
# Python's own tests of its threading modules, from Debian's python3. Compared: the result
# of every single test. In quick mode the process pools of test_concurrent_futures (two
# minutes natively, hardly any threads) are left to --all.
needs /usr/bin/python3 python3 || return 1
if ! /usr/bin/python3 -c 'import test.test_threading' 2> /dev/null; then
    version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    needs_packages "libpython$version-testsuite" || return 1
fi
results()
{
    /usr/bin/python3 "$APPS_DIR/pytests.py" "$RUN_DIR/junit.xml"
}
only=()
[ "$APP_MODE" != quick ] || only=(-m '*ThreadPool*')
for name in test_thread test_threading test_threading_local test_queue; do
    step -t 300 -f results "python3 -m test $name" /usr/bin/python3 -m test \
        --junit-xml junit.xml "$name"
done
step -t 900 -f results "python3 -m test test_concurrent_fut." /usr/bin/python3 -m test \
    --junit-xml junit.xml "${only[@]}" test_concurrent_futures
