/*
 * store.c: the results database is opened, checked and closed here; transactions and the sentence
 * for each kind of trouble. See store.h.
 *
 * Invariant: a file that is not ours is never written to: it is checked before anything is set.
 */
#include "store/store_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
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
                    STORE_BUSY_SECONDS);
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

/* The one number that `sql` gives; an SQLite code. */
static int read_number(struct store *s, const char *sql, int64_t *out)
{
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(st);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* What a file says of itself. */
struct identity {
    int64_t application, version, tables;
};

static int read_identity(struct store *s, struct identity *id)
{
    int rc = read_number(s, "SELECT count(*) FROM sqlite_master", &id->tables);
    if (rc == SQLITE_OK)
        rc = read_number(s, "PRAGMA application_id", &id->application);
    return rc == SQLITE_OK ? read_number(s, "PRAGMA user_version", &id->version) : rc;
}

static bool is_empty(const struct identity *id)
{
    return id->application == 0 && id->version == 0 && id->tables == 0;
}

static int check_identity(struct store *s, const struct identity *id, struct buf *err)
{
    if (is_empty(id))
        return fail(err, "%s: is empty, not a seqtopk database", s->path);
    if (id->application != STORE_APPLICATION_ID)
        return fail(err, "%s: is not a seqtopk database but one of another program", s->path);
    if (id->version > STORE_VERSION)
        return fail(err,
                    "%s: was written by a newer seqtopk: its schema is version %lld, this program "
                    "knows version %d",
                    s->path, (long long)id->version, STORE_VERSION);
    if (id->version < 1)
        return fail(err, "%s: its schema is version %lld, this program needs version 1 to %d",
                    s->path, (long long)id->version, STORE_VERSION);
    return 0;
}

/* Runs what brings the schema from `version` to ours, and says so in the file. */
static int add_schema(struct store *s, int version, struct buf *err)
{
    char ids[96];
    for (int v = version; v < STORE_VERSION; v++)
        if (store_exec(s, schema_sql[v], err))
            return -1;
    snprintf(ids, sizeof(ids), "PRAGMA application_id = %d; PRAGMA user_version = %d",
             STORE_APPLICATION_ID, STORE_VERSION);
    return store_exec(s, ids, err);
}

/*
 * Fills an empty database, or brings an older one to our version. Somebody else may be doing the
 * same: who comes second finds it done.
 */
static int make_schema(struct store *s, struct buf *err)
{
    struct identity id = { 0 };
    if (store_exec(s, "PRAGMA journal_mode = WAL", err) || store_exec(s, "BEGIN IMMEDIATE", err))
        return -1;
    int rc = read_identity(s, &id);
    int bad = rc == SQLITE_OK ? 0 : store_fail(s, err, rc);
    if (!bad && !is_empty(&id))
        bad = check_identity(s, &id, err);
    if (!bad && id.version < STORE_VERSION)
        bad = add_schema(s, (int)id.version, err);
    if (!bad)
        bad = store_exec(s, "COMMIT", err);
    if (bad)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return bad;
}

/* Opens the file and reads what it says of itself; an SQLite code. */
static int open_as(struct store *s, const char *name, int flags, struct identity *id)
{
    sqlite3_close(s->db);
    s->db = NULL;
    int rc = sqlite3_open_v2(name, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, STORE_BUSY_SECONDS * 1000);
    return read_identity(s, id);
}

/* A name for SQLite that says: this file cannot change. */
static char *immutable_name(const char *path)
{
    struct buf name = BUF_INIT;
    buf_adds(&name, "file:");
    for (const char *p = path; *p; p++) {
        if (*p == '%' || *p == '?' || *p == '#')
            buf_addf(&name, "%%%02X", (unsigned)*p);
        else
            buf_addc(&name, *p);
    }
    buf_adds(&name, "?immutable=1");
    return buf_detach(&name);
}

static bool wal_is_empty(const char *path)
{
    struct stat st;
    char *wal = xasprintf("%s-wal", path);
    bool empty = stat(wal, &st) != 0 || st.st_size == 0;
    free(wal);
    return empty;
}

static bool is_denied(int rc)
{
    rc &= 0xff;
    return rc == SQLITE_CANTOPEN || rc == SQLITE_READONLY;
}

/* To a reader an older database looks like one of ours in which nothing was trained. */
static const char no_trainings[] =
    "PRAGMA temp_store = MEMORY;"
    "CREATE TEMP VIEW v_trainings AS SELECT NULL AS training_id, NULL AS sweep, NULL AS model,"
    " NULL AS label, NULL AS settings, NULL AS started WHERE 0;"
    "CREATE TEMP VIEW v_training_steps AS SELECT NULL AS training_id, NULL AS step,"
    " NULL AS tokens, NULL AS loss, NULL AS lr, NULL AS grad_norm, NULL AS balance_loss,"
    " NULL AS z_loss, NULL AS experts, NULL AS seconds WHERE 0;"
    "CREATE TEMP VIEW v_training_heldout AS SELECT NULL AS training_id, NULL AS step,"
    " NULL AS source, NULL AS nll, NULL AS tokens WHERE 0";

/* And one in whose cells nothing was noted. */
static const char no_notes[] =
    "PRAGMA temp_store = MEMORY;"
    "CREATE TEMP VIEW v_cells AS SELECT cell_id, sweep, model, router, mode, k, min, max, params,"
    " train, task, seed, device, dtype, status, error, started, seconds, NULL AS note"
    " FROM main.v_cells;"
    "CREATE TEMP VIEW process AS SELECT NULL AS n, NULL AS pid, NULL AS device, NULL AS doing,"
    " NULL AS since WHERE 0";

/*
 * A reader in WAL mode shares two small files with the writers beside the database. Opened for
 * writing (but bound by query_only) it takes them away again when it is the last; opened read-only
 * it would leave them; where they cannot be made and no writer left any, the file is all there is.
 */
static int open_to_read(struct store *s, struct identity *id, struct buf *err)
{
    int rc = open_as(s, s->path, SQLITE_OPEN_READWRITE, id);
    if (is_denied(rc))
        rc = open_as(s, s->path, SQLITE_OPEN_READONLY, id);
    if (is_denied(rc) && wal_is_empty(s->path)) {
        char *name = immutable_name(s->path);
        rc = open_as(s, name, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, id);
        free(name);
    }
    if (rc != SQLITE_OK)
        return store_fail(s, err, rc);
    if (check_identity(s, id, err))
        return -1;
    if (id->version < 2 && store_exec(s, no_trainings, err))
        return -1;
    if (id->version < 3 && store_exec(s, no_notes, err))
        return -1;
    return store_exec(s, "PRAGMA query_only = ON", err);
}

static int open_to_write(struct store *s, struct identity *id, struct buf *err)
{
    int rc = open_as(s, s->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, id);
    if (rc != SQLITE_OK)
        return store_fail(s, err, rc);
    if (!is_empty(id) && check_identity(s, id, err))
        return -1;
    if (sqlite3_db_readonly(s->db, "main"))
        return store_fail(s, err, SQLITE_READONLY);
    if (id->version < STORE_VERSION && make_schema(s, err))
        return -1;
    // NORMAL: a crash of the machine may lose the last samples, never the database.
    return store_exec(s,
                      "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                      "PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384",
                      err);
}

/* An empty file for SQLite to fill: of a file that it cannot make, it does not say why. */
static int make_file(const char *path, struct buf *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(err, "%s: cannot be made: %s", path, strerror(errno));
    close(fd);
    return 0;
}

static int check_file(const char *path, enum store_mode mode, struct buf *err)
{
    struct stat st;
    if (!*path)
        return fail(err, "the database's name is empty");
    if (stat(path, &st) != 0 && mode == STORE_WRITE && errno == ENOENT)
        return make_file(path, err);
    if (stat(path, &st) != 0)
        return fail(err, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return fail(err, "%s: is a folder, not a database", path);
    if (!S_ISREG(st.st_mode))
        return fail(err, "%s: is not a regular file", path);
    return 0;
}

/*
 * Opens the file for flock(), and where it is empty waits until it is this program's turn to fill
 * it: SQLite does not wait for a change to WAL mode. The descriptor stays open as long as the store:
 * closing it would let go of all locks that SQLite has on the file.
 */
static int take_turn(struct store *s, struct buf *err)
{
    struct stat st;
    s->lock = open(s->path, O_RDONLY | O_CLOEXEC);
    if (s->lock < 0 || fstat(s->lock, &st) != 0)
        return fail(err, "%s: %s", s->path, strerror(errno));
    double start = now_seconds();
    while (st.st_size == 0 && flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return fail(err, "%s: cannot be locked: %s", s->path, strerror(errno));
        if (now_seconds() - start > STORE_BUSY_SECONDS)
            return fail(err, "%s: another program has held it for more than %d seconds", s->path,
                        STORE_BUSY_SECONDS);
        usleep(10000);
    }
    return 0;
}

struct store *store_open(const char *path, enum store_mode mode, struct buf *err)
{
    struct identity id = { 0 };
    if (check_file(path, mode, err))
        return NULL;
    struct store *s = xcalloc(1, sizeof(*s));
    s->path = xstrdup(path);
    s->mode = mode;
    s->lock = -1;
    struct stat st;
    if (stat(path, &st) == 0) {
        s->device = st.st_dev;
        s->inode = st.st_ino;
    }
    if (mode == STORE_WRITE ? take_turn(s, err) || open_to_write(s, &id, err)
                            : open_to_read(s, &id, err)) {
        store_close(s);
        return NULL;
    }
    if (mode == STORE_WRITE)
        flock(s->lock, LOCK_UN);
    return s;
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
             : check_place(s, err) ? -1
                                   : store_exec(s, "COMMIT", err);
    if (rc)
        store_rollback(s);
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
    // A cell that the transaction put in is gone.
    free(s->cell_id);
    s->cell_id = NULL;
}

bool store_in_transaction(const struct store *s)
{
    return s->in_transaction;
}
