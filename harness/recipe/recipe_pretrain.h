/*
 * recipe_pretrain.h: a recipe that ends in `return pretrain { ... }`: a model made from nothing, for
 * `seqtopk train`.
 *
 *     return pretrain {
 *       name      = "tiny",                    -- letters, digits, - and _
 *       model     = { family = "olmoe", layers = 4, hidden = 256, heads = 4, experts = 64,
 *                     top_k = 8, expert_ffn = 48, context = 2048 },
 *       tokenizer = { vocab = 8192 },          -- trained on `data`; with train = { ... }, as `data`
 *                                              -- is said, on other texts; or a folder or a
 *                                              -- tokenizer.json that is there
 *       end_text  = "<|endoftext|>",           -- the token behind each text
 *       data      = { file = "corpus.jsonl", text = "t", source = "s", held_out = 0.01 },
 *       router    = topk(), K = 8,             -- the defaults: topk, and the model's top_k
 *       steps     = 3000, lr = 1e-3, ...       -- and all fields of sft { ... }
 *       out       = "results/models/tiny",     -- where the finished folder is copied to
 *     }
 *
 * Of the fields of sft these have other defaults: schedule = "cosine", weight_decay = 0.1,
 * betas = { 0.9, 0.95 }, loss_on = "all", seed = 0.
 *
 * model: family is "olmoe" or "qwen2_moe"; beside the sizes above kv_heads (default: heads),
 * head_dim (hidden / heads), rope_theta, rms_eps, norm_topk_prob (false), tied (false: the head has
 * a matrix of its own), of olmoe clip_qkv, of qwen2_moe shared_ffn, which must be said, and qkv_bias
 * (true).
 *
 * Invariant: what was read makes a model that config.json could say.
 * Leaves out: whether files are there, and making anything (run_pretrain.h).
 */
#ifndef RECIPE_PRETRAIN_H
#define RECIPE_PRETRAIN_H

#include "recipe/recipe_train.h"
#include "weights.h"

struct recipe_pretrain {
    struct lua_place at;
    char *name;
    struct model_config model; /* without name and vocabulary; 0: the family's default */
    char *tokenizer;           /* a folder or file; NULL: one is trained ... */
    int vocab;                 /* ... with so many tokens at most ... */
    bool tokenizer_data_said;
    struct lesson_data tokenizer_data; /* ... on these texts, or the training's own */
    char *end_text;
    int K;                     /* 0: the model's */
    struct recipe_train train; /* `routed` is false for topk() */
    char *out;                 /* NULL: nothing is copied */
};

/* Reads the table on top of the stack; recipe_pretrain_release() also after -1. */
int recipe_pretrain_read(lua_State *L, const struct lua_place *at, struct recipe_pretrain *p,
                         struct buf *err) MUST_USE;
void recipe_pretrain_release(struct recipe_pretrain *p);

#endif
