/*
 * route.h: every pool's router on its tokens' scores, and what came of it, counted. What scoring,
 * decoding and training share.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include "model.h"

/* The routers of one batch, layer after layer. */
struct routing {
    const struct batch *batch;
    struct router_state **const *state; /* [pools][layers], which go on; NULL: every text is new */
    const struct router_args *args;     /* [layers]: over those of all pools; NULL: theirs hold */
    bool normalise;                     /* weights of a token sum to 1 */
    int threads;                        /* that share the pools' work; 0 as 1 */
    struct scored *out;                 /* scored_alloc() was called */
    struct selection selection;         /* of the layer that was routed last */
    struct selection *kept;             /* [layers], where out->load_entropy is wanted; else NULL */
};
void routing_release(struct routing *r);

/* Does a router of the batch read raw logits? */
bool routing_wants_logits(const struct batch *b);

/*
 * Routes a layer and counts what was used in `out`. scores, logits: [tokens, N]; logits may be NULL
 * where nobody wants them. -1: a router failed, and `err` says which.
 */
int route_layer(struct routing *r, int layer, const float *scores, const float *logits,
                struct buf *err) MUST_USE;

/* Once out->entropy is there and all layers are routed: what each expert's tokens have of it. */
void routing_count_entropy(struct routing *r);

/* The pairs of the last layer, [selection.pairs] each: token after token, experts ascending. */
void routing_pairs(const struct routing *r, int64_t *token, int64_t *expert);

#endif
