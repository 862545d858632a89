#!/bin/bash
# run.sh - the conformance programs on other versions of the C library; `make matrix`.
#
#   run.sh [SUITE...]      suites of Debian; by default those of the table below
#
# The library and the programs are built once, here.  For each suite a small root is made with
# debootstrap below $GSHIM_BUILD/roots (kept for the next time), and there every program runs
# natively and preloaded with 1, 2 and 8 processors: same output, same status, and no word about
# passing threads through.  A suite with a C library before 2.34 has a compiler in its root, which
# builds the C programs again, and must pass threads through: one line of ours, and whatever passes
# natively passes.  Where this machine's C library is newer than the root's, programs may
# not start even natively; that fails, too: build on the oldest.
# Needs root (or sudo) for chroot and mounts.  CONFORM_ONLY=PART: only programs whose name has it.
set -u

lib=${GSHIM_LIB:?set by make}
build=${GSHIM_BUILD:?set by make}
here=$(cd "$(dirname "$0")" && pwd)
mirror=${MATRIX_MIRROR:-http://deb.debian.org/debian}
roots=$build/roots
limit=100 # seconds for one program
suites=("$@")
[ $# -gt 0 ] || suites=(bullseye bookworm trixie sid)
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

mounted=()
unmount_all()
{
    local m
    for m in "${mounted[@]}"; do
        $sudo umount -l "$m"
    done
    mounted=()
}
trap unmount_all EXIT
trap 'exit 130' INT TERM

# too_old SUITE - is its C library one that we only pass calls on to?
too_old()
{
    [ "$1" = bullseye ]
}

# make_root SUITE - sets $root; a half-made one is never left under the final name.
make_root()
{
    local include=libstdc++6,libgcc-s1
    root=$roots/$1
    too_old "$1" && include=gcc,libc6-dev
    [ -d "$root" ] && return 0
    mkdir -p "$roots"
    echo "matrix: making a root of $1"
    if ! $sudo debootstrap --variant=minbase --include=$include "$1" \
        "$root.part" "$mirror" > "$roots/$1.log" 2>&1; then
        tail -n 5 "$roots/$1.log" >&2
        $sudo rm -rf "$root.part"
        return 1
    fi
    $sudo mv "$root.part" "$root"
}

enter()
{
    $sudo mount -t proc proc "$root/proc" && mounted+=("$root/proc")
    $sudo mount --bind /dev "$root/dev" && mounted=("$root/dev" "${mounted[@]}")
    $sudo mount -t tmpfs tmpfs "$root/dev/shm" && mounted=("$root/dev/shm" "${mounted[@]}")
    $sudo rm -rf "$root/t"
    $sudo mkdir -p "$root/t"
    $sudo cp -r "$build/conform" "$root/t/"
    $sudo cp "$lib" "$root/t/libgshim.so"
    # Without it a lookup of localhost asks the network, and what it says varies.
    echo '127.0.0.1 localhost' | $sudo tee "$root/etc/hosts" > /dev/null
    too_old "$suite" && build_inside
    return 0
}

build_inside()
{
    local src=$here/../conform f
    $sudo rm -rf "$root/t/conform"
    $sudo mkdir "$root/t/conform"
    $sudo cp "$src"/*.[ch] "$root/t/conform/"
    for f in "$src"/*.c; do
        f=$(basename "$f" .c)
        case $f in
        lib_*) set -- -fPIC -shared -o "$f.so" ;;
        *) set -- -o "$f" ;;
        esac
        $sudo chroot "$root" /usr/bin/env -C /t/conform gcc -std=gnu11 -D_GNU_SOURCE -O2 \
            -pthread "$@" "$f.c" -lm -ldl -lrt 2> "$errors" ||
            echo "matrix: $suite cannot build $f: $(grep -m 1 error "$errors")"
    done
}

# inside NAME [VAR=VALUE...] - one run in the root; leaves its output and status in $got.
inside()
{
    local name=$1
    shift
    got=$(cd / && $sudo chroot "$root" /usr/bin/env -C /t/conform "$@" \
        timeout -k 5 "$limit" "./$name" < /dev/null 2> "$errors")
    got="$got"$'\n'"status $?"
}

one_program()
{
    local name=$1 want p passed_on
    [ -x "$root/t/conform/$name" ] || return 0
    inside "$name"
    want=$got
    # Not every assertion held in the past.
    too_old "$suite" && [ "${want##* }" != 0 ] && return 0
    for p in 1 2 8; do
        inside "$name" GSHIM_MAXPROCS=$p LD_PRELOAD=/t/libgshim.so
        passed_on=$(grep -c 'passing threads' "$errors")
        if [ "$got" = "$want" ] && { [ "$passed_on" = 0 ] || too_old "$suite"; }; then
            continue
        fi
        failed=$((failed + 1))
        echo "FAIL $suite $name at $p P"
        diff <(echo "$want") <(echo "$got") | head -n 10
        head -n 5 "$errors"
    done
    programs=$((programs + 1))
}

errors=$(mktemp)
failed=0
for suite in "${suites[@]}"; do
    programs=0
    before=$failed
    make_root "$suite" || { failed=$((failed + 1)); continue; }
    enter
    version=$(chroot "$root" ldd --version | sed -n '1s/.* //p')
    for f in "$build"/conform/*; do
        name=${f##*/}
        case $name in
        *.d | *.so | *-linked) continue ;;
        *"${CONFORM_ONLY-}"*) one_program "$name" ;;
        esac
    done
    unmount_all
    echo "matrix: $suite, glibc $version: $programs programs, $((failed - before)) failed"
done
rm -f "$errors"
[ "$failed" = 0 ]
