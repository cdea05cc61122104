/*
 * pass_at.c: see pass_at.h.
 */
#include "cmd/pass_at.h"
#include "stats.h"

#include <stdio.h>
#include <string.h>

/* Of each problem: samples, and those of them that passed. */
struct counts {
    struct count {
        int n, c;
    } * v;
    size_t len;
};

static void count_one(struct counts *counts, uint32_t doc, bool passed)
{
    if (counts->len <= doc)
        counts->v = xrealloc(counts->v, (size_t)doc + 1, sizeof(*counts->v));
    while (counts->len <= doc)
        counts->v[counts->len++] = (struct count){ 0 };
    counts->v[doc].n++;
    counts->v[doc].c += passed;
}

static void count_cell(struct store *s, const struct result *cell, struct counts *counts)
{
    struct buf err = BUF_INIT;
    struct rows *r = store_query(
        s, &err, "SELECT doc, score FROM v_samples WHERE cell_id = ? AND score IS NOT NULL",
        cell->id);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, &err)) == 1) {
        double score = rows_double(r, 1);
        if (score != 0 && score != 1)
            die(1, "table: the scores of %s are not all 0 or 1, and so nothing passes or fails",
                cell->task);
        count_one(counts, (uint32_t)rows_int(r, 0), score == 1);
    }
    if (rc)
        die(1, "%s", err.s);
    rows_close(r);
    buf_release(&err);
}

/* pass@k over the problems that have samples: a limit may have left some out. */
static struct estimate pass_at(const struct counts *counts, int k, int *problems, int *least)
{
    int *n = xcalloc(counts->len, sizeof(*n)), *c = xcalloc(counts->len, sizeof(*c));
    *problems = *least = 0;
    for (size_t i = 0; i < counts->len; i++) {
        const struct count *one = &counts->v[i];
        if (one->n == 0)
            continue;
        *least = *problems == 0 || one->n < *least ? one->n : *least;
        n[*problems] = one->n;
        c[(*problems)++] = one->c;
    }
    struct estimate e = mean_pass_at_k(n, c, *problems, k);
    free(n);
    free(c);
    return e;
}

static void print_group(struct table *t, const struct result *cell, const struct counts *counts,
                        int k)
{
    int problems, least;
    struct estimate e = pass_at(counts, k, &problems, &least);
    if (!problems)
        return;
    if (least < k)
        die(1,
            "table: pass@%d of %s wants %d samples of each problem, and one has %d: run it with "
            "more seeds",
            k, cell->task, k, least);
    table_add(t, cell->model);
    table_add(t, cell->task);
    table_addf(t, "%d", cell->k);
    table_add(t, cell->label);
    table_add(t, cell->train);
    table_addf(t, "%.6g", e.value);
    table_addf(t, "%.3g", e.stderr_);
    table_addf(t, "%d", least);
    table_addf(t, "%d", problems);
}

/* Of two cells with one seed the samples are the same, or of another run: the user knows which. */
static void check_seed(const struct results *all, size_t first, size_t j, const bool *in)
{
    const struct result *c = &all->v[j];
    for (size_t i = first; i < j; i++)
        if (in[i] && all->v[i].seed == c->seed)
            die(1, "table: cells %.8s and %.8s of %s have the same seed, %lld: --where can choose",
                all->v[i].id, c->id, c->task, (long long)c->seed);
}

void pass_at_print(struct store *s, const struct results *all, int k, enum table_format format)
{
    static const char *const columns[] = { "model",   "task",    "#K",       "router",    "train",
                                           "#pass@k", "#stderr", "#samples", "#problems", NULL };
    struct table *t = table_new(columns);
    bool *used = xcalloc(all->len + 1, sizeof(*used));
    for (size_t i = 0; i < all->len; i++) {
        struct counts counts = { 0 };
        bool *in = xcalloc(all->len, sizeof(*in));
        for (size_t j = i; j < all->len; j++) {
            const struct result *c = &all->v[j];
            if (used[j] || strcmp(c->status, "done") != 0 || result_differs(&all->v[i], c))
                continue;
            check_seed(all, i, j, in);
            used[j] = in[j] = true;
            count_cell(s, c, &counts);
        }
        print_group(t, &all->v[i], &counts, k);
        free(counts.v);
        free(in);
    }
    table_print(t, format);
    table_free(t);
    free(used);
}
