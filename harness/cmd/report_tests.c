/*
 * report_tests.c: the report's paired tests: each router against topk at the same K, on the documents
 * that both have. Difference and interval are those of `seqtopk compare`; all tests of the page are
 * corrected together.
 */
#include "cmd/contrast.h"
#include "cmd/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct test {
    const struct family *family;
    struct contrast c;
};

struct tests {
    struct test *v;
    size_t len, cap, left_out;
};

/* ---- which ---- */

/* A router of a family at one K: a cell, or one for each seed. */
static struct pool pool_of(const struct family *f, int k, const char *label)
{
    struct pool p = { 0 };
    for (size_t i = 0; i < f->n; i++) {
        const struct result *c = f->cells[i];
        if (c->k == k && strcmp(c->label, label) == 0 && strcmp(c->status, "done") == 0)
            pool_add(&p, c);
    }
    return p;
}

static bool is_first(const struct family *f, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (f->cells[j]->k == f->cells[i]->k && strcmp(f->cells[j]->label, f->cells[i]->label) == 0)
            return false;
    return true;
}

static void plan_family(const struct family *f, struct tests *all)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct result *c = f->cells[i];
        if (strcmp(c->router, "topk") == 0 || !is_first(f, i))
            continue;
        struct test t = { .family = f };
        t.c.a = pool_of(f, c->k, c->label);
        t.c.b = pool_of(f, c->k, "topk");
        if (!t.c.a.n || !t.c.b.n || all->len == REPORT_TESTS) {
            all->left_out += t.c.a.n && t.c.b.n;
            contrast_release(&t.c);
            continue;
        }
        ARRAY_GROW(all->v, all->cap, all->len + 1);
        all->v[all->len++] = t;
    }
}

/* ---- what comes out ---- */

static void run_tests(struct report *r, struct tests *all)
{
    for (size_t i = 0; i < r->nfamilies; i++)
        plan_family(&r->families[i], all);
    struct contrast **c = xcalloc(all->len + 1, sizeof(struct contrast *));
    for (size_t i = 0; i < all->len; i++) {
        c[i] = &all->v[i].c;
        contrast_run(r->store, c[i], NULL);
    }
    contrasts_correct(c, all->len);
    free(c);
}

/*
 * Documents with which the interval of this difference would not reach 0; infinite where the spread
 * over seeds is too wide for any number of them.
 */
static double documents_needed(const struct test *t)
{
    const struct paired *p = &t->c.paired;
    bool seeds = !isnan(p->by_seed);
    double z = seeds ? student_t(0.05, p->df) : Z95, d = p->difference.value;
    if (d == 0 || isnan(p->difference.stderr_))
        return NAN;
    double left = pow(d / z, 2) - (seeds ? pow(p->by_seed, 2) : 0);
    return left > 0 ? ceil((double)p->difference.n * pow(p->by_document, 2) / left) : INFINITY;
}

/* ---- the table ---- */

/* The interval as a line, the difference as a mark, 0 as an upright. Beside it are the numbers. */
static void add_picture(const struct test *t, double reach, struct buf *out)
{
    enum { WIDE = 120, HALF = WIDE / 2, ROOM = HALF - 6 };
    double at = t->c.paired.difference.value, lo = t->c.paired.lo, hi = t->c.paired.hi;
    double f = reach > 0 ? ROOM / reach : 0;
    buf_addf(out,
             "<td><svg class=forest aria-hidden=true width=%d height=18 viewBox=\"0 0 %d 18\">"
             "<path class=zero d=\"M%d 0v18\"/><path d=\"M%.1f 9H%.1fM%.1f 5v8M%.1f 5v8\"/>"
             "<circle cx=%.1f cy=9 r=3.5 /></svg></td>",
             WIDE, WIDE, HALF, HALF + f * lo, HALF + f * hi, HALF + f * lo, HALF + f * hi,
             HALF + f * at);
}

static void add_p(double p, struct buf *out)
{
    if (isnan(p))
        report_cell(NULL, out);
    else if (p < 0.0001)
        buf_addf(out, "<td class=r><data value=%.4g>&lt; 0.0001</data></td>", p);
    else
        buf_addf(out, "<td class=r><data value=%.4g>%.4f</data></td>", p, p);
}

static const char *const verdicts[VERDICTS] = {
    [NOT_SHOWN] = "no difference shown",
    [BETTER] = "\xe2\x96\xb2 better",
    [WORSE] = "\xe2\x96\xbc worse",
};

static void add_needed(const struct test *t, struct buf *out)
{
    double needed = documents_needed(t);
    if (isnan(needed))
        report_cell(NULL, out);
    else if (isinf(needed))
        report_cellf(out, "more seeds *");
    else if (needed > 1e6)
        report_cellf(out, "> 1,000,000");
    else
        report_cellf(out, "%.0f%s", needed, needed > (double)t->c.paired.difference.n ? " *" : "");
}

static void add_test(const struct test *t, bool first, double reach, struct buf *out)
{
    const struct paired *p = &t->c.paired;
    report_row_of(first, out);
    report_head(t->c.a.cells[0]->label, out);
    report_cellf(out, "%d", t->c.a.cells[0]->k);
    if (t->c.refused) {
        buf_adds(out, "<td colspan=9>not compared: ");
        html_text(t->c.refused, out);
        buf_adds(out, "</td>");
        report_row_end(out);
        return;
    }
    report_number(p->a.value, 4, out);
    report_number(p->b.value, 4, out);
    report_interval(p->difference.value, p->lo, p->hi, 4, out);
    add_picture(t, reach, out);
    report_cellf(out, "%lld", (long long)p->difference.n);
    add_p(t->c.p, out);
    add_p(t->c.holm, out);
    buf_addf(out, "<td class=w>%s</td>", verdicts[contrast_verdict(&t->c)]);
    add_needed(t, out);
    report_row_end(out);
}

