/* refused.c - a sandbox that refuses signals between threads takes the asynchronous preemption
 * away, and nothing else: spinners lose their processor to whoever waits.
 *
 *   refused [seconds] [all]   the filter refuses rt_tgsigqueueinfo, with "all" tgkill as well
 *
 * What is said on stderr is for run.sh to judge. */

#include "compat-tests/stress/stress.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { SPINNERS = 3, SLEEPS = 20 };

static volatile bool enough;
static volatile unsigned long count[SPINNERS][16];

static void refuse(bool all)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_tgsigqueueinfo, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, all ? SYS_tgkill : 0xffffffff, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof(code) / sizeof(code[0]), code};

    OKSYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OKSYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

static void *spinner(void *arg)
{
    while (!enough)
        count[(long)arg][0]++;
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t t[SPINNERS];

    stress_begin("refused", argc, argv);
    refuse(argc > 2);
    for (long i = 0; i < SPINNERS; i++)
        stress_create(&t[i], spinner, (void *)i);
    for (int i = 0; i < SLEEPS; i++)
        stress_sleep_ns(1000000);
    for (long i = 0; i < SPINNERS; i++)
        while (count[i][0] == 0)
            stress_sleep_ns(1000000);
    enough = true;
    for (long i = 0; i < SPINNERS; i++)
        stress_join(t[i], (void *)i);
    return stress_end("all got on");
}
