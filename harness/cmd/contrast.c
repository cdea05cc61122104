/*
 * contrast.c: see contrast.h.
 */
#include "cmd/contrast.h"

#include "cmd/choose.h"

#include <math.h>
#include <string.h>

void pool_add(struct pool *p, const struct result *cell)
{
    ARRAY_GROW(p->cells, p->cap, p->n + 1);
    size_t at = p->n++;
    for (; at > 0 && p->cells[at - 1]->seed >= cell->seed; at--) {
        p->twice |= p->cells[at - 1]->seed == cell->seed;
        p->cells[at] = p->cells[at - 1];
    }
    p->cells[at] = cell;
}

void pool_release(struct pool *p)
{
    free(p->cells);
    *p = (struct pool){ 0 };
}

static void load(struct store *s, const struct pool *p, const char *metric, struct side *side)
{
    struct buf word = BUF_INIT;
    buf_adds(&word, "cell_id IN (");
    for (size_t i = 0; i < p->n; i++)
        buf_addf(&word, "%s'%s'", i ? ", " : "", p->cells[i]->id);
    buf_adds(&word, ")");
    choose_cells(s, word.s, &side->cells);
    compare_load(s, metric, side);
    buf_release(&word);
}

static const char *what_is_wrong(const struct contrast *c)
{
    bool same = c->a.n == c->b.n;
    if (c->a.twice || c->b.twice)
        return "several cells have the same seed: data or program changed between runs";
    for (size_t i = 0; i < c->a.n && same; i++)
        same = c->a.cells[i]->seed == c->b.cells[i]->seed;
    return same ? NULL : "the two have different seeds";
}

void contrast_run(struct store *s, struct contrast *c, const char *metric)
{
    struct comparison all = { 0 };
    struct buf err = BUF_INIT;
    struct mcnemar m;
    const char *wrong = what_is_wrong(c);
    c->p = c->holm = NAN;
    if (wrong) {
        c->refused = xstrdup(wrong);
        return;
    }
    load(s, &c->a, metric, &all.a);
    load(s, &c->b, metric, &all.b);
    if (compare_pair(&all, metric, &err)) {
        c->refused = xstrdup(err.s);
    } else {
        c->quantity = all.quantity;
        c->paired = paired_compare_seeds(all.pairs, all.npairs, all.seeds);
        c->exact = c->quantity == QUANTITY_SCORE && all.seeds == 1 &&
                   mcnemar_exact(all.pairs, all.npairs, &m);
        c->p = c->exact ? m.p : paired_p(&c->paired);
    }
    c->only_a = all.only_a;
    c->only_b = all.only_b;
    compare_release(&all);
    buf_release(&err);
}

void contrasts_correct(struct contrast *const *v, size_t n)
{
    double *p = xcalloc(n + 1, sizeof(*p));
    for (size_t i = 0; i < n; i++)
        p[i] = v[i]->refused ? NAN : v[i]->p;
    holm_correct(p, n);
    for (size_t i = 0; i < n; i++)
        v[i]->holm = p[i];
    free(p);
}

void contrast_release(struct contrast *c)
{
    pool_release(&c->a);
    pool_release(&c->b);
    free(c->refused);
    c->refused = NULL;
}

struct paired pool_alone(struct store *s, const struct pool *p, const char *metric, char **refused)
{
    const struct estimate none = { NAN, NAN, 0 };
    struct paired paired = { .a = none, .difference = none, .lo = NAN, .hi = NAN };
    struct comparison all = { 0 };
    struct buf err = BUF_INIT;
    *refused = NULL;
    load(s, p, metric, &all.a);
    if (compare_alone(&all, metric, &err))
        *refused = xstrdup(err.s);
    else
        paired = paired_compare_seeds(all.pairs, all.npairs, all.seeds);
    compare_release(&all);
    buf_release(&err);
    return paired;
}

struct estimate pool_estimate(struct store *s, const struct pool *p, const char *metric,
                              char **refused)
{
    struct paired paired = pool_alone(s, p, metric, refused);
    paired.a.n = paired.difference.n;
    return paired.a;
}

enum verdict contrast_verdict(const struct contrast *c)
{
    if (c->refused || !(c->holm < CONTRAST_ALPHA))
        return NOT_SHOWN;
    return (c->quantity != QUANTITY_NLL) == (c->paired.difference.value > 0) ? BETTER : WORSE;
}

double contrast_not_ruled_out(const struct contrast *c)
{
    if (c->refused || !(c->paired.lo <= 0 && c->paired.hi >= 0))
        return NAN;
    return fmax(fabs(c->paired.lo), fabs(c->paired.hi)); // 0, not -0
}
