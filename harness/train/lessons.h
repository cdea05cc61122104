/*
 * lessons.h: what a model is trained on: texts as tokens, and in which order they come.
 *
 * A lesson is one sequence: a prompt and a completion (the end token behind it), or a whole text with
 * the end token behind it, cut into windows of `length` where it is longer. A window begins with the
 * last token of the one before, so that each token but a text's first is predicted once. Two texts
 * never share a sequence: each lesson routes and attends alone.
 *
 * Lessons come in epochs. A source of weight 0.25 has each of its lessons in every fourth epoch, a
 * quarter of them in each; one of weight 2, each twice in every epoch. So epochs are not all of one
 * size, and one may be empty.
 *
 * Invariant: every lesson has 2 to `length` tokens, at least one of which counts, and of those that
 * are trained on at least one has a weight. The order is a function of the seed and the epoch alone,
 * in whole numbers, so that a training that goes on needs no memory of it.
 * Leaves out: which data (recipe/lesson_data.h), gradients (trainer.h).
 */
#ifndef LESSONS_H
#define LESSONS_H

#include "util.h"

struct lesson_data;
struct tokenizer;
struct training;

struct lesson {
    const int32_t *ids;
    int tokens;
    int loss_from; /* the first token whose loss counts, 1 or more */
    int source;    /* index into `sources` */
};

/* Texts of one kind, and how often they come. */
struct lesson_source {
    char *name;           /* of the data's field that names sources; "" where there is none */
    double weight;        /* times that its lessons come in an epoch: 0.25 is in every fourth */
    size_t lessons, held; /* how many there are in `v`, and in `held` */
    int64_t tokens;       /* of those in `v` */
};

struct lessons {
    struct lesson *v; /* in the order of the data */
    size_t len, cap;
    struct lesson *held; /* held out: never trained on */
    size_t nheld, held_cap;
    struct lesson_source *sources;
    size_t nsources;
    size_t skipped; /* documents that were too long, with a completion: said in a warning */
    int64_t tokens; /* of v */
    char hash[33];  /* of all that was read, and how it was cut */
    void *memory;   /* what the ids lie in */
};

/*
 * The lessons of data that were checked (lesson_data_check()), for a model with `context` positions.
 * Uses length and loss_on of `how`; a whole text counts from its second token on in any case. Prompt
 * and completion are made into tokens apart. `eos` is the end token; negative: there is none.
 * lessons_release() also after -1.
 */
int lessons_read(const struct lesson_data *d, struct tokenizer *t, int32_t eos,
                 const struct training *how, int context, struct lessons *out,
                 struct buf *err) MUST_USE;
void lessons_release(struct lessons *l);

/*
 * The indices of epoch `e`'s lessons, in the order in which they are trained on, appended to `out`:
 * each source's share by its weight, shuffled by (seed, e).
 */
void lessons_epoch(const struct lessons *l, int64_t seed, int64_t e, struct ids *out);

/* How many lessons come in the epochs before `e`, with any seed. */
int64_t lessons_before(const struct lessons *l, int64_t e);
/* The epoch that the n-th lesson of all is in, from 0; in it, it is number n - lessons_before(). */
int64_t lessons_epoch_of(const struct lessons *l, int64_t n);
/* How many lessons an epoch has, on the average. */
double lessons_per_epoch(const struct lessons *l);

#endif
