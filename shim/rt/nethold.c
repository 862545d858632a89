/* nethold.c - descriptors of the runtime's own that are no pollers: they do not exist for the
 * program, like those (posix/io_fd.c).
 *
 * One is marked in its slot.  A program that wants just that number gets it (net_replace_begin),
 * and the holder finds another file there.
 * Opening, which takes the lowest number for a moment, and looking whether it is still ours to
 * close it exclude the program's calls that put a file at a given number; and fork, which copies
 * the descriptors some time before the memory that says which are ours.  Such a call may take
 * long (a socket that lingers), so the holder, sysmon, does without while there is one; and who
 * begins one waits for the holder's few microseconds: "users; fence; load busy" against
 * "busy; fence; load users" [W10].
 * As soon as one is closed the program may be given its number, and it is unmarked under the same
 * hold of the slot's lock.
 * Calls of libc's own and bare system calls know nothing of that: the file itself tells whose it
 * is.
 */
#include "shim/rt/netslot.h"

uint32_t net_held;     /* how many; atomic, hint */
static uint32_t users; /* calls under way; atomic [W10] */
static bool busy;      /* sysmon opens or closes; atomic [W10] */
static int low = -1;   /* while busy: the number at which one is opened, for a moment */

static bool begin_busy(void)
{
    st_rlx(&busy, true);
    fence_sc();              /* MO: [W10] */
    if (ld_acq(&users) == 0) /* MO: acquire <- [W10]: what the last user has unmarked */
        return true;
    st_rel(&busy, false);
    return false;
}

static void end_busy(void)
{
    st_rel(&busy, false); /* MO: release -> [W10] */
}

static void begin_use(void)
{
    add_sc(&users, 1);
    fence_sc();           /* MO: [W10] */
    while (ld_acq(&busy)) /* MO: acquire <- [W10]: what is marked */
        os_yield();
}

static void end_use(void)
{
    sub_sc(&users, 1); /* MO: release -> [W10] */
}

static void unmark_locked(struct net_slot *s)
{
    if (!s->ours || s->head != NULL) /* a duplicate for who waits */
        return;
    st_rlx(&s->ours, false);
    add_rlx(&net_held, -1u);
}

/* FD to a high number, and mark it. */
static bool mark(struct net_hold *h, int fd)
{
    h->fd = os_dup_high(fd);
    struct net_slot *s = h->fd >= 0 ? net_slot_make(h->fd) : NULL;
    if (s == NULL) {
        if (h->fd >= 0)
            os_close(h->fd);
        return false;
    }
    st_rlx(&s->ours, true);
    add_rlx(&net_held, 1);
    return os_file_id(h->fd, h->id);
}

bool net_hold(struct net_hold *h, int (*open)(int), int arg)
{
    if (!begin_busy())
        return false;
    low = open(arg);
    bool done = low >= 0 && mark(h, low);
    if (low >= 0)
        os_close(low);
    low = -1;
    end_busy();
    return done;
}

bool net_release(const struct net_hold *h)
{
    uint64_t id[2];
    struct net_slot *s = net_slot_of(h->fd);
    if (!begin_busy())
        return false;
    rt_lock(&s->lock); /* who is given the number, and closes it, waits: see net_own_fd */
    if (os_file_id(h->fd, id) && id[0] == h->id[0] && id[1] == h->id[1])
        os_close(h->fd);
    unmark_locked(s);
    rt_unlock(&s->lock);
    end_busy();
    return true;
}

void net_replace_begin(int fd)
{
    struct rt_section sec;
    begin_use();
    struct net_slot *s = net_slot_of(fd);
    if (likely(s == NULL || !ld_rlx(&s->ours)))
        return;
    rt_lock_in(&sec, &s->lock);
    unmark_locked(s);
    rt_unlock_in(&sec, &s->lock);
}

void net_replace_end(void)
{
    end_use();
}

void net_fork_begin(void)
{
    begin_use();
}

void net_fork_end(void)
{
    end_use();
}

void net_hold_forked(void)
{
    if (low >= 0)
        os_close(low);
    low = -1;
    users = net_held = 0;
    busy = false;
}
