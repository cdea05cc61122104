/*
 * cuda_host.cpp: see cuda_host.h. A block's threads are fibers, which leave for run_block() wherever
 * they wait; it lets a meeting take place when all who belong to it have come.
 *
 * Invariant: a fiber that waits has said in its `struct thread` for what and where.
 */
#include "cuda_host.h"

#include <cstdarg>
#include <cstdio>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <vector>
#ifndef __x86_64__
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
unsigned char *cuda_host_shared;

/* From one stack to another; what is left is kept in `from`. */
#ifdef __x86_64__
typedef void *context; /* the stack's pointer; the registers that a call keeps lie on it */
extern "C" void cuda_host_switch(context *from, const context *to);
asm(R"(
    .text
    .globl cuda_host_switch
    .type cuda_host_switch, @function
cuda_host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size cuda_host_switch, . - cuda_host_switch
)");
static void context_make(context *c, char *stack, size_t size, void (*begin)())
{
    void **top = reinterpret_cast<void **>(stack + size / 16 * 16) - 8;
    memset(top, 0, 8 * sizeof(*top));
    top[6] = reinterpret_cast<void *>(begin);
    *c = top;
}
#else
typedef ucontext_t context;
static void cuda_host_switch(context *from, const context *to)
{
    swapcontext(from, to);
}
static void context_make(context *c, char *stack, size_t size, void (*begin)())
{
    getcontext(c);
    c->uc_stack.ss_sp = stack;
    c->uc_stack.ss_size = size;
    c->uc_link = nullptr;
    makecontext(c, begin, 0);
}
#endif

namespace
{
enum state { RUNS, WAITS, ENDED };

struct thread {
    state at;
    uint3 index;
    bool made; /* has a stack */
    /* of what it waits for */
    cuda_host_op op;
    unsigned mask, lane;
    uint64_t value, result;
    const char *file;
    int line;
    context here;
};

constexpr size_t STACK = 256 << 10, MOST = 1024, GUARD = 64;
thread threads[MOST];
thread *current; /* that runs; NULL: none does */
unsigned count;  /* of the block */
context scheduler;
const cuda_host_call *running;
const char *kernel_name;
std::map<const void *, size_t> allowed; /* of dynamic shared memory above 48 kB */
unsigned launches;

__attribute__((format(printf, 2, 3), noreturn)) void wrong(const thread *t, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "cuda_host: kernel %s", kernel_name);
    if (t)
        fprintf(stderr, ", block (%u, %u, %u), thread (%u, %u, %u)", blockIdx.x, blockIdx.y,
                blockIdx.z, t->index.x, t->index.y, t->index.z);
    if (t && t->at == WAITS)
        fprintf(stderr, " at %s:%d", t->file, t->line);
    fprintf(stderr, ": ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    abort();
}

/* ---- fibers ---- */

void leave()
{
    cuda_host_switch(&current->here, &scheduler);
}

void fiber()
{
    for (;;) {
        running->run();
        current->at = ENDED;
        leave();
    }
}

void make(thread *t)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, 4096, PROT_NONE))
        wrong(nullptr, "no memory for the stacks");
    // Stacks that begin at the same place of a page would share few lines of the cache.
    size_t size = STACK - static_cast<size_t>(t - threads) % 61 * 272;
    context_make(&t->here, static_cast<char *>(stack), size, fiber);
    t->made = true;
}

/* Lets a thread run until it waits or ends. */
void resume(thread *t)
{
    if (!t->made)
        make(t);
    threadIdx = t->index;
    current = t;
    cuda_host_switch(&scheduler, &t->here);
    current = nullptr;
}

/* ---- meetings of a warp ---- */

bool same_meeting(const thread *a, const thread *b)
{
    return b->at == WAITS && a->op == b->op && a->mask == b->mask && a->line == b->line &&
           (a->file == b->file || strcmp(a->file, b->file) == 0);
}

uint64_t reduced(cuda_host_op op, uint64_t a, uint64_t b)
{
    uint32_t u = static_cast<uint32_t>(a), v = static_cast<uint32_t>(b);
    int32_t i = static_cast<int32_t>(u), j = static_cast<int32_t>(v);
    switch (op) {
    case CUDA_ADD:
        return u + v;
    case CUDA_UMIN:
        return u < v ? u : v;
    case CUDA_UMAX:
        return u > v ? u : v;
    case CUDA_MIN:
        return i < j ? u : v;
    case CUDA_MAX:
        return i > j ? u : v;
    case CUDA_AND:
        return u & v;
    case CUDA_OR:
        return u | v;
    default:
        return u ^ v;
    }
}

struct mma_call {
    float *c;
    const uint32_t *a, *b;
};

float bf16_half(uint32_t two, int which)
{
    return __uint_as_float(which ? two & 0xffff0000u : two << 16);
}

