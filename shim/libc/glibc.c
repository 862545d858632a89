/* glibc.c - libc.h on the GNU C library, 2.34 to 2.43: cancellation, the end of a thread, the
 * main thread, kernel registrations.  The identities of threads are made in glibc_tcb.c; the
 * facts are found and checked in glibc_probe.c and glibc_objects.c.  These files are the only
 * place that knows anything private.
 */
#include "shim/libc/glibc.h"

#include <errno.h>
#include <locale.h>
#include <resolv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "arch/atomic.h"
#include "shim/libc/real.h"
#include "shim/os/os.h"

/* --- cancellation -------------------------------------------------------------------- */

/* Bits of cancelhandling, nptl/descr.h. */
enum {
    CANCEL_DISABLED = 1,
    CANCEL_ASYNC = 2,
    CANCELING = 4,
    CANCELED = 8,
    EXITING = 16,
    TERMINATED = 32,
    SETXID = 64,
};

bool libc_cancel_request(void *tcb)
{
    return (or_ar(glibc_cancel_word(tcb), CANCELING | CANCELED) & CANCELED) == 0;
}

const uint32_t libc_cancel_relevant = CANCEL_DISABLED | CANCELED | EXITING | TERMINATED;
const uint32_t libc_cancel_set = CANCELED;

const uint32_t *libc_cancel_word(void *tcb)
{
    return glibc_cancel_word(tcb);
}

enum { SIGCANCEL = 32 };     /* nptl/internal-signals.h */
enum { NOBODY = INT32_MAX }; /* no thread's tid */

static const uint64_t cancel_signal = 1ull << (SIGCANCEL - 1); /* as a mask */
static bool signal_ready;                                      /* atomic [L2] */

/* Older ones are open to cancellation at every instruction while they block. */
enum { CANCELS_BY_SIGNAL = 41 };

/* By a pthread_cancel of a thread that is not there.  Which word of a TCB says that its thread is
 * alive depends on the version (tid, from 2.43 on joinstate): not 0 in either case, as all that is
 * not known here.  Cancellation is disabled, so that nothing is sent.  A version that installs
 * nothing even so: then such calls cannot be cancelled, but nobody is killed by the signal. */
void libc_cancel_ready(void)
{
    static bool asked; /* atomic, hint */
    if (likely(ld_rlx(&asked)))
        return;
    void *tcb =
        glibc_fact.minor >= CANCELS_BY_SIGNAL ? os_map(libc_layout.tcb_size) : NULL;
    if (tcb != NULL) {
        memset(tcb, 0xff, libc_layout.tcb_size);
        *libc_tid_word(tcb) = NOBODY;
        *glibc_cancel_word(tcb) = CANCEL_DISABLED;
        REAL(pthread_cancel)((pthread_t)tcb);
        os_unmap(tcb, libc_layout.tcb_size);
        st_rel(&signal_ready, os_has_handler(SIGCANCEL)); /* MO: release -> [L2] */
    }
    st_rlx(&asked, true);
}

void libc_cancel_signal(int tid)
{
    if (!ld_acq(&signal_ready)) /* MO: acquire <- [L2] */
        return;
    os_sigmask(SIG_BLOCK, &cancel_signal, NULL);
    os_tgkill(tid, SIGCANCEL);
}

/* The kernel blocks it while its handler runs. */
void libc_cancel_signal_over(void)
{
    if (ld_rlx(&signal_ready))
        os_sigmask(SIG_UNBLOCK, &cancel_signal, NULL);
}

bool libc_cancel_requested(void *tcb)
{
    return (ld_rlx(glibc_cancel_word(tcb)) &
            (CANCELING | CANCELED | EXITING | TERMINATED)) != 0;
}

bool libc_setxid_marked(void *tcb)
{
    return (ld_rlx(glibc_cancel_word(tcb)) & SETXID) != 0;
}

bool libc_cancel_pending(void *tcb)
{
    return (ld_rlx(glibc_cancel_word(tcb)) & libc_cancel_relevant) == libc_cancel_set;
}

bool libc_cancel_at_once(void *tcb)
{
    return libc_cancel_pending(tcb) &&
           (ld_rlx(glibc_cancel_word(tcb)) & CANCEL_ASYNC) != 0;
}

