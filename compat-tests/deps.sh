#!/bin/sh
# deps.sh PACKAGE... - installs those of the named Debian packages that are missing.
#
# @PY@ in a name stands for the version of Debian's python3 (libpython@PY@-testsuite).
# Servers among them are installed, not started: the tests start their own.
# Silent when there is nothing to do.  Where dpkg does not exist it only says what would
# be needed: the names are Debian's, and the tests fail clearly without a tool.
set -eu

if ! command -v dpkg-query > /dev/null 2>&1; then
    echo "deps: not a Debian system; needed are the equivalents of: $*"
    exit 0
fi

sudo=
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
fi
log=$(mktemp)
policy=/usr/sbin/policy-rc.d # asked by every package before it starts a service
made_policy=
trap 'rm -f "$log"; [ -z "$made_policy" ] || $sudo rm -f "$policy"' EXIT

# The version of python3 that is installed, or else that apt would install.
python_version()
{
    v=$(dpkg-query -W -f='${Version}' python3 2> /dev/null || true)
    [ -n "$v" ] || v=$(apt-cache policy python3 | sed -n 's/^ *Candidate: //p')
    echo "$v" | sed -n 's/^\([0-9]*\.[0-9]*\).*/\1/p'
}

# missing PACKAGE... - prints those that are not installed.
missing()
{
    py=
    for p in "$@"; do
        case $p in
        *@PY@*)
            [ -n "$py" ] || py=$(python_version)
            p=${p%%@PY@*}$py${p#*@PY@}
            ;;
        esac
        case $(dpkg-query -W -f='${db:Status-Status}' "$p" 2> /dev/null || true) in
        installed*) ;;
        *) echo "$p" ;;
        esac
    done
}

install_missing()
{
    # shellcheck disable=SC2046
    set -- $(missing "$@")
    [ $# -gt 0 ] || return 0
    echo "deps: installing $*"
    if [ ! -e "$policy" ]; then
        made_policy=1
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" > /dev/null
        $sudo chmod 755 "$policy"
    fi
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        -o DPkg::Lock::Timeout=300 --no-install-recommends "$@" > "$log" 2>&1
}

[ -n "$(missing "$@")" ] || exit 0
if [ -n "$sudo" ] && ! command -v sudo > /dev/null 2>&1; then
    echo "deps: need root or sudo to install: $(missing "$@" | tr '\n' ' ')" >&2
    exit 1
fi
# The package lists may be absent (fresh image) or stale: update them once, try again.
if ! install_missing "$@"; then
    echo "deps: updating the package lists"
    $sudo apt-get update -q > "$log" 2>&1 || cat "$log" >&2
    if ! install_missing "$@"; then
        cat "$log" >&2
        exit 1
    fi
fi
