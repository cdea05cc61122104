/*
 * weights.c: see weights.h. Tables (weights_slots.h) say which tensors a layer has, where they go,
 * and which shape they have; the code only walks them.
 *
 * A tensor that no table names is refused too: a decoder that leaves weights out computes another
 * model than the one that was trained.
 */
#include "weights_slots.h"

#include <stdio.h>
#include <string.h>

/* What is needed while a folder is opened. */
struct opening {
    const char *dir;
    struct weights *w;
    bool *used; /* per tensor of the files */
    struct buf *err;
};

static void show_shape(struct buf *out, int ndim, const int64_t *shape)
{
    buf_addc(out, '[');
    for (int i = 0; i < ndim; i++)
        buf_addf(out, i ? ", %lld" : "%lld", (long long)shape[i]);
    buf_addc(out, ']');
}

static int find_shaped(const struct opening *o, const char *name, int ndim, const int64_t *want,
                       const struct st_tensor **out)
{
    const struct st_tensor *t = safetensors_find(o->w->files, name);
    if (t && t->ndim == ndim && memcmp(t->shape, want, (size_t)ndim * sizeof(*want)) == 0) {
        o->used[t - safetensors_at(o->w->files, 0)] = true;
        *out = t;
        return 0;
    }
    struct buf expected = BUF_INIT, found = BUF_INIT;
    show_shape(&expected, ndim, want);
    if (t)
        show_shape(&found, t->ndim, t->shape);
    if (t)
        fail(o->err, "%s: tensor '%s' has shape %s, but config.json makes it %s", t->file, name,
             found.s, expected.s);
    else
        fail(o->err, "%s: tensor '%s' of shape %s is missing from the safetensors files", o->dir,
             name, expected.s);
    buf_release(&expected);
    buf_release(&found);
    return -1;
}

static int find(const struct opening *o, const char *name, enum dim rows, enum dim cols,
                const struct st_tensor **out)
{
    const struct model_config *c = &o->w->config;
    const int64_t want[2] = { dim_size(c, rows), dim_size(c, cols) };
    return find_shaped(o, name, cols == NONE ? 1 : 2, want, out);
}

static const struct st_tensor **place(struct layer_weights *l, size_t at)
{
    return (const struct st_tensor **)(void *)((char *)l + at);
}

static const struct st_tensor **expert_places(struct layer_weights *l, const struct slot *s, int n)
{
    const struct st_tensor **v = xcalloc((size_t)n, sizeof(*v));
    memcpy((char *)l + s->at, &v, sizeof(v));
    return v;
}

static void name_fused(int layer, const char *tensor, struct buf *name)
{
    buf_reset(name);
    buf_addf(name, "model.layers.%d.mlp.%s", layer, tensor);
}

static bool is_fused(const struct opening *o, int layer, struct buf *name)
{
    name_fused(layer, "experts.gate_up_proj", name);
    return safetensors_find(o->w->files, name->s) != NULL;
}

/* Part `i` of `parts` of a tensor, as a matrix under a name of its own. */
static struct st_tensor view_of(const struct st_tensor *t, int64_t parts, int64_t i,
                                const struct model_config *c, const struct slot *s,
                                const struct buf *name)
{
    size_t bytes = t->bytes / (size_t)parts;
    return (struct st_tensor){ .name = xstrdup(name->s),
                               .file = t->file,
                               .dtype = t->dtype,
                               .ndim = 2,
                               .shape = { dim_size(c, s->rows), dim_size(c, s->cols) },
                               .data = (const char *)t->data + (size_t)i * bytes,
                               .bytes = bytes };
}

/* Each expert's gate stands above its up; Mixtral's router has another name beside them. */
static int find_fused(const struct opening *o, int layer, struct buf *name)
{
    struct layer_weights *l = &o->w->layer[layer];
    const struct model_config *c = &o->w->config;
    const struct slot *slots = slots_of_expert(c);
    const int64_t N = c->experts, F = c->expert_ffn, d = c->hidden;
    const struct st_tensor *gate_up, *down, *router = NULL;
    name_fused(layer, "experts.gate_up_proj", name);
    if (find_shaped(o, name->s, 3, (const int64_t[]){ N, 2 * F, d }, &gate_up))
        return -1;
    name_fused(layer, "experts.down_proj", name);
    if (find_shaped(o, name->s, 3, (const int64_t[]){ N, d, F }, &down))
        return -1;
    name_fused(layer, "gate.weight", name);
    if (c->family == FAMILY_MIXTRAL && find(o, name->s, EXPERTS, HIDDEN, &router))
        return -1;
    struct st_tensor *view = l->views = xcalloc((size_t)N * EXPERT_SLOTS + 1, sizeof(*view));
    for (int i = 0; i < EXPERT_SLOTS; i++) {
        const struct st_tensor **places = expert_places(l, &slots[i], c->experts);
        bool last = i == EXPERT_SLOTS - 1;
        for (int e = 0; e < c->experts; e++, view++) {
            expert_name(c, layer, e, &slots[i], name);
            *view = last ? view_of(down, N, e, c, &slots[i], name)
                         : view_of(gate_up, 2 * N, 2 * e + i, c, &slots[i], name);
            places[e] = view;
        }
    }
    if (router) {
        *view = *router;
        view->name = xasprintf("model.layers.%d.block_sparse_moe.gate.weight", layer);
        l->router = view;
    }
    return 0;
}

