/* backtrace.c - loaded objects, symbols, and the walk itself; see backtrace.h.
 *
 * What is loaded comes from /proc/self/maps, not from ld.so's list, whose lock a stuck thread
 * may hold: sysmon must never wait for a lock of libc's.  For the same reason the unwinder is
 * our own (unwind.c): libgcc's works on the calling thread only, and asks ld.so.
 * Symbols are read from the objects' files, .symtab if there is one, else .dynsym.
 *
 * Known limits: names in C++ are as the linker sees them; a file that was replaced since it was
 * loaded gives wrong names; stripped functions show as an offset into their object.
 */
#include "shim/rt/backtrace.h"

#include <elf.h>

#include "shim/os/os.h"

enum {
    LINE = 1024, /* of the cache; divides a page, so that a line is there or not */
    LINES = 32,
    OBJECTS = 1024,
    PATHS = 64 * 1024,
    NAMES = 512, /* remembered symbols; a power of two */
    NAME_LEN = 80,
};

struct bt {
    struct cache_line {
        uintptr_t at; /* 0: empty */
        char data[LINE];
    } lines[LINES];
    struct name {
        uintptr_t pc;
        uintptr_t offset; /* into the function; UINTPTR_MAX: no name */
        char text[NAME_LEN];
    } names[NAMES];
    struct bt_object objects[OBJECTS];
    size_t nobjects;
    char paths[PATHS];
    size_t npaths;
    char maps[8192]; /* the piece of /proc/self/maps that is being read */
};

/* --- reading ------------------------------------------------------------------------- */

static bool read_line(struct bt *bt, uintptr_t at, void *buf, size_t n)
{
    uintptr_t line = at & ~(uintptr_t)(LINE - 1);
    struct cache_line *l = &bt->lines[line / LINE % LINES];
    if (l->at != line) {
        l->at = 0;
        if (!os_peek((void *)line, l->data, LINE))
            return false;
        l->at = line;
    }
    __builtin_memcpy(buf, l->data + (at - line), n);
    return true;
}

bool bt_read(struct bt *bt, uintptr_t at, void *buf, size_t n)
{
    char *to = buf;
    while (n > 0) {
        size_t room = LINE - at % LINE, part = n < room ? n : room;
        if (!read_line(bt, at, to, part))
            return false;
        at += part;
        to += part;
        n -= part;
    }
    return true;
}

/* --- loaded objects -------------------------------------------------------------------- */

static const char *read_hex(const char *s, uintptr_t *v)
{
    for (*v = 0;; s++) {
        if (*s >= '0' && *s <= '9')
            *v = *v * 16 + (uintptr_t)(*s - '0');
        else if (*s >= 'a' && *s <= 'f')
            *v = *v * 16 + (uintptr_t)(*s - 'a' + 10);
        else
            return s;
    }
}

static const char *skip_field(const char *s)
{
    while (*s != ' ' && *s != '\0')
        s++;
    while (*s == ' ')
        s++;
    return s;
}

/* The paths of neighbouring lines are mostly the same. */
static const char *keep_path(struct bt *bt, const char *path)
{
    size_t n = __builtin_strlen(path) + 1;
    const char *last = bt->nobjects != 0 ? bt->objects[bt->nobjects - 1].path : "";
    if (__builtin_strcmp(last, path) == 0)
        return last;
    if (bt->npaths + n > PATHS)
        return "";
    char *to = bt->paths + bt->npaths;
    __builtin_memcpy(to, path, n);
    bt->npaths += n;
    return to;
}

/* "7f00-7f10 r-xp 00001000 08:01 1234   /lib/libc.so.6".  BASE and its path carry over from
 * line to line: the first mapping of a file begins with its header. */
static void note_mapping(struct bt *bt, const char *line, uintptr_t *base)
{
    uintptr_t lo, hi, offset;
    line = read_hex(line, &lo);
    line = read_hex(line + 1, &hi);
    const char *rights = line + 1;
    line = read_hex(skip_field(rights), &offset);
    line = skip_field(skip_field(line + 1)); /* device, inode */
    if (offset == 0)
        *base = lo;
    if (rights[2] != 'x' || bt->nobjects == OBJECTS)
        return;
    struct bt_object *o = &bt->objects[bt->nobjects];
    *o = (struct bt_object){.lo = lo, .hi = hi, .base = *base};
    o->path = keep_path(bt, line);
    bt->nobjects++;
}

