# shellcheck shell=bash
# stress-ng --verify: its own checks decide; compared is which stressors passed or failed.
needs stress-ng stress-ng || return 1
verdicts()
{
    sed -n -e 's/^stress-ng: [a-z]*: *\[[0-9]*\] *//' \
        -e '/unsuccessful\|^successful/s/ in .*//p' \
        -e '/^\(passed\|failed\|skipped\)/p' -e '/fail/p' "$RUN_DIR/log"
}
seconds=$(pick 2 30)
more=
[ "$APP_MODE" = quick ] || more='switch sigq sigfd sigsuspend sigpending sigrt
    mq pipe poll eventfd'
for stressor in pthread mutex sem futex $more; do
    step -t $((seconds + 60)) -f verdicts "stress-ng --$stressor 2 --verify" stress-ng \
        --"$stressor" 2 --verify --timeout "${seconds}s" --temp-path . --log-file log
done
step -t $((seconds + 60)) -f verdicts "stress-ng all three" stress-ng --pthread 1 \
    --mutex 1 --sem 1 --verify --timeout "${seconds}s" --temp-path . --log-file log
