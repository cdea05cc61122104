/*
 * topp.c: a token's best experts until they have more than `p` of its scores (Huang et al. 2024,
 * "Harder Tasks Need More Experts"). A token whose router is sure takes few; K decides nothing.
 */
#include "routers/select.h"

static enum router_scope topp_scope(const struct router_args *a)
{
    (void)a;
    return SCOPE_TOKEN;
}

static void topp_select(const struct router_args *a, struct router_state *state,
                        const float *scores, int T, struct selection *out)
{
    (void)state;
    int32_t *best = xmalloc((size_t)a->N * sizeof(*best));
    for (int t = 0; t < T; t++) {
        const float *row = scores + (size_t)t * (size_t)a->N;
        double sum = 0; // of those that are taken, added from the best on
        int n = 0;
        row_best(row, a->N, a->N, best);
        while (n < a->N && sum <= a->p)
            sum += (double)row[best[n++]];
        selection_add_unordered(out, best, n);
    }
    free(best);
}

static const struct router_param topp_params[] = {
    {
        .name = "p",
        .help = "the experts of a token have more than this of its scores, the last one included",
        .offset = offsetof(struct router_args, p),
        .real = true,
        .hi = { .c = 1 },
        .real_def = 0.4,
    },
    { .name = NULL },
};

const struct router router_topp = {
    .name = "topp",
    .help = "each token's best experts until their scores sum to more than p; K does not matter",
    .params = topp_params,
    .least = { .c = 1 },
    .most = { .n = 1 },
    .ignores_k = true,
    .scope = topp_scope,
    .select = topp_select,
};
