/*
 * summary.c: see summary.h. Three steps: the rows are read into arrays, the arrays become results,
 * the results are written.
 */
#include "summary_impl.h"

#include "decoding.h"
#include "scoring.h"
#include "stats_ranked.h"
#include "stats_sort.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The cell as a whole. */
struct cell_facts {
    int k, layers, experts;
    int64_t tokens; /* of its samples, logged or not */
};

void summary_metric(struct summary *r, struct estimate e, const char *fmt, ...)
{
    va_list ap;
    ARRAY_GROW(r->metrics, r->metrics_cap, r->nmetrics + 1);
    struct metric *m = &r->metrics[r->nmetrics++];
    m->e = e;
    va_start(ap, fmt);
    struct buf name = BUF_INIT;
    buf_vaddf(&name, fmt, ap);
    m->name = buf_detach(&name);
    va_end(ap);
}

static struct estimate exact(double value, int64_t n)
{
    return (struct estimate){ .value = value, .stderr_ = NAN, .n = n };
}

/* ---- reading ---- */

static int read_facts(struct store *s, const char *id, struct cell_facts *f, struct buf *err)
{
    struct rows *r =
        store_query(s, err, "SELECT k, layers, experts, tokens FROM cell WHERE id = ?", id);
    int rc = r ? rows_next(r, err) : -1;
    if (rc == 0)
        rc = fail(err, "%s: there is no cell %s", store_path(s), id);
    if (rc == 1)
        *f = (struct cell_facts){ (int)rows_int(r, 0), (int)rows_int(r, 1), (int)rows_int(r, 2),
                                  rows_int(r, 3) };
    rows_close(r);
    if (rc == 1 && (f->layers < 0 || f->layers > 65536 || f->experts < 0 || f->experts > 65536 ||
                    !f->layers != !f->experts))
        rc = fail(err,
                  "%s: cell %s has %d layers of %d experts; each is from 1 to 65536, or both are 0",
                  store_path(s), id, f->layers, f->experts);
    return rc == 1 ? 0 : -1;
}

/* "8,7,9" into experts[layers]; false where it is anything else. */
static bool parse_layers(const char *text, uint16_t *experts, int layers)
{
    for (int l = 0; l < layers; l++) {
        unsigned v = 0;
        if (*text < '0' || *text > '9')
            return false;
        while (*text >= '0' && *text <= '9' && v <= UINT16_MAX)
            v = v * 10 + (unsigned)(*text++ - '0');
        if (v > UINT16_MAX || *text != (l + 1 < layers ? ',' : '\0'))
            return false;
        experts[l] = (uint16_t)v;
        text++;
    }
    return true;
}

/* The row's token goes behind the others. Either all tokens of a cell have experts or none. */
static int add_token(struct tokens *t, const struct rows *r, const char *where, struct buf *err)
{
    const char *by_layer = rows_text(r, 3);
    struct token one = { .doc = (int32_t)rows_int(r, 0),
                         .pos = (int32_t)rows_int(r, 1),
                         .entropy = (float)rows_double(r, 2),
                         .id = (int32_t)rows_int(r, 4),
                         .nll = (float)rows_double(r, 5) };
    size_t layers = (size_t)t->layers;
    if (rows_int(r, 0) != one.doc || rows_int(r, 1) != one.pos || one.pos < 0)
        return fail(err, "%s: has a token with the position %lld", where,
                    (long long)rows_int(r, 1));
    if (t->n > 0 && (by_layer != NULL) != (t->experts != NULL))
        return fail(err, "%s: document %d has experts at some positions only", where, one.doc);
    ARRAY_GROW(t->v, t->cap, t->n + 1);
    if (by_layer) {
        ARRAY_GROW(t->experts, t->experts_cap, (t->n + 1) * layers);
        if (!parse_layers(by_layer, t->experts + t->n * layers, t->layers))
            return fail(err,
                        "%s: document %d, position %d: '%s' is not a number for each of %d "
                        "layers",
                        where, one.doc, one.pos, by_layer, t->layers);
    }
    t->v[t->n++] = one;
    return 0;
}

