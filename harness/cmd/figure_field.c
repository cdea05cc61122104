/*
 * figure_field.c: a metric along a field of the cells, alone or as the paired difference to a reference;
 * see figure_chart.h.
 *
 * A panel is what has the same model, training, device and dtype, the same task but for the field, and
 * the same K unless that is the field. A line is a router without the field; one that has it not is the
 * same everywhere, and drawn from end to end.
 *
 * Invariant: cells that differ in the seed alone are one point, unless the field is the seed.
 */
#include "cmd/figure_field.h"
#include "cmd/figure_value.h"
#include "cmd/router_label.h"

#include <math.h>
#include <string.h>

#define MOST_NAMED 30

static bool is_done(const struct result *r)
{
    return strcmp(r->status, "done") == 0;
}

/* ---- what there is ---- */

static int refuse_names(struct strings *names, const char *what, const char *name, struct buf *err)
{
    struct buf said = BUF_INIT;
    strings_sort(names);
    for (size_t i = 0; i < names->len && i < MOST_NAMED; i++)
        buf_addf(&said, "%s%s", i ? ", " : "", names->v[i]);
    fail(err, "plot: %s %s: no finished cell has it; there %s %s%s", what, name,
         names->len == 1 ? "is" : "are", names->len ? said.s : "no finished cells",
         names->len > MOST_NAMED ? ", and more" : "");
    buf_release(&said);
    strings_release(names);
    return -1;
}

static int check_metric(const struct field_maker *m, struct buf *err)
{
    struct strings names = { 0 };
    for (size_t i = 0; i < m->all->len; i++) {
        const struct result *r = &m->all->v[i];
        if (is_done(r) && result_metric(r, m->f->metric)) {
            strings_release(&names);
            return 0;
        }
        for (size_t j = 0; is_done(r) && j < r->nmetrics; j++)
            if (!strstr(r->metrics[j].name, "_layer_"))
                strings_add(&names, r->metrics[j].name);
    }
    return refuse_names(&names, "--y", m->f->metric, err);
}

static void add_x(struct field_maker *m, double x)
{
    size_t at = m->nxs;
    for (size_t i = 0; i < m->nxs; i++)
        if (m->xs[i] == x)
            return;
    ARRAY_GROW(m->xs, m->xs_cap, m->nxs + 1);
    for (; at > 0 && m->xs[at - 1] > x; at--)
        m->xs[at] = m->xs[at - 1];
    m->xs[at] = x;
    m->nxs++;
}

/* Of the cells that have the metric, which may be fewer. */
static int check_field(struct field_maker *m, struct buf *err)
{
    struct strings names = { 0 };
    bool there = false;
    double x;
    for (size_t i = 0; i < m->all->len; i++) {
        const struct result *r = &m->all->v[i];
        bool has = is_done(r) && value_of(r, m->f->x, &x);
        char *task = task_without(r->task, m->f->x);
        m->of_task |= has && strcmp(task, r->task) != 0;
        free(task);
        there |= has;
        if (!has || !result_metric(r, m->f->metric))
            continue;
        add_x(m, x);
        m->by_document = m->by_document || compare_by_document(m->store, r, m->f->metric);
    }
    if (!there) {
        value_names(m->all, &names);
        return refuse_names(&names, "--x", m->f->x, err);
    }
    if (m->nxs == 0)
        return fail(err, "plot: --x %s: no finished cell that has it has %s too", m->f->x,
                    m->f->metric);
    if (m->nxs == 1)
        return fail(err, "plot: --x %s: it is %g in all cells, and a line needs two values",
                    m->f->x, m->xs[0]);
    if (m->f->against && !m->by_document)
        return fail(
            err,
            "plot: --y %s cannot stand with --against, which compares documents: score, nll, "
            "experts and what measures say are known of each",
            m->f->metric);
    if (strcmp(m->f->x, "seed") == 0 && m->f->against)
        return fail(err,
                    "plot: --x seed cannot stand with --against, which takes the seeds of each "
                    "side together");
    return 0;
}

