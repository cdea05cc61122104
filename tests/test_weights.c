/*
 * test_weights.c: model folders of every layout open with each tensor in its place; what a
 * configuration says that the decoder cannot do, and what the files lack, is refused by name.
 */
#include "weights.h"

#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct buf err = BUF_INIT;
static char *dir; // of the test that runs

static int set_up(void **state)
{
    (void)state;
    dir = fixture_dir();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_release(&err);
    fixture_remove(dir);
    return 0;
}

static void has_words(const char *words)
{
    if (!strstr(err.s, words) || strchr(err.s, '\n'))
        fail_msg("the error is '%s', it should have '%s'", err.s, words);
}

static struct weights *opened(const char *path)
{
    struct weights *w = weights_open(path, &err);
    if (!w)
        fail_msg("%s", err.s);
    return w;
}

static void refused(const char *words)
{
    if (weights_open(dir, &err))
        fail_msg("it was opened, but should be refused for '%s'", words);
    has_words(words);
    has_words(dir);
}

/* ---- whole models ---- */

/* A tensor is the one of this name, with these numbers as its shape (cols 0: a vector). */
static void is_tensor(const struct st_tensor *t, const char *name, int rows, int cols)
{
    assert_non_null(t);
    assert_string_equal(t->name, name);
    assert_int_equal(t->ndim, cols ? 2 : 1);
    assert_int_equal(t->shape[0], rows);
    if (cols)
        assert_int_equal(t->shape[1], cols);
}

static void an_olmoe_folder_opens(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    m.kv_heads = 2;
    m.hidden = 24;
    m.clip_qkv = 8;
    m.rope_theta = 5000;
    fixture_model_write(dir, &m);
    struct weights *w = opened(dir);
    const struct model_config *c = &w->config;
    assert_string_equal(c->name, strrchr(dir, '/') + 1);
    assert_int_equal(c->family, FAMILY_OLMOE);
    assert_true(c->layers == 2 && c->hidden == 24 && c->heads == 4 && c->kv_heads == 2);
    assert_true(c->head_dim == 4 && c->vocab == 32 && c->context == 64 && c->experts == 8);
    assert_true(c->top_k == 2 && c->expert_ffn == 6 && c->shared_ffn == 0);
    assert_true(c->rms_eps == 1e-5 && c->rope_theta == 5000 && c->clip_qkv == 8);
    assert_true(!c->norm_topk_prob && !c->qkv_bias && !c->tied && c->dtype == DTYPE_F32);
    is_tensor(w->embed, "model.embed_tokens.weight", 32, 24);
    is_tensor(w->norm, "model.norm.weight", 24, 0);
    is_tensor(w->head, "lm_head.weight", 32, 24);
    const struct layer_weights *l = &w->layer[1];
    is_tensor(l->attn_norm, "model.layers.1.input_layernorm.weight", 24, 0);
    is_tensor(l->q, "model.layers.1.self_attn.q_proj.weight", 16, 24);
    is_tensor(l->k, "model.layers.1.self_attn.k_proj.weight", 8, 24);
    is_tensor(l->v, "model.layers.1.self_attn.v_proj.weight", 8, 24);
    is_tensor(l->o, "model.layers.1.self_attn.o_proj.weight", 24, 16);
    is_tensor(l->q_norm, "model.layers.1.self_attn.q_norm.weight", 16, 0);
    is_tensor(l->k_norm, "model.layers.1.self_attn.k_norm.weight", 8, 0);
    is_tensor(l->ffn_norm, "model.layers.1.post_attention_layernorm.weight", 24, 0);
    is_tensor(l->router, "model.layers.1.mlp.gate.weight", 8, 24);
    is_tensor(l->gate[7], "model.layers.1.mlp.experts.7.gate_proj.weight", 6, 24);
    is_tensor(l->up[0], "model.layers.1.mlp.experts.0.up_proj.weight", 6, 24);
    is_tensor(l->down[3], "model.layers.1.mlp.experts.3.down_proj.weight", 24, 6);
    assert_true(!l->q_bias && !l->k_bias && !l->v_bias && !l->shared_gate && !l->shared_up);
    assert_true(!l->shared_down && !l->shared_expert_gate);
    is_tensor(w->layer[0].q, "model.layers.0.self_attn.q_proj.weight", 16, 24);
    weights_close(w);
}

static void a_qwen2_moe_folder_opens(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_QWEN2_MOE);
    m.kv_heads = 1;
    m.norm_topk_prob = m.tied = m.rope_parameters = true;
    m.rope_theta = 1e6;
    m.dtype = DTYPE_BF16;
    fixture_model_write(dir, &m);
    struct weights *w = opened(dir);
    const struct model_config *c = &w->config;
    assert_int_equal(c->family, FAMILY_QWEN2_MOE);
    assert_true(c->kv_heads == 1 && c->expert_ffn == 6 && c->shared_ffn == 10);
    assert_true(c->rope_theta == 1e6 && c->clip_qkv == 0);
    assert_true(c->norm_topk_prob && c->qkv_bias && c->tied && c->dtype == DTYPE_BF16);
    assert_ptr_equal(w->head, w->embed);
    const struct layer_weights *l = &w->layer[0];
    is_tensor(l->k, "model.layers.0.self_attn.k_proj.weight", 4, 16);
    is_tensor(l->q_bias, "model.layers.0.self_attn.q_proj.bias", 16, 0);
    is_tensor(l->k_bias, "model.layers.0.self_attn.k_proj.bias", 4, 0);
    is_tensor(l->v_bias, "model.layers.0.self_attn.v_proj.bias", 4, 0);
    is_tensor(l->shared_gate, "model.layers.0.mlp.shared_expert.gate_proj.weight", 10, 16);
    is_tensor(l->shared_up, "model.layers.0.mlp.shared_expert.up_proj.weight", 10, 16);
    is_tensor(l->shared_down, "model.layers.0.mlp.shared_expert.down_proj.weight", 16, 10);
    is_tensor(l->shared_expert_gate, "model.layers.0.mlp.shared_expert_gate.weight", 1, 16);
    assert_true(!l->q_norm && !l->k_norm);
    assert_int_equal(l->router->dtype, DTYPE_BF16);
    weights_close(w);
}

