/* fenv.c - the floating-point environment belongs to the thread.
 *
 * The functions come from libm through dlopen: the programs are linked without it. */
#include "conform.h"

#include <dlfcn.h>
#include <fenv.h>

static int (*set_round)(int), (*get_round)(void);

/* In a constructor, since every test needs them. */
__attribute__((constructor)) static void find_functions(void)
{
    void *libm = dlopen("libm.so.6", RTLD_NOW), *p;

    if (!libm)
        abort();
    p = dlsym(libm, "fesetround");
    memcpy(&set_round, &p, sizeof(p));
    p = dlsym(libm, "fegetround");
    memcpy(&get_round, &p, sizeof(p));
}

static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

/* What 1/3 is rounded to tells which mode the processor is really in. */
static bool rounds_up(void)
{
    volatile double one = 1, three = 3;

    return one / three > 0x1.5555555555555p-2;
}

/* The x87 unit, where there is one, has a control word of its own. */
static long double long_third(void)
{
    volatile long double one = 1, three = 3;

    return one / three;
}

static void *own_mode(void *arg)
{
    int mode = modes[(intptr_t)arg % 4];
    long double third;
    bool up;

    CHECK_EQ(get_round(), FE_TONEAREST);
    CHECK_EQ(set_round(mode), 0);
    up = rounds_up();
    third = long_third();
    CHECK_EQ(up, mode == FE_UPWARD);
    for (int i = 0; i < 20; i++) {
        if (i % 5 == 0)
            sleep_ms(1);
        else
            sched_yield();
        CHECK_EQ(get_round(), mode); /* C11 7.6: thread storage duration */
        CHECK_EQ(rounds_up(), up);
        CHECK(long_third() == third);
    }
    return NULL;
}

TEST(rounding_is_per_thread)
{
    pthread_t t[16];

    for (size_t i = 0; i < COUNT_OF(t); i++)
        t[i] = spawn(own_mode, (void *)i);
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(t[i]);
    CHECK_EQ(get_round(), FE_TONEAREST);
    CHECK(!rounds_up());
    for (size_t i = 0; i < COUNT_OF(t); i++)
        join(spawn(own_mode, (void *)i)); /* nothing is left from threads before */
}

static void *inherited(void *arg)
{
    CHECK_EQ(get_round(), (int)(intptr_t)arg);
    CHECK_EQ(rounds_up(), (int)(intptr_t)arg == FE_UPWARD);
    CHECK_EQ(set_round(FE_TOWARDZERO), 0);
    return NULL;
}

TEST(rounding_is_inherited)
{
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        CHECK_EQ(set_round(modes[i]), 0);
        /* POSIX pthread_create: the environment of the creating thread. */
        join(spawn(inherited, (void *)(intptr_t)modes[i]));
        CHECK_EQ(get_round(), modes[i]);
    }
    CHECK_EQ(set_round(FE_TONEAREST), 0);
}
