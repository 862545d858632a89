/* format.c - text for messages: a printf without stdio, locale, locks or allocation.
 *
 * stdio may be what a stuck thread holds the lock of, and its functions use errno and
 * thread-local storage; so everything the runtime prints is put together here.  The result is
 * cut at the end of the buffer, never beyond it.
 */
#include "shim/os/os.h"

struct text {
    char *buf;
    size_t n, size; /* size without the NUL */
};

struct spec {
    bool wide;
    unsigned width;
};

static void put_char(struct text *t, char c)
{
    if (t->n < t->size)
        t->buf[t->n++] = c;
}

static void put_str(struct text *t, const char *s)
{
    for (s = s != NULL ? s : "(null)"; *s != '\0'; s++)
        put_char(t, *s);
}

static void put_num(struct text *t, uint64_t v, unsigned base, unsigned width)
{
    char tmp[24];
    unsigned i = 0;
    do
        tmp[i++] = "0123456789abcdef"[v % base];
    while ((v /= base) != 0);
    while (i < width && i < sizeof tmp)
        tmp[i++] = '0';
    while (i > 0)
        put_char(t, tmp[--i]);
}

static void put_signed(struct text *t, int64_t v, unsigned width)
{
    if (v < 0)
        put_char(t, '-');
    put_num(t, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width);
}

static const char *read_spec(const char *fmt, struct spec *sp)
{
    *sp = (struct spec){0};
    for (; *fmt >= '0' && *fmt <= '9'; fmt++)
        sp->width = sp->width * 10 + (unsigned)(*fmt - '0');
    for (; *fmt == 'l' || *fmt == 'z'; fmt++)
        sp->wide = true;
    return fmt;
}

/* VA is a pointer to the list, which stays the caller's. */
static void put_arg(struct text *t, char conversion, const struct spec *sp, va_list *ap)
{
    switch (conversion) {
    case 's':
        put_str(t, va_arg(*ap, const char *));
        break;
    case 'c':
        put_char(t, (char)va_arg(*ap, int));
        break;
    case 'd':
        put_signed(t, sp->wide ? va_arg(*ap, long) : va_arg(*ap, int), sp->width);
        break;
    case 'u':
        put_num(t, sp->wide ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned), 10,
                sp->width);
        break;
    case 'x':
        put_num(t, sp->wide ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned), 16,
                sp->width);
        break;
    case 'p':
        put_str(t, "0x");
        put_num(t, (uintptr_t)va_arg(*ap, void *), 16, 0);
        break;
    default:
        put_char(t, conversion);
        break;
    }
}

size_t os_vformat(char *buf, size_t size, const char *fmt, va_list args)
{
    struct text t = {.buf = buf, .size = size != 0 ? size - 1 : 0};
    struct spec sp;
    va_list ap;
    va_copy(ap, args); /* so that it has the type that can be pointed to */
    for (; *fmt != '\0'; fmt++) {
        if (*fmt != '%') {
            put_char(&t, *fmt);
            continue;
        }
        fmt = read_spec(fmt + 1, &sp);
        if (*fmt == '\0')
            break;
        put_arg(&t, *fmt, &sp, &ap);
    }
    va_end(ap);
    if (size != 0)
        buf[t.n] = '\0';
    return t.n;
}

size_t os_format(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    size_t n = os_vformat(buf, size, fmt, ap);
    va_end(ap);
    return n;
}

void os_print(int fd, const char *fmt, ...)
{
    char line[480];
    va_list ap;
    va_start(ap, fmt);
    size_t n = os_vformat(line, sizeof line, fmt, ap);
    va_end(ap);
    os_write(fd, line, n);
}

void os_log(const char *fmt, ...)
{
    char line[480] = "gshim: ";
    va_list ap;
    va_start(ap, fmt);
    size_t n = 7 + os_vformat(line + 7, sizeof line - 8, fmt, ap);
    va_end(ap);
    line[n] = '\n';
    os_write_stderr(line, n + 1);
}