static void a_mixtral_folder_opens(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_MIXTRAL);
    m.kv_heads = 2;
    m.hidden = 24;
    m.rope_theta = 1e6;
    fixture_model_write(dir, &m);
    struct weights *w = opened(dir);
    const struct model_config *c = &w->config;
    assert_int_equal(c->family, FAMILY_MIXTRAL);
    assert_true(c->kv_heads == 2 && c->experts == 8 && c->top_k == 2 && c->expert_ffn == 6);
    assert_true(c->head_dim == 4 && c->shared_ffn == 0 && c->clip_qkv == 0 && !c->qkv_bias);
    assert_true(c->norm_topk_prob && c->rope_theta == 1e6 && c->rope.kind == ROPE_DEFAULT);
    const struct layer_weights *l = &w->layer[1];
    is_tensor(l->q, "model.layers.1.self_attn.q_proj.weight", 16, 24);
    is_tensor(l->k, "model.layers.1.self_attn.k_proj.weight", 8, 24);
    is_tensor(l->router, "model.layers.1.block_sparse_moe.gate.weight", 8, 24);
    is_tensor(l->gate[7], "model.layers.1.block_sparse_moe.experts.7.w1.weight", 6, 24);
    is_tensor(l->up[0], "model.layers.1.block_sparse_moe.experts.0.w3.weight", 6, 24);
    is_tensor(l->down[3], "model.layers.1.block_sparse_moe.experts.3.w2.weight", 24, 6);
    assert_true(!l->q_norm && !l->k_norm && !l->q_bias && !l->shared_gate && !l->views);
    weights_close(w);
}

static void a_qwen3_moe_folder_opens(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_QWEN3_MOE);
    m.kv_heads = 2;
    m.head_dim = 10; // more than hidden / heads
    m.norm_topk_prob = true;
    fixture_model_write(dir, &m);
    struct weights *w = opened(dir);
    const struct model_config *c = &w->config;
    assert_int_equal(c->family, FAMILY_QWEN3_MOE);
    assert_true(c->hidden == 16 && c->heads == 4 && c->head_dim == 10 && c->expert_ffn == 6);
    assert_true(c->norm_topk_prob && !c->qkv_bias && c->shared_ffn == 0);
    const struct layer_weights *l = &w->layer[1];
    is_tensor(l->q, "model.layers.1.self_attn.q_proj.weight", 40, 16);
    is_tensor(l->k, "model.layers.1.self_attn.k_proj.weight", 20, 16);
    is_tensor(l->o, "model.layers.1.self_attn.o_proj.weight", 16, 40);
    is_tensor(l->q_norm, "model.layers.1.self_attn.q_norm.weight", 10, 0);
    is_tensor(l->k_norm, "model.layers.1.self_attn.k_norm.weight", 10, 0);
    is_tensor(l->router, "model.layers.1.mlp.gate.weight", 8, 16);
    is_tensor(l->up[7], "model.layers.1.mlp.experts.7.up_proj.weight", 6, 16);
    assert_true(!l->q_bias && !l->shared_gate && !l->shared_expert_gate);
    weights_close(w);
}

/* Gate above up of each expert, and one expert behind the other. */
static void experts_may_lie_in_two_tensors(void **state)
{
    (void)state;
    static const char *const names[][3] = {
        [FAMILY_OLMOE] = { "mlp.experts.5.gate_proj.weight", "mlp.experts.5.up_proj.weight",
                           "mlp.experts.5.down_proj.weight" },
        [FAMILY_MIXTRAL] = { "block_sparse_moe.experts.5.w1.weight",
                             "block_sparse_moe.experts.5.w3.weight",
                             "block_sparse_moe.experts.5.w2.weight" },
    };
    for (int family = FAMILY_OLMOE; family <= FAMILY_MIXTRAL; family += 2) {
        struct fixture_model m = fixture_model((enum family)family);
        m.fused = true;
        m.dtype = DTYPE_BF16;
        fixture_model_write(dir, &m);
        struct weights *w = opened(dir);
        const struct layer_weights *l = &w->layer[1];
        const struct st_tensor *both =
            safetensors_find(w->files, "model.layers.1.mlp.experts.gate_up_proj");
        const struct st_tensor *down =
            safetensors_find(w->files, "model.layers.1.mlp.experts.down_proj");
        const struct st_tensor *at[] = { l->gate[5], l->up[5], l->down[5] };
        for (int i = 0; i < 3; i++) {
            char *name = xasprintf("model.layers.1.%s", names[family][i]);
            is_tensor(at[i], name, i == 2 ? 16 : 6, i == 2 ? 6 : 16);
            assert_int_equal(at[i]->bytes, 6 * 16 * 2);
            assert_int_equal(at[i]->dtype, DTYPE_BF16);
            free(name);
        }
        assert_ptr_equal(at[0]->data, (const char *)both->data + 10 * 6 * 16 * 2);
        assert_ptr_equal(at[1]->data, (const char *)both->data + 11 * 6 * 16 * 2);
        assert_ptr_equal(at[2]->data, (const char *)down->data + 5 * 6 * 16 * 2);
        is_tensor(l->router,
                  family == FAMILY_MIXTRAL ? "model.layers.1.block_sparse_moe.gate.weight"
                                           : "model.layers.1.mlp.gate.weight",
                  8, 16);
        weights_close(w);
        m.omit = "model.layers.1.mlp.experts.down_proj";
        fixture_model_write(dir, &m);
        refused("tensor 'model.layers.1.mlp.experts.down_proj' of shape [8, 16, 6] is missing");
        m.omit = "model.layers.0.mlp.gate.weight";
        fixture_model_write(dir, &m);
        refused("tensor 'model.layers.0.mlp.gate.weight' of shape [8, 16] is missing");
        m.omit = NULL;
        m.reshape = "model.layers.0.mlp.experts.gate_up_proj";
        fixture_model_write(dir, &m);
        refused("has shape [8, 13, 16], but config.json makes it [8, 12, 16]");
        m.reshape = NULL;
        m.extra = "model.layers.0.mlp.experts.0.up_proj.weight";
        fixture_model_write(dir, &m);
        refused("tensor 'model.layers.0.mlp.experts.0.up_proj.weight' has no place");
    }
}

