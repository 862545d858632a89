/* io.c - waiting for descriptors: the G's half; see io.h and rt/netpoll.c.
 *
 * A G sleeps in the parking lot on &gp->io, an address that nothing else waits on and that
 * never goes away; so a signal, a cancellation and a timeout end this wait like any other,
 * and a wake that comes late finds nobody or somebody who looks again.
 * Whether to go to sleep at all is decided under the bucket's lock by w->fired [W1]: "fired =
 * 1; lock bucket; look for a sleeper" in who wakes, "lock bucket; load fired" in who sleeps.
 *
 * The whole wait is one runtime section: handlers of the program run when the nodes, which
 * are on this stack, are off their slots.  So whether one that ends the call has run before is
 * asked when the section has begun: one that runs later is seen by the wait.
 */
#include "shim/sync/io.h"

#include "shim/rt/netpoll.h"

static bool not_fired(void *arg)
{
    const struct net_wait *w = arg;
    return ld_acq(&w->fired) == 0; /* MO: acquire <- [W1] */
}

enum { NEWS = -1 }; /* a signal has come that a signalfd may show */

/* 0: look; NEWS; or what ended the wait. */
static int sleep_once(struct net_wait *w, int64_t deadline_ns, bool no_cancel)
{
    struct park_op op = {.key = &w->gp->io,
                         .validate = not_fired,
                         .arg = w,
                         .clock = CLOCK_MONOTONIC,
                         .deadline_ns = deadline_ns,
                         .reason = WAIT_IO,
                         .ended_by = (uint8_t)(PARK_BY_SIGNAL | PARK_BY_NEWS |
                                               (no_cancel ? 0 : PARK_BY_CANCEL))};
    int err = park_wait(&op, NULL);
    uint32_t news = ld_acq(&w->gp->sig_news); /* MO: acquire <- [Z9]: what is pending */
    if (unlikely(news != w->gp->sig_seen)) {
        w->gp->sig_seen = news;
        if (err == 0 || err == EAGAIN)
            return NEWS;
    }
    return err == EAGAIN ? 0 : err;
}

void io_ready(struct g *gp)
{
    park_wake_tail(&gp->io);
}

/* --- one descriptor --------------------------------------------------------------------- */

static long try_now(struct net_node *n, const struct io_op *op)
{
    net_begin(n->wait);
    long r = op->try(op->arg, net_fd(n));
    net_end(n->wait);
    return r;
}

/* It was trusted what FD is like; false: it is such that nobody waits for it. */
static bool ask_again(struct net_node *n, struct io_op *op)
{
    net_begin(n->wait);
    bool go = op->ask(op, net_fd(n));
    net_end(n->wait);
    op->seen = 0;
    return go;
}

/* N is linked and armed. */
static long wait_linked(struct net_node *n, struct io_op *op)
{
    for (uint32_t seen = op->seen;;) {
        int err = sleep_once(n->wait, op->deadline_ns, op->no_cancel);
        if (err == EINTR || err == ECANCELED)
            return err == EINTR ? -EINTR : IO_CANCELED;
        if (err == NEWS)
            return IO_LOOK;
        if (seen != 0)
            seen = net_seen(net_fd(n), op->events);
        long r = try_now(n, op);
        if (r != -EAGAIN)
            return r;
        if (err == ETIMEDOUT)
            return IO_TIMEOUT;
        if (seen == 0 && op->seen != 0 && !ask_again(n, op))
            return IO_TIMEOUT;
        st_rlx(&n->wait->fired, 0); /* before the arming, which fires if it must */
        if (net_again(n, seen) != 0)
            return IO_CANNOT;
    }
}

static long wait_section(struct io_op *op)
{
    struct rt_section s;
    struct net_node n;
    long r;
    rt_enter(&s);
    if (op->any_handler && unlikely(ld_rlx(&s.gp->sig_ran) != op->ran)) {
        rt_exit(&s);
        return -EINTR;
    }
    struct net_wait w = {.gp = s.gp};
    int err = net_add(&n, &w, op->fd, op->events, true, op->seen);
    if (err == 0) {
        r = wait_linked(&n, op);
        net_remove(&n);
    } else if (err == EAGAIN) { /* it is being closed */
        rt_yield(s.gp);
        r = op->try(op->arg, op->fd);
    } else {
        r = err == EBADF ? op->try(op->arg, op->fd) : IO_CANNOT;
        if (r == -EAGAIN) /* closed, and there again */
            r = IO_CANNOT;
    }
    rt_exit(&s); /* handlers run here */
    return r;
}

