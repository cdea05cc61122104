/*
 * cuda_device.cu: see cuda_device.h. A call that fails ends the test with CUDA's sentence.
 */
#include "cuda/gpu.h"

#include "tests/cuda_device.h"

static void check(cudaError_t code, const char *what)
{
    if (code != cudaSuccess)
        BUG("%s: %s", what, cudaGetErrorString(code));
}

bool cuda_device_real(void)
{
#ifdef CUDA_HOST
    return false;
#else
    return true;
#endif
}

const char *cuda_device_lacks(void)
{
#ifndef CUDA_HOST
    const char *name = getenv("SEQTOPK_TEST_DEVICE");
    int n = 0;
    if (!name || strncmp(name, "cuda", 4) != 0)
        return "SEQTOPK_TEST_DEVICE=cuda is not set";
    check(cudaGetDeviceCount(&n), "SEQTOPK_TEST_DEVICE=cuda");
    if (n == 0)
        BUG("SEQTOPK_TEST_DEVICE=cuda, and there is no GPU");
#endif
    return NULL;
}

void *cuda_device_new(const void *from, size_t bytes)
{
    char *p = NULL;
    check(cudaMalloc(&p, bytes ? bytes : 1), "memory");
    check(cudaMemset(p, 0xff, bytes), "filling memory");
    if (from)
        cuda_device_put(p, from, bytes);
    return p;
}

void cuda_device_free(void *p)
{
    check(cudaFree(p), "freeing memory");
}

void cuda_device_put(void *to, const void *from, size_t bytes)
{
    check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copying to the device");
}

void cuda_device_get(void *to, const void *from, size_t bytes)
{
    check(cudaDeviceSynchronize(), "a kernel");
    check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copying from the device");
}

double cuda_device_ms(void)
{
    static double last;
    check(cudaDeviceSynchronize(), "a kernel");
    double now = now_seconds(), ms = (now - last) * 1e3;
    last = now;
    return ms;
}
