/*
 * model_init.c: see model_init.h. config.json has the keys that `transformers` would write; what
 * config.c reads back from it is what the weights are made for.
 */
#include "train/model_init.h"

#include "json.h"
#include "splitmix.h"
#include "train/checkpoint.h"
#include "train/checkpoint_file.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_TOKENIZER = 256 * 1000 * 1000 };

static const double spread = 0.02;

/* ---- numbers ---- */

/* A number in (0, 1]. */
static double uniform(uint64_t *state)
{
    return (double)((splitmix_next(state) >> 11) + 1) * 0x1p-53;
}

/* Box and Muller's way: two normal numbers from two uniform ones. */
static void fill_normal(float *v, int64_t n, uint64_t state)
{
    for (int64_t i = 0; i < n; i += 2) {
        double radius = spread * sqrt(-2 * log(uniform(&state)));
        double angle = 2 * M_PI * uniform(&state);
        v[i] = (float)(radius * cos(angle));
        if (i + 1 < n)
            v[i + 1] = (float)(radius * sin(angle));
    }
}

static uint64_t state_of(int64_t seed, const char *name)
{
    uint64_t state = 0xcbf29ce484222325u ^ (uint64_t)seed * SPLITMIX_STEP;
    for (const char *c = name; *c; c++)
        state = (state ^ (unsigned char)*c) * 0x100000001b3u;
    return state;
}

/* ---- the weights ---- */

struct tensors {
    struct checkpoint_tensor *v;
    size_t len, cap;
    int64_t seed;
};

static void add_tensor(void *context, const char *name, int ndim, const int64_t shape[2])
{
    struct tensors *ts = context;
    int64_t n = shape[0] * (ndim == 2 ? shape[1] : 1);
    size_t len = strlen(name);
    float *values = xcalloc((size_t)n, sizeof(*values));
    int64_t *own = xmalloc(2 * sizeof(*own));
    memcpy(own, shape, 2 * sizeof(*own));
    if (ndim == 2)
        fill_normal(values, n, state_of(ts->seed, name));
    else if (strcmp(name + len - strlen("bias"), "bias") != 0)
        for (int64_t i = 0; i < n; i++)
            values[i] = 1;
    ARRAY_GROW(ts->v, ts->cap, ts->len + 1);
    ts->v[ts->len++] = (struct checkpoint_tensor){ xstrdup(name), ndim, own, values };
}

static void release_tensors(struct tensors *ts)
{
    for (size_t i = 0; i < ts->len; i++) {
        free((char *)ts->v[i].name);
        free((int64_t *)ts->v[i].shape);
        free((float *)ts->v[i].values);
    }
    free(ts->v);
}

/* ---- config.json ---- */

static json_t *eos_json(const struct model_config *c)
{
    if (c->neos == 0)
        return json_null();
    if (c->neos == 1)
        return json_integer(c->eos[0]);
    json_t *list = json_array();
    for (int i = 0; i < c->neos; i++)
        json_array_append_new(list, json_integer(c->eos[i]));
    return list;
}

/* The dense feed-forward layer that intermediate_size is of stands in no layer of Qwen's. */
static json_t *family_json(const struct model_config *c)
{
    switch (c->family) {
    case FAMILY_OLMOE:
        return json_pack("{s:[s],s:s,s:i,s:o,s:b}", "architectures", "OlmoeForCausalLM",
                         "model_type", "olmoe", "intermediate_size", c->expert_ffn, "clip_qkv",
                         c->clip_qkv > 0 ? json_real(c->clip_qkv) : json_null(), "attention_bias",
                         0);
    case FAMILY_QWEN2_MOE:
        return json_pack("{s:[s],s:s,s:i,s:i,s:i,s:i,s:[],s:b,s:n,s:b}", "architectures",
                         "Qwen2MoeForCausalLM", "model_type", "qwen2_moe", "intermediate_size",
                         c->shared_ffn, "moe_intermediate_size", c->expert_ffn,
                         "shared_expert_intermediate_size", c->shared_ffn, "decoder_sparse_step", 1,
                         "mlp_only_layers", "qkv_bias", c->qkv_bias, "sliding_window",
                         "use_sliding_window", 0);
    case FAMILY_MIXTRAL:
        return json_pack("{s:[s],s:s,s:i,s:n}", "architectures", "MixtralForCausalLM", "model_type",
                         "mixtral", "intermediate_size", c->expert_ffn, "sliding_window");
    case FAMILY_QWEN3_MOE:
        return json_pack("{s:[s],s:s,s:i,s:i,s:i,s:[],s:b,s:n,s:b}", "architectures",
                         "Qwen3MoeForCausalLM", "model_type", "qwen3_moe", "intermediate_size",
                         c->expert_ffn, "moe_intermediate_size", c->expert_ffn,
                         "decoder_sparse_step", 1, "mlp_only_layers", "attention_bias", 0,
                         "sliding_window", "use_sliding_window", 0);
    }
    BUG("family %d", (int)c->family);
}

