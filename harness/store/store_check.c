/*
 * store_check.c: a database that may come from anybody is opened, and its schema is compared with
 * ours. See store_check.h.
 *
 * Invariant: nothing but its pages is looked at before its schema is known to be ours.
 * Leaves out: what is in the tables (store_check_rows.c).
 */
#include "store/store_merge_impl.h"

#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

/* ---- how long SQLite may take ---- */

enum { STEPS_A_CALL = 1000, STEPS_A_BYTE = 100, STEPS_ALWAYS = 50000000 };

static int tick(void *arg)
{
    struct store_input *in = arg;
    return --in->left < 0;
}

static int64_t bytes_of(const char *path, const char *suffix)
{
    struct stat st;
    char *name = xasprintf("%s%s", path, suffix);
    int64_t bytes = stat(name, &st) == 0 ? st.st_size : 0;
    free(name);
    return bytes;
}

static int input_fail(struct store_input *in, struct buf *err, int rc)
{
    if ((rc & 0xff) == SQLITE_INTERRUPT)
        return fail(err,
                    "%s: takes longer to be read than a database of its size can: it is damaged",
                    in->store->path);
    return store_fail(in->store, err, rc);
}

struct sqlite3_stmt *input_prepare(struct store_input *in, const char *sql, struct buf *err)
{
    struct sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(in->store->db, sql, -1, &st, NULL);
    if (rc != SQLITE_OK)
        input_fail(in, err, rc);
    return st;
}

int input_next(struct store_input *in, struct sqlite3_stmt *st, struct buf *err)
{
    int rc = sqlite3_step(st);
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : input_fail(in, err, rc);
}

/* ---- the schema ---- */

/* Skips a comment; NULL: there is none here. */
static const char *behind_comment(const char *p)
{
    if (p[0] == '-' && p[1] == '-')
        return p + strcspn(p, "\n");
    if (p[0] != '/' || p[1] != '*')
        return NULL;
    const char *end = strstr(p + 2, "*/");
    return end ? end + 2 : p + strlen(p);
}

/* Does a blank beside this character mean nothing? */
static bool is_loose(char c)
{
    return c == '(' || c == ')' || c == ',' || c == '\0';
}

/* Appends SQL without comments, and with blanks only where they are needed. */
static void add_plain(struct buf *out, const char *p)
{
    size_t begin = out->len;
    bool blank = false;
    while (*p) {
        const char *behind = behind_comment(p);
        if (behind || strchr(" \t\r\n", *p)) {
            blank = true;
            p = behind ? behind : p + 1;
            continue;
        }
        if (blank && out->len > begin && !is_loose(*p) && !is_loose(out->s[out->len - 1]))
            buf_addc(out, ' ');
        blank = false;
        if (*p == '\'' || *p == '"') {
            const char *end = strchr(p + 1, *p);
            size_t n = end ? (size_t)(end - p) + 1 : strlen(p);
            buf_add(out, p, n);
            p += n;
        } else {
            buf_addc(out, *p++);
        }
    }
}

/* Everything in the schema as "table cell\nCREATE ...", sorted; what SQLite made itself is left out. */
static int read_schema(sqlite3 *db, struct strings *out)
{
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v2(db,
                                "SELECT type, name, tbl_name, sql FROM main.sqlite_master"
                                " WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'",
                                -1, &st, NULL);
    if (rc != SQLITE_OK)
        return rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct buf text = BUF_INIT;
        for (int i = 0; i < 4; i++) {
            const char *column = (const char *)sqlite3_column_text(st, i);
            if (i == 3)
                add_plain(&text, column ? column : "");
            else if (i != 2)
                buf_addf(&text, "%s%c", column ? column : "", i == 0 ? ' ' : '\n');
        }
        strings_add(out, text.s);
        buf_release(&text);
    }
    sqlite3_finalize(st);
    strings_sort(out);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The schema that we would give a database of a version. */
