/*
 * summary_places.c: see summary_impl.h.
 *
 * Invariant: every error is by document, as everywhere in a summary.
 */
#include "summary_impl.h"

#include "stats_ranked.h"
#include "text/kind.h"

#include <math.h>
#include <string.h>

enum { FIRST_BIN = 16, POSITION_BINS = 28 }; // 16, 16, 32, 64, ... positions

/* ---- by position ---- */

static int bin_of(int32_t pos)
{
    int bin = 0;
    for (int32_t p = pos / FIRST_BIN; p > 0; p /= 2)
        bin++;
    return bin;
}

static int64_t bin_begin(int bin)
{
    return bin ? INT64_C(1) << (bin - 1) << 4 : 0;
}

/* The document that begins with token `from` ends before this one. */
static size_t document_end(const struct tokens *t, size_t from)
{
    size_t end = from;
    while (end < t->n && t->v[end].doc == t->v[from].doc)
        end++;
    return end;
}

static int count_documents(const struct tokens *t)
{
    int docs = 0;
    for (size_t i = 0; i < t->n; i = document_end(t, i))
        docs++;
    return docs;
}

/* Sums of each group's tokens in each document: [groups, docs] each. */
struct sums {
    int docs;
    double *y, *known;        /* losses or entropies, and the tokens that have one */
    double *experts, *tokens; /* experts: means over the layers */
    double *other;            /* tokens and layers whose number of experts is not K */
};

/* Where the row of a group begins. */
static size_t row_of(const struct sums *s, int group)
{
    return (size_t)group * (size_t)s->docs;
}

/* All tokens, once. group: [t->n], `groups` and more where a token is of none; y: [t->n], NaN: none */
static struct sums sum_groups(const struct tokens *t, const uint8_t *group, int groups,
                              const float *y, int K)
{
    struct sums s = { .docs = count_documents(t) };
    size_t n = row_of(&s, groups), doc = 0;
    double **const rows[] = { &s.y, &s.known, &s.experts, &s.tokens, &s.other };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        *rows[i] = xcalloc(n, sizeof(double));
    for (size_t i = 0; i < t->n; i++) {
        doc += i > 0 && t->v[i].doc != t->v[i - 1].doc;
        if (group[i] >= groups)
            continue;
        size_t at = row_of(&s, group[i]) + doc;
        s.tokens[at]++;
        s.experts[at] += summary_experts(t, i, -1);
        for (int l = 0; l < t->layers; l++)
            s.other[at] += t->experts[i * (size_t)t->layers + (size_t)l] != K;
        if (isnan(y[i]))
            continue;
        s.known[at]++;
        s.y[at] += (double)y[i];
    }
    return s;
}

static void sums_free(struct sums *s)
{
    free(s->y);
    free(s->known);
    free(s->experts);
    free(s->tokens);
    free(s->other);
}

static void summarise_positions(const struct tokens *t, int K, struct summary *out)
{
    uint8_t *group = xmalloc(t->n);
    float *nll = xmalloc(t->n * sizeof(*nll));
    double used = 0, tokens = 0;
    for (size_t i = 0; i < t->n; i++) {
        group[i] = (uint8_t)bin_of(t->v[i].pos);
        nll[i] = t->v[i].nll;
    }
    struct sums s = sum_groups(t, group, POSITION_BINS, nll, K);
    for (int bin = 0; bin < POSITION_BINS; bin++) {
        size_t at = row_of(&s, bin);
        struct estimate loss = ratio_of_sums(s.y + at, s.known + at, s.docs);
        struct estimate experts = ratio_of_sums(s.experts + at, s.tokens + at, s.docs);
        double other = 0;
        if (!experts.n)
            continue;
        for (int d = 0; d < s.docs; d++) {
            used += s.experts[at + (size_t)d];
            tokens += s.tokens[at + (size_t)d];
            other += s.other[at + (size_t)d];
        }
        ARRAY_GROW(out->positions, out->positions_cap, out->npositions + 1);
        out->positions[out->npositions++] = (struct store_position){
            .bin = bin,
            .lo = bin_begin(bin),
            .hi = bin_begin(bin + 1),
            .tokens = experts.n,
            .scored = loss.n,
            .nll_mean = loss.n ? loss.value : NAN,
            .nll_se = loss.n ? loss.stderr_ : NAN,
            .experts_mean = experts.value,
            .experts_se = experts.stderr_,
            .used_share = K ? used / (K * tokens) : NAN,
            .differ = other / ((double)experts.n * t->layers),
        };
    }
    sums_free(&s);
    free(nll);
    free(group);
}

