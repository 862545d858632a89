# shellcheck shell=bash
# Intel TBB with eight threads.
needs g++ g++ || return 1
[ -f /usr/include/tbb/tbb.h ] || needs_packages libtbb-dev || return 1
build tbb.cc -ltbb || return 1
step "TBB, 8 threads" "$APPS_BIN/tbb" "$(pick 5 100)"
