/*
 * cutoffs.h: the cutoffs of the router `threshold`: the logits from which an expert takes a token,
 * as cutoffs.json in a model's folder has them, and how they are learnt while a model trains.
 *
 * An expert's cutoff is a moving average of its k-th largest logit of each step, corrected for
 * where it began: step i of n counts decay^(n - i), and the sum is divided by the sum of these. So
 * after one step the cutoff is that step's number itself, and a decay of 1 is the mean of all
 * steps.
 *
 * Invariant: what was learnt is a plain run of doubles, from which an average goes on to the bit,
 * and a file that was read has a finite number for each expert of each layer.
 * Leaves out: which logit is the k-th (threshold.c, trainer.h), and whether K is the cell's.
 */
#ifndef CUTOFFS_H
#define CUTOFFS_H

#include "util.h"

struct cutoffs {
    int K;               /* they were learnt with it and hold for it alone */
    int layers, experts; /* as the model has them */
    float *v;            /* [layers, experts]; NULL: the model has none */
};
/* What DIR/cutoffs.json has for a model of this shape. No such file is no error. */
int cutoffs_read(const char *dir, int layers, int experts, struct cutoffs *out,
                 struct buf *err) MUST_USE;
void cutoffs_release(struct cutoffs *c);
/* As cutoffs.json has it, which every cutoff comes back from as the same float. */
void cutoffs_json(const struct cutoffs *c, struct buf *out);

/* Cutoffs while they are learnt. */
struct cutoff_average {
    int count;      /* layers * experts */
    int nstate;     /* count + 1 */
    double decay;   /* above 0, up to 1 */
    double *state;  /* [nstate]: sums [layers, experts], then the sum of what the steps count: all
                         that goes into a checkpoint and comes from it; zeroes before step 1 */
    double *step;   /* [count]: of the step under way; zeroes between two steps */
    int64_t tokens; /* likewise */
};
void cutoff_average_init(struct cutoff_average *a, int layers, int experts, double decay);
void cutoff_average_release(struct cutoff_average *a);
/* A piece of the step under way, which counts by its tokens. kth: [layers, experts] */
void cutoff_average_add(struct cutoff_average *a, const float *kth, int64_t tokens);
/* Ends the step: the mean over its tokens goes into the average. No token: nothing changes. */
void cutoff_average_step(struct cutoff_average *a);
/*
 * The cutoffs as they are now, for router_args.cutoffs. false: no step has ended, and `out` is as it
 * was. out: [layers, experts]
 */
bool cutoff_average_value(const struct cutoff_average *a, float *out) MUST_USE;

#endif
