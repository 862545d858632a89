# libgshim: build, checks, packaging.  GNU make; everything built goes below $(O).
#
#   make                 $(O)/libgshim.so and $(O)/libgshim.a
#   make check           everything that decides whether a change may go in
#   make demo            real programs, natively and under the preload, side by side
#   make conformance     the Open POSIX Test Suite at 1, 2 and 8 P against NPTL
#   make bench           speed against NPTL (and Go's runtime where go is installed)
#   make apps            every real program, also under torture; the table of README.md
#   make soak            the stress programs for long (SOAK_SECONDS), every application,
#                        the whole suite
#   make models          the protocols of locks and scheduler, model-checked with SPIN
#   make tasks           the exercises: expected, observed (TASKS_ONLY='01 13')
#   make matrix          the conformance programs on other versions of the C library
#   make lint fmt docs   house rules; clang-format; the tables in LD_PRELOAD.md
#   make install         PREFIX, DESTDIR, libdir, includedir, mandir are honoured
#   make deps            install the Debian packages that the targets above need
#
# A second compiler: make CC=clang O=.build-clang.  Parts of check by name: check-unit,
# check-conform, check-suites, check-env, check-debug, check-preempt, check-stress,
# check-apps, check-clang.  V=1 shows the commands.

O        ?= .build
PREFIX   ?= /usr/local
libdir   ?= $(PREFIX)/lib
includedir ?= $(PREFIX)/include
gdbdir   ?= $(PREFIX)/share/gdb/auto-load
mandir   ?= $(PREFIX)/share/man
VERSION  := 0.1.0
SOVERSION := 0

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := $(if $(findstring clang,$(CC)),clang++,g++)
endif

# The CPU that the compiler builds for picks the folder below arch/.
MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null || uname -m)
ARCH    ?= $(firstword $(subst -, ,$(MACHINE)))

V ?= 0
Q := $(if $(filter 0,$(V)),@,)
say = $(if $(filter 0,$(V)),@printf '  %-7s %s\n' '$(1)' '$(2)',@:)

# ---- sources ---------------------------------------------------------------------------

