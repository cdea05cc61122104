/*
 * corpus.h: the documents of a sweep, every task's in the tokens of every model.
 *
 * Invariant: once read, every document of every cell is known to fit its model, and so nothing about
 * texts can fail any more while models compute.
 */
#ifndef CORPUS_H
#define CORPUS_H

#include "recipe/data.h"
#include "recipe/sweep.h"
#include "store/store.h"

/* The documents of one task, in the tokens of one model. */
struct corpus {
    const struct sweep_model *model;
    const struct task *task;
    struct documents documents;
};

struct corpora {
    const struct sweep *sweep;
    struct corpus *v; /* [models * tasks] */
    size_t len;
};

int corpora_read(struct corpora *c, const struct sweep *s, struct buf *err) MUST_USE;
void corpora_release(struct corpora *c);

const struct corpus *corpora_find(const struct corpora *c, const struct cell *cell);
/* Documents that were cut; for each task, of the model that cut most. */
int corpora_truncated(const struct corpora *c);

/* The model's tokenizer, which must not have more tokens than the model. */
struct tokenizer *corpus_tokenizer(const struct sweep_model *m, struct buf *err) MUST_USE;

/* Stores the text of each token of the cell's model, so that v_tokens can show it. */
int corpora_store_texts(const struct corpora *c, const struct cell *cell, struct store *store,
                        struct buf *err) MUST_USE;
/*
 * The same for n ids that were not seen before: seen: [vocabulary], marked here. An id that stands
 * for nothing has no text.
 */
int corpus_store_ids(const int32_t *ids, size_t n, const struct tokenizer *tokenizer,
                     const char *cell_id, bool *seen, struct store *store,
                     struct buf *err) MUST_USE;

#endif