static int our_schema(int version, struct strings *out, struct buf *err)
{
    struct store s = { .path = (char *)(uintptr_t) "a database in memory" };
    int rc = sqlite3_open(":memory:", &s.db);
    for (int v = 0; v < version && rc == SQLITE_OK; v++)
        rc = sqlite3_exec(s.db, schema_sql[v], NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = read_schema(s.db, out);
    if (rc != SQLITE_OK)
        store_fail(&s, err, rc);
    sqlite3_close(s.db);
    return rc == SQLITE_OK ? 0 : -1;
}

/* "table cell" of an entry. */
static int name_length(const char *entry)
{
    return (int)strcspn(entry, "\n");
}

static int compare_schemas(const struct store_input *in, const struct strings *theirs,
                           const struct strings *ours, struct buf *err)
{
    const char *path = in->store->path;
    for (size_t i = 0; i < theirs->len || i < ours->len; i++) {
        const char *their = i < theirs->len ? theirs->v[i] : NULL;
        const char *our = i < ours->len ? ours->v[i] : NULL;
        if (their && our && strcmp(their, our) == 0)
            continue;
        int n = our ? name_length(our) : 0;
        if (their && our && name_length(their) == n && strncmp(their, our, (size_t)n) == 0)
            return fail(err, "%s: its %.*s is not the one of schema version %d", path, n, our,
                        in->version);
        if (their && (!our || strcmp(their, our) < 0))
            return fail(err, "%s: has a %.*s, which is not in schema version %d", path,
                        name_length(their), their, in->version);
        return fail(err, "%s: has no %.*s, which is in schema version %d", path, n, our,
                    in->version);
    }
    return 0;
}

static int check_schema(struct store_input *in, struct buf *err)
{
    struct strings theirs = { 0 }, ours = { 0 };
    int rc = read_schema(in->store->db, &theirs);
    int bad = rc != SQLITE_OK                       ? input_fail(in, err, rc)
              : our_schema(in->version, &ours, err) ? -1
                                                    : compare_schemas(in, &theirs, &ours, err);
    strings_release(&theirs);
    strings_release(&ours);
    return bad;
}

/* ---- pages ---- */

static int check_pages(struct store_input *in, struct buf *err)
{
    struct sqlite3_stmt *st = input_prepare(in, "PRAGMA integrity_check(1)", err);
    int rc = st ? input_next(in, st, err) : -1;
    const char *said = rc == 1 ? (const char *)sqlite3_column_text(st, 0) : NULL;
    const char *line = said ? strchr(said, '\n') : NULL; // behind one that names no file
    if (rc == 1)
        rc = said && strcmp(said, "ok") == 0
                 ? 0
                 : fail(err, "%s: the database is damaged: %s", in->store->path,
                        line   ? line + 1
                        : said ? said
                               : "");
    sqlite3_finalize(st);
    return rc;
}

static int read_version(struct store_input *in, struct buf *err)
{
    struct sqlite3_stmt *st = input_prepare(in, "PRAGMA user_version", err);
    int rc = st ? input_next(in, st, err) : -1;
    in->version = rc == 1 ? sqlite3_column_int(st, 0) : 0;
    sqlite3_finalize(st);
    return rc < 0 ? -1 : 0;
}

/* ---- all of it ---- */

/* Is a log beside the file, so that reading keeps nobody from writing? */
static int has_log(struct store_input *in, bool *out, struct buf *err)
{
    struct sqlite3_stmt *st = input_prepare(in, "PRAGMA journal_mode", err);
    int rc = st ? input_next(in, st, err) : -1;
    const char *mode = rc == 1 ? (const char *)sqlite3_column_text(st, 0) : NULL;
    *out = mode && strcmp(mode, "wal") == 0;
    sqlite3_finalize(st);
    return rc < 0 ? -1 : 0;
}

/* Where a run would have to wait for us, it does so for no longer than a copy takes. */
static int take_copy(struct store_input *in, struct buf *err)
{
    struct store *s = in->store;
    sqlite3 *copy = NULL;
    bool log;
    if (!store_is_locked(s->path))
        return 0;
    if (has_log(in, &log, err) || log)
        return log ? 0 : -1;
    // Without a name: SQLite keeps it in its folder for such files, and removes it at the end.
    int rc = sqlite3_open("", &copy);
    sqlite3_backup *b = rc == SQLITE_OK ? sqlite3_backup_init(copy, "main", s->db, "main") : NULL;
    if (b) {
        sqlite3_busy_timeout(copy, STORE_BUSY_SECONDS * 1000);
        sqlite3_backup_step(b, -1);
        rc = sqlite3_backup_finish(b);
    } else if (rc == SQLITE_OK) {
        rc = sqlite3_errcode(copy);
    }
    if (rc != SQLITE_OK) {
        sqlite3_close(copy);
        return store_fail(s, err, rc);
    }
    sqlite3_close(s->db);
    s->db = copy;
    return 0;
}

/* Whatever its schema says, nothing of it is run; a log that was there before stays. */
static int guard(struct store_input *in, bool had_log, struct buf *err)
{
    sqlite3 *db = in->store->db;
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    if (had_log)
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int64_t bytes = bytes_of(in->store->path, "") + bytes_of(in->store->path, "-wal");
    in->left = (STEPS_ALWAYS + bytes * STEPS_A_BYTE) / STEPS_A_CALL;
    sqlite3_progress_handler(db, STEPS_A_CALL, tick, in);
    return store_exec(in->store, "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; BEGIN", err);
}

struct store_input *store_input_open(const char *path, struct buf *err)
{
    bool had_log = bytes_of(path, "-wal") > 0;
    struct store *s = store_open(path, STORE_READ, err);
    if (!s)
        return NULL;
    struct store_input *in = xcalloc(1, sizeof(*in));
    in->store = s;
    if (take_copy(in, err) || guard(in, had_log, err) || read_version(in, err) ||
        check_schema(in, err) || check_pages(in, err) || input_check_rows(in, err)) {
        store_input_close(in);
        return NULL;
    }
    return in;
}

void store_input_close(struct store_input *in)
{
    if (!in)
        return;
    store_close(in->store);
    free(in);
}

const char *store_input_path(const struct store_input *in)
{
    return in->store->path;
}

int store_check_foreign(const char *path, struct buf *err)
{
    struct store_input *in = store_input_open(path, err);
    store_input_close(in);
    return in ? 0 : -1;
}
