/*
 * stats_ranked.c: see stats_ranked.h. To leave a group of documents out is only counting, no sorting:
 * a token's rank follows from how many smaller and equal ones are left. So a jackknife of 200 groups is
 * 200 walks over the tokens, and LANES of them are made at once, side by side in vector registers: one
 * lane is one group left out.
 *
 * Invariant: each lane adds up the same numbers in the same order, that of x, whatever the number of
 * lanes and the kind of processor; sums may be rounded, and so stay the same to the last bit.
 */
#include "stats_ranked.h"
#include "stats_sort.h"

#include <math.h>
#include <string.h>

// A kind of code for each kind of processor, as in kernels.c. None of them fuses a product with a sum.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__)
#define VECTOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTOR
#endif

enum { LANES = 8 };
typedef double lanes __attribute__((vector_size(LANES * sizeof(double)), aligned(8)));

/* The tokens in the order of x, so that a walk over them reads memory straight on. */
struct ranked {
    size_t n;
    int docs, groups;
    uint32_t *token; /* [n] its place among those given */
    float *x;        /* [n] */
    int32_t *doc;    /* [n] the number of its document, from 0 without gaps */
    uint16_t *group; /* [n] of the jackknife */
};

/* doc[i] becomes which[i]: the number of token i's document, from 0 without gaps. Returns how many. */
static int number_documents(const int32_t *doc, size_t n, int32_t *which)
{
    int d = -1;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && doc[i] < doc[i - 1])
            BUG("documents are not in order at token %zu", i);
        d += i == 0 || doc[i] != doc[i - 1];
        which[i] = d;
    }
    return d + 1;
}

/* The order of v[n], smallest first, equal values as they stand. The caller frees it. */
static struct keyed *sorted(const float *v, size_t n)
{
    struct keyed *k = xmalloc(n * sizeof(*k));
    for (size_t i = 0; i < n; i++)
        k[i] = (struct keyed){ key_of_float(v[i]), (uint32_t)i };
    keyed_sort(k, n);
    return k;
}

struct ranked *ranked_new(const float *x, const int32_t *doc, size_t n)
{
    if (n > UINT32_MAX)
        BUG("%zu tokens in one cell", n);
    struct ranked *r = xcalloc(1, sizeof(*r));
    int32_t *which = xmalloc(n * sizeof(*which));
    struct keyed *order = sorted(x, n);
    r->n = n;
    r->docs = number_documents(doc, n, which);
    r->groups = r->docs < JACKKNIFE_GROUPS ? r->docs : JACKKNIFE_GROUPS;
    r->token = xmalloc(n * sizeof(*r->token));
    r->x = xmalloc(n * sizeof(*r->x));
    r->doc = xmalloc(n * sizeof(*r->doc));
    r->group = xmalloc(n * sizeof(*r->group));
    for (size_t i = 0; i < n; i++) {
        r->token[i] = order[i].index;
        r->x[i] = x[order[i].index];
        r->doc[i] = which[order[i].index];
        r->group[i] = (uint16_t)(r->doc[i] % r->groups);
    }
    free(order);
    free(which);
    return r;
}

void ranked_free(struct ranked *r)
{
    if (!r)
        return;
    free(r->token);
    free(r->x);
    free(r->doc);
    free(r->group);
    free(r);
}

/* Where the run of equal x that begins at i ends. */
static inline size_t run_end(const struct ranked *r, size_t i)
{
    size_t j = i + 1;
    while (j < r->n && r->x[j] == r->x[i])
        j++;
    return j;
}

/* ---- correlation ---- */

/* y's values replaced by their place among the distinct ones. */
struct codes {
    uint32_t *of;  /* [n], in x's order */
    double *count; /* [len] tokens that have it */
    size_t len;
};

