/* file_storm.c - more threads read and write files than the system does at a time: calls that
 * cannot be made without blocking (/proc, O_SYNC), some by threads with a kernel thread of
 * their own, which end all the time. Each gets its turn; a lost one is a hang. The first kernel
 * thread of the process lives throughout. */
#include "stress.h"

#include <fcntl.h>
#include <sys/prctl.h>

enum { THREADS = 300, CALLS = 10 };

static int out;

static void read_status(void)
{
    char buf[256];
    int fd;

    OKSYS(fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    for (int i = 0; i < 3; i++) {
        ssize_t n = pread(fd, buf, sizeof(buf), i);
        CHECK(n == (ssize_t)sizeof(buf), "pread of status: %zd", n);
    }
    OKSYS(close(fd));
}

static void write_own(long id)
{
    long got;

    CHECK(pwrite(out, &id, sizeof(id), id * (off_t)sizeof(id)) == sizeof(id), "pwrite");
    CHECK(pread(out, &got, sizeof(got), id * (off_t)sizeof(id)) == sizeof(got), "pread");
    CHECK(got == id, "read %ld for %ld", got, id);
}

static void *user(void *arg)
{
    long id = (long)arg;

    if (id % 3 == 0) /* the kernel keeps it per thread */
        OKSYS(prctl(PR_SET_TIMERSLACK, 60000, 0, 0, 0));
    for (int i = 0; i < CALLS; i++) {
        if ((id + i) % 8 == 0)
            write_own(id);
        else
            read_status();
    }
    return arg;
}

static void first_lives(void)
{
    char path[64], buf[256];
    const char *p;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
    OKSYS(fd = open(path, O_RDONLY | O_CLOEXEC));
    OKSYS(n = read(fd, buf, sizeof(buf) - 1));
    OKSYS(close(fd));
    buf[n] = '\0';
    p = strrchr(buf, ')');
    CHECK(p != NULL && p[2] != 'Z', "the first kernel thread has ended: %s", buf);
}

int main(int argc, char **argv)
{
    char name[] = "/tmp/file_storm.XXXXXX";
    static pthread_t t[THREADS];
    long rounds = 0;

    stress_begin("file_storm", argc, argv);
    OKSYS(out = mkostemp(name, O_SYNC | O_CLOEXEC));
    OKSYS(unlink(name));
    do {
        for (long i = 0; i < THREADS; i++)
            stress_create(&t[i], user, (void *)i);
        for (long i = 0; i < THREADS; i++)
            stress_join(t[i], (void *)i);
        first_lives();
        stress_progress++;
        rounds++;
    } while (stress_running());
    return stress_end("%ld rounds of %d threads", rounds, THREADS);
}
