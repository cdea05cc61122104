/*
 * repetition.c: how much a text says again, by its tokens; see measure.h. Two scorers, over all runs
 * of `ngram` tokens of the output:
 *
 *   repetition  the share of runs that stood before in the same text: 0 where none comes twice. With
 *               4 tokens it is seq-rep-4 of Welleck et al., "Neural Text Generation with
 *               Unlikelihood Training" (2020)
 *   distinct    different runs over all runs: 1 - repetition, the usual name for short runs, after
 *               Li et al., "A Diversity-Promoting Objective Function" (2016)
 *
 * Invariant: a text of fewer tokens than one run has no score.
 * Leaves out: runs across texts, and texts that came without tokens.
 */
#include "score/measure.h"

#include <string.h>

struct run {
    int32_t id[NGRAM_MAX]; /* behind the run's own 0 */
};

static int by_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct run));
}

/* Of the runs of n tokens those that differ, over all. There is one at least. */
static double share_distinct(const struct ids *ids, size_t n)
{
    size_t all = ids->len - n + 1, different = 1;
    struct run *runs = xcalloc(all, sizeof(*runs));
    for (size_t i = 0; i < all; i++)
        memcpy(runs[i].id, ids->v + i, n * sizeof(*ids->v));
    qsort(runs, all, sizeof(*runs), by_ids);
    for (size_t i = 1; i < all; i++)
        different += by_ids(&runs[i - 1], &runs[i]) != 0;
    free(runs);
    return (double)different / (double)all;
}

static int score_distinct(const struct measure *m, const struct tools *tools, const json_t *doc,
                          struct verdict *v, struct buf *err)
{
    (void)doc, (void)err;
    if (tools->written->len >= (size_t)m->ngram)
        v->score = share_distinct(tools->written, (size_t)m->ngram);
    return 0;
}

static int score_repetition(const struct measure *m, const struct tools *tools, const json_t *doc,
                            struct verdict *v, struct buf *err)
{
    int rc = score_distinct(m, tools, doc, v, err);
    v->score = 1 - v->score; // no score stays none
    return rc;
}

static const char *const needs[] = { "ngram", NULL };

const struct scorer scorer_repetition = {
    .name = "repetition",
    .help =
        "share of the runs of `ngram` written tokens that stood before in the same text; 0 to 1",
    .needs = needs,
    .reads_tokens = true,
    .score = score_repetition,
};

const struct scorer scorer_distinct = {
    .name = "distinct",
    .help = "share of different ones among the runs of `ngram` written tokens; 0 to 1",
    .needs = needs,
    .reads_tokens = true,
    .score = score_distinct,
};
