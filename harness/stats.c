/*
 * stats.c: see stats.h. Everything works on codes: the values of x and y replaced by their place
 * among the distinct values. Sorting is done once; leaving a group of documents out is then only
 * counting, so a jackknife of 200 groups costs 200 walks over the tokens and no sort.
 */
#include "stats.h"

#include <limits.h>
#include <math.h>
#include <string.h>

static struct estimate estimate_make(double value, double se, int64_t n)
{
    return (struct estimate){ .value = value, .stderr_ = se, .n = n };
}

struct estimate ratio_of_sums(const double *y, const double *x, int docs)
{
    double sum_y = 0, sum_x = 0, squares = 0;
    int used = 0;
    for (int d = 0; d < docs; d++) {
        if (!(x[d] > 0))
            continue;
        sum_y += y[d];
        sum_x += x[d];
        used++;
    }
    if (used == 0)
        return estimate_make(NAN, NAN, 0);
    double value = sum_y / sum_x;
    for (int d = 0; d < docs; d++) {
        double rest = x[d] > 0 ? y[d] - value * x[d] : 0;
        squares += rest * rest;
    }
    double se = used < 2 ? NAN : sqrt((double)used / (used - 1) * squares) / sum_x;
    return estimate_make(value, se, llround(sum_x));
}

struct estimate mean_of(const double *y, size_t n)
{
    if (n > INT_MAX)
        BUG("%zu documents", n);
    double *ones = xcalloc(n, sizeof(*ones));
    for (size_t i = 0; i < n; i++)
        ones[i] = 1;
    struct estimate mean = ratio_of_sums(y, ones, (int)n);
    free(ones);
    return mean;
}

struct keyed {
    float value;
    uint32_t index;
};

static int keyed_compare(const void *a, const void *b)
{
    const struct keyed *p = a, *q = b;
    if (p->value != q->value)
        return p->value < q->value ? -1 : 1;
    return p->index < q->index ? -1 : p->index > q->index;
}

/* The order of v[n], smallest first, equal values as they stand. The caller frees it. */
static struct keyed *sorted(const float *v, size_t n)
{
    if (n > UINT32_MAX)
        BUG("%zu tokens in one cell", n);
    struct keyed *k = xmalloc(n * sizeof(*k));
    for (size_t i = 0; i < n; i++)
        k[i] = (struct keyed){ v[i], (uint32_t)i };
    qsort(k, n, sizeof(*k), keyed_compare);
    return k;
}

/* code[i]: how many distinct values of v are smaller than v[i]. Returns how many there are. */
static size_t encode(const float *v, size_t n, uint32_t *code)
{
    struct keyed *k = sorted(v, n);
    uint32_t c = 0;
    for (size_t i = 0; i < n; i++) {
        c += i > 0 && k[i].value != k[i - 1].value;
        code[k[i].index] = c;
    }
    free(k);
    return n ? (size_t)c + 1 : 0;
}

/* which[i]: the number of token i's document, from 0 without gaps. Returns how many there are. */
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

/* Twice the centred rank of each code, from how many tokens have it: 2 * rank - (total + 1). */
static void centred_ranks(const uint32_t *count, size_t codes, double total, double *rank)
{
    double below = 0;
    for (size_t c = 0; c < codes; c++) {
        rank[c] = 2 * below + count[c] - total;
        below += count[c];
    }
}

static double sum_of_squares(const uint32_t *count, const double *rank, size_t codes)
{
    double sum = 0;
    for (size_t c = 0; c < codes; c++)
        sum += count[c] * rank[c] * rank[c];
    return sum;
}

/* The tokens of a correlation, in x's order, so that a walk over them reads memory straight on. */
struct ranked {
    size_t n, nx, ny;
    uint32_t *x, *y;             /* [n] codes */
    uint16_t *group;             /* [n] of the jackknife */
    uint32_t *count_x, *count_y; /* [nx], [ny]: tokens that are in */
    double *rank_x, *rank_y;     /* [nx], [ny] */
};

