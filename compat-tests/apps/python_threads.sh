# shellcheck shell=bash
# A Python script with 2,000 threads that all live at once.
needs /usr/bin/python3 python3 || return 1
step "python3 2,000 threads" /usr/bin/python3 "$APPS_DIR/python_threads.py" 2000
