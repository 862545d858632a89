# shellcheck shell=bash
# sysbench threads (locks and yields) and mutex. Compared: the events done, not the times.
needs sysbench sysbench || return 1
events()
{
    sed -n 's/^ *total number of events: */events /p'
}
step -f events "sysbench threads 64" sysbench threads --threads=64 --time=0 \
    --events="$(pick 1000 20000)" --thread-yields=100 --thread-locks=4 run
step -f events "sysbench threads 8, many yields" sysbench threads --threads=8 --time=0 \
    --events="$(pick 200 2000)" --thread-yields=1000 --thread-locks=1 run
step -f events "sysbench mutex 64" sysbench mutex --threads=64 --mutex-num=8 \
    --mutex-locks="$(pick 2000 50000)" --mutex-loops=500 run
