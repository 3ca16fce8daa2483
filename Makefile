# libtlvision: GNU make, any number of compilers and modes side by side under build/.
#
# `make` leaves build/libtlvision.a and build/bin/tlv-*.  Every other MODE, BACKEND or target CPU leaves
# the same things in build/MODE-BACKEND[-CPU]/.  `make help` lists targets and variables.

## Variables (make VAR=value):
##   MODE      release (default), debug, asan, tsan, mutants
##   BACKEND   of the threads: pthread (default), openmp, serial
##   CC, CXX   gcc, clang, or a cross compiler such as aarch64-linux-gnu-gcc
##   CFLAGS, LDFLAGS   added after the project's own
##   RUN       put before every test program: "qemu-aarch64 -L /usr/aarch64-linux-gnu"
##   TESTS     names of test programs instead of all: TESTS="test_pool test_rng"
##   FILTER    only the tests whose name contains it
##   BUILD     the folder for everything (default: build); OUT: for the library and programs alone
##   V=1       show commands;  WERROR=1  make warnings errors

MODE    ?= release
BACKEND ?= pthread
BUILD   ?= build
ifneq ($(filter-out release debug asan tsan mutants,$(MODE)),)
$(error MODE=$(MODE): want release, debug, asan, tsan or mutants)
endif
ifneq ($(filter-out pthread openmp serial,$(BACKEND)),)
$(error BACKEND=$(BACKEND): want pthread, openmp or serial)
endif

# As many jobs as CPUs, unless the user says -j (which wins) or another make runs this one.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
endif
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = $(if $(findstring s,$(firstword -$(MAKEFLAGS))),@:,@printf '  %-5s %s\n')
endif

# ---- the target CPU and where things go --------------------------------------------------------------

CPU  := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
HOST := $(shell uname -m)
ARCH := $(patsubst arm64,aarch64,$(patsubst amd64,x86_64,$(CPU)))
ifeq ($(ARCH),$(patsubst arm64,aarch64,$(patsubst amd64,x86_64,$(HOST))))
TAG := $(MODE)-$(BACKEND)
else
TAG := $(MODE)-$(BACKEND)-$(ARCH)
endif

OUT ?= $(BUILD)$(if $(filter-out release-pthread,$(TAG)),/$(TAG))
# Back ends share all objects but that of their own file.
OBJ := $(BUILD)/obj/$(subst -$(BACKEND),,$(TAG))-$(notdir $(firstword $(CC)))
BIN := $(OUT)/bin
LIB := $(OUT)/libtlvision.a

# ---- sources -----------------------------------------------------------------------------------------