/* ---- points ---- */

/* What is the same in all points of a panel. The first part is the model. */
static char *panel_of(const struct field_maker *m, const struct result *r)
{
    char *task = task_without(r->task, m->f->x), *train = training_without_router(r->train);
    bool by_k = strcmp(m->f->x, "k") == 0;
    char *key = xasprintf("%s\n%s\n%s\n%s\n%s\n%d", r->model, task, train, r->device, r->dtype,
                          by_k ? 0 : r->k);
    free(train);
    free(task);
    return key;
}

static struct field_dot *add_dot(struct field_maker *m, const struct result *r)
{
    ARRAY_GROW(m->dots, m->cap, m->len + 1);
    struct field_dot *d = &m->dots[m->len++];
    *d = (struct field_dot){ .cell = r, .panel = panel_of(m, r), .lo = NAN, .hi = NAN };
    d->flat = !value_of(r, m->f->x, &d->x);
    return d;
}

/*
 * Of a metric that is not known by document: the mean over seeds, whose error is both that by document,
 * as large as one seed's, since all have the same documents, and that by seed.
 */
static void join_seeds(const struct pool *p, const char *metric, struct field_dot *d)
{
    double sum = 0, squares = 0, errors = 0, n = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct result_metric *one = result_metric(p->cells[i], metric);
        if (!one || isnan(one->value))
            continue;
        sum += one->value;
        errors += one->stderr_ * one->stderr_;
        n++;
    }
    d->y = sum / n; // NaN where there is none
    for (size_t i = 0; i < p->n; i++) {
        const struct result_metric *one = result_metric(p->cells[i], metric);
        if (one && !isnan(one->value))
            squares += (one->value - d->y) * (one->value - d->y);
    }
    double by_seed = n >= PAIRED_SEEDS ? squares / (n - 1) / n : 0;
    double times = n >= PAIRED_SEEDS ? student_t(0.05, n - 1) : Z95;
    double half = sqrt(Z95 * Z95 * errors / n + times * times * by_seed);
    d->lo = d->y - half;
    d->hi = d->y + half;
}

static void value_pool(const struct field_maker *m, const struct pool *p, struct field_dot *d)
{
    const struct result_metric *docs = result_metric(d->cell, "documents");
    char *refused = NULL;
    d->n = docs ? (int64_t)docs->value : 0;
    if (p->n == 1 || !m->by_document) {
        join_seeds(p, m->f->metric, d);
        return;
    }
    struct paired all = pool_alone(m->store, p, m->f->metric, &refused);
    d->y = all.a.value;
    d->lo = all.lo;
    d->hi = all.hi;
    d->n = all.difference.n;
    if (refused)
        warning("%s, %s, K = %d, %s: left out: %s", d->cell->model, d->cell->task, d->cell->k,
                d->cell->label, refused);
    d->y = refused ? NAN : d->y;
    free(refused);
}

static bool in_one_pool(const struct field_maker *m, const struct result *p, const struct result *q)
{
    return !result_differs(p, q) && (strcmp(m->f->x, "seed") != 0 || p->seed == q->seed);
}

/* The pool that begins with the i-th cell; false: an earlier cell began it, or it has no value. */
static bool pool_from(const struct field_maker *m, size_t i, struct pool *out)
{
    const struct result *v = m->all->v;
    if (!is_done(&v[i]) || !result_metric(&v[i], m->f->metric))
        return false;
    for (size_t j = 0; j < m->all->len; j++) {
        bool same =
            is_done(&v[j]) && result_metric(&v[j], m->f->metric) && in_one_pool(m, &v[i], &v[j]);
        if (same && j < i)
            return false;
        if (same)
            pool_add(out, &v[j]);
    }
    return true;
}