static void biases_may_be_switched_off(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_QWEN2_MOE);
    m.qkv_bias = false;
    fixture_model_write(dir, &m);
    struct weights *w = opened(dir);
    assert_true(!w->config.qkv_bias && !w->layer[0].q_bias);
    weights_close(w);
    // Biases in the files that the configuration does not know would be left out: refused.
    m.qkv_bias = true;
    fixture_model_write(dir, &m);
    fixture_json_set(dir, "config.json", "qkv_bias", "false");
    refused("self_attn.k_proj.bias' has no place in the model");
    fixture_json_set(dir, "config.json", "qkv_bias", NULL);
    weights_close(opened(dir));
}

static void shards_hold_the_same_model(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    char one[33], three[33];
    fixture_model_write(dir, &m);
    assert_int_equal(weights_hash(dir, one, &err), 0);
    char *single = xasprintf("%s/model.safetensors", dir);
    assert_int_equal(unlink(single), 0);
    m.shards = 3;
    fixture_model_write(dir, &m);
    struct weights *w = opened(dir);
    assert_non_null(strstr(w->embed->file, "model-00001-of-00003.safetensors"));
    assert_non_null(strstr(w->head->file, "model-00003-of-00003.safetensors"));
    weights_close(w);
    assert_int_equal(weights_hash(dir, three, &err), 0);
    assert_string_equal(one, three);
    free(single);
}

static double number(const struct st_tensor *t, size_t i)
{
    const char *at = (const char *)t->data + i * dtype_size(t->dtype);
    float f;
    uint16_t h;
    if (t->dtype == DTYPE_F32) {
        memcpy(&f, at, 4);
        return (double)f;
    }
    memcpy(&h, at, 2);
    int mantissa = t->dtype == DTYPE_BF16 ? 7 : 10, bias = t->dtype == DTYPE_BF16 ? 127 : 15;
    int exponent = (h & 0x7fff) >> mantissa, rest = h & ((1 << mantissa) - 1);
    double x = exponent ? ldexp(1 + ldexp(rest, -mantissa), exponent - bias) : 0;
    return h & 0x8000 ? -x : x;
}

static void each_format_holds_the_same_numbers(void **state)
{
    (void)state;
    const double precise[] = {
        [DTYPE_F32] = 0x1p-24, [DTYPE_BF16] = 0x1p-8, [DTYPE_F16] = 0x1p-11
    };
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    char *exact_dir = xasprintf("%s/exact", dir);
    fixture_model_write(exact_dir, &m);
    struct weights *exact = opened(exact_dir);
    for (int d = 0; d < 3; d++) {
        m.dtype = (enum dtype)d;
        fixture_model_write(dir, &m);
        struct weights *w = opened(dir);
        assert_int_equal(w->config.dtype, d);
        double worst = 0, largest = 0;
        for (size_t i = 0; i < 32 * 16; i++) {
            double x = number(exact->embed, i);
            worst = fmax(worst, fabs(number(w->embed, i) - x) / fmax(fabs(x), 0x1p-14));
            largest = fmax(largest, fabs(x));
        }
        assert_true(worst <= precise[d] && (d == DTYPE_F32 || worst > precise[d] / 4));
        assert_true(largest > 0.9 && largest <= 1);
        weights_close(w);
    }
    weights_close(exact);
    free(exact_dir);
}

/* ---- what the files lack ---- */

static void a_missing_tensor_is_named(void **state)
{
    (void)state;
    static const struct {
        enum family family;
        const char *name, *shape;
    } cases[] = {
        { FAMILY_OLMOE, "model.embed_tokens.weight", "[32, 16]" },
        { FAMILY_OLMOE, "model.norm.weight", "[16]" },
        { FAMILY_OLMOE, "lm_head.weight", "[32, 16]" },
        { FAMILY_OLMOE, "model.layers.0.input_layernorm.weight", "[16]" },
        { FAMILY_OLMOE, "model.layers.1.self_attn.k_norm.weight", "[16]" },
        { FAMILY_OLMOE, "model.layers.1.mlp.gate.weight", "[8, 16]" },
        { FAMILY_OLMOE, "model.layers.1.mlp.experts.7.down_proj.weight", "[16, 6]" },
        { FAMILY_QWEN2_MOE, "model.layers.0.self_attn.v_proj.bias", "[16]" },
        { FAMILY_QWEN2_MOE, "model.layers.1.mlp.shared_expert.up_proj.weight", "[10, 16]" },
        { FAMILY_QWEN2_MOE, "model.layers.1.mlp.shared_expert_gate.weight", "[1, 16]" },
        { FAMILY_MIXTRAL, "model.layers.1.block_sparse_moe.gate.weight", "[8, 16]" },
        { FAMILY_MIXTRAL, "model.layers.0.block_sparse_moe.experts.0.w1.weight", "[6, 16]" },
        { FAMILY_MIXTRAL, "model.layers.1.block_sparse_moe.experts.7.w2.weight", "[16, 6]" },
        { FAMILY_QWEN3_MOE, "model.layers.0.self_attn.k_norm.weight", "[4]" },
        { FAMILY_QWEN3_MOE, "model.layers.1.mlp.experts.7.down_proj.weight", "[16, 6]" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture_model m = fixture_model(cases[i].family);
        m.omit = cases[i].name;
        fixture_model_write(dir, &m);
        char *words = xasprintf("tensor '%s' of shape %s is missing", m.omit, cases[i].shape);
        refused(words);
        free(words);
    }
}

static void a_wrong_shape_is_named(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_QWEN2_MOE);
    m.reshape = "model.layers.1.mlp.experts.2.up_proj.weight";
    fixture_model_write(dir, &m);
    refused("model.safetensors: tensor 'model.layers.1.mlp.experts.2.up_proj.weight' has shape "
            "[7, 16], but config.json makes it [6, 16]");
    m.reshape = "model.norm.weight";
    fixture_model_write(dir, &m);
    refused("tensor 'model.norm.weight' has shape [17], but config.json makes it [16]");
    m.reshape = NULL;
    m.column = "model.norm.weight";
    fixture_model_write(dir, &m);
    refused("tensor 'model.norm.weight' has shape [16, 1], but config.json makes it [16]");
    m.column = NULL;
    fixture_model_write(dir, &m);
    fixture_json_set(dir, "config.json", "num_key_value_heads", "2");
    refused("k_proj.weight' has shape [16, 16], but config.json makes it [8, 16]");
}