/* Rho of all tokens that are not of group `out` (-1: of all). */
static double rho_without(struct ranked *r, int out)
{
    double total = 0, xy = 0;
    memset(r->count_x, 0, r->nx * sizeof(*r->count_x));
    memset(r->count_y, 0, r->ny * sizeof(*r->count_y));
    for (size_t i = 0; i < r->n; i++) {
        unsigned in = r->group[i] != out;
        r->count_x[r->x[i]] += in;
        r->count_y[r->y[i]] += in;
        total += in;
    }
    centred_ranks(r->count_x, r->nx, total, r->rank_x);
    centred_ranks(r->count_y, r->ny, total, r->rank_y);
    for (size_t i = 0; i < r->n; i++)
        xy += r->group[i] != out ? r->rank_x[r->x[i]] * r->rank_y[r->y[i]] : 0;
    double xx = sum_of_squares(r->count_x, r->rank_x, r->nx);
    double yy = sum_of_squares(r->count_y, r->rank_y, r->ny);
    return xx > 0 && yy > 0 ? xy / sqrt(xx) / sqrt(yy) : NAN;
}

static void ranked_release(struct ranked *r)
{
    free(r->x);
    free(r->y);
    free(r->group);
    free(r->count_x);
    free(r->count_y);
    free(r->rank_x);
    free(r->rank_y);
}

/* Returns the number of groups. */
static int ranked_init(struct ranked *r, const float *x, const float *y, const int32_t *doc,
                       size_t n)
{
    int32_t *which = xmalloc(n * sizeof(*which));
    uint32_t *code = xmalloc(n * sizeof(*code));
    int docs = number_documents(doc, n, which);
    int groups = docs < JACKKNIFE_GROUPS ? docs : JACKKNIFE_GROUPS;
    *r = (struct ranked){ .n = n };
    r->x = xmalloc(n * sizeof(*r->x));
    r->y = xmalloc(n * sizeof(*r->y));
    r->group = xmalloc(n * sizeof(*r->group));
    r->ny = encode(y, n, code);
    struct keyed *order = sorted(x, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t token = order[i].index;
        r->nx += i == 0 || order[i].value != order[i - 1].value;
        r->x[i] = (uint32_t)r->nx - 1;
        r->y[i] = code[token];
        r->group[i] = (uint16_t)(which[token] % groups);
    }
    r->count_x = xcalloc(r->nx, sizeof(*r->count_x));
    r->count_y = xcalloc(r->ny, sizeof(*r->count_y));
    r->rank_x = xcalloc(r->nx, sizeof(*r->rank_x));
    r->rank_y = xcalloc(r->ny, sizeof(*r->rank_y));
    free(order);
    free(code);
    free(which);
    return groups;
}

struct estimate spearman(const float *x, const float *y, const int32_t *doc, size_t n)
{
    struct ranked r;
    double without[JACKKNIFE_GROUPS], mean = 0, squares = 0;
    if (n == 0)
        return estimate_make(NAN, NAN, 0);
    int groups = ranked_init(&r, x, y, doc, n);
    double value = rho_without(&r, -1);
    for (int g = 0; g < groups; g++) {
        without[g] = isnan(value) ? NAN : rho_without(&r, g);
        mean += without[g] / groups;
    }
    for (int g = 0; g < groups; g++)
        squares += (without[g] - mean) * (without[g] - mean);
    ranked_release(&r);
    double se = groups < 2 ? NAN : sqrt((groups - 1.0) / groups * squares);
    return estimate_make(value, se, (int64_t)n);
}

void correlation_interval(struct estimate rho, double *lo, double *hi)
{
    *lo = *hi = NAN;
    if (isnan(rho.value) || isnan(rho.stderr_))
        return;
    if (fabs(rho.value) >= 1) {
        *lo = *hi = rho.value;
        return;
    }
    double z = atanh(rho.value);
    double se = rho.stderr_ / (1 - rho.value * rho.value);
    *lo = tanh(z - Z95 * se);
    *hi = tanh(z + Z95 * se);
}

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

