# shellcheck shell=bash
# fio: a thread per job, and for each engine what it has of its own: glibc's aio threads, the
# kernel's queues, a ring that belongs to one thread. Every block is read back and verified.
needs fio fio || return 1
mb=$(pick 2 16)
jobs=(fio --thread --name=job --numjobs=8 --size="${mb}m" --bs=4k --rw=randwrite
    --verify=crc32c --verify_fatal=1 --directory=.)
errors()
{
    grep -o 'err=.[0-9]*' # one for each job
}
step -f errors "fio, psync, 8 threads" "${jobs[@]}" --ioengine=psync
step -f errors "fio, posixaio, 8 threads" "${jobs[@]}" --ioengine=posixaio --iodepth=8
step -f errors "fio, libaio, verifying threads" "${jobs[@]}" --ioengine=libaio --iodepth=8 \
    --verify_async=3
# Some sandboxes refuse io_uring_setup.
if (cd "$APP_WORK" && fio --name=probe --size=4k --ioengine=io_uring > /dev/null 2>&1); then
    step -f errors "fio, io_uring, verifying threads" "${jobs[@]}" --ioengine=io_uring \
        --iodepth=8 --verify_async=3
fi