bool libc_cancel_async(void *tcb)
{
    return (ld_rlx(glibc_cancel_word(tcb)) & (CANCEL_DISABLED | CANCEL_ASYNC)) ==
           CANCEL_ASYNC;
}

/* --- life of a thread ------------------------------------------------------------- */

void libc_thread_begin(void)
{
    glibc_fact.ctype_init();
}

/* One pass over the keys; true when a destructor may have set data anew. */
static bool tsd_pass(void *tcb)
{
    bool ran = false;
    size_t first = glibc_fact.key_blocks, second = glibc_fact.keys_per_block;
    size_t idx = 0;
    for (size_t i = 0; i < first; i++, idx += second) {
        char *block =
            *ptr_at(tcb, glibc_off.pthread_specific.offset + i * sizeof(void *));
        if (block == NULL)
            continue;
        for (size_t j = 0; j < second; j++, block += glibc_size.pthread_key_data) {
            void **data = ptr_at(block, glibc_off.pthread_key_data_data.offset);
            if (likely(*data == NULL))
                continue;
            void *value = *data;
            *data = NULL;
            char *key = glibc_fact.keys + (idx + j) * glibc_size.pthread_key_struct;
            uintptr_t seq = *(uintptr_t *)(block + glibc_off.pthread_key_data_seq.offset);
            void (*destr)(void *) =
                *(void (**)(void *))(key + glibc_off.pthread_key_struct_destr.offset);
            if (seq == *(uintptr_t *)(key + glibc_off.pthread_key_struct_seq.offset) &&
                destr != NULL) {
                destr(value);
                ran = true;
            }
        }
    }
    return ran;
}

/* As __nptl_deallocate_tsd, which is not exported. */
static void tsd_destroy(void *tcb)
{
    char *used = glibc_fact.specific_used != 0 ? at(tcb, glibc_fact.specific_used) : NULL;
    if (likely(used != NULL && *used == 0))
        return;
    for (int i = 0; i < PTHREAD_DESTRUCTOR_ITERATIONS && tsd_pass(tcb); i++)
        ;
    for (size_t i = 1; i < glibc_fact.key_blocks; i++) {
        void **block =
            ptr_at(tcb, glibc_off.pthread_specific.offset + i * sizeof(void *));
        if (*block != NULL) {
            free(*block);
            *block = NULL;
        }
    }
    memset(at(tcb, glibc_fact.specific_1st_offset), 0,
           glibc_size.pthread_key_data_level2);
    if (used != NULL)
        *used = 0;
}

static void thread_finish(void)
{
    void *tcb = (void *)arch_tp();
    glibc_fact.call_tls_dtors();
    tsd_destroy(tcb);
    uselocale(LC_GLOBAL_LOCALE);
    struct __res_state *res =
        *(struct __res_state **)((char *)tcb + glibc_fact.resp_tpoff);
    if (unlikely(res == at(tcb, glibc_fact.res_offset) &&
                 (res->options & RES_INIT) != 0)) {
        res_nclose(res);
        memset(res, 0, sizeof *res);
    }
}

bool libc_thread_run(void (*body)(void *), void *arg)
{
    /* As start_thread does: glibc's unwinder, driven by pthread_exit and cancellation, jumps
     * here once every frame above has been cleaned up; again if a destructor exits. */
    __pthread_unwind_buf_t buf;
    volatile bool returned = false;
    if (__sigsetjmp_cancel(buf.__cancel_jmp_buf, 0) == 0) {
        __pthread_register_cancel(&buf);
        body(arg);
        returned = true;
    }
    thread_finish();
    __pthread_unregister_cancel(&buf);
    return returned;
}

bool libc_unwound(void *tcb)
{
    return (ld_rlx(glibc_cancel_word(tcb)) & EXITING) != 0;
}

bool libc_cancel_frame(bool async, void (*body)(void *), void *arg)
{
    __pthread_unwind_buf_t buf;
    volatile bool returned = false;
    st_rlx(glibc_cancel_word((void *)arch_tp()), 0); /* a request that came too late */
    if (__sigsetjmp_cancel(buf.__cancel_jmp_buf, 0) == 0) {
        __pthread_register_cancel(&buf);
        if (async)
            st_rlx(glibc_cancel_word((void *)arch_tp()), CANCEL_ASYNC);
        body(arg);
        st_rlx(glibc_cancel_word((void *)arch_tp()), 0);
        returned = true;
    }
    __pthread_unregister_cancel(&buf);
    st_rlx(glibc_cancel_word((void *)arch_tp()), 0);
    if (!returned)
        libc_cancel_signal_over();
    return returned;
}

