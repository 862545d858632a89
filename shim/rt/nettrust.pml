/* nettrust.pml - model of waiting on trust (nettrust.c, netpoll.c: [W1], [W7]), for SPIN.
 *
 * ITEMS pieces of data come to one descriptor that is registered for good; two readers take
 * them, the first just one, the second whatever it finds; an M fetches the events, which the
 * kernel merges while they are not fetched.  What happens under the slot's lock is one step here.
 * Shown: no reader sleeps for ever while there is data.
 * Memory is sequentially consistent here; what each order in the code is for stands there.
 *
 * broken: NO_COUNT COUNT_LATE NO_PASS_ON
 */
#define ITEMS 3

byte data;         /* in the socket */
byte taken;        /* of ITEMS */
bool event;        /* reported by the kernel, not fetched */
byte seen;         /* the slot's count of events */
bool linked[2];
bool woken[2];

active proctype source()
{
    byte n;
    for (n : 1 .. ITEMS) {
        atomic { data++; event = true }
    }
}

/* netpoll_deliver: count, and wake one of those that wait and are not woken. */
active proctype poller()
{
    do
    :: atomic { event -> event = false };
       atomic {
           seen++;
           if
           :: linked[0] && !woken[0] -> woken[0] = true
           :: linked[1] && !woken[1] -> woken[1] = true
           :: !(linked[0] && !woken[0]) && !(linked[1] && !woken[1]) -> skip
           fi
       }
    :: taken == ITEMS -> break
    od
}

inline try()
{
#ifdef COUNT_LATE
    atomic { got = data > 0; data = data - got; taken = taken + got };
    count = seen
#else
    count = seen;
    atomic { got = data > 0; data = data - got; taken = taken + got }
#endif
}

/* Under the lock: may it sleep, or have there been events since it tried? */
#ifdef NO_COUNT
#define MUST_LOOK false
#else
#define MUST_LOOK (seen != count)
#endif

active [2] proctype reader()
{
    byte count;
    bool got, look;
    do
    :: taken == ITEMS || (_pid == 2 && got) -> break
    :: else ->
        try();
        if
        :: got -> skip
        :: else ->
            atomic { linked[_pid - 2] = true; woken[_pid - 2] = false; look = MUST_LOOK };
            do
            :: look || woken[_pid - 2] || taken == ITEMS ->
                try();
                if
                :: got || taken == ITEMS -> break
                :: else -> atomic { woken[_pid - 2] = false; look = MUST_LOOK }
                fi
            od;
            atomic { /* net_remove: the rest's turn; arming reports what is there */
                linked[_pid - 2] = false;
#ifndef NO_PASS_ON
                if
                :: linked[3 - _pid] && !woken[3 - _pid] && data > 0 -> event = true
                :: else -> skip
                fi
#endif
            }
        fi
    od
}
