/*
 * store_read.c: questions to the results database. See store.h.
 *
 * Invariant: nothing here can change the database, whatever the SQL says.
 */
#include "store/store_impl.h"

#include <math.h>
#include <sqlite3.h>
#include <string.h>

struct rows {
    struct store *store;
    sqlite3_stmt *st;
};

#define MAX_ARGUMENTS 8

/* One statement that only reads; NULL on failure, where `what` begins the sentence. */
static struct rows *rows_prepare(struct store *s, const char *sql, const char *what,
                                 struct buf *err)
{
    sqlite3_stmt *st = NULL;
    const char *rest = "";
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, &rest);
    if ((rc & 0xff) == SQLITE_ERROR) {
        fail(err, "%s%s", what, sqlite3_errmsg(s->db));
        return NULL;
    }
    if (rc != SQLITE_OK) {
        store_fail(s, err, rc);
        return NULL;
    }
    if (!st || rest[strspn(rest, " \t\n;")] != '\0' || !sqlite3_stmt_readonly(st)) {
        sqlite3_finalize(st);
        fail(err, "%sonly one statement, and one that reads, is allowed", what);
        return NULL;
    }
    struct rows *r = xcalloc(1, sizeof(*r));
    r->store = s;
    r->st = st;
    return r;
}

struct rows *store_query(struct store *s, struct buf *err, const char *sql, ...)
{
    char *what = xasprintf("%s: ", s->path);
    struct rows *r = rows_prepare(s, sql, what, err);
    free(what);
    if (!r)
        return NULL;
    int n = sqlite3_bind_parameter_count(r->st);
    if (n > MAX_ARGUMENTS)
        BUG("a query with %d arguments", n);
    va_list ap;
    va_start(ap, sql);
    for (int i = 1; i <= n; i++)
        sqlite3_bind_text(r->st, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
    va_end(ap);
    return r;
}

/* Is `where` one whole condition? Asked of it alone, so that the complaint is about its own words. */
static int check_condition(struct store *s, const char *where, struct buf *err)
{
    // The line break ends a comment that `where` may end with.
    char *sql = xasprintf("SELECT 1 FROM v_cells WHERE (\n%s\n)", where);
    struct rows *r = rows_prepare(s, sql, "the condition on cells: ", err);
    int rc = r ? 0 : -1;
    if (r && sqlite3_bind_parameter_count(r->st) > 0)
        rc = fail(err,
                  "the condition on cells: has a ? outside of quotes, and nothing to put there");
    rows_close(r);
    free(sql);
    return rc;
}

struct rows *store_cells(struct store *s, const char *where, struct buf *err)
{
    if (where && check_condition(s, where, err))
        return NULL;
    char *sql = xasprintf("SELECT * FROM v_cells WHERE (\n%s\n) ORDER BY model, task, k DESC, "
                          "router = 'topk' DESC, router DESC, mode, min DESC, max, params, train, "
                          "seed, device, dtype, cell_id",
                          where ? where : "1");
    struct rows *r = rows_prepare(s, sql, "the condition on cells: ", err);
    free(sql);
    return r;
}

int rows_next(struct rows *r, struct buf *err)
{
    int rc = sqlite3_step(r->st);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : store_fail(r->store, err, rc);
}

void rows_close(struct rows *r)
{
    if (!r)
        return;
    sqlite3_finalize(r->st);
    free(r);
}

int rows_columns(const struct rows *r)
{
    return sqlite3_column_count(r->st);
}

const char *rows_name(const struct rows *r, int col)
{
    return sqlite3_column_name(r->st, col);
}

bool rows_null(const struct rows *r, int col)
{
    return sqlite3_column_type(r->st, col) == SQLITE_NULL;
}

int rows_need(const struct rows *r, int col, struct buf *err)
{
    if (!rows_null(r, col))
        return 0;
    return fail(err, "%s: a row without %s; no seqtopk wrote that", r->store->path,
                rows_name(r, col));
}

const char *rows_text(const struct rows *r, int col)
{
    return (const char *)sqlite3_column_text(r->st, col);
}

int64_t rows_int(const struct rows *r, int col)
{
    return sqlite3_column_int64(r->st, col);
}

double rows_double(const struct rows *r, int col)
{
    return rows_null(r, col) ? NAN : sqlite3_column_double(r->st, col);
}
