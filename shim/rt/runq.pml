/* runq.pml - model of a P's run queue (runq.c: [Q1], [Q2]), for SPIN.
 *
 * The owner puts GS Gs, through runnext or not, and takes some; two thieves steal half of what is there.
 * When the ring is full the owner gives half of it to the global list.
 * Shown: each G is taken exactly once, by the owner, a thief, or the global list.
 * Memory is sequentially consistent here; what each order in the code is for stands there.
 *
 * WIDE: one thief and a larger ring, so that it steals more than one at a time.
 *
 * also: WIDE
 * broken: STEAL_STORES STEAL_LATE OVERWRITE
 */
#ifdef WIDE
#define GS 5
#define RING 4
#define THIEVES 1
#else
#define GS 4
#define RING 2
#define THIEVES 2
#endif
#define NONE 255

byte ring[RING];
byte head, tail;
byte runnext = NONE;
byte taken[GS];
byte total;
byte thieves = THIEVES;

inline take(g)
{
    atomic {
        assert(g < GS);
        taken[g]++;
        assert(taken[g] == 1);
        total++
    }
}

/* Half of the ring, read before head is moved, goes to the global list. */
inline to_global(h, g, done)
{
    i = 0;
    do
    :: i < RING / 2 -> batch[i] = ring[(h + i) % RING]; i++
    :: else -> break
    od;
    if
    :: atomic { head == h -> head = h + RING / 2 }
        i = 0;
        do
        :: i < RING / 2 -> take(batch[i]); i++
        :: else -> break
        od;
        take(g);
        done = true
    :: head != h -> skip
    fi
}

inline put(g)
{
    byte x = g;
    bool done = false;
    done = false;
    x = g;
    if
    :: true -> atomic { byte old = runnext; old = runnext; runnext = x; x = old }
    :: true -> skip
    fi;
    do
    :: x == NONE || done -> break
    :: else ->
        h = head;
        if
#ifdef OVERWRITE
        :: true ->
#else
        :: tail - h < RING ->
#endif
            ring[tail % RING] = x;
            tail++;
            done = true
#ifndef OVERWRITE
        :: else -> to_global(h, x, done)
#endif
        fi
    od
}

/* As runq_get: runnext first, then the ring. */
inline get(found)
{
    found = false;
    g = runnext;
    if
    :: g != NONE ->
        if
        :: atomic { runnext == g -> runnext = NONE } take(g); found = true
        :: runnext != g -> skip
        fi
    :: else -> skip
    fi;
    do
    :: found || tail == head -> break
    :: else ->
        h = head;
        if
        :: tail == h -> break
        :: else ->
            g = ring[h % RING];
            if
            :: atomic { head == h -> head = h + 1 } take(g); found = true
            :: head != h -> skip
            fi
        fi
    od
}

active proctype owner()
{
    byte n, h, g, i;
    byte batch[RING];
    bool got;
    for (n : 0 .. GS - 1) {
        put(n);
        if
        :: true -> get(got)
        :: true -> skip
        fi
    }
    thieves == 0;
    do
    :: get(got);
        if
        :: !got -> break
        :: else -> skip
        fi
    od;
    assert(total == GS) /* none is lost */
}

active [THIEVES] proctype thief()
{
    byte h, t, n, i, g;
    byte mine[RING];
    {
        h = head;
        t = tail;
        n = (t - h) - (t - h) / 2;
        if
        :: n == 0 ->
            g = runnext;
            if
            :: g != NONE ->
                if
                :: atomic { runnext == g -> runnext = NONE } take(g)
                :: runnext != g -> skip
                fi
            :: else -> skip
            fi
        :: n > RING / 2 -> skip /* head and tail of different times */
        :: else ->
#ifndef STEAL_LATE
            i = 0;
            do
            :: i < n -> mine[i] = ring[(h + i) % RING]; i++
            :: else -> break
            od;
#endif
            if
#ifdef STEAL_STORES
            :: true -> head = h + n;
#else
            :: atomic { head == h -> head = h + n }
#endif
#ifdef STEAL_LATE
                i = 0;
                do
                :: i < n -> mine[i] = ring[(h + i) % RING]; i++
                :: else -> break
                od;
#endif
                i = 0;
                do
                :: i < n -> take(mine[i]); i++
                :: else -> break
                od
#ifndef STEAL_STORES
            :: head != h -> skip
#endif
            fi
        fi
    }
    thieves--
}
