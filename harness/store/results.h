/*
 * results.h: cells with their metrics, read from a results database for the commands that show them.
 *
 * Invariant: the order is that of store_cells: model, task, K from the largest, router.
 * Leaves out: tokens and samples; what is drawn from them is summarised in the store.
 */
#ifndef RESULTS_H
#define RESULTS_H

#include "store/store.h"

struct result_metric {
    char *name;
    double value, stderr_; /* NaN where null */
    int64_t n;
};

/* A cell, as in v_cells. Strings are owned; mode, error and note may be NULL. */
struct result {
    char *id, *sweep, *model, *router, *mode, *params, *train, *task, *device, *dtype, *status;
    char *error, *note;
    char *label;     /* "seqtopk online [1, 10]": as router_label() says it */
    int k, min, max; /* min and max -1 where the router has no bounds */
    int64_t seed;
    struct result_metric *metrics;
    size_t nmetrics, metrics_cap;
};

struct results {
    struct result *v;
    size_t len, cap;
};

/* Reads the cells for which the SQL condition `where` holds (NULL: all). Zero `out` first. */
int results_read(struct store *s, const char *where, struct results *out, struct buf *err) MUST_USE;
void results_release(struct results *r);

/* NULL where the cell has no such metric. */
const struct result_metric *result_metric(const struct result *r, const char *name);

/*
 * In what two cells differ, apart from the seed, the id, the sweep and what came of them: "model",
 * "router's parameters", ... NULL: in nothing.
 */
const char *result_differs(const struct result *p, const struct result *q);

/* The router as a label, from what v_cells says of it. */
void result_label(const char *router, int k, const char *params, struct buf *out);

#endif
