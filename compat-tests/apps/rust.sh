# shellcheck shell=bash
# Rust: std's mutexes, conditions and parking are raw futex system calls.
needs "${RUSTC:-rustc}" rustc || return 1
build rust.rs || return 1
step "Rust program" "$APPS_BIN/rust" "$(pick 3 40)"