static void a_tensor_without_a_place_is_refused(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    m.extra = "model.layers.0.self_attn.o_proj.bias";
    fixture_model_write(dir, &m);
    refused("tensor 'model.layers.0.self_attn.o_proj.bias' has no place in the model");
    m.extra = "model.layers.0.self_attn.rotary_emb.inv_freq";
    fixture_model_write(dir, &m);
    weights_close(opened(dir));
    m.extra = NULL;
    fixture_model_write(dir, &m);
    fixture_json_set(dir, "config.json", "num_hidden_layers", "1");
    refused("tensor 'model.layers.1.input_layernorm.weight' has no place in the model");
}

static void a_tied_head_must_be_the_embedding(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    m.tied = m.head_beside_tie = true;
    fixture_model_write(dir, &m);
    struct weights *w = opened(dir);
    assert_ptr_equal(w->head, w->embed);
    weights_close(w);
    m.tied = false;
    fixture_model_write(dir, &m);
    w = opened(dir);
    assert_ptr_not_equal(w->head, w->embed);
    weights_close(w);
    fixture_json_set(dir, "config.json", "tie_word_embeddings", "true");
    refused("tensor 'lm_head.weight' differs from the embedding");
}

static void a_folder_that_is_no_model_is_refused(void **state)
{
    (void)state;
    refused("config.json: No such file");
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    fixture_config(dir, &m);
    refused("neither model.safetensors nor");
}

/* ---- config.json ---- */

enum { FAMILIES = 4 };

static void config_with(enum family family, const char *key, const char *value)
{
    struct fixture_model m = fixture_model(family);
    m.clip_qkv = 1;
    fixture_config(dir, &m);
    fixture_json_set(dir, "config.json", key, value);
}

static struct model_config config_ok(enum family family, const char *key, const char *value)
{
    struct model_config c;
    config_with(family, key, value);
    if (config_read(dir, &c, &err))
        fail_msg("%s", err.s);
    config_release(&c);
    return c;
}

struct refusal {
    const char *key, *value, *words;
};

static void each_is_refused(enum family family, const struct refusal *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct model_config c;
        config_with(family, r[i].key, r[i].value);
        if (config_read(dir, &c, &err) == 0)
            fail_msg("%s = %s was read", r[i].key, r[i].value ? r[i].value : "(none)");
        has_words(r[i].words);
        has_words(r[i].key);
        has_words("/config.json");
    }
}

#define LLAMA3(more) "{\"rope_type\": \"llama3\", \"factor\": 8" more "}"
#define YARN(more) "{\"rope_type\": \"yarn\", \"factor\": 4" more "}"

static void unsupported_options_are_refused(void **state)
{
    (void)state;
    static const struct refusal all[] = {
        { "model_type", "\"llama\"",
          "model_type is \"llama\"; olmoe, qwen2_moe, mixtral and qwen3_moe are supported" },
        { "model_type", NULL, "model_type is missing" },
        { "hidden_act", "\"gelu\"", "only silu" },
        { "quantization_config", "{\"bits\": 4}", "quantized" },
        { "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 2}",
          "type is \"dynamic\"; \"default\", \"linear\", \"llama3\" and \"yarn\" are supported" },
        { "rope_scaling", "{\"rope_type\": \"longrope\"}", "rope_type is \"longrope\"" },
        { "rope_scaling", "{\"rope_type\": 4}", "rope_type is 4; a string" },
        { "rope_scaling", "{\"type\": \"linear\", \"rope_type\": \"default\"}",
          "type is \"linear\"; rope_type beside it is \"default\"" },
        { "rope_scaling", "{\"type\": \"linear\"}", "factor is missing; a number from 1 " },
        { "rope_scaling", "{\"type\": \"linear\", \"factor\": 0.5}",
          "factor is 0.5; a number from 1 " },
        { "rope_scaling", "2.0", "rope_scaling is 2.0; an object" },
        { "rope_parameters", LLAMA3(", \"high_freq_factor\": 4"), "low_freq_factor is missing" },
        { "rope_parameters", LLAMA3(", \"low_freq_factor\": 4, \"high_freq_factor\": 4"),
          "high_freq_factor is 4; more than low_freq_factor (4)" },
        { "rope_parameters", YARN(", \"original_max_position_embeddings\": 0"), "is 0; a number" },
        { "rope_parameters", YARN(", \"beta_fast\": 0.5"),
          "beta_fast is 0.5; at least beta_slow (1)" },
        { "rope_parameters", YARN(", \"beta_slow\": 40"),
          "beta_slow is 40; at most beta_fast (32)" },
        { "rope_parameters", YARN(", \"attention_factor\": 0"), "attention_factor is 0; a number" },
        { "rope_parameters", YARN(", \"truncate\": 1"), "truncate is 1; true and false" },
        { "partial_rotary_factor", "0.25", "partial_rotary_factor is 0.25; only 1 is supported" },
        { "rope_parameters", "{\"rope_theta\": 5}", "rope_theta is 5; elsewhere in the file" },
        { "rope_parameters", "{\"rope_theta\": \"x\"}", "rope_theta is \"x\"" },
        { "rope_parameters", "{\"partial_rotary_factor\": 0.5}", "only 1 is supported" },
        { "torch_dtype", "\"int8\"", "float32, bfloat16 and float16" },
        { "dtype", "\"float64\"", "float32, bfloat16 and float16" },
        { "tie_word_embeddings", "1", "true and false" },
        { "norm_topk_prob", "\"yes\"", "true and false" },
    };
    static const struct refusal olmoe[] = {
        { "attention_bias", "true", "attention_bias is true; only false" },
        { "clip_qkv", "0", "clip_qkv is 0; a number" },
        { "clip_qkv", "-3", "a number" },
    };
    static const struct refusal qwen[] = {
        { "decoder_sparse_step", "2", "only 1 is supported" },
        { "decoder_sparse_step", "0", "only 1 is supported" },
        { "mlp_only_layers", "[3]", "mlp_only_layers is [3]; only an empty list" },
        { "mlp_only_layers", "3", "an array" },
        { "use_sliding_window", "true", "only false" },
        { "layer_types", "[\"full_attention\", \"sliding_attention\"]", "only \"full_attention\"" },
    };
    static const struct refusal qwen2 = { "qkv_bias", "0", "true and false" };
    static const struct refusal qwen3[] = {
        { "attention_bias", "true", "attention_bias is true; only false" },
        { "shared_expert_intermediate_size", "8", "a model of the family qwen3_moe has none" },
        { "qkv_bias", "true", "a model of the family qwen3_moe has none" },
        { "clip_qkv", "7.5", "clip_qkv is 7.5; a model of the family qwen3_moe has none" },
    };
    static const struct refusal mixtral[] = {
        { "norm_topk_prob", "false", "norm_topk_prob is false; a mixtral model has only true" },
        { "sliding_window", "63", "null, or at least max_position_embeddings (64), is supported" },
        { "sliding_window", "0", "null, or at least" },
        { "sliding_window", "true", "a whole number" },
        { "moe_intermediate_size", "6", "a model of the family mixtral has none" },
        { "shared_expert_intermediate_size", "8", "a model of the family mixtral has none" },
        { "clip_qkv", "7.5", "a model of the family mixtral has none" },
        { "qkv_bias", "true", "a model of the family mixtral has none" },
        { "attention_bias", "true", "a model of the family mixtral has none" },
        { "num_experts", "7", "num_experts is 7; num_local_experts is 8" },
    };
    for (int f = 0; f < FAMILIES; f++)
        each_is_refused((enum family)f, all, ARRAY_LEN(all));
    each_is_refused(FAMILY_OLMOE, olmoe, ARRAY_LEN(olmoe));
    each_is_refused(FAMILY_QWEN2_MOE, qwen, ARRAY_LEN(qwen));
    each_is_refused(FAMILY_QWEN2_MOE, &qwen2, 1);
    each_is_refused(FAMILY_QWEN3_MOE, qwen, ARRAY_LEN(qwen));
    each_is_refused(FAMILY_QWEN3_MOE, qwen3, ARRAY_LEN(qwen3));
    each_is_refused(FAMILY_MIXTRAL, mixtral, ARRAY_LEN(mixtral));
}