/* lanes: [32], their values are of struct mma_call */
void mma(thread *lanes)
{
    float A[16][16], B[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const mma_call *m = reinterpret_cast<const mma_call *>(lanes[lane].value);
        int g = lane / 4, i = lane % 4 * 2;
        for (int two = 0; two < 2; two++) {
            for (int r = 0; r < 4; r++)
                A[g + r % 2 * 8][i + r / 2 * 8 + two] = bf16_half(m->a[r], two);
            for (int r = 0; r < 2; r++)
                B[i + r * 8 + two][g] = bf16_half(m->b[r], two);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        const mma_call *m = reinterpret_cast<const mma_call *>(lanes[lane].value);
        for (int r = 0; r < 4; r++) {
            int row = lane / 4 + r / 2 * 8, column = lane % 4 * 2 + r % 2;
            float sum = m->c[r];
            for (int k = 0; k < 16; k++)
                sum += A[row][k] * B[k][column];
            m->c[r] = sum;
        }
    }
}

/* All lanes of the first one's mask are there. lanes: of the warp, n of them */
void take_place(thread *lanes, const thread *first)
{
    const unsigned mask = first->mask;
    const cuda_host_op op = first->op;
    uint64_t all = 0;
    bool begun = false;
    for (unsigned i = 0; i < 32; i++)
        if (mask >> i & 1) {
            uint64_t v = lanes[i].value;
            all = op == CUDA_BALLOT ? all | v << i : begun ? reduced(op, all, v) : v;
            begun = true;
        }
    if (op == CUDA_MMA)
        mma(lanes);
    for (unsigned i = 0; i < 32; i++) {
        if (!(mask >> i & 1))
            continue;
        thread *t = &lanes[i];
        t->result = all;
        if (op == CUDA_SHFL) {
            if (t->lane > 31 || !(mask >> t->lane & 1))
                wrong(t, "a shuffle from lane %u, which is not in the mask %08x", t->lane, mask);
            t->result = lanes[t->lane].value;
        } else if (op == CUDA_MATCH) {
            t->result = 0;
            for (unsigned j = 0; j < 32; j++)
                if (mask >> j & 1 && lanes[j].value == t->value)
                    t->result |= uint64_t(1) << j;
        }
    }
    for (unsigned i = 0; i < 32; i++)
        if (mask >> i & 1)
            lanes[i].at = RUNS;
}

/* Lets those meetings of a warp take place that can; false: there is none. */
bool meet_warp(thread *lanes, unsigned n)
{
    bool any = false;
    for (unsigned i = 0; i < n; i++) {
        thread *t = &lanes[i];
        if (t->at != WAITS || t->op <= CUDA_SYNCTHREADS_COUNT)
            continue;
        bool all = true;
        for (unsigned j = 0; j < 32 && all; j++) {
            if (!(t->mask >> j & 1))
                continue;
            if (j >= n || lanes[j].at == ENDED)
                wrong(t, "lane %u of the mask %08x %s", j, t->mask,
                      j >= n ? "is not in the block" : "has ended");
            all = same_meeting(t, &lanes[j]);
        }
        if (all)
            take_place(lanes, t);
        any |= all;
    }
    return any;
}

/* ---- a block ---- */

/* The order in which this launch runs n things: from the first, from the last, shuffled. */
void order(std::vector<unsigned> &v, size_t n)
{
    uint64_t seed = launches * 0x9e3779b97f4a7c15u + 1;
    v.resize(n);
    for (size_t i = 0; i < n; i++)
        v[i] = static_cast<unsigned>(launches % 3 == 1 ? n - 1 - i : i);
    for (size_t i = n; launches % 3 == 2 && i > 1; i--) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        std::swap(v[i - 1], v[(seed >> 33) % i]);
    }
}

/* Lets a warp run until its lanes wait for the block, or have ended. */
void run_warp(thread *lanes, unsigned n, const std::vector<unsigned> &lane_order)
{
    do {
        for (unsigned i : lane_order)
            if (i < n && lanes[i].at == RUNS)
                resume(&lanes[i]);
    } while (meet_warp(lanes, n));
    for (unsigned i = 0; i < n; i++) {
        const thread *t = &lanes[i];
        if (t->at != WAITS || t->op <= CUDA_SYNCTHREADS_COUNT)
            continue;
        for (unsigned j = 0; j < n; j++)
            if (t->mask >> j & 1 && !same_meeting(t, &lanes[j]))
                wrong(t, "lane %u of the mask %08x waits at %s:%d", j, t->mask, lanes[j].file,
                      lanes[j].line);
    }
}

