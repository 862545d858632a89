# shellcheck shell=bash
# SBCL: its own futexes, and a signal to every thread that has to stop for the collector.
needs sbcl sbcl || return 1
step "SBCL" sbcl --script "$APPS_DIR/sbcl_threads.lisp" "$(pick 50000 2000000)"
