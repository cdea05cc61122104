/*
 * cuda_arrays.cuh: what tests of kernels draw, round to bfloat16, put into a device's memory and get
 * back, see cuda_device.h.
 */
#ifndef CUDA_ARRAYS_CUH
#define CUDA_ARRAYS_CUH

#include "tests/cuda_device.h"

#include <cstring>
#include <vector>

typedef std::vector<float> floats;

/* From -1 to 1, the same in every run. */
inline uint32_t noise_state = 1;
inline float noise()
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return static_cast<float>(noise_state >> 8) / (1 << 23) - 1;
}

inline floats noise_of(size_t n, float scale = 1)
{
    floats v(n);
    for (float &x : v)
        x = noise() * scale;
    return v;
}

inline uint16_t halved(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof(u));
    return static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

inline float widened(uint16_t h)
{
    uint32_t u = static_cast<uint32_t>(h) << 16;
    float x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

/* Device memory of one test. */
struct device_memory {
    std::vector<void *> all;
    device_memory() = default;
    device_memory(const device_memory &) = delete;
    device_memory &operator=(const device_memory &) = delete;
    ~device_memory()
    {
        for (void *p : all)
            cuda_device_free(p);
    }
    template <typename T> T *put(const std::vector<T> &v)
    {
        all.push_back(cuda_device_new(v.data(), v.size() * sizeof(T)));
        return static_cast<T *>(all.back());
    }
    template <typename T> T *room(size_t n)
    {
        all.push_back(cuda_device_new(nullptr, n * sizeof(T)));
        return static_cast<T *>(all.back());
    }
    /* In bfloat16 where it is half; v becomes what was kept of it. */
    void *put(floats &v, bool half)
    {
        if (!half)
            return put(v);
        std::vector<uint16_t> h(v.size());
        for (size_t i = 0; i < v.size(); i++)
            v[i] = widened(h[i] = halved(v[i]));
        return put(h);
    }
};

template <typename T> std::vector<T> got(const T *p, size_t n)
{
    std::vector<T> v(n);
    cuda_device_get(v.data(), p, n * sizeof(T));
    return v;
}

#endif
