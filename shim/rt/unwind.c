/* unwind.c - one step up a stack by the call frame information (.eh_frame) of an object.
 *
 * The information is a program for a small machine: it builds, for a given pc, a row that says
 * how to compute the caller's stack pointer (the CFA) and where each register was saved.  We
 * find the function's entry (FDE) by the sorted table in .eh_frame_hdr, run the common part
 * (CIE) and the function's own up to pc, and apply the row.
 * Registers whose value is not known (of a thread that is in the kernel only pc and sp are)
 * stay unknown until a frame has saved them; a row that needs an unknown one ends the walk.
 *
 * Source: Linux Standard Base 5.0, chapter 10.6 (.eh_frame); DWARF 5, sections 6.4 and 2.5.
 */
#include "shim/rt/backtrace.h"

enum {
    DEPTH = 8,  /* of remember_state: compilers nest once */
    STACK = 16, /* of an expression */
    INSTRUCTIONS = 4096,
};

enum rule_kind { SAME, UNDEFINED, AT_CFA, CFA_PLUS, IN_REGISTER, AT_EXPR, EXPR };

struct row {
    struct rule {
        uint8_t kind;
        int64_t value; /* offset, register, or address of the expression */
    } reg[ARCH_DWARF_REGS];
    uint32_t cfa_reg;
    int64_t cfa_offset;
    uintptr_t cfa_expr; /* 0: register + offset */
};

/* A cursor on bytes in the process. */
struct in {
    struct bt *bt;
    uintptr_t at, end;
    bool bad;
};

struct cie {
    uint64_t code_align, ra;
    int64_t data_align;
    uint8_t encoding; /* of addresses in the FDE */
    bool signal, sized;
    uintptr_t program, program_end;
};

struct program {
    struct in in;
    const struct cie *cie;
    uintptr_t loc, pc;
    struct row now, initial, saved[DEPTH];
    unsigned nsaved;
};

/* --- reading -------------------------------------------------------------------------- */

static uint64_t get(struct in *in, size_t n)
{
    uint64_t v = 0;
    if (in->bad || in->end - in->at < n || !bt_read(in->bt, in->at, &v, n)) {
        in->bad = true;
        return 0;
    }
    in->at += n;
    return v;
}

/* A number in groups of seven bits; a signed one has its sign in the last group's highest. */
static uint64_t get_leb(struct in *in, bool is_signed)
{
    uint64_t v = 0, b;
    unsigned shift = 0;
    do {
        b = get(in, 1);
        if (shift < 64)
            v |= (b & 0x7f) << shift;
        shift += 7;
    } while ((b & 0x80) != 0 && !in->bad);
    if (is_signed && shift < 64 && (b & 0x40) != 0)
        v |= ~0ull << shift;
    return v;
}

static uint64_t get_uleb(struct in *in)
{
    return get_leb(in, false);
}

static int64_t get_sleb(struct in *in)
{
    return (int64_t)get_leb(in, true);
}

/* An address in one of the encodings DW_EH_PE_*; DATA is what datarel counts from. */
static uintptr_t get_encoded(struct in *in, uint8_t encoding, uintptr_t data)
{
    uintptr_t here = in->at, v;
    switch (encoding & 0x0f) {
    case 0x0: /* absptr */
    case 0x4: /* udata8 */
    case 0xc: /* sdata8 */
        v = get(in, 8);
        break;
    case 0x1:
        v = get_uleb(in);
        break;
    case 0x2:
        v = get(in, 2);
        break;
    case 0x3:
        v = get(in, 4);
        break;
    case 0x9:
        v = (uintptr_t)get_sleb(in);
        break;
    case 0xa:
        v = (uintptr_t)(int64_t)(int16_t)get(in, 2);
        break;
    case 0xb:
        v = (uintptr_t)(int64_t)(int32_t)get(in, 4);
        break;
    default:
        in->bad = true;
        return 0;
    }
    if ((encoding & 0x70) == 0x10)
        v += here;
    else if ((encoding & 0x70) == 0x30)
        v += data;
    return v;
}

/* --- finding the entry ------------------------------------------------------------------- */

