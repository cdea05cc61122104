/*
 * databases.h: what the targets that change databases share: odd values are put into tables whose
 * checks were taken away, four bytes a change.
 */
#ifndef FUZZ_DATABASES_H
#define FUZZ_DATABASES_H

#include "fuzz.h"

#include <sqlite3.h>

int __wrap_usleep(unsigned us);

/* For a file that looks as if somebody were writing it, the program waits; here nobody is. */
int __wrap_usleep(unsigned us)
{
    (void)us;
    return 0;
}

static void must(int rc, const struct buf *err)
{
    if (rc)
        BUG("%s", err->s);
}

static void exec(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        BUG("%s: %s", sql, sqlite3_errmsg(db));
}

/* Takes the checks out of the text of all tables but the one called `kept`. */
static void loosen(sqlite3 *db)
{
    exec(db, "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = "
             "replace(replace(sql, 'NOT NULL', ''), 'CHECK (status IN', 'CHECK (1 OR (status) IN')"
             " WHERE type = 'table' AND name <> 'kept'");
}

/* What a change may choose from: tables, and values as SQL has them. */
struct choices {
    const char *const *tables;
    int ntables;
    const char *const *values;
    int nvalues;
};

/* One value of a table's row: table, column, row, value. A change that SQLite refuses is none. */
static void change(sqlite3 *db, const struct choices *of, const uint8_t c[4])
{
    const char *table = of->tables[c[0] % of->ntables];
    sqlite3_stmt *st;
    char *sql = xasprintf("SELECT * FROM %s", table);
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
        BUG("%s: %s", sql, sqlite3_errmsg(db));
    char *column = xstrdup(sqlite3_column_name(st, c[1] % sqlite3_column_count(st)));
    char *first = xstrdup(sqlite3_column_name(st, 0));
    sqlite3_finalize(st);
    free(sql);
    sql = xasprintf("UPDATE OR IGNORE \"%s\" SET \"%s\" = %s WHERE \"%s\" = (SELECT \"%s\" FROM "
                    "\"%s\" LIMIT 1 OFFSET %d)",
                    table, column, of->values[c[3] % of->nvalues], first, first, table, c[2] % 4);
    sqlite3_exec(db, sql, NULL, NULL, NULL);
    free(sql);
    free(column);
    free(first);
}

/* The file `name` with the bytes of `from`, of which some are set, or which is cut. */
static void write_bytes(const char *name, const struct buf *from, const uint8_t *data, size_t len,
                        bool cut)
{
    static struct buf copy = BUF_INIT;
    buf_reset(&copy);
    buf_add(&copy, from->s, from->len);
    for (size_t step = cut ? 3 : 4; len >= step; data += step, len -= step) {
        size_t place = ((size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2]) % from->len;
        if (!cut)
            copy.s[place] = (char)data[3];
        else if (place < copy.len)
            copy.len = place;
    }
    fuzz_file(name, copy.s, copy.len);
}

#endif
