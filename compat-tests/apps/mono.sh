# shellcheck shell=bash
# Mono: thread pool, monitors, a collector that stops threads by signals.
needs mcs mono-mcs libmono-system-core4.0-cil || return 1
[ -f "$APPS_BIN/mono_threads.exe" ] ||
    mcs -out:"$APPS_BIN/mono_threads.exe" "$APPS_DIR/mono_threads.cs" || return 1
step "Mono" mono "$APPS_BIN/mono_threads.exe" "$(pick 100000 3000000)"