static void read_maps(struct bt *bt)
{
    uintptr_t base = 0;
    size_t have = 0;
    int fd = os_open_ro("/proc/self/maps");
    if (fd < 0)
        return;
    for (;;) {
        long n = os_read(fd, bt->maps + have, sizeof bt->maps - have);
        if (n <= 0)
            break;
        have += (size_t)n;
        size_t from = 0;
        for (size_t i = 0; i < have; i++) {
            if (bt->maps[i] != '\n')
                continue;
            bt->maps[i] = '\0';
            note_mapping(bt, bt->maps + from, &base);
            from = i + 1;
        }
        if (from == 0) /* a line longer than the buffer */
            from = have;
        have -= from;
        __builtin_memmove(bt->maps, bt->maps + from, have);
    }
    os_close(fd);
}

/* The program headers tell the bias and where .eh_frame_hdr is. */
static void look_into(struct bt *bt, struct bt_object *o)
{
    Elf64_Ehdr eh;
    Elf64_Phdr ph;
    uintptr_t first = UINTPTR_MAX, hdr = 0;
    o->looked = true;
    if (!bt_read(bt, o->base, &eh, sizeof eh) ||
        __builtin_memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_phnum > 128)
        return;
    for (unsigned i = 0; i < eh.e_phnum; i++) {
        if (!bt_read(bt, o->base + eh.e_phoff + i * sizeof ph, &ph, sizeof ph))
            return;
        if (ph.p_type == PT_LOAD && first == UINTPTR_MAX)
            first = ph.p_vaddr - ph.p_offset;
        if (ph.p_type == PT_GNU_EH_FRAME)
            hdr = ph.p_vaddr;
    }
    if (first == UINTPTR_MAX)
        return;
    o->bias = o->base - first;
    if (hdr != 0)
        o->eh_hdr = o->bias + hdr;
}

struct bt_object *bt_find(struct bt *bt, uintptr_t pc)
{
    for (size_t i = 0; i < bt->nobjects; i++) {
        struct bt_object *o = &bt->objects[i];
        if (pc < o->lo || pc >= o->hi)
            continue;
        if (!o->looked)
            look_into(bt, o);
        return o;
    }
    return NULL;
}

bool bt_same_object(struct bt *bt, uintptr_t a, uintptr_t b)
{
    struct bt_object *x = bt_find(bt, a), *y = bt_find(bt, b);
    return x != NULL && y != NULL && x->base == y->base;
}

const struct bt_object *bt_object(struct bt *bt, size_t i)
{
    return i < bt->nobjects ? &bt->objects[i] : NULL;
}

struct bt *bt_open(void)
{
    struct bt *bt = os_map(sizeof *bt);
    if (bt != NULL)
        read_maps(bt);
    return bt;
}

void bt_close(struct bt *bt)
{
    os_unmap(bt, sizeof *bt);
}

/* --- the walk ---------------------------------------------------------------------------- */

/* A stack changes between two walks; lines of it must not be answered from memory. */
static void forget_stack(struct bt *bt, uintptr_t sp)
{
    for (size_t i = 0; i < LINES; i++)
        if (bt_find(bt, bt->lines[i].at) == NULL &&
            bt->lines[i].at - sp + LINE < 1024 * 1024)
            bt->lines[i].at = 0;
}

size_t bt_walk(struct bt *bt, uintptr_t pc, uintptr_t sp, uintptr_t *pcs, size_t max)
{
    struct unwind_frame f = {.exact = true};
    size_t n = 0;
    forget_stack(bt, sp);
    f.reg[ARCH_DWARF_PC] = pc;
    f.reg[ARCH_DWARF_SP] = sp;
    f.known = 1u << ARCH_DWARF_PC | 1u << ARCH_DWARF_SP;
    do
        pcs[n++] = f.reg[ARCH_DWARF_PC];
    while (n < max && unwind_step(bt, &f) && f.reg[ARCH_DWARF_PC] != 0);
    return n;
}

