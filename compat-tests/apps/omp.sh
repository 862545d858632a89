# shellcheck shell=bash
# OpenMP: libgomp uses inline futexes and spinning barriers that nobody can hook.
# gcc: clang brings another OpenMP library, which Debian does not install with it.
needs gcc gcc || return 1
CC=gcc build omp.c -fopenmp -lm || return 1
laps=$(pick 20 200)
for threads in 2 8; do
    for policy in active passive; do
        step "OpenMP $threads threads, $policy" env OMP_NUM_THREADS="$threads" \
            OMP_WAIT_POLICY="$policy" "$APPS_BIN/omp" "$laps"
    done
done
step "OpenMP nested" env OMP_NUM_THREADS=3,3 OMP_MAX_ACTIVE_LEVELS=2 \
    OMP_DYNAMIC=false "$APPS_BIN/omp" "$laps"
