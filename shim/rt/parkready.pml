/* parkready.pml - model of park, ready and the switch (sched.c: [G1], [G2]), for SPIN.
 *
 * One G waits ROUNDS times and is woken as often; two Ms look for it on a queue.  The waker takes
 * the waiter off its list first, so there is one ready for each wait; it may come before, while
 * and after the G goes to sleep.
 * Shown: no wake-up is lost (all rounds end), the G is never on the queue twice, and never runs
 * upon two Ms, though it may be queued before its registers are saved.
 * Memory is sequentially consistent here; what each order in the code is for stands there.
 *
 * broken: NO_NOTIFIED NO_ON_CPU TWO_STEPS
 */
#define ROUNDS 3

mtype = { RUN, PARKED, NOTIFIED };

mtype wstate = RUN;
bool listed;       /* on the list of waiters: the waker takes it off */
byte queued;       /* how often on the run queue */
bool on_cpu;
byte running;      /* Ms that execute its code */
byte rounds;
bool finished;

#define READY                                                                            \
    do                                                                                   \
    :: atomic { wstate == PARKED -> wstate = RUN }                                       \
       assert(queued == 0); queued++; break                                              \
    :: atomic { wstate == RUN -> EARLY } break                                           \
    od

#ifdef NO_NOTIFIED
#define EARLY skip
#else
#define EARLY wstate = NOTIFIED
#endif

active proctype waker()
{
    byte n;
    for (n : 1 .. ROUNDS) {
        atomic { listed -> listed = false }
        READY
    }
}

/* The code of the G, upon an M, until it leaves it; returns by RAN. */
inline run_g()
{
    assert(running == 0);
    running++;
    do
    :: rounds == ROUNDS ->
        finished = true;
        break
    :: else ->
        rounds++;
        listed = true; /* under the bucket's lock */
#ifdef TWO_STEPS
        if
        :: wstate == RUN -> wstate = PARKED; break
#else
        if
        :: atomic { wstate == RUN -> wstate = PARKED } break
#endif
        :: wstate == NOTIFIED -> wstate = RUN /* it goes on */
        fi
    od;
    /* Parked, perhaps queued already: the registers are not saved before here. */
    running--;
    on_cpu = false
}

active [2] proctype m()
{
    do
    :: finished -> break
    :: atomic { queued > 0 -> queued-- }
#ifndef NO_ON_CPU
       !on_cpu; /* g_wait_off_stack */
#endif
       on_cpu = true;
       run_g()
    od
}

init
{
    queued = 1 /* as g_start leaves it */
}
