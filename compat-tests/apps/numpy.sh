# shellcheck shell=bash
# numpy on OpenBLAS: its threads wait in sched_yield for work. Whole numbers, so that the order
# of sums does not show.
needs_packages python3 python3-numpy libopenblas0-pthread || return 1
step "numpy, OpenBLAS with 4 threads" env OPENBLAS_NUM_THREADS=4 \
    /usr/bin/python3 "$APPS_DIR/numpy_threads.py" "$(pick 300 1500)"