static json_t *config_json(const struct model_config *c)
{
    bool mixtral = c->family == FAMILY_MIXTRAL;
    double eps = c->family == FAMILY_OLMOE || mixtral ? 1e-5 : 1e-6;
    double theta = mixtral ? 1e6 : 10000;
    json_t *config = family_json(c);
    json_t *sizes = json_pack(
        "{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "vocab_size", c->vocab, "hidden_size", c->hidden,
        "num_hidden_layers", c->layers, "num_attention_heads", c->heads, "num_key_value_heads",
        c->kv_heads ? c->kv_heads : c->heads, "max_position_embeddings", c->context,
        mixtral ? "num_local_experts" : "num_experts", c->experts, "num_experts_per_tok", c->top_k);
    json_t *rest = json_pack(
        "{s:s,s:f,s:f,s:b,s:b,s:s,s:n,s:n,s:o,s:f,s:b,s:b,s:f,s:f}", "hidden_act", "silu",
        "rms_norm_eps", c->rms_eps > 0 ? c->rms_eps : eps, "rope_theta",
        c->rope_theta > 0 ? c->rope_theta : theta, "tie_word_embeddings", c->tied, "norm_topk_prob",
        c->norm_topk_prob, "torch_dtype", dtype_name(c->dtype), "bos_token_id", "pad_token_id",
        "eos_token_id", eos_json(c), "router_aux_loss_coef", 0.01, "output_router_logits", 0,
        "use_cache", 1, "initializer_range", spread, "attention_dropout", 0.0);
    if (!config || !sizes || !rest)
        BUG("a configuration could not be written as JSON");
    if (mixtral) // its weights of a token always sum to one, and no key says so
        json_object_del(rest, "norm_topk_prob");
    if (c->head_dim)
        json_object_set_new(sizes, "head_dim", json_integer(c->head_dim));
    json_object_update(config, sizes);
    json_object_update(config, rest);
    json_decref(sizes);
    json_decref(rest);
    return config;
}

static int write_config(const char *dir, const struct model_config *c, struct buf *err)
{
    json_t *config = config_json(c);
    char *text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    if (!text)
        BUG("a configuration could not be written as JSON");
    int rc = checkpoint_file_text(dir, "config.json", text, strlen(text), err);
    free(text);
    json_decref(config);
    return rc;
}

/* ---- the folder ---- */

static int copy_tokenizer(const char *dir, const char *tokenizer, struct buf *err)
{
    struct buf text = BUF_INIT;
    if (!tokenizer)
        return 0;
    int rc = read_file(tokenizer, MAX_TOKENIZER, &text, err) ||
             checkpoint_file_text(dir, "tokenizer.json", text.s, text.len, err);
    buf_release(&text);
    return rc ? -1 : 0;
}

static int write_weights(const char *dir, const struct model_config *c, int64_t seed,
                         struct buf *err)
{
    char *path = xasprintf("%s/model.safetensors", dir);
    struct tensors ts = { .seed = seed };
    weights_each(c, add_tensor, &ts);
    int rc = safetensors_write(path, ts.v, ts.len, c->dtype, err);
    release_tensors(&ts);
    free(path);
    return rc;
}

static int fill_folder(const char *dir, const struct model_config *c, const char *tokenizer,
                       int64_t seed, struct buf *err)
{
    struct model_config read;
    if (write_config(dir, c, err) || copy_tokenizer(dir, tokenizer, err) ||
        config_read(dir, &read, err))
        return -1;
    int rc = write_weights(dir, &read, seed, err) || checkpoint_folder_sync(dir, err);
    config_release(&read);
    return rc ? -1 : 0;
}

int model_init(const char *dir, const struct model_config *c, const char *tokenizer, int64_t seed,
               struct buf *err)
{
    if (access(dir, F_OK) == 0)
        return fail(err, "%s: it is there already", dir);
    char *tmp = xasprintf("%s.tmp", dir);
    struct buf ignored = BUF_INIT;
    int rc = checkpoint_folder_remove(tmp, err) || make_dirs(tmp, err) ? -1 : 0;
    if (rc == 0) {
        rc = fill_folder(tmp, c, tokenizer, seed, err);
        if (rc == 0 && rename(tmp, dir) != 0)
            rc = fail(err, "%s: %s", dir, strerror(errno));
        if (rc && checkpoint_folder_remove(tmp, &ignored))
            warning("%s", ignored.s);
    }
    buf_release(&ignored);
    free(tmp);
    return rc;
}
