# shellcheck shell=bash
# Rust: std's mutexes, conditions and parking are raw futex system calls. Not installed
# for this alone: a compiler of 500 MB is asked for only when it is already there.
if ! command -v "${RUSTC:-rustc}" > /dev/null 2>&1; then
    say "rust: no rustc on this machine, nothing to run"
    echo "note rust: no rustc" >> "$APP_WORK/results"
    return 0
fi
build rust.rs || return 1
step "Rust program" "$APPS_BIN/rust" "$(pick 3 40)"
