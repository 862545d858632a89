# shellcheck shell=bash
# C++20: std::thread, jthread, async, futures, condition_variable, shared_mutex, latch,
# barrier, semaphore, atomic wait (raw futexes), thread_local destructors, exceptions.
needs g++ g++ || return 1
build cxx.cc || return 1
step "C++20 program" "$APPS_BIN/cxx" "$(pick 3 40)"
