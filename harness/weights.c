/*
 * weights.c: see weights.h. Two tables say which tensors a layer has, where they go, and which
 * shape they have; the code only walks them.
 *
 * A tensor that no table names is refused too: a decoder that leaves weights out computes another
 * model than the one that was trained.
 */
#include "weights.h"

#include <stdio.h>
#include <string.h>

enum dim { NONE, ONE, HIDDEN, QUERIES, KEYS, EXPERTS, FFN, SHARED, VOCAB };
enum when { ALWAYS, QK_NORM, QKV_BIAS, SHARED_EXPERT };

struct slot {
    const char *name; /* behind "model.layers.N." */
    size_t at;        /* offset in struct layer_weights, of a pointer or of an array of them */
    enum dim rows, cols;
    enum when when;
};

#define AT(field) offsetof(struct layer_weights, field)

static const struct slot layer_slots[] = {
    { "input_layernorm.weight", AT(attn_norm), HIDDEN, NONE, ALWAYS },
    { "self_attn.q_proj.weight", AT(q), QUERIES, HIDDEN, ALWAYS },
    { "self_attn.k_proj.weight", AT(k), KEYS, HIDDEN, ALWAYS },
    { "self_attn.v_proj.weight", AT(v), KEYS, HIDDEN, ALWAYS },
    { "self_attn.o_proj.weight", AT(o), HIDDEN, QUERIES, ALWAYS },
    { "self_attn.q_proj.bias", AT(q_bias), QUERIES, NONE, QKV_BIAS },
    { "self_attn.k_proj.bias", AT(k_bias), KEYS, NONE, QKV_BIAS },
    { "self_attn.v_proj.bias", AT(v_bias), KEYS, NONE, QKV_BIAS },
    { "self_attn.q_norm.weight", AT(q_norm), QUERIES, NONE, QK_NORM },
    { "self_attn.k_norm.weight", AT(k_norm), KEYS, NONE, QK_NORM },
    { "post_attention_layernorm.weight", AT(ffn_norm), HIDDEN, NONE, ALWAYS },
    { "mlp.gate.weight", AT(router), EXPERTS, HIDDEN, ALWAYS },
    { "mlp.shared_expert.gate_proj.weight", AT(shared_gate), SHARED, HIDDEN, SHARED_EXPERT },
    { "mlp.shared_expert.up_proj.weight", AT(shared_up), SHARED, HIDDEN, SHARED_EXPERT },
    { "mlp.shared_expert.down_proj.weight", AT(shared_down), HIDDEN, SHARED, SHARED_EXPERT },
    { "mlp.shared_expert_gate.weight", AT(shared_expert_gate), ONE, HIDDEN, SHARED_EXPERT },
};

/* Behind "model.layers.N.mlp.experts.E."; `at` is of an array with a place for each expert. */
static const struct slot expert_slots[] = {
    { "gate_proj.weight", AT(gate), FFN, HIDDEN, ALWAYS },
    { "up_proj.weight", AT(up), FFN, HIDDEN, ALWAYS },
    { "down_proj.weight", AT(down), HIDDEN, FFN, ALWAYS },
};

static int64_t dim_size(const struct model_config *c, enum dim d)
{
    switch (d) {
    case NONE:
        return 0;
    case ONE:
        return 1;
    case HIDDEN:
        return c->hidden;
    case QUERIES:
        return (int64_t)c->heads * c->head_dim;
    case KEYS:
        return (int64_t)c->kv_heads * c->head_dim;
    case EXPERTS:
        return c->experts;
    case FFN:
        return c->expert_ffn;
    case SHARED:
        return c->shared_ffn;
    case VOCAB:
        return c->vocab;
    }
    BUG("dimension %d", (int)d);
}

