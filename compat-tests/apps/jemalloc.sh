# shellcheck shell=bash
# jemalloc preloaded together with the library, in both orders. It brings its own TLS, its
# own pthread_create wrapper and, when asked for, background threads.
find_lib()
{
    for lib in /usr/lib/*/libjemalloc.so.2 /usr/lib/libjemalloc.so.2; do
        [ -f "$lib" ] && return 0
    done
    lib=
}
find_lib
if [ -z "$lib" ]; then
    needs_packages libjemalloc2 || return 1
    find_lib
fi
[ -n "$lib" ] || { say "jemalloc: libjemalloc.so.2 not found"; return 1; }
build mallocs.c || return 1
laps=$(pick 200 2000)
for order in "$lib:@" "@:$lib"; do
    case $order in
    @*) where="jemalloc last" ;;
    *) where="jemalloc first" ;;
    esac
    step -n "$lib" -p "$order" "$where" "$APPS_BIN/mallocs" "$laps"
    step -n "$lib" -p "$order" "$where, background threads" \
        env MALLOC_CONF=background_thread:true,dirty_decay_ms:10 \
        "$APPS_BIN/mallocs" "$laps"
    step -n "$lib" -p "$order" "$where, sort" \
        sh -c 'seq 1 300000 | sort --parallel=8 -S 256M -rn'
done
