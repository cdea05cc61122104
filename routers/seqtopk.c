/*
 * seqtopk.c: the T*K best pairs of a sequence (arXiv 2511.06494), in three modes:
 *
 *   global  over the whole sequence at once; exactly T*K; not causal
 *   online  token t takes its scores that are among the t*K largest so far, their number clamped
 *           into [min, max]; causal; not exactly T*K
 *   strict  ours: as online, but never more than t*K in all by token t
 *
 * `segment` (ours) starts the pool of global and the Expert Cache of the others afresh.
 */
#include "routers/expert_cache.h"
#include "routers/select.h"

enum { MODE_GLOBAL, MODE_ONLINE, MODE_STRICT };
static const char *const modes[] = { "global", "online", "strict", NULL };

struct router_state {
    struct expert_cache cache;
    int tokens;   /* of this segment so far */
    int64_t used; /* pairs they took */
};

static enum router_scope seqtopk_scope(const struct router_args *a)
{
    return a->mode == MODE_GLOBAL ? SCOPE_SEQUENCE : SCOPE_PREFIX;
}

static struct router_state *seqtopk_open(const struct router_args *a)
{
    (void)a;
    return xcalloc(1, sizeof(struct router_state));
}

static void seqtopk_close(struct router_state *state)
{
    expert_cache_release(&state->cache);
    free(state);
}

/* How many of the token's best experts it takes. best: [max], best first */
static int online_count(const struct router_args *a, struct router_state *state, const float *row,
                        const int32_t *best)
{
    float c = expert_cache_add(&state->cache, row, a->N, a->K);
    state->tokens++;
    int n = a->min;
    while (n < a->max && row[best[n]] >= c)
        n++;
    if (a->mode == MODE_STRICT) {
        // The tokens before took (t-1)*K at most, so at least K is left, which is not below min.
        int64_t left = (int64_t)state->tokens * a->K - state->used;
        n = n > left ? (int)left : n;
    }
    state->used += n;
    return n;
}

static void online_select(const struct router_args *a, struct router_state *state,
                          const float *scores, int T, struct selection *out)
{
    int32_t *best = xmalloc((size_t)a->max * sizeof(*best));
    for (int t = 0; t < T; t++) {
        const float *row = scores + (size_t)t * (size_t)a->N;
        if (a->segment > 0 && state->tokens == a->segment) {
            expert_cache_clear(&state->cache);
            state->tokens = 0;
            state->used = 0;
        }
        row_best(row, a->N, a->max, best);
        selection_add_unordered(out, best, online_count(a, state, row, best));
    }
    free(best);
}

static void seqtopk_select(const struct router_args *a, struct router_state *state,
                           const float *scores, int T, struct selection *out)
{
    if (a->mode != MODE_GLOBAL) {
        online_select(a, state, scores, T, out);
        return;
    }
    int step = a->segment > 0 ? a->segment : T;
    for (int t = 0; t < T; t += step)
        select_pool(scores + (size_t)t * (size_t)a->N, T - t < step ? T - t : step, a, out);
}

static const struct router_param seqtopk_params[] = {
    {
        .name = "mode",
        .help = "global, online (causal), strict (causal, never over the budget)",
        .offset = offsetof(struct router_args, mode),
        .choices = modes,
    },
    ROUTER_BOUNDS,
    {
        .name = "segment",
        .help = "tokens after which the pool starts afresh; 0: the whole sequence",
        .offset = offsetof(struct router_args, segment),
        .hi = { .c = 1 << 30 },
    },
    { .name = NULL },
};

const struct router router_seqtopk = {
    .name = "seqtopk",
    .help = "the T*K best token-expert pairs of each sequence",
    .params = seqtopk_params,
    .scope = seqtopk_scope,
    .open = seqtopk_open,
    .close = seqtopk_close,
    .select = seqtopk_select,
};
