/*
 * step.h: one more token for each of some texts, on a GPU, in few kernels and without the host: what
 * decoder_gpu.c drives. Plain C; the CUDA runtime stays behind it.
 *
 * A step takes the token that each text had last, and leaves its keys and values in the caches, the
 * scores of the experts that it took in every layer, the entropy of the prediction, and the likeliest
 * next token with its loss. All of that is one CUDA graph for each number of texts in step_sizes[];
 * a smaller number is padded with idle rows, which change nothing.
 *
 * Invariant: the numbers of a text do not hang on the other texts nor on how many there are.
 * Formats: weights, caches and what is multiplied by weights are T, which is bfloat16 or float32;
 * sums, norms, the residual stream, scores, softmax and losses are float32.
 * Owns no weights and no caches: they are the caller's, in device memory, and stay where they are.
 * Leaves out: prompts, sampling with a temperature (the logits are there for it), files.
 */
#ifndef STEP_H
#define STEP_H

#include "util.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct router;
struct router_args;

enum {
    STEP_TEXTS = 64,    /* most texts of one step; more are several steps */
    STEP_EXPERTS = 512, /* most experts of a layer */
};
extern const int step_sizes[]; /* ended by 0 */

struct step_shape {
    int layers, hidden, heads, kv_heads, head_dim, vocab, context;
    int experts, expert_ffn; /* N, F */
    int shared_ffn;          /* 0: no shared expert */
    float eps, clip;         /* clip 0: queries, keys and values are not clipped */
    bool half;               /* T is bfloat16, else float32 */
    bool norm_heads; /* the norm of queries and keys is of each head; else of all together */
    bool normalise;  /* a token's weights are divided by their sum */
};

/* Device pointers, row-major and contiguous; d hidden, D a head's size, q = heads*D, kv = kv_heads*D. */
struct step_layer {
    const void *attn_norm;       /* [d] */
    const void *qkv, *qkv_bias;  /* [q + 2 kv, d], [q + 2 kv]; bias NULL: none */
    const void *q_norm, *k_norm; /* [q] and [kv], or [D] each; NULL: none */
    const void *o;               /* [d, q] */
    const void *ffn_norm;        /* [d] */
    const void *router;          /* [N, d] */
    const void *gate_up, *down;  /* [N, 2F, d], [N, d, F] */
    const void *shared_gate_up, *shared_down,
        *shared_gate;    /* [2 Fs, d], [d, Fs], [1, d]; or NULL */
    void *keys, *values; /* [slots, capacity, kv]; keys rotated */
};
struct step_ends {
    const void *embedding, *norm, *head; /* [V, d], [d], [V, d] */
    const float *cos, *sin;              /* [context, D/2] */
};

/* Do the kernels run on the CPU, in plain memory? A build for tests. */
bool step_emulated(void);

/* -1: the shape is one that a step cannot do (sizes that T's loads do not fit), and `err` says why. */
int step_check(const struct step_shape *s, struct buf *err) MUST_USE;

struct step;
struct step_spec {
    struct step_shape shape;
    struct step_ends ends;
    const struct step_layer *layers; /* [layers]; copied */
    int slots, capacity;             /* of the caches */
    int device;                      /* index of the GPU */
    bool no_overlap; /* kernels do not start while the one before them ends: for comparisons */
    bool no_graph;   /* launches one by one, which tells what fails where */
};
/* Device memory that a step takes beside weights and caches, in bytes, without the routers' states. */
size_t step_bytes(const struct step_spec *spec);
/* The memory is the step's own. NULL: `err` says why. */
struct step *step_open(const struct step_spec *spec, struct buf *err) MUST_USE;
void step_close(struct step *s);

/* Has this router, one that decodes, a kernel that routes one token more? */
bool step_routes(const struct router *r, const struct router_args *args);
/*
 * The slot's text is a new one, routed by r. The Expert Cache of online and strict, gpu_state_bytes()
 * a layer, is made when a slot needs it first, and stays with the slot: all of a text's scores, N
 * floats a token and layer, against 2 kv values of T for keys and values. That is a thirty-second of
 * what the caches take with 64 experts and 2048 columns of bfloat16.
 */
int step_begin(struct step *s, int slot, const struct router *r, const struct router_args *args,
               void *stream, struct buf *err) MUST_USE;

/* A begun slot's state in the first layer, and the bytes to the next one's; NULL: its router has none. */
void *step_state(const struct step *s, int slot, size_t *stride);

/*
 * Texts that were begun are given their prompts, all at once: first where their rows are in the
 * scores, then each layer's scores [.., N], in device memory, which are read on the stream. Texts
 * whose router keeps nothing may be left out.
 */
struct step_prompt {
    int slot, from, tokens;
};
int step_prompts(struct step *s, const struct step_prompt *prompts, int n, void *stream,
                 struct buf *err) MUST_USE;
int step_prompt_scores(struct step *s, int layer, const float *scores, void *stream,
                       struct buf *err) MUST_USE;

/* One text's turn. Of what came of it, arrays are the step's and last until the next. */
struct step_text {
    int slot, position; /* tokens before it */
    int32_t id;
    bool want_logits; /* for a sampler */
    int32_t next;
    float next_nll, entropy;
    const float *logits; /* [V], where wanted */
};
/*
 * Runs them, and waits for their end; n is at most STEP_TEXTS, no slot twice. Work that was put on
 * the stream before is done first, and what comes on it later sees the caches. -1: `err` says why,
 * and what the texts' caches and routers hold is not defined.
 */
int step_run(struct step *s, struct step_text *texts, int n, void *stream,
             struct buf *err) MUST_USE;
/* Of text i of the last run in a layer, [N]: the scores of the experts that it took, -1 elsewhere. */
const float *step_scores(const struct step *s, int layer, int i);

#ifdef __cplusplus
}
#endif
#endif
