/*
 * config.c: config.json of a model folder, read into a struct model_config (weights.h).
 *
 * Invariant: an option that would change the numbers is either understood or refused by name; one
 * that is absent has the value that transformers gives it. Sizes have no defaults: they must stand.
 * Leaves out: keys that do not matter to a forward pass (dropout, token ids, initialisation).
 */
#include "json.h"
#include "weights.h"

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

static int read_family(const struct json_in *in, struct model_config *c)
{
    const char *type, *act = "silu";
    if (json_need_string(in, "model_type", &type))
        return -1;
    if (strcmp(type, "olmoe") == 0)
        c->family = FAMILY_OLMOE;
    else if (strcmp(type, "qwen2_moe") == 0)
        c->family = FAMILY_QWEN2_MOE;
    else
        return json_refuse(in, "model_type", "olmoe and qwen2_moe are supported");
    if (json_opt_string(in, "hidden_act", &act))
        return -1;
    if (strcmp(act, "silu") != 0)
        return json_refuse(in, "hidden_act", "only silu is supported");
    if (json_value(in, "quantization_config"))
        return json_refuse(in, "quantization_config", "quantized weights are not supported");
    return 0;
}

static int read_sizes(const struct json_in *in, struct model_config *c)
{
    if (json_need_int(in, "num_hidden_layers", 1, MAX_LAYERS, &c->layers) ||
        json_need_int(in, "hidden_size", 1, MAX_WIDTH, &c->hidden) ||
        json_need_int(in, "vocab_size", 1, MAX_LENGTH, &c->vocab) ||
        json_need_int(in, "max_position_embeddings", 2, MAX_LENGTH, &c->context) ||
        json_need_int(in, "num_experts", 1, MAX_EXPERTS, &c->experts) ||
        json_need_int(in, "num_experts_per_tok", 1, c->experts, &c->top_k))
        return -1;
    if (c->family == FAMILY_OLMOE)
        return json_need_int(in, "intermediate_size", 1, MAX_WIDTH, &c->expert_ffn);
    if (json_need_int(in, "moe_intermediate_size", 1, MAX_WIDTH, &c->expert_ffn) ||
        json_need_int(in, "shared_expert_intermediate_size", 1, MAX_WIDTH, &c->shared_ffn))
        return -1;
    return 0;
}

static int read_heads(const struct json_in *in, struct model_config *c)
{
    if (json_need_int(in, "num_attention_heads", 1, MAX_HEADS, &c->heads))
        return -1;
    c->kv_heads = c->heads;
    if (json_opt_int(in, "num_key_value_heads", 1, c->heads, &c->kv_heads))
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

static int rope_type(const struct json_in *in, const char *key)
{
    const char *type = "default";
    if (json_opt_string(in, key, &type))
        return -1;
    return strcmp(type, "default") ? json_refuse(in, key, "only \"default\" is supported") : 0;
}

/* Rotary embedding: the base at the top level, or with its type in an object of its own. */
static int read_rope_object(const struct json_in *in, const char *key, bool *stated, double *theta)
{
    const json_t *object;
    if (!json_value(in, key))
        return 0;
    if (json_need_object(in, key, &object))
        return -1;
    struct buf where = BUF_INIT;
    buf_addf(&where, "%s: %s", in->where, key);
    struct json_in sub = { object, where.s, in->err };
    double part = 1, own = *theta;
    int rc = rope_type(&sub, "type") || rope_type(&sub, "rope_type") ||
             json_opt_number(&sub, "partial_rotary_factor", 0, 1, &part) ||
             json_opt_number(&sub, "rope_theta", 1, 1e12, &own);
    if (rc == 0 && part != 1)
        rc = json_refuse(&sub, "partial_rotary_factor", "only 1 is supported");
    else if (rc == 0 && own != *theta && *stated)
        rc = json_refuse(&sub, "rope_theta", "elsewhere in the file it is %g", *theta);
    *theta = own;
    *stated = *stated || json_value(&sub, "rope_theta");
    buf_release(&where);
    return rc;
}

static int read_rope(const struct json_in *in, struct model_config *c)
{
    bool stated = json_value(in, "rope_theta");
    c->rope_theta = 10000;
    if (json_opt_number(in, "rope_theta", 1, 1e12, &c->rope_theta) ||
        read_rope_object(in, "rope_parameters", &stated, &c->rope_theta) ||
        read_rope_object(in, "rope_scaling", &stated, &c->rope_theta))
        return -1;
    return 0;
}

static int read_olmoe(const struct json_in *in, struct model_config *c)
{
    return json_opt_number(in, "clip_qkv", 1e-6, 1e30, &c->clip_qkv) ||
           refuse_true(in, "attention_bias");
}

/* Every layer has experts, and every one sees the whole sequence. */
static int read_qwen2_moe(const struct json_in *in, struct model_config *c)
{
    int step = 1;
    const json_t *dense = NULL, *types = NULL, *type;
    c->qkv_bias = true;
    if (json_opt_bool(in, "qkv_bias", &c->qkv_bias) || refuse_true(in, "use_sliding_window") ||
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

static int read_rest(const struct json_in *in, struct model_config *c)
{
    const char *key = json_value(in, "dtype") ? "dtype" : "torch_dtype", *dtype = "float32";
    c->rms_eps = c->family == FAMILY_OLMOE ? 1e-5 : 1e-6;
    if (json_opt_number(in, "rms_norm_eps", 1e-12, 1, &c->rms_eps) ||
        json_opt_bool(in, "norm_topk_prob", &c->norm_topk_prob) ||
        json_opt_bool(in, "tie_word_embeddings", &c->tied) || json_opt_string(in, key, &dtype))
        return -1;
    if (dtype_parse(dtype, &c->dtype))
        return json_refuse(in, key, "float32, bfloat16 and float16 are supported");
    return c->family == FAMILY_OLMOE ? read_olmoe(in, c) : read_qwen2_moe(in, c);
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
             read_rope(&in, out) || read_rest(&in, out) || read_eos(&in, out) ||
             read_generation(dir, out, err);
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
