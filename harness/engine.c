/*
 * engine.c: see engine.h.
 */
#include "engine.h"

#include <dlfcn.h>
#include <unistd.h>

void program_dir(struct buf *out)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n > 1)
        buf_add(out, path, (size_t)n - 1);
    else
        buf_adds(out, ".");
}

const struct engine *engine_open(struct buf *err)
{
    struct buf path = BUF_INIT;
    program_dir(&path);
    buf_adds(&path, "/seqtopk-torch.so");
    void *so = dlopen(path.s, RTLD_NOW | RTLD_GLOBAL);
    const struct engine *engine = so ? dlsym(so, "seqtopk_engine") : NULL;
    if (!engine)
        fail(err, "the engine could not be opened: %s", dlerror());
    buf_release(&path);
    return engine;
}
