/*
 * contrast.h: one router against another on the same documents: difference, interval and p, several
 * seeds together. The tests of the report and of `table --against` are these.
 *
 * Invariant: the cells of a pool differ in the seed alone; the pools of a contrast that is not refused
 * have the same seeds.
 * Errors: a database that cannot be read ends the program with a sentence; what cannot be compared is
 * refused, with the reason.
 * Leaves out: which cells stand against which.
 */
#ifndef CONTRAST_H
#define CONTRAST_H

#include "cmd/compare.h"

#define CONTRAST_ALPHA 0.05
#define CONTRAST_FEW 20 /* with fewer documents the bootstrap's interval is too narrow */

struct pool {
    const struct result **cells; /* borrowed, by seed */
    size_t n, cap;
    bool twice; /* two cells of one seed */
};

struct contrast {
    struct pool a, b;
    enum quantity quantity;
    struct paired paired; /* of a - b */
    bool exact;           /* p is McNemar's, else Student's */
    double p, holm;
    int only_a, only_b; /* documents that were left out */
    char *refused;      /* why there is no test; NULL: there is */
};

void pool_add(struct pool *p, const struct result *cell);
void pool_release(struct pool *p);

/* Refuses the contrast where its pools do not belong together; else makes the test. `metric` as in
 * compare_pair(). */
void contrast_run(struct store *s, struct contrast *c, const char *metric);
/* Fills in `holm`, over all that were not refused. */
void contrasts_correct(struct contrast *const *v, size_t n);
void contrast_release(struct contrast *c);

/* A pool as if it were compared with 0: its mean, error and interval are the difference's. NULL in
 * `*refused`, or why there is none, which the caller frees. */
struct paired pool_alone(struct store *s, const struct pool *p, const char *metric, char **refused);

/* Mean and error of a pool alone. NULL in `*refused`, or why there is none, which the caller frees. */
struct estimate pool_estimate(struct store *s, const struct pool *p, const char *metric,
                              char **refused);

enum verdict {
    NOT_SHOWN, /* p after Holm's correction is not below CONTRAST_ALPHA */
    BETTER,    /* of experts or a measure: more of it, which may be good or bad */
    WORSE,
    VERDICTS,
};
enum verdict contrast_verdict(const struct contrast *c);

/* Where the interval holds 0: the largest difference that it does not rule out. Else NaN. */
double contrast_not_ruled_out(const struct contrast *c);

#endif