FOLDERS := tensor tensor/kernels autograd nn nn/models optim data transfer
AVX2    := $(wildcard tensor/kernels/*_avx2*.c)
AVX512  := $(wildcard tensor/kernels/*_avx512*.c)
NEON    := $(wildcard tensor/kernels/*_neon*.c)
TEAM_SRC := $(wildcard tensor/threads_*.c)
ifeq ($(ARCH),x86_64)
ISA_SRC := $(AVX2) $(AVX512)
else ifeq ($(ARCH),aarch64)
ISA_SRC := $(NEON)
else
ISA_SRC :=
endif

LIB_SRC := $(filter-out $(AVX2) $(AVX512) $(NEON) $(TEAM_SRC),$(wildcard $(addsuffix /*.c,$(FOLDERS)))) \
           $(ISA_SRC) $(filter %_$(BACKEND).c,$(TEAM_SRC))
COMMON  := $(wildcard examples/common*.c)
PROGS   := $(patsubst examples/%.c,$(BIN)/tlv-%,$(filter-out $(COMMON),$(wildcard examples/*.c))) \
           $(patsubst examples/learn/%.c,$(BIN)/learn-%,$(wildcard examples/learn/*.c))

# A test program is tests/test_NAME.c, with what it uses of the harness and the other helpers in tests/, and
# the library; test_slow_* are left to `make test`, mutants.c to `make mutants`, bench_* to `make bench`.
TEST_SRC   := $(wildcard tests/test_*.c)
SUPPORT    := $(filter-out $(TEST_SRC) tests/bench_%.c tests/mutants.c,$(wildcard tests/*.c))
SLOW       := $(patsubst tests/%.c,%,$(filter tests/test_slow_%,$(TEST_SRC)))
FAST       := $(filter-out $(SLOW),$(patsubst tests/%.c,%,$(TEST_SRC)))
BENCHES    := $(patsubst tests/%.c,%,$(wildcard tests/bench_*.c))
CHECK_EXE  := $(addprefix $(OUT)/tests/,$(or $(TESTS),$(FAST)))
TEST_EXE   := $(addprefix $(OUT)/tests/,$(or $(TESTS),$(FAST) $(SLOW)))
OTHER_EXE  := $(addprefix $(OUT)/tests/,$(BENCHES) $(patsubst tests/%.c,%,$(wildcard tests/mutants.c)))

objects = $(patsubst %.c,$(OBJ)/%.o,$(1))
LIB_OBJ     := $(call objects,$(LIB_SRC))
COMMON_OBJ  := $(call objects,$(COMMON))
SUPPORT_OBJ := $(call objects,$(SUPPORT))
ALL_OBJ     := $(LIB_OBJ) $(COMMON_OBJ) $(SUPPORT_OBJ) \
               $(call objects,$(wildcard examples/*.c examples/learn/*.c) $(TEST_SRC) \
                              $(wildcard tests/bench_*.c tests/mutants.c tests/tools/*.c))

# ---- flags -------------------------------------------------------------------------------------------

WARN  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror=implicit \
         $(if $(filter 1,$(WERROR)),-Werror)
# Products and sums stay apart (FMA only where the kernel vocabulary says so), sqrt needs no errno; nothing
# else of "fast math" is ever allowed: bits must not depend on what the compiler finds.
MATH  := -ffp-contract=off -fno-math-errno
BASE  := -std=c11 -g -I. $(WARN) $(MATH)

OPT_release := -O2
OPT_debug   := -O1 -DTLVI_DEBUG=1
OPT_asan    := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
               -DTLVI_DEBUG=1
OPT_tsan    := -O1 -fsanitize=thread
OPT_mutants := -O2 -DTLVI_MUTANTS=1
LINK_asan   := -fsanitize=address,undefined
LINK_tsan   := -fsanitize=thread

THREAD_FLAGS_pthread := -pthread
THREAD_FLAGS_openmp  := -fopenmp
THREAD_FLAGS_serial  :=

ALL_CFLAGS  := $(BASE) $(OPT_$(MODE))
ALL_LDFLAGS := $(LINK_$(MODE)) $(THREAD_FLAGS_$(BACKEND))

# Flags of single files.  What a kernel file needs from the CPU stands here and in dispatch.c, which asks the
# CPU for exactly these features before it hands the file's table out.
$(call objects,$(AVX2)):   ISA_FLAGS := -mavx2 -mfma
$(call objects,$(AVX512)): ISA_FLAGS := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma
# Kernels have lines for a profile and a backtrace, but no variables: those took half of the time to compile.
# Undefined behaviour of C shows in the scalar files, which are the same code: checks of it in wide files made them
# the half of a build.
WIDE_asan   := -fno-sanitize=undefined
$(call objects,$(AVX2) $(AVX512)): ISA_FLAGS += $(WIDE_$(MODE))
$(OBJ)/tensor/kernels/%.o: FILE_FLAGS = -g1 $(if $(filter -O2,$(OPT_$(MODE))),-O3) $(ISA_FLAGS) $(KERNEL_CFLAGS)
# Drawing is loops over pixels.
DRAWING := $(addprefix data/,$(addsuffix .c,surfaces defects patterns fractals contours textures leaves))
$(call objects,$(DRAWING)): FILE_FLAGS = $(if $(filter -O2,$(OPT_$(MODE))),-O3)
$(OBJ)/tests/%.o $(OBJ)/examples/%.o: FILE_FLAGS := -D_XOPEN_SOURCE=700
$(OBJ)/tensor/threads_$(BACKEND).o: FILE_FLAGS := $(THREAD_FLAGS_$(BACKEND))

# ---- building ----------------------------------------------------------------------------------------

.PHONY: all lib tests check test layering header-check lint goldens tools clean help FORCE

## all: the library and every program (default)
all: lib $(PROGS)

## lib: build/libtlvision.a
lib: $(LIB)

## tests: build the test programs, run nothing
tests: $(TEST_EXE) $(OTHER_EXE)

# A stamp holds the flags, another the list of objects: changed flags rebuild objects, a removed or added
# source rebuilds the archive.  $(call stamp,TEXT) rewrites the target only when TEXT is new.
stamp = $(Q)mkdir -p $(@D); printf '%s\n' '$(subst ','"'"',$(1))' | cmp -s - $@ || \
        printf '%s\n' '$(subst ','"'"',$(1))' > $@

$(OBJ)/flags: FORCE
	$(call stamp,$(CC) $(shell $(CC) -dumpversion) $(ALL_CFLAGS) $(CFLAGS))

$(OUT)/objects: FORCE
	$(call stamp,$(LIB_OBJ) $(SUPPORT_OBJ) $(ALL_LDFLAGS) $(LDFLAGS))

$(OBJ)/%.o: %.c $(OBJ)/flags Makefile
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS) $(FILE_FLAGS) -MMD -MP -c $< -o $@

$(LIB): $(LIB_OBJ) $(OUT)/objects
$(OUT)/tests/support.a: $(SUPPORT_OBJ) $(OUT)/objects
$(LIB) $(OUT)/tests/support.a:
	@mkdir -p $(@D)
	$(say) AR $@
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

link = $(Q)$(CC) $(ALL_LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) -lm $(LDFLAGS) -o $@

$(BIN)/tlv-%: $(OBJ)/examples/%.o $(COMMON_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(say) LINK $@
	$(link)

$(BIN)/learn-%: $(OBJ)/examples/learn/%.o $(COMMON_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(say) LINK $@
	$(link)

$(OUT)/tests/%: $(OBJ)/tests/%.o $(OUT)/tests/support.a $(LIB)
	@mkdir -p $(@D)
	$(say) LINK $@
	$(link)

.SECONDARY: $(ALL_OBJ)
-include $(ALL_OBJ:.o=.d)

# ---- testing -----------------------------------------------------------------------------------------

run_tests = $(Q)export TLV_BIN=$(BIN) TLV_TMP=$${TLV_TMP:-$(OUT)/tmp}; mkdir -p "$$TLV_TMP"; \
            RUN="$(RUN)" TEST_FILTER="$(FILTER)" tests/run.sh

## check: the fast tests (under a minute)
check: $(CHECK_EXE)
	$(run_tests) $(CHECK_EXE)

## test: the library, the programs, and every test, the slow ones too (under five minutes)
test: all $(TEST_EXE)
	$(run_tests) $(TEST_EXE) $(if $(TESTS),,tests/test_programs.sh)

ifneq ($(wildcard tests/mutants.c),)
.PHONY: mutants
## mutants: break each gradient in turn and see a test fail for it
mutants:
	$(Q)$(MAKE) --no-print-directory MODE=mutants TESTS=mutants check
endif

.PHONY: fuzz
## fuzz: libFuzzer (clang) on what reads files of strangers, T seconds each (default 60), from the corpora
fuzz:
	+$(Q)BUILD=$(BUILD)/fuzz T=$(or $(T),60) MAKE="$(MAKE)" tests/tools/fuzz.sh

ifneq ($(BENCHES),)
.PHONY: bench bench-peers roofline
BENCH_EXE  := $(addprefix $(OUT)/tests/,$(BENCHES))
# Those that use benchlib.h can take turns with the peers.
BENCH_TURN := $(addprefix $(OUT)/tests/,$(notdir $(basename $(shell grep -l benchlib.h tests/bench_*.c))))
peers_py    = BENCHES="$(BENCH_TURN)" BUILD=$(OUT) LIB=$(LIB) python3 tests/tools/bench_peers.py \
              $(if $(CASES),--cases '$(CASES)') $(if $(THREADS),--threads $(THREADS)) $(ARGS)

## bench: measure speed (CASES=regex THREADS=n; never part of a test); on a quiet machine
bench: $(BENCH_EXE)
	$(Q)for b in $^; do CASES="$(CASES)" THREADS="$(THREADS)" $(RUN) $$b || exit 1; done

## bench-peers: beside other libraries, by turns (PEERS=DIR CASES=regex ARGS="--quick"; docs/performance.md)
bench-peers: $(LIB) $(BENCH_TURN)
	$(Q)$(peers_py) $(PEERS)

## roofline: the limits of this machine, and each case's share of its own
roofline: $(LIB) $(BENCH_TURN)
	$(Q)$(peers_py) --roofline
endif

ifneq ($(wildcard examples/demo.c),)
.PHONY: demo
## demo: a first look: a small network learns drawn shapes, in seconds
demo: $(BIN)/tlv-demo $(PROGS)
	$(Q)$(RUN) $(BIN)/tlv-demo
endif

## layering: no include points upward, no stray malloc or printf, no mutable globals, unique file names
layering: $(LIB)
	$(Q)tests/tools/layering.sh $(LIB)

## header-check: each public header compiles alone, in C11 and C++11, and a user's program links
header-check: $(LIB)
	$(Q)CC="$(CC)" CXX="$(CXX)" tests/tools/header_check.sh $(LIB) $(THREAD_FLAGS_$(BACKEND))

MANUAL := $(OUT)/tests/tools/op_manual
TLV_PROGS := $(sort $(filter $(BIN)/tlv-%,$(PROGS)))
.PHONY: manual reference api doc-check

$(MANUAL): $(OBJ)/tests/tools/op_manual.o
	@mkdir -p $(@D)
	$(say) LINK $@
	$(link)

## manual: write docs/ops.md from autograd/ops.def and autograd/autograd.h
manual: $(MANUAL)
	$(say) GEN docs/ops.md
	$(Q)$(RUN) $(MANUAL) > $(MANUAL).md && mv $(MANUAL).md docs/ops.md

## reference: write docs/reference.md from what the programs' --help prints
reference: $(TLV_PROGS)
	$(say) GEN docs/reference.md
	$(Q)RUN="$(RUN)" tests/tools/program_manual.sh $(TLV_PROGS) > $(OUT)/reference.md && \
	    mv $(OUT)/reference.md docs/reference.md

## api: write docs/api/ from the public headers
api:
	$(say) GEN docs/api
	$(Q)python3 tests/tools/api_manual.py docs/api

## doc-check: code in README.md and docs/ compiles and runs, names, links, commands exist, made pages are current
doc-check: $(LIB) $(MANUAL) $(TLV_PROGS)
	$(Q)CC="$(CC)" RUN="$(RUN)" BIN=$(BIN) tests/tools/doc_check.sh $(LIB) $(MANUAL) $(THREAD_FLAGS_$(BACKEND))

DECODE_FILES := $(OUT)/tests/tools/decode_files
.PHONY: torture

$(DECODE_FILES): $(OBJ)/tests/tools/decode_files.o $(LIB)
	@mkdir -p $(@D)
	$(say) LINK $@
	$(link)

## torture: hard image files against Pillow, as this machine has it (FILTER: part of their paths)
torture: $(DECODE_FILES)
	$(Q)d=$${TLV_DATA:-../shared/data}/decoder_torture; \
	if [ ! -d "$$d" ]; then echo "SKIPPED torture: no $$d"; echo "0 passed, 0 failed, 1 skipped"; \
	elif ! /usr/bin/python3 -c 'import numpy, PIL' 2>/dev/null; then \
	    echo "SKIPPED torture: no python3-pil or python3-numpy"; echo "0 passed, 0 failed, 1 skipped"; \
	else /usr/bin/python3 tests/tools/torture.py $(DECODE_FILES) "$$d" $(FILTER); fi

.PHONY: parity bench-transfer
## parity: photographs, from the file to the logits, against Pillow and PyTorch (minutes; needs both)
parity: all
	$(Q)/usr/bin/python3 tests/tools/parity.py $(BIN)

## bench-transfer: probe and fine-tuning beside PyTorch, by turns (PAIRS=n THREADS=n; a quiet machine)
bench-transfer: all
	$(Q)BIN=$(BIN) tests/tools/bench_transfer.sh

.PHONY: reproduce
## reproduce: the long runs behind docs/results/ (NAMES="maml-5w1s ..." MINUTES=n a run; they go on where they stopped)
reproduce: all
	$(Q)tests/tools/reproduce.sh $(BIN) $(NAMES)

## lint: lengths of files, functions and lines, tabs, leftovers
lint:
	$(Q)tests/tools/lint.sh

## goldens: recompute the golden files with PyTorch (installs it outside the project when missing)
goldens:
	$(Q)tests/goldens/make_all.sh

## tools: install the tools that .ci/run uses (Debian, Ubuntu)
tools:
	$(Q)tests/tools/install.sh

## clean: remove build/
clean:
	rm -rf $(BUILD)

## help: this text
help:
	@sed -n 's/^## \{0,1\}//p' $(firstword $(MAKEFILE_LIST))
