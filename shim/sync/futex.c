/* futex.c - the futex system call on private words, as called through syscall(2).
 *
 * C++20's atomic wait, Rust's std and many own locks come this way.  A G parks in the lot
 * under the word's address; the values compare under the bucket lock, which is what the
 * kernel's own hash lock gives.  A wake that found fewer waiters than allowed also asks the
 * kernel: code with inline system calls (libgomp) waits there on the same kind of word.
 * Shared futexes, priority inheritance and unknown operations are not for us: the caller
 * passes them to the kernel.
 * Source: futex(2), kernel/futex/.
 */
#include "shim/sync/sync.h"

#include <linux/futex.h>
#include <sys/syscall.h>

struct word_wait {
    uint32_t *word;
    uint32_t val;
    bool fault;
};

/* An acquire load that tells a bad address instead of faulting. */
static bool load(const uint32_t *word, uint32_t *v)
{
    bool ok = arch_load_u32(word, v);
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* MO: as the kernel's read under its lock */
    return ok;
}

static bool same_value(void *arg)
{
    struct word_wait *w = arg;
    uint32_t v;
    w->fault = !load(w->word, &v);
    return !w->fault && v == w->val;
}

static long wait_word(uint32_t *word, uint32_t val, uint32_t bits, struct deadline d,
                      bool relative)
{
    struct word_wait w = {word, val, false};
    struct park_op op = {.key = word,
                         .validate = same_value,
                         .arg = &w,
                         .tag = bits,
                         .reason = WAIT_FUTEX,
                         .ended_by = PARK_BY_SIGNAL};
    if (bits == 0 || ((uintptr_t)word & 3) != 0)
        return -EINVAL;
    int err = deadline_set(&op, d);
    if (err != 0 && (err == EINVAL || relative))
        return -EINVAL;
    if (err != 0)
        op.deadline_ns = 0;
    if (relative && op.deadline_ns != RT_FOREVER)
        op.deadline_ns += os_clock_ns(d.clock);
    struct sync_signals signals = sync_signals_now(op.deadline_ns != RT_FOREVER);
    do
        err = park_wait(&op, NULL);
    while (err == EINTR && !sync_interrupted(&signals));
    return w.fault ? -EFAULT : -err;
}

struct wake_bits {
    uint32_t bits;
    size_t left;
};

static enum park_pick with_bits(void *arg, uintptr_t tag)
{
    struct wake_bits *w = arg;
    if (w->left == 0)
        return PARK_STOP;
    if ((tag & w->bits) == 0)
        return PARK_SKIP;
    w->left--;
    return PARK_TAKE;
}

static long kernel(uint32_t *word, int op, long n, long n2, uint32_t *word2,
                   uint32_t val3)
{
    long r = arch_syscall6(SYS_futex, (long)word, op | FUTEX_PRIVATE_FLAG, n, n2,
                           (long)word2, (long)val3);
    return r > 0 ? r : 0;
}

static long wake_word(uint32_t *word, uint32_t n, uint32_t bits)
{
    if (bits == 0 || ((uintptr_t)word & 3) != 0)
        return -EINVAL;
    struct wake_bits w = {bits, n};
    long woken = (long)park_wake_filter(word, NULL, with_bits, NULL, &w);
    if (w.left != 0)
        woken += kernel(word, FUTEX_WAKE_BITSET, (long)w.left, 0, NULL, bits);
    return woken;
}

struct requeue {
    uint32_t *word;
    uint32_t val;
    bool compare, fault;
};

static bool may_requeue(void *arg, struct park_move *mv)
{
    struct requeue *r = arg;
    uint32_t v;
    (void)mv;
    if (!r->compare)
        return true;
    r->fault = !load(r->word, &v);
    return !r->fault && v == r->val;
}

