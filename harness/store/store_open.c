/*
 * store_open.c: the results database is opened: what the file says of itself is looked at, an older
 * schema is brought up to ours. See store.h.
 *
 * Invariant: a file that is not ours is never written to: it is checked before anything is set.
 * Leaves out: how a file comes about, and whether it is whole (store_file.c).
 */
#include "store/store_impl.h"
#include "store/store_place.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

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

int store_schema_add(struct store *s, int version, struct buf *err)
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
 * Gives it the journal that its place wants. SQLite does not wait where that is another kind than it
 * has, which it changes while nobody else has the database open.
 */
static int set_journal(struct store *s, struct buf *err)
{
    const char *sql = store_journal(s->path);
    double start = now_seconds();
    int rc;
    while ((rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL)) != SQLITE_OK &&
           (rc & 0xff) == SQLITE_BUSY && now_seconds() - start < s->busy_seconds)
        usleep(20000);
    return rc == SQLITE_OK ? 0 : store_fail(s, err, rc);
}

/*
 * Fills an empty database, or brings an older one to our version. Somebody else may be doing the
 * same: who comes second finds it done.
 */
static int make_schema(struct store *s, struct buf *err)
{
    struct identity id = { 0 };
    if (set_journal(s, err) || store_exec(s, "BEGIN IMMEDIATE", err))
        return -1;
    int rc = read_identity(s, &id);
    int bad = rc == SQLITE_OK ? 0 : store_fail(s, err, rc);
    if (!bad && !is_empty(&id))
        bad = check_identity(s, &id, err);
    if (!bad && id.version < STORE_VERSION)
        bad = store_schema_add(s, (int)id.version, err);
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
    sqlite3_busy_timeout(s->db, s->busy_seconds * 1000);
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

/* And one of which nobody knows where its numbers come from. */
static const char no_sources[] =
    "PRAGMA temp_store = MEMORY;"
    "CREATE TEMP VIEW v_recipes AS SELECT NULL AS recipe_hash, NULL AS path, NULL AS text WHERE 0;"
    "CREATE TEMP VIEW v_runs AS SELECT NULL AS run_id, NULL AS sweep, NULL AS recipe_hash,"
    " NULL AS command, NULL AS version, NULL AS revision, NULL AS libtorch, NULL AS blas,"
    " NULL AS device, NULL AS driver, NULL AS host, NULL AS shard, NULL AS started, NULL AS ended,"
    " NULL AS outcome, NULL AS seconds, NULL AS samples, NULL AS tokens WHERE 0;"
    "CREATE TEMP VIEW v_cell_runs AS SELECT NULL AS cell_id, NULL AS run_id, NULL AS samples"
    " WHERE 0;"
    "CREATE TEMP VIEW v_sources AS SELECT NULL AS cell_id, NULL AS kind, NULL AS name, NULL AS hash"
    " WHERE 0;"
    "CREATE TEMP VIEW v_token_experts AS SELECT NULL AS cell_id, NULL AS token_id, NULL AS token,"
    " NULL AS tokens, NULL AS experts, NULL AS entropy WHERE 0;"
    "CREATE TEMP VIEW plan AS SELECT NULL AS sweep, NULL AS id, NULL AS recipe, NULL AS model,"
    " NULL AS label, NULL AS k, NULL AS train, NULL AS task, NULL AS samples, NULL AS tokens"
    " WHERE 0;"
    "CREATE TEMP VIEW run AS SELECT NULL AS n, NULL AS id, NULL AS recipe, NULL AS sweep,"
    " NULL AS command, NULL AS started, NULL AS ended, NULL AS outcome, NULL AS seconds,"
    " NULL AS trained, NULL AS samples, NULL AS tokens WHERE 0;"
    "CREATE TEMP VIEW recipe AS SELECT NULL AS n, NULL AS hash, NULL AS path, NULL AS text WHERE 0;"
    "CREATE TEMP VIEW cell_run AS SELECT NULL AS cell, NULL AS run, NULL AS samples WHERE 0";

/* And one in which nothing was compared, nor told by position and kind. */
static const char no_positions[] =
    "PRAGMA temp_store = MEMORY;"
    "CREATE TEMP VIEW v_overlap AS SELECT NULL AS cell_id, NULL AS doc, NULL AS other,"
    " NULL AS layer, NULL AS both, NULL AS ours, NULL AS theirs WHERE 0;"
    "CREATE TEMP VIEW v_position_bins AS SELECT NULL AS cell_id, NULL AS bin, NULL AS pos_lo,"
    " NULL AS pos_hi, NULL AS tokens, NULL AS scored, NULL AS nll_mean, NULL AS nll_se,"
    " NULL AS experts_mean, NULL AS experts_se, NULL AS used_share, NULL AS differ WHERE 0;"
    "CREATE TEMP VIEW v_token_kinds AS SELECT NULL AS cell_id, NULL AS kind, NULL AS tokens,"
    " NULL AS experts_mean, NULL AS experts_se, NULL AS entropy_mean, NULL AS entropy_se WHERE 0;"
    "CREATE TEMP VIEW v_expert_load AS SELECT cell_id, layer, expert, tokens, weight,"
    " NULL AS entropy FROM main.v_expert_load";

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
    if (is_denied(rc) && store_file_alone(s->path)) {
        char *name = immutable_name(s->path);
        rc = open_as(s, name, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, id);
        free(name);
    }
    if (store_file_whole(s, err))
        return -1;
    if (rc != SQLITE_OK)
        return store_fail(s, err, rc);
    if (check_identity(s, id, err))
        return -1;
    if (id->version < 2 && store_exec(s, no_trainings, err))
        return -1;
    if (id->version < 3 && store_exec(s, no_notes, err))
        return -1;
    if (id->version < 4 && store_exec(s, no_sources, err))
        return -1;
    if (id->version < 5 && store_exec(s, no_positions, err))
        return -1;
    return store_exec(s, "PRAGMA query_only = ON", err);
}

static int open_to_write(struct store *s, struct identity *id, struct buf *err)
{
    int rc = open_as(s, s->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, id);
    if (store_file_whole(s, err))
        return -1;
    if (rc != SQLITE_OK)
        return store_fail(s, err, rc);
    if (!is_empty(id) && check_identity(s, id, err))
        return -1;
    if (sqlite3_db_readonly(s->db, "main"))
        return store_fail(s, err, SQLITE_READONLY);
    if (id->version < STORE_VERSION && make_schema(s, err))
        return -1;
    // A copy of the file alone is to be a database from here on.
    if (is_empty(id) && store_exec(s, "PRAGMA wal_checkpoint(TRUNCATE)", err))
        return -1;
    if (set_journal(s, err))
        return -1;
    return store_exec(s, "PRAGMA foreign_keys = ON; PRAGMA cache_size = -16384", err);
}

/*
 * Opens the file for flock(), and where it is empty waits until it is this program's turn to fill
 * it: SQLite does not wait for a change to WAL mode. The descriptor stays open as long as the store:
 * closing it would let go of all locks that SQLite has on the file.
 */
static int take_turn(struct store *s, struct buf *err)
{
    struct stat st;
    s->lock = store_lock_open(s->path, true);
    if (s->lock < 0 || stat(s->path, &st) != 0)
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
    if (store_file_check(path, mode, err))
        return NULL;
    struct store *s = xcalloc(1, sizeof(*s));
    s->path = xstrdup(path);
    s->mode = mode;
    s->lock = -1;
    s->busy_seconds = mode == STORE_WRITE && store_place_is_shared(path) ? STORE_READERS_SECONDS
                                                                         : STORE_BUSY_SECONDS;
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
