/*
 * threshold.c: expert e takes every token whose raw logit is at least its cutoff (arXiv
 * 2603.11535). The cutoffs are learnt in training, as the moving average of each expert's k-th
 * largest logit, with k = T*K/N rounded down and 1 at least: on average a token gets K experts, and
 * it may get any number, none included. Whether it gets one hangs on nothing but the token.
 *
 * Where no cutoffs are learnt yet, in the first step of a training, each expert's cutoff is the
 * k-th largest logit of the pool itself.
 * Leaves out: the average (cutoffs.h).
 */
#include "routers/select.h"

static enum router_scope threshold_scope(const struct router_args *a)
{
    (void)a;
    return SCOPE_TOKEN;
}

static void threshold_select(const struct router_args *a, struct router_state *state,
                             const float *logits, int T, struct selection *out)
{
    (void)state;
    if (T == 0)
        return;
    size_t N = (size_t)a->N;
    float *own = xmalloc(N * sizeof(*own));
    if (!a->cutoffs)
        kth_of_each(logits, T, a->N, a->K, own);
    const float *cutoffs = a->cutoffs ? a->cutoffs : own;
    int32_t *experts = xmalloc(N * sizeof(*experts));
    for (int t = 0; t < T; t++, logits += N) {
        int n = 0;
        for (int e = 0; e < a->N; e++)
            if (logits[e] >= cutoffs[e])
                experts[n++] = e;
        selection_add(out, experts, n);
    }
    free(experts);
    free(own);
}

static const struct router_param threshold_params[] = {
    {
        .name = "decay",
        .help = "in training: what a step counts beside the one after it",
        .offset = offsetof(struct router_args, decay),
        .real = true,
        .hi = { .c = 1 },
        .real_def = 0.99,
    },
    { .name = NULL },
};

const struct router router_threshold = {
    .name = "threshold",
    .help = "each expert's tokens with a logit of at least its cutoff, which training learns",
    .params = threshold_params,
    .most = { .n = 1 },
    .logits = true,
    .learns = true,
    .scope = threshold_scope,
    .select = threshold_select,
};
