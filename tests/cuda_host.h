/*
 * cuda_host.h: CUDA on the CPU, for tests: compiles a .cu file with
 *
 *     g++ -x c++ -std=c++17 -DCUDA_HOST -include tests/cuda_host.h file.cu
 *
 * and runs its kernels, linked with cuda_host.cpp. Each thread of a block is a fiber that runs until
 * it waits for others; blocks run one after the other. "Device memory" is plain memory.
 *
 * Wrong use ends the program with a sentence that names kernel, thread and line: a barrier that not
 * all threads of the block reach, threads that wait at different barriers, a lane of a mask that is
 * gone or waits elsewhere, a shuffle from a lane outside the mask, a launch that a GPU would refuse,
 * dynamic shared memory written past its end. Launches take turns in the order of blocks and
 * threads: from the first, from the last, shuffled; so a kernel that lacks a barrier, or hangs on
 * the order of its blocks, gives other results in some launches, and a test sees it.
 * Dynamic shared memory is filled with NaNs before each block.
 *
 * Numbers are those of a GPU without fast math and without joined products and sums, save those
 * functions of the library that a GPU rounds otherwise (expf, logf ...).
 * Leaves out: blocks that wait for one another, threads that wait for memory to change,
 * __activemask(), races within one stretch between barriers that no order shows.
 */
#ifndef CUDA_HOST_H
#define CUDA_HOST_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

/* ---- types ---- */

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
#define VECTOR_TYPES_(T, name)                                      \
    struct alignas(2 * sizeof(T)) name##2                           \
    {                                                               \
        T x, y;                                                     \
    };                                                              \
    struct alignas(sizeof(T) * 4 < 16 ? 4 * sizeof(T) : 16) name##4 \
    {                                                               \
        T x, y, z, w;                                               \
    };                                                              \
    inline name##2 make_##name##2(T x, T y)                         \
    {                                                               \
        return { x, y };                                            \
    }                                                               \
    inline name##4 make_##name##4(T x, T y, T z, T w)               \
    {                                                               \
        return { x, y, z, w };                                      \
    }
VECTOR_TYPES_(int, int)
VECTOR_TYPES_(unsigned, uint)
VECTOR_TYPES_(float, float)
VECTOR_TYPES_(double, double)
VECTOR_TYPES_(unsigned char, uchar)
VECTOR_TYPES_(unsigned short, ushort)
#undef VECTOR_TYPES_

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

/* ---- launches ---- */

/* A kernel with its arguments, which each thread calls. */
struct cuda_host_call {
    virtual void run() const = 0;
};
void cuda_host_run(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared,
                   const cuda_host_call &call);
void cuda_host_allow(const void *kernel, size_t bytes);
extern unsigned char *cuda_host_shared;

template <class... P, class... A>
void cuda_host_launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                      const void *stream, A... args)
{
    static_assert((std::is_trivially_copyable<P>::value && ... && true), "kernels take plain data");
    static_assert((sizeof(P) + ... + 0) <= 4000, "a kernel's arguments are 4 kB at most");
    (void)stream;
    struct bound : cuda_host_call {
        void (*kernel)(P...);
        std::tuple<P...> args;
        bound(void (*k)(P...), A... a) : kernel(k), args(a...)
        {
        }
        void run() const override
        {
            std::apply(kernel, args);
        }
    } call(kernel, args...);
    cuda_host_run(name, reinterpret_cast<const void *>(kernel), grid, block, shared, call);
}

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    cuda_host_launch(#kernel, kernel, (grid), (block), (shared_bytes), (stream), __VA_ARGS__)
#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(cuda_host_shared)
#define gpu_allow_shared(kernel, bytes) \
    (cuda_host_allow(reinterpret_cast<const void *>(kernel), (bytes)), cudaSuccess)

/* ---- the runtime: everything has happened when a call returns ---- */

typedef void *cudaStream_t;
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};

