/* gen.c - writes BYTES of text, the same on every machine for the same SEED.
 *
 *   gen BYTES [SEED]
 *
 * Lines of random words; short words are frequent, so that it compresses about like text,
 * and lines repeat now and then, so that sort has equal keys. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state;

static uint32_t next(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545f4914f6cdd1du) >> 32);
}

/* Word W is spelled by a hash of its number. */
static int word(char *to, uint32_t w)
{
    uint64_t h = (w + 1) * 0x9e3779b97f4a7c15u;
    int n = 2 + (int)(h >> 61) + (w > 64 ? 2 : 0);

    for (int i = 0; i < n; i++, h = h * 0xbf58476d1ce4e5b9u + 1)
        to[i] = (char)('a' + (h >> 40) % 26);
    to[n] = ' ';
    return n + 1;
}

int main(int argc, char **argv)
{
    long long left = argc > 1 ? atoll(argv[1]) : 1 << 20;

    state = (argc > 2 ? strtoull(argv[2], NULL, 0) : 1) * 0x9e3779b97f4a7c15u + 1;
    while (left > 0) {
        char line[256];
        int n = 0, words = 3 + (int)(next() % 12);

        for (int i = 0; i < words; i++) {
            uint32_t range = 1u << (next() % 15);

            n += word(line + n, next() % range);
        }
        line[n - 1] = '\n';
        if (n > left)
            n = (int)left;
        fwrite(line, 1, (size_t)n, stdout);
        left -= n;
    }
    return fclose(stdout) ? 1 : 0;
}
