/*
 * scoring.h: the measures of one output, as a job for workers: programs and judges take their time,
 * and models need not wait for them. What the outcomes of many outputs come to.
 *
 * The metrics, whose names are stable (M is the name of a measure, a judge's with its model,
 * "judge:MODEL"; values are means over documents, their error the standard deviation / sqrt(n)):
 *   M                the score; n: outputs that it scored
 *   M_no_answer      share of those in which nothing was found; only where M looks for something
 *   M_unparsed       judges: share of replies without a number (their score is 0)
 *   M_failed         judges: outputs that it could not be asked about (exact); where there are any
 *   score            the form's first measure once more, so that tasks share a column
 *   no_answer        share of outputs without an answer, by the first measure that looks for one
 */
#ifndef SCORING_H
#define SCORING_H

#include "recipe/task.h"
#include "stats.h"
#include "workers.h"

/* One output. */
struct scoring {
    struct job job; /* first: the workers hand back this */
    const struct task *task;
    const json_t *fields; /* of the document */
    const char *output;
    const struct tools *tools;
    double score;         /* of the first measure; NaN: not scored */
    struct buf extracted; /* verdicts_json() */
    void *owner;          /* the caller's */
};
void scoring_init(struct scoring *s, const struct task *task, const json_t *fields,
                  const char *output, const struct tools *tools);
void scoring_release(struct scoring *s);

/* The metrics of many outputs. Zeroes to begin with. */
struct outcomes {
    struct outcome_metric {
        char *name;
        double *y; /* [n] */
        size_t n, cap;
        bool exact; /* a count, without an error */
    } * v;
    size_t len, cap;
};
/*
 * Adds the outcome of one output: what v_samples.score (NaN: null) and .extracted hold. -1: the
 * latter is no such thing.
 */
int outcomes_add(struct outcomes *o, double score, const char *extracted, struct buf *err) MUST_USE;
struct estimate outcomes_estimate(const struct outcome_metric *m);
void outcomes_release(struct outcomes *o);

#endif
