/*
 * fixture.h: temporary folders and tiny models for tests: whole Hugging Face folders with random
 * weights, of any family, in every layout that the loader reads.
 *
 * Invariant: a tensor's values depend on its name and the seed alone, so that the same model in
 * other shards or formats has the same weights (up to rounding). Written without the code under
 * test. Whatever fails here is a BUG().
 * Leaves out: tokenizers.
 *
 *     char *dir = fixture_dir();
 *     struct fixture_model m = fixture_model(FAMILY_OLMOE);
 *     m.kv_heads = 2;
 *     fixture_model_write(dir, &m);
 *     ...
 *     fixture_remove(dir);
 */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "weights.h"
#include "skip.h"

#include <ftw.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- folders and files ---- */

/* A new empty folder under $TMPDIR or /tmp. */
static inline char *fixture_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = xasprintf("%s/seqtopk-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        BUG("no temporary folder %s", dir);
    return dir;
}

static inline int fixture_unlink(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

/* Removes the folder with all that is in it, and frees its name. */
static inline void fixture_remove(char *dir)
{
    nftw(dir, fixture_unlink, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

static inline void fixture_file(const char *dir, const char *name, const void *data, size_t len)
{
    struct buf err = BUF_INIT;
    char *path = xasprintf("%s/%s", dir, name);
    if (write_file(path, data, len, &err))
        BUG("%s", err.s);
    free(path);
    buf_release(&err);
}

static inline void fixture_text(const char *dir, const char *name, const char *text)
{
    fixture_file(dir, name, text, strlen(text));
}

/* A safetensors file: the length that the header has, this header, and `len` bytes of data. */
static inline void fixture_safetensors(const char *dir, const char *name, const char *header,
                                       const void *data, size_t len)
{
    struct buf out = BUF_INIT;
    uint64_t n = strlen(header);
    for (int i = 0; i < 8; i++)
        buf_addc(&out, (char)(n >> (8 * i) & 0xff));
    buf_adds(&out, header);
    buf_add(&out, data, len);
    fixture_file(dir, name, out.s, out.len);
    buf_release(&out);
}

/* Sets (or, with a NULL value, removes) a key of a JSON file; `value` is JSON text. */
static inline void fixture_json_set(const char *dir, const char *file, const char *key,
                                    const char *value)
{
    char *path = xasprintf("%s/%s", dir, file);
    json_t *root = json_load_file(path, 0, NULL);
    if (!root)
        BUG("%s is not JSON", path);
    json_t *v = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    if (value && !v)
        BUG("%s is not JSON", value);
    if (v ? json_object_set_new(root, key, v) : json_object_del(root, key))
        BUG("%s has no %s", path, key);
    if (json_dump_file(root, path, JSON_INDENT(2)))
        BUG("%s cannot be written", path);
    json_decref(root);
    free(path);
}

/* ---- models ---- */

struct fixture_model {
    enum family family;
    int layers, hidden, heads, kv_heads, head_dim, vocab, context;
    int experts, top_k, expert_ffn, shared_ffn; /* shared_ffn: of qwen2_moe only */
    double rope_theta, clip_qkv;                /* clip_qkv: 0 for null, of olmoe only */
    bool norm_topk_prob, tied, qkv_bias;        /* not of mixtral; -; of qwen2_moe only */
    bool rope_parameters;                       /* rope_theta in its newer place */
    bool head_beside_tie;                       /* tied, and the head stands in the files too */
    enum dtype dtype;
    int shards; /* 0: one file without an index */
    bool fused; /* a layer's experts are two tensors, as transformers holds them */
    uint64_t seed;
    /* Faults: names of tensors, or NULL. */
    const char *omit;    /* is not written */
    const char *reshape; /* has one row too many */
    const char *column;  /* a vector, is a matrix of one column */
    const char *nan;     /* has a NaN in its last place */
    const char *extra;   /* of one number, beside the others */
};

static inline struct fixture_model fixture_model(enum family family)
{
    struct fixture_model m = {
        .family = family,
        .layers = 2,
        .hidden = 16,
        .heads = 4,
        .kv_heads = 4,
        .head_dim = 4,
        .vocab = 32,
        .context = 64,
        .experts = 8,
        .top_k = 2,
        .expert_ffn = 6,
        .shared_ffn = 10,
        .rope_theta = 10000,
        .qkv_bias = true,
        .dtype = DTYPE_F32,
        .seed = 1,
    };
    return m;
}

struct fixture_tensor {
    char name[256];
    int64_t rows, cols; /* cols 0: a vector */
    int64_t deep;       /* matrices of that shape one behind the other; 0: it is no such pile */
    double centre, spread;
};

struct fixture_tensors {
    struct fixture_tensor *v;
    size_t len, cap;
};

static inline void fixture_add(struct fixture_tensors *ts, const struct fixture_model *m,
                               const char *name, int64_t rows, int64_t cols)
{
    if (m->omit && strcmp(m->omit, name) == 0)
        return;
    struct fixture_tensor t = { .rows = rows, .cols = cols };
    if (m->reshape && strcmp(m->reshape, name) == 0)
        t.rows++;
    if (m->column && strcmp(m->column, name) == 0)
        t.cols = 1;
    bool norm = strstr(name, "norm") != NULL;
    // Matrices keep the size of what they are given; norms are around one.
    t.centre = norm ? 1 : 0;
    t.spread = cols ? 1 / sqrt((double)cols) : 0.1;
    if (strstr(name, "embed_tokens"))
        t.spread = 1;
    snprintf(t.name, sizeof(t.name), "%s", name);
    ARRAY_GROW(ts->v, ts->cap, ts->len + 1);
    ts->v[ts->len++] = t;
}

static inline bool fixture_has_shared(const struct fixture_model *m)
{
    return m->family == FAMILY_QWEN2_MOE;
}

static inline void fixture_add_pile(struct fixture_tensors *ts, const struct fixture_model *m,
                                    const char *name, int64_t deep, int64_t rows, int64_t cols)
{
    size_t before = ts->len;
    fixture_add(ts, m, name, rows, cols);
    if (ts->len > before)
        ts->v[before].deep = deep;
}

static inline void fixture_add_experts(struct fixture_tensors *ts, const struct fixture_model *m,
                                       int layer)
{
    bool mixtral = m->family == FAMILY_MIXTRAL;
    int64_t h = m->hidden, f = m->expert_ffn;
    char stem[128], name[256];
    snprintf(stem, sizeof(stem), "model.layers.%d.%s.", layer,
             mixtral && !m->fused ? "block_sparse_moe" : "mlp");
    snprintf(name, sizeof(name), "%sgate.weight", stem);
    fixture_add(ts, m, name, m->experts, h);
    if (m->fused) {
        snprintf(name, sizeof(name), "%sexperts.gate_up_proj", stem);
        fixture_add_pile(ts, m, name, m->experts, 2 * f, h);
        snprintf(name, sizeof(name), "%sexperts.down_proj", stem);
        fixture_add_pile(ts, m, name, m->experts, h, f);
    }
    for (int e = 0; e < m->experts && !m->fused; e++) {
        snprintf(name, sizeof(name), "%sexperts.%d.%s.weight", stem, e,
                 mixtral ? "w1" : "gate_proj");
        fixture_add(ts, m, name, f, h);
        snprintf(name, sizeof(name), "%sexperts.%d.%s.weight", stem, e, mixtral ? "w3" : "up_proj");
        fixture_add(ts, m, name, f, h);
        snprintf(name, sizeof(name), "%sexperts.%d.%s.weight", stem, e,
                 mixtral ? "w2" : "down_proj");
        fixture_add(ts, m, name, h, f);
    }
}

static inline void fixture_add_layer(struct fixture_tensors *ts, const struct fixture_model *m,
                                     int layer)
{
    int64_t q = (int64_t)m->heads * m->head_dim, kv = (int64_t)m->kv_heads * m->head_dim;
    int64_t h = m->hidden, s = m->shared_ffn;
    char name[256];
#define ADD(rows, cols, ...)                                               \
    do {                                                                   \
        int at_ = snprintf(name, sizeof(name), "model.layers.%d.", layer); \
        snprintf(name + at_, sizeof(name) - (size_t)at_, __VA_ARGS__);     \
        fixture_add(ts, m, name, (rows), (cols));                          \
    } while (0)
    ADD(h, 0, "input_layernorm.weight");
    ADD(q, h, "self_attn.q_proj.weight");
    ADD(kv, h, "self_attn.k_proj.weight");
    ADD(kv, h, "self_attn.v_proj.weight");
    ADD(h, q, "self_attn.o_proj.weight");
    if (m->family == FAMILY_OLMOE) {
        ADD(q, 0, "self_attn.q_norm.weight");
        ADD(kv, 0, "self_attn.k_norm.weight");
    } else if (m->family == FAMILY_QWEN3_MOE) {
        ADD(m->head_dim, 0, "self_attn.q_norm.weight");
        ADD(m->head_dim, 0, "self_attn.k_norm.weight");
    } else if (m->family == FAMILY_QWEN2_MOE && m->qkv_bias) {
        ADD(q, 0, "self_attn.q_proj.bias");
        ADD(kv, 0, "self_attn.k_proj.bias");
        ADD(kv, 0, "self_attn.v_proj.bias");
    }
    ADD(h, 0, "post_attention_layernorm.weight");
    fixture_add_experts(ts, m, layer);
    if (fixture_has_shared(m)) {
        ADD(s, h, "mlp.shared_expert.gate_proj.weight");
        ADD(s, h, "mlp.shared_expert.up_proj.weight");
        ADD(h, s, "mlp.shared_expert.down_proj.weight");
        ADD(1, h, "mlp.shared_expert_gate.weight");
    }
#undef ADD
}

/* A number in [-1, 1) from a counter: splitmix64. */
static inline double fixture_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1;
}

/* The bits of a number in a format of 16 bits, rounded to nearest even; small ones become 0. */
static inline uint16_t fixture_half(double x, int mantissa, int bias)
{
    if (isnan(x))
        return (uint16_t)(((unsigned)(2 * bias + 1) << mantissa) | 1);
    int exponent;
    double fraction = frexp(fabs(x), &exponent); // in [0.5, 1)
    if (x == 0 || exponent - 1 + bias < 1)
        return 0;
    long bits = lrint(ldexp(fraction, mantissa + 1)) - (1L << mantissa);
    bits += (long)(exponent - 1 + bias) << mantissa; // a carry goes into the exponent
    return (uint16_t)(bits | (x < 0 ? 0x8000 : 0));
}

static inline void fixture_put(struct buf *out, enum dtype dtype, double x)
{
    if (dtype == DTYPE_F32) {
        float f = (float)x;
        buf_add(out, &f, sizeof(f));
    } else {
        uint16_t b = dtype == DTYPE_BF16 ? fixture_half(x, 7, 127) : fixture_half(x, 10, 15);
        buf_add(out, &b, sizeof(b));
    }
}

static inline void fixture_data(struct buf *out, const struct fixture_model *m,
                                const struct fixture_tensor *t)
{
    uint64_t state = m->seed * 0x2545f4914f6cdd1du;
    // Where the head is tied, it is the embedding.
    bool head = m->tied && strcmp(t->name, "lm_head.weight") == 0;
    for (const char *c = head ? "model.embed_tokens.weight" : t->name; *c; c++)
        state = (state ^ (unsigned char)*c) * 0x100000001b3u;
    double spread = head ? 1 : t->spread;
    int64_t n = t->rows * (t->cols ? t->cols : 1) * (t->deep ? t->deep : 1);
    bool nan = m->nan && strcmp(m->nan, t->name) == 0;
    for (int64_t i = 0; i < n; i++) {
        double x = t->centre + spread * fixture_random(&state);
        fixture_put(out, m->dtype, nan && i == n - 1 ? (double)NAN : x);
    }
}

/* One file with the tensors from `from` to before `to`. */
static inline void fixture_shard(const char *dir, const char *file, const struct fixture_model *m,
                                 const struct fixture_tensors *ts, size_t from, size_t to)
{
    static const char *const names[] = { "F32", "BF16", "F16" };
    struct buf header = BUF_INIT, data = BUF_INIT;
    buf_adds(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = from; i < to; i++) {
        const struct fixture_tensor *t = &ts->v[i];
        size_t begin = data.len;
        fixture_data(&data, m, t);
        buf_addf(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, names[m->dtype]);
        if (t->deep)
            buf_addf(&header, "%lld,", (long long)t->deep);
        buf_addf(&header, "%lld", (long long)t->rows);
        if (t->cols)
            buf_addf(&header, ",%lld", (long long)t->cols);
        buf_addf(&header, "],\"data_offsets\":[%zu,%zu]}", begin, data.len);
    }
    buf_addc(&header, '}');
    while (header.len % 8)
        buf_addc(&header, ' ');
    fixture_safetensors(dir, file, header.s, data.s, data.len);
    buf_release(&header);
    buf_release(&data);
}

static inline void fixture_config(const char *dir, const struct fixture_model *m)
{
    static const char *const names[] = { [FAMILY_OLMOE] = "olmoe",
                                         [FAMILY_QWEN2_MOE] = "qwen2_moe",
                                         [FAMILY_MIXTRAL] = "mixtral",
                                         [FAMILY_QWEN3_MOE] = "qwen3_moe" };
    bool olmoe = m->family == FAMILY_OLMOE, mixtral = m->family == FAMILY_MIXTRAL;
    struct buf c = BUF_INIT;
    buf_addf(&c, "{\"model_type\": \"%s\", \"hidden_act\": \"silu\",\n", names[m->family]);
    buf_addf(&c, "\"num_hidden_layers\": %d, \"hidden_size\": %d, \"vocab_size\": %d,\n", m->layers,
             m->hidden, m->vocab);
    buf_addf(&c, "\"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d,\n",
             m->heads, m->kv_heads, m->head_dim);
    buf_addf(&c, "\"max_position_embeddings\": %d, \"%s\": %d,\n", m->context,
             mixtral ? "num_local_experts" : "num_experts", m->experts);
    buf_addf(&c, "\"num_experts_per_tok\": %d, \"rms_norm_eps\": 1e-05,\n", m->top_k);
    if (olmoe) {
        buf_addf(&c, "\"intermediate_size\": %d, \"attention_bias\": false,\n", m->expert_ffn);
        if (m->clip_qkv > 0)
            buf_addf(&c, "\"clip_qkv\": %.17g,\n", m->clip_qkv);
        else
            buf_adds(&c, "\"clip_qkv\": null,\n");
    } else if (mixtral) {
        buf_addf(&c, "\"intermediate_size\": %d, \"sliding_window\": null,\n", m->expert_ffn);
    } else {
        buf_addf(&c, "\"intermediate_size\": 999, \"moe_intermediate_size\": %d,\n", m->expert_ffn);
        if (fixture_has_shared(m))
            buf_addf(&c, "\"shared_expert_intermediate_size\": %d, \"qkv_bias\": %s,\n",
                     m->shared_ffn, m->qkv_bias ? "true" : "false");
        buf_adds(&c, "\"decoder_sparse_step\": 1, \"mlp_only_layers\": [],\n");
    }
    buf_addf(&c,
             m->rope_parameters ? "\"rope_parameters\": {\"rope_type\": \"default\", "
                                  "\"rope_theta\": %.17g},\n"
                                : "\"rope_theta\": %.17g,\n",
             m->rope_theta);
    if (!mixtral)
        buf_addf(&c, "\"norm_topk_prob\": %s, ", m->norm_topk_prob ? "true" : "false");
    buf_addf(&c, "\"tie_word_embeddings\": %s, \"torch_dtype\": \"%s\"}\n",
             m->tied ? "true" : "false", dtype_name(m->dtype));
    fixture_text(dir, "config.json", c.s);
    buf_release(&c);
}

static inline void fixture_shards(const char *dir, const struct fixture_model *m,
                                  const struct fixture_tensors *ts)
{
    struct buf index = BUF_INIT;
    char file[64];
    for (int s = 0; s < m->shards; s++) {
        size_t from = ts->len * (size_t)s / (size_t)m->shards;
        size_t to = ts->len * ((size_t)s + 1) / (size_t)m->shards;
        snprintf(file, sizeof(file), "model-%05d-of-%05d.safetensors", s + 1, m->shards);
        fixture_shard(dir, file, m, ts, from, to);
        for (size_t i = from; i < to; i++)
            buf_addf(&index, "%s\n\"%s\": \"%s\"", index.len ? "," : "{\"weight_map\": {",
                     ts->v[i].name, file);
    }
    buf_adds(&index, "}}\n");
    fixture_text(dir, "model.safetensors.index.json", index.s);
    buf_release(&index);
}

/* Writes config.json and the weights; the folder is made where it is missing. */
static inline void fixture_model_write(const char *dir, const struct fixture_model *m)
{
    struct buf err = BUF_INIT;
    if (make_dirs(dir, &err))
        BUG("%s", err.s);
    struct fixture_tensors ts = { 0 };
    fixture_add(&ts, m, "model.embed_tokens.weight", m->vocab, m->hidden);
    for (int n = 0; n < m->layers; n++)
        fixture_add_layer(&ts, m, n);
    fixture_add(&ts, m, "model.norm.weight", m->hidden, 0);
    if (!m->tied || m->head_beside_tie)
        fixture_add(&ts, m, "lm_head.weight", m->vocab, m->hidden);
    if (m->extra)
        fixture_add(&ts, m, m->extra, 1, 0);
    fixture_config(dir, m);
    if (m->shards)
        fixture_shards(dir, m, &ts);
    else
        fixture_shard(dir, "model.safetensors", m, &ts, 0, ts.len);
    free(ts.v);
    buf_release(&err);
}

#endif
