# shellcheck shell=bash
# Lua: states in threads of cqueues, which talk over sockets that one event loop waits for.
needs lua5.4 lua5.4 || return 1
needs_packages lua-cqueues || return 1
step "Lua, 16 threads of cqueues" lua5.4 "$APPS_DIR/lua_threads.lua" "$(pick 20000 1000000)"
