/*
 * test_cuda_host.cpp: the emulator of tests/cuda_host.h itself: what a block's threads do together
 * gives what CUDA's manual says, and each wrong use ends the program with its sentence.
 */
#include "cuda/gpu.h"

#include <csetjmp>
#include <cstdarg>
#include <cstdio>
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include <cmocka.h>
}

/* ---- barriers ---- */

/* y[b] = the sum of x's part of block b. x: [grid * block] */
__global__ void sums(const float *x, float *y)
{
    DYNAMIC_SHARED(float, part);
    part[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0)
        y[blockIdx.x] = part[0];
}

static void blocks_add_up_with_barriers(void **)
{
    enum { GRID = 5, BLOCK = 256 };
    float x[GRID * BLOCK], y[GRID];
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < GRID * BLOCK; i++)
            x[i] = static_cast<float>(i % 97);
        LAUNCH(sums, GRID, BLOCK, BLOCK * sizeof(float), nullptr, x, y);
        for (int b = 0; b < GRID; b++) {
            float want = 0;
            for (int i = 0; i < BLOCK; i++)
                want += x[b * BLOCK + i];
            assert_true(y[b] == want);
        }
    }
}

/* y[i] = x of the one before; wrong: without the barrier, which the order hides */
__global__ void neighbours(const int *x, int *y, bool wrong)
{
    __shared__ int all[64];
    all[threadIdx.x] = -1;
    __syncthreads();
    all[threadIdx.x] = x[threadIdx.x];
    if (!wrong)
        __syncthreads();
    y[threadIdx.x] = all[threadIdx.x ? threadIdx.x - 1 : 0];
}

static void a_barrier_that_is_missing_is_seen_in_some_turn(void **)
{
    int x[64], y[64];
    for (int i = 0; i < 64; i++)
        x[i] = i * 3;
    for (int wrong = 0; wrong < 2; wrong++) {
        int bad = 0;
        for (int turn = 0; turn < 3; turn++) {
            LAUNCH(neighbours, 1, 64, 0, nullptr, x, y, wrong != 0);
            for (int i = 0; i < 64; i++)
                bad += y[i] != x[i ? i - 1 : 0];
        }
        assert_int_equal(bad > 0, wrong);
    }
}

/* The first 40 threads say yes. y: [3][blockDim.x] */
__global__ void votes(int *y)
{
    int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
    y[i] = __syncthreads_count(i < 40);
    y[n + i] = __syncthreads_or(i == 39);
    y[2 * n + i] = __syncthreads_and(i < 40);
}

static void barriers_count(void **)
{
    int y[3 * 96];
    LAUNCH(votes, 1, 96, 0, nullptr, y);
    for (int i = 0; i < 96; i++) {
        assert_int_equal(y[i], 40);
        assert_int_equal(y[96 + i], 1);
        assert_int_equal(y[192 + i], 0);
    }
    LAUNCH(votes, 1, 40, 0, nullptr, y);
    assert_int_equal(y[80], 1);
}

/* ---- warps ---- */

/* y: [20][64], one row an operation */
__global__ void warp_ops(int *y)
{
    const unsigned ALL = 0xffffffffu;
    int i = static_cast<int>(threadIdx.x), lane = i % 32, row = 0;
#define PUT(v) y[row++ * 64 + i] = static_cast<int>(v)
    PUT(__shfl_sync(ALL, i, 5));
    PUT(__shfl_sync(ALL, i, lane + 1));
    PUT(__shfl_sync(ALL, i, 3, 8));
    PUT(__shfl_up_sync(ALL, i, 3));
    PUT(__shfl_down_sync(ALL, i, 3));
    PUT(__shfl_down_sync(ALL, i, 3, 8));
    PUT(__shfl_xor_sync(ALL, i, 17));
    PUT(__shfl_xor_sync(ALL, static_cast<double>(i) * 0.5, 1) * 2);
    PUT(__ballot_sync(ALL, lane % 3 == 0));
    PUT(__any_sync(ALL, i == 40));
    PUT(__all_sync(ALL, i < 32));
    PUT(__reduce_add_sync(ALL, i));
    PUT(__reduce_min_sync(ALL, lane - 7));
    PUT(__reduce_max_sync(ALL, static_cast<unsigned>(lane - 7)));
    PUT(__reduce_or_sync(ALL, 1u << (lane / 2)));
    PUT(__match_any_sync(ALL, lane / 4));
    if (lane < 8)
        PUT(__shfl_sync(0xffu, i, 7));
    else
        PUT(__shfl_sync(0xffffff00u, i, 31));
    __syncwarp();
#undef PUT
}

