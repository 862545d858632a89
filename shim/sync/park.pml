/* park.pml - model of the parking lot (park.c), for SPIN.
 *
 * A thread waits while a word is 0, with a timeout that may fire at any time, also late, when the
 * next wait is under way; a waker sets the word and wakes; another moves the waiter to a second
 * key, as a condition variable moves it to the mutex; that key is woken at the end.  Some waits can
 * be interrupted, and somebody interrupts.
 * Shown: the waiter does not sleep on when the word is set (no lost wake-up); each wait is ended by
 * exactly one; a timer of one wait never ends another; an interrupt ends no wait that cannot be
 * interrupted; the waiter is only taken off under the lock of the bucket it is in.
 * Memory is sequentially consistent here; what each order in the code is for stands there.
 *
 * broken: VALIDATE_EARLY NO_SEQ KEY_UNCHECKED TAKE_UNLOCKED BY_UNLOCKED QUEUED_LATE
 */
#define WAITS 2

bool word;
byte lock[2];     /* of bucket 0 and 1: who holds it */
bool queued;
byte key;
byte seq;
bool by;          /* the wait can be interrupted */
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

/* As take_off: the bucket of a waiter is known only once it is locked, and queued looked at before
 * key.  TEST is asked there, and must say the same as RIGHT. */
inline take_off(test, right, mine)
{
    do
    :: k = key;
        LOCK(k);
#ifndef QUEUED_LATE
        mine = queued;
#endif
#ifdef KEY_UNCHECKED
        same = true;
#else
        same = key == k;
#endif
#ifdef QUEUED_LATE
        mine = queued;
#endif
        mine = mine && same && (test);
        if
        :: mine -> assert(right); unlink_it()
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
#ifdef NO_SEQ
        take_off(true, seq == s, mine);
#else
        take_off(seq == s, seq == s, mine);
#endif
        if
        :: mine -> ready_it()
        :: else -> skip
        fi
    :: true -> skip /* stopped in time */
    fi
}

proctype interrupter()
{
    byte k;
    bool mine, same;
#ifdef BY_UNLOCKED
    byte s;
#endif
    if
    :: by ->
#ifdef BY_UNLOCKED
        s = seq;
        take_off(seq == s, by, mine);
#else
        take_off(by, by, mine);
#endif
        if
        :: mine -> ready_it()
        :: else -> skip
        fi
    :: true -> skip
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
        :: go -> key = 0; seq++; queued = true;
            if
            :: by = true
            :: by = false
            fi
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
        run passer_by();
        run interrupter()
    }
}
