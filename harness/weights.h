/*
 * weights.h: a model folder in the Hugging Face layout, checked: config.json read into a struct,
 * and every tensor that the decoder needs found with the shape that the configuration says.
 *
 * Invariant: a `struct weights` that opened has all that a decoder needs; nothing is looked for by
 * name after this. Families: `olmoe`, `qwen2_moe`, `mixtral` and `qwen3_moe`.
 * Leaves out: copying, converting and looking for NaN, which happen as the model is built.
 */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "safetensors.h"

enum family {
    FAMILY_OLMOE,     /* norm of queries and keys over the whole projection, no shared expert */
    FAMILY_QWEN2_MOE, /* bias on q, k and v; a shared expert behind a sigmoid gate */
    FAMILY_MIXTRAL,   /* nothing but experts, whose weights of a token always sum to one */
    FAMILY_QWEN3_MOE, /* norm of each head's queries and keys, no shared expert */
};
const char *family_name(enum family f); /* "olmoe": the model_type of config.json */

/*
 * How rotary positions are stretched, as transformers has it: the frequencies of a head's pairs are
 * changed, and under yarn the cosines and sines too. max_position_embeddings stays the context.
 */
enum rope_kind { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN };
struct rope_scaling {
    enum rope_kind kind;
    double factor;    /* not of default, at least 1 */
    double original;  /* llama3, yarn: the context before */
    double low, high; /* llama3: low_freq_factor, high_freq_factor; yarn: beta_slow, beta_fast */
    double attention; /* yarn: cosines and sines are multiplied by it */
    bool truncate;    /* yarn: the ramp begins and ends at whole pairs */
};

enum { MAX_EOS = 8 };

struct model_config {
    char *name; /* last part of the folder's path */
    enum family family;
    int layers, hidden, heads, kv_heads, head_dim, vocab, context;
    int experts; /* N */
    int top_k;   /* the K it was trained with */
    int expert_ffn;
    int shared_ffn; /* 0: no shared expert */
    double rms_eps, rope_theta;
    struct rope_scaling rope;
    double clip_qkv; /* 0: not clipped */
    bool norm_topk_prob, qkv_bias, tied;
    int32_t eos[MAX_EOS]; /* tokens that end a text */
    int neos;
    bool eos_apart;   /* generation_config.json says other ones than config.json */
    enum dtype dtype; /* of the weights in the files, as config.json says; F32 where it is silent */
};

/* The tensors of one layer. Those a family does not have are NULL. [out, in] as stored. */
struct layer_weights {
    const struct st_tensor *attn_norm; /* [hidden] */
    const struct st_tensor *q, *k, *v; /* [heads*head_dim, hidden], [kv_heads*head_dim, hidden] */
    const struct st_tensor *q_bias, *k_bias, *v_bias;
    const struct st_tensor *q_norm, *k_norm; /* [heads*head_dim], [kv_heads*head_dim]; of qwen3_moe
                                                both [head_dim] */
    const struct st_tensor *o;               /* [hidden, heads*head_dim] */
    const struct st_tensor *ffn_norm;        /* [hidden] */
    const struct st_tensor *router;          /* [experts, hidden] */
    const struct st_tensor **gate, **up,
        **down; /* per expert: [expert_ffn, hidden] x2, [hidden, expert_ffn] */
    const struct st_tensor *shared_gate, *shared_up, *shared_down; /* as above, with shared_ffn */
    const struct st_tensor *shared_expert_gate;                    /* [1, hidden] */
    struct st_tensor *views; /* where the files have all experts in two tensors: what gate, up, down
                                and mixtral's router point at; else NULL */
};

struct weights {
    struct model_config config;
    struct safetensors *files;
    const struct st_tensor *embed; /* [vocab, hidden] */
    const struct st_tensor *norm;  /* [hidden] */
    const struct st_tensor *head;  /* [vocab, hidden]; the embedding itself where tied */
    struct layer_weights *layer;   /* [layers] */
};

/*
 * Reads only config.json, and the end tokens from generation_config.json where it names some: what
 * `plan` and `list` need. An unsupported architecture, an option that would change the numbers
 * (sliding window, a dense layer) and a key of another family are refused by name.
 */
int config_read(const char *dir, struct model_config *out, struct buf *err) MUST_USE;
void config_release(struct model_config *c);

/*
 * A tensor that the configuration gives no place is refused as well: leaving it out would compute
 * another model. A tied head may stand in the files where it equals the embedding. A layer's experts
 * are a matrix each, as in published checkpoints, or two tensors for all, as transformers holds them:
 * mlp.experts.gate_up_proj [experts, 2*expert_ffn, hidden] and down_proj [experts, hidden, expert_ffn];
 * either way each has its own name and shape here.
 */
struct weights *weights_open(const char *dir, struct buf *err) MUST_USE;
void weights_close(struct weights *w);

/*
 * Every tensor that the files of a model with this configuration have: the embedding, layer after
 * layer, the last norm, and the head where it is not tied.
 */
typedef void weights_visit(void *context, const char *name, int ndim, const int64_t shape[2]);
void weights_each(const struct model_config *c, weights_visit *visit, void *context);

/*
 * The same of an open model of which each layer keeps `left` experts, kept [layers, left]: names and
 * shapes are those of a model with `left` of them, and `t` is where the numbers come from; a router's
 * is whole, with the rows of all experts. layer: -1 outside the layers.
 */
typedef void weights_visit_kept(void *context, const char *name, int ndim, const int64_t shape[2],
                                int layer, const struct st_tensor *t);
void weights_each_kept(const struct weights *w, const int *kept, int left,
                       weights_visit_kept *visit, void *context);

/*
 * The folder a model's name means: the name itself where it is a folder, else NAME under each
 * folder of `SEQTOPK_MODELS` (colon-separated), `models` and `results/models` here, and the same two
 * of the project that the program was built in (it is PROJECT/build/seqtopk). A model's folder is one
 * that has a config.json. On failure `err` lists where was looked, and which models are there.
 */
int model_find(const char *name, struct buf *dir, struct buf *err) MUST_USE;
/* Adds the names of all models in those folders, sorted. */
void model_list(struct strings *names);

/* 32 hex digits of all that the weights are: config.json and every tensor, checked as by weights_open(). */
int weights_hash(const char *dir, char hex[33], struct buf *err) MUST_USE;
/* 32 hex digits of tokenizer.json. */
int tokenizer_hash(const char *dir, char hex[33], struct buf *err) MUST_USE;

#endif