static long requeue(uint32_t *word, uint32_t nwake, uint32_t nmove, uint32_t *to,
                    struct requeue r)
{
    struct park_move mv = {
        .nwake = nwake, .nmove = nmove, .check = may_requeue, .arg = &r};
    size_t n = park_requeue(word, to, &mv);
    if (n == SIZE_MAX)
        return r.fault ? -EFAULT : -EAGAIN;
    if (n < (size_t)nwake + nmove)
        n += (size_t)kernel(word, FUTEX_REQUEUE, (long)(nwake - mv.nwake),
                            (long)(nmove - mv.nmove), to, 0);
    return (long)n;
}

static int32_t apply(uint32_t *word, uint32_t code)
{
    int op = (int)(code >> 28) & 7;
    int32_t arg = (int32_t)(code << 8) >> 20;
    if ((code & ((uint32_t)FUTEX_OP_OPARG_SHIFT << 28)) != 0)
        arg = (int32_t)(1u << (arg & 31));
    uint32_t old = ld_rlx(word), new;
    do {
        switch (op) {
        case FUTEX_OP_SET:
            new = (uint32_t)arg;
            break;
        case FUTEX_OP_ADD:
            new = old + (uint32_t)arg;
            break;
        case FUTEX_OP_OR:
            new = old | (uint32_t)arg;
            break;
        case FUTEX_OP_ANDN:
            new = old & ~(uint32_t)arg;
            break;
        default:
            new = old ^ (uint32_t)arg;
            break;
        }
    } while (!cas_sc(word, &old, new)); /* MO: sc, as the kernel's locked instruction */
    return (int32_t)old;
}

static bool compare(int32_t old, uint32_t code)
{
    int32_t arg = (int32_t)(code << 20) >> 20;
    switch ((code >> 24) & 15) {
    case FUTEX_OP_CMP_EQ:
        return old == arg;
    case FUTEX_OP_CMP_NE:
        return old != arg;
    case FUTEX_OP_CMP_LT:
        return old < arg;
    case FUTEX_OP_CMP_LE:
        return old <= arg;
    case FUTEX_OP_CMP_GT:
        return old > arg;
    default:
        return old >= arg;
    }
}

static long wake_op(uint32_t *word, uint32_t n, uint32_t n2, uint32_t *word2,
                    uint32_t code)
{
    if (((code >> 28) & 7) > FUTEX_OP_XOR || ((code >> 24) & 15) > FUTEX_OP_CMP_GE)
        return -ENOSYS; /* as the kernel */
    uint32_t probe;
    if (!load(word2, &probe))
        return -EFAULT;
    int32_t old = apply(word2, code);
    long woken = wake_word(word, n, FUTEX_BITSET_MATCH_ANY);
    if (compare(old, code))
        woken += wake_word(word2, n2, FUTEX_BITSET_MATCH_ANY);
    return woken;
}

bool sync_futex(long *ret, uint32_t *word, int op, uint32_t val,
                const struct timespec *timeout, uint32_t *word2, uint32_t val3)
{
    int cmd = op & FUTEX_CMD_MASK;
    clockid_t clock = (op & FUTEX_CLOCK_REALTIME) != 0 ? CLOCK_REALTIME : CLOCK_MONOTONIC;
    uint32_t val2 = (uint32_t)(uintptr_t)timeout; /* a number for some operations */
    if ((op & FUTEX_PRIVATE_FLAG) == 0 || !rt_is_started())
        return false;
    switch (cmd) {
    case FUTEX_WAIT:
        *ret = wait_word(word, val, FUTEX_BITSET_MATCH_ANY,
                         (struct deadline){clock, timeout}, true);
        return true;
    case FUTEX_WAIT_BITSET:
        *ret = wait_word(word, val, val3, (struct deadline){clock, timeout}, false);
        return true;
    case FUTEX_WAKE:
        *ret = wake_word(word, val, FUTEX_BITSET_MATCH_ANY);
        return true;
    case FUTEX_WAKE_BITSET:
        *ret = wake_word(word, val, val3);
        return true;
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
        *ret = requeue(word, val, val2, word2,
                       (struct requeue){word, val3, cmd == FUTEX_CMP_REQUEUE, false});
        return true;
    case FUTEX_WAKE_OP:
        *ret = wake_op(word, val, val2, word2, val3);
        return true;
    default:
        return false;
    }
}