C_SRCS := $(wildcard shim/rt/*.c shim/sync/*.c shim/posix/*.c shim/libc/*.c shim/os/*.c \
                     preempt/*.c arch/$(ARCH)/*.c)
C_SRCS := $(filter-out %_windows.c %/windows.c,$(C_SRCS))
# Linked into programs that were compiled with -fsplit-stack: the other half of prologue.S.
SPLIT_SRCS := $(wildcard arch/$(ARCH)/morestack*.S)
S_SRCS := $(filter-out $(SPLIT_SRCS),$(wildcard arch/$(ARCH)/*.S))
DEFS   := $(wildcard shim/posix/*.def)

OBJ    := $(O)/obj
OBJS   := $(C_SRCS:%.c=$(OBJ)/%.o) $(S_SRCS:%.S=$(OBJ)/%.S.o)
SPLIT_OBJS := $(SPLIT_SRCS:%.S=$(OBJ)/%.S.o)
# What unit tests link: all but the interposed entry points, so that Criterion's own
# threads stay NPTL's.
CORE_OBJS := $(filter-out $(OBJ)/shim/posix/%,$(OBJS))

# ---- flags -----------------------------------------------------------------------------

WARN   := -Wall -Wextra -Wshadow -Wstrict-prototypes
WERROR ?= -Werror
OPT    ?= -O2 -g
CPPFLAGS += -I. -Iarch/$(ARCH) -D_GNU_SOURCE -U_FORTIFY_SOURCE

# -fno-plt: every call to libc is bound at load time (-z now), so the lazy-binding
# resolver never runs on a small stack or inside the scheduler.
# -ftls-model=initial-exec: one load through %fs, no __tls_get_addr, which may allocate.
# -fno-stack-protector: runtime code runs while %fs moves from one thread to another.
# weak.h: so that the library can be loaded by, and step aside for, an older C library.
# -fexceptions, -fasynchronous-unwind-tables: cancellation and gdb unwind our frames.
GSHIM_CFLAGS := -std=gnu11 -fPIC -fvisibility=hidden -fno-stack-protector -fexceptions \
    -fasynchronous-unwind-tables -fno-plt -fno-strict-aliasing -fno-common \
    -ftls-model=initial-exec -include shim/libc/weak.h $(WARN) $(WERROR)

# INITFIRST=-Wl,-z,initfirst would run our constructor before every other library's.
INITFIRST ?=
GSHIM_LDFLAGS := -shared -Wl,-soname,libgshim.so.$(SOVERSION) -Wl,-z,now -Wl,-z,relro \
    -Wl,-z,nodelete -Wl,-z,noexecstack -Wl,--no-undefined -Wl,-Bsymbolic-functions \
    $(INITFIRST)
GSHIM_LIBS :=

# Test programs are ordinary programs: nothing of the above but the warnings.
T_CFLAGS   := -std=gnu11 $(WARN) $(WERROR) -pthread
T_CXXFLAGS := -std=gnu++20 -Wall -Wextra $(WERROR) -pthread
T_LIBS     := -lm -ldl -lrt

# What gives a compiler's functions prologues at which they can be preempted; nothing where it
# does not do so for every function (clang 14 refuses those with variable arguments).
SPLIT_CFLAGS = $(shell echo 'int f(int n, ...) { __builtin_va_list a; \
    __builtin_va_start(a, n); return __builtin_va_arg(a, int); }' | \
    $(CC) -fsplit-stack -Werror -S -x c - -o /dev/null > /dev/null 2>&1 && echo -fsplit-stack)

# ---- the library -----------------------------------------------------------------------

.PHONY: all
all: $(O)/libgshim.so $(O)/libgshim.a $(O)/libgshim-split.a

$(O)/libgshim.so: $(O)/libgshim.so.$(SOVERSION)
	$(Q)ln -sf $(<F) $@

$(O)/libgshim.so.$(SOVERSION): $(O)/libgshim.so.$(VERSION)
	$(Q)ln -sf $(<F) $@

# The sed sets VER_FLG_WEAK (2) behind the hashes of GLIBC_2.32 to _2.39 in .gnu.version_r, which
# ld leaves 0 though every reference is weak (shim/libc/weak.h): else ld.so of an older C
# library refuses to start the program.  make lint looks whether it did.
$(O)/libgshim.so.$(VERSION): $(OBJS) $(O)/gshim.map
	$(call say,LD,$@)
	$(Q)$(CC) $(GSHIM_LDFLAGS) $(LDFLAGS) -Wl,--version-script=$(O)/gshim.map \
	    -o $@ $(OBJS) $(GSHIM_LIBS)
	$(Q)LC_ALL=C sed -i 's/\([\xb2-\xb9]\x91\x96\x06\)\x00\x00/\1\x02\x00/g' $@

$(O)/libgshim.a: $(OBJS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(OBJS)

$(O)/libgshim-split.a: $(SPLIT_OBJS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(SPLIT_OBJS)

# It runs while vector registers hold the arguments of the function that is about to begin.
$(OBJ)/preempt/prologue.o: GSHIM_CFLAGS += -mgeneral-regs-only

# Exported: the first argument of every row of the tables, pass-throughs excepted.  No
# version names, so that one definition serves every symbol version a binary may ask for.
$(O)/gshim.map: $(DEFS) Makefile | $(O)/
	$(call say,GEN,$@)
	$(Q){ echo '{ global:'; \
	    sed -n '/^GSHIM_PASS(/d; s/^GSHIM_[A-Z_]*(\([A-Za-z0-9_]*\).*/    \1;/p' $(DEFS); \
	    echo '  local: *; };'; } > $@

$(OBJ)/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(GSHIM_CFLAGS) $(OPT) $(CFLAGS) -MMD -MP -c -o $@ $<

