/* park.pml - model of the parking lot (park.c), for SPIN.
 *
 * A thread waits while a word is 0, with a timeout that may fire at any time, also late, when the
 * next wait is under way; a waker sets the word and wakes; another moves the waiter to a second
 * key, as a condition variable moves it to the mutex; that key is woken at the end.
 * Shown: the waiter does not sleep on when the word is set (no lost wake-up); each wait is ended by
 * exactly one; a timer of one wait never ends another; the waiter is only taken off under the
 * lock of the bucket it is in.
 * Memory is sequentially consistent here; what each order in the code is for stands there.
 *
 * broken: VALIDATE_EARLY NO_SEQ KEY_UNCHECKED TAKE_UNLOCKED
 */
#define WAITS 2

bool word;
byte lock[2];     /* of bucket 0 and 1: who holds it */
bool queued;
byte key;
byte seq;
byte ready;       /* rt_ready calls that were not consumed */
byte timers;      /* that may fire */
bool waiter_done, mover_done;

#define LOCK(b) atomic { lock[b] == 0 -> lock[b] = _pid + 1 }
#define UNLOCK(b) lock[b] = 0

inline unlink_it()
{
    assert(lock[key] == _pid + 1);
    queued = false
}

inline ready_it()
{
    atomic { assert(ready == 0); ready++ }
}

/* As take_off: the bucket of a waiter is known only once it is locked. */
inline take_off(s, mine)
{
    do
    :: k = key;
        LOCK(k);
#ifdef KEY_UNCHECKED
        same = true;
#else
        same = key == k;
#endif
#ifdef NO_SEQ
        mine = same && queued;
#else
        mine = same && queued && seq == s;
#endif
        if
        :: mine -> assert(seq == s); unlink_it()
        :: else -> skip
        fi;
        UNLOCK(k);
        if
        :: same -> break
        :: else -> skip
        fi
    od
}

proctype timer(byte s)
{
    byte k;
    bool mine, same;
    if
    :: true ->
        take_off(s, mine);
        if
        :: mine -> ready_it()
        :: else -> skip
        fi
    :: true -> skip /* stopped in time */
    fi
}

proctype waiter()
{
    byte n;
    bool go;
    for (n : 1 .. WAITS) {
#ifdef VALIDATE_EARLY
        go = !word;
        LOCK(0);
#else
        LOCK(0);
        go = !word;
#endif
        if
        :: go -> key = 0; seq++; queued = true
        :: else -> skip
        fi;
        UNLOCK(0);
        if
        :: go ->
            if
            :: true -> run timer(seq)
            :: true -> skip
            fi;
            atomic { ready > 0 -> ready-- }
        :: else -> skip
        fi
    }
    waiter_done = true
}

inline wake(b)
{
#ifdef TAKE_UNLOCKED
    mine = queued && key == b;
    LOCK(b);
#else
    LOCK(b);
    mine = queued && key == b;
#endif
    if
    :: mine -> unlink_it()
    :: else -> skip
    fi;
    UNLOCK(b);
    if
    :: mine -> ready_it()
    :: else -> skip
    fi
}

proctype waker()
{
    bool mine;
    word = true;
    wake(0);
    mover_done;
    wake(1) /* who was moved */
}

/* Wakes for another reason: the waiter finds the word 0 and waits again. */
proctype passer_by()
{
    bool mine;
    wake(0)
}

proctype mover()
{
    LOCK(0);
    LOCK(1);
    if
    :: queued && key == 0 -> key = 1
    :: else -> skip
    fi;
    UNLOCK(0);
    UNLOCK(1);
    mover_done = true
}

init
{
    atomic {
        run waiter();
        run waker();
        run mover();
        run passer_by()
    }
}
