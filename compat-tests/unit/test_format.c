/* test_format.c - os_format against snprintf, and its bounds. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "shim/os/os.h"

#define SAME(...)                                                                        \
    do {                                                                                 \
        char a[256], b[256];                                                             \
        size_t n = os_format(a, sizeof a, __VA_ARGS__);                                  \
        snprintf(b, sizeof b, __VA_ARGS__);                                              \
        cr_assert_str_eq(a, b);                                                          \
        cr_assert_eq(n, strlen(b));                                                      \
    } while (0)

Test(format, as_snprintf)
{
    SAME("plain");
    SAME("%s|%c|%%", "text", 'x');
    SAME("%d %d %d", 0, -1, 2147483647);
    SAME("%ld %ld", -9223372036854775807L - 1, 9223372036854775807L);
    SAME("%u %lu %zu", 4294967295u, 18446744073709551615ul, (size_t)12345);
    SAME("%x %lx", 0xbeefu, 0xfedcba9876543210ul);
    SAME("%p", (void *)0x1234);
    SAME("%03u.%06lu", 7u, 42ul);
    SAME("%02d", 123);
}

Test(format, cut_at_the_end)
{
    char buf[8];
    for (size_t size = 1; size <= sizeof buf; size++) {
        memset(buf, '#', sizeof buf);
        size_t n = os_format(buf, size, "%d%s", 12345, "678901234");
        cr_assert_eq(n, size - 1);
        cr_assert_eq(memcmp(buf, "123456789", n), 0);
        cr_assert_eq(buf[n], '\0');
        for (size_t i = size; i < sizeof buf; i++)
            cr_assert_eq(buf[i], '#');
    }
    cr_assert_eq(os_format(NULL, 0, "%d", 1), 0);
}

/* Through a variable, so that the compiler does not check the format. */
static const char *run(const char *fmt, ...)
{
    static char buf[16];
    va_list ap;
    va_start(ap, fmt);
    os_vformat(buf, sizeof buf, fmt, ap);
    va_end(ap);
    return buf;
}

Test(format, odd_ends)
{
    cr_assert_str_eq(run("a%"), "a");
    cr_assert_str_eq(run("a%0"), "a");
    cr_assert_str_eq(run("%s", (char *)NULL), "(null)");
}
