/*
 * store_compared.c: what is stored of a sample and a cell beyond counts: overlap with other routers,
 * entropies by expert, what is told by position and by kind. See store.h.
 */
#include "store/store_impl.h"

#include <sqlite3.h>

static int overlap_rows(struct store *s, const struct store_sample *p, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_OVERLAP_ADD, err);
    const int64_t *v = p->overlap;
    int rc = st ? 0 : -1;
    for (int i = 0; i < p->nothers; i++)
        for (int l = 0; rc == 0 && l < s->cell_layers; l++, v += 3) {
            sqlite3_bind_int64(st, 1, s->cell_n);
            sqlite3_bind_int(st, 2, p->doc);
            store_bind_text(st, 3, p->others[i]);
            sqlite3_bind_int(st, 4, l);
            for (int j = 0; j < 3; j++)
                sqlite3_bind_int64(st, 5 + j, v[j]);
            rc = store_step(s, st, err);
        }
    return rc;
}

static int entropy_rows(struct store *s, const struct store_sample *p, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_ENTROPY_ADD, err);
    const double *v = p->load_entropy;
    int rc = st ? 0 : -1;
    for (int l = 0; l < s->cell_layers; l++)
        for (int e = 0; rc == 0 && e < s->cell_experts; e++) {
            sqlite3_bind_int64(st, 1, s->cell_n);
            sqlite3_bind_int(st, 2, l);
            sqlite3_bind_int(st, 3, e);
            sqlite3_bind_double(st, 4, *v++);
            rc = store_step(s, st, err);
        }
    return rc;
}

int store_sample_compared(struct store *s, const struct store_sample *p, struct buf *err)
{
    if (p->overlap && overlap_rows(s, p, err))
        return -1;
    return p->load_entropy ? entropy_rows(s, p, err) : 0;
}

int store_position_set(struct store *s, const char *cell_id, const struct store_position *p,
                       struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_POSITION_SET, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    sqlite3_bind_int(st, 2, p->bin);
    sqlite3_bind_int64(st, 3, p->lo);
    sqlite3_bind_int64(st, 4, p->hi);
    sqlite3_bind_int64(st, 5, p->tokens);
    sqlite3_bind_int64(st, 6, p->scored);
    store_bind_double(st, 7, p->nll_mean);
    store_bind_double(st, 8, p->nll_se);
    store_bind_double(st, 9, p->experts_mean);
    store_bind_double(st, 10, p->experts_se);
    store_bind_double(st, 11, p->used_share);
    store_bind_double(st, 12, p->differ);
    return store_step(s, st, err);
}

int store_kind_set(struct store *s, const char *cell_id, const struct store_kind *k,
                   struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_KIND_SET, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    store_bind_text(st, 2, k->kind);
    sqlite3_bind_int64(st, 3, k->tokens);
    store_bind_double(st, 4, k->experts_mean);
    store_bind_double(st, 5, k->experts_se);
    store_bind_double(st, 6, k->entropy_mean);
    store_bind_double(st, 7, k->entropy_se);
    return store_step(s, st, err);
}
