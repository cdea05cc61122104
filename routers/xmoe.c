/*
 * xmoe.c: an expert of a token stays while the better ones have less than `threshold` of its scores
 * (Yang et al. 2024, "XMoE"). It is topp but for a sum that meets the number exactly: that is
 * enough here, and not yet there. K decides nothing.
 */
#include "routers/select.h"

static enum router_scope xmoe_scope(const struct router_args *a)
{
    (void)a;
    return SCOPE_TOKEN;
}

static void xmoe_select(const struct router_args *a, struct router_state *state,
                        const float *scores, int T, struct selection *out)
{
    (void)state;
    int32_t *best = xmalloc((size_t)a->N * sizeof(*best));
    for (int t = 0; t < T; t++) {
        const float *row = scores + (size_t)t * (size_t)a->N;
        double better = 0; // the sum of those that are taken, added from the best on
        int n = 0;
        row_best(row, a->N, a->N, best);
        while (n < a->N && better < a->threshold)
            better += (double)row[best[n++]];
        selection_add_unordered(out, best, n);
    }
    free(best);
}

static const struct router_param xmoe_params[] = {
    {
        .name = "threshold",
        .help = "an expert stays while the better ones have less than this of the token's scores",
        .offset = offsetof(struct router_args, threshold),
        .real = true,
        .hi = { .c = 1 },
        .real_def = 0.9,
    },
    { .name = NULL },
};

const struct router router_xmoe = {
    .name = "xmoe",
    .help = "each token's best experts while the better ones sum to less than threshold; K does "
            "not matter",
    .params = xmoe_params,
    .least = { .c = 1 },
    .most = { .n = 1 },
    .ignores_k = true,
    .scope = xmoe_scope,
    .select = xmoe_select,
};
