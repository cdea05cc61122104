/*
 * expert_choice.c: each expert takes its floor(T*K/N) best tokens of the sequence (Zhou et al.
 * 2022). Experts are loaded alike; a token may get any number of them, none included, and where
 * T*K is below N no token gets any.
 */
#include "routers/select.h"

static enum router_scope expert_choice_scope(const struct router_args *a)
{
    (void)a;
    return SCOPE_SEQUENCE;
}

/* Sets taken[t, e] for the n > 0 best tokens of expert e. keys: scratch [2 * T] */
static void take_best(const float *scores, int T, int N, int e, size_t n, uint64_t *keys,
                      bool *taken)
{
    for (int t = 0; t < T; t++)
        keys[t] = pair_key(scores[(size_t)t * (size_t)N + (size_t)e], (uint32_t)t);
    uint64_t last = kth_key(keys, (size_t)T, n, keys + T);
    for (int t = 0; t < T; t++)
        taken[(size_t)t * (size_t)N + (size_t)e] = keys[t] <= last;
}

static void expert_choice_select(const struct router_args *a, struct router_state *state,
                                 const float *scores, int T, struct selection *out)
{
    (void)state;
    size_t N = (size_t)a->N, each = (size_t)T * (size_t)a->K / N;
    bool *taken = xcalloc((size_t)T * N, sizeof(*taken));
    uint64_t *keys = xmalloc(2 * (size_t)T * sizeof(*keys));
    int32_t *experts = xmalloc(N * sizeof(*experts));
    for (int e = 0; e < a->N && each > 0; e++)
        take_best(scores, T, a->N, e, each, keys, taken);
    for (int t = 0; t < T; t++) {
        int n = 0;
        for (int e = 0; e < a->N; e++)
            if (taken[(size_t)t * N + (size_t)e])
                experts[n++] = e;
        selection_add(out, experts, n);
    }
    free(experts);
    free(keys);
    free(taken);
}

static const struct router_param expert_choice_params[] = {
    { .name = NULL },
};

const struct router router_expert_choice = {
    .name = "expert_choice",
    .help = "each expert's T*K/N best tokens of the sequence, rounded down",
    .params = expert_choice_params,
    .most = { .n = 1 },
    .scope = expert_choice_scope,
    .select = expert_choice_select,
};
