/* lib_ctor.c - a library whose constructor uses threads, locks and thread-local data:
 * when it is loaded before libgshim its entry points are called before their constructor.
 * It does the same once more when the process ends.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int onces, destroyed, sum; /* under lock */
static __thread int own = 7;

static void first(void)
{
    onces++;
}

static void destroy(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    destroyed++;
    pthread_mutex_unlock(&lock);
}

static void *work(void *arg)
{
    sem_t *sem = arg;
    pthread_once(&once, first);
    pthread_setspecific(key, sem);
    pthread_mutex_lock(&lock);
    sum += own++;
    pthread_mutex_unlock(&lock);
    sem_post(sem);
    return NULL;
}

static void use_threads(const char *when)
{
    pthread_t t[N];
    sem_t sem;
    sum = destroyed = 0;
    sem_init(&sem, 0, 0);
    pthread_key_create(&key, destroy);
    for (int i = 0; i < N; i++)
        if (pthread_create(&t[i], NULL, work, &sem) != 0)
            abort();
    for (int i = 0; i < N; i++)
        sem_wait(&sem);
    for (int i = 0; i < N; i++)
        pthread_join(t[i], NULL);
    printf("%s: once %d, sum %d, destroyed %d\n", when, onces, sum, destroyed);
    fflush(stdout);
    pthread_key_delete(key);
}

__attribute__((constructor(101))) static void at_start(void)
{
    use_threads("constructor");
}

__attribute__((destructor(101))) static void at_end(void)
{
    /* When the last thread ends the process, NPTL cannot cope with new ones. */
    if (getenv("LIB_CTOR_NOT_AT_END") == NULL)
        use_threads("destructor");
}
