/*
 * compare_rows.c: what is known of each document of a side's cells, read from the database; see compare.h.
 */
#include "cmd/compare.h"

#include <jansson.h>
#include <string.h>

static int by_document(const void *a, const void *b)
{
    const struct compared *p = a, *q = b;
    if (p->doc != q->doc)
        return p->doc < q->doc ? -1 : 1;
    return p->seed < q->seed ? -1 : p->seed > q->seed;
}

/* What the measure says of a document, in what scoring left of it (verdicts_json). One of which a cell
 * has the median has no mean to compare. */
static struct observed observe(const char *extracted, const char *measure)
{
    json_t *all = extracted ? json_loads(extracted, 0, NULL) : NULL;
    const json_t *verdict = json_object_get(all, measure);
    const json_t *score = json_object_get(verdict, "score");
    struct observed o = { 0 };
    if (json_is_number(score) && !json_is_true(json_object_get(verdict, "median")))
        o = (struct observed){ true, json_number_value(score), 1 };
    json_decref(all);
    return o;
}

bool compare_by_document(struct store *s, const struct result *cell, const char *metric)
{
    struct buf err = BUF_INIT;
    bool there = false;
    int rc = 1;
    if (quantity_find(metric) != QUANTITY_MEASURE)
        return true;
    struct rows *r = store_query(s, &err,
                                 "SELECT extracted FROM v_samples WHERE cell_id = ?1 "
                                 "AND error IS NULL AND instr(extracted, ?2) > 0",
                                 cell->id, metric);
    while (r && !there && (rc = rows_next(r, &err)) == 1)
        there = observe(rows_text(r, 0), metric).there;
    if (!r || rc < 0)
        die(1, "%s", err.s);
    rows_close(r);
    return there;
}

static int load_samples(struct store *s, const struct result *cell, const char *measure,
                        struct side *side, struct buf *err)
{
    struct rows *r = store_query(s, err,
                                 "SELECT doc, score, nll, nll_tokens, extracted FROM v_samples "
                                 "WHERE cell_id = ? AND error IS NULL ORDER BY doc",
                                 cell->id);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1) {
        double tokens = (double)rows_int(r, 3);
        ARRAY_GROW(side->rows, side->rows_cap, side->nrows + 1);
        side->rows[side->nrows++] = (struct compared){
            .doc = rows_int(r, 0),
            .seed = cell->seed,
            .of = { [QUANTITY_SCORE] = { !rows_null(r, 1), rows_double(r, 1), 1 },
                    [QUANTITY_NLL] = { !rows_null(r, 2) && tokens > 0, rows_double(r, 2), tokens },
                    [QUANTITY_MEASURE] =
                        measure ? observe(rows_text(r, 4), measure) : (struct observed){ 0 } },
        };
    }
    rows_close(r);
    return rc;
}

/* Into the rows from `first` on, which are the cell's, by document. */
static int load_experts(struct store *s, const struct result *cell, struct side *side, size_t first,
                        struct buf *err)
{
    struct rows *r = store_query(s, err,
                                 "SELECT doc, sum(experts), count(*) FROM v_tokens "
                                 "WHERE cell_id = ? AND experts IS NOT NULL "
                                 "GROUP BY doc ORDER BY doc",
                                 cell->id);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1) {
        while (first < side->nrows && side->rows[first].doc < rows_int(r, 0))
            first++;
        if (first < side->nrows && side->rows[first].doc == rows_int(r, 0))
            side->rows[first].of[QUANTITY_EXPERTS] =
                (struct observed){ true, rows_double(r, 1), (double)rows_int(r, 2) };
    }
    rows_close(r);
    return rc;
}

void compare_load(struct store *s, const char *metric, struct side *side)
{
    struct buf err = BUF_INIT;
    const char *measure = metric && quantity_find(metric) == QUANTITY_MEASURE ? metric : NULL;
    bool experts = metric && strcmp(metric, quantity_names[QUANTITY_EXPERTS]) == 0;
    for (size_t i = 0; i < side->cells.len; i++) {
        size_t first = side->nrows;
        if (load_samples(s, &side->cells.v[i], measure, side, &err) ||
            (experts && load_experts(s, &side->cells.v[i], side, first, &err)))
            die(1, "%s", err.s);
    }
    if (side->nrows)
        qsort(side->rows, side->nrows, sizeof(*side->rows), by_document);
    buf_release(&err);
}
