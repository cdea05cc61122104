/*
 * model_impl.h: what the files of the engine share: model_build.c makes a model, model.c drives a
 * forward pass through it, decoder.c does so again and again for texts that grow.
 */
#ifndef MODEL_IMPL_H
#define MODEL_IMPL_H

#include "model.h"

struct model {
    struct model_config config; /* borrowed strings are not used after opening */
    struct device device;
    enum dtype dtype;
    struct scope *scope; /* owns the modules */
    struct module *ends, **layers;
};
struct model *model_open(const struct weights *w, struct device device, enum dtype dtype,
                         struct buf *err);
void model_close(struct model *m);

/*
 * What a batch's sequences have behind them: where in the cache each one's keys and values are, and
 * the states of their routers. All NULL: every sequence is new and nothing is kept.
 */
struct past {
    const int64_t *tokens, *slot;       /* [sequences] */
    struct tensor **keys, **values;     /* [layers]: [slots, capacity, G*D] each */
    struct router_state **const *state; /* [pools][layers] */
};

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
int decoder_step(struct decoder *d, struct feed *feeds, int n, struct scored *out, struct buf *err);

#endif
