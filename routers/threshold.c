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

/* Each expert's k-th largest logit of the pool. logits: [T, N]; out: [N] */
static void kth_logits(const float *logits, int T, int K, int N, float *out)
{
    size_t k = (size_t)T * (size_t)K / (size_t)N, tokens = (size_t)T;
    uint64_t *keys = xmalloc(2 * tokens * sizeof(*keys));
    for (size_t e = 0; e < (size_t)N; e++) {
        for (size_t t = 0; t < tokens; t++)
            keys[t] = pair_key(logits[t * (size_t)N + e], (uint32_t)t);
        uint32_t token = (uint32_t)kth_key(keys, tokens, k ? k : 1, keys + tokens);
        out[e] = logits[token * (size_t)N + e];
    }
    free(keys);
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
        kth_logits(logits, T, a->K, a->N, own);
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
