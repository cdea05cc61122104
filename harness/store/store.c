/*
 * store.c: transactions, the lock of a run, and the sentence for each kind of trouble; the results
 * database is closed here. See store.h.
 *
 * Invariant: what fails in a transaction takes all of it back.
 * Leaves out: how it is opened (store_open.c).
 */
#include "store/store_impl.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_SECONDS 1.5 /* for a run that was killed to be gone */

int store_fail(struct store *s, struct buf *err, int rc)
{
    int os = errno; // the system call that failed was the last one
    if (s->db && sqlite3_system_errno(s->db))
        os = sqlite3_system_errno(s->db);
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return fail(err, "%s: the disk is full; what was being written was taken back", s->path);
    case SQLITE_READONLY:
        return fail(err, "%s: cannot be written: the file or its folder is read-only", s->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return fail(err, "%s: another program has held it for more than %d seconds", s->path,
                    s->busy_seconds);
    case SQLITE_NOTADB:
        return fail(err, "%s: is not a seqtopk database, nor any SQLite database", s->path);
    case SQLITE_CORRUPT:
        return fail(err, "%s: the database is damaged: %s", s->path, sqlite3_errmsg(s->db));
    case SQLITE_CANTOPEN:
        return fail(err, "%s: cannot be opened: %s", s->path, strerror(os));
    case SQLITE_IOERR:
        return fail(err, "%s: cannot be read or written: %s", s->path,
                    os ? strerror(os) : sqlite3_errmsg(s->db));
    case SQLITE_NOMEM:
        return fail(err, "%s: out of memory", s->path);
    default:
        return fail(err, "%s: %s", s->path, sqlite3_errmsg(s->db));
    }
}

int store_exec(struct store *s, const char *sql, struct buf *err)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : store_fail(s, err, rc);
}

struct sqlite3_stmt *store_stmt(struct store *s, enum stmt_id id, struct buf *err)
{
    struct sqlite3_stmt *st = s->stmts[id];
    if (st)
        return st;
    int rc = sqlite3_prepare_v3(s->db, stmt_sql[id], -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
    if (rc != SQLITE_OK) {
        store_fail(s, err, rc);
        return NULL;
    }
    return s->stmts[id] = st;
}

int store_step(struct store *s, struct sqlite3_stmt *st, struct buf *err)
{
    // A statement that writes and stands alone is a transaction.
    bool alone = !s->has_turn && !sqlite3_stmt_readonly(st);
    if (alone)
        store_turn_take(s);
    int rc = sqlite3_step(st);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        store_fail(s, err, rc);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    if (alone)
        store_turn_give(s);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : -1;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < ST_COUNT; i++)
        sqlite3_finalize(s->stmts[i]);
    if (s->db && sqlite3_close(s->db) == SQLITE_BUSY)
        BUG("%s: closed while its rows are being read", s->path);
    store_turn_give(s);
    // Not before SQLite is done: closing a file lets go of all locks that the program has on it.
    if (s->lock >= 0)
        close(s->lock);
    free(s->cell_id);
    free(s->path);
    free(s);
}

const char *store_path(const struct store *s)
{
    return s->path;
}

int store_lock(struct store *s, struct buf *err)
{
    // flock() and not SQLite's own locks: those are held for a transaction, this for a run.
    double start = now_seconds();
    int rc;
    while ((rc = flock(s->lock, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK &&
           now_seconds() - start < LOCK_SECONDS)
        usleep(20000);
    if (rc == 0)
        return 0;
    return errno == EWOULDBLOCK ? fail(err, "%s: another run is at work on it", s->path)
                                : fail(err, "%s: cannot be locked: %s", s->path, strerror(errno));
}

int store_await(const char *path, double seconds, struct buf *err)
{
    double start = now_seconds();
    while (store_is_locked(path)) {
        if (now_seconds() - start >= seconds)
            return fail(err, "%s: the run before this one has not ended within %g s", path,
                        seconds);
        usleep(50000);
    }
    return 0;
}

/* Is the file still the one that was opened? */
static int check_place(const struct store *s, struct buf *err)
{
    struct stat st;
    if (stat(s->path, &st) == 0 && st.st_dev == s->device && st.st_ino == s->inode)
        return 0;
    return fail(err, "%s: was removed or replaced while it was being written", s->path);
}

int store_begin(struct store *s, struct buf *err)
{
    if (s->in_transaction)
        BUG("%s: a transaction inside a transaction", s->path);
    store_turn_take(s);
    if (store_exec(s, "BEGIN IMMEDIATE", err)) {
        store_turn_give(s);
        return -1;
    }
    s->in_transaction = true;
    return 0;
}

int store_commit(struct store *s, struct buf *err)
{
    if (!s->in_transaction)
        BUG("%s: commit outside of a transaction", s->path);
    // After a full disk SQLite has rolled back by itself.
    int rc = sqlite3_get_autocommit(s->db)
                 ? fail(err, "%s: was taken back to where it was after an earlier failure", s->path)
             : check_place(s, err) || store_run_flush(s, err) ? -1
                                                              : store_exec(s, "COMMIT", err);
    if (rc)
        store_rollback(s);
    store_run_forget(s);
    s->in_transaction = false;
    store_turn_give(s);
    return rc;
}

void store_rollback(struct store *s)
{
    if (s->in_transaction && !sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    if (s->in_transaction)
        store_turn_give(s);
    s->in_transaction = false;
    store_run_forget(s);
    // A cell that the transaction put in is gone.
    free(s->cell_id);
    s->cell_id = NULL;
}

bool store_in_transaction(const struct store *s)
{
    return s->in_transaction;
}