/* All threads wait for the block or have ended: lets them go on. false: all have ended. */
bool meet_block()
{
    uint64_t sum = 0;
    const thread *first = nullptr;
    for (unsigned i = 0; i < count; i++)
        if (!first && threads[i].at == WAITS)
            first = &threads[i];
    if (!first)
        return false;
    for (unsigned i = 0; i < count; i++) {
        thread *t = &threads[i];
        if (t->at == ENDED)
            wrong(first, "a barrier that not all threads reach: thread (%u, %u, %u) has ended",
                  t->index.x, t->index.y, t->index.z);
        if (!same_meeting(first, t))
            wrong(first, "thread (%u, %u, %u) waits at another barrier, %s:%d", t->index.x,
                  t->index.y, t->index.z, t->file, t->line);
        sum += t->value;
    }
    for (unsigned i = 0; i < count; i++) {
        threads[i].result = sum;
        threads[i].at = RUNS;
    }
    return true;
}

void run_block(const std::vector<unsigned> &warps, const std::vector<unsigned> &lanes)
{
    for (unsigned i = 0; i < count; i++) {
        threads[i].at = RUNS;
        threads[i].index = { i % blockDim.x, i / blockDim.x % blockDim.y,
                             i / blockDim.x / blockDim.y };
    }
    do {
        for (unsigned w : warps)
            run_warp(threads + w * 32, count - w * 32 < 32 ? count - w * 32 : 32, lanes);
    } while (meet_block());
}

void check_launch(const void *kernel, size_t shared)
{
    uint64_t n = uint64_t(blockDim.x) * blockDim.y * blockDim.z;
    size_t most = allowed.count(kernel) ? allowed[kernel] : 48 << 10;
    if (current)
        wrong(current, "a launch within a kernel");
    if (n == 0 || n > MOST || blockDim.z > 64)
        wrong(nullptr, "a block of %u x %u x %u threads; allowed is 1 to 1024", blockDim.x,
              blockDim.y, blockDim.z);
    if (gridDim.x == 0 || gridDim.y == 0 || gridDim.z == 0 || gridDim.x > 0x7fffffff ||
        gridDim.y > 65535 || gridDim.z > 65535)
        wrong(nullptr, "a grid of %u x %u x %u blocks", gridDim.x, gridDim.y, gridDim.z);
    if (shared > most)
        wrong(nullptr, "%zu bytes of dynamic shared memory; allowed is %zu, see gpu_allow_shared()",
              shared, most);
    count = static_cast<unsigned>(n);
}
} // namespace

unsigned cuda_host_lane()
{
    return static_cast<unsigned>(current - threads) % 32;
}

uint64_t cuda_host_meet(cuda_host_op op, unsigned mask, uint64_t value, unsigned lane,
                        const char *file, int line)
{
    thread *t = current;
    t->op = op;
    t->mask = mask;
    t->value = value;
    t->lane = lane;
    t->file = file;
    t->line = line;
    t->at = WAITS;
    if (op > CUDA_SYNCTHREADS_COUNT && !(mask >> cuda_host_lane() & 1))
        wrong(t, "its own lane, %u, is not in the mask %08x", cuda_host_lane(), mask);
    leave();
    return current->result;
}

void mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2], const char *file, int line)
{
    const mma_call call = { c, a, b };
    cuda_host_meet(CUDA_MMA, ~0u, reinterpret_cast<uint64_t>(&call), 0, file, line);
}

void cuda_host_allow(const void *kernel, size_t bytes)
{
    kernel_name = "to be allowed shared memory";
    if (bytes > 227 << 10)
        wrong(nullptr, "%zu bytes; an H100's block has 232448", bytes);
    allowed[kernel] = bytes;
}

void cuda_host_run(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared,
                   const cuda_host_call &call)
{
    static std::mutex alone; // kernels of other threads wait
    std::lock_guard<std::mutex> lock(alone);
    std::vector<unsigned> blocks, warps, lanes;
    kernel_name = name;
    gridDim = grid;
    blockDim = block;
    check_launch(kernel, shared);
    order(blocks, size_t(grid.x) * grid.y * grid.z);
    order(warps, (count + 31) / 32);
    order(lanes, 32);
    launches++;
    running = &call;
    void *memory = nullptr;
    if (posix_memalign(&memory, 1024, shared + GUARD))
        wrong(nullptr, "no memory");
    cuda_host_shared = static_cast<unsigned char *>(memory);
    for (unsigned b : blocks) {
        blockIdx = { b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y };
        memset(memory, 0xff, shared);
        memset(cuda_host_shared + shared, 0xa5, GUARD);
        run_block(warps, lanes);
        for (size_t i = 0; i < GUARD; i++)
            if (cuda_host_shared[shared + i] != 0xa5)
                wrong(&threads[0], "byte %zu of %zu of dynamic shared memory was written",
                      shared + i, shared);
    }
    free(memory);
    cuda_host_shared = nullptr;
}