$(OBJ)/%.S.o: %.S $(O)/flags
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(CPPFLAGS) -fPIC $(OPT) $(CFLAGS) -MMD -MP -c -o $@ $<

# Rebuild when the compiler or its flags change.
FLAGS_NOW := $(CC) $(CPPFLAGS) $(GSHIM_CFLAGS) $(OPT) $(CFLAGS) $(GSHIM_LDFLAGS) \
    $(LDFLAGS)
$(O)/flags: FORCE | $(O)/
	@printf '%s\n' '$(FLAGS_NOW)' | cmp -s - $@ || printf '%s\n' '$(FLAGS_NOW)' > $@

$(O)/ $(O)/conform/ $(O)/stress/ $(O)/unit/ $(O)/preempt/ $(O)/tasks/ $(O)/fuzz/:
	@mkdir -p $@

.PHONY: FORCE
FORCE:
-include $(OBJS:.o=.d)

# ---- test programs ---------------------------------------------------------------------

UNIT     := $(patsubst compat-tests/%.c,$(O)/%,$(wildcard compat-tests/unit/test_*.c))
CONF_C   := $(patsubst compat-tests/%.c,$(O)/%,$(filter-out compat-tests/conform/lib_%,\
              $(wildcard compat-tests/conform/*.c)))
CONF_CXX := $(patsubst compat-tests/%.cc,$(O)/%,$(wildcard compat-tests/conform/*.cc))
CONF_SO  := $(patsubst compat-tests/%.c,$(O)/%.so,\
              $(wildcard compat-tests/conform/lib_*.c))
CONF     := $(CONF_C) $(CONF_CXX)
TASKS    := $(patsubst compat-tests/%.c,$(O)/%,$(wildcard compat-tests/tasks/[0-9]*.c))
STRESS   := $(patsubst compat-tests/%.c,$(O)/%,$(wildcard compat-tests/stress/*.c))
PREEMPT_C   := $(patsubst compat-tests/%.c,$(O)/%,$(wildcard compat-tests/preempt/*.c))
PREEMPT_CXX := $(patsubst compat-tests/%.cc,$(O)/%,$(wildcard compat-tests/preempt/*.cc))
PREEMPT     := $(PREEMPT_C) $(PREEMPT_CXX) $(O)/preempt/throw-split

# libgshim stands before libc in the lookup order, as under LD_PRELOAD.
LINKED    = -L$(O) -Wl,--no-as-needed -lgshim -Wl,--as-needed -Wl,-rpath,'$$ORIGIN/..'
T_DEPS    = -MMD -MP -MF $@.d -MT $@
T_CC      = $(CC) $(CPPFLAGS) $(T_CFLAGS) $(OPT) $(CFLAGS) $(T_DEPS) -o $@ $<
T_CXX     = $(CXX) $(CPPFLAGS) $(T_CXXFLAGS) $(OPT) $(CXXFLAGS) $(T_DEPS) -o $@ $<

# An archive, so that a test takes only the objects it names and may replace the others.
$(O)/libgshim-core.a: $(CORE_OBJS)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(CORE_OBJS)

$(UNIT): $(O)/%: compat-tests/%.c $(O)/libgshim-core.a | $(O)/unit/
	$(call say,UNIT,$@)
	$(Q)$(T_CC) $(O)/libgshim-core.a -lcriterion $(T_LIBS)

$(O)/driver: compat-tests/driver.c | $(O)/
	$(call say,CC,$@)
	$(Q)$(T_CC) -lcriterion $(T_LIBS)

$(CONF_C) $(STRESS): $(O)/%: compat-tests/%.c | $(O)/conform/ $(O)/stress/
	$(call say,CC,$@)
	$(Q)$(T_CC) $(T_LIBS)

$(filter-out %/split,$(PREEMPT_C)): $(O)/%: compat-tests/%.c | $(O)/preempt/
	$(call say,CC,$@)
	$(Q)$(T_CC) $(T_LIBS) -lm

# With prologues at which they can be preempted.
SPLIT_LIBS = $(if $(SPLIT_CFLAGS),$(SPLIT_CFLAGS) -DSPLIT) -L$(O) -lgshim-split

$(O)/preempt/split: compat-tests/preempt/split.c $(O)/libgshim-split.a | $(O)/preempt/
	$(call say,CC,$@)
	$(Q)$(T_CC) $(SPLIT_LIBS) $(T_LIBS)

$(O)/preempt/throw-split: compat-tests/preempt/throw.cc $(O)/libgshim-split.a | $(O)/preempt/
	$(call say,CXX,$@)
	$(Q)$(T_CXX) $(SPLIT_LIBS) $(T_LIBS)

$(PREEMPT_CXX): $(O)/%: compat-tests/%.cc | $(O)/preempt/
	$(call say,CXX,$@)
	$(Q)$(T_CXX) $(T_LIBS)

$(CONF_CXX): $(O)/%: compat-tests/%.cc | $(O)/conform/
	$(call say,CXX,$@)
	$(Q)$(T_CXX) $(T_LIBS)

$(CONF_C:=-linked): $(O)/%-linked: compat-tests/%.c $(O)/libgshim.so | $(O)/conform/
	$(call say,CC,$@)
	$(Q)$(T_CC) $(LINKED) $(T_LIBS)

$(CONF_CXX:=-linked): $(O)/%-linked: compat-tests/%.cc $(O)/libgshim.so | $(O)/conform/
	$(call say,CXX,$@)
	$(Q)$(T_CXX) $(LINKED) $(T_LIBS)

$(CONF_SO): $(O)/%.so: compat-tests/%.c | $(O)/conform/
	$(call say,CC,$@)
	$(Q)$(T_CC) -fPIC -shared $(T_LIBS)

-include $(wildcard $(O)/unit/*.d $(O)/conform/*.d $(O)/stress/*.d $(O)/preempt/*.d $(O)/tasks/*.d \
    $(O)/driver.d)

.PHONY: tests
tests: all $(UNIT) $(CONF) $(CONF:=-linked) $(CONF_SO) $(STRESS) $(PREEMPT) $(TASKS) \
    $(if $(wildcard compat-tests/driver.c),$(O)/driver)

# ---- check -----------------------------------------------------------------------------

# What every program below compat-tests/ may rely on.
TEST_ENV = CC='$(CC)' CXX='$(CXX)' GSHIM_BUILD='$(abspath $(O))' \
    GSHIM_LIB='$(abspath $(O)/libgshim.so)'
STRESS_SECONDS ?= 1
STRESS_PROCS   ?= 1 2 8
SOAK_SECONDS   ?= 600
# Of the stress programs those of descriptors, which make soak runs under torture as well.
IO_STORMS := io_storm fd_reuse_storm blocking_storm fork_storm file_storm

# The packages may include the compiler, so the real work is in a make of its own.
.PHONY: check
check: deps-check
	+$(Q)$(MAKE) --no-print-directory check-steps

# All of them, also after one has failed: one run tells everything.
CHECK_STEPS = tests check-clang lint-steps check-unit check-conform check-env check-debug \
    check-sanitize check-hardened check-fuzz models tasks check-preempt check-stress \
    check-suites check-apps
.PHONY: check-steps $(filter-out tests lint-steps,$(CHECK_STEPS))
check-steps:
	+$(Q)failed=; for s in $(CHECK_STEPS); do \
	    start=$$(date +%s); \
	    $(MAKE) --no-print-directory $$s || failed="$$failed $$s"; \
	    echo "check: $$s took $$(($$(date +%s) - start)) s"; \
	done; \
	if [ -n "$$failed" ]; then echo "check: FAILED:$$failed"; exit 1; fi
	@echo 'check: everything passed'

# The library and every test program compile with clang too.
check-clang:
	+$(Q)$(MAKE) --no-print-directory CC=clang CXX=clang++ O=$(O)-clang tests

check-unit: $(UNIT)
	$(Q)for t in $(UNIT); do echo "== $$t"; $(TEST_ENV) $$t || exit 1; done

check-conform: tests
	$(Q)if [ -x $(O)/driver ]; then $(TEST_ENV) $(O)/driver $(DRIVER_FLAGS); fi

# The Open POSIX Test Suite against NPTL, below $(O)/suites: the tests that need little time
# natively, at 2 P, many at a time, for most only wait; the runner lists what it leaves out.
SUITES := PYTHONDONTWRITEBYTECODE=1 CC='$(CC)' compat-tests/suites
POSIX_SUITE = $(SUITES)/posix.py $(O)/suites/posix && \
    $(SUITES)/run.py $(O)/suites/posix/bin --lib '$(abspath $(O)/libgshim.so)' \
    --config compat-tests/suites/posix.conf

.PHONY: check-suites
check-suites: all
	$(Q)$(SUITES)/selftest.py
	$(Q)$(POSIX_SUITE) --procs 2 --max-seconds 2 \
	    --jobs $$((8 * $$(nproc))) $(SUITE_FLAGS)

# Settings, limits, other preloads: what is seen from outside a process.
check-env: all
	$(Q)$(TEST_ENV) compat-tests/env/run.sh

# The parts without entry points under the address and undefined-behaviour sanitizers.  Not those
# that run on stacks and thread control blocks of our own making, which the sanitizers take for
# errors of ours: test_switch, test_tls.
SAN_O     = $(O)-sanitize
SAN_UNIT  = $(patsubst $(O)/%,$(SAN_O)/%,$(filter-out %/test_switch %/test_tls,$(UNIT)))
SAN_FLAGS = -O1 -g -fno-exceptions -fno-omit-frame-pointer -fsanitize=address,undefined \
            -fno-sanitize-recover=all
check-sanitize:
	+$(Q)$(MAKE) --no-print-directory O=$(SAN_O) OPT='$(SAN_FLAGS)' $(SAN_UNIT)
	$(Q)for t in $(SAN_UNIT); do echo "== $$t"; \
	    $(TEST_ENV) ASAN_OPTIONS=detect_leaks=0 $$t || exit 1; done

# Programs that are built as distributions harden them.  HARDENED=all: every conformance program
# but the one that divides by zero on purpose.
HARD_O     = $(O)-hardened
HARD_FLAGS = -std=gnu11 -Wall -pthread -fstack-protector-all -U_FORTIFY_SOURCE \
             -D_FORTIFY_SOURCE=3 -fsanitize=undefined -fno-sanitize-recover=undefined
HARDENED  ?= thread mutex cond stack tls context_threads cancel_state cancel_points cleanup \
             signal_thread signal_wait io_rw fork
HARD_PROGS = $(addprefix $(HARD_O)/conform/,$(if $(filter all,$(HARDENED)),\
               $(filter-out signal_handler,$(notdir $(CONF_C))),$(HARDENED)))
check-hardened: all
	+$(Q)$(MAKE) --no-print-directory O=$(HARD_O) T_CFLAGS='$(HARD_FLAGS)' $(HARD_PROGS) \
	    $(patsubst $(O)/%,$(HARD_O)/%,$(CONF_SO))
	$(Q)fail=0; for t in $(HARD_PROGS); do \
	    $(TEST_ENV) LD_PRELOAD='$(abspath $(O)/libgshim.so)' timeout -k 5 200 $$t \
	        > $(HARD_O)/log 2>&1 || { echo "FAILED: $$t"; cat $(HARD_O)/log; fail=1; }; \
	done; exit $$fail

# What reads text from outside, on made-up text: libFuzzer, from a corpus that it adds to below $(O).
FUZZ_SECONDS ?= 5
FUZZERS := $(patsubst compat-tests/%.c,$(O)/%,$(wildcard compat-tests/fuzz/fuzz_*.c))
$(FUZZERS): $(O)/%: compat-tests/%.c shim/rt/config.c shim/rt/config_cgroup.c | $(O)/fuzz/
	$(call say,FUZZ,$@)
	$(Q)clang $(CPPFLAGS) $(T_CFLAGS) -O1 -g -fsanitize=fuzzer,address,undefined \
	    -fno-sanitize-recover=all -o $@ $^
check-fuzz: $(FUZZERS)
	$(Q)for f in $(FUZZERS); do \
	    name=$${f##*/fuzz_}; mkdir -p $(O)/fuzz/corpus-$$name; echo "== $$f"; \
	    $$f -seed=1 -max_total_time=$(FUZZ_SECONDS) -timeout=20 \
	        -artifact_prefix=$(O)/fuzz/ $(O)/fuzz/corpus-$$name \
	        compat-tests/fuzz/corpus/$$name > $(O)/fuzz/$$name.log 2>&1 || \
	        { tail -n 40 $(O)/fuzz/$$name.log; exit 1; }; \
	    grep '^Done' $(O)/fuzz/$$name.log; done

# The protocols, model-checked; and broken variants, which must fail.
models:
	$(Q)$(TEST_ENV) compat-tests/models/run.sh

# The exercises: what is expected, what is observed.
tasks: all $(TASKS)
	$(Q)$(TEST_ENV) compat-tests/tasks/run.sh $(TASKS_ONLY)

# 4 and 5 are about prologues.
TASKS_SPLIT = $(O)/tasks/04_cooperative_only $(O)/tasks/05_helper
$(TASKS_SPLIT): $(O)/libgshim-split.a
$(TASKS): $(O)/%: compat-tests/%.c | $(O)/tasks/
	$(call say,CC,$@)
	$(Q)$(T_CC) $(if $(filter $@,$(TASKS_SPLIT)),$(SPLIT_LIBS)) $(T_LIBS) -lm

# What the library tells about itself: traces, dumps, debugger.
$(O)/libgshim.so.$(VERSION)-gdb.py: shim/gshim-gdb.py | $(O)/
	$(Q)cp $< $@

check-debug: all $(O)/libgshim.so.$(VERSION)-gdb.py
	$(Q)$(TEST_ENV) SPLIT_CFLAGS='$(SPLIT_CFLAGS)' PYTHONDONTWRITEBYTECODE=1 \
	    compat-tests/debug/run.py

# Preemption; with PREEMPT_SECONDS for each of its long programs.
PREEMPT_SECONDS ?= 1
check-preempt: all $(PREEMPT)
	$(Q)PREEMPT_SECONDS=$(PREEMPT_SECONDS) $(TEST_ENV) compat-tests/preempt/run.sh

check-stress: all $(STRESS)
	$(Q)fail=0; for t in $(STRESS); do for p in $(STRESS_PROCS); do \
	    echo "== $$t GSHIM_MAXPROCS=$$p STRESS_SECONDS=$(STRESS_SECONDS)"; \
	    env $(TEST_ENV) STRESS_SECONDS=$(STRESS_SECONDS) GSHIM_MAXPROCS=$$p \
	        LD_PRELOAD='$(abspath $(O)/libgshim.so)' \
	        timeout -k 5 $$(($(STRESS_SECONDS) * 10 + 60)) $$t || \
	        { echo "FAILED: $$t at GSHIM_MAXPROCS=$$p (status $$?)"; fail=1; }; \
	done; done; exit $$fail

check-apps: all
	$(Q)$(TEST_ENV) compat-tests/apps/run.sh --quick

.PHONY: demo bench apps soak conformance conformance-steps
conformance: deps-suites
	+$(Q)$(MAKE) --no-print-directory conformance-steps

conformance-steps: all
	$(Q)$(POSIX_SUITE) --procs 1,2,8 -v $(SUITE_FLAGS)

demo: deps-demo
	+$(Q)$(MAKE) --no-print-directory all
	$(Q)$(TEST_ENV) compat-tests/apps/run.sh --demo

bench: deps-bench
	+$(Q)$(MAKE) --no-print-directory all
	$(Q)$(TEST_ENV) compat-tests/bench/run.sh

apps: deps-apps
	+$(Q)$(MAKE) --no-print-directory all
	$(Q)$(TEST_ENV) compat-tests/apps/run.sh --apps

soak: deps-apps
	+$(Q)$(MAKE) --no-print-directory STRESS_SECONDS=$(SOAK_SECONDS) check-stress
	+$(Q)GSHIM_DEBUG=preemptus=100 $(MAKE) --no-print-directory STRESS_PROCS=2 \
	    STRESS_SECONDS=$(SOAK_SECONDS) STRESS='$(addprefix $(O)/stress/,$(IO_STORMS))' check-stress
	+$(Q)$(MAKE) --no-print-directory PREEMPT_SECONDS=$(SOAK_SECONDS) check-preempt
	+$(Q)$(MAKE) --no-print-directory FUZZ_SECONDS=$(SOAK_SECONDS) check-fuzz
	+$(Q)$(MAKE) --no-print-directory HARDENED=all check-hardened
	+$(Q)$(MAKE) --no-print-directory conformance-steps
	$(Q)$(TEST_ENV) compat-tests/apps/run.sh --all

# Makes roots of other Debian releases below $(O)/roots; needs root or sudo.
.PHONY: matrix
matrix: deps-matrix
	+$(Q)$(MAKE) --no-print-directory tests
	$(Q)$(TEST_ENV) compat-tests/matrix/run.sh

# ---- house rules -----------------------------------------------------------------------

PYTHON := CC='$(CC)' PYTHONDONTWRITEBYTECODE=1 python3
LINTS := $(sort $(wildcard compat-tests/lint/lint_*.py))
FMT_SRCS = $(shell find shim preempt arch compat-tests \
             \( -name '*.[ch]' -o -name '*.cc' \) 2>/dev/null | sort)

.PHONY: lint lint-steps fmt docs
lint: deps-lint
	+$(Q)$(MAKE) --no-print-directory lint-steps

# Each rule first shows on a violation of its own that it can fail.
lint-steps: all
	$(Q)fail=0; for l in $(LINTS); do \
	    $(PYTHON) $$l --self-test && $(PYTHON) $$l --build $(O) || fail=1; \
	done; exit $$fail

fmt: deps-lint
	$(Q)clang-format -i $(FMT_SRCS)

docs:
	$(Q)$(PYTHON) compat-tests/lint/gen_table.py --write LD_PRELOAD.md

# ---- packaging -------------------------------------------------------------------------

.PHONY: install uninstall clean
D := $(DESTDIR)
install: all
	install -d $(D)$(libdir)/pkgconfig $(D)$(includedir) $(D)$(mandir)/man7
	install -m 755 $(O)/libgshim.so.$(VERSION) $(D)$(libdir)/
	ln -sf libgshim.so.$(VERSION) $(D)$(libdir)/libgshim.so.$(SOVERSION)
	ln -sf libgshim.so.$(SOVERSION) $(D)$(libdir)/libgshim.so
	install -m 644 $(O)/libgshim.a $(O)/libgshim-split.a $(D)$(libdir)/
	install -m 644 shim/gshim.h $(D)$(includedir)/
	install -d $(D)$(gdbdir)$(libdir)
	install -m 644 shim/gshim-gdb.py $(D)$(libdir)/libgshim.so.$(VERSION)-gdb.py
	install -m 644 shim/gshim-gdb.py \
	    $(D)$(gdbdir)$(libdir)/libgshim.so.$(VERSION)-gdb.py
	sed -e 's|@PREFIX@|$(PREFIX)|g; s|@LIBDIR@|$(libdir)|g; s|@VERSION@|$(VERSION)|g' \
	    -e 's|@INCLUDEDIR@|$(includedir)|g; s|@SPLIT_STACK@|$(SPLIT_CFLAGS)|g' shim/gshim.pc.in \
	    > $(D)$(libdir)/pkgconfig/gshim.pc
	sed -e 's|@VERSION@|$(VERSION)|g; s|@LIBDIR@|$(libdir)|g' shim/libgshim.7 \
	    > $(D)$(mandir)/man7/libgshim.7
	chmod 644 $(D)$(libdir)/pkgconfig/gshim.pc $(D)$(mandir)/man7/libgshim.7
	$(if $(D),,ldconfig 2>/dev/null || :)

uninstall:
	rm -f $(D)$(libdir)/libgshim.so.$(VERSION)-gdb.py \
	    $(D)$(gdbdir)$(libdir)/libgshim.so.$(VERSION)-gdb.py
	rm -f $(D)$(libdir)/libgshim.so $(D)$(libdir)/libgshim.so.$(SOVERSION) \
	    $(D)$(libdir)/libgshim.so.$(VERSION) $(D)$(libdir)/libgshim.a \
	    $(D)$(libdir)/libgshim-split.a \
	    $(D)$(libdir)/pkgconfig/gshim.pc $(D)$(includedir)/gshim.h \
	    $(D)$(mandir)/man7/libgshim.7

clean:
	rm -rf $(O) $(O)-clang $(O)-sanitize $(O)-hardened

# ---- packages --------------------------------------------------------------------------

# Debian names; @PY@ is the version of Debian's python3.  compat-tests/deps.sh installs
# what is missing and says so.
DEPS_BUILD := gcc make libc6-dev
DEPS_LINT  := $(DEPS_BUILD) python3 binutils clang-format
DEPS_DEMO  := $(DEPS_BUILD) pigz pbzip2 xz-utils zstd coreutils python3
DEPS_SUITES := $(DEPS_BUILD) python3 dpkg-dev
DEPS_CHECK := $(DEPS_LINT) $(DEPS_SUITES) $(DEPS_DEMO) g++ clang spin \
              libcriterion-dev pkg-config stress-ng sysbench libpython@PY@-testsuite git gdb procps
DEPS_APPS  := $(DEPS_CHECK) memcached redis-tools nginx-light apache2-bin haproxy curl \
              libgc-dev libsqlite3-dev libtbb-dev perl mariadb-server-core mariadb-client-core nodejs ruby \
              default-jdk-headless ffmpeg x264 imagemagick rustc lbzip2 plzip p7zip-full fio \
              varnish python3-numpy libopenblas0-pthread erlang-base ocaml-nox guile-3.0 sbcl \
              lua5.4 lua-cqueues tcl tcl-thread mono-mcs libmono-system-core4.0-cil
DEPS_BENCH := $(DEPS_BUILD) python3 pigz
DEPS_MATRIX := $(DEPS_BUILD) g++ debootstrap

.PHONY: deps deps-build deps-lint deps-demo deps-suites deps-check deps-apps deps-bench
.PHONY: deps-matrix
deps: deps-apps deps-bench
deps-build: ; $(Q)compat-tests/deps.sh $(DEPS_BUILD)
deps-lint:  ; $(Q)compat-tests/deps.sh $(DEPS_LINT)
deps-demo:  ; $(Q)compat-tests/deps.sh $(DEPS_DEMO)
deps-suites: ; $(Q)compat-tests/deps.sh $(DEPS_SUITES)
deps-check: ; $(Q)compat-tests/deps.sh $(DEPS_CHECK)
deps-apps:  ; $(Q)compat-tests/deps.sh $(DEPS_APPS)
deps-bench: ; $(Q)compat-tests/deps.sh $(DEPS_BENCH)
deps-matrix: ; $(Q)compat-tests/deps.sh $(DEPS_MATRIX)
