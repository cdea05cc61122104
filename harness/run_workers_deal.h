/*
 * run_workers_deal.h: which of a run's processes takes which cells. Cells come in sets, those whose
 * weights are the same; each has a cost. A process stays with the set whose model it has open as long
 * as there is something left of it, and takes a share that becomes smaller towards the end, the
 * largest cells first: so that all are done at about the same time.
 *
 * A set whose model is still to be trained goes to one process, before all others, and to more once
 * it is there. Cells whose process died are dealt out once more, each by itself, after all others; a
 * cell whose process died twice is given up.
 *
 * Invariant: an item is dealt to one process at a time, and is over once.
 * Leaves out: processes, cells, time. Everything here is numbers.
 */
#ifndef RUN_WORKERS_DEAL_H
#define RUN_WORKERS_DEAL_H

#include "util.h"

struct deal_item {
    size_t set;   /* from 0 */
    int64_t cost; /* in any unit, at least 0 */
};

struct deal;
/* unmade: [sets]: is its model still to be trained? Items keep their number in `items`. */
struct deal *deal_new(const struct deal_item *items, size_t n, const bool *unmade, size_t nsets,
                      int processes);
void deal_free(struct deal *d);

/*
 * The next items for a process that has none, all of one set, at most `most` of them: their numbers
 * in `out`. 0: there is nothing for it now; deal_over() says whether there will be.
 */
size_t deal_take(struct deal *d, int process, size_t *out, size_t most);
/* The process is done with what it has. */
void deal_done(struct deal *d, int process);
/*
 * The process died, or cannot go on: what it has is dealt out again. Those that were lost for the
 * second time are over; their numbers go to `out` [items], and how many is returned.
 */
size_t deal_lost(struct deal *d, int process, size_t *out);

/* The model of the set is there. */
void deal_made(struct deal *d, size_t set);
/* It cannot be made: items of the set that wait are over; out: [items], as above. */
size_t deal_unmade(struct deal *d, size_t set, size_t *out);

bool deal_over(const struct deal *d);   /* every item is */
size_t deal_left(const struct deal *d); /* items that are not */

#endif
