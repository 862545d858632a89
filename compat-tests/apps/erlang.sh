# shellcheck shell=bash
# Erlang: its own scheduler on four threads, dirty schedulers and asynchronous threads, which
# wait on futexes that it calls itself.
needs erlc erlang-base || return 1
[ -f "$APPS_BIN/erlang_threads.beam" ] ||
    erlc -o "$APPS_BIN" "$APPS_DIR/erlang_threads.erl" || return 1
step "erl, 4 schedulers" env HOME=/ erl +S 4:4 +A 16 +SDcpu 4 +SDio 8 -noshell \
    -pa "$APPS_BIN" -run erlang_threads main "$(pick 200 2000)"