static int read_tokens(struct store *s, const char *id, struct tokens *t, struct buf *err)
{
    struct rows *r = store_query(s, err,
                                 "SELECT doc, pos, entropy, by_layer, id, nll FROM token WHERE cell"
                                 " = (SELECT n FROM cell WHERE id = ?) ORDER BY doc, pos",
                                 id);
    char *where = xasprintf("%s: cell %s", store_path(s), id);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1)
        if ((rc = add_token(t, r, where, err)) != 0)
            break;
    rows_close(r);
    free(where);
    return rc;
}

/* The losses of prompts do not count. */
static int forget_prompts(struct store *s, const char *id, struct tokens *t, struct buf *err)
{
    struct rows *r = store_query(
        s, err, "SELECT doc, prompt_tokens FROM v_samples WHERE cell_id = ? ORDER BY doc", id);
    int rc = r ? 0 : -1;
    size_t i = 0;
    while (r && (rc = rows_next(r, err)) == 1) {
        while (i < t->n && t->v[i].doc < rows_int(r, 0))
            i++;
        for (; i < t->n && t->v[i].doc == rows_int(r, 0) && t->v[i].pos < rows_int(r, 1); i++)
            t->v[i].nll = NAN;
    }
    rows_close(r);
    return rc;
}

/* ---- from samples ---- */

static int summarise_samples(struct store *s, const char *id, struct summary *out, struct buf *err)
{
    double *y = NULL, *x = NULL;
    size_t n = 0, y_cap = 0, x_cap = 0;
    int64_t documents = 0;
    struct rows *r = store_query(s, err,
                                 "SELECT nll, nll_tokens FROM v_samples WHERE cell_id = ?"
                                 " AND error IS NULL ORDER BY doc",
                                 id);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1) {
        documents++;
        if (rows_null(r, 0) || rows_int(r, 1) < 1)
            continue;
        ARRAY_GROW(y, y_cap, n + 1);
        ARRAY_GROW(x, x_cap, n + 1);
        y[n] = rows_double(r, 0);
        x[n++] = rows_double(r, 1);
    }
    rows_close(r);
    if (rc == 0 && n > INT_MAX)
        BUG("%zu documents", n);
    if (rc == 0 && n > 0) {
        struct estimate nll = ratio_of_sums(y, x, (int)n);
        summary_metric(out, nll, "nll");
        double ppl = exp(nll.value);
        summary_metric(out, (struct estimate){ ppl, ppl * nll.stderr_, nll.n }, "ppl");
    }
    if (rc == 0)
        summary_metric(out, exact((double)documents, documents), "documents");
    free(y);
    free(x);
    return rc;
}

/* What was written: means over texts. */
static int summarise_outputs(struct store *s, const char *id, struct summary *out, struct buf *err)
{
    double *length = NULL, *truncated = NULL;
    size_t n = 0, length_cap = 0, truncated_cap = 0;
    struct outcomes outcomes = { 0 };
    struct rows *r = store_query(s, err,
                                 "SELECT output_tokens, stop_reason, score, extracted FROM"
                                 " v_samples WHERE cell_id = ? AND output IS NOT NULL ORDER BY doc",
                                 id);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1) {
        const char *stop = rows_text(r, 1), *extracted = rows_text(r, 3);
        if (stop) {
            ARRAY_GROW(length, length_cap, n + 1);
            ARRAY_GROW(truncated, truncated_cap, n + 1);
            length[n] = rows_double(r, 0);
            truncated[n++] = strcmp(stop, stop_reason_name(STOP_LENGTH)) == 0 ||
                             strcmp(stop, stop_reason_name(STOP_CONTEXT)) == 0;
        }
        if (extracted && (rc = outcomes_add(&outcomes, rows_double(r, 2), extracted, err)) != 0)
            break;
    }
    rows_close(r);
    for (size_t i = 0; i < outcomes.len && rc == 0; i++)
        summary_metric(out, outcomes_estimate(&outcomes.v[i]), "%s", outcomes.v[i].name);
    if (rc == 0 && n > 0) {
        summary_metric(out, mean_of(length, n), "output_tokens");
        summary_metric(out, mean_of(truncated, n), "truncated");
    }
    outcomes_release(&outcomes);
    free(length);
    free(truncated);
    return rc;
}

/* ---- from tokens ---- */

/* What is averaged over tokens. */
enum over_tokens {
    OVER_ENTROPY,
    OVER_EXPERTS,
    OVER_FIRST,
    OVER_LAST,
};