static void is_needed(enum family family, const char *key)
{
    const struct refusal each[] = {
        { key, NULL, "is missing; a whole number from " },
        { key, "0", "is 0; a whole number from " },
        { key, "-4", "is -4; a whole number from " },
        { key, "null", "is null; a whole number from " },
        { key, "2000000000", "is 2000000000; a whole number from " },
    };
    each_is_refused(family, each, ARRAY_LEN(each));
}

static void sizes_out_of_range_are_refused(void **state)
{
    (void)state;
    static const char *const needed[] = {
        "num_hidden_layers",       "hidden_size",         "num_attention_heads", "vocab_size",
        "max_position_embeddings", "num_experts_per_tok",
    };
    static const struct refusal all[] = {
        { "num_hidden_layers", "1001", "from 1 to 1000" },
        { "num_experts_per_tok", "9", "from 1 to 8" },
        { "num_key_value_heads", "5", "from 1 to 4" },
        { "num_key_value_heads", "3", "a divisor of num_attention_heads (4)" },
        { "num_key_value_heads", "0", "from 1 to 4" },
        { "head_dim", "5", "an even number" },
        { "head_dim", "0", "from 2 to 4096" },
        { "vocab_size", "2147483648", "from 1 to" },
        { "hidden_size", "16.5", "a whole number" },
        { "rms_norm_eps", "0", "a number from" },
        { "rms_norm_eps", "-1e-5", "a number from" },
        { "rope_theta", "0", "a number from" },
        { "rope_theta", "[1]", "a number from" },
    };
    static const struct refusal few = { "num_key_value_heads", NULL, "is missing" };
    for (int f = 0; f < FAMILIES; f++) {
        enum family family = (enum family)f;
        each_is_refused(family, all, ARRAY_LEN(all));
        for (size_t i = 0; i < ARRAY_LEN(needed); i++)
            is_needed(family, needed[i]);
        is_needed(family, family == FAMILY_MIXTRAL ? "num_local_experts" : "num_experts");
    }
    is_needed(FAMILY_OLMOE, "intermediate_size");
    is_needed(FAMILY_QWEN2_MOE, "moe_intermediate_size");
    is_needed(FAMILY_QWEN2_MOE, "shared_expert_intermediate_size");
    is_needed(FAMILY_MIXTRAL, "intermediate_size");
    is_needed(FAMILY_QWEN3_MOE, "moe_intermediate_size");
    each_is_refused(FAMILY_MIXTRAL, &few, 1);
    each_is_refused(FAMILY_QWEN3_MOE, &few, 1);
}

static void heads_must_divide_where_their_size_is_not_given(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct model_config c;
    m.hidden = 18; // 4 heads do not divide it
    fixture_config(dir, &m);
    fixture_json_set(dir, "config.json", "head_dim", NULL);
    assert_int_equal(config_read(dir, &c, &err), -1);
    has_words("hidden_size is 18; without head_dim it must be an even multiple of the 4 heads");
    m.hidden = 20; // heads of 5
    fixture_config(dir, &m);
    fixture_json_set(dir, "config.json", "head_dim", "null");
    assert_int_equal(config_read(dir, &c, &err), -1);
    has_words("even multiple");
    m.hidden = 24;
    fixture_config(dir, &m);
    fixture_json_set(dir, "config.json", "head_dim", NULL);
    assert_int_equal(config_read(dir, &c, &err), 0);
    assert_int_equal(c.head_dim, 6);
    config_release(&c);
}

