# shellcheck shell=bash
# Rust: std's mutexes, conditions and parking are raw futex system calls.
# In quick mode only where there is a compiler: it is large.
if [ "$APP_MODE" = quick ] && ! command -v "${RUSTC:-rustc}" > /dev/null; then
    say "rust: not installed, left out"
    return 0
fi
needs "${RUSTC:-rustc}" rustc || return 1
build rust.rs || return 1
step "Rust program" "$APPS_BIN/rust" "$(pick 3 40)"
