/*
 * table_reference.c: which cells stand against which; see table_against.h.
 *
 * The reference is of the same model, task, K, device and dtype. A training says its router where the
 * recipe does ("router seqtopk(mode global)"), and not where it is the cell's own. The reference is of
 * the same training to the word, or, where there is none, of one that differs in the router alone, or,
 * where a condition chooses it, of any: trainings are compared so.
 */
#include "cmd/table_against.h"

#include <string.h>

#define MOST_NAMED 20

/* ---- the reference ---- */

/* How well the word fits: 3 the label, 2 router and mode, 1 the router or the condition, 0 not. */
static int rank_of(const struct against *a, const struct result *r)
{
    for (size_t i = 0; a->condition && i < a->said.len; i++)
        if (strcmp(a->said.v[i].id, r->id) == 0)
            return 1;
    if (a->condition)
        return 0;
    char *mode = xasprintf("%s %s", r->router, r->mode ? r->mode : "");
    int rank = strcmp(r->label, a->word) == 0    ? 3
               : strcmp(mode, a->word) == 0      ? 2
               : strcmp(r->router, a->word) == 0 ? 1
                                                 : 0;
    free(mode);
    return rank;
}

char *training_without_router(const char *train)
{
    // A name that a recipe gave is no list of settings.
    const char *at = strncmp(train, "sft ", 4) == 0 ? strstr(train, " router ") : NULL;
    if (!at)
        return xstrdup(train);
    const char *end = at + strlen(" router ");
    end += strcspn(end, " (");
    if (*end == '(' && strchr(end, ')'))
        end = strchr(end, ')') + 1;
    return xasprintf("%.*s%s", (int)(at - train), train, end);
}

/* 3: the same training, 2: but for its router, 1: another one, 0: another model, task, K or arithmetic. */
static int kinship(const struct result *p, const struct result *q)
{
    if (strcmp(p->model, q->model) != 0 || strcmp(p->task, q->task) != 0 || p->k != q->k ||
        strcmp(p->device, q->device) != 0 || strcmp(p->dtype, q->dtype) != 0)
        return 0;
    if (strcmp(p->train, q->train) == 0)
        return 3;
    char *a = training_without_router(p->train), *b = training_without_router(q->train);
    int same = strcmp(a, b) == 0;
    free(a);
    free(b);
    return same ? 2 : 1;
}

static int fit_of(const struct against *a, const struct result *cell, const struct result *r)
{
    int rank = strcmp(r->status, "done") == 0 ? rank_of(a, r) : 0;
    int kin = rank ? kinship(cell, r) : 0;
    return kin > 1 || (kin == 1 && a->condition) ? 4 * kin + rank : 0;
}

NORETURN static void refuse_several(const struct against *a, const struct result *cell, int best)
{
    struct strings labels = { 0 };
    struct buf names = BUF_INIT;
    for (size_t i = 0; i < a->all.len; i++)
        if (fit_of(a, cell, &a->all.v[i]) == best)
            strings_addf(&labels, "%s%s%s", a->all.v[i].label, best < 12 ? " trained " : "",
                         best < 12 ? a->all.v[i].train : "");
    strings_sort(&labels);
    for (size_t i = 0; i < labels.len && i < MOST_NAMED; i++)
        buf_addf(&names, "%s%s", i ? "; " : "", labels.v[i]);
    die(1, "%s: --against %s may be several cells of %s, %s, K = %d: %s%s", a->command, a->word,
        cell->model, cell->task, cell->k, names.s, labels.len > MOST_NAMED ? "; and more" : "");
}

NORETURN static void refuse_word(const struct against *a)
{
    struct strings labels = { 0 };
    struct buf names = BUF_INIT;
    for (size_t i = 0; i < a->all.len; i++)
        if (strcmp(a->all.v[i].status, "done") == 0)
            strings_addf(&labels, "%s%s%s", a->all.v[i].router, a->all.v[i].mode ? " " : "",
                         a->all.v[i].mode ? a->all.v[i].mode : "");
    strings_sort(&labels);
    for (size_t i = 0; i < labels.len && i < MOST_NAMED; i++)
        buf_addf(&names, "%s%s", i ? "; " : "", labels.v[i]);
    die(1, "%s: --against %s: no finished cell has such a router; there %s %s%s", a->command,
        a->word, labels.len == 1 ? "is" : "are", labels.len ? names.s : "no finished cells",
        labels.len > MOST_NAMED ? "; and more" : "");
}