static int find_experts(const struct opening *o, int layer, struct buf *name)
{
    const struct model_config *c = &o->w->config;
    for (size_t i = 0; i < EXPERT_SLOTS; i++) {
        const struct slot *s = &slots_of_expert(c)[i];
        const struct st_tensor **places = expert_places(&o->w->layer[layer], s, c->experts);
        for (int e = 0; e < c->experts; e++) {
            expert_name(c, layer, e, s, name);
            if (find(o, name->s, s->rows, s->cols, &places[e]))
                return -1;
        }
    }
    return 0;
}

static int find_layer(const struct opening *o, int layer, struct buf *name)
{
    struct layer_weights *l = &o->w->layer[layer];
    bool fused = is_fused(o, layer, name);
    for (size_t i = 0; i < LAYER_SLOTS; i++) {
        const struct slot *s = &layer_slots[i];
        if (!slot_is_there(&o->w->config, s) || (fused && s->when == MIXTRAL))
            continue;
        layer_name(layer, s, name);
        if (find(o, name->s, s->rows, s->cols, place(l, s->at)))
            return -1;
    }
    return fused ? find_fused(o, layer, name) : find_experts(o, layer, name);
}

static int find_layers(const struct opening *o)
{
    struct buf name = BUF_INIT;
    int rc = 0;
    for (int n = 0; rc == 0 && n < o->w->config.layers; n++)
        rc = find_layer(o, n, &name);
    buf_release(&name);
    return rc;
}

/* Tied files may hold the head as well, as long as it is the embedding. */
static int find_head(const struct opening *o)
{
    static const char name[] = "lm_head.weight";
    struct weights *w = o->w;
    if (w->config.tied && !safetensors_find(w->files, name)) {
        w->head = w->embed;
        return 0;
    }
    if (find(o, name, VOCAB, HIDDEN, &w->head))
        return -1;
    if (!w->config.tied)
        return 0;
    if (w->head->dtype != w->embed->dtype ||
        memcmp(w->head->data, w->embed->data, w->embed->bytes) != 0)
        return fail(o->err,
                    "%s: tensor '%s' differs from the embedding, but config.json says that they "
                    "are tied",
                    w->head->file, name);
    w->head = w->embed;
    return 0;
}

static int all_used(const struct opening *o)
{
    // Tables of the rotary embedding, which old files carry along: they follow from rope_theta.
    static const char harmless[] = ".rotary_emb.inv_freq";
    for (size_t i = 0; i < safetensors_count(o->w->files); i++) {
        const struct st_tensor *t = safetensors_at(o->w->files, i);
        size_t len = strlen(t->name), tail = sizeof(harmless) - 1;
        if (!o->used[i] && (len < tail || strcmp(t->name + len - tail, harmless) != 0))
            return fail(o->err, "%s: tensor '%s' has no place in the model that config.json says",
                        t->file, t->name);
    }
    return 0;
}

struct weights *weights_open(const char *dir, struct buf *err)
{
    struct weights *w = xcalloc(1, sizeof(*w));
    struct opening o = { dir, w, NULL, err };
    int rc = config_read(dir, &w->config, err);
    if (rc == 0 && !(w->files = safetensors_open(dir, err)))
        rc = -1;
    if (rc == 0) {
        o.used = xcalloc(safetensors_count(w->files), sizeof(*o.used));
        w->layer = xcalloc((size_t)w->config.layers, sizeof(*w->layer));
        rc = find(&o, "model.embed_tokens.weight", VOCAB, HIDDEN, &w->embed) ||
             find(&o, "model.norm.weight", HIDDEN, NONE, &w->norm) || find_head(&o) ||
             find_layers(&o) || all_used(&o);
    }
    free(o.used);
    if (rc) {
        weights_close(w);
        return NULL;
    }
    return w;
}

void weights_close(struct weights *w)
{
    if (!w)
        return;
    for (int n = 0; w->layer && n < w->config.layers; n++) {
        free(w->layer[n].gate);
        free(w->layer[n].up);
        free(w->layer[n].down);
        for (int i = 0; w->layer[n].views && i <= w->config.experts * EXPERT_SLOTS; i++)
            free((char *)(uintptr_t)w->layer[n].views[i].name);
        free(w->layer[n].views);
    }
    free(w->layer);
    safetensors_close(w->files);
    config_release(&w->config);
    free(w);
}
