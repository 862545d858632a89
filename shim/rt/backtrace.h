/* backtrace.h - who called whom on a stack that nobody runs on, and the names of functions.
 *
 * For dumps of parked threads.  Everything is read through the kernel (os_peek), so an address
 * that is not there, or a thread that moves on meanwhile, gives a short or wrong answer and
 * never a fault.  No libc call, no lock, no allocation but one mapping per struct bt.
 */
#ifndef GSHIM_RT_BACKTRACE_H
#define GSHIM_RT_BACKTRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/arch.h"

enum { BT_DEPTH = 64 };

struct bt;

/* A loaded object's part with code. */
struct bt_object {
    uintptr_t lo, hi; /* of the mapping */
    uintptr_t base;   /* where its file's first byte is mapped */
    uintptr_t bias;   /* what was added to its addresses */
    uintptr_t eh_hdr; /* its .eh_frame_hdr, 0: none */
    bool looked;      /* bias and eh_hdr are known */
    const char *path; /* "" when it has none */
};

/* bt_open - take a list of what is loaded now; NULL without memory.  bt_close - forget it.
 * [any] [sig] */
struct bt *bt_open(void);
void bt_close(struct bt *bt);

/* bt_walk - return addresses from the innermost frame outwards, PCS[0] = PC.
 *   pc, sp  of a context whose other registers are saved below that frame, or unknown
 * Returns how many; at least 1. */
size_t bt_walk(struct bt *bt, uintptr_t pc, uintptr_t sp, uintptr_t *pcs, size_t max);

/* bt_name - "function+0x12 (object)" for PC; of a return address the call before it. */
void bt_name(struct bt *bt, uintptr_t pc, bool is_return, char *buf, size_t size);

/* bt_same_object - are both in the code of one object? */
bool bt_same_object(struct bt *bt, uintptr_t a, uintptr_t b);

/* bt_object - the objects' parts with code, by address; NULL: no more. */
const struct bt_object *bt_object(struct bt *bt, size_t i);

/* --- between its parts ---------------------------------------------------------------- */

/* bt_read - copy from the process; tables through a cache that lives as long as BT. */
bool bt_read(struct bt *bt, uintptr_t at, void *buf, size_t n);
struct bt_object *bt_find(struct bt *bt, uintptr_t pc); /* with bias and eh_hdr known */

/* Registers of a frame, by DWARF number. */
struct unwind_frame {
    uintptr_t reg[ARCH_DWARF_REGS];
    uint32_t known; /* bit per register */
    bool exact;     /* pc is an interrupted instruction, not a return address */
};

/* unwind_step - from a frame to its caller's, by the call frame information. */
bool unwind_step(struct bt *bt, struct unwind_frame *f);

#endif