/* Fills in the reference's cells; one that is the cell's own pool is none. */
static void find_reference(const struct against *a, const struct result *cell, struct pool *out)
{
    int best = 0;
    for (size_t i = 0; i < a->all.len; i++) {
        int fit = fit_of(a, cell, &a->all.v[i]);
        best = fit > best ? fit : best;
    }
    for (size_t i = 0; best && i < a->all.len; i++) {
        if (fit_of(a, cell, &a->all.v[i]) != best)
            continue;
        if (out->n && result_differs(out->cells[0], &a->all.v[i]))
            refuse_several(a, cell, best);
        pool_add(out, &a->all.v[i]);
    }
}

/* ---- which against which ---- */

static bool has_seed(const struct pool *p, int64_t seed)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->cells[i]->seed == seed)
            return true;
    return false;
}

/* Leaves the cells whose seeds the other has. */
static int keep_common(struct pool *p, const struct pool *other)
{
    size_t kept = 0, before = p->n;
    for (size_t i = 0; i < before; i++)
        if (has_seed(other, p->cells[i]->seed))
            p->cells[kept++] = p->cells[i];
    p->n = kept;
    return (int)(before - kept);
}

static bool knows(const struct pool *p, const char *metric)
{
    for (size_t i = 0; i < p->n; i++)
        if (result_metric(p->cells[i], metric))
            return true;
    return false;
}

/* A metric that neither side has is not of this task. */
static void add_row(struct against *a, struct contrast *c, const char *metric)
{
    if (metric && !knows(&c->a, metric) && !knows(&c->b, metric)) {
        a->foreign++;
        contrast_release(c);
        return;
    }
    ARRAY_GROW(a->v, a->cap, a->len + 1);
    a->v[a->len++] = (struct row){ .c = *c, .metric = metric };
}

static struct contrast copy_of(const struct contrast *c)
{
    struct contrast out = { 0 };
    for (size_t i = 0; i < c->a.n; i++)
        pool_add(&out.a, c->a.cells[i]);
    for (size_t i = 0; i < c->b.n; i++)
        pool_add(&out.b, c->b.cells[i]);
    return out;
}

/* The pool that begins with the cell `first`, if one does. */
static void plan_pool(struct against *a, const struct results *chosen, size_t first,
                      const struct table_view *v)
{
    const struct result *cell = &chosen->v[first];
    struct contrast c = { 0 };
    if (!table_pool(chosen, first, &c.a))
        return;
    find_reference(a, cell, &c.b);
    if (!c.b.n || !result_differs(cell, c.b.cells[0])) {
        a->without += !c.b.n;
        a->lonely = c.b.n ? a->lonely : cell;
        contrast_release(&c);
        return;
    }
    struct pool before = c.a;
    int apart = keep_common(&c.a, &c.b);
    apart += c.a.n ? 0 : (int)before.n;
    if (c.a.n)
        keep_common(&c.b, &c.a);
    else
        c.a = before; // nothing in common: refused, with the reason, when it is tested
    if (apart && c.a.n != before.n)
        warning("%s, %s, K = %d, %s: %d of %zu seeds left out, which the reference has not",
                cell->model, cell->task, cell->k, cell->label, apart, before.n);
    for (size_t m = 0; m + 1 < v->nmetrics; m++) {
        struct contrast one = copy_of(&c);
        add_row(a, &one, v->metrics[m]);
    }
    add_row(a, &c, v->nmetrics ? v->metrics[v->nmetrics - 1] : NULL);
}

void against_plan(struct against *a, const struct results *chosen, const struct table_view *v)
{
    int ranked = 0;
    for (size_t i = 0; i < a->all.len; i++)
        ranked += strcmp(a->all.v[i].status, "done") == 0 && rank_of(a, &a->all.v[i]) > 0;
    if (!ranked)
        refuse_word(a);
    for (size_t i = 0; i < chosen->len; i++)
        if (strcmp(chosen->v[i].status, "done") != 0)
            a->unfinished++;
        else
            plan_pool(a, chosen, i, v);
    if (a->unfinished)
        warning("%d cell%s left out that %s not done", a->unfinished, a->unfinished == 1 ? "" : "s",
                a->unfinished == 1 ? "is" : "are");
    if (a->without)
        warning("%d left out for want of a reference: %s, %s, K = %d, %s%s", a->without,
                a->lonely->model, a->lonely->task, a->lonely->k, a->lonely->label,
                a->without == 1 ? "" : " and others");
    if (a->len)
        return;
    if (a->foreign)
        die(1, "%s: --against %s: no cell that stands beside one of it has %s", a->command, a->word,
            v->nmetrics > 1 ? "such metrics" : v->metrics[0]);
    die(1,
        "%s: --against %s: none of the cells stands beside a finished one of it with the same "
        "model, task, training and K",
        a->command, a->word);
}
