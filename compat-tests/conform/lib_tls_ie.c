/* lib_tls_ie.c - a library whose code reaches its thread-local storage at a fixed
 * distance from the thread pointer (as libGL, libgomp and jemalloc do): opened late, its
 * initial image must appear in every thread that already lives. For tls.c. */

static __thread int ie_value __attribute__((tls_model("initial-exec"))) = 4321;
static __thread long ie_zero __attribute__((tls_model("initial-exec")));

int *ie_value_address(void);
long *ie_zero_address(void);

int *ie_value_address(void)
{
    return &ie_value;
}

long *ie_zero_address(void)
{
    return &ie_zero;
}