double summary_experts(const struct tokens *t, size_t i, int layer)
{
    const uint16_t *e = t->experts + i * (size_t)t->layers;
    if (layer >= 0)
        return e[layer];
    double sum = 0;
    for (int l = 0; l < t->layers; l++)
        sum += e[l];
    return sum / t->layers;
}

/* Is token i, of a sequence of T tokens, one that counts? */
static bool counts(const struct tokens *t, size_t i, int64_t T, enum over_tokens what)
{
    int64_t pos = t->v[i].pos;
    switch (what) {
    case OVER_ENTROPY:
        return !isnan(t->v[i].entropy);
    case OVER_FIRST:
        return 4 * pos < T;
    case OVER_LAST:
        return 4 * (T - 1 - pos) < T;
    case OVER_EXPERTS:
    default:
        return true;
    }
}

/* Mean over tokens with its error by document. `layer` -1: the mean over layers. */
static struct estimate mean_over(const struct tokens *t, enum over_tokens what, int layer)
{
    double *y = xcalloc(t->n, sizeof(*y)), *x = xcalloc(t->n, sizeof(*x));
    int docs = 0;
    for (size_t begin = 0, end; begin < t->n; begin = end, docs++) {
        for (end = begin; end < t->n && t->v[end].doc == t->v[begin].doc; end++)
            ;
        int64_t T = (int64_t)t->v[end - 1].pos + 1;
        for (size_t i = begin; i < end; i++) {
            if (!counts(t, i, T, what))
                continue;
            y[docs] += what == OVER_ENTROPY ? t->v[i].entropy : summary_experts(t, i, layer);
            x[docs]++;
        }
    }
    struct estimate e = ratio_of_sums(y, x, docs);
    free(y);
    free(x);
    return e;
}

static void summarise_means(const struct tokens *t, int k, struct summary *out)
{
    struct estimate e = mean_over(t, OVER_ENTROPY, -1);
    if (e.n > 0)
        summary_metric(out, e, "entropy");
    if (!t->experts)
        return;
    e = mean_over(t, OVER_EXPERTS, -1);
    summary_metric(out, e, "experts");
    if (k > 0)
        summary_metric(out, (struct estimate){ e.value / k, e.stderr_ / k, e.n }, "experts_share");
    summary_metric(out, mean_over(t, OVER_FIRST, -1), "experts_first");
    summary_metric(out, mean_over(t, OVER_LAST, -1), "experts_last");
    for (int l = 0; l < t->layers; l++)
        summary_metric(out, mean_over(t, OVER_EXPERTS, l), "experts_layer_%d", l);
}

static void add_bins(struct summary *out, int layer, const struct bin *bins, int n)
{
    for (int i = 0; i < n; i++) {
        const struct bin *b = &bins[i];
        ARRAY_GROW(out->bins, out->bins_cap, out->nbins + 1);
        out->bins[out->nbins++] = (struct store_bin){ .layer = layer,
                                                      .bin = i,
                                                      .lo = b->lo,
                                                      .hi = b->hi,
                                                      .entropy_mean = b->x,
                                                      .tokens = b->n,
                                                      .experts_mean = b->mean,
                                                      .experts_sd = b->sd,
                                                      .experts_se = b->se };
    }
}

/* The tokens that have an entropy, in its order. which: [t->n], becomes where in `t` they are. */
static struct ranked *rank_entropy(const struct tokens *t, size_t *which, size_t *n)
{
    float *entropy = xmalloc(t->n * sizeof(*entropy));
    int32_t *doc = xmalloc(t->n * sizeof(*doc));
    *n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (isnan(t->v[i].entropy))
            continue;
        entropy[*n] = t->v[i].entropy;
        doc[*n] = t->v[i].doc;
        which[(*n)++] = i;
    }
    struct ranked *r = ranked_new(entropy, doc, *n);
    free(entropy);
    free(doc);
    return r;
}

/* Entropy against experts: the correlation and the bins, for the mean over layers and each. */
static void summarise_entropy(const struct tokens *t, struct summary *out)
{
    float *y = xmalloc(t->n * sizeof(*y));
    size_t *which = xmalloc(t->n * sizeof(*which)), n;
    struct ranked *r = rank_entropy(t, which, &n);
    struct bin bins[SUMMARY_BINS];
    for (int layer = -1; layer < t->layers && n > 0; layer++) {
        for (size_t i = 0; i < n; i++)
            y[i] = (float)summary_experts(t, which[i], layer);
        if (layer < 0)
            summary_metric(out, ranked_spearman(r, y), "spearman");
        else
            summary_metric(out, ranked_spearman(r, y), "spearman_layer_%d", layer);
        add_bins(out, layer, bins, ranked_bins(r, y, SUMMARY_BINS, bins));
    }
    ranked_free(r);
    free(which);
    free(y);
}

