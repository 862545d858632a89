# shellcheck shell=bash
# More of Python's own suites: input and output, sockets, selecting, processes, signals.
# Compared: the result of every single test. pytests.sh has those of the threading modules.
needs /usr/bin/python3 python3 || return 1
if ! /usr/bin/python3 -c 'import test.test_threading' 2> /dev/null; then
    version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    needs_packages "libpython$version-testsuite" || return 1
fi
results()
{
    /usr/bin/python3 "$APPS_DIR/pytests.py" "$RUN_DIR/junit.xml"
}
suites='test_io test_socket test_socketserver test_select test_selectors test_poll test_epoll
    test_signal test_fork1 test_threadsignals test_subprocess test_asyncio'
# Only with larger inputs: minutes of sleeps each.
[ "$APP_MODE" != all ] ||
    suites="$suites test_faulthandler test_multiprocessing_fork test_wait3 test_wait4"
# VSOCK: in some virtual machines the address exists and leads nowhere, natively too.
# test_socketserver calls the loopback interface a resource that it has to be given.
for name in $suites; do
    resources=()
    [ "$name" != test_socketserver ] || resources=(-u network)
    step -t 600 -f results "python3 -m test $name" \
        /usr/bin/python3 -m test --junit-xml junit.xml -i '*VSOCK*' "${resources[@]}" "$name"
done