/* The FDE for PC by the table of .eh_frame_hdr: pairs (start, FDE), relative to the table's
 * header and sorted.  0: there is none. */
static uintptr_t search_table(struct bt *bt, uintptr_t hdr, uintptr_t pc)
{
    struct in in = {.bt = bt, .at = hdr, .end = UINTPTR_MAX};
    uint8_t version = (uint8_t)get(&in, 1), frame_enc = (uint8_t)get(&in, 1);
    uint8_t count_enc = (uint8_t)get(&in, 1), table_enc = (uint8_t)get(&in, 1);
    if (in.bad || version != 1 || table_enc != 0x3b /* datarel | sdata4 */)
        return 0;
    get_encoded(&in, frame_enc, hdr);
    uintptr_t lo = 0, hi = get_encoded(&in, count_enc, hdr), table = in.at;
    int32_t pair[2];
    while (lo < hi) { /* the last entry that begins at or before PC */
        uintptr_t mid = lo + (hi - lo) / 2;
        if (in.bad || !bt_read(bt, table + mid * 8, pair, sizeof pair))
            return 0;
        if (hdr + (uintptr_t)(intptr_t)pair[0] <= pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0 || !bt_read(bt, table + (lo - 1) * 8, pair, sizeof pair))
        return 0;
    return hdr + (uintptr_t)(intptr_t)pair[1];
}

/* The letters of the augmentation say what its data holds. */
static void read_augmentation(struct in *in, struct cie *c, const char *letters)
{
    uint64_t bytes = c->sized ? get_uleb(in) : 0;
    uintptr_t end = in->at + bytes;
    for (const char *l = letters + (c->sized ? 1 : 0); *l != '\0' && c->sized; l++) {
        if (*l == 'R')
            c->encoding = (uint8_t)get(in, 1);
        else if (*l == 'S')
            c->signal = true;
        else if (*l == 'L')
            get(in, 1);
        else if (*l == 'P')
            get_encoded(in, (uint8_t)get(in, 1) & 0x0f, 0);
        else
            break;
    }
    if (c->sized)
        in->at = end;
}

static bool read_cie(struct bt *bt, uintptr_t at, struct cie *c)
{
    struct in in = {.bt = bt, .at = at, .end = UINTPTR_MAX};
    char letters[8];
    *c = (struct cie){0};
    uint64_t len = get(&in, 4);
    if (in.bad || len == 0 || len == 0xffffffff)
        return false;
    in.end = c->program_end = in.at + len;
    uint64_t id = get(&in, 4), version = get(&in, 1);
    size_t n = 0;
    do
        letters[n] = (char)get(&in, 1);
    while (letters[n] != '\0' && ++n < sizeof letters && !in.bad);
    if (in.bad || n == sizeof letters || id != 0 || (version != 1 && version != 3) ||
        (letters[0] != 'z' && letters[0] != '\0'))
        return false;
    c->sized = letters[0] == 'z';
    c->code_align = get_uleb(&in);
    c->data_align = get_sleb(&in);
    c->ra = version == 1 ? get(&in, 1) : get_uleb(&in);
    read_augmentation(&in, c, letters);
    c->program = in.at;
    return !in.bad && c->ra < ARCH_DWARF_REGS;
}

/* --- the program of a row ------------------------------------------------------------------ */

static void set_rule(struct program *p, uint64_t reg, enum rule_kind kind, int64_t value)
{
    if (reg < ARCH_DWARF_REGS)
        p->now.reg[reg] = (struct rule){.kind = (uint8_t)kind, .value = value};
}

static void set_cfa(struct program *p, uint64_t reg, int64_t offset)
{
    p->now.cfa_reg = (uint32_t)reg;
    p->now.cfa_offset = offset;
    p->now.cfa_expr = 0;
}

/* Skip an expression and return where its length stands. */
static uintptr_t skip_expr(struct in *in)
{
    uintptr_t at = in->at;
    in->at += get_uleb(in);
    return at;
}

static void restore_rule(struct program *p, uint64_t reg)
{
    if (reg < ARCH_DWARF_REGS)
        p->now.reg[reg] = p->initial.reg[reg];
}

static void remember(struct program *p)
{
    if (p->nsaved == DEPTH)
        p->in.bad = true;
    else
        p->saved[p->nsaved++] = p->now;
}

static void recall(struct program *p)
{
    if (p->nsaved == 0)
        p->in.bad = true;
    else
        p->now = p->saved[--p->nsaved];
}

/* Instructions that set how a register is found. */
static void step_rule(struct program *p, uint8_t op)
{
    struct in *in = &p->in;
    uint64_t reg = get_uleb(in);
    int64_t align = p->cie->data_align;
    switch (op) {
    case 0x05: /* offset_extended */
        set_rule(p, reg, AT_CFA, (int64_t)get_uleb(in) * align);
        break;
    case 0x06: /* restore_extended */
        restore_rule(p, reg);
        break;
    case 0x07:
        set_rule(p, reg, UNDEFINED, 0);
        break;
    case 0x08:
        set_rule(p, reg, SAME, 0);
        break;
    case 0x09:
        set_rule(p, reg, IN_REGISTER, (int64_t)get_uleb(in));
        break;
    case 0x10: /* expression */
        set_rule(p, reg, AT_EXPR, (int64_t)skip_expr(in));
        break;
    case 0x11: /* offset_extended_sf */
        set_rule(p, reg, AT_CFA, get_sleb(in) * align);
        break;
    case 0x14: /* val_offset */
        set_rule(p, reg, CFA_PLUS, (int64_t)get_uleb(in) * align);
        break;
    case 0x15: /* val_offset_sf */
        set_rule(p, reg, CFA_PLUS, get_sleb(in) * align);
        break;
    case 0x16: /* val_expression */
        set_rule(p, reg, EXPR, (int64_t)skip_expr(in));
        break;
    default:
        in->bad = true;
        break;
    }
}

/* Instructions that set the CFA; false: OP is none of them. */
static bool step_cfa(struct program *p, uint8_t op)
{
    struct in *in = &p->in;
    uint64_t reg;
    switch (op) {
    case 0x0c: /* def_cfa */
        reg = get_uleb(in);
        set_cfa(p, reg, (int64_t)get_uleb(in));
        break;
    case 0x0d: /* def_cfa_register */
        set_cfa(p, get_uleb(in), p->now.cfa_offset);
        break;
    case 0x0e: /* def_cfa_offset */
        set_cfa(p, p->now.cfa_reg, (int64_t)get_uleb(in));
        break;
    case 0x0f: /* def_cfa_expression */
        p->now.cfa_expr = skip_expr(in);
        break;
    case 0x12: /* def_cfa_sf */
        reg = get_uleb(in);
        set_cfa(p, reg, get_sleb(in) * p->cie->data_align);
        break;
    case 0x13: /* def_cfa_offset_sf */
        set_cfa(p, p->now.cfa_reg, get_sleb(in) * p->cie->data_align);
        break;
    default:
        return false;
    }
    return true;
}

static void step_other(struct program *p, uint8_t op)
{
    struct in *in = &p->in;
    switch (op) {
    case 0x00: /* nop */
        break;
    case 0x01: /* set_loc */
        p->loc = get_encoded(in, p->cie->encoding, 0);
        break;
    case 0x02: /* advance_loc1, 2, 4 */
    case 0x03:
    case 0x04:
        p->loc += get(in, (size_t)1 << (op - 2)) * p->cie->code_align;
        break;
    case 0x0a:
        remember(p);
        break;
    case 0x0b:
        recall(p);
        break;
    case 0x2e: /* GNU_args_size */
        get_uleb(in);
        break;
    default:
        if (!step_cfa(p, op))
            step_rule(p, op);
        break;
    }
}

/* Run the instructions from AT to END, as far as they hold for pc. */
static bool run_program(struct program *p, uintptr_t at, uintptr_t end)
{
    p->in.at = at;
    p->in.end = end;
    for (int i = 0; p->in.at < end && i < INSTRUCTIONS && !p->in.bad; i++) {
        uint8_t op = (uint8_t)get(&p->in, 1), low = op & 0x3f;
        if ((op & 0xc0) == 0x40) /* advance_loc */
            p->loc += low * p->cie->code_align;
        else if ((op & 0xc0) == 0x80) /* offset */
            set_rule(p, low, AT_CFA, (int64_t)get_uleb(&p->in) * p->cie->data_align);
        else if ((op & 0xc0) == 0xc0) /* restore */
            restore_rule(p, low);
        else
            step_other(p, op);
        if (p->loc > p->pc)
            break;
    }
    return !p->in.bad;
}

/* --- expressions ----------------------------------------------------------------------------- */

struct machine {
    struct in in;
    const struct unwind_frame *f;
    uint64_t stack[STACK];
    unsigned n;
};

static void push(struct machine *m, uint64_t v)
{
    if (m->n == STACK)
        m->in.bad = true;
    else
        m->stack[m->n++] = v;
}

static uint64_t pop(struct machine *m)
{
    if (m->n == 0) {
        m->in.bad = true;
        return 0;
    }
    return m->stack[--m->n];
}

static void push_reg(struct machine *m, unsigned reg)
{
    int64_t offset = get_sleb(&m->in);
    if (reg >= ARCH_DWARF_REGS || (m->f->known >> reg & 1) == 0)
        m->in.bad = true;
    else
        push(m, m->f->reg[reg] + (uint64_t)offset);
}

static void binary(struct machine *m, uint8_t op)
{
    uint64_t b = pop(m), a = pop(m);
    switch (op) {
    case 0x1a: /* and */
        push(m, a & b);
        break;
    case 0x1c: /* minus */
        push(m, a - b);
        break;
    case 0x1e: /* mul */
        push(m, a * b);
        break;
    case 0x21: /* or */
        push(m, a | b);
        break;
    case 0x22: /* plus */
        push(m, a + b);
        break;
    case 0x24: /* shl */
        push(m, b < 64 ? a << b : 0);
        break;
    case 0x25: /* shr */
        push(m, b < 64 ? a >> b : 0);
        break;
    case 0x2a: /* ge */
        push(m, (int64_t)a >= (int64_t)b);
        break;
    default:
        m->in.bad = true;
        break;
    }
}

static void constant_or_load(struct machine *m, uint8_t op)
{
    uint64_t v = 0;
    switch (op) {
    case 0x06: /* deref */
        m->in.bad |= !bt_read(m->in.bt, pop(m), &v, sizeof v);
        push(m, v);
        break;
    case 0x08: /* const1u, const2u, const4u */
    case 0x0a:
    case 0x0c:
        push(m, get(&m->in, (size_t)1 << (op - 8) / 2));
        break;
    case 0x09: /* const1s */
        push(m, (uint64_t)(int64_t)(int8_t)get(&m->in, 1));
        break;
    case 0x0b:
        push(m, (uint64_t)(int64_t)(int16_t)get(&m->in, 2));
        break;
    case 0x0d:
        push(m, (uint64_t)(int64_t)(int32_t)get(&m->in, 4));
        break;
    case 0x10: /* constu */
        push(m, get_uleb(&m->in));
        break;
    case 0x11: /* consts */
        push(m, (uint64_t)get_sleb(&m->in));
        break;
    case 0x23: /* plus_uconst */
        v = pop(m);
        push(m, v + get_uleb(&m->in));
        break;
    default:
        binary(m, op);
        break;
    }
}

static bool evaluate(struct bt *bt, const struct unwind_frame *f, uintptr_t at,
                     const uintptr_t *cfa, uintptr_t *out)
{
    struct machine m = {.in = {.bt = bt, .at = at, .end = UINTPTR_MAX}, .f = f};
    uint64_t len = get_uleb(&m.in);
    m.in.end = m.in.at + len;
    if (cfa != NULL)
        push(&m, *cfa);
    for (int i = 0; m.in.at < m.in.end && i < INSTRUCTIONS && !m.in.bad; i++) {
        uint8_t op = (uint8_t)get(&m.in, 1);
        if (op >= 0x30 && op <= 0x4f) /* lit0 ... lit31 */
            push(&m, op - 0x30u);
        else if (op >= 0x70 && op <= 0x8f) /* breg0 ... breg31 */
            push_reg(&m, op - 0x70u);
        else
            constant_or_load(&m, op);
    }
    *out = pop(&m);
    return !m.in.bad;
}

/* --- one step ---------------------------------------------------------------------------------- */

static bool find_row(struct bt *bt, uintptr_t pc, struct program *p, struct cie *cie)
{
    struct bt_object *o = bt_find(bt, pc);
    uintptr_t fde = o != NULL && o->eh_hdr != 0 ? search_table(bt, o->eh_hdr, pc) : 0;
    if (fde == 0)
        return false;
    struct in in = {.bt = bt, .at = fde, .end = UINTPTR_MAX};
    uint64_t len = get(&in, 4);
    uintptr_t body = in.at, back = get(&in, 4);
    in.end = body + len;
    if (in.bad || len == 0 || len == 0xffffffff || !read_cie(bt, body - back, cie))
        return false;
    uintptr_t start = get_encoded(&in, cie->encoding, 0);
    uintptr_t bytes = get_encoded(&in, cie->encoding & 0x0f, 0);
    if (in.bad || pc - start >= bytes)
        return false;
    if (cie->sized) {
        uint64_t skip = get_uleb(&in);
        in.at += skip;
    }
    *p = (struct program){.in = {.bt = bt}, .cie = cie, .loc = 0, .pc = UINTPTR_MAX};
    if (!run_program(p, cie->program, cie->program_end))
        return false;
    p->initial = p->now;
    p->loc = start;
    p->pc = pc;
    return run_program(p, in.at, body + len);
}

/* The value of register R in the caller. */
static bool apply(struct bt *bt, const struct unwind_frame *f, const struct rule *r,
                  uintptr_t cfa, unsigned reg, uintptr_t *out)
{
    uintptr_t at;
    switch (r->kind) {
    case SAME:
        *out = f->reg[reg];
        return (f->known >> reg & 1) != 0;
    case AT_CFA:
        return bt_read(bt, cfa + (uintptr_t)r->value, out, sizeof *out);
    case CFA_PLUS:
        *out = cfa + (uintptr_t)r->value;
        return true;
    case IN_REGISTER:
        if (r->value < 0 || r->value >= ARCH_DWARF_REGS ||
            (f->known >> r->value & 1) == 0)
            return false;
        *out = f->reg[r->value];
        return true;
    case AT_EXPR:
        return evaluate(bt, f, (uintptr_t)r->value, &cfa, &at) &&
               bt_read(bt, at, out, sizeof *out);
    case EXPR:
        return evaluate(bt, f, (uintptr_t)r->value, &cfa, out);
    default:
        return false;
    }
}

bool unwind_step(struct bt *bt, struct unwind_frame *f)
{
    struct program p;
    struct cie cie;
    uintptr_t cfa, pc = f->reg[ARCH_DWARF_PC] - (f->exact ? 0 : 1);
    if (!find_row(bt, pc, &p, &cie))
        return false;
    const struct row *row = &p.now;
    if (row->cfa_expr != 0) {
        if (!evaluate(bt, f, row->cfa_expr, NULL, &cfa))
            return false;
    } else {
        if (row->cfa_reg >= ARCH_DWARF_REGS || (f->known >> row->cfa_reg & 1) == 0)
            return false;
        cfa = f->reg[row->cfa_reg] + (uintptr_t)row->cfa_offset;
    }
    if (cfa <= f->reg[ARCH_DWARF_SP] && !cie.signal) /* stacks grow down: no progress */
        return false;
    struct unwind_frame up = {.exact = cie.signal};
    for (unsigned i = 0; i < ARCH_DWARF_REGS; i++) {
        bool is_sp = i == ARCH_DWARF_SP && row->reg[i].kind == SAME;
        up.reg[i] = cfa; /* the caller's sp, unless a rule says otherwise */
        if (is_sp || apply(bt, f, &row->reg[i], cfa, i, &up.reg[i]))
            up.known |= 1u << i;
    }
    /* A return address that was not saved is the end of the stack. */
    if (row->reg[cie.ra].kind == SAME || (up.known >> cie.ra & 1) == 0)
        return false;
    up.reg[ARCH_DWARF_PC] = up.reg[cie.ra];
    up.known |= 1u << ARCH_DWARF_PC;
    *f = up;
    return true;
}
