/*
 * recipe_pretrain.c: see recipe_pretrain.h. Sizes have the ranges that config.json may have.
 */
#include "recipe/recipe_pretrain.h"

#include <string.h>

enum {
    LAYERS_MAX = 1000,
    EXPERTS_MAX = 4096,
    HEADS_MAX = 4096,
    HEAD_DIM_MAX = 4096,
    WIDTH_MAX = 1 << 20,
    CONTEXT_MAX = 1 << 24,
    VOCAB_MIN = 258, // the bytes and two special tokens
    VOCAB_MAX = 1000000,
};

/* `family` is read as a word's index, and qkv_bias may be left out. */
struct said_model {
    struct model_config config;
    int family;
    bool qkv_bias;
};

#define SIZE(field, most, need)                                                                   \
    {                                                                                             \
        .name = #field, .type = FIELD_WHOLE, .offset = offsetof(struct said_model, config.field), \
        .required = (need), .lo = 1, .hi = (most)                                                 \
    }

/* What a family's own key is refused with in the other. */
static int refuse_key(const struct lua_place *at, const char *key, const char *family,
                      struct buf *err)
{
    return place_fail(at, key, err, "only family \"%s\" has it", family);
}

static int check_family(const struct lua_place *at, const struct model_config *c, bool qkv_bias,
                        struct buf *err)
{
    if (c->family == FAMILY_QWEN2_MOE) {
        if (c->clip_qkv > 0)
            return refuse_key(at, "clip_qkv", "olmoe", err);
        return c->shared_ffn ? 0 : place_fail(at, NULL, err, "'shared_ffn' is missing");
    }
    if (c->shared_ffn)
        return refuse_key(at, "shared_ffn", "qwen2_moe", err);
    return qkv_bias ? refuse_key(at, "qkv_bias", "qwen2_moe", err) : 0;
}

static int check_model(const struct lua_place *at, const struct model_config *c, struct buf *err)
{
    int kv = c->kv_heads ? c->kv_heads : c->heads;
    if (c->top_k > c->experts)
        return place_fail(at, "top_k", err, "%d; allowed is 1 to experts, which is %d", c->top_k,
                          c->experts);
    if (c->context < 2)
        return place_fail(
            at, "context", err,
            "%d; allowed is a whole number from 2 to %d, since a loss needs two tokens", c->context,
            CONTEXT_MAX);
    if (kv > c->heads || c->heads % kv)
        return place_fail(at, "kv_heads", err, "%d; allowed is a divisor of heads, which is %d", kv,
                          c->heads);
    if (c->head_dim % 2)
        return place_fail(at, "head_dim", err, "%d; allowed is an even number", c->head_dim);
    if (!c->head_dim && (c->hidden % c->heads || c->hidden / c->heads % 2))
        return place_fail(at, "hidden", err,
                          "%d; allowed without head_dim is an even multiple of heads, which is %d",
                          c->hidden, c->heads);
    return 0;
}

/* member: the struct model_config */
static int read_model(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    static const char *const families[] = {
        [FAMILY_OLMOE] = "olmoe", [FAMILY_QWEN2_MOE] = "qwen2_moe", NULL
    };
    static const struct field fields[] = {
        { .name = "family",
          .type = FIELD_WORD,
          .offset = offsetof(struct said_model, family),
          .required = true,
          .words = families },
        SIZE(layers, LAYERS_MAX, true),
        SIZE(hidden, WIDTH_MAX, true),
        SIZE(heads, HEADS_MAX, true),
        SIZE(kv_heads, HEADS_MAX, false),
        SIZE(head_dim, HEAD_DIM_MAX, false),
        SIZE(experts, EXPERTS_MAX, true),
        SIZE(top_k, EXPERTS_MAX, true),
        SIZE(expert_ffn, WIDTH_MAX, true),
        SIZE(shared_ffn, WIDTH_MAX, false),
        SIZE(context, CONTEXT_MAX, true),
        { .name = "rope_theta",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct said_model, config.rope_theta),
          .lo = 1,
          .hi = 1000000000000 },
        { .name = "rms_eps",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct said_model, config.rms_eps),
          .hi = 1,
          .above = true },
        { .name = "clip_qkv",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct said_model, config.clip_qkv),
          .hi = 1000000,
          .above = true },
        { .name = "norm_topk_prob",
          .type = FIELD_FLAG,
          .offset = offsetof(struct said_model, config.norm_topk_prob) },
        { .name = "qkv_bias", .type = FIELD_FLAG, .offset = offsetof(struct said_model, qkv_bias) },
        { .name = "tied", .type = FIELD_FLAG, .offset = offsetof(struct said_model, config.tied) },
        { .name = NULL },
    };
    struct said_model said = { 0 };
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    lua_pushstring(L, "qkv_bias");
    if (lua_type(L, -2) == LUA_TTABLE)
        lua_rawget(L, -2);
    bool silent = lua_isnil(L, -1);
    lua_pop(L, 1);
    if (table_read(L, &place, fields, &said, err) != 0)
        return -1;
    struct model_config *c = member;
    *c = said.config;
    c->family = (enum family)said.family;
    c->qkv_bias = silent ? c->family == FAMILY_QWEN2_MOE : said.qkv_bias;
    c->dtype = DTYPE_F32;
    return check_family(&place, c, !silent, err) || check_model(&place, c, err) ? -1 : 0;
}