long io_wait(struct io_op *op)
{
    struct g *gp = rt_self();
    uint32_t eintr = ld_rlx(&gp->sig_eintr);
    if (netpoll_open() != 0)
        return IO_CANNOT;
    for (;;) {
        long r = wait_section(op);
        if (r != -EINTR && r != -EAGAIN)
            return r;
        bool any = op->any_handler || (op->progress != NULL && *op->progress != 0);
        if (ld_rlx(&gp->sig_eintr) != eintr || (any && ld_rlx(&gp->sig_ran) != op->ran))
            return -EINTR;
    }
}

/* --- several ---------------------------------------------------------------------------- */

struct poll_set {
    struct net_wait w;
    struct pollfd *fds;
    unsigned n;
    struct net_node *nodes; /* of fds[i], linked when wait is set */
};

/* poll, without sleeping, on the descriptors as they are called now. */
static long look(struct poll_set *p)
{
    struct pollfd now[IO_POLL_MAX];
    net_begin(&p->w);
    for (unsigned i = 0; i < p->n; i++) {
        now[i] = p->fds[i];
        if (p->nodes[i].wait != NULL)
            now[i].fd = net_fd(&p->nodes[i]);
    }
    long r = os_poll(now, p->n);
    net_end(&p->w);
    for (unsigned i = 0; i < p->n; i++)
        p->fds[i].revents = now[i].revents;
    return r;
}

/* 0, or an errno value as of net_add. */
static int arm_all(struct poll_set *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        struct net_node *n = &p->nodes[i];
        int err = 0;
        if (n->wait != NULL)
            err = n->woken ? net_again(n, 0) : 0;
        else if (p->fds[i].fd >= 0)
            err = net_add(n, &p->w, p->fds[i].fd, (uint16_t)p->fds[i].events, false, 0);
        if (err == EPERM) /* always ready, or never for these events: poll knows */
            err = 0;
        if (err != 0)
            return err;
    }
    return 0;
}

static void remove_all(struct poll_set *p)
{
    for (unsigned i = 0; i < p->n; i++)
        if (p->nodes[i].wait != NULL)
            net_remove(&p->nodes[i]);
}

static long poll_linked(struct poll_set *p, int64_t deadline_ns)
{
    for (;;) {
        /* MO: a full barrier before the loads of woken, or [W1] of a mark is lost */
        xchg_ar(&p->w.fired, 0);
        int err = arm_all(p);
        if (err != 0 && err != EAGAIN && err != EBADF)
            return IO_CANNOT;
        if (err == 0)
            err = sleep_once(&p->w, deadline_ns, false);
        else
            rt_yield(p->w.gp); /* something is being closed */
        if (err == EINTR || err == ECANCELED)
            return err == EINTR ? -EINTR : IO_CANCELED;
        if (err == NEWS)
            return IO_LOOK;
        long r = look(p);
        if (r != 0 || err == ETIMEDOUT)
            return r;
    }
}

long io_poll(struct pollfd *fds, unsigned n, int64_t deadline_ns, uint32_t ran)
{
    struct net_node nodes[n + 1];
    struct poll_set p = {.fds = fds, .n = n, .nodes = nodes};
    struct g *gp = rt_self();
    struct rt_section s;
    long r;
    if (n > IO_POLL_MAX || netpoll_open() != 0)
        return IO_CANNOT;
    do {
        for (unsigned i = 0; i < n; i++)
            nodes[i].wait = NULL;
        rt_enter(&s);
        p.w = (struct net_wait){.gp = gp};
        r = -EINTR;
        if (likely(ld_rlx(&gp->sig_ran) == ran)) {
            r = poll_linked(&p, deadline_ns);
            remove_all(&p);
        }
        rt_exit(&s);
    } while (r == -EINTR && ld_rlx(&gp->sig_ran) == ran);
    return r;
}
