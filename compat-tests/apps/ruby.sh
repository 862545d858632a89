# shellcheck shell=bash
# Ruby: threads, sockets, children, Ractors.
needs ruby ruby || return 1
step "ruby, 16 threads" ruby "$APPS_DIR/ruby_threads.rb" 16 "$(pick 3000 50000)"