static void summarise_histogram(const struct tokens *t, struct summary *out)
{
    int most = 0;
    size_t pairs = t->n * (size_t)t->layers;
    for (size_t i = 0; i < pairs; i++)
        most = t->experts[i] > most ? t->experts[i] : most;
    out->layers = t->layers;
    out->width = most + 1;
    out->histogram = xcalloc((size_t)out->layers * (size_t)out->width, sizeof(*out->histogram));
    for (size_t i = 0; i < pairs; i++)
        out->histogram[i % (size_t)t->layers * (size_t)out->width + t->experts[i]]++;
}

/* The occurrences from `from` on that are of one token, as one; returns where the next ones begin. Of one
 * token the first comes first, so that sums are always made in one order. */
static size_t gather_token(const struct tokens *t, const struct keyed *all, size_t from,
                           struct store_token_experts *out)
{
    double entropy = 0;
    int64_t known = 0;
    size_t next = from;
    *out = (struct store_token_experts){ .id = t->v[all[from].index].id };
    for (; next < t->n && all[next].key == all[from].key; next++) {
        const size_t i = all[next].index;
        out->tokens++;
        for (int l = 0; l < t->layers; l++)
            out->experts += t->experts[i * (size_t)t->layers + (size_t)l];
        if (isnan(t->v[i].entropy))
            continue;
        entropy += t->v[i].entropy;
        known++;
    }
    out->entropy = known ? entropy / (double)known : NAN;
    return next;
}

static void summarise_by_id(const struct tokens *t, struct summary *out)
{
    struct keyed *all = xmalloc(t->n * sizeof(*all));
    for (size_t i = 0; i < t->n; i++)
        all[i] = (struct keyed){ key_of_int(t->v[i].id), (uint32_t)i };
    keyed_sort(all, t->n);
    for (size_t i = 0; i < t->n;) {
        ARRAY_GROW(out->by_id, out->by_id_cap, out->nby_id + 1);
        i = gather_token(t, all, i, &out->by_id[out->nby_id++]);
    }
    free(all);
}

/* ---- from the load ---- */

static void summarise_layer_loads(const double *load, const struct cell_facts *f,
                                  struct summary *out)
{
    double sum = 0, pairs = 0;
    int64_t dead = 0, all = (int64_t)f->layers * f->experts;
    for (int64_t i = 0; i < all; i++)
        dead += load[i] == 0;
    for (int l = 0; l < f->layers; l++) {
        const double *of_layer = load + (size_t)l * (size_t)f->experts;
        double h = normalised_entropy(of_layer, f->experts), n = 0;
        for (int e = 0; e < f->experts; e++)
            n += of_layer[e];
        summary_metric(out, exact(h, llround(n)), "load_entropy_layer_%d", l);
        sum += h;
        pairs += n;
    }
    summary_metric(out, exact(sum / f->layers, llround(pairs)), "load_entropy");
    summary_metric(out, exact((double)dead / (double)all, all), "dead_experts");
}

/* Where tokens were not logged, the load still tells how many experts they used. */
static void summarise_used(const double *load, const struct cell_facts *f, struct summary *out)
{
    double pairs = 0, places = (double)f->tokens * f->layers;
    for (int64_t i = 0; i < (int64_t)f->layers * f->experts; i++)
        pairs += load[i];
    if (f->tokens < 1 || f->k < 1)
        return;
    summary_metric(out, exact(pairs / places, f->tokens), "experts");
    summary_metric(out, exact(pairs / places / f->k, f->tokens), "experts_share");
}