static void lanes_exchange_what_the_manual_says(void **)
{
    static int y[20][64];
    LAUNCH(warp_ops, 1, 64, 0, nullptr, &y[0][0]);
    for (int i = 0; i < 64; i++) {
        int lane = i % 32, base = i - lane;
        assert_int_equal(y[0][i], base + 5);
        assert_int_equal(y[1][i], base + (lane + 1) % 32);
        assert_int_equal(y[2][i], i / 8 * 8 + 3);
        assert_int_equal(y[3][i], lane < 3 ? i : i - 3);
        assert_int_equal(y[4][i], lane > 28 ? i : i + 3);
        assert_int_equal(y[5][i], i % 8 > 4 ? i : i + 3);
        assert_int_equal(y[6][i], i ^ 17);
        assert_int_equal(y[7][i], i ^ 1);
        assert_int_equal(static_cast<unsigned>(y[8][i]), 0x49249249u);
        assert_int_equal(y[9][i], i >= 32);
        assert_int_equal(y[10][i], i < 32);
        assert_int_equal(y[11][i], base * 32 + 496);
        assert_int_equal(y[12][i], -7);
        assert_int_equal(y[13][i], -1);
        assert_int_equal(y[14][i], 0xffff);
        assert_int_equal(static_cast<unsigned>(y[15][i]), 0xfu << lane / 4 * 4);
        assert_int_equal(y[16][i], lane < 8 ? base + 7 : base + 31);
    }
}

/* One tile: C += A B. A: [16, 16]; B: [16, 8]; C: [16, 8], row by row */
__global__ void tile(const __nv_bfloat16 *A, const __nv_bfloat16 *B, float *C)
{
    int lane = static_cast<int>(threadIdx.x), g = lane / 4, i = lane % 4 * 2;
    uint32_t a[4], b[2];
    float c[4];
    for (int r = 0; r < 4; r++) {
        const __nv_bfloat16 *at = A + (g + r % 2 * 8) * 16 + i + r / 2 * 8;
        a[r] = __bfloat16_as_ushort(at[0]) | static_cast<uint32_t>(__bfloat16_as_ushort(at[1]))
                                                 << 16;
    }
    for (int r = 0; r < 2; r++) {
        const __nv_bfloat16 *at = B + (i + r * 8) * 8 + g;
        b[r] = __bfloat16_as_ushort(at[0]) | static_cast<uint32_t>(__bfloat16_as_ushort(at[8]))
                                                 << 16;
    }
    for (int r = 0; r < 4; r++)
        c[r] = C[(g + r / 2 * 8) * 8 + i + r % 2];
    mma_bf16(c, a, b);
    for (int r = 0; r < 4; r++)
        C[(g + r / 2 * 8) * 8 + i + r % 2] = c[r];
}

static void a_tile_is_the_plain_product(void **)
{
    __nv_bfloat16 A[16 * 16], B[16 * 8];
    float C[16 * 8], want[16 * 8];
    for (int i = 0; i < 16 * 16; i++)
        A[i] = __float2bfloat16(static_cast<float>(i * 7 % 31 - 15));
    for (int i = 0; i < 16 * 8; i++) {
        B[i] = __float2bfloat16(static_cast<float>(i * 5 % 23 - 11));
        C[i] = want[i] = static_cast<float>(i);
    }
    for (int r = 0; r < 16; r++)
        for (int n = 0; n < 8; n++)
            for (int k = 0; k < 16; k++)
                want[r * 8 + n] += __bfloat162float(A[r * 16 + k]) * __bfloat162float(B[k * 8 + n]);
    LAUNCH(tile, 1, 32, 0, nullptr, A, B, C);
    assert_memory_equal(C, want, sizeof(C));
}

/* ---- numbers, atomics ---- */

__global__ void atomics(unsigned *u, float *f, unsigned long long *l)
{
    atomicAdd(&u[0], 1u);
    atomicMax(&u[1], threadIdx.x);
    atomicMin(&u[2], threadIdx.x + 3);
    atomicOr(&u[3], 1u << threadIdx.x % 32);
    atomicCAS(&u[4], 9u, threadIdx.x + 10);
    atomicAdd(f, 0.5f);
    atomicMax(l, static_cast<unsigned long long>(threadIdx.x) << 40);
}

