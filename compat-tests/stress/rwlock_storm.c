/* rwlock_storm.c - the invariants of read-write locks under a storm of all operations.
 *
 * Readers and writers in all ways of locking (plain, try, timed) over locks of each kind:
 * prefer readers, prefer writers, prefer writers non-recursive. A writer makes two plain
 * counters unequal for a moment, so any overlap shows; counts of successful write locks
 * must match the counters. Afterwards, turns: a writer must get in although readers
 * overlap each other without a gap (kind non-recursive), and readers must get in although
 * writers queue up (kind prefer readers); a thread that is never let in hangs. */

#include "stress.h"

#define THREADS 10

static pthread_rwlock_t lock;
static long left, right; /* under lock */
static _Atomic int writers_in, readers_in;
static _Atomic long write_locks, read_locks;
static _Atomic bool enough;

static void inside_write(uint64_t *rng)
{
    CHECK(atomic_fetch_add(&writers_in, 1) == 0, "two writers");
    CHECK(readers_in == 0, "a reader beside a writer");
    left++;
    stress_jitter(rng);
    right++;
    writers_in--;
    write_locks++;
}

static void inside_read(uint64_t *rng)
{
    long l;

    readers_in++;
    CHECK(writers_in == 0, "a writer beside a reader");
    l = left;
    stress_jitter(rng);
    CHECK(l == right, "torn: %ld and %ld", l, right);
    readers_in--;
    read_locks++;
}

static int lock_somehow(bool write, uint64_t *rng)
{
    struct timespec when;

    switch (stress_rand(rng) % 4) {
    case 0:
        return write ? pthread_rwlock_trywrlock(&lock) : pthread_rwlock_tryrdlock(&lock);
    case 1:
        when = stress_after_ns(CLOCK_REALTIME, stress_rand(rng) % 200000);
        return write ? pthread_rwlock_timedwrlock(&lock, &when)
                     : pthread_rwlock_timedrdlock(&lock, &when);
    default:
        return write ? pthread_rwlock_wrlock(&lock) : pthread_rwlock_rdlock(&lock);
    }
}

static void *storm(void *arg)
{
    uint64_t rng = stress_seed_for((uintptr_t)arg);

    while (stress_running()) {
        bool write = stress_rand(&rng) % 5 == 0;
        int rc = lock_somehow(write, &rng);

        CHECK(rc == 0 || rc == EBUSY || rc == ETIMEDOUT, "lock returned %d", rc);
        if (rc)
            continue;
        if (write)
            inside_write(&rng);
        else
            inside_read(&rng);
        OK0(pthread_rwlock_unlock(&lock));
        stress_progress++;
    }
    return arg;
}

static void make(int kind)
{
    pthread_rwlockattr_t attr;

    OK0(pthread_rwlockattr_init(&attr));
    OK0(pthread_rwlockattr_setkind_np(&attr, kind));
    OK0(pthread_rwlock_init(&lock, &attr));
    OK0(pthread_rwlockattr_destroy(&attr));
}

static void run_storm(const char *name, int kind)
{
    pthread_t t[THREADS];

    stress_phase(name, 0.25);
    left = right = 0;
    write_locks = 0;
    make(kind);
    for (long i = 0; i < THREADS; i++)
        stress_create(&t[i], storm, (void *)i);
    for (long i = 0; i < THREADS; i++)
        stress_join(t[i], (void *)i);
    CHECK(left == write_locks && right == left, "%ld, %ld of %ld writes", left, right,
          write_locks);
    OK0(pthread_rwlock_trywrlock(&lock));
    OK0(pthread_rwlock_unlock(&lock));
    OK0(pthread_rwlock_destroy(&lock));
}

/* Crowd threads keep the lock taken without a gap until the loner has had it five
 * times. */
static void *crowd(void *arg)
{
    bool write = arg != NULL;

    while (!enough) {
        OK0(write ? pthread_rwlock_wrlock(&lock) : pthread_rwlock_rdlock(&lock));
        sched_yield();
        OK0(pthread_rwlock_unlock(&lock));
    }
    return arg;
}

static void run_turn(const char *name, int kind, bool crowd_writes)
{
    pthread_t t[4];
    void *arg = crowd_writes ? &lock : NULL;

    stress_where = name;
    make(kind);
    enough = false;
    for (int i = 0; i < 4; i++)
        stress_create(&t[i], crowd, arg);
    for (int i = 0; i < 5; i++) {
        OK0(crowd_writes ? pthread_rwlock_rdlock(&lock) : pthread_rwlock_wrlock(&lock));
        OK0(pthread_rwlock_unlock(&lock));
        stress_progress++;
    }
    enough = true;
    for (int i = 0; i < 4; i++)
        stress_join(t[i], arg);
    OK0(pthread_rwlock_destroy(&lock));
}

int main(int argc, char **argv)
{
    stress_begin("rwlock_storm", argc, argv);
    run_storm("prefer readers", PTHREAD_RWLOCK_PREFER_READER_NP);
    run_storm("prefer writers", PTHREAD_RWLOCK_PREFER_WRITER_NP);
    run_storm("prefer writers, non-recursive",
              PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    run_turn("a writer among readers", PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP,
             false);
    run_turn("a reader among writers", PTHREAD_RWLOCK_PREFER_READER_NP, true);
    return stress_end("%ld read locks", read_locks);
}