static struct codes encode(const struct ranked *r, const float *y)
{
    struct keyed *k = sorted(y, r->n);
    uint32_t *code = xmalloc(r->n * sizeof(*code));
    struct codes c = { .of = xmalloc(r->n * sizeof(*c.of)),
                       .count = xcalloc(r->n, sizeof(*c.count)) };
    for (size_t i = 0; i < r->n; i++) {
        c.len += i == 0 || k[i].key != k[i - 1].key;
        code[k[i].index] = (uint32_t)c.len - 1;
        c.count[c.len - 1]++;
    }
    for (size_t i = 0; i < r->n; i++)
        c.of[i] = code[r->token[i]];
    free(code);
    free(k);
    return c;
}

/* LANES walks, each without one group. Ranks are twice the centred ones: 2 * rank - (total + 1). */
struct walks {
    unsigned first;   /* lane l is without group first + l */
    lanes total;      /* tokens that are in */
    lanes xx, yy, xy; /* sums of the ranks' products */
    lanes *rank_y;    /* [len] */
};

/* The lane that token i is not in; LANES: it is in all of them. */
static inline unsigned lane_out(const struct ranked *r, const struct walks *w, size_t i)
{
    unsigned lane = (unsigned)r->group[i] - w->first;
    return lane < LANES ? lane : LANES;
}

static void rank_y(const struct ranked *r, const struct codes *c, struct walks *w)
{
    lanes below = { 0 };
    memset(w->rank_y, 0, c->len * sizeof(*w->rank_y));
    w->total = below + (double)r->n;
    w->yy = below;
    for (size_t i = 0; i < r->n; i++) { // how many are out
        unsigned out = lane_out(r, w, i);
        if (out < LANES) {
            w->rank_y[c->of[i]][out]++;
            w->total[out]--;
        }
    }
    for (size_t v = 0; v < c->len; v++) {
        lanes count = c->count[v] - w->rank_y[v];
        w->rank_y[v] = 2 * below + count - w->total;
        w->yy += count * w->rank_y[v] * w->rank_y[v];
        below += count;
    }
}

VECTOR static void walk(const struct ranked *r, const struct codes *c, struct walks *w)
{
    lanes in[LANES + 1]; // 0 in the lane that a token is not in, else 1
    lanes below = { 0 }, xx = { 0 }, xy = { 0 };
    const lanes total = w->total;
    for (unsigned out = 0; out <= LANES; out++)
        for (unsigned l = 0; l < LANES; l++)
            in[out][l] = l != out;
    for (size_t i = 0, end; i < r->n; i = end) {
        lanes count = { 0 };
        end = run_end(r, i);
        for (size_t k = i; k < end; k++)
            count += in[lane_out(r, w, k)];
        const lanes rank = 2 * below + count - total;
        xx += count * rank * rank;
        for (size_t k = i; k < end; k++)
            xy += rank * w->rank_y[c->of[k]] * in[lane_out(r, w, k)];
        below += count;
    }
    w->xx = xx;
    w->xy = xy;
}

/* Rho without each of the groups, and behind them that of all tokens. rho: [groups + 1] */
static void rho_without(const struct ranked *r, const struct codes *c, double *rho)
{
    struct walks w = { .first = 0 };
    const unsigned all = (unsigned)r->groups + 1;
    w.rank_y = xmalloc(c->len * sizeof(*w.rank_y));
    for (; w.first < all; w.first += LANES) {
        rank_y(r, c, &w);
        walk(r, c, &w);
        for (unsigned l = 0; l < LANES && w.first + l < all; l++)
            rho[w.first + l] =
                w.xx[l] > 0 && w.yy[l] > 0 ? w.xy[l] / sqrt(w.xx[l]) / sqrt(w.yy[l]) : NAN;
    }
    free(w.rank_y);
}

