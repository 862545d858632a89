/* lib_tls_gd.c - a library with thread-local storage of the general kind, for tls.c. */

__thread int gd_value = 1234;
static __thread char gd_buffer[3000];
static __thread double gd_aligned __attribute__((aligned(64))) = 2.5;

int *gd_value_address(void);
char *gd_buffer_address(void);
double *gd_aligned_address(void);

int *gd_value_address(void)
{
    return &gd_value;
}

char *gd_buffer_address(void)
{
    return gd_buffer;
}

double *gd_aligned_address(void)
{
    return &gd_aligned;
}
