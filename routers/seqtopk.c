/*
 * seqtopk.c: the T*K best pairs of a sequence (arXiv 2511.06494), in three modes:
 *
 *   global  over the whole sequence at once; exactly T*K; not causal
 *   online  token t takes its scores that are among the t*K largest so far, their number clamped
 *           into [min, max]; causal; not exactly T*K
 *   strict  ours: as online, but never more than t*K in all by token t
 *
 * `segment` (ours) starts the pool of global and the Expert Cache of the others afresh.
 * `prefill` global: a prompt is routed by global, and online or strict go on behind it from an
 * Expert Cache with all of the prompt's scores in it.
 */
#include "routers/expert_cache.h"
#include "routers/select.h"

static const char *const modes[] = {
    [SEQTOPK_GLOBAL] = "global", [SEQTOPK_ONLINE] = "online", [SEQTOPK_STRICT] = "strict", NULL
};
enum { PREFILL_ONLINE, PREFILL_GLOBAL };
static const char *const prefills[] = { "online", "global", NULL };

struct router_state {
    struct expert_cache cache;
    int tokens;   /* of this segment so far */
    int64_t used; /* pairs they took */
    bool begun;   /* the prompt was routed; only where it is by global */
};

static enum router_scope seqtopk_scope(const struct router_args *a)
{
    if (a->mode == SEQTOPK_GLOBAL)
        return SCOPE_SEQUENCE;
    return a->prefill == PREFILL_GLOBAL ? SCOPE_PROMPT : SCOPE_PREFIX;
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

static size_t seqtopk_bytes(const struct router_state *state)
{
    return sizeof(*state) + expert_cache_bytes(&state->cache);
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
    if (a->mode == SEQTOPK_STRICT) {
        // The tokens before took (t-1)*K at most, so at least K is left, which is not below min.
        int64_t left = (int64_t)state->tokens * a->K - state->used;
        n = n > left ? (int)left : n;
    }
    state->used += n;
    return n;
}

/* A new segment begins where the last one is full. */
static void next_token(const struct router_args *a, struct router_state *state)
{
    if (a->segment > 0 && state->tokens == a->segment) {
        expert_cache_clear(&state->cache);
        state->tokens = 0;
        state->used = 0;
    }
}

static void online_select(const struct router_args *a, struct router_state *state,
                          const float *scores, int T, struct selection *out)
{
    int32_t *best = xmalloc((size_t)a->max * sizeof(*best));
    for (int t = 0; t < T; t++) {
        const float *row = scores + (size_t)t * (size_t)a->N;
        next_token(a, state);
        row_best(row, a->N, a->max, best);
        selection_add_unordered(out, best, online_count(a, state, row, best));
    }
    free(best);
}

static void global_select(const struct router_args *a, const float *scores, int T,
                          struct selection *out)
{
    int step = a->segment > 0 ? a->segment : T;
    for (int t = 0; t < T; t += step)
        select_pool(scores + (size_t)t * (size_t)a->N, T - t < step ? T - t : step, a, out);
}

/* A prompt by global; what comes behind it finds the cache that online would have left. */
static void prompt_select(const struct router_args *a, struct router_state *state,
                          const float *scores, int T, struct selection *out)
{
    global_select(a, scores, T, out);
    for (int t = 0; t < T; t++) {
        next_token(a, state);
        expert_cache_add(&state->cache, scores + (size_t)t * (size_t)a->N, a->N, a->K);
        state->tokens++;
        state->used += a->K; // by the segment's end this is what global took
    }
    state->begun = true;
}

static void seqtopk_select(const struct router_args *a, struct router_state *state,
                           const float *scores, int T, struct selection *out)
{
    if (a->mode == SEQTOPK_GLOBAL)
        global_select(a, scores, T, out);
    else if (a->prefill == PREFILL_GLOBAL && !state->begun)
        prompt_select(a, state, scores, T, out);
    else
        online_select(a, state, scores, T, out);
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
    {
        .name = "prefill",
        .help = "how online and strict route a prompt: online, or global",
        .offset = offsetof(struct router_args, prefill),
        .choices = prefills,
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
    .bytes = seqtopk_bytes,
    .select = seqtopk_select,
};