static void what_is_absent_is_as_transformers_has_it(void **state)
{
    (void)state;
    enum family o = FAMILY_OLMOE, q = FAMILY_QWEN2_MOE;
    enum family x = FAMILY_MIXTRAL, q3 = FAMILY_QWEN3_MOE;
    assert_int_equal(config_ok(o, "num_key_value_heads", NULL).kv_heads, 4);
    assert_true(config_ok(o, "rms_norm_eps", NULL).rms_eps == 1e-5);
    assert_true(config_ok(q, "rms_norm_eps", NULL).rms_eps == 1e-6);
    assert_true(config_ok(q, "rope_theta", NULL).rope_theta == 10000);
    assert_true(config_ok(o, "clip_qkv", "null").clip_qkv == 0);
    assert_true(config_ok(q, "clip_qkv", "5").clip_qkv == 0);
    assert_false(config_ok(o, "tie_word_embeddings", NULL).tied);
    assert_false(config_ok(q, "tie_word_embeddings", NULL).tied);
    assert_false(config_ok(q, "norm_topk_prob", NULL).norm_topk_prob);
    assert_true(config_ok(q, "qkv_bias", NULL).qkv_bias);
    assert_false(config_ok(o, "qkv_bias", "true").qkv_bias);
    assert_int_equal(config_ok(o, "torch_dtype", NULL).dtype, DTYPE_F32);
    assert_int_equal(config_ok(o, "dtype", "\"float16\"").dtype, DTYPE_F16);
    assert_int_equal(config_ok(x, "head_dim", NULL).head_dim, 4);
    assert_int_equal(config_ok(x, "head_dim", "null").head_dim, 4);
    assert_true(config_ok(x, "rms_norm_eps", NULL).rms_eps == 1e-5);
    assert_true(config_ok(x, "rope_theta", NULL).rope_theta == 1e6);
    assert_true(config_ok(x, "norm_topk_prob", "true").norm_topk_prob);
    assert_true(config_ok(x, "sliding_window", "64").context == 64);
    assert_int_equal(config_ok(x, "num_experts", "8").experts, 8);
    assert_true(config_ok(q3, "rms_norm_eps", NULL).rms_eps == 1e-6);
    assert_true(config_ok(q3, "rope_theta", NULL).rope_theta == 10000);
    assert_false(config_ok(q3, "norm_topk_prob", NULL).norm_topk_prob);
    assert_false(config_ok(q3, "tie_word_embeddings", NULL).tied);
    assert_int_equal(config_ok(q3, "num_local_experts", "8").experts, 8);
    // Other programs write down what a model does not have.
    (void)config_ok(q3, "shared_expert_intermediate_size", "0");
    (void)config_ok(q3, "qkv_bias", "false");
    (void)config_ok(q3, "sliding_window", "4096");
    (void)config_ok(x, "attention_bias", "false");
    (void)config_ok(o, "hidden_act", NULL);
    (void)config_ok(q, "decoder_sparse_step", NULL);
    (void)config_ok(q, "mlp_only_layers", NULL);
    (void)config_ok(q, "use_sliding_window", "false");
    (void)config_ok(q, "layer_types", "[\"full_attention\", \"full_attention\"]");
}

/* Some versions of transformers write the one for the other. */
static void the_number_of_experts_has_two_names(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILIES; f++) {
        bool local = f == FAMILY_MIXTRAL;
        const char *own = local ? "num_local_experts" : "num_experts";
        const char *other = local ? "num_experts" : "num_local_experts";
        struct model_config c;
        config_with((enum family)f, own, NULL);
        fixture_json_set(dir, "config.json", other, "5");
        assert_int_equal(config_read(dir, &c, &err), 0);
        assert_int_equal(c.experts, 5);
        config_release(&c);
        fixture_json_set(dir, "config.json", other, "0");
        assert_int_equal(config_read(dir, &c, &err), -1);
        has_words(other);
        has_words(" is 0; a whole number from 1 to 4096");
    }
}

static void the_rotary_base_has_two_places(void **state)
{
    (void)state;
    enum family o = FAMILY_OLMOE;
    assert_true(config_ok(o, "rope_theta", "25").rope_theta == 25);
    assert_true(config_ok(o, "rope_scaling", "null").rope_theta == 10000);
    assert_true(config_ok(o, "rope_scaling", "{\"rope_type\": \"default\"}").rope_theta == 10000);
    // The same number in both places is no contradiction.
    assert_true(config_ok(o, "rope_parameters", "{\"rope_theta\": 10000}").rope_theta == 10000);
    struct fixture_model m = fixture_model(o);
    struct model_config c;
    m.rope_parameters = true;
    m.rope_theta = 77;
    fixture_config(dir, &m);
    fixture_json_set(dir, "config.json", "rope_scaling", "{\"rope_theta\": 78}");
    assert_int_equal(config_read(dir, &c, &err), -1);
    has_words("rope_scaling: rope_theta is 78; elsewhere in the file it is 77");
    fixture_config(dir, &m);
    assert_int_equal(config_read(dir, &c, &err), 0);
    assert_true(c.rope_theta == 77);
    config_release(&c);
}

/* A scaling as each family's configuration has it, which has to be the same. */
static struct rope_scaling scaling(const char *key, const char *value)
{
    struct rope_scaling r = config_ok(FAMILY_OLMOE, key, value).rope;
    for (int f = 1; f < FAMILIES; f++) {
        struct rope_scaling other = config_ok((enum family)f, key, value).rope;
        assert_true(other.kind == r.kind && other.factor == r.factor && other.low == r.low);
    }
    return r;
}

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-12;
}

static void scalings_of_rotary_positions_are_read(void **state)
{
    (void)state;
    struct rope_scaling r = scaling("rope_scaling", "{\"type\": \"linear\", \"factor\": 2}");
    assert_true(r.kind == ROPE_LINEAR && r.factor == 2);
    r = scaling("rope_parameters",
                LLAMA3(", \"low_freq_factor\": 1, \"high_freq_factor\": 4,"
                       "\"original_max_position_embeddings\": 16, \"rope_theta\": 10000"));
    assert_true(r.kind == ROPE_LLAMA3 && r.factor == 8 && r.low == 1 && r.high == 4);
    assert_true(r.original == 16);
    r = scaling("rope_scaling", YARN(", \"original_max_position_embeddings\": 32"));
    assert_true(r.kind == ROPE_YARN && r.factor == 4 && r.original == 32 && r.truncate);
    assert_true(r.low == 1 && r.high == 32 && near(r.attention, 0.1 * log(4) + 1));
    r = scaling("rope_scaling", YARN(", \"beta_fast\": 8, \"beta_slow\": 2, \"truncate\": false,"
                                     "\"mscale\": 2, \"mscale_all_dim\": 0.5"));
    assert_true(r.low == 2 && r.high == 8 && !r.truncate && r.original == 64);
    assert_true(near(r.attention, (0.2 * log(4) + 1) / (0.05 * log(4) + 1)));
    r = scaling("rope_scaling", YARN(", \"attention_factor\": 1.5, \"mscale\": 2"));
    assert_true(r.attention == 1.5);
    // Of no effect on their own: the default kind.
    r = scaling("rope_scaling", "{\"rope_theta\": 10000, \"factor\": 2}");
    assert_int_equal(r.kind, ROPE_DEFAULT);
}