inline cudaError_t cudaGetLastError()
{
    return cudaSuccess;
}
inline const char *cudaGetErrorString(cudaError_t code)
{
    return code == cudaSuccess ? "no error" : "out of memory";
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return cudaSuccess;
}
inline cudaError_t cudaDeviceSynchronize()
{
    return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    *stream = nullptr;
    return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t)
{
    return cudaSuccess;
}
/* Memory from cudaMalloc() holds NaNs, so that what nobody wrote is seen. */
template <class T> cudaError_t cudaMalloc(T **p, size_t bytes)
{
    void *got = nullptr;
    if (posix_memalign(&got, 256, bytes ? bytes : 1))
        return cudaErrorMemoryAllocation;
    memset(got, 0xff, bytes);
    *p = static_cast<T *>(got);
    return cudaSuccess;
}
template <class T> cudaError_t cudaMallocHost(T **p, size_t bytes)
{
    return cudaMalloc(p, bytes);
}
inline cudaError_t cudaFree(void *p)
{
    free(p);
    return cudaSuccess;
}
inline cudaError_t cudaFreeHost(void *p)
{
    return cudaFree(p);
}
inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind,
                                   cudaStream_t = nullptr)
{
    if (n)
        memcpy(to, from, n);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind kind)
{
    return cudaMemcpyAsync(to, from, n, kind);
}
inline cudaError_t cudaMemsetAsync(void *to, int byte, size_t n, cudaStream_t = nullptr)
{
    if (n)
        memset(to, byte, n);
    return cudaSuccess;
}
inline cudaError_t cudaMemset(void *to, int byte, size_t n)
{
    return cudaMemsetAsync(to, byte, n);
}

/* ---- what a block's threads do together ---- */

/* One meeting of a warp's lanes or of a block's threads, and where in the source it stands. */
enum cuda_host_op {
    CUDA_SYNCTHREADS,
    CUDA_SYNCTHREADS_COUNT,
    CUDA_SYNCWARP,
    CUDA_SHFL,
    CUDA_BALLOT,
    CUDA_MATCH,
    CUDA_ADD,
    CUDA_UMIN,
    CUDA_UMAX,
    CUDA_MIN,
    CUDA_MAX,
    CUDA_AND,
    CUDA_OR,
    CUDA_XOR,
    CUDA_MMA,
};
/* `mask` is of the lanes that meet, ~0 for a block's; a shuffle's `lane` is the source. */
uint64_t cuda_host_meet(cuda_host_op op, unsigned mask, uint64_t value, unsigned lane,
                        const char *file, int line);
unsigned cuda_host_lane();

