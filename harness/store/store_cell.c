/*
 * store_cell.c: cells begin, are found again, and end. See store.h.
 */
#include "store/store_impl.h"

#include <sqlite3.h>
#include <string.h>
#include <time.h>

static enum cell_status status_of(const char *word)
{
    return strcmp(word, "done") == 0     ? CELL_DONE
           : strcmp(word, "failed") == 0 ? CELL_FAILED
                                         : CELL_UNFINISHED;
}

int store_cell_look(struct store *s, const char *cell_id, bool *found, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_CELL_FIND, err);
    if (!st)
        return -1;
    store_bind_text(st, 1, cell_id);
    int rc = sqlite3_step(st);
    *found = rc == SQLITE_ROW;
    free(s->cell_id);
    s->cell_id = NULL;
    if (rc == SQLITE_ROW) {
        s->cell_id = xstrdup(cell_id);
        s->cell_n = sqlite3_column_int64(st, 0);
        s->cell_layers = sqlite3_column_int(st, 1);
        s->cell_experts = sqlite3_column_int(st, 2);
        s->cell_status = status_of((const char *)sqlite3_column_text(st, 3));
    } else if (rc != SQLITE_DONE) {
        store_fail(s, err, rc);
    }
    sqlite3_reset(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

int store_cell_use(struct store *s, const char *cell_id, struct buf *err)
{
    bool found;
    if (s->cell_id && strcmp(s->cell_id, cell_id) == 0)
        return 0;
    if (store_cell_look(s, cell_id, &found, err))
        return -1;
    return found ? 0 : fail(err, "%s: there is no cell %s", s->path, cell_id);
}

static void bind_bound(struct sqlite3_stmt *st, int i, int v)
{
    if (v < 0)
        sqlite3_bind_null(st, i);
    else
        sqlite3_bind_int(st, i, v);
}

static int cell_add(struct store *s, const struct store_cell *c, struct buf *err)
{
    const char *tokenizer = c->tokenizer ? c->tokenizer : c->model;
    struct sqlite3_stmt *st = store_stmt(s, ST_TOKENIZER_ADD, err);
    if (!st)
        return -1;
    store_bind_text(st, 1, tokenizer);
    if (store_step(s, st, err))
        return -1;
    st = store_stmt(s, ST_CELL_ADD, err);
    if (!st)
        return -1;
    store_bind_text(st, 1, c->id);
    store_bind_text(st, 2, c->sweep);
    store_bind_text(st, 3, c->model);
    store_bind_text(st, 4, c->router);
    store_bind_text(st, 5, c->mode);
    sqlite3_bind_int(st, 6, c->k);
    bind_bound(st, 7, c->min);
    bind_bound(st, 8, c->max);
    store_bind_text(st, 9, c->params ? c->params : "{}");
    store_bind_text(st, 10, c->train ? c->train : "none");
    store_bind_text(st, 11, c->task);
    sqlite3_bind_int64(st, 12, c->seed);
    store_bind_text(st, 13, c->device);
    store_bind_text(st, 14, c->dtype);
    sqlite3_bind_int(st, 15, c->layers);
    sqlite3_bind_int(st, 16, c->experts);
    store_bind_text(st, 17, tokenizer);
    sqlite3_bind_int64(st, 18, (sqlite3_int64)time(NULL));
    return store_step(s, st, err);
}

/* Inside a transaction: adds, or takes up again. */
static int cell_enter(struct store *s, const struct store_cell *c, enum cell_status *was,
                      struct buf *err)
{
    bool found;
    if (store_cell_look(s, c->id, &found, err))
        return -1;
    *was = found ? s->cell_status : CELL_NEW;
    if (!found)
        return cell_add(s, c, err);
    if (s->cell_layers != c->layers || s->cell_experts != c->experts)
        return fail(err, "%s: cell %s is there with %d layers of %d experts, not %d of %d", s->path,
                    c->id, s->cell_layers, s->cell_experts, c->layers, c->experts);
    if (*was != CELL_FAILED)
        return 0;
    struct sqlite3_stmt *st = store_stmt(s, ST_CELL_RUN, err);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    return store_step(s, st, err);
}

int store_cell_begin(struct store *s, const struct store_cell *c, enum cell_status *was,
                     struct buf *err)
{
    if (c->layers < 0 || c->experts < 0 || !c->layers != !c->experts)
        BUG("cell %s has %d layers of %d experts", c->id, c->layers, c->experts);
    return store_write_begin(s, err) ? -1 : store_write_end(s, cell_enter(s, c, was, err), err);
}

int store_cell_status(struct store *s, const char *cell_id, enum cell_status *out, struct buf *err)
{
    bool found;
    if (store_cell_look(s, cell_id, &found, err))
        return -1;
    *out = found ? s->cell_status : CELL_NEW;
    return 0;
}

int store_cell_samples(struct store *s, const char *cell_id, bool *present, size_t n,
                       struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_SAMPLE_DOCS, err);
    if (!st || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)n);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        sqlite3_int64 doc = sqlite3_column_int64(st, 0);
        if (doc >= 0)
            present[doc] = true;
    }
    if (rc != SQLITE_DONE)
        store_fail(s, err, rc);
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? 0 : -1;
}

int store_cell_note(struct store *s, const char *cell_id, const char *note, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_CELL_NOTE, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    store_bind_text(st, 2, note);
    return store_step(s, st, err);
}

int store_cell_finish(struct store *s, const char *cell_id, enum cell_status status,
                      const char *error, double seconds, struct buf *err)
{
    static const char *const words[] = {
        [CELL_UNFINISHED] = "unfinished", [CELL_DONE] = "done", [CELL_FAILED] = "failed"
    };
    if (status == CELL_NEW || (status == CELL_FAILED) != (error != NULL))
        BUG("cell %s cannot finish like this", cell_id);
    struct sqlite3_stmt *st = store_stmt(s, ST_CELL_FINISH, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    store_bind_text(st, 2, words[status]);
    store_bind_text(st, 3, error);
    store_bind_double(st, 4, seconds);
    return store_step(s, st, err);
}
