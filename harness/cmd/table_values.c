/*
 * table_values.c: `seqtopk table --by` without a reference: value and error of each pool of cells; see
 * table.h. One cell has what the database says of it; several seeds are taken together anew.
 */
#include "cmd/table.h"

#include <math.h>
#include <string.h>

static void fill_entry(struct store *s, const struct table_view *v, const struct result *cell,
                       const struct pool *p, const char *metric, struct entry *e)
{
    const struct result_metric *m = result_metric(cell, metric);
    char *refused = NULL;
    *e = (struct entry){ .cell = cell,
                         .metric = metric,
                         .router = cell->label,
                         .lo = NAN,
                         .hi = NAN,
                         .value = m ? m->value : NAN,
                         .error = m ? m->stderr_ : NAN,
                         .seeds = (int)p->n };
    const struct result_metric *d = result_metric(cell, "documents");
    e->documents = d ? (int64_t)d->value : 0;
    if (!m || p->n == 1)
        return;
    if (p->twice)
        die(1, "table: %s, %s, K = %d, %s: several cells have the same seed; --where can choose",
            cell->model, cell->task, cell->k, cell->label);
    if (!compare_by_document(s, cell, metric))
        die(1,
            "table: --by %s: several seeds can be taken together for score, nll, experts and what "
            "a "
            "measure says of each document, and not for %s; choose one by --where \"seed = %lld\"",
            table_field_names[v->by], metric, (long long)cell->seed);
    struct estimate all = pool_estimate(s, p, metric, &refused);
    if (refused)
        die(1, "table: %s, %s, K = %d, %s: %s", cell->model, cell->task, cell->k, cell->label,
            refused);
    e->value = all.value;
    e->error = all.stderr_;
    e->documents = all.n;
}

void table_by(struct store *s, const struct results *chosen, const struct table_view *v)
{
    size_t per = v->nmetrics ? v->nmetrics : 1, n = 0;
    struct entry *entries = xcalloc(chosen->len * per + 1, sizeof(*entries));
    for (size_t i = 0; i < chosen->len; i++) {
        const struct result *c = &chosen->v[i];
        struct pool p = { 0 };
        if (strcmp(c->status, "done") != 0)
            warning("cell %.8s is left out: it is %s", c->id, c->status);
        if (!table_pool(chosen, i, &p))
            continue;
        for (size_t m = 0; m < per; m++) {
            const char *metric = v->nmetrics                 ? v->metrics[m]
                                 : result_metric(c, "score") ? "score"
                                                             : "nll";
            if (result_metric(c, metric))
                fill_entry(s, v, c, &p, metric, &entries[n++]);
        }
        pool_release(&p);
    }
    if (!n)
        die(1, "%s: there are no finished cells with a value to show", v->path);
    table_wide(v, entries, n, false);
    free(entries);
}
