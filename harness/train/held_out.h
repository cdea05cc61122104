/*
 * held_out.h: which documents of a training's data are held out, and these as a file, so that other
 * models can be scored on the same ones.
 *
 * Invariant: the choice hangs on the documents' texts and sources alone; see lesson_data.h.
 */
#ifndef HELD_OUT_H
#define HELD_OUT_H

#include "recipe/lesson_data.h"

/* Documents to choose from. Zeroes to begin with. */
struct held_out {
    struct held_document {
        uint64_t hash; /* of the text */
        int source;
        bool held;
    } * v;
    size_t len, cap;
};
void held_out_add(struct held_out *h, const struct lesson_text *text, int source);
void held_out_choose(struct held_out *h, double share, size_t nsources);
void held_out_release(struct held_out *h);

/*
 * Writes those of checked data that are whole texts to `path`, a line {"source": ..., "text": ...}
 * each, in their order; `n` gets how many. Reads the data twice. A file that is there is written over,
 * but not the data's own, nor the recipe.
 */
int held_out_write(const struct lesson_data *d, const char *path, size_t *n,
                   struct buf *err) MUST_USE;

#endif