/* Share of tokens and layers whose number of experts is not K. */
static struct estimate share_that_differs(const struct tokens *t, int K)
{
    int docs = count_documents(t), doc = 0;
    double *y = xcalloc((size_t)docs, sizeof(*y)), *x = xcalloc((size_t)docs, sizeof(*x));
    for (size_t begin = 0, end; begin < t->n; begin = end, doc++) {
        end = document_end(t, begin);
        for (size_t i = begin * (size_t)t->layers; i < end * (size_t)t->layers; i++)
            y[doc] += t->experts[i] != K;
        x[doc] = (double)(end - begin) * t->layers;
    }
    struct estimate e = ratio_of_sums(y, x, docs);
    free(x);
    free(y);
    return e;
}

/* ---- within and between documents ---- */

/* rho of entropy and experts in one document; its means are added to those of the others. */
static double within(const struct tokens *t, size_t begin, size_t end, float *x, float *y,
                     int32_t *doc, struct estimate *entropy, struct estimate *experts)
{
    double sum_x = 0, sum_y = 0;
    size_t n = 0;
    for (size_t i = begin; i < end; i++) {
        if (isnan(t->v[i].entropy))
            continue;
        x[n] = t->v[i].entropy;
        y[n] = (float)summary_experts(t, i, -1);
        sum_x += (double)x[n];
        sum_y += summary_experts(t, i, -1);
        doc[n++] = 0;
    }
    entropy->n = experts->n = (int64_t)n;
    entropy->value = n ? sum_x / (double)n : NAN;
    experts->value = n ? sum_y / (double)n : NAN;
    struct ranked *r = ranked_new(x, doc, n);
    double rho = n > 1 ? ranked_spearman(r, y).value : NAN;
    ranked_free(r);
    return rho;
}

static void summarise_documents(const struct tokens *t, struct summary *out)
{
    size_t docs = (size_t)count_documents(t), d = 0, n = 0, known = 0;
    float *x = xmalloc(t->n * sizeof(*x)), *y = xmalloc(t->n * sizeof(*y));
    int32_t *doc = xmalloc(t->n * sizeof(*doc)), *own = xcalloc(docs, sizeof(*own));
    float *mean_x = xcalloc(docs, sizeof(*mean_x)), *mean_y = xcalloc(docs, sizeof(*mean_y));
    double *rho = xcalloc(docs, sizeof(*rho));
    for (size_t begin = 0, end; begin < t->n; begin = end, d++) {
        struct estimate entropy, experts;
        end = document_end(t, begin);
        double r = within(t, begin, end, x, y, doc, &entropy, &experts);
        if (!isnan(r))
            rho[n++] = r;
        if (!entropy.n)
            continue;
        mean_x[known] = (float)entropy.value;
        mean_y[known] = (float)experts.value;
        own[known] = (int32_t)known;
        known++;
    }
    if (n > 0)
        summary_metric(out, mean_of(rho, n), "spearman_within");
    struct ranked *r = ranked_new(mean_x, own, known);
    summary_metric(out, ranked_spearman(r, mean_y), "spearman_between");
    ranked_free(r);
    free(rho);
    free(mean_y);
    free(mean_x);
    free(own);
    free(doc);
    free(y);
    free(x);
}

void summarise_places(const struct tokens *t, int K, struct summary *out)
{
    if (K > 0)
        summary_metric(out, share_that_differs(t, K), "differ");
    summarise_documents(t, out);
    summarise_positions(t, K, out);
}

/* ---- by kind ---- */

