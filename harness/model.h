/*
 * model.h: a decoder with the router taken out: scores go to a router in C, what it selects goes
 * back to the experts. This header is the border between the program and the engine, the shared
 * object that holds model.c and libtorch and is opened only by commands that need it (engine.h).
 *
 * A forward pass takes sequences of any lengths, each in a pool, the sequences that route together;
 * each pool has its own router and K, so one batch can carry several routers.
 * Invariant: what is computed for a sequence hangs on its pool alone, not on the rest of the batch.
 * Leaves out: text, files, the database.
 */
#ifndef MODEL_H
#define MODEL_H

#include "routers/router.h"
#include "sample.h"
#include "torch.h"
#include "weights.h"

struct sequence {
    const int32_t *ids;
    int tokens;
};

/* `sequences` consecutive sequences of the batch that route together. */
struct pool {
    const struct router *router;
    struct router_args args;
    int sequences;
    int prompt; /* tokens of its prompt, at least 1, for a router with scope prompt */
};

struct batch {
    const struct sequence *sequences;
    int nsequences;
    const struct pool *pools;
    int npools;
};

/* What is to be found out beyond what always is; it has the host route. */
struct wanted {
    bool load_entropy;
    /* Routers of ours whose selections from the same scores are compared with each pool's own, sequence
     * by sequence: of scope token, prefix or sequence, and none that reads logits. */
    int nothers;
    const struct router_use *const *others; /* [pools][nothers] */
};

/* What a forward pass found. Zeroes, and what is wanted, to begin with; scored_release() after. */
struct scored {
    const struct wanted *wanted; /* borrowed; NULL: nothing more */
    int tokens, layers, experts, nsequences;
    int *start;           /* [nsequences + 1]: where each sequence's tokens begin */
    float *nll;           /* [tokens]: loss of the token itself; NaN for each sequence's first */
    float *entropy;       /* [tokens]: of the prediction made there, nats */
    uint16_t *used;       /* [layers, tokens]: experts that each token took */
    int32_t *load_tokens; /* [nsequences, layers, experts]: pairs by expert */
    double *load_weight;  /* [nsequences, layers, experts]: their summed weights */
    double *load_entropy; /* [nsequences, layers, experts]: summed entropies of the tokens that the
                             expert took; NULL: not wanted */
    int64_t *overlap; /* [nsequences, nothers, layers, 3]: pairs that both the router and the other
                             selected, that the router did, that the other did; NULL: no others */
};
void scored_alloc(struct scored *s, const struct batch *b, int layers, int experts);
void scored_release(struct scored *s);

/*
 * Texts that grow: a decoder keeps keys, values and routers' states of up to `slots` of them, each
 * of up to `capacity` tokens. One thread uses it; a model may have several.
 */
struct decoder;

/* One text's next tokens: its prompt whole, or the token that was drawn last. */
struct feed {
    int slot;
    const int32_t *ids;
    int tokens;
    struct sampler *sampler; /* draws the token that follows; NULL: none is wanted */
    int32_t next;            /* it */
    float next_nll;          /* and its loss, nats, whatever the temperature */
};

struct model;
struct trainer_functions;

/* The engine's functions. A model may score in several threads at once, one core for each. */
struct engine {
    struct torch_info (*info)(void);
    int (*device_parse)(const char *name, struct device *out, struct buf *err);
    int (*device_check)(struct device device, enum dtype dtype, struct buf *err);
    bool (*device_memory)(struct device device, int64_t *free_bytes, int64_t *total);
    bool (*device_peak)(struct device device, bool forget, int64_t *bytes);
    /* Copies the weights to the device; a NaN among them is refused with file and tensor. */
    struct model *(*open)(const struct weights *w, struct device device, enum dtype dtype,
                          struct buf *err);
    void (*close)(struct model *m);
    int (*score)(struct model *m, const struct batch *batch, struct scored *out, struct buf *err);

    struct decoder *(*decoder_open)(struct model *m, int slots, int capacity, struct buf *err);
    void (*decoder_close)(struct decoder *d);
    /* Forgets the slot's text; the next one is routed by `router`, which must decode. */
    void (*decoder_begin)(struct decoder *d, int slot, const struct router *router,
                          const struct router_args *args);
    /*
     * Gives each text its tokens, no slot twice. `out` tells of these alone, feed i being sequence i;
     * the loss of each feed's first token is NaN (it was `next_nll`). -1: the texts fed are lost.
     */
    int (*decode)(struct decoder *d, struct feed *feeds, int n, struct scored *out,
                  struct buf *err);
    /*
     * The memory of all slots: the caches of keys and values, `capacity` tokens whatever is in them,
     * and what the routers of the texts that were begun keep, as much as they hold it now.
     */
    void (*decoder_bytes)(const struct decoder *d, int64_t *caches, int64_t *states);

    const struct trainer_functions *trainer; /* trainer.h */
};

/* In the engine itself; the program reaches it by engine_open(). */
extern const struct engine seqtopk_engine;

#endif