#define SITE_ const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(SITE_)
{
    cuda_host_meet(CUDA_SYNCTHREADS, ~0u, 0, 0, file, line);
}
inline int __syncthreads_count(int p, SITE_)
{
    return static_cast<int>(cuda_host_meet(CUDA_SYNCTHREADS_COUNT, ~0u, p != 0, 0, file, line));
}
inline int __syncthreads_or(int p, SITE_)
{
    return __syncthreads_count(p, file, line) > 0;
}
inline int __syncthreads_and(int p, SITE_)
{
    return __syncthreads_count(!p, file, line) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, SITE_)
{
    cuda_host_meet(CUDA_SYNCWARP, mask, 0, 0, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int p, SITE_)
{
    return static_cast<unsigned>(cuda_host_meet(CUDA_BALLOT, mask, p != 0, 0, file, line));
}
inline int __any_sync(unsigned mask, int p, SITE_)
{
    return __ballot_sync(mask, p, file, line) != 0;
}
inline int __all_sync(unsigned mask, int p, SITE_)
{
    return __ballot_sync(mask, !p, file, line) == 0;
}

/* Any plain value of up to 8 bytes goes through a register of 8. */
template <class T> uint64_t cuda_host_bits(T value)
{
    static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 8, "up to 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(value));
    return bits;
}
template <class T> T cuda_host_value(uint64_t bits)
{
    T value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}
template <class T>
T cuda_host_shuffle(unsigned mask, T v, unsigned from, const char *file, int line)
{
    return cuda_host_value<T>(cuda_host_meet(CUDA_SHFL, mask, cuda_host_bits(v), from, file, line));
}
/* Of groups of `width` lanes, a power of two up to 32. */
template <class T> T __shfl_sync(unsigned mask, T v, int src, int width = 32, SITE_)
{
    unsigned lane = cuda_host_lane(), group = lane & ~(static_cast<unsigned>(width) - 1);
    return cuda_host_shuffle(mask, v, group + (static_cast<unsigned>(src) & (width - 1u)), file,
                             line);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, SITE_)
{
    unsigned lane = cuda_host_lane(), in = lane & (static_cast<unsigned>(width) - 1);
    return cuda_host_shuffle(mask, v, in < delta ? lane : lane - delta, file, line);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, SITE_)
{
    unsigned lane = cuda_host_lane(), in = lane & (static_cast<unsigned>(width) - 1);
    bool out = in + delta >= static_cast<unsigned>(width);
    return cuda_host_shuffle(mask, v, out ? lane : lane + delta, file, line);
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32, SITE_)
{
    unsigned lane = cuda_host_lane(), to = lane ^ static_cast<unsigned>(bits);
    bool out = (to & ~(width - 1u)) > (lane & ~(width - 1u));
    return cuda_host_shuffle(mask, v, out ? lane : to, file, line);
}
template <class T> unsigned __match_any_sync(unsigned mask, T v, SITE_)
{
    return static_cast<unsigned>(
        cuda_host_meet(CUDA_MATCH, mask, cuda_host_bits(v), 0, file, line));
}
#define REDUCE_(name, T, op)                                                               \
    inline T __reduce_##name##_sync(unsigned mask, T v, SITE_)                             \
    {                                                                                      \
        return static_cast<T>(cuda_host_meet(op, mask, cuda_host_bits(v), 0, file, line)); \
    }
REDUCE_(add, unsigned, CUDA_ADD)
REDUCE_(add, int, CUDA_ADD)
REDUCE_(min, unsigned, CUDA_UMIN)
REDUCE_(max, unsigned, CUDA_UMAX)
REDUCE_(min, int, CUDA_MIN)
REDUCE_(max, int, CUDA_MAX)
REDUCE_(and, unsigned, CUDA_AND)
REDUCE_(or, unsigned, CUDA_OR)
REDUCE_(xor, unsigned, CUDA_XOR)
#undef REDUCE_

/* See gpu.h. */
void mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2], SITE_);

#undef SITE_

/* ---- memory ---- */

inline void __threadfence()
{
}
inline void __threadfence_block()
{
}
template <class T> T __ldg(const T *p)
{
    return *p;
}
template <class T> T __ldcg(const T *p)
{
    return *p;
}
template <class T> T __ldcs(const T *p)
{
    return *p;
}
template <class T> void __stcg(T *p, T v)
{
    *p = v;
}
template <class T> void __stcs(T *p, T v)
{
    *p = v;
}
inline uint4 load_once(const void *p)
{
    return *static_cast<const uint4 *>(p);
}

/* The types that CUDA has an atomic for; another is refused by the compiler. */
#define ATOMIC_(T, name, change)     \
    inline T atomic##name(T *p, T v) \
    {                                \
        T old = *p;                  \
        *p = change;                 \
        return old;                  \
    }
#define ATOMIC_WORDS_(name, change) \
    ATOMIC_(int, name, change)      \
    ATOMIC_(unsigned, name, change) \
    ATOMIC_(unsigned long long, name, change)
ATOMIC_WORDS_(Add, old + v)
ATOMIC_(float, Add, old + v)
ATOMIC_(double, Add, old + v)
ATOMIC_(int, Sub, old - v)
ATOMIC_(unsigned, Sub, old - v)
ATOMIC_WORDS_(Max, old > v ? old : v)
ATOMIC_WORDS_(Min, old < v ? old : v)
ATOMIC_WORDS_(Or, old | v)
ATOMIC_WORDS_(And, old &v)
ATOMIC_WORDS_(Xor, old ^ v)
ATOMIC_WORDS_(Exch, v)
ATOMIC_(float, Exch, v)
#undef ATOMIC_WORDS_
#undef ATOMIC_
template <class T> T atomicCAS(T *p, T compare, T v)
{
    static_assert(std::is_integral<T>::value && sizeof(T) >= 2, "words only");
    T old = *p;
    if (old == compare)
        *p = v;
    return old;
}

