/*
 * weights_slots.c: see weights_slots.h. Two tables for the experts, since Mixtral's have names of
 * their own, and one for all the rest of a layer.
 */
#include "weights_slots.h"

#include <string.h>

#define AT(field) offsetof(struct layer_weights, field)

/* Behind "model.layers.N." */
const struct slot layer_slots[LAYER_SLOTS] = {
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
    { "self_attn.q_norm.weight", AT(q_norm), HEAD, NONE, HEAD_NORM },
    { "self_attn.k_norm.weight", AT(k_norm), HEAD, NONE, HEAD_NORM },
    { "post_attention_layernorm.weight", AT(ffn_norm), HIDDEN, NONE, ALWAYS },
    { "mlp.gate.weight", AT(router), EXPERTS, HIDDEN, NOT_MIXTRAL },
    { "block_sparse_moe.gate.weight", AT(router), EXPERTS, HIDDEN, MIXTRAL },
    { "mlp.shared_expert.gate_proj.weight", AT(shared_gate), SHARED, HIDDEN, SHARED_EXPERT },
    { "mlp.shared_expert.up_proj.weight", AT(shared_up), SHARED, HIDDEN, SHARED_EXPERT },
    { "mlp.shared_expert.down_proj.weight", AT(shared_down), HIDDEN, SHARED, SHARED_EXPERT },
    { "mlp.shared_expert_gate.weight", AT(shared_expert_gate), ONE, HIDDEN, SHARED_EXPERT },
};

/* Behind "model.layers.N.mlp.experts.E."; `at` is of an array with a place for each expert. */
static const struct slot expert_slots[EXPERT_SLOTS] = {
    { "gate_proj.weight", AT(gate), FFN, HIDDEN, ALWAYS },
    { "up_proj.weight", AT(up), FFN, HIDDEN, ALWAYS },
    { "down_proj.weight", AT(down), HIDDEN, FFN, ALWAYS },
};
/* Behind "model.layers.N.block_sparse_moe.experts.E." */
static const struct slot mixtral_slots[EXPERT_SLOTS] = {
    { "w1.weight", AT(gate), FFN, HIDDEN, ALWAYS },
    { "w3.weight", AT(up), FFN, HIDDEN, ALWAYS },
    { "w2.weight", AT(down), HIDDEN, FFN, ALWAYS },
};

const struct slot *slots_of_expert(const struct model_config *c)
{
    return c->family == FAMILY_MIXTRAL ? mixtral_slots : expert_slots;
}

void expert_name(const struct model_config *c, int layer, int expert, const struct slot *s,
                 struct buf *name)
{
    const char *block = c->family == FAMILY_MIXTRAL ? "block_sparse_moe" : "mlp";
    buf_reset(name);
    buf_addf(name, "model.layers.%d.%s.experts.%d.%s", layer, block, expert, s->name);
}

void layer_name(int layer, const struct slot *s, struct buf *name)
{
    buf_reset(name);
    buf_addf(name, "model.layers.%d.%s", layer, s->name);
}

int64_t dim_size(const struct model_config *c, enum dim d)
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
    case HEAD:
        return c->head_dim;
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

bool slot_is_there(const struct model_config *c, const struct slot *s)
{
    switch (s->when) {
    case ALWAYS:
        return true;
    case QK_NORM:
        return c->family == FAMILY_OLMOE;
    case HEAD_NORM:
        return c->family == FAMILY_QWEN3_MOE;
    case QKV_BIAS:
        return c->qkv_bias;
    case SHARED_EXPERT:
        return c->shared_ffn > 0;
    case MIXTRAL:
        return c->family == FAMILY_MIXTRAL;
    case NOT_MIXTRAL:
        return c->family != FAMILY_MIXTRAL;
    }
    BUG("condition %d", (int)s->when);
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
            layer_name(n, s, &name);
            if (slot_is_there(c, s))
                visit_one(c, name.s, s->rows, s->cols, visit, context);
        }
        for (int i = 0; i < c->experts * EXPERT_SLOTS; i++) {
            const struct slot *s = &slots_of_expert(c)[i % EXPERT_SLOTS];
            expert_name(c, n, i / EXPERT_SLOTS, s, &name);
            visit_one(c, name.s, s->rows, s->cols, visit, context);
        }
    }
    visit_one(c, "model.norm.weight", HIDDEN, NONE, visit, context);
    if (!c->tied)
        visit_one(c, "lm_head.weight", VOCAB, HIDDEN, visit, context);
    buf_release(&name);
}

/* What weights_each_kept() walks with: weights_each() says names and shapes, in order. */
struct kept_walk {
    const struct weights *w;
    const int *kept;
    int left;
    weights_visit_kept *visit;
    void *context;
    int layer, slot, expert; /* of the tensor that comes next */
};

static const struct st_tensor *tensor_in(const struct layer_weights *l, const struct slot *s)
{
    const struct st_tensor *t;
    memcpy(&t, (const char *)l + s->at, sizeof(t));
    return t;
}

static const struct st_tensor *expert_in(const struct layer_weights *l, const struct slot *s,
                                         int expert)
{
    const struct st_tensor **list;
    memcpy(&list, (const char *)l + s->at, sizeof(list));
    return list[expert];
}

/* The next tensor of a layer, in the order of weights_each(). */
static const struct st_tensor *next_of_layer(struct kept_walk *k)
{
    const struct model_config *c = &k->w->config;
    const struct layer_weights *l = &k->w->layer[k->layer];
    while (k->slot < LAYER_SLOTS && !slot_is_there(c, &layer_slots[k->slot]))
        k->slot++;
    if (k->slot < LAYER_SLOTS)
        return tensor_in(l, &layer_slots[k->slot++]);
    const int at = k->expert++;
    return expert_in(l, &slots_of_expert(c)[at % EXPERT_SLOTS],
                     k->kept[k->layer * k->left + at / EXPERT_SLOTS]);
}

static void visit_kept(void *context, const char *name, int ndim, const int64_t shape[2])
{
    struct kept_walk *k = context;
    const struct weights *w = k->w;
    if (k->layer < 0 || k->layer >= w->config.layers) {
        const bool first = k->layer < 0;
        const struct st_tensor *t = first                                 ? w->embed
                                    : strcmp(name, "lm_head.weight") == 0 ? w->head
                                                                          : w->norm;
        k->visit(k->context, name, ndim, shape, -1, t);
        k->layer += first;
        return;
    }
    const struct st_tensor *t = next_of_layer(k);
    k->visit(k->context, name, ndim, shape, k->layer, t);
    if (k->expert == k->left * EXPERT_SLOTS) {
        k->layer++;
        k->slot = k->expert = 0;
    }
}

void weights_each_kept(const struct weights *w, const int *kept, int left,
                       weights_visit_kept *visit, void *context)
{
    struct model_config config = w->config;
    struct kept_walk k = { w, kept, left, visit, context, -1, 0, 0 };
    config.experts = left;
    weights_each(&config, visit_kept, &k);
}
