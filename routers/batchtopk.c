/*
 * batchtopk.c: SeqTopK's global selection with the pool made of `batch` sequences in the order of
 * the documents, or in one that the cell's seed draws. What a sequence gets hangs on its neighbours,
 * which is what it is here to show.
 */
#include "routers/select.h"

static const char *const no_yes[] = { "no", "yes", NULL };

static enum router_scope batchtopk_scope(const struct router_args *a)
{
    (void)a;
    return SCOPE_BATCH;
}

static void batchtopk_select(const struct router_args *a, struct router_state *state,
                             const float *scores, int T, struct selection *out)
{
    (void)state;
    select_pool(scores, T, a, out);
}

static const struct router_param batchtopk_params[] = {
    {
        .name = "batch",
        .help = "sequences in one pool; the last pool may have fewer",
        .offset = offsetof(struct router_args, batch),
        .lo = { .c = 1 },
        .hi = { .c = 4096 },
        .def = { .c = 8 },
    },
    ROUTER_BOUNDS,
    {
        .name = "shuffle",
        .help = "yes: pools are of sequences in an order that the cell's seed draws",
        .offset = offsetof(struct router_args, shuffle),
        .choices = no_yes,
        .later = true,
    },
    { .name = NULL },
};

const struct router router_batchtopk = {
    .name = "batchtopk",
    .help = "the best pairs of a whole batch of sequences",
    .params = batchtopk_params,
    .scope = batchtopk_scope,
    .select = batchtopk_select,
};
