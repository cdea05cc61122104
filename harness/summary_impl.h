/*
 * summary_impl.h: what the files of a summary share: summary.c reads a cell's rows, computes what
 * hangs on samples, tokens and loads, and writes; summary_places.c tells tokens apart by their place
 * and by their kind, and selections by what others would have selected.
 */
#ifndef SUMMARY_IMPL_H
#define SUMMARY_IMPL_H

#include "summary.h"

/* The cell's tokens in the order of documents and positions. */
struct tokens {
    size_t n, cap;
    struct token {
        int32_t doc, pos, id;
        float entropy; /* NaN: none */
        float nll;     /* that counts; NaN: of the prompt, or of the first token */
    } * v;             /* [n] */
    int layers;
    uint16_t *experts; /* [n, layers]; NULL where they were not logged */
    size_t experts_cap;
};

struct metric {
    char *name;
    struct estimate e;
};

/* What is written at the end. */
struct summary {
    struct metric *metrics;
    size_t nmetrics, metrics_cap;
    struct store_bin *bins;
    size_t nbins, bins_cap;
    int64_t *histogram; /* [layers, width] tokens by their number of experts */
    int layers, width;
    struct store_token_experts *by_id; /* ascending */
    size_t nby_id, by_id_cap;
    struct store_position *positions;
    size_t npositions, positions_cap;
    struct store_kind *kinds;
    size_t nkinds, kinds_cap;
};

PRINTF(3, 4)
void summary_metric(struct summary *r, struct estimate e, const char *fmt, ...);
/* Experts of token i in a layer; `layer` -1: the mean over layers. */
double summary_experts(const struct tokens *t, size_t i, int layer);

/* Metrics `differ`, `spearman_within` and `spearman_between`, and the bins of positions; experts are
 * there. K: of the cell. */
void summarise_places(const struct tokens *t, int K, struct summary *out);
/* What tokens of each kind draw. */
int summarise_kinds(struct store *s, const char *id, const struct tokens *t, struct summary *out,
                    struct buf *err) MUST_USE;
/* Metrics `overlap_OTHER` and, by layer, `overlap_OTHER_layer_LAYER`. */
int summarise_overlap(struct store *s, const char *id, struct summary *out,
                      struct buf *err) MUST_USE;

#endif