/* ---- bits and numbers ---- */

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}
inline int __clz(int x)
{
    return x ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}
inline int __clzll(long long x)
{
    return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64;
}
inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
inline int __ffsll(long long x)
{
    return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i++)
        r |= (x >> i & 1) << (31 - i);
    return r;
}
/* The place of the n-th set bit of x at `base` and above (n > 0), or at it and below (n < 0). */
inline unsigned __fns(unsigned x, unsigned base, int n)
{
    int step = n < 0 ? -1 : 1, at = static_cast<int>(base);
    if (n == 0)
        return x >> base & 1 ? base : ~0u;
    for (; at >= 0 && at < 32; at += step)
        if (x >> at & 1 && (n -= step) == 0)
            return static_cast<unsigned>(at);
    return ~0u;
}
inline unsigned __float_as_uint(float x)
{
    return cuda_host_value<unsigned>(cuda_host_bits(x));
}
inline int __float_as_int(float x)
{
    return cuda_host_value<int>(cuda_host_bits(x));
}
inline float __uint_as_float(unsigned x)
{
    return cuda_host_value<float>(cuda_host_bits(x));
}
inline float __int_as_float(int x)
{
    return cuda_host_value<float>(cuda_host_bits(x));
}
inline float __expf(float x)
{
    return expf(x);
}
inline float __logf(float x)
{
    return logf(x);
}
inline float __fdividef(float x, float y)
{
    return x / y;
}
inline float __frcp_rn(float x)
{
    return 1.0f / x;
}
inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
inline float __fadd_rn(float x, float y)
{
    return x + y;
}
inline float __fmul_rn(float x, float y)
{
    return x * y;
}
inline float __fdiv_rn(float x, float y)
{
    return x / y;
}
inline float __fmaf_rn(float x, float y, float z)
{
    return fmaf(x, y, z);
}
inline float __int2float_rn(int x)
{
    return static_cast<float>(x);
}
inline float __uint2float_rn(unsigned x)
{
    return static_cast<float>(x);
}
#define LESSER_(T)            \
    constexpr T min(T a, T b) \
    {                         \
        return b < a ? b : a; \
    }                         \
    constexpr T max(T a, T b) \
    {                         \
        return a < b ? b : a; \
    }
LESSER_(int)
LESSER_(unsigned)
LESSER_(long)
LESSER_(unsigned long)
LESSER_(long long)
LESSER_(unsigned long long)
#undef LESSER_
inline float min(float a, float b)
{
    return fminf(a, b);
}
inline float max(float a, float b)
{
    return fmaxf(a, b);
}

/* ---- bfloat16 ---- */

struct alignas(2) __nv_bfloat16 {
    uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

inline float __bfloat162float(__nv_bfloat16 x)
{
    return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
}
/* To the nearest, of two equally near the even one. */
inline __nv_bfloat16 __float2bfloat16(float x)
{
    unsigned u = __float_as_uint(x);
    if (x != x)
        return { 0x7fff };
    return { static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16) };
}
inline __nv_bfloat16 __float2bfloat16_rn(float x)
{
    return __float2bfloat16(x);
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
    return { __float2bfloat16(x), __float2bfloat16(y) };
}
inline float2 __bfloat1622float2(__nv_bfloat162 v)
{
    return { __bfloat162float(v.x), __bfloat162float(v.y) };
}
inline float __low2float(__nv_bfloat162 v)
{
    return __bfloat162float(v.x);
}
inline float __high2float(__nv_bfloat162 v)
{
    return __bfloat162float(v.y);
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x)
{
    return x.bits;
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x)
{
    return { x };
}

#endif
