/*
 * topk.c: the K best experts of each token. What every mixture of experts does by default, and
 * the baseline of everything here. The smallest router: copy this file to begin a new one.
 */
#include "routers/select.h"

static enum router_scope topk_scope(const struct router_args *a)
{
    (void)a;
    return SCOPE_TOKEN;
}

static void topk_select(const struct router_args *a, struct router_state *state,
                        const float *scores, int T, struct selection *out)
{
    (void)state;
    int32_t *best = xmalloc((size_t)a->K * sizeof(*best));
    for (int t = 0; t < T; t++) {
        row_best(scores + (size_t)t * (size_t)a->N, a->N, a->K, best);
        selection_add_unordered(out, best, a->K);
    }
    free(best);
}

static const struct router_param topk_params[] = {
    { .name = NULL },
};

const struct router router_topk = {
    .name = "topk",
    .help = "the K best experts of each token",
    .params = topk_params,
    .least = { .k = 1 },
    .most = { .k = 1 },
    .scope = topk_scope,
    .select = topk_select,
};
