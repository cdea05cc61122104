/*
 * config.c: config.json of a model folder, read into a struct model_config (weights.h).
 *
 * Invariant: an option that would change the numbers is either understood or refused by name; one
 * that is absent has the value that transformers gives it. Sizes have no defaults: they must stand.
 * Leaves out: keys that do not matter to a forward pass (dropout, token ids, initialisation).
 */
#include "config_rope.h"
#include "json.h"
#include "weights.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_CONFIG = 10 * 1000 * 1000,
    MAX_LAYERS = 1000,
    MAX_EXPERTS = 4096,
    MAX_HEADS = 4096,
    MAX_HEAD_DIM = 4096,
    MAX_WIDTH = 1 << 20,  // of hidden and feed-forward layers
    MAX_LENGTH = 1 << 24, // of vocabulary and context
};

/* A switch that may be there, but not switched on. */
static int refuse_true(const struct json_in *in, const char *key)
{
    bool value = false;
    if (json_opt_bool(in, key, &value))
        return -1;
    return value ? json_refuse(in, key, "only false is supported") : 0;
}

static int read_olmoe(const struct json_in *in, struct model_config *c)
{
    return json_opt_number(in, "clip_qkv", 1e-6, 1e30, &c->clip_qkv) ||
           refuse_true(in, "attention_bias");
}

/* Every layer has experts, and every one sees the whole sequence. */
static int read_qwen(const struct json_in *in)
{
    int step = 1;
    const json_t *dense = NULL, *types = NULL, *type;
    if (refuse_true(in, "use_sliding_window") ||
        json_opt_int(in, "decoder_sparse_step", 0, MAX_LAYERS, &step) ||
        (json_value(in, "mlp_only_layers") && json_need_array(in, "mlp_only_layers", &dense)) ||
        (json_value(in, "layer_types") && json_need_array(in, "layer_types", &types)))
        return -1;
    if (step != 1)
        return json_refuse(in, "decoder_sparse_step", "only 1 is supported: experts in each layer");
    if (json_array_size(dense))
        return json_refuse(in, "mlp_only_layers",
                           "only an empty list is supported: no dense layer");
    for (size_t i = 0; i < json_array_size(types); i++) {
        type = json_array_get(types, i);
        if (!json_is_string(type) || strcmp(json_string_value(type), "full_attention") != 0)
            return json_refuse(in, "layer_types", "only \"full_attention\" is supported");
    }
    return 0;
}

static int read_qwen2_moe(const struct json_in *in, struct model_config *c)
{
    c->qkv_bias = true;
    return json_opt_bool(in, "qkv_bias", &c->qkv_bias) || read_qwen(in);
}

static int read_qwen3_moe(const struct json_in *in, struct model_config *c)
{
    (void)c;
    return refuse_true(in, "attention_bias") || read_qwen(in);
}

/* A window that no text is longer than hides nothing. */
static int read_mixtral(const struct json_in *in, struct model_config *c)
{
    int window = c->context;
    c->norm_topk_prob = true;
    if (json_opt_bool(in, "norm_topk_prob", &c->norm_topk_prob) ||
        json_opt_int(in, "sliding_window", 0, INT_MAX, &window))
        return -1;
    if (!c->norm_topk_prob)
        return json_refuse(in, "norm_topk_prob", "a mixtral model has only true");
    if (window < c->context)
        return json_refuse(in, "sliding_window",
                           "null, or at least max_position_embeddings (%d), is supported",
                           c->context);
    return 0;
}

enum { MAX_FOREIGN = 6 };

