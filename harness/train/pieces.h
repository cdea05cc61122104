/*
 * pieces.h: lessons cut into pieces that are small enough for one pass each, and the threads that
 * compute them.
 *
 * A lesson is a sequence, and a pool of its own, but where the router's pool is a batch: there each
 * `args.batch` consecutive lessons are one. Pieces keep the lessons' order and take pool after pool
 * up to about `micro_tokens` tokens; a pool is never cut, so one may be larger.
 * Invariant: pieces hang on lessons, router and micro_tokens, and not on the number of threads.
 * Leaves out: which lessons (lesson_order.h), and what becomes of the results (train.c).
 */
#ifndef PIECES_H
#define PIECES_H

#include "model.h"
#include "train/lessons.h"
#include "trainer.h"
#include "workers.h"

struct pieces {
    struct piece *v;
    int n;
    int64_t tokens, counted; /* of all; those whose loss counts */
    struct sequence *sequences;
    int *loss_from;
    struct pool *pools;
};

/* The lessons' ids are borrowed. nll_weight and aux_weight are those of one step of all pieces. */
void pieces_make(struct pieces *p, const struct lesson *const *lessons, int n,
                 const struct router *router, const struct router_args *args, int micro_tokens);
void pieces_release(struct pieces *p);

/* Tokens of a piece. */
int64_t piece_tokens(const struct piece *p);

/* Threads with a slot each. */
struct piece_threads;
struct piece_threads *piece_threads_new(const struct trainer_functions *f, struct trainer *t,
                                        int threads);
void piece_threads_free(struct piece_threads *t);

/*
 * Up to `threads` pieces at once. gradients: the one of piece i goes into slot i, what else it came to
 * into results[i]. losses: of score(). Results are released by the caller, also where it fails; the
 * sentence is that of the first piece that failed.
 */
int piece_gradients(struct piece_threads *t, const struct piece *pieces, int n,
                    struct piece_result *results, struct buf *err) MUST_USE;
int piece_losses(struct piece_threads *t, const struct piece *pieces, int n, struct scored *results,
                 struct buf *err) MUST_USE;

#endif
