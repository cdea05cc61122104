/*
 * decoder.c: texts that grow token by token; see model.h. Each has a slot: its keys and values in
 * every layer's cache, and for every layer the state of its router.
 *
 * On a GPU a text whose router has a kernel is `fused` (decoder_gpu.h): behind its prompt its tokens
 * and its routers' states are there, and the states here stay behind.
 */
#include "decoder_gpu.h"

#include "kernels.h"

#include <string.h>

struct slot {
    const struct router *router; /* NULL: nothing was begun */
    struct router_args args;
    struct router_state **state; /* [layers]; NULL where the router has none */
    int64_t tokens;
    bool fused;
};

struct decoder {
    struct model *m;
    int nslots, capacity;
    struct scope *scope;            /* owns the caches */
    struct tensor **keys, **values; /* [layers] */
    struct slot *slots;
    struct decoder_gpu *gpu; /* NULL: every token goes through model_forward() */
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
    decoder_gpu_close(d->gpu);
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
    struct buf why = BUF_INIT;
    if (scope_error(d->scope))
        buf_adds(&why, scope_error(d->scope));
    else if (decoder_gpu_open(m, slots, d->capacity, d->keys, d->values, &d->gpu, &why) == 0)
        return d;
    fail(err, "no room for the keys and values of %d texts of %d tokens: %s", slots, capacity,
         why.s);
    buf_release(&why);
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
    s->fused = d->gpu && decoder_gpu_routes(router, args);
    for (int i = 0; i < d->m->config.layers; i++)
        s->state[i] = router->open ? router->open(args) : NULL;
}

/* A text that is fused has its routers' states on the GPU, as far apart as they are large. */
static int64_t slot_bytes(const struct decoder *d, int slot)
{
    const struct slot *s = &d->slots[slot];
    const int layers = d->m->config.layers;
    int64_t bytes = 0;
    size_t stride = 0;
    if (!s->router || !s->router->open)
        return 0;
    if (s->fused)
        return decoder_gpu_state(d->gpu, slot, &stride) ? (int64_t)stride * layers : 0;
    for (int i = 0; i < layers; i++)
        bytes += (int64_t)s->router->bytes(s->state[i]);
    return bytes;
}

void decoder_bytes(const struct decoder *d, int64_t *caches, int64_t *states)
{
    const struct model_config *c = &d->m->config;
    const int64_t row = (int64_t)c->kv_heads * c->head_dim * (int64_t)dtype_size(d->m->dtype);
    *caches = row * 2 * c->layers * d->nslots * d->capacity;
    *states = 0;
    for (int i = 0; i < d->nslots; i++)
        *states += slot_bytes(d, i);
}

/* What the forward pass needs of some feeds. */
struct lot {
    struct feed **feeds;
    int n;
    struct sequence *sequences;
    struct pool *pools;
    int64_t *past, *slot, *keep;
    struct router_state ***state;
    int *place; /* in the scores of all feeds */
    struct decoder_prompt *prompts;
    int nkeep, nprompts, tokens;
};

static struct lot lot_new(int most)
{
    size_t size = (size_t)most;
    return (struct lot){
        .feeds = xcalloc(size, sizeof(struct feed *)),
        .sequences = xcalloc(size, sizeof(struct sequence)),
        .pools = xcalloc(size, sizeof(struct pool)),
        .past = xcalloc(size, sizeof(int64_t)),
        .slot = xcalloc(size, sizeof(int64_t)),
        .keep = xcalloc(size, sizeof(int64_t)),
        .state = xcalloc(size, sizeof(struct router_state **)),
        .place = xcalloc(size, sizeof(int)),
        .prompts = xcalloc(size, sizeof(struct decoder_prompt)),
    };
}

static void lot_release(struct lot *lot)
{
    free(lot->feeds);
    free(lot->sequences);
    free(lot->pools);
    free(lot->past);
    free(lot->slot);
    free(lot->keep);
    free(lot->state);
    free(lot->place);
    free(lot->prompts);
}

static void lot_add(struct lot *lot, const struct slot *s, struct feed *f, int place)
{
    int i = lot->n++;
    lot->feeds[i] = f;
    lot->sequences[i] = (struct sequence){ f->ids, f->tokens };
    lot->pools[i] = (struct pool){ s->router, s->args, 1, f->tokens };
    lot->past[i] = s->tokens;
    lot->slot[i] = f->slot;
    lot->state[i] = s->state;
    lot->place[i] = place;
    if (s->fused && s->tokens == 0)
        lot->prompts[lot->nprompts++] = (struct decoder_prompt){ f->slot, lot->tokens, f->tokens };
    lot->tokens += f->tokens;
    if (f->sampler)
        lot->keep[lot->nkeep++] = lot->tokens - 1;
}

static struct batch lot_batch(const struct lot *lot)
{
    return (struct batch){ lot->sequences, lot->n, lot->pools, lot->n };
}

/* Draws each text's next token. logits: [feeds with a sampler, V] */
static void draw(const struct decoder *d, const struct lot *lot, const float *logits)
{
    const int V = d->m->config.vocab;
    for (int i = 0; i < lot->n; i++) {
        struct feed *f = lot->feeds[i];
        float entropy;
        if (!f->sampler)
            continue;
        f->next = sampler_draw(f->sampler, logits, V);
        kernel_score(logits, V, f->next, &f->next_nll, &entropy);
        logits += V;
    }
}