static void a_scaling_is_said_once(void **state)
{
    (void)state;
    struct model_config c;
    config_with(FAMILY_QWEN3_MOE, "rope_parameters", "{\"rope_type\": \"default\"}");
    fixture_json_set(dir, "config.json", "rope_scaling", YARN(""));
    assert_int_equal(config_read(dir, &c, &err), -1);
    has_words("rope_scaling is an object; rope_parameters has another scaling");
    fixture_json_set(dir, "config.json", "rope_parameters", YARN(""));
    fixture_json_set(dir, "config.json", "original_max_position_embeddings", "48");
    assert_int_equal(config_read(dir, &c, &err), 0);
    assert_true(c.rope.kind == ROPE_YARN && c.rope.original == 48);
    config_release(&c);
    fixture_json_set(dir, "config.json", "rope_theta", "1");
    assert_int_equal(config_read(dir, &c, &err), -1);
    has_words("rope_theta is 1; with yarn it must be more than 1");
}

static void a_model_has_its_folders_name(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct model_config c;
    fixture_config(dir, &m);
    const char *name = strrchr(dir, '/') + 1;
    char *with_slash = xasprintf("%s//", dir), *with_dot = xasprintf("%s/.", dir);
    const char *paths[] = { dir, with_slash, with_dot };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(config_read(paths[i], &c, &err), 0);
        assert_string_equal(c.name, name);
        config_release(&c);
    }
    free(with_slash);
    free(with_dot);
}

static void a_broken_config_is_named(void **state)
{
    (void)state;
    struct model_config c;
    fixture_text(dir, "config.json", "{\n\"model_type\": olmoe}");
    assert_int_equal(config_read(dir, &c, &err), -1);
    has_words("/config.json:2: not valid JSON");
    fixture_text(dir, "config.json", "[]");
    assert_int_equal(config_read(dir, &c, &err), -1);
    has_words("a JSON object is needed, but this is an array");
}

/* ---- names and hashes ---- */

static void a_model_is_found_by_its_name(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    char *first = xasprintf("%s/first", dir), *second = xasprintf("%s/second", dir);
    char *plain = xasprintf("%s/small", second), *deep = xasprintf("%s/org/tiny", second);
    char *both = xasprintf("%s/small", first),
         *places = xasprintf("%s/none:%s::%s", dir, first, second);
    fixture_model_write(plain, &m);
    fixture_model_write(deep, &m);
    setenv("SEQTOPK_MODELS", places, 1);
    struct buf found = BUF_INIT;
    assert_int_equal(model_find("small", &found, &err), 0);
    assert_string_equal(found.s, plain);
    buf_reset(&found);
    assert_int_equal(model_find("org/tiny", &found, &err), 0);
    assert_string_equal(found.s, deep);
    buf_reset(&found);
    assert_int_equal(model_find(plain, &found, &err), 0);
    assert_string_equal(found.s, plain);
    // The first folder wins.
    fixture_model_write(both, &m);
    buf_reset(&found);
    assert_int_equal(model_find("small", &found, &err), 0);
    assert_string_equal(found.s, both);
    buf_release(&found);

    assert_int_equal(model_find("big", &found, &err), -1);
    has_words("model 'big' not found");
    has_words("/none, ");
    has_words("/second, models, results/models");
    has_words("org/tiny, small");
    assert_null(strstr(err.s, ", , "));
    assert_null(strstr(err.s, "small, small"));
    assert_int_equal(found.len, 0);
    assert_int_equal(model_find("", &found, &err), -1);
    has_words("empty");
    // A path that leads nowhere is not looked for elsewhere, and a folder without config is none.
    assert_int_equal(model_find("/small", &found, &err), -1);
    assert_int_equal(model_find(first, &found, &err), -1);
    unsetenv("SEQTOPK_MODELS");
    free(first);
    free(second);
    free(plain);
    free(deep);
    free(both);
    free(places);
}

static void a_long_list_of_models_is_cut(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    for (int i = 1; i <= 30; i++) {
        char *path = xasprintf("%s/m%02d", dir, i);
        assert_int_equal(make_dirs(path, &err), 0);
        fixture_config(path, &m);
        free(path);
    }
    struct buf found = BUF_INIT;
    setenv("SEQTOPK_MODELS", dir, 1);
    assert_int_equal(model_find("big", &found, &err), -1);
    unsetenv("SEQTOPK_MODELS");
    has_words("(models there: m01, m02, ");
    has_words(", m19, m20, ...)");
}

static void models_beside_the_working_folder_are_found(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    char *shipped = xasprintf("%s/results/models/shipped", dir);
    char *here = getcwd(NULL, 0);
    struct buf found = BUF_INIT;
    fixture_model_write(shipped, &m);
    unsetenv("SEQTOPK_MODELS");
    assert_int_equal(chdir(dir), 0);
    int rc = model_find("shipped", &found, &err);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(rc, 0);
    assert_string_equal(found.s, "results/models/shipped");
    buf_release(&found);
    free(here);
    free(shipped);
}

