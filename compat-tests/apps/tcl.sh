# shellcheck shell=bash
# Tcl: an interpreter per thread, messages between them, pools; a notifier thread of its own.
needs tclsh tcl || return 1
needs_packages tcl-thread || return 1
step "Tcl, 16 threads and a pool" tclsh "$APPS_DIR/tcl_threads.tcl" "$(pick 5000 100000)"
