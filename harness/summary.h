/*
 * summary.h: what a finished cell comes to: its rows in the store become metrics, bins and a
 * histogram, so that `table` and `plot` need not look at tokens again.
 *
 * The metrics, whose names are stable (LAYER counts from 0; errors are by document, see stats.h):
 *   nll              loss in nats per scored token; n: scored tokens
 *   ppl              exp(nll)
 *   documents        samples without an error
 *   cut              documents, or prompts, that were cut to fit the model's context (a count; set
 *                    by run after this, not here)
 * from what was written, where texts were generated or given:
 *   score, no_answer, and those of each measure: see scoring.h
 *   output_tokens    tokens written, mean over texts (absent where only texts were given)
 *   truncated        share of texts that ended at the limit of tokens or of the context
 * from the logged tokens, of prompts and of what is scored alike:
 *   entropy          predictive entropy in nats, mean over tokens
 *   experts          experts really used, mean over tokens and layers
 *   experts_layer_LAYER  the same in one layer
 *   experts_share    experts really used over K x tokens x layers: 1 where the budget is met
 *   experts_first    experts in the first quarter of each sequence's positions (rounded up)
 *   experts_last     and in the last: their difference is the drift along the position
 *   spearman         rank correlation of entropy with experts (mean over layers)
 *   spearman_layer_LAYER  the same with the experts of one layer
 *   spearman_within  mean over documents of the correlation among each one's tokens
 *   spearman_between that of the documents' mean entropies with their mean experts; null where each
 *                    document has the same budget
 *   differ           share of tokens and layers whose number of experts is not K
 * where a recipe asked for it:
 *   overlap_OTHER, overlap_OTHER_layer_LAYER  pairs that the router and another would both have
 *                    selected from the same scores, over those that either would
 * from the load of the experts:
 *   load_entropy     normalised entropy of the load, mean over layers: 1 where all are used alike
 *   load_entropy_layer_LAYER  of one layer
 *   dead_experts     share of experts that no token took, over all layers
 *   experts, experts_share  as above, but without an error, where tokens were not logged: pairs of
 *                    the load over the tokens of all samples
 *
 * Besides bins of entropy and of positions, a histogram of experts, and what each token of the
 * vocabulary and each kind of token drew (text/kind.h), where experts were logged.
 *
 * Invariant: what cannot be known is absent, never 0; what is not defined (a correlation with a
 * number of experts that does not vary) is there as null.
 * Leaves out: comparing cells.
 */
#ifndef SUMMARY_H
#define SUMMARY_H

#include "stats.h"
#include "store/store.h"

#define SUMMARY_BINS 20 /* quantile bins of entropy, of each layer and of their mean */

/*
 * Reads the cell's rows and computes, which may take a while, so that nobody should wait for it: do it
 * outside of a transaction. NULL on failure.
 */
struct summary;
struct summary *summary_make(struct store *s, const char *cell_id, struct buf *err) MUST_USE;
void summary_free(struct summary *r);
/* In the place of what was summarised before; in the open transaction, or in one of its own. */
int summary_write(struct store *s, const char *cell_id, const struct summary *r,
                  struct buf *err) MUST_USE;

/* Both: summarises the cell's rows, and writes. */
int cell_summarise(struct store *s, const char *cell_id, struct buf *err) MUST_USE;

#endif