static bool is_there(const struct model_config *c, enum when w)
{
    switch (w) {
    case ALWAYS:
        return true;
    case QK_NORM:
        return c->family == FAMILY_OLMOE;
    case QKV_BIAS:
        return c->qkv_bias;
    case SHARED_EXPERT:
        return c->shared_ffn > 0;
    }
    BUG("condition %d", (int)w);
}

static void visit_one(const struct model_config *c, const char *name, enum dim rows, enum dim cols,
                      weights_visit *visit, void *context)
{
    const int64_t shape[2] = { dim_size(c, rows), dim_size(c, cols) };
    visit(context, name, cols == NONE ? 1 : 2, shape);
}

void weights_each(const struct model_config *c, weights_visit *visit, void *context)
{
    struct buf name = BUF_INIT;
    visit_one(c, "model.embed_tokens.weight", VOCAB, HIDDEN, visit, context);
    for (int n = 0; n < c->layers; n++) {
        for (size_t i = 0; i < ARRAY_LEN(layer_slots); i++) {
            const struct slot *s = &layer_slots[i];
            buf_reset(&name);
            buf_addf(&name, "model.layers.%d.%s", n, s->name);
            if (is_there(c, s->when))
                visit_one(c, name.s, s->rows, s->cols, visit, context);
        }
        for (size_t i = 0; i < (size_t)c->experts * ARRAY_LEN(expert_slots); i++) {
            const struct slot *s = &expert_slots[i % ARRAY_LEN(expert_slots)];
            buf_reset(&name);
            buf_addf(&name, "model.layers.%d.mlp.experts.%zu.%s", n, i / ARRAY_LEN(expert_slots),
                     s->name);
            visit_one(c, name.s, s->rows, s->cols, visit, context);
        }
    }
    visit_one(c, "model.norm.weight", HIDDEN, NONE, visit, context);
    if (!c->tied)
        visit_one(c, "lm_head.weight", VOCAB, HIDDEN, visit, context);
    buf_release(&name);
}

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

static int find(const struct opening *o, const char *name, enum dim rows, enum dim cols,
                const struct st_tensor **out)
{
    const struct model_config *c = &o->w->config;
    const int64_t want[2] = { dim_size(c, rows), dim_size(c, cols) };
    int ndim = cols == NONE ? 1 : 2;
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

static const struct st_tensor **place(struct layer_weights *l, size_t at)
{
    return (const struct st_tensor **)(void *)((char *)l + at);
}

static int find_experts(const struct opening *o, int layer, struct buf *name)
{
    struct layer_weights *l = &o->w->layer[layer];
    const struct model_config *c = &o->w->config;
    for (size_t i = 0; i < ARRAY_LEN(expert_slots); i++) {
        const struct slot *s = &expert_slots[i];
        const struct st_tensor **v = xcalloc((size_t)c->experts, sizeof(*v));
        memcpy((char *)l + s->at, &v, sizeof(v));
        for (int e = 0; e < c->experts; e++) {
            buf_reset(name);
            buf_addf(name, "model.layers.%d.mlp.experts.%d.%s", layer, e, s->name);
            if (find(o, name->s, s->rows, s->cols, &v[e]))
                return -1;
        }
    }
    return 0;
}

static int find_layers(const struct opening *o)
{
    struct buf name = BUF_INIT;
    int rc = 0;
    for (int n = 0; rc == 0 && n < o->w->config.layers; n++) {
        for (size_t i = 0; rc == 0 && i < ARRAY_LEN(layer_slots); i++) {
            const struct slot *s = &layer_slots[i];
            if (!is_there(&o->w->config, s->when))
                continue;
            buf_reset(&name);
            buf_addf(&name, "model.layers.%d.%s", n, s->name);
            rc = find(o, name.s, s->rows, s->cols, place(&o->w->layer[n], s->at));
        }
        if (rc == 0)
            rc = find_experts(o, n, &name);
    }
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
    }
    free(w->layer);
    safetensors_close(w->files);
    config_release(&w->config);
    free(w);
}
