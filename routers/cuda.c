/*
 * cuda.c: which routers have a kernel; see cuda.h.
 */
#include "routers/cuda.h"

#include <string.h>

enum { MOST_EXPERTS = 1024 };

static bool is(const struct router *r, const char *name)
{
    return strcmp(r->name, name) == 0;
}

/*
 * The kernel that does what the router does; -1: none. By name, since program and engine have a
 * table of routers each; a router of a recipe may have any name.
 */
static int kind_of(const struct router *r, const struct router_args *args)
{
    if (args->custom)
        return -1;
    if (is(r, "topk"))
        return GPU_TOPK;
    if (is(r, "batchtopk"))
        return GPU_GLOBAL;
    if (is(r, "topp"))
        return GPU_TOPP;
    if (is(r, "xmoe"))
        return GPU_XMOE;
    if (!is(r, "seqtopk"))
        return -1;
    const char *mode = router_mode(r, args);
    return strcmp(mode, "global") == 0   ? GPU_GLOBAL
           : strcmp(mode, "online") == 0 ? GPU_ONLINE
                                         : GPU_STRICT;
}

bool router_on_gpu(const struct router *r, const struct router_args *args, struct gpu_router *out)
{
    int kind = kind_of(r, args);
    if (kind < 0 || args->N > MOST_EXPERTS)
        return false;
    bool seqtopk = is(r, "seqtopk");
    if (out)
        *out = (struct gpu_router){
            .kind = kind,
            .K = args->K,
            .N = args->N,
            .min = kind == GPU_TOPK ? args->K : args->min,
            .max = kind == GPU_TOPK ? args->K : args->max,
            .segment = seqtopk ? args->segment : 0,
            .global_prompt = r->scope(args) == SCOPE_PROMPT,
            .share = kind == GPU_TOPP   ? args->p
                     : kind == GPU_XMOE ? args->threshold
                                        : 0,
        };
    return true;
}
