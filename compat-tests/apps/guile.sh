# shellcheck shell=bash
# Guile: futures, parallel maps and threads beside the Boehm collector, which stops all of them.
needs guile guile-3.0 || return 1
step "Guile" env GUILE_AUTO_COMPILE=0 guile "$APPS_DIR/guile_threads.scm" "$(pick 20000 200000)"