void libc_main_finish(void)
{
    tsd_destroy((void *)arch_tp());
}

/* --- main thread ------------------------------------------------------------------ */

bool libc_main_exit_hook(void *main_tcb, void (*fn)(void))
{
    /* Buffers are chained by their first private word, oldest last: the oldest is the one
     * in __libc_start_call_main.  Its stack pointer stays, so the unwinder still stops at
     * that frame; only the place to go on from changes. */
    __pthread_unwind_buf_t *buf = *ptr_at(main_tcb, glibc_fact.cleanup_offset);
    if (buf == NULL)
        return false;
    while (buf->__pad[0] != NULL)
        buf = buf->__pad[0];
    uintptr_t guard = *(uintptr_t *)at(main_tcb, ARCH_TCB_POINTER_GUARD);
    long *regs = (long *)(void *)buf->__cancel_jmp_buf[0].__cancel_jmp_buf;
    regs[ARCH_JB_PC] = (long)arch_mangle((uintptr_t)fn, guard);
    return true;
}

/* --- kernel registrations --------------------------------------------------------- */

/* Signature before an abort handler, as glibc registers it (sysdeps/.../rseq.h). */
enum { RSEQ_SIGNATURE = 0x53053053, RSEQ_UNREGISTER = 1 };

static void rseq_move(void *tcb, void *old_tcb)
{
    if (glibc_fact.rseq_offset == 0)
        return;
    /* The registered length is not published before 2.40: try the known ones. */
    static const uint32_t lens[] = {32, 64, 28, 20};
    void *old = at(old_tcb, (uintptr_t)glibc_fact.rseq_offset);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        if (os_rseq(old, lens[i], RSEQ_UNREGISTER, RSEQ_SIGNATURE) == 0) {
            glibc_fact.rseq_len = lens[i];
            glibc_rseq_unregistered(old_tcb);
            break;
        }
    }
    if (glibc_fact.rseq_len != 0)
        os_rseq(at(tcb, (uintptr_t)glibc_fact.rseq_offset), glibc_fact.rseq_len, 0,
                RSEQ_SIGNATURE);
}

static void *robust_next(void *node)
{
    return (void *)((uintptr_t)*ptr_at(node, 0) & ~(uintptr_t)GLIBC_ROBUST_PI);
}

/* Robust mutexes that the main thread holds when the first thread is made: the kernel must
 * find them on the list that is registered from now on.  A node is the address of its link to
 * the next; the link to the one before lies 8 bytes below. */
static void robust_move(void *tcb, void *old_tcb)
{
    void *head = at(tcb, glibc_fact.robust_offset);
    void *old = at(old_tcb, glibc_fact.robust_offset), *last = old;
    glibc_robust_init(tcb);
    if (robust_next(old) == old)
        return;
    *ptr_at(head, 0) = *ptr_at(old, 0);
    *(void **)((char *)robust_next(old) - 8) = head;
    while (robust_next(last) != old)
        last = robust_next(last);
    uintptr_t pi = (uintptr_t)*ptr_at(last, 0) & GLIBC_ROBUST_PI;
    *ptr_at(last, 0) = (void *)((uintptr_t)head | pi);
    *ptr_at(tcb, glibc_fact.robust_offset - 8) = last;
    glibc_robust_init(old_tcb);
}

bool libc_robust_held(void *tcb)
{
    void *head = at(tcb, glibc_fact.robust_offset);
    return robust_next(head) != head;
}

void libc_kernel_adopt(void *tcb, void *old_tcb)
{
    robust_move(tcb, old_tcb);
    os_robust_list_set(at(tcb, glibc_fact.robust_offset), glibc_fact.robust_len);
    os_set_tid_address((int *)libc_tid_word(tcb));
    rseq_move(tcb, old_tcb);
}

void libc_kernel_move(void *tcb, void *old_tcb)
{
    /* fork itself registered the robust list and the clear-tid word of the caller's TCB. */
    rseq_move(tcb, old_tcb);
}
