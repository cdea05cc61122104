/*
 * scored.c: room for what a forward pass finds, see model.h and trainer.h. Used on both sides of the
 * engine's border, each with its own copy.
 */
#include "model.h"
#include "trainer.h"

void scored_release(struct scored *s)
{
    free(s->start);
    free(s->nll);
    free(s->entropy);
    free(s->used);
    free(s->load_tokens);
    free(s->load_weight);
    free(s->load_entropy);
    free(s->overlap);
    *s = (struct scored){ 0 };
}

void scored_alloc(struct scored *out, const struct batch *b, int layers, int experts)
{
    const struct wanted *wanted = out->wanted;
    scored_release(out);
    out->nsequences = b->nsequences;
    out->layers = layers;
    out->experts = experts;
    out->start = xcalloc((size_t)b->nsequences + 1, sizeof(*out->start));
    for (int i = 0; i < b->nsequences; i++)
        out->start[i + 1] = out->start[i] + b->sequences[i].tokens;
    out->tokens = out->start[b->nsequences];
    size_t tokens = (size_t)out->tokens;
    size_t loads = (size_t)b->nsequences * (size_t)layers * (size_t)experts;
    out->nll = xcalloc(tokens, sizeof(*out->nll));
    out->entropy = xcalloc(tokens, sizeof(*out->entropy));
    out->used = xcalloc((size_t)layers * tokens, sizeof(*out->used));
    out->load_tokens = xcalloc(loads, sizeof(*out->load_tokens));
    out->load_weight = xcalloc(loads, sizeof(*out->load_weight));
    size_t others = wanted ? (size_t)wanted->nothers : 0;
    out->wanted = wanted;
    if (wanted && wanted->load_entropy)
        out->load_entropy = xcalloc(loads, sizeof(*out->load_entropy));
    if (others)
        out->overlap =
            xcalloc((size_t)b->nsequences * others * (size_t)layers * 3, sizeof(*out->overlap));
}

void piece_result_release(struct piece_result *r)
{
    scored_release(&r->scored);
    free(r->kth);
    *r = (struct piece_result){ 0 };
}
