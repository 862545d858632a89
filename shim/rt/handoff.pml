/* handoff.pml - model of how a P changes hands (proc.c, section.c, rt.h: [P1], [M1], [S1]), for
 * SPIN.
 *
 * Two Ms, one P, two Gs that go in and out of the runtime, and sysmon, which takes the P from an M
 * in user code, up to TAKES times.  An M without P goes on; at its next exit from the runtime it
 * takes an idle P, or queues its G and sleeps.
 * Shown: no two Ms are in the runtime with the same P, a P given on belongs to nobody, and no
 * queued G is forgotten: both Gs end whatever happens.
 * Memory is sequentially consistent here; what each order in the code is for stands there.
 *
 * broken: ENTER_STORES NO_RECHECK IDLE_UNSEEN
 */
#define GS 2
#define ROUNDS 2
#define TAKES 2
#define NOBODY 0
#define RT(m) (1 + 2 * (m))
#define USER(m) (2 + 2 * (m))

byte owner = NOBODY;
bool lock;                /* sched.lock, and what is under it: */
byte globq;               /* Gs queued, by number: a set of bits */
bool pidle;
bool pwait;               /* the P waits for an M */
bool midle[2];
bool woken[2];            /* mp->park, with the P in mp->nextp */
byte inside;              /* Ms that are in the runtime and have the P */
byte rounds[GS];
byte ended;

#define LOCK atomic { !lock -> lock = true }
#define UNLOCK lock = false

inline acquire(m)
{
    assert(owner == NOBODY);
    owner = RT(m)
}

/* The P is the caller's: find an M for it. */
inline start_m()
{
    LOCK;
    if
    :: midle[0] -> midle[0] = false; woken[0] = true
    :: else ->
        if
        :: midle[1] -> midle[1] = false; woken[1] = true
        :: else -> pwait = true
        fi
    fi;
    UNLOCK
}

/* As start_m with an idle P. */
inline wakep()
{
    bool mine = false;
    mine = false;
    if
    :: pidle ->
        LOCK;
        if
        :: pidle -> pidle = false; mine = true
        :: else -> skip
        fi;
        UNLOCK
    :: else -> skip
    fi;
    if
    :: mine -> start_m()
    :: else -> skip
    fi
}

inline handoff()
{
    bool work = false;
    work = false;
    if
    :: globq != 0 -> start_m()
    :: else ->
        LOCK;
#ifndef IDLE_UNSEEN
        work = globq != 0;
#endif
        if
        :: !work -> pidle = true
        :: else -> skip
        fi;
        UNLOCK;
        if
        :: work -> start_m()
        :: else -> skip
        fi
    fi
}

proctype sysmon()
{
    byte n, o;
    for (n : 1 .. TAKES) {
        o = owner;
        if
        :: o != NOBODY && o % 2 == 0 ->
            if
            :: atomic { owner == o -> owner = NOBODY } handoff()
            :: owner != o -> skip
            fi
        :: else -> skip
        fi
    }
}

/* Sleep until somebody gives this M the P; unless one waits for an M. */
inline stop_m(m)
{
    LOCK;
    if
    :: pwait -> pwait = false; acquire(m); has = true
    :: else -> midle[m] = true
    fi;
    UNLOCK;
    if
    :: has -> skip
    :: else ->
        if
        :: woken[m] -> woken[m] = false; acquire(m); has = true
        :: ended == GS -> quit = true
        fi
    fi
}

/* Did work come for which nobody was woken? */
inline recheck(m)
{
    if
    :: globq != 0 ->
        LOCK;
        if
        :: pidle -> pidle = false; acquire(m); has = true
        :: else -> skip
        fi;
        UNLOCK
    :: else -> skip
    fi
}

/* Leave the runtime without P; g == GS afterwards: it was queued. */
inline exit_lost(m)
{
    LOCK;
    if
    :: pidle -> pidle = false; acquire(m); has = true
    :: else -> skip
    fi;
    UNLOCK;
    if
    :: has -> owner = USER(m)
    :: else ->
        LOCK;
        globq = globq | (1 << g);
        UNLOCK;
        wakep();
        g = GS
    fi
}

inline run_g(m)
{
    owner = USER(m);
    has = false; /* from here on it may be taken */
    do
    :: g == GS -> break
    :: g != GS && rounds[g] == ROUNDS -> break
    :: else ->
        rounds[g]++;
        if /* rt_enter */
#ifdef ENTER_STORES
        :: owner == USER(m) -> owner = RT(m); has = true
#else
        :: atomic { owner == USER(m) -> owner = RT(m); has = true }
#endif
        :: owner != USER(m) -> has = false
        fi;
        if
        :: has ->
            atomic { assert(inside == 0); inside++ }
            inside--;
            if
            :: rounds[g] == ROUNDS -> skip /* it ends inside */
            :: else -> owner = USER(m); has = false
            fi
        :: else ->
            if
            :: rounds[g] == ROUNDS -> skip
            :: else -> exit_lost(m); has = false
            fi
        fi
    od;
    if
    :: g != GS -> ended++; g = GS
    :: else -> skip
    fi
}

proctype m(byte me; bool begins)
{
    byte g = GS;
    bool has = begins, quit = false;
    do
    :: quit -> break
    :: !quit && has ->
        LOCK;
        if
        :: (globq & 1) != 0 -> globq = globq & 2; g = 0
        :: (globq & 2) != 0 -> globq = globq & 1; g = 1
        :: globq == 0 -> skip
        fi;
        UNLOCK;
        if
        :: g != GS -> run_g(me)
        :: else ->
            /* Nothing to do: the P becomes idle, then look once more. */
            has = false;
            owner = NOBODY;
            LOCK;
#ifdef NO_RECHECK
            pidle = true;
            UNLOCK;
#else
            pidle = true;
            UNLOCK;
            recheck(me);
#endif
            if
            :: !has -> stop_m(me)
            :: else -> skip
            fi
        fi
    :: !quit && !has ->
#ifndef NO_RECHECK
        recheck(me);
#endif
        if
        :: !has -> stop_m(me)
        :: else -> skip
        fi
    od
}

init
{
    atomic {
        globq = 3;
        owner = RT(0);
        run m(0, true);
        run m(1, false);
        run sysmon()
    }
}