/* What each family has of its own. */
static const struct family_info {
    const char *name;
    double rms_eps, rope_theta; /* where the file is silent */
    const char *experts;        /* the key of N */
    const char *width;          /* the key of an expert's feed-forward width */
    bool kv_heads_stand;        /* what transformers takes for absent ones is a size of its own */
    int (*read)(const struct json_in *in, struct model_config *c);
    const char *foreign[MAX_FOREIGN]; /* keys that would make it another model */
} families[] = {
    [FAMILY_OLMOE] = { .name = "olmoe",
                       .rms_eps = 1e-5,
                       .rope_theta = 10000,
                       .experts = "num_experts",
                       .width = "intermediate_size",
                       .read = read_olmoe },
    [FAMILY_QWEN2_MOE] = { .name = "qwen2_moe",
                           .rms_eps = 1e-6,
                           .rope_theta = 10000,
                           .experts = "num_experts",
                           .width = "moe_intermediate_size",
                           .read = read_qwen2_moe },
    [FAMILY_MIXTRAL] = { .name = "mixtral",
                         .rms_eps = 1e-5,
                         .rope_theta = 1e6,
                         .experts = "num_local_experts",
                         .width = "intermediate_size",
                         .kv_heads_stand = true,
                         .read = read_mixtral,
                         .foreign = { "moe_intermediate_size", "shared_expert_intermediate_size",
                                      "clip_qkv", "qkv_bias", "attention_bias" } },
    [FAMILY_QWEN3_MOE] = { .name = "qwen3_moe",
                           .rms_eps = 1e-6,
                           .rope_theta = 10000,
                           .experts = "num_experts",
                           .width = "moe_intermediate_size",
                           .kv_heads_stand = true,
                           .read = read_qwen3_moe,
                           .foreign = { "shared_expert_intermediate_size", "clip_qkv",
                                        "qkv_bias" } },
};

const char *family_name(enum family f)
{
    return families[f].name;
}

static int refuse_family(const struct json_in *in)
{
    struct buf known = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        buf_addf(&known, "%s%s",
                 i == 0                        ? ""
                 : i + 1 < ARRAY_LEN(families) ? ", "
                                               : " and ",
                 families[i].name);
    int rc = json_refuse(in, "model_type", "%s are supported", known.s);
    buf_release(&known);
    return rc;
}

/* Off, empty and zero say that the model has no such thing: it was written down by another's code. */
static bool says_something(const json_t *value)
{
    return value && !json_is_false(value) && !(json_is_number(value) && !json_number_value(value));
}

static int read_family(const struct json_in *in, struct model_config *c)
{
    const char *type, *act = "silu";
    size_t f = 0;
    if (json_need_string(in, "model_type", &type))
        return -1;
    while (f < ARRAY_LEN(families) && strcmp(type, families[f].name) != 0)
        f++;
    if (f == ARRAY_LEN(families))
        return refuse_family(in);
    c->family = (enum family)f;
    if (json_opt_string(in, "hidden_act", &act))
        return -1;
    if (strcmp(act, "silu") != 0)
        return json_refuse(in, "hidden_act", "only silu is supported");
    if (json_value(in, "quantization_config"))
        return json_refuse(in, "quantization_config", "quantized weights are not supported");
    for (int i = 0; i < MAX_FOREIGN && families[f].foreign[i]; i++)
        if (says_something(json_value(in, families[f].foreign[i])))
            return json_refuse(in, families[f].foreign[i], "a model of the family %s has none",
                               type);
    return 0;
}

/* Transformers writes the number of experts under either key, whatever the family. */
static int read_experts(const struct json_in *in, struct model_config *c)
{
    const char *key = families[c->family].experts, *other = "num_experts";
    int same;
    if (strcmp(key, other) == 0)
        other = "num_local_experts";
    if (!json_value(in, key) && json_value(in, other))
        return json_need_int(in, other, 1, MAX_EXPERTS, &c->experts);
    if (json_need_int(in, key, 1, MAX_EXPERTS, &c->experts))
        return -1;
    same = c->experts;
    if (json_opt_int(in, other, 1, MAX_EXPERTS, &same))
        return -1;
    return same != c->experts ? json_refuse(in, other, "%s is %d", key, c->experts) : 0;
}

static int read_sizes(const struct json_in *in, struct model_config *c)
{
    if (json_need_int(in, "num_hidden_layers", 1, MAX_LAYERS, &c->layers) ||
        json_need_int(in, "hidden_size", 1, MAX_WIDTH, &c->hidden) ||
        json_need_int(in, "vocab_size", 1, MAX_LENGTH, &c->vocab) ||
        json_need_int(in, "max_position_embeddings", 2, MAX_LENGTH, &c->context) ||
        read_experts(in, c) || json_need_int(in, "num_experts_per_tok", 1, c->experts, &c->top_k) ||
        json_need_int(in, families[c->family].width, 1, MAX_WIDTH, &c->expert_ffn))
        return -1;
    if (c->family != FAMILY_QWEN2_MOE)
        return 0;
    return json_need_int(in, "shared_expert_intermediate_size", 1, MAX_WIDTH, &c->shared_ffn);
}

