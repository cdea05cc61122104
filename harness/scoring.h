/*
 * scoring.h: the measures of one output, as a job for workers: programs and judges take their time,
 * and models need not wait for them. What the outcomes of many outputs come to.
 *
 * The metrics, whose names are stable (M is the name of a measure, a judge's with its model,
 * "judge:MODEL"; values are means over documents, their error the standard deviation / sqrt(n)):
 *   M                the score; n: outputs that it scored
 *   M_no_answer      share of outputs in which nothing was found, also where the whole text is then
 *                    compared; n: outputs that M could search; only where M looks for something
 *   M_unparsed       judges: share of replies without a number (their score is 0)
 *   M_failed         outputs for which the judge could not be asked, or the sandbox broke, or a
 *                    regular expression gave up: a count (exact), also as n; where there are any
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
    json_t *kept;         /* scoring_keep(); else NULL */
    void *owner;          /* the caller's */
};
void scoring_init(struct scoring *s, const struct task *task, const json_t *fields,
                  const char *output, const struct tools *tools);
void scoring_release(struct scoring *s);
/*
 * Before it is scored: `extracted` is what an earlier scoring left. Its verdicts stay; only measures
 * whose tool failed, or that it has not, are scored.
 */
int scoring_keep(struct scoring *s, const char *extracted, struct buf *err) MUST_USE;

/*
 * Is there a measure whose tool failed, so that another time it may score? 1: yes, and `why` gets
 * the first: "judge:MODEL: HTTP 500". 0: no. -1: `extracted` is no such thing as it should be.
 */
int outcome_failure(const char *extracted, struct buf *why, struct buf *err) MUST_USE;

/* The metrics of many outputs. Zeroes to begin with. */
struct outcomes {
    struct outcome_metric {
        char *name;
        double *y; /* [n] */
        size_t n, cap;
        bool exact;  /* a count, without an error */
        bool median; /* the median is told, not the mean */
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
