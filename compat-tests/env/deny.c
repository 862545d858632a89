/* deny.c - run a program whose epoll_ctl fails: deny ENOSPC|ENOMEM COMMAND...
 *
 * A seccomp filter refuses every registration of a descriptor below HIGH, as a system does
 * that has no watches or no memory left. The library's own descriptors are above. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HIGH = 200, SKIPPED = 77 };

#define LOAD(field)                                                                      \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define JUMP(how, value, yes, no) BPF_JUMP(BPF_JMP | (how) | BPF_K, (value), (yes), (no))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))

int main(int argc, char **argv)
{
    unsigned err = argc > 1 && strcmp(argv[1], "ENOMEM") == 0 ? ENOMEM : ENOSPC;
    struct sock_filter filter[] = {
        LOAD(nr),
        JUMP(BPF_JEQ, SYS_epoll_ctl, 0, 5),
        LOAD(args[1]),
        JUMP(BPF_JEQ, EPOLL_CTL_DEL, 3, 0),
        LOAD(args[2]),
        JUMP(BPF_JGE, HIGH, 1, 0),
        RETURN(SECCOMP_RET_ERRNO | err),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof(filter) / sizeof(filter[0]), filter};

    if (argc < 3)
        return 2;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != 0) {
        perror("deny: seccomp");
        return SKIPPED;
    }
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 2;
}
