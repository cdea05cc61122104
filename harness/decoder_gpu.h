/*
 * decoder_gpu.h: a decoder's texts on a GPU, one token at a time by fused kernels (cuda/step.h). The
 * caches are the decoder's; prompts go through model_forward(), whose kernels leave the routers'
 * states here behind the prompt, or which shows what the routers of each layer were given.
 *
 * SEQTOPK_GPU_GRAPH=0 launches kernels one by one instead of as a graph, and SEQTOPK_GPU_OVERLAP=0
 * starts each when the one before it has ended: for finding what fails, and for comparisons.
 * Leaves out: models and routers that a step cannot do, which stay with model_forward(): numbers in
 * float16, odd sizes in bfloat16, routers without a kernel. In a program without kernels that is all.
 */
#ifndef DECODER_GPU_H
#define DECODER_GPU_H

#include "model_impl.h"

struct decoder_gpu;

/* *out NULL: the model is one that model_forward() decodes. keys, values: [layers], borrowed. */
int decoder_gpu_open(struct model *m, int slots, int capacity, struct tensor *const *keys,
                     struct tensor *const *values, struct decoder_gpu **out,
                     struct buf *err) MUST_USE;
void decoder_gpu_close(struct decoder_gpu *g);

/* Is there a kernel for this router? */
bool decoder_gpu_routes(const struct router *router, const struct router_args *args);
/* The slot's text is a new one. */
int decoder_gpu_begin(struct decoder_gpu *g, int slot, const struct router *router,
                      const struct router_args *args, struct buf *err) MUST_USE;

/* The state of the slot's router in the first layer, and how far behind it the next is; NULL: none. */
void *decoder_gpu_state(const struct decoder_gpu *g, int slot, size_t *stride);

/*
 * Prompts that go through model_forward() with routers on the host, n of them, of slots that were
 * begun; `from` is where their rows begin in that batch. Each layer's scores are then shown to the
 * states, the first layer's first.
 */
struct decoder_prompt {
    int slot, from, tokens;
};
int decoder_gpu_prompts(struct decoder_gpu *g, const struct decoder_prompt *prompts, int n,
                        struct buf *err) MUST_USE;
int decoder_gpu_seen(const struct decoder_gpu *g, int layer, const struct layer_scores *s,
                     struct buf *err) MUST_USE;

/*
 * One token for each of n feeds, whose texts have `past` tokens. Fills in what is drawn, and in `out`
 * what belongs to the sequences `place`.
 */
int decoder_gpu_step(struct decoder_gpu *g, struct feed *const *feeds, const int64_t *past,
                     const int *place, int n, struct scored *out, struct buf *err) MUST_USE;

#endif
