/*
 * cuda_device.h: where a test of kernels keeps what they read and write: on the GPU for
 * test_NAME_gpu, in plain memory for test_NAME, whose kernels run on the CPU (cuda_host.h).
 * A test skips where cuda_device_lacks() says why: the GPU is for SEQTOPK_TEST_DEVICE=cuda, and then
 * has to be there.
 */
#ifndef CUDA_DEVICE_H
#define CUDA_DEVICE_H

#include "util.h"

#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* NULL: kernels can be run; else why not. */
const char *cuda_device_lacks(void);
/* Memory of the device, with a copy of the host's `from`, or NaNs where that is NULL. */
void *cuda_device_new(const void *from, size_t bytes);
void cuda_device_free(void *p);
void cuda_device_put(void *to, const void *from, size_t bytes); /* from the host's memory */
void cuda_device_get(void *to, const void *from, size_t bytes); /* to it, when all has run */
/* Milliseconds since the last call, when all has run; to be told from noise by repeating. */
double cuda_device_ms(void);
/* Does it time a GPU? The CPU's times mean nothing. */
bool cuda_device_real(void);
/* Under a sanitizer, SEQTOPK_TEST_SMALL=1: little work, and nothing is timed. */
static inline bool cuda_device_small(void)
{
    const char *value = getenv("SEQTOPK_TEST_SMALL");
    return value && strcmp(value, "1") == 0;
}
/* NULL: times are worth to be looked at; else why not. */
static inline const char *cuda_device_untimed(void)
{
    return cuda_device_lacks()   ? cuda_device_lacks()
           : !cuda_device_real() ? "the CPU's times mean nothing"
           : cuda_device_small() ? "SEQTOPK_TEST_SMALL: nothing is timed"
                                 : NULL;
}

#ifdef __cplusplus
}
#endif

#endif
