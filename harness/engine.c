/*
 * engine.c: see engine.h.
 */
#include "engine.h"

#include <dlfcn.h>

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