/* --- symbols ------------------------------------------------------------------------------- */

struct symbols {
    int fd;
    Elf64_Shdr table, strings;
};

static bool read_at(int fd, uint64_t at, void *buf, size_t n)
{
    return os_pread(fd, buf, n, (int64_t)at) == (long)n;
}

/* The best symbol table of an object's file. */
static bool open_symbols(struct symbols *s, const char *path)
{
    Elf64_Ehdr eh;
    Elf64_Shdr sh;
    s->table.sh_type = SHT_NULL;
    if (path[0] != '/' || (s->fd = os_open_ro(path)) < 0)
        return false;
    bool ok = read_at(s->fd, 0, &eh, sizeof eh) &&
              __builtin_memcmp(eh.e_ident, ELFMAG, SELFMAG) == 0;
    for (unsigned i = 0; ok && i < eh.e_shnum && s->table.sh_type != SHT_SYMTAB; i++) {
        ok = read_at(s->fd, eh.e_shoff + i * sizeof sh, &sh, sizeof sh);
        if (ok && (sh.sh_type == SHT_SYMTAB || sh.sh_type == SHT_DYNSYM))
            s->table = sh;
    }
    ok =
        ok && s->table.sh_type != SHT_NULL &&
        read_at(s->fd, eh.e_shoff + s->table.sh_link * sizeof sh, &s->strings, sizeof sh);
    if (!ok)
        os_close(s->fd);
    return ok;
}

/* The function that ADDR, as in the file, lies in. */
static void search_symbols(const struct symbols *s, uintptr_t addr, struct name *found)
{
    Elf64_Sym block[64];
    Elf64_Word at = 0;
    uintptr_t best = 0;
    for (uint64_t pos = 0; pos < s->table.sh_size; pos += sizeof block) {
        uint64_t left = s->table.sh_size - pos;
        size_t bytes = left < sizeof block ? left : sizeof block;
        if (!read_at(s->fd, s->table.sh_offset + pos, block, bytes))
            break;
        for (size_t i = 0; i < bytes / sizeof block[0]; i++) {
            const Elf64_Sym *y = &block[i];
            unsigned type = ELF64_ST_TYPE(y->st_info);
            if ((type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE) ||
                y->st_shndx == SHN_UNDEF || y->st_value > addr || y->st_value <= best)
                continue;
            if (y->st_size != 0 && addr - y->st_value >= y->st_size)
                continue;
            best = y->st_value;
            at = y->st_name;
        }
    }
    if (best == 0 || at == 0)
        return;
    long n =
        os_pread(s->fd, found->text, NAME_LEN - 1, (int64_t)(s->strings.sh_offset + at));
    if (n <= 0)
        return;
    found->text[n] = '\0';
    found->offset = addr - best;
}

static struct name *name_of(struct bt *bt, struct bt_object *o, uintptr_t pc)
{
    struct name *e = &bt->names[pc * 0x9e3779b97f4a7c15ull >> 55 & (NAMES - 1)];
    struct symbols s;
    if (e->pc == pc)
        return e;
    *e = (struct name){.pc = pc, .offset = UINTPTR_MAX};
    if (open_symbols(&s, o->path)) {
        search_symbols(&s, pc - o->bias, e);
        os_close(s.fd);
    }
    return e;
}

void bt_name(struct bt *bt, uintptr_t pc, bool is_return, char *buf, size_t size)
{
    struct bt_object *o = bt_find(bt, pc);
    if (o == NULL) {
        os_format(buf, size, "%p", (void *)pc);
        return;
    }
    const char *slash = o->path;
    for (const char *c = o->path; *c != '\0'; c++)
        if (*c == '/')
            slash = c + 1;
    uintptr_t back = is_return ? 1 : 0;
    struct name *e = name_of(bt, o, pc - back);
    if (e->offset == UINTPTR_MAX)
        os_format(buf, size, "0x%lx (%s)", pc - o->bias, slash);
    else
        os_format(buf, size, "%s+0x%lx (%s)", e->text, e->offset + back, slash);
}
