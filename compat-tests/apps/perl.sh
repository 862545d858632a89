# shellcheck shell=bash
# Perl's ithreads.
needs perl perl || return 1
step "perl, 16 ithreads" perl "$APPS_DIR/perl_threads.pl" 16 "$(pick 2000 20000)"
