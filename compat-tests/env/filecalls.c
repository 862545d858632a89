/* filecalls.c - filecalls THREADS LEAST MOST: how many kernel threads do THREADS file calls take
 * that all block?
 *
 * A read with an offset or flags is a file call for the library. Here each has a pipe of its
 * own, so it lasts until a byte is written. Prints "few" when there are at most MOST kernel
 * threads when all have begun, waits (for ever, if need be) until there are LEAST, and sees
 * that each call gets its byte. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST_THREADS = 200 };

static int fd[MOST_THREADS][2], begun, wrong; /* the last two atomic */

static void *reads(void *arg)
{
    long i = (long)arg;
    char c = 0;
    struct iovec v = {&c, 1};

    __atomic_add_fetch(&begun, 1, __ATOMIC_RELAXED);
    if (preadv2(fd[i][0], &v, 1, -1, RWF_HIPRI) != 1 || c != (char)i)
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    return NULL;
}

static int kernel_threads(void)
{
    int n = -2;
    DIR *d = opendir("/proc/self/task");

    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    static pthread_t t[MOST_THREADS];
    long threads = argc > 3 ? atol(argv[1]) : 0;

    if (threads < 1 || threads > MOST_THREADS)
        return 2;
    for (long i = 0; i < threads; i++)
        if (pipe(fd[i]) != 0 || pthread_create(&t[i], NULL, reads, (void *)i) != 0)
            return 2;
    while (__atomic_load_n(&begun, __ATOMIC_RELAXED) < threads)
        usleep(1000);
    usleep(100000); /* time to make too many */
    int n = kernel_threads();
    printf("%s\n", n <= atoi(argv[3]) ? "few" : "many");
    while (kernel_threads() < atoi(argv[2]))
        usleep(1000);
    /* The last first: those are the ones that wait for their turn. */
    for (long i = threads; i-- > 0;) {
        char c = (char)i;
        if (write(fd[i][1], &c, 1) != 1)
            return 2;
    }
    for (long i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    printf("%d wrong\n", wrong);
    return 0;
}