/* The bin of the tokens k[0..n) with their y and documents. */
static struct bin bin_make(const struct keyed *k, size_t n, const float *y, const int32_t *which,
                           struct by_document *by)
{
    struct bin b = { .lo = k[0].value, .hi = k[n - 1].value, .n = (int64_t)n };
    double sum = 0, sum_x = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t d = which[k[i].index];
        double v = y[k[i].index];
        if (by->count[d] == 0)
            by->touched[by->ntouched++] = d;
        by->sum[d] += v;
        by->count[d]++;
        sum += v;
        sum_x += k[i].value;
    }
    b.x = sum_x / (double)n;
    b.mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (y[k[i].index] - b.mean) * (y[k[i].index] - b.mean);
    b.sd = n < 2 ? NAN : sqrt(squares / (double)(n - 1));
    b.se = error_by_document(by, b.mean, (double)n);
    return b;
}

/* Where the run of equal values that begins at k[i] ends. */
static size_t run_end(const struct keyed *k, size_t n, size_t i)
{
    size_t j = i + 1;
    while (j < n && k[j].value == k[i].value)
        j++;
    return j;
}

int quantile_bins(const float *x, const float *y, const int32_t *doc, size_t n, int bins,
                  struct bin *out)
{
    if (bins < 1)
        BUG("%d bins", bins);
    if (n == 0)
        return 0;
    struct keyed *k = sorted(x, n);
    int32_t *which = xmalloc(n * sizeof(*which));
    size_t docs = (size_t)number_documents(doc, n, which);
    struct by_document by = { .sum = xcalloc(docs, sizeof(*by.sum)),
                              .count = xcalloc(docs, sizeof(*by.count)),
                              .touched = xcalloc(docs, sizeof(*by.touched)) };
    int written = 0;
    size_t begin = 0, bin = 0;
    for (size_t i = 0, j; i < n; i = j) {
        j = run_end(k, n, i);
        // The middle of the run is (i + j - 1) / 2; doubled, to stay whole.
        size_t its = (i + j - 1) * (size_t)bins / (2 * n);
        if (its != bin && i > begin) {
            out[written++] = bin_make(k + begin, i - begin, y, which, &by);
            begin = i;
        }
        bin = its;
    }
    out[written++] = bin_make(k + begin, n - begin, y, which, &by);
    free(by.sum);
    free(by.count);
    free(by.touched);
    free(which);
    free(k);
    return written;
}

double normalised_entropy(const double *v, int n)
{
    double total = 0, h = 0;
    for (int i = 0; i < n; i++)
        total += v[i];
    if (!(total > 0))
        return NAN;
    for (int i = 0; i < n; i++)
        if (v[i] > 0)
            h -= v[i] / total * log(v[i] / total);
    return n == 1 ? 1 : h / log(n);
}

double pass_at_k(int n, int c, int k)
{
    if (c < 0 || c > n || k < 1 || k > n)
        BUG("pass@%d of %d samples, %d of which passed", k, n, c);
    double none = 1;
    // Where fewer than k failed, i comes by k and leaves 0.
    for (int i = n - c + 1; i <= n; i++)
        none *= 1 - (double)k / i;
    return 1 - none;
}

struct estimate mean_pass_at_k(const int *n, const int *c, int problems, int k)
{
    for (int p = 0; p < problems; p++)
        if (n[p] < k)
            return estimate_make(NAN, NAN, problems);
    double *passed = xcalloc((size_t)problems, sizeof(*passed));
    for (int p = 0; p < problems; p++)
        passed[p] = pass_at_k(n[p], c[p], k);
    struct estimate mean = mean_of(passed, (size_t)problems);
    free(passed);
    return mean;
}