/* Prompts of texts that are fused from their next token on, whose states are on the GPU. */
struct prompts {
    const struct decoder *d;
    const struct lot *lot;
};

static int prompts_begin(const struct prompts *p, struct buf *err)
{
    for (int i = 0; i < p->lot->nprompts; i++) {
        const int slot = p->lot->prompts[i].slot;
        const struct slot *s = &p->d->slots[slot];
        if (decoder_gpu_begin(p->d->gpu, slot, s->router, &s->args, err))
            return -1;
    }
    return 0;
}

static void *prompts_on_gpu(void *prompts, int slot, size_t *stride)
{
    const struct decoder *d = ((const struct prompts *)prompts)->d;
    return d->slots[slot].fused ? decoder_gpu_state(d->gpu, slot, stride) : NULL;
}

static int prompts_seen(void *prompts, int layer, const struct layer_scores *s, struct buf *err)
{
    const struct prompts *p = prompts;
    if (layer == 0 && decoder_gpu_prompts(p->d->gpu, p->lot->prompts, p->lot->nprompts, err))
        return -1;
    return decoder_gpu_seen(p->d->gpu, layer, s, err);
}

static int forward(struct decoder *d, const struct lot *lot, struct scored *out, struct buf *err)
{
    struct scope *scope = scope_new(false);
    struct batch batch = lot_batch(lot);
    struct prompts prompts = { d, lot };
    struct past past = { .tokens = lot->past,
                         .slot = lot->slot,
                         .keys = d->keys,
                         .values = d->values,
                         .state = lot->state,
                         .on_gpu = lot->nprompts ? prompts_on_gpu : NULL,
                         .seen = lot->nprompts ? prompts_seen : NULL,
                         .context = &prompts };
    const float *logits = NULL;
    int rc = prompts_begin(&prompts, err);
    if (rc == 0)
        rc = model_forward(d->m, &batch, &past, lot->keep, lot->nkeep, scope, &logits, out, err);
    if (rc == 0)
        draw(d, lot, logits);
    scope_free(scope);
    return rc;
}

/* Takes what was found of a lot to where all feeds' scores are. */
static void put(const struct scored *from, const struct lot *lot, struct scored *to)
{
    const size_t loads = (size_t)to->layers * (size_t)to->experts;
    for (int i = 0; i < lot->n; i++) {
        const size_t at = (size_t)from->start[i], place = (size_t)to->start[lot->place[i]];
        const size_t n = (size_t)(from->start[i + 1] - from->start[i]);
        const size_t load = (size_t)lot->place[i] * loads;
        memcpy(to->nll + place, from->nll + at, n * sizeof(*to->nll));
        memcpy(to->entropy + place, from->entropy + at, n * sizeof(*to->entropy));
        for (int l = 0; l < to->layers; l++)
            memcpy(to->used + (size_t)l * (size_t)to->tokens + place,
                   from->used + (size_t)l * (size_t)from->tokens + at, n * sizeof(*to->used));
        memcpy(to->load_tokens + load, from->load_tokens + (size_t)i * loads,
               loads * sizeof(*to->load_tokens));
        memcpy(to->load_weight + load, from->load_weight + (size_t)i * loads,
               loads * sizeof(*to->load_weight));
    }
}

/* The texts of `whole` by the forward pass, those of `fused` by the GPU's kernels. */
static int step_both(struct decoder *d, const struct lot *all, const struct lot *whole,
                     const struct lot *fused, struct scored *out, struct buf *err)
{
    struct batch batch = lot_batch(all);
    struct past past = { .tokens = all->past, .slot = all->slot };
    struct scored part = { 0 };
    if (pass_check(d->m, &batch, &past, err))
        return -1;
    scored_alloc(out, &batch, d->m->config.layers, d->m->config.experts);
    int rc = whole->n ? forward(d, whole, &part, err) : 0;
    if (rc == 0) {
        put(&part, whole, out);
        rc = decoder_gpu_step(d->gpu, fused->feeds, fused->past, fused->place, fused->n, out, err);
    }
    scored_release(&part);
    return rc;
}

int decoder_step(struct decoder *d, struct feed *feeds, int n, struct scored *out, struct buf *err)
{
    struct lot all = lot_new(n), whole = lot_new(n), fused = lot_new(n);
    for (int i = 0; i < n; i++) {
        struct feed *f = &feeds[i];
        const struct slot *s = &d->slots[f->slot];
        if (!s->router || s->tokens + f->tokens > d->capacity)
            BUG("slot %d cannot take %d tokens", f->slot, f->tokens);
        if (s->fused && s->tokens > 0 && f->tokens != 1)
            BUG("slot %d has its prompt, and gets %d tokens", f->slot, f->tokens);
        lot_add(&all, s, f, i);
        lot_add(s->fused && s->tokens > 0 ? &fused : &whole, s, f, i);
    }
    int rc = fused.n ? step_both(d, &all, &whole, &fused, out, err) : forward(d, &all, out, err);
    for (int i = 0; i < n; i++) {
        d->slots[feeds[i].slot].tokens += feeds[i].tokens;
        if (rc)
            slot_end(d, &d->slots[feeds[i].slot]);
    }
    lot_release(&all);
    lot_release(&whole);
    lot_release(&fused);
    return rc;
}