/* What this program prints, as `root`/build/find, when it looks for a model from the root folder. */
static void models_beside_the_program_are_found(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    char *shipped = xasprintf("%s/results/models/shipped", dir);
    // A project is known by these two folders; the program may lie deeper than build/.
    char *evals = xasprintf("%s/evals", dir), *routers = xasprintf("%s/routers", dir);
    char *build = xasprintf("%s/build/deeper", dir), *copy = xasprintf("%s/find", build);
    char *command =
        xasprintf("cp /proc/%ld/exe '%s' && cd / && '%s' find shipped", (long)getpid(), copy, copy);
    char line[4096] = "";
    fixture_model_write(shipped, &m);
    assert_int_equal(make_dirs(evals, &err), 0);
    assert_int_equal(make_dirs(routers, &err), 0);
    assert_int_equal(make_dirs(build, &err), 0);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_non_null(fgets(line, sizeof(line), out));
    assert_int_equal(pclose(out), 0);
    assert_string_equal(line, shipped);
    free(shipped);
    free(evals);
    free(routers);
    free(build);
    free(copy);
    free(command);
}

static int find_and_print(const char *name)
{
    struct buf found = BUF_INIT;
    int rc = model_find(name, &found, &err);
    printf("%s", rc ? err.s : found.s);
    buf_release(&found);
    buf_release(&err);
    return rc ? 1 : 0;
}

static void hashes_tell_models_apart(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    char a[33], b[33];
    fixture_model_write(dir, &m);
    assert_int_equal(weights_hash(dir, a, &err), 0);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(weights_hash(dir, b, &err), 0);
    assert_string_equal(a, b);
    m.seed = 2;
    fixture_model_write(dir, &m);
    assert_int_equal(weights_hash(dir, b, &err), 0);
    assert_string_not_equal(a, b);
    fixture_json_set(dir, "config.json", "rope_theta", "10001");
    assert_int_equal(weights_hash(dir, a, &err), 0);
    assert_string_not_equal(a, b);

    assert_int_equal(tokenizer_hash(dir, a, &err), -1);
    has_words("/tokenizer.json: No such file");
    fixture_text(dir, "tokenizer.json", "{}");
    assert_int_equal(tokenizer_hash(dir, a, &err), 0);
    fixture_text(dir, "tokenizer.json", "{ }");
    assert_int_equal(tokenizer_hash(dir, b, &err), 0);
    assert_string_not_equal(a, b);

    fixture_text(dir, "model.safetensors", "");
    assert_int_equal(weights_hash(dir, a, &err), -1);
    has_words("truncated");
    assert_int_equal(weights_hash("/nowhere", a, &err), -1);
    has_words("/nowhere/config.json: No such file");
}

/* ---- real models ---- */

static void real_model_opens(const char *path, enum family family, int experts, int top_k,
                             int context)
{
    char *config = xasprintf("%s/config.json", path);
    bool there = access(config, F_OK) == 0;
    free(config);
    if (!there)
        SKIP("%s is not there", path);
    struct weights *w = opened(path);
    const struct model_config *c = &w->config;
    assert_int_equal(c->family, family);
    assert_true(c->experts == experts && c->top_k == top_k && c->layers == 4);
    assert_true(c->hidden == 256 && c->vocab == 8192 && c->expert_ffn == 48 && c->tied);
    assert_true(c->head_dim == 64 && c->context == context && c->dtype == DTYPE_BF16);
    assert_int_equal(c->shared_ffn, family == FAMILY_OLMOE ? 0 : 192);
    is_tensor(w->layer[3].down[experts - 1], w->layer[3].down[experts - 1]->name, 256, 48);
    assert_int_equal(w->layer[3].router->dtype, DTYPE_BF16);
    weights_close(w);
    char hex[33];
    double start = now_seconds();
    assert_int_equal(weights_hash(path, hex, &err), 0);
    print_message("# %s: hash %s in %.1f ms\n", path, hex, 1e3 * (now_seconds() - start));
}

static void shared_model_opens(const char *name, enum family family, int experts, int top_k)
{
    const char *shared = getenv("SEQTOPK_SHARED");
    char *path = xasprintf("%s/models/%s", shared ? shared : "../shared", name);
    real_model_opens(path, family, experts, top_k, 512);
    free(path);
}

static void the_shipped_models_open(void **state)
{
    (void)state;
    real_model_opens("results/models/tiny-olmoe-2k", FAMILY_OLMOE, 64, 8, 2048);
    real_model_opens("results/models/tiny-qwen2moe-2k", FAMILY_QWEN2_MOE, 60, 4, 2048);
}

static void the_shared_olmoe_opens(void **state)
{
    (void)state;
    shared_model_opens("tiny-olmoe", FAMILY_OLMOE, 64, 8);
}

static void the_shared_qwen2_moe_opens(void **state)
{
    (void)state;
    shared_model_opens("tiny-qwen2moe", FAMILY_QWEN2_MOE, 60, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "find") == 0)
        return find_and_print(argv[2]);
    const struct CMUnitTest tests[] = {
        TEST(an_olmoe_folder_opens),
        TEST(a_qwen2_moe_folder_opens),
        TEST(a_mixtral_folder_opens),
        TEST(a_qwen3_moe_folder_opens),
        TEST(experts_may_lie_in_two_tensors),
        TEST(biases_may_be_switched_off),
        TEST(shards_hold_the_same_model),
        TEST(each_format_holds_the_same_numbers),
        TEST(a_missing_tensor_is_named),
        TEST(a_wrong_shape_is_named),
        TEST(a_tensor_without_a_place_is_refused),
        TEST(a_tied_head_must_be_the_embedding),
        TEST(a_folder_that_is_no_model_is_refused),
        TEST(unsupported_options_are_refused),
        TEST(sizes_out_of_range_are_refused),
        TEST(heads_must_divide_where_their_size_is_not_given),
        TEST(what_is_absent_is_as_transformers_has_it),
        TEST(the_number_of_experts_has_two_names),
        TEST(the_rotary_base_has_two_places),
        TEST(scalings_of_rotary_positions_are_read),
        TEST(a_scaling_is_said_once),
        TEST(a_model_has_its_folders_name),
        TEST(a_broken_config_is_named),
        TEST(a_model_is_found_by_its_name),
        TEST(a_long_list_of_models_is_cut),
        TEST(models_beside_the_working_folder_are_found),
        TEST(models_beside_the_program_are_found),
        TEST(hashes_tell_models_apart),
        TEST(the_shipped_models_open),
        TEST(the_shared_olmoe_opens),
        TEST(the_shared_qwen2_moe_opens),
    };
    return cmocka_run_group_tests_name("weights", tests, NULL, NULL);
}