/* The kind of each id up to the largest in use; KINDS where its text is not known. */
static int read_kinds(struct store *s, const char *id, const struct tokens *t, uint8_t **kinds,
                      struct buf *err)
{
    int32_t most = 0;
    for (size_t i = 0; i < t->n; i++)
        most = t->v[i].id > most ? t->v[i].id : most;
    *kinds = xmalloc((size_t)most + 1);
    memset(*kinds, KINDS, (size_t)most + 1);
    struct rows *r = store_query(s, err,
                                 "SELECT x.id, CAST(x.text AS TEXT) FROM token_text AS x JOIN cell"
                                 " AS c ON c.tokenizer = x.tokenizer WHERE c.id = ?",
                                 id);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1) {
        int64_t at = rows_int(r, 0);
        const char *text = rows_text(r, 1);
        if (at >= 0 && at <= most && text)
            (*kinds)[at] = (uint8_t)text_kind(text, strlen(text));
    }
    rows_close(r);
    return rc;
}

int summarise_kinds(struct store *s, const char *id, const struct tokens *t, struct summary *out,
                    struct buf *err)
{
    uint8_t *kinds, *group = xmalloc(t->n);
    float *entropy = xmalloc(t->n * sizeof(*entropy));
    int rc = read_kinds(s, id, t, &kinds, err);
    for (size_t i = 0; i < t->n; i++) {
        group[i] = kinds[t->v[i].id];
        entropy[i] = t->v[i].entropy;
    }
    struct sums sums = sum_groups(t, group, KINDS, entropy, 0);
    for (int kind = 0; kind < KINDS && rc == 0; kind++) {
        size_t at = row_of(&sums, kind);
        struct estimate experts = ratio_of_sums(sums.experts + at, sums.tokens + at, sums.docs);
        struct estimate e = ratio_of_sums(sums.y + at, sums.known + at, sums.docs);
        if (!experts.n)
            continue;
        ARRAY_GROW(out->kinds, out->kinds_cap, out->nkinds + 1);
        out->kinds[out->nkinds++] = (struct store_kind){
            .kind = text_kind_names[kind],
            .tokens = experts.n,
            .experts_mean = experts.value,
            .experts_se = experts.stderr_,
            .entropy_mean = e.n ? e.value : NAN,
            .entropy_se = e.n ? e.stderr_ : NAN,
        };
    }
    sums_free(&sums);
    free(entropy);
    free(group);
    free(kinds);
    return rc;
}

/* ---- against other routers ---- */

/* Rows of one other router and layer (-1: all) are one estimate, by document. */
static int overlap_of(struct store *s, const char *id, const char *other, int layer,
                      struct summary *out, struct buf *err)
{
    char *number = xasprintf("%d", layer);
    double *y = NULL, *x = NULL;
    size_t n = 0, y_cap = 0, x_cap = 0;
    struct rows *r = store_query(s, err,
                                 "SELECT sum(both), sum(ours + theirs - both) FROM v_overlap WHERE"
                                 " cell_id = ? AND other = ? AND CAST(? AS INTEGER) IN (-1, layer)"
                                 " GROUP BY doc ORDER BY doc",
                                 id, other, number);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1) {
        ARRAY_GROW(y, y_cap, n + 1);
        ARRAY_GROW(x, x_cap, n + 1);
        y[n] = rows_double(r, 0);
        x[n++] = rows_double(r, 1);
    }
    rows_close(r);
    if (rc == 0 && layer < 0)
        summary_metric(out, ratio_of_sums(y, x, (int)n), "overlap_%s", other);
    else if (rc == 0)
        summary_metric(out, ratio_of_sums(y, x, (int)n), "overlap_%s_layer_%d", other, layer);
    free(x);
    free(y);
    free(number);
    return rc;
}

int summarise_overlap(struct store *s, const char *id, struct summary *out, struct buf *err)
{
    struct strings others = { 0 };
    int layers = 0;
    struct rows *r = store_query(s, err,
                                 "SELECT other, max(layer) + 1 FROM v_overlap WHERE cell_id = ?"
                                 " GROUP BY other ORDER BY other",
                                 id);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1) {
        strings_add(&others, rows_text(r, 0));
        layers = (int)rows_int(r, 1);
    }
    rows_close(r);
    for (size_t i = 0; i < others.len && rc == 0; i++)
        for (int l = -1; l < layers && rc == 0; l++)
            rc = overlap_of(s, id, others.v[i], l, out, err);
    strings_release(&others);
    return rc;
}
