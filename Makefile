# seqtopk: `make demo` and `make test` do everything, set-up included; `make help` lists the rest.
#
# Settings, on the command line or in the environment:
#   B=build          where objects go, a folder inside the project
#   LIBTORCH=DIR     a libtorch to use (include/ and lib/ in it)
#   DEV=1            warnings are errors
#   SAN=...          sanitizer flags, see `make asan`
#   T=name           `make test T=router` runs the tests whose name has it

B ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
SAN ?=
T ?=
WARN := -Wall -Wextra -Wpedantic -Wshadow $(if $(DEV),-Werror)
OPT ?= -O2 -g
CPPFLAGS += -D_GNU_SOURCE -I. -Iharness -MMD -MP
CFLAGS += -std=c11 $(OPT) $(WARN) -Wmissing-prototypes -Wstrict-prototypes -fPIC -pthread $(SAN)
CXXFLAGS += -std=c++17 $(OPT) $(WARN) -fPIC -pthread $(SAN)
LDFLAGS += -pthread $(SAN)
LIBS := -llua5.4 -lsqlite3 -ljansson -lpcre2-8 -lutf8proc -lxxhash -lz -lcrypto -lcurl -ldl -lm
LUA_CFLAGS := -isystem /usr/include/lua5.4

# What needs tensors is the engine, a shared object that only some commands open.
ENGINE_SRC := harness/kernels.c harness/model.c harness/model_build.c harness/decoder.c \
    harness/route.c harness/trainer.c
SRC := $(filter-out harness/cmd/main.c $(ENGINE_SRC),$(wildcard harness/*.c harness/text/*.c \
    harness/store/*.c harness/score/*.c harness/recipe/*.c harness/train/*.c harness/cmd/*.c \
    routers/*.c))
OBJ := $(SRC:%.c=$B/%.o)
ENGINE_OBJ := $(ENGINE_SRC:%.c=$B/%.o) $B/harness/torch.o $B/harness/torch_ops.o \
    $B/harness/torch_grad.o $B/harness/torch_train.o \
    $B/harness/models/source.o
# What both sides of the engine's border use, each with its own copy.
SHARED_OBJ := $B/harness/util.o $B/harness/dtype.o $B/harness/sample.o $B/harness/scored.o \
    $(patsubst %.c,$B/%.o,$(wildcard routers/*.c))
TESTS := $(patsubst tests/test_%.c,$B/test_%,$(wildcard tests/test_*.c))
ENGINE := $B/seqtopk-torch.so

JOBS ?= $(shell nproc)
SOURCES = $(shell git ls-files '*.c' '*.h' '*.cpp')

.PHONY: all program
all: program $(TESTS) ## the program and the tests, where set-up was done
program: $B/seqtopk $(ENGINE)

# The goals below that begin with set-up come back here once it is done.
ifneq ($(filter-out clean help build test demo bench asan lint format format-check,$(or $(MAKECMDGOALS),all)),)
include $B/torch.mk
endif
# Looked for anew each time, since LIBTORCH= or python3 may be another now.
$B/torch.mk: always
	@mkdir -p $B
	@scripts/find-torch >$@.tmp 2>$@.said || { cat $@.said >&2; rm -f $@.tmp; exit 1; }
	@cmp -s $@.tmp $@ || { cat $@.said >&2; mv $@.tmp $@; }
.PHONY: always
always:

# One short line for each step; V=1 shows the commands.
say = $(if $(V),,@echo "  $1 $2";)

$B/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC ,$<)$(CC) $(CPPFLAGS) $(LUA_CFLAGS) $(CFLAGS) -c -o $@ $<
# Loops over floats: sums may be reordered, and one copy is made for each kind of processor.
$B/harness/kernels.o: harness/kernels_products.inl
$B/harness/kernels.o $B/harness/sample.o: CFLAGS += -O3 -fopenmp-simd -fno-math-errno -fno-trapping-math
$B/%.o: %.cpp Makefile $B/torch.mk
	@mkdir -p $(@D)
	$(call say,CXX,$<)$(CXX) $(CPPFLAGS) $(TORCH_CFLAGS) $(CXXFLAGS) -c -o $@ $<
$B/harness/models/source.o: $(wildcard harness/models/*.torchscript)
$B/harness/store/schema.o: $(wildcard harness/store/*.sql)
$B/harness/score/sandbox_open.o: $(wildcard harness/score/*.py)

$B/libseqtopk.a: $(OBJ)
	@rm -f $@
	$(call say,AR ,$@)$(AR) rcs $@ $^
$B/seqtopk: $B/harness/cmd/main.o $B/libseqtopk.a
	$(call say,LD ,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(ENGINE): $(ENGINE_OBJ) $(SHARED_OBJ)
	$(call say,LD ,$@)$(CXX) -shared $(LDFLAGS) $(if $(SAN),,-Wl,-z,defs) -o $@ $^ $(TORCH_LIBS) -lxxhash -ldl -lm

# A test that calls the engine's own functions is linked with it; the others open it, or do not.
$B/test_torch: $B/tests/test_torch.o $B/libseqtopk.a $(ENGINE)
	$(call say,LD ,$@)$(CXX) $(LDFLAGS) -o $@ $^ -Wl,-rpath,'$$ORIGIN' $(LIBS) -lcmocka
$B/test_%: $B/tests/test_%.o $B/libseqtopk.a | $(ENGINE)
	$(call say,LD ,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$B/bench: $B/tests/bench.o $B/libseqtopk.a | $(ENGINE)
	$(call say,LD ,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
.SECONDARY:

# These install what is missing first, and only then look for libraries: hence the second make.
AGAIN = $(MAKE) --no-print-directory -j$(JOBS)

.PHONY: build
build: ## set-up, then the program
	@scripts/setup
	@$(AGAIN) program

.PHONY: demo
demo: build ## the main job on the shipped model: sweep, table, figures
	@scripts/demo $B

.PHONY: test
test: ## set-up, then all tests, or those whose name has T
	@scripts/setup test
	@$(AGAIN) all
	@scripts/run-tests $B '$T'

.PHONY: bench
bench: ## times the hot paths, side by side with plain PyTorch
	@scripts/setup
	@$(AGAIN) program $B/bench
	@scripts/bench $B

.PHONY: asan
asan: ## the tests under the address and undefined behaviour sanitizers
	@ASAN_OPTIONS=detect_odr_violation=0 $(MAKE) --no-print-directory test B=build/asan \
	    SAN='-fsanitize=address,undefined -fno-omit-frame-pointer'

.PHONY: format format-check
format: ## clang-format on every source
	clang-format -i $(SOURCES)
format-check:
	@clang-format --dry-run --Werror $(SOURCES)

.PHONY: lint
lint: ## style, layers, headers, clang-tidy, shell scripts
	@scripts/setup lint
	@$(AGAIN) format-check
	@scripts/lint

.PHONY: clean
clean: ## removes build/
	rm -rf build

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

-include $(shell find $B -name '*.d' 2>/dev/null)