struct estimate ranked_spearman(const struct ranked *r, const float *y)
{
    double rho[JACKKNIFE_GROUPS + 1] = { 0 }, mean = 0, squares = 0;
    if (r->n == 0)
        return (struct estimate){ .value = NAN, .stderr_ = NAN };
    struct codes c = encode(r, y);
    rho_without(r, &c, rho);
    free(c.of);
    free(c.count);
    const double value = rho[r->groups];
    for (int g = 0; g < r->groups; g++)
        mean += (isnan(value) ? NAN : rho[g]) / r->groups;
    for (int g = 0; g < r->groups; g++)
        squares += (rho[g] - mean) * (rho[g] - mean);
    double se = r->groups < 2 ? NAN : sqrt((r->groups - 1.0) / r->groups * squares);
    return (struct estimate){ .value = value, .stderr_ = se, .n = (int64_t)r->n };
}

/* ---- bins ---- */

/* Sums by document, of which only those that were touched are looked at and emptied again. */
struct by_document {
    double *sum, *count; /* [docs] */
    int32_t *touched;
    int ntouched;
};

static double error_by_document(struct by_document *b, double mean, double n)
{
    double squares = 0;
    int used = b->ntouched;
    for (int i = 0; i < used; i++) {
        int32_t d = b->touched[i];
        double rest = b->sum[d] - mean * b->count[d];
        squares += rest * rest;
        b->sum[d] = b->count[d] = 0;
    }
    b->ntouched = 0;
    return used < 2 ? NAN : sqrt((double)used / (used - 1) * squares) / n;
}

/* The bin of the tokens from..end in x's order. y: [n] in that order */
static struct bin bin_make(const struct ranked *r, size_t from, size_t end, const float *y,
                           struct by_document *by)
{
    const size_t n = end - from;
    struct bin b = { .lo = r->x[from], .hi = r->x[end - 1], .n = (int64_t)n };
    double sum = 0, sum_x = 0, squares = 0;
    for (size_t i = from; i < end; i++) {
        int32_t d = r->doc[i];
        if (by->count[d] == 0)
            by->touched[by->ntouched++] = d;
        by->sum[d] += y[i];
        by->count[d]++;
        sum += y[i];
        sum_x += r->x[i];
    }
    b.x = sum_x / (double)n;
    b.mean = sum / (double)n;
    for (size_t i = from; i < end; i++)
        squares += (y[i] - b.mean) * (y[i] - b.mean);
    b.sd = n < 2 ? NAN : sqrt(squares / (double)(n - 1));
    b.se = error_by_document(by, b.mean, (double)n);
    return b;
}

/* y: [n] in x's order */
static int cut(const struct ranked *r, const float *y, size_t bins, struct by_document *by,
               struct bin *out)
{
    int written = 0;
    size_t begin = 0, bin = 0;
    for (size_t i = 0, j; i < r->n; i = j) {
        j = run_end(r, i);
        // The middle of the run is (i + j - 1) / 2; doubled, to stay whole.
        size_t its = (i + j - 1) * bins / (2 * r->n);
        if (its != bin && i > begin) {
            out[written++] = bin_make(r, begin, i, y, by);
            begin = i;
        }
        bin = its;
    }
    out[written++] = bin_make(r, begin, r->n, y, by);
    return written;
}

int ranked_bins(const struct ranked *r, const float *y, int bins, struct bin *out)
{
    if (bins < 1)
        BUG("%d bins", bins);
    if (r->n == 0)
        return 0;
    const size_t docs = (size_t)r->docs;
    float *by_x = xmalloc(r->n * sizeof(*by_x));
    struct by_document by = { .sum = xcalloc(docs, sizeof(*by.sum)),
                              .count = xcalloc(docs, sizeof(*by.count)),
                              .touched = xcalloc(docs, sizeof(*by.touched)) };
    for (size_t i = 0; i < r->n; i++)
        by_x[i] = y[r->token[i]];
    int written = cut(r, by_x, (size_t)bins, &by, out);
    free(by.sum);
    free(by.count);
    free(by.touched);
    free(by_x);
    return written;
}
