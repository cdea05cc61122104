/*
 * figure_training.h: the losses of trainings as a figure: loss against step, a line for each training,
 * its held-out loss as marks. One panel for the trainings of one sweep and model, and more where there
 * would be more than FIGURE_LINES lines in it.
 *
 * A line is the mean over the steps around each step: the CURVE_SMOOTH-th part of all steps, fewer
 * where the training begins and ends. A mark is the mean of a token over all held-out sources. Where
 * trainings of a panel have steps of different sizes, tokens stand on the axis instead of steps.
 *
 * Invariant: what is drawn depends on the database alone, not on when it was written.
 * Leaves out: held-out losses by source, learning rates, norms: they are in the database's views.
 */
#ifndef FIGURE_TRAINING_H
#define FIGURE_TRAINING_H

#include "cmd/figure.h"

enum {
    CURVE_SMOOTH = 25,  /* so many windows lie side by side in a training */
    CURVE_POINTS = 200, /* of a line, about */
    CURVE_MARKS = 16,   /* of a line, about */
};

/* A loss after a step: of training, smoothed, or held out. */
struct loss_point {
    int64_t step;
    double tokens; /* trained on so far; NaN: not known */
    double loss;   /* nats per token */
};

struct loss_points {
    struct loss_point *v;
    size_t len, cap;
};

struct curve {
    char *id, *sweep, *model, *label;
    char *parts; /* the label and, of its settings, router, K and seed, with ", " between them */
    char *name;  /* in the legend: what tells it from the others of its panel */
    struct loss_points line, marks;
    size_t window; /* steps that a point of the line is the mean of, at most */
    struct style style;
};

struct curve_panel {
    char *title;
    size_t first, n; /* its curves */
    bool by_tokens;
};

struct curves {
    struct curve *v;
    size_t len, cap;
    struct curve_panel *panels;
    size_t npanels, panels_cap;
};

/* All trainings that have a loss; none is no failure. Zero `out` first. */
int curves_read(struct store *s, struct curves *out, struct buf *err) MUST_USE;
void curves_release(struct curves *c);

/* The figure's data as a table, and the script that draws it from NAME.tsv. */
void curves_data(const struct curves *c, struct buf *out);
void curves_script(const struct curves *c, const char *name, struct buf *out);

#endif