static int read_heads(const struct json_in *in, struct model_config *c)
{
    if (json_need_int(in, "num_attention_heads", 1, MAX_HEADS, &c->heads))
        return -1;
    c->kv_heads = c->heads;
    if ((families[c->family].kv_heads_stand || json_value(in, "num_key_value_heads")) &&
        json_need_int(in, "num_key_value_heads", 1, c->heads, &c->kv_heads))
        return -1;
    if (c->heads % c->kv_heads)
        return json_refuse(in, "num_key_value_heads",
                           "a divisor of num_attention_heads (%d) is allowed", c->heads);
    if (json_value(in, "head_dim")) {
        if (json_need_int(in, "head_dim", 2, MAX_HEAD_DIM, &c->head_dim))
            return -1;
        return c->head_dim % 2 ? json_refuse(in, "head_dim", "an even number is allowed") : 0;
    }
    c->head_dim = c->hidden / c->heads;
    if (c->hidden % c->heads || c->head_dim % 2)
        return json_refuse(in, "hidden_size",
                           "without head_dim it must be an even multiple of the %d heads",
                           c->heads);
    return 0;
}

static int read_rest(const struct json_in *in, struct model_config *c)
{
    const char *key = json_value(in, "dtype") ? "dtype" : "torch_dtype", *dtype = "float32";
    c->rms_eps = families[c->family].rms_eps;
    if (json_opt_number(in, "rms_norm_eps", 1e-12, 1, &c->rms_eps) ||
        json_opt_bool(in, "norm_topk_prob", &c->norm_topk_prob) ||
        json_opt_bool(in, "tie_word_embeddings", &c->tied) || json_opt_string(in, key, &dtype))
        return -1;
    if (dtype_parse(dtype, &c->dtype))
        return json_refuse(in, key, "float32, bfloat16 and float16 are supported");
    return families[c->family].read(in, c);
}

/* "eos_token_id" is a number, a list of them, or not there. */
static int read_eos(const struct json_in *in, struct model_config *c)
{
    const json_t *value = json_value(in, "eos_token_id"), *one;
    size_t n = json_is_array(value) ? json_array_size(value) : value != NULL;
    if (!value)
        return 0;
    c->neos = 0;
    if (n > MAX_EOS)
        return json_refuse(in, "eos_token_id", "at most %d are supported", MAX_EOS);
    for (size_t i = 0; i < n; i++) {
        one = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(one) || json_integer_value(one) < 0 ||
            json_integer_value(one) >= c->vocab)
            return json_refuse(in, "eos_token_id", "ids from 0 to %d are allowed", c->vocab - 1);
        c->eos[c->neos++] = (int32_t)json_integer_value(one);
    }
    return 0;
}

/* Where a model's folder has it, generation_config.json has the last word on where texts end. */
static int read_generation(const char *dir, struct model_config *c, struct buf *err)
{
    char *path = xasprintf("%s/generation_config.json", dir);
    int rc = 0;
    if (access(path, F_OK) == 0) {
        const struct model_config was = *c;
        json_t *root = json_read_file(path, MAX_CONFIG, err);
        struct json_in in = { root, path, err };
        rc = root ? read_eos(&in, c) : -1;
        c->eos_apart =
            c->neos != was.neos || memcmp(c->eos, was.eos, (size_t)c->neos * sizeof(*c->eos)) != 0;
        json_decref(root);
    }
    free(path);
    return rc;
}

/* The last part of the path, also where that is "." or ends in a slash. */
static char *folder_name(const char *dir)
{
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    size_t start = len;
    while (start > 0 && dir[start - 1] != '/')
        start--;
    char *name = xstrndup(dir + start, len - start);
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        return name;
    char *full = realpath(dir, NULL);
    const char *slash = full ? strrchr(full, '/') : NULL;
    if (slash) {
        free(name);
        name = xstrdup(slash + 1);
    }
    free(full);
    return name;
}

int config_read(const char *dir, struct model_config *out, struct buf *err)
{
    memset(out, 0, sizeof(*out));
    char *path = xasprintf("%s/config.json", dir);
    json_t *root = json_read_file(path, MAX_CONFIG, err);
    struct json_in in = { root, path, err };
    int rc = !root || read_family(&in, out) || read_sizes(&in, out) || read_heads(&in, out) ||
             config_read_rope(&in, families[out->family].rope_theta, out) || read_rest(&in, out) ||
             read_eos(&in, out) || read_generation(dir, out, err);
    json_decref(root);
    free(path);
    if (rc)
        return -1;
    out->name = folder_name(dir);
    return 0;
}

void config_release(struct model_config *c)
{
    free(c->name);
    c->name = NULL;
}