/* logged: the metrics of the tokens say how many experts they used */
static int summarise_load(struct store *s, const char *id, const struct cell_facts *f, bool logged,
                          struct summary *out, struct buf *err)
{
    double *load = xcalloc((size_t)f->layers * (size_t)f->experts, sizeof(*load));
    struct rows *r = store_query(s, err,
                                 "SELECT layer, expert, tokens FROM v_expert_load"
                                 " WHERE cell_id = ?",
                                 id);
    int rc = r ? 0 : -1;
    bool any = false;
    while (r && (rc = rows_next(r, err)) == 1) {
        int64_t layer = rows_int(r, 0), expert = rows_int(r, 1);
        if (layer < 0 || layer >= f->layers || expert < 0 || expert >= f->experts) {
            rc = fail(err, "%s: cell %s has load for expert %lld of layer %lld, which it has not",
                      store_path(s), id, (long long)expert, (long long)layer);
            break;
        }
        load[layer * f->experts + expert] = rows_double(r, 2);
        any = true;
    }
    rows_close(r);
    if (rc == 0 && any)
        summarise_layer_loads(load, f, out);
    if (rc == 0 && any && !logged)
        summarise_used(load, f, out);
    free(load);
    return rc;
}

/* ---- writing ---- */

static int write_results(struct store *s, const char *id, const struct summary *r, struct buf *err)
{
    if (store_summary_clear(s, id, err))
        return -1;
    for (size_t i = 0; i < r->nmetrics; i++) {
        const struct metric *m = &r->metrics[i];
        if (store_metric_set(s, id, m->name, m->e.value, m->e.stderr_, m->e.n, err))
            return -1;
    }
    for (size_t i = 0; i < r->nbins; i++)
        if (store_bin_set(s, id, &r->bins[i], err))
            return -1;
    for (int l = 0; l < r->layers; l++)
        for (int e = 0; e < r->width; e++) {
            int64_t tokens = r->histogram[l * r->width + e];
            if (tokens > 0 && store_histogram_set(s, id, l, e, tokens, err))
                return -1;
        }
    for (size_t i = 0; i < r->nby_id; i++)
        if (store_token_experts_set(s, id, &r->by_id[i], err))
            return -1;
    for (size_t i = 0; i < r->npositions; i++)
        if (store_position_set(s, id, &r->positions[i], err))
            return -1;
    for (size_t i = 0; i < r->nkinds; i++)
        if (store_kind_set(s, id, &r->kinds[i], err))
            return -1;
    return 0;
}

int summary_write(struct store *s, const char *cell_id, const struct summary *r, struct buf *err)
{
    if (store_in_transaction(s))
        return write_results(s, cell_id, r, err);
    if (store_begin(s, err))
        return -1;
    if (write_results(s, cell_id, r, err)) {
        store_rollback(s);
        return -1;
    }
    return store_commit(s, err);
}

/* ---- all of it ---- */

struct summary *summary_make(struct store *s, const char *cell_id, struct buf *err)
{
    struct cell_facts f;
    struct tokens t = { 0 };
    if (read_facts(s, cell_id, &f, err))
        return NULL;
    struct summary *r = xcalloc(1, sizeof(*r));
    t.layers = f.layers;
    int rc = read_tokens(s, cell_id, &t, err) || forget_prompts(s, cell_id, &t, err) ||
                     summarise_samples(s, cell_id, r, err) ||
                     summarise_outputs(s, cell_id, r, err) ||
                     summarise_load(s, cell_id, &f, t.experts != NULL, r, err)
                 ? -1
                 : 0;
    if (rc == 0 && t.n > 0)
        summarise_means(&t, f.k, r);
    if (rc == 0 && t.experts) {
        summarise_entropy(&t, r);
        summarise_histogram(&t, r);
        summarise_by_id(&t, r);
        summarise_places(&t, f.k, r);
        rc = summarise_kinds(s, cell_id, &t, r, err);
    }
    if (rc == 0)
        rc = summarise_overlap(s, cell_id, r, err);
    free(t.v);
    free(t.experts);
    if (rc == 0)
        return r;
    summary_free(r);
    return NULL;
}

void summary_free(struct summary *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->nmetrics; i++)
        free(r->metrics[i].name);
    free(r->metrics);
    free(r->bins);
    free(r->histogram);
    free(r->by_id);
    free(r->positions);
    free(r->kinds);
    free(r);
}

int cell_summarise(struct store *s, const char *cell_id, struct buf *err)
{
    struct summary *r = summary_make(s, cell_id, err);
    int rc = r ? summary_write(s, cell_id, r, err) : -1;
    summary_free(r);
    return rc;
}