static double reach_of(const struct tests *all, const struct family *f)
{
    double reach = 0;
    for (size_t i = 0; i < all->len; i++)
        if (all->v[i].family == f && !all->v[i].c.refused)
            reach = fmax(reach, fmax(fabs(all->v[i].c.paired.lo), fabs(all->v[i].c.paired.hi)));
    return reach;
}

static void add_family(struct report *r, const struct tests *all, const struct family *f,
                       struct buf *out)
{
    bool any = false, score = false;
    for (size_t i = 0; i < all->len; i++)
        if (all->v[i].family == f) {
            any = true;
            score |= all->v[i].c.quantity == QUANTITY_SCORE;
        }
    if (!any)
        return;
    const char *const columns[] = { "router",
                                    "#K",
                                    score ? "#score" : "#nll",
                                    "#of topk",
                                    "#difference [95 %]",
                                    "around 0",
                                    "#n",
                                    "#p",
                                    "#p, Holm",
                                    "reading",
                                    "#n needed",
                                    NULL };
    char *caption =
        xasprintf("%s: router minus topk at the same K, %s", f->name,
                  score ? "score (higher is better)" : "loss in nats a token (lower is better)");
    report_table(r, caption, columns, out);
    for (size_t i = 0, k = 0; i < all->len; i++) {
        const struct test *t = &all->v[i];
        if (t->family != f)
            continue;
        add_test(t, k && (size_t)t->c.a.cells[0]->k != k, reach_of(all, f), out);
        k = (size_t)t->c.a.cells[0]->k;
    }
    report_table_end(out);
    free(caption);
}

static void add_words(const struct tests *all, struct buf *out)
{
    size_t tested = 0, exact = 0, n[VERDICTS] = { 0 };
    for (size_t i = 0; i < all->len; i++) {
        tested += !isnan(all->v[i].c.p);
        exact += all->v[i].c.exact;
        n[contrast_verdict(&all->v[i].c)] += !all->v[i].c.refused;
    }
    buf_addf(
        out,
        "<p>Each router against topk of the same model, task, training and K. Of %zu "
        "comparison%s, <strong>%zu better, %zu worse, %zu without a difference shown</strong>, by "
        "p below %g after Holm\xe2\x80\x99s correction over all %zu test%s of this page.</p>\n",
        all->len, all->len == 1 ? "" : "s", n[BETTER], n[WORSE], n[NOT_SHOWN], CONTRAST_ALPHA,
        tested, tested == 1 ? "" : "s");
    buf_adds(
        out,
        "<details><summary>How the numbers are made</summary>\n<p>n documents that both "
        "have. Differences and intervals are those "
        "of <code>seqtopk compare</code>: a paired bootstrap, documents drawn anew 10,000 "
        "times, percentiles, not corrected; two seeds are pooled by document, and with three or "
        "more the interval is by document and by seed. p, before the correction, is ");
    if (exact)
        buf_addf(out,
                 "McNemar\xe2\x80\x99s exact test where scores are right or wrong (%zu of %zu "
                 "tests), else ",
                 exact, tested);
    buf_adds(out, "of Student\xe2\x80\x99s t of the difference and its error.</p>\n"
                  "<p>n needed: with so many documents, the 95 % interval of a difference of this "
                  "size would just not reach 0: n (1.96 se / difference)\xc2\xb2; more seeds: with "
                  "no number of documents. A * marks where there were fewer.</p></details>\n");
}

static void warn_of_tests(struct report *r, const struct tests *all)
{
    size_t short_of = 0, few = 0, refused = 0, tested = 0;
    double least = INFINITY;
    for (size_t i = 0; i < all->len; i++) {
        const struct test *t = &all->v[i];
        refused += t->c.refused != NULL;
        if (t->c.refused)
            continue;
        tested++;
        short_of += documents_needed(t) > (double)t->c.paired.difference.n;
        few += t->c.paired.difference.n < CONTRAST_FEW;
        least = fmin(least, (double)t->c.paired.difference.n);
    }
    if (short_of)
        report_warn(r, false, "tests",
                    "Too few documents: in %zu of %zu paired tests the difference seen is smaller "
                    "than its own uncertainty. It may be real, but these documents do not show it.",
                    short_of, tested);
    if (few)
        report_warn(
            r, true, "tests",
            "%zu of %zu paired tests have fewer than %d documents, the smallest %.0f: their "
            "intervals are too narrow.",
            few, tested, CONTRAST_FEW, least);
    if (refused)
        report_warn(r, true, "tests", "%zu of %zu routers could not be compared with topk.",
                    refused, all->len);
}

void report_tests(struct report *r, struct buf *out)
{
    struct tests all = { 0 };
    if (r->all.len == 0)
        return;
    run_tests(r, &all);
    report_open("tests", "Paired tests", out);
    if (all.len)
        add_words(&all, out);
    else
        buf_adds(
            out,
            "<p>There is nothing to test: no router stands beside a finished topk of the "
            "same model, task, training and K. <code>seqtopk compare DB A B</code> compares any "
            "two cells of a task.</p>\n");
    for (size_t i = 0; i < r->nfamilies; i++)
        add_family(r, &all, &r->families[i], out);
    if (all.left_out)
        report_left_out(out, "%zu comparisons; `seqtopk compare` makes any of them", all.left_out);
    report_close(out);
    warn_of_tests(r, &all);
    for (size_t i = 0; i < all.len; i++)
        contrast_release(&all.v[i].c);
    free(all.v);
}