/* member: the struct recipe_pretrain */
static int read_tokenizer_data(lua_State *L, const struct lua_place *at, const struct field *f,
                               void *member, struct buf *err)
{
    struct recipe_pretrain *p = member;
    p->tokenizer_data_said = true;
    return recipe_lesson_data_read(L, at, f, &p->tokenizer_data, err);
}

static int read_tokenizer(lua_State *L, const struct lua_place *at, const struct field *f,
                          void *member, struct buf *err)
{
    static const struct field fields[] = {
        { .name = "vocab",
          .type = FIELD_WHOLE,
          .offset = offsetof(struct recipe_pretrain, vocab),
          .required = true,
          .lo = VOCAB_MIN,
          .hi = VOCAB_MAX },
        { .name = "train", .type = FIELD_OTHER, .read = read_tokenizer_data },
        { .name = NULL },
    };
    struct recipe_pretrain *p = member;
    const struct field text = { .name = f->name, .type = FIELD_STRING };
    if (lua_type(L, -1) == LUA_TSTRING)
        return field_read_value(L, at, &text, &p->tokenizer, err);
    if (lua_type(L, -1) != LUA_TTABLE)
        return field_refuse(L, at, f, "a folder, a tokenizer.json, or { vocab = 8192 }", err);
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    return fields_read(L, &place, fields, p, err);
}

/* The fields of pretrain { ... } alone, and behind them those of sft. */
static const struct field own_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .offset = offsetof(struct recipe_pretrain, name),
      .required = true },
    { .name = "model",
      .type = FIELD_OTHER,
      .offset = offsetof(struct recipe_pretrain, model),
      .read = read_model,
      .required = true },
    { .name = "tokenizer", .type = FIELD_OTHER, .read = read_tokenizer, .required = true },
    { .name = "end_text",
      .type = FIELD_STRING,
      .offset = offsetof(struct recipe_pretrain, end_text) },
    { .name = "K",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct recipe_pretrain, K),
      .lo = 1,
      .hi = EXPERTS_MAX },
    { .name = "out", .type = FIELD_STRING, .offset = offsetof(struct recipe_pretrain, out) },
};

int recipe_pretrain_read(lua_State *L, const struct lua_place *at, struct recipe_pretrain *p,
                         struct buf *err)
{
    struct field fields[ARRAY_LEN(own_fields) + RECIPE_TRAIN_FIELDS + 1] = { 0 };
    *p = (struct recipe_pretrain){ .at = *at, .end_text = xstrdup("<|endoftext|>") };
    recipe_train_defaults(&p->train, true);
    p->train.at = *at;
    memcpy(fields, own_fields, sizeof(own_fields));
    recipe_train_fields(offsetof(struct recipe_pretrain, train), fields + ARRAY_LEN(own_fields));
    if (fields_read(L, at, fields, p, err) != 0 || recipe_check_name(at, p->name, err) != 0)
        return -1;
    if (p->K > p->model.experts)
        return place_fail(at, "K", err, "%d; allowed is 1 to the model's experts, which is %d",
                          p->K, p->model.experts);
    return recipe_train_check(&p->train, err);
}

void recipe_pretrain_release(struct recipe_pretrain *p)
{
    recipe_train_release(&p->train);
    lesson_data_release(&p->tokenizer_data);
    free(p->name);
    free(p->tokenizer);
    free(p->end_text);
    free(p->out);
}
