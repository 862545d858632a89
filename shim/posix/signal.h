/* signal.h - signals of a G; see signal.c. */
#ifndef GSHIM_POSIX_SIGNAL_H
#define GSHIM_POSIX_SIGNAL_H

struct g;

/* signal_attention - on GP itself: raise what other threads sent. */
void signal_attention(struct g *gp);

#endif