static int make_values(struct field_maker *m, struct buf *err)
{
    for (size_t i = 0; i < m->all->len; i++) {
        const struct result *r = &m->all->v[i];
        struct pool p = { 0 };
        bool first = pool_from(m, i, &p);
        if (first && !p.twice)
            value_pool(m, &p, add_dot(m, r));
        m->most_seeds = (int)p.n > m->most_seeds ? (int)p.n : m->most_seeds;
        bool twice = p.twice;
        pool_release(&p);
        if (twice)
            return fail(err,
                        "plot: %s, %s, K = %d, %s: several cells have the same seed; --where can "
                        "choose",
                        r->model, r->task, r->k, r->label);
    }
    return 0;
}

static void make_differences(struct field_maker *m)
{
    const char *metrics[] = { m->f->metric };
    const struct table_view view = { .metrics = metrics, .nmetrics = 1 };
    struct against *a = &m->against;
    *a = (struct against){ .store = m->store, .command = "plot", .word = m->f->against };
    against_make(a, m->all, &view);
    for (size_t i = 0; i < a->len; i++) {
        const struct paired *p = &a->v[i].c.paired;
        struct field_dot *d = add_dot(m, a->v[i].c.a.cells[0]);
        d->y = p->difference.value;
        d->lo = p->lo;
        d->hi = p->hi;
        d->n = p->difference.n;
        m->most_seeds = p->seeds > m->most_seeds ? p->seeds : m->most_seeds;
    }
}

static void name_lines(struct field_maker *m)
{
    const struct result **cells = xcalloc(m->len + 1, sizeof(*cells));
    for (size_t i = 0; i < m->len; i++)
        cells[i] = m->dots[i].cell;
    for (size_t i = 0; i < m->len; i++) {
        char *label =
            strcmp(m->f->x, "k") == 0 ? xstrdup(cells[i]->label) : label_without(cells[i], m->f->x);
        m->dots[i].line = router_label_by_k(cells, m->len, cells[i], label);
        free(label);
    }
    free(cells);
}

/* Panels in which something has the field; what is in others is left out, and so is what has another
 * task. */
static void find_panels(struct field_maker *m)
{
    size_t without = 0;
    for (size_t i = 0; i < m->len; i++) {
        m->dots[i].y = m->dots[i].flat && m->of_task ? NAN : m->dots[i].y;
        bool known = m->dots[i].flat || isnan(m->dots[i].y);
        for (size_t p = 0; p < m->panels.len && !known; p++)
            known = strcmp(m->panels.v[p], m->dots[i].panel) == 0;
        if (!known)
            strings_add(&m->panels, m->dots[i].panel);
    }
    for (size_t i = 0; i < m->len; i++) {
        bool shown = false;
        without += m->dots[i].flat && m->of_task;
        if (m->dots[i].flat && m->of_task)
            continue;
        for (size_t p = 0; p < m->panels.len && !shown; p++)
            shown = strcmp(m->panels.v[p], m->dots[i].panel) == 0;
        without += !shown;
    }
    if (without)
        warning("plot: --x %s: %zu cell%s left out that nothing with a %s stands beside", m->f->x,
                without, without == 1 ? " is" : "s are", m->f->x);
}

int charts_by_field(struct store *s, const struct results *all, const struct chart_field *f,
                    const char *prefix, struct charts *out, struct buf *err)
{
    struct field_maker m = { .store = s, .all = all, .f = f, .prefix = prefix, .out = out };
    int rc = check_metric(&m, err) || check_field(&m, err) ? -1 : 0;
    if (rc == 0 && f->against)
        make_differences(&m);
    else if (rc == 0)
        rc = make_values(&m, err);
    if (rc == 0) {
        name_lines(&m);
        find_panels(&m);
        rc = m.panels.len ? field_draw(&m, err)
                          : fail(err, "plot: --x %s: there is nothing to draw", f->x);
    }
    for (size_t i = 0; i < m.len; i++) {
        free(m.dots[i].line);
        free(m.dots[i].panel);
    }
    free(m.dots);
    free(m.xs);
    strings_release(&m.panels);
    if (f->against)
        against_release(&m.against);
    return rc;
}
