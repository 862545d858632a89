/* sys_rows.h - SYS_ROW(name) for every row of syscalls.def that gshim implements. */
#define GSHIM_WAIT(name, ...) SYS_ROW(name)
#define GSHIM_SLEEP(name, ...) SYS_ROW(name)
#define GSHIM_HANDOFF(name, ...) SYS_ROW(name)
#define GSHIM_FILE(name, ...) SYS_ROW(name)
#define GSHIM_LIBC(name, ...) SYS_ROW(name)
#define GSHIM_DIRECT(name, ...) SYS_ROW(name)
#define GSHIM_ALIAS(name, ...)
#define GSHIM_PASS(name, ...)
#include "shim/posix/syscalls.def"
#undef GSHIM_WAIT
#undef GSHIM_SLEEP
#undef GSHIM_HANDOFF
#undef GSHIM_FILE
#undef GSHIM_LIBC
#undef GSHIM_DIRECT
#undef GSHIM_ALIAS
#undef GSHIM_PASS
