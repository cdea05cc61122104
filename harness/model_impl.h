/*
 * model_impl.h: what the files of the engine share: model_build.c makes a model, model.c drives a
 * forward pass through it, decoder.c does so again and again for texts that grow, trainer.c with
 * gradients.
 */
#ifndef MODEL_IMPL_H
#define MODEL_IMPL_H

#include "model.h"
#include "route.h"

struct model {
    struct model_config config; /* borrowed strings are not used after opening */
    struct device device;
    enum dtype dtype;
    struct scope *scope; /* owns the modules */
    struct module *ends, **layers;
};
struct model *model_open(const struct weights *w, struct device device, enum dtype dtype,
                         struct buf *err);

/* A parameter of a module as it was built: tensors of the files, one behind the other. */
struct parameter {
    struct module *module;
    const char *name;
    int ndim;
    int64_t shape[3];
    const struct st_tensor **parts; /* borrowed from the weights */
    int nparts;
};
struct parameters {
    struct parameter *v;
    size_t len, cap;
};
void parameters_release(struct parameters *p);
/* The same in float32, with no matrix packed, and what it is made of: for training. */
struct model *model_open_parameters(const struct weights *w, struct device device,
                                    struct parameters *out, struct buf *err);
void model_close(struct model *m);

struct layer_scores;

/*
 * What a batch's sequences have behind them: where in the cache each one's keys and values are, and
 * the states of their routers. All NULL: every sequence is new and nothing is kept.
 */
struct past {
    const int64_t *tokens, *slot;       /* [sequences] */
    struct tensor **keys, **values;     /* [layers]: [slots, capacity, G*D] each */
    struct router_state **const *state; /* [pools][layers] */
    /*
     * For texts whose routers' states are on the GPU. Kernels that route the pass go on from these and
     * leave them behind the sequences: `on_gpu` says where a slot's is in the first layer, and how many
     * bytes behind it in the next; NULL: it has none there. Where the host routes, `seen` is shown each
     * layer's scores, as tensors; -1: `err` says why. Both NULL: there are no such texts.
     */
    void *(*on_gpu)(void *context, int slot, size_t *stride);
    int (*seen)(void *context, int layer, const struct layer_scores *s, struct buf *err);
    void *context;
};

/* One forward pass under way: what its steps share. */
struct pass {
    struct model *m;
    const struct batch *batch;
    const struct past *past;
    struct scope *scope;
    struct tensor *start, *behind, *slot, *no_cache;
    struct routing routing;
    struct pass_gpu *gpu; /* routers are on the GPU; NULL: on the host */
    bool unpacked;        /* no matrix of the model is packed, as in training */
};
/* Is the batch one that the model can take? `past` NULL: every sequence is new. */
int pass_check(const struct model *m, const struct batch *b, const struct past *past,
               struct buf *err) MUST_USE;
/* Sets the pass up, and makes room in `out`. */
void pass_begin(struct pass *p, struct model *m, const struct batch *batch, const struct past *past,
                struct scope *scope, struct scored *out);
void pass_end(struct pass *p);
/* Token ids [T]; and in the pass, where the sequences are, in this batch and in the cache. */
struct tensor *pass_inputs(struct pass *p);
/*
 * x [T, d] through one layer, in three parts: attention and the router's scores; the routers; the
 * experts that they selected. Of a selection that was kept the first and the last come out the same
 * again. scores, logits: the router's, [T, N], as tensors and on the host; the logits only where a
 * router of the batch wants them. NULL: the scope has failed.
 */
struct layer_scores {
    struct tensor *x, *h; /* [T, d]: with attention added, and its norm */
    struct tensor *scores, *logits;
    const float *scores_host, *logits_host;
};
/*
 * Pairs on the host, token after token: [P] each. Or, from kernels, on the device in int32, sorted by
 * expert: the token of each and, [N+1], where each expert's begin (torch_gpu.h).
 */
struct selected {
    struct tensor *token, *expert;
};
void pass_attend(struct pass *p, int layer, struct tensor *x, struct layer_scores *s);
void pass_route(struct pass *p, int layer, struct layer_scores *s, struct selected *out);
struct tensor *pass_experts(struct pass *p, int layer, const struct layer_scores *s,
                            const struct selected *selected);
struct tensor *pass_layer(struct pass *p, int layer, struct tensor *x, struct layer_scores *s);

/*
 * Routers on the GPU, for passes of which each router has a kernel: `begin` decides, and sets p->gpu;
 * `route` is then pass_route()'s work, without scores_host; `shares` each expert's share of the last
 * layer's pairs, [N]; `end` what the whole pass used, into its struct scored. model_gpu.c.
 */
void pass_gpu_begin(struct pass *p);
void pass_gpu_free(struct pass *p);
void pass_gpu_route(struct pass *p, int layer, const struct layer_scores *s, struct selected *to);
void pass_gpu_shares(const struct pass *p, float *share);
void pass_gpu_end(struct pass *p);

/*
 * The forward pass. keep: ascending rows of the batch whose logits are wanted, `nkeep` of them, as
 * `logits` [nkeep, V], valid as long as `scope`, which the caller makes and frees.
 */
int model_forward(struct model *m, const struct batch *batch, const struct past *past,
                  const int64_t *keep, int nkeep, struct scope *scope, const float **logits,
                  struct scored *out, struct buf *err) MUST_USE;

struct decoder *decoder_open(struct model *m, int slots, int capacity, struct buf *err);
void decoder_close(struct decoder *d);
void decoder_begin(struct decoder *d, int slot, const struct router *router,
                   const struct router_args *args);
void decoder_bytes(const struct decoder *d, int64_t *caches, int64_t *states);
extern const struct trainer_functions trainer_functions;

int decoder_step(struct decoder *d, struct feed *feeds, int n, struct scored *out, struct buf *err);

#endif
