/*
 * decoder.c: texts that grow token by token; see model.h. Each has a slot: its keys and values in
 * every layer's cache, and for every layer the state of its router.
 */
#include "model_impl.h"

#include "kernels.h"

#include <string.h>

struct slot {
    const struct router *router; /* NULL: nothing was begun */
    struct router_args args;
    struct router_state **state; /* [layers]; NULL where the router has none */
    int64_t tokens;
};

struct decoder {
    struct model *m;
    int nslots, capacity;
    struct scope *scope;            /* owns the caches */
    struct tensor **keys, **values; /* [layers] */
    struct slot *slots;
};

static void slot_end(const struct decoder *d, struct slot *s)
{
    for (int i = 0; i < d->m->config.layers; i++)
        if (s->router && s->router->close)
            s->router->close(s->state[i]);
    s->router = NULL;
}

void decoder_close(struct decoder *d)
{
    if (!d)
        return;
    for (int i = 0; i < d->nslots; i++) {
        slot_end(d, &d->slots[i]);
        free(d->slots[i].state);
    }
    scope_free(d->scope);
    free(d->slots);
    free(d->keys);
    free(d->values);
    free(d);
}

struct decoder *decoder_open(struct model *m, int slots, int capacity, struct buf *err)
{
    const struct model_config *c = &m->config;
    struct decoder *d = xcalloc(1, sizeof(*d));
    size_t layers = (size_t)c->layers;
    d->m = m;
    d->nslots = slots;
    d->capacity = (capacity + PANEL - 1) / PANEL * PANEL;
    d->scope = scope_new(false);
    d->keys = xcalloc(layers, sizeof(struct tensor *));
    d->values = xcalloc(layers, sizeof(struct tensor *));
    d->slots = xcalloc((size_t)slots, sizeof(*d->slots));
    for (int i = 0; i < slots; i++)
        d->slots[i].state = xcalloc(layers, sizeof(struct router_state *));
    const int64_t shape[3] = { slots, d->capacity, (int64_t)c->kv_heads * c->head_dim };
    for (size_t i = 0; i < layers; i++) {
        d->keys[i] = tensor_empty(d->scope, m->dtype, 3, shape, m->device);
        d->values[i] = tensor_empty(d->scope, m->dtype, 3, shape, m->device);
    }
    if (!scope_error(d->scope))
        return d;
    fail(err, "no room for the keys and values of %d texts of %d tokens: %s", slots, capacity,
         scope_error(d->scope));
    decoder_close(d);
    return NULL;
}

void decoder_begin(struct decoder *d, int slot, const struct router *router,
                   const struct router_args *args)
{
    struct slot *s = &d->slots[slot];
    if (!router_decodes(router, args))
        BUG("%s cannot decode", router->name);
    slot_end(d, s);
    s->router = router;
    s->args = *args;
    s->tokens = 0;
    for (int i = 0; i < d->m->config.layers; i++)
        s->state[i] = router->open ? router->open(args) : NULL;
}

/* What the forward pass needs of n feeds. */
struct lot {
    struct sequence *sequences;
    struct pool *pools;
    int64_t *past, *slot, *keep;
    struct router_state ***state;
    int nkeep;
};

static struct lot lot_new(const struct decoder *d, const struct feed *feeds, int n)
{
    size_t size = (size_t)n;
    struct lot lot = {
        .sequences = xcalloc(size, sizeof(*lot.sequences)),
        .pools = xcalloc(size, sizeof(*lot.pools)),
        .past = xcalloc(size, sizeof(*lot.past)),
        .slot = xcalloc(size, sizeof(*lot.slot)),
        .keep = xcalloc(size, sizeof(*lot.keep)),
        .state = xcalloc(size, sizeof(*lot.state)),
    };
    int64_t end = 0;
    for (int i = 0; i < n; i++) {
        const struct slot *s = &d->slots[feeds[i].slot];
        if (!s->router || s->tokens + feeds[i].tokens > d->capacity)
            BUG("slot %d cannot take %d tokens", feeds[i].slot, feeds[i].tokens);
        lot.sequences[i] = (struct sequence){ feeds[i].ids, feeds[i].tokens };
        lot.pools[i] = (struct pool){ s->router, s->args, 1, feeds[i].tokens };
        lot.past[i] = s->tokens;
        lot.slot[i] = feeds[i].slot;
        lot.state[i] = s->state;
        end += feeds[i].tokens;
        if (feeds[i].sampler)
            lot.keep[lot.nkeep++] = end - 1;
    }
    return lot;
}

static void lot_release(struct lot *lot)
{
    free(lot->sequences);
    free(lot->pools);
    free(lot->past);
    free(lot->slot);
    free(lot->keep);
    free(lot->state);
}

/* Draws each text's next token. logits: [feeds with a sampler, V] */
static void draw(const struct decoder *d, struct feed *feeds, int n, const float *logits)
{
    const int V = d->m->config.vocab;
    for (int i = 0; i < n; i++) {
        struct feed *f = &feeds[i];
        float entropy;
        if (!f->sampler)
            continue;
        f->next = sampler_draw(f->sampler, logits, V);
        kernel_score(logits, V, f->next, &f->next_nll, &entropy);
        logits += V;
    }
}

int decoder_step(struct decoder *d, struct feed *feeds, int n, struct scored *out, struct buf *err)
{
    struct lot lot = lot_new(d, feeds, n);
    struct scope *scope = scope_new(false);
    struct batch batch = { lot.sequences, n, lot.pools, n };
    struct past past = { lot.past, lot.slot, d->keys, d->values, lot.state };
    const float *logits = NULL;
    int rc = model_forward(d->m, &batch, &past, lot.keep, lot.nkeep, scope, &logits, out, err);
    if (rc == 0)
        draw(d, feeds, n, logits);
    for (int i = 0; i < n; i++) {
        d->slots[feeds[i].slot].tokens += feeds[i].tokens;
        if (rc)
            slot_end(d, &d->slots[feeds[i].slot]);
    }
    scope_free(scope);
    lot_release(&lot);
    return rc;
}
