/*
 * store_merge.h: one database gets what another has: cells with all that belongs to them, trainings,
 * and where the numbers come from.
 *
 * Of a cell that both have, done goes before unfinished before failed. What both have of it must be
 * the same: samples and tokens to the bit, what is summed or averaged over them to 1e-9. No numbers
 * are: seconds, dates, the device's number, the sweep's name, the model's, and the note; ours stay.
 * A document that has no score yet may get one. Times, of tasks STORE_TIMED, are not compared either: the
 * cell that is further is taken, or ours. Of two cells that are not done
 *   - one that has all documents of the other takes its place;
 *   - halves that share no document are united, and their expert load is summed;
 *   - of others the one with more documents is taken, since the load is not kept by document. What the
 *     other had more is left out, and a run computes it again.
 * A training's steps and held-out losses are united; the ones that both have must be the same. Runs are
 * told apart by their ids, recipes by their hashes, sources by kind, name and hash; a sweep's plan is
 * the one of its newest run.
 *
 * Invariant: the whole input is compared before any of it is written; where a number differs, nothing
 * of that input is. Then each cell is a transaction, so it may be interrupted at any moment; merging
 * again does the rest, or nothing.
 * The input is only read, see store_check.h: it may be anybody's, older than we are, in a folder
 * that cannot be written, or a database that a run is at work on, of which it takes what is
 * committed when the merge begins. Where that lies on a file system which machines share, it is
 * copied first, so that the run need not wait for longer than that.
 */
#ifndef STORE_MERGE_H
#define STORE_MERGE_H

#include "store/store.h"
#include "store/store_check.h"

/* What came of it; each merge adds to it. Zeroes to begin with. */
struct merged {
    int64_t added;    /* cells that are new */
    int64_t grown;    /* cells that got more: samples, or an end */
    int64_t same;     /* cells that were there already */
    int64_t left_out; /* samples of halves that overlap another */
    bool replaced; /* some of them were ours: what was merged before may have them. Merge again */
    bool broken;   /* the database that is merged into failed: no other input can be merged */
};

/*
 * `out` is open for writing, and store_lock() was taken. -1: a sentence that names the file, or both
 * files, the cell and the first number that differs.
 */
int store_merge(struct store *out, const char *in, struct merged *m, struct buf *err) MUST_USE;
/* The same of an input that is open. */
int store_merge_input(struct store *out, struct store_input *in, struct merged *m,
                      struct buf *err) MUST_USE;

#endif
