# seqtopk: `make demo` and `make test` do everything, set-up included; `make help` lists the rest.
#
# Settings, on the command line or in the environment:
#   B=build          where objects go, a folder inside the project
#   LIBTORCH=DIR     a libtorch to use (include/ and lib/ in it)
#   NVCC=FILE        CUDA's compiler, where it is neither on the PATH nor in /usr/local/cuda
#   CUDA=WORD        auto, objects, host or no: when kernels are built, see scripts/find-cuda
#   CUDA_ARCHS=...   the GPUs that they are for: 80 90, and the one that is here
#   DEV=1            warnings are errors
#   SAN=...          sanitizer flags, see `make asan`
#   T=name           `make test T=router` runs the tests whose name has it; so does `make valgrind`
#   FUZZ=name        `make fuzz` runs this target alone
#   FUZZ_SECONDS=60  for how long `make fuzz` runs each; or FUZZ_RUNS=n: for how many inputs

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
    $(wildcard harness/decoder_gpu*.c) harness/route.c harness/model_gpu.c harness/trainer.c harness/trainer_piece.c
SRC := $(filter-out harness/cmd/main.c $(ENGINE_SRC),$(wildcard harness/*.c harness/text/*.c \
    harness/store/*.c harness/score/*.c harness/recipe/*.c harness/train/*.c harness/cmd/*.c \
    routers/*.c))
OBJ := $(SRC:%.c=$B/%.o)
ENGINE_OBJ := $(ENGINE_SRC:%.c=$B/%.o) $B/harness/torch.o $B/harness/torch_ops.o \
    $B/harness/torch_grad.o $B/harness/torch_gpu.o $B/harness/torch_experts.o $B/harness/torch_loss.o \
    $B/harness/torch_train.o $B/harness/torch_gradients.o $B/harness/torch_adam8.o \
    $B/harness/models/source.o
# What both sides of the engine's border use, each with its own copy.
SHARED_OBJ := $B/harness/util.o $B/harness/dtype.o $B/harness/sample.o $B/harness/scored.o \
    $B/harness/safetensors_forget.o \
    $(patsubst %.c,$B/%.o,$(wildcard routers/*.c))
TESTS := $(patsubst tests/test_%.c,$B/test_%,$(wildcard tests/test_*.c)) $B/test_torch_adam8
ENGINE := $B/seqtopk-torch.so

# Kernels for GPUs: compiled by nvcc into the engine, by g++ for tests (cuda_host.h runs them there).
CU_SRC := $(wildcard routers/*.cu harness/cuda/*.cu)
CU_OBJ := $(CU_SRC:%=$B/%.o)
HOST_OBJ := $(CU_SRC:%=$B/host/%.o) $B/host/tests/cuda_device.cu.o \
    $B/host/tests/cuda_token.cu.o $B/tests/cuda_host.o
CUDA_TESTS := $(patsubst tests/%.c,$B/%,$(wildcard tests/test_*cuda*.c)) \
    $(patsubst tests/%.cpp,$B/%,$(wildcard tests/test_*cuda*.cpp))
TESTS += $(filter-out $(TESTS),$(CUDA_TESTS))

JOBS ?= $(shell nproc)
SOURCES = $(shell git ls-files '*.c' '*.h' '*.cpp' '*.cu' '*.cuh')

.PHONY: all program
all: program $(TESTS) $B/parity ## the program and the tests, where set-up was done
program: $B/seqtopk $(ENGINE)

# The goals below that begin with set-up come back here once it is done.
ifneq ($(filter-out clean help build test demo bench bench-gpu asan valgrind fuzz lint format format-check,$(or $(MAKECMDGOALS),all)),)
include $B/torch.mk $B/cuda.mk
endif
# Looked for anew each time, since LIBTORCH= or python3 may be another now.
$B/torch.mk: always
	@mkdir -p $B
	@scripts/find-torch >$@.tmp 2>$@.said || { cat $@.said >&2; rm -f $@.tmp; exit 1; }
	@cmp -s $@.tmp $@ || { cat $@.said >&2; mv $@.tmp $@; }
export NVCC CUDA CUDA_ARCHS
$B/cuda.mk: $B/torch.mk always
	@scripts/find-cuda $< >$@.tmp 2>$@.said || { cat $@.said >&2; rm -f $@.tmp; exit 1; }
	@cmp -s $@.tmp $@ || { cat $@.said >&2; mv $@.tmp $@; }
.PHONY: always
always:

# What the engine has of them. The sources learn of it as SEQTOPK_CUDA.
ifeq ($(GPU),yes)
ENGINE_OBJ += $(CU_OBJ)
GPU_LIBS := $(CUDA_LIBS)
TESTS += $(filter-out %/test_cuda_host_gpu,$(CUDA_TESTS:%=%_gpu))
else ifeq ($(GPU),host)
ENGINE_OBJ += $(HOST_OBJ)
endif
ifneq ($(filter yes host,$(GPU)),)
CPPFLAGS += -DSEQTOPK_CUDA $(if $(CUDA_INCLUDE),-isystem $(CUDA_INCLUDE))
$(OBJ) $(ENGINE_OBJ): $B/cuda.mk
endif

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
NVCC_FLAGS := -std=c++17 -O3 -lineinfo -Xcompiler -fPIC,-Wall,-Wextra $(if $(DEV),-Werror all-warnings)
# A router selects as its twin in C to the bit: its products and sums stay apart.
NO_FMA := $(filter $B/routers/%,$(CU_OBJ)) $B/tests/cuda_token.cu.o
$(NO_FMA): NVCC_FLAGS += -fmad=false
$B/%.cu.o: %.cu Makefile $B/cuda.mk
	@mkdir -p $(@D)
	$(call say,NV ,$<)$(CUDA_NVCC) -ccbin $(CXX) $(CUDA_GENCODE) $(NVCC_FLAGS) -DSEQTOPK_CUDA -I. -Iharness -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
CUDA_HOST := -DCUDA_HOST -DSEQTOPK_CUDA -include tests/cuda_host.h -ffp-contract=off
HOST_CXXFLAGS = $(filter-out -Wpedantic -Wshadow,$(CXXFLAGS)) -Wno-unknown-pragmas $(CUDA_HOST)
$B/host/%.cu.o: %.cu Makefile
	@mkdir -p $(@D)
	$(call say,CXX,$<)$(CXX) -x c++ $(CPPFLAGS) $(HOST_CXXFLAGS) -c -o $@ $<
$B/harness/models/source.o: $(wildcard harness/models/*.torchscript)
$B/harness/store/schema.o: $(wildcard harness/store/*.sql)
$B/harness/score/sandbox_open.o: $(wildcard harness/score/*.py)
# The commit that is built, looked for each time, and rewritten where it is another.
$B/version.h: always
	@mkdir -p $B
	@scripts/revision >$@.tmp
	@cmp -s $@.tmp $@ && rm -f $@.tmp || mv $@.tmp $@
$B/harness/program.o: $B/version.h
$B/harness/program.o: CPPFLAGS += -I$B

$B/libseqtopk.a: $(OBJ)
	@rm -f $@
	$(call say,AR ,$@)$(AR) rcs $@ $^
$B/seqtopk: $B/harness/cmd/main.o $B/libseqtopk.a
	$(call say,LD ,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
$(ENGINE): $(ENGINE_OBJ) $(SHARED_OBJ)
	$(call say,LD ,$@)$(CXX) -shared $(LDFLAGS) $(if $(SAN),,-Wl,-z,defs) -o $@ $^ $(TORCH_LIBS) $(GPU_LIBS) -lxxhash -ldl -lm

# A test that calls the engine's own functions is linked with it; the others open it, or do not.
$B/test_torch $B/test_torch_kernels: $B/%: $B/tests/%.o $B/libseqtopk.a $(ENGINE)
	$(call say,LD ,$@)$(CXX) $(LDFLAGS) -o $@ $^ -Wl,-rpath,'$$ORIGIN' $(LIBS) -lcmocka
# One that calls libtorch as well.
$B/test_torch_adam8: $B/%: $B/tests/%.o $B/libseqtopk.a $(ENGINE)
	$(call say,LD ,$@)$(CXX) $(LDFLAGS) -o $@ $^ -Wl,-rpath,'$$ORIGIN' $(TORCH_LIBS) $(LIBS) -lcmocka
# A test of kernels runs them on the CPU, and as test_NAME_gpu on the GPU where they are built for one.
$B/libhost.a: $(HOST_OBJ)
	@rm -f $@
	$(call say,AR ,$@)$(AR) rcs $@ $^
$B/libgpu.a: $(CU_OBJ) $B/tests/cuda_device.cu.o $B/tests/cuda_token.cu.o
	@rm -f $@
	$(call say,AR ,$@)$(AR) rcs $@ $^
CUDA_CPP := $(patsubst %.cpp,$B/%.o,$(wildcard tests/test_*cuda*.cpp))
$(CUDA_CPP): $B/%.o: %.cpp Makefile
	@mkdir -p $(@D)
	$(call say,CXX,$<)$(CXX) $(CPPFLAGS) $(HOST_CXXFLAGS) -c -o $@ $<
$(CUDA_CPP:.o=_gpu.o): $B/%_gpu.o: %.cpp Makefile $B/cuda.mk
	@mkdir -p $(@D)
	$(call say,NV ,$<)$(CUDA_NVCC) -x cu -ccbin $(CXX) $(CUDA_GENCODE) $(NVCC_FLAGS) -DSEQTOPK_CUDA -I. -Iharness -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
$(CUDA_TESTS): $B/%: $B/tests/%.o $B/libhost.a $B/libseqtopk.a
	$(call say,LD ,$@)$(CXX) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
$(CUDA_TESTS:%=%_gpu): $B/%_gpu: $B/libgpu.a $B/libseqtopk.a
	$(call say,LD ,$@)$(CXX) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(CUDA_LIBS) $(LIBS) -lcmocka
$(patsubst tests/%.c,$B/%_gpu,$(wildcard tests/test_*cuda*.c)): $B/%_gpu: $B/tests/%.o
$(patsubst tests/%.cpp,$B/%_gpu,$(wildcard tests/test_*cuda*.cpp)): $B/%_gpu: $B/tests/%_gpu.o
# Times a step's kernels on a GPU, without files and without the engine.
$B/bench_step: $B/tests/bench_step.o $B/libgpu.a $B/libseqtopk.a
	$(call say,LD ,$@)$(CXX) $(LDFLAGS) -o $@ $^ $(CUDA_LIBS) $(LIBS)
.PHONY: cuda-objects
cuda-objects: $(CU_OBJ) ## compiles the kernels with nvcc, whatever the libtorch

# A test of one of the engine's files that wants no tensors.
$B/test_route: $B/harness/route.o
$B/test_%: $B/tests/test_%.o $B/libseqtopk.a | $(ENGINE)
	$(call say,LD ,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka
FUZZ ?=
FUZZ_SECONDS ?= 60
FUZZ_RUNS ?=
# A fuzz target is a source of tests/fuzz and a folder of that name with its first inputs. Those that
# run Lua do it within limits of their own (lua_limits.h); databases are waited for by nobody.
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,$B/fuzz_%,$(wildcard tests/fuzz/*.c))
.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_TARGETS)
$B/fuzz_%: $B/tests/fuzz/%.o $B/libseqtopk.a
	$(call say,LD ,$@)$(CC) $(LDFLAGS) -fsanitize=fuzzer $(FUZZ_WRAP) -o $@ $^ $(LIBS)
$B/fuzz_recipe $B/fuzz_eval: FUZZ_WRAP = $(addprefix -Wl$(comma)--wrap=lua_sandbox_,open open_text run)
$B/fuzz_database $B/fuzz_merge: FUZZ_WRAP = -Wl,--wrap=usleep
comma := ,
$B/bench $B/bench_gpu $B/bench_store $B/parity: $B/%: $B/tests/%.o $B/libseqtopk.a | $(ENGINE)
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
	@$(AGAIN) program $B/bench $B/bench_store
	@scripts/bench $B

.PHONY: bench-gpu
bench-gpu: ## the same on a GPU, side by side with transformers
	@scripts/setup
	@$(AGAIN) program $B/bench_gpu
	@scripts/bench-gpu $B

.PHONY: asan
asan: ## the tests under the address and undefined behaviour sanitizers
	@SEQTOPK_SLOW=4 ASAN_OPTIONS=detect_odr_violation=0 $(MAKE) --no-print-directory test B=build/asan \
	    SAN='-fsanitize=address,undefined -fno-omit-frame-pointer'

.PHONY: valgrind
valgrind: ## the tests under valgrind, those without an engine
	@scripts/setup valgrind
	@$(AGAIN) all
	@scripts/valgrind $B '$T'

.PHONY: fuzz
fuzz: ## every fuzz target, or FUZZ=name, for FUZZ_SECONDS (60)
	@scripts/setup fuzz
	@$(AGAIN) fuzz-targets B=build/fuzz CC=clang OPT='-O1 -g' CUDA=no \
	    SAN='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
	@FUZZ_SECONDS='$(FUZZ_SECONDS)' FUZZ_RUNS='$(FUZZ_RUNS)' scripts/fuzz build/fuzz '$(FUZZ)'

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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

-include $(shell find $B -name '*.d' 2>/dev/null)