static void atomics_and_bits_do_what_they_say(void **)
{
    unsigned u[5] = { 0, 0, 100, 0, 9 };
    float f = 1;
    unsigned long long l = 5;
    LAUNCH(atomics, 2, dim3(8, 4, 2), 0, nullptr, u, &f, &l);
    assert_int_equal(u[0], 128);
    assert_int_equal(u[1], 7);
    assert_int_equal(u[2], 3);
    assert_int_equal(u[3], 0xff);
    assert_in_range(u[4], 10, 17);
    assert_true(f == 65.0f && l == 7ull << 40);
    assert_int_equal(__fns(0x00f0u, 0, 2), 5);
    assert_int_equal(__fns(0x00f0u, 31, -1), 7);
    assert_int_equal(__fns(0x00f0u, 0, 5), 0xffffffffu);
    assert_int_equal(__clz(1), 31);
    assert_int_equal(__ffs(0x50), 5);
    assert_int_equal(__brev(3u), 0xc0000000u);
    const float halves[] = { 1.00390625f, 1.01171875f, 1.005f, -3.0f };
    const uint16_t want[] = { 0x3f80, 0x3f82, 0x3f81, 0xc040 };
    for (int i = 0; i < 4; i++)
        assert_int_equal(__bfloat16_as_ushort(__float2bfloat16(halves[i])), want[i]);
}

/* ---- wrong use ---- */

__global__ void half_a_barrier(int)
{
    if (threadIdx.x < 32)
        __syncthreads();
}

__global__ void two_barriers(int)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}

__global__ void gone_lane(int)
{
    if (threadIdx.x != 3)
        __syncwarp();
}

__global__ void other_lane(int)
{
    if (threadIdx.x == 3)
        __syncthreads();
    __ballot_sync(~0u, 1);
    if (threadIdx.x != 3)
        __syncthreads();
}

__global__ void outside(int)
{
    if (threadIdx.x < 16)
        __shfl_sync(0xffffu, 1, 20);
}

__global__ void not_its_own(int)
{
    __ballot_sync(0xfffeu, 1);
}

__global__ void past_the_end(int)
{
    DYNAMIC_SHARED(int, all);
    all[threadIdx.x + 1] = 0;
}

__global__ void nothing(int)
{
}

struct wrong_use {
    void (*kernel)(int);
    unsigned grid, block;
    size_t shared;
    const char *sentence;
};

/* The child's stderr; it must have aborted. */
static void assert_aborts(const wrong_use *w)
{
    int ends[2], status;
    char said[1000] = "";
    assert_int_equal(pipe(ends), 0);
    fflush(nullptr);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        signal(SIGABRT, SIG_DFL);
        LAUNCH(w->kernel, w->grid, w->block, w->shared, nullptr, 0);
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], said + n, sizeof(said) - 1 - n)) > 0;)
        n += static_cast<size_t>(got);
    close(ends[0]);
    waitpid(child, &status, 0);
    if (!strstr(said, w->sentence))
        fail_msg("'%s' does not say '%s'", said, w->sentence);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void wrong_use_is_named(void **)
{
    static const wrong_use all[] = {
        { half_a_barrier, 1, 64, 0, "a barrier that not all threads reach: thread (32, 0, 0)" },
        { two_barriers, 1, 64, 0, "waits at another barrier" },
        { gone_lane, 1, 32, 0, "lane 3 of the mask ffffffff has ended" },
        { nothing, 1, 1025, 0, "a block of 1025 x 1 x 1 threads" },
        { nothing, 0, 32, 0, "a grid of 0 x 1 x 1 blocks" },
        { nothing, 1, 32, 50000, "50000 bytes of dynamic shared memory; allowed is 49152" },
        { gone_lane, 1, 20, 0, "lane 3 of the mask ffffffff has ended" },
        { other_lane, 1, 32, 0, "lane 3 of the mask ffffffff waits at" },
        { outside, 1, 32, 0, "a shuffle from lane 20, which is not in the mask 0000ffff" },
        { not_its_own, 1, 16, 0, "its own lane, 0, is not in the mask 0000fffe" },
        { past_the_end, 1, 32, 128, "byte 128 of 128 of dynamic shared memory was written" },
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        assert_aborts(&all[i]);
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_add_up_with_barriers),
        cmocka_unit_test(a_barrier_that_is_missing_is_seen_in_some_turn),
        cmocka_unit_test(barriers_count),
        cmocka_unit_test(lanes_exchange_what_the_manual_says),
        cmocka_unit_test(a_tile_is_the_plain_product),
        cmocka_unit_test(atomics_and_bits_do_what_they_say),
        cmocka_unit_test(wrong_use_is_named),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
