/*
 * engine.c: see engine.h.
 */
#include "engine.h"

#include <dlfcn.h>
#include <stdlib.h>

/*
 * OpenBLAS runs AVX2's kernels on AMD's processors, also on those that have AVX-512, with which
 * training takes two thirds of the time. It looks at this variable when it is loaded.
 */
static void choose_blas(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        setenv("OPENBLAS_CORETYPE", "SKYLAKEX", 0);
#endif
}

const struct engine *engine_open(struct buf *err)
{
    struct buf path = BUF_INIT;
    choose_blas();
    program_dir(&path);
    buf_adds(&path, "/seqtopk-torch.so");
    void *so = dlopen(path.s, RTLD_NOW | RTLD_GLOBAL);
    const struct engine *engine = so ? dlsym(so, "seqtopk_engine") : NULL;
    if (!engine)
        fail(err, "the engine could not be opened: %s", dlerror());
    buf_release(&path);
    return engine;
}
