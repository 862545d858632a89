# table.awk - the rows that step wrote (program, P, verdict, native stats, gshim stats; see
# measure.c) as a Markdown table, one row per program.
#
# Times and CPU of a program's steps are added up; peak memory and kernel threads are the
# largest. Columns "native / gshim": at the default number of P, then the same at one P and
# preempted every 100 us, where only the time is given.

BEGIN {
    FS = "\t"
}

{
    if (!($1 in steps))
        order[++n] = $1
    steps[$1] += $2 == "auto"
    all[$1]++
    same[$1] += $3 == "same" || $3 == "ok"
    split($4, a, " ")
    split($5, g, " ")
    k = $1 SUBSEP $2
    wall[k] += a[3]; gwall[k] += g[3]
    cpu[k] += a[6]; gcpu[k] += g[6]
    if (a[4] > threads[k]) threads[k] = a[4]
    if (g[4] > gthreads[k]) gthreads[k] = g[4]
    if (a[5] > rss[k]) rss[k] = a[5]
    if (g[5] > grss[k]) grss[k] = g[5]
}

function seconds(ms)
{
    return sprintf(ms < 10000 ? "%.2f" : "%.0f", ms / 1000)
}

END {
    print "| Program | Same result | Seconds | CPU seconds | Peak MB | Kernel threads | 1 P | torture |"
    print "|---|---|---|---|---|---|---|---|"
    for (i = 1; i <= n; i++) {
        p = order[i]
        k = p SUBSEP "auto"
        one = p SUBSEP "1"
        t = p SUBSEP "auto/preemptus=100"
        printf "| %s | %d of %d | %s / %s | %s / %s | %.0f / %.0f | %d / %d | %s | %s |\n",
            p, same[p], all[p], seconds(wall[k]), seconds(gwall[k]), seconds(cpu[k]),
            seconds(gcpu[k]), rss[k] / 1024, grss[k] / 1024, threads[k], gthreads[k],
            (one in gwall) ? seconds(gwall[one]) : "", (t in gwall) ? seconds(gwall[t]) : ""
    }
}
