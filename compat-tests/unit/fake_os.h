/* fake_os.h - the os_ functions that shim/rt/config*.c need, faked: a table of files, a
 * CPU count, and a buffer that catches the lines for stderr.  So nothing depends on the
 * machine.
 * Included by one test program each, which thereby keeps the real ones out of the link.
 */
#ifndef GSHIM_FAKE_OS_H
#define GSHIM_FAKE_OS_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim/os/os.h"

struct fake_file {
    const char *path, *text;
};

#define FD_BASE 1000

static const struct fake_file *files; /* ends with path NULL */
static size_t file_offset[64], read_chunk = SIZE_MAX;
static int affinity = 64, opens, closes;
static char stderr_text[4096];

int os_open_ro(const char *path)
{
    opens++;
    for (int i = 0; files != NULL && files[i].path != NULL; i++)
        if (strcmp(files[i].path, path) == 0)
            return FD_BASE + i;
    closes++; /* a failed open needs none */
    return -ENOENT;
}

/* The mount table stays open while quota files are read, so each file has its offset. */
long os_read(int fd, void *buf, size_t n)
{
    size_t *at = &file_offset[fd - FD_BASE];
    size_t left = strlen(files[fd - FD_BASE].text) - *at;

    n = n < left ? n : left;
    n = n < read_chunk ? n : read_chunk;
    memcpy(buf, files[fd - FD_BASE].text + *at, n);
    *at += n;
    return (long)n;
}

void os_close(int fd)
{
    file_offset[fd - FD_BASE] = 0;
    closes++;
}

int os_cpu_count_affinity(void)
{
    return affinity;
}

void os_log(const char *fmt, ...)
{
    va_list ap;
    char line[256];
    size_t n = strlen(stderr_text);

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    snprintf(stderr_text + n, sizeof(stderr_text) - n, "gshim: %s\n", line);
}

#define ENV(...) ((char *[]){__VA_ARGS__, NULL})
#define FILES(...) ((const struct fake_file[]){__VA_ARGS__, {NULL, NULL}})
#define CGROUP "/proc/self/cgroup"
#define MOUNTS "/proc/self/mountinfo"
#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
#define V1_MOUNT "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"

/* heap_copy - exactly the bytes of TEXT, so that a checker sees accesses beyond them. */
static inline char *heap_copy(const char *text, size_t len)
{
    char *p = malloc(len > 0 ? len : 1);

    if (p == NULL)
        abort();
    memcpy(p, text, len);
    return p;
}

#endif
