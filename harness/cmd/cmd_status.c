/*
 * cmd_status.c: `seqtopk status`: how far the sweeps of a database are, what failed, what is to be
 * known of how cells were computed, and what the processes of a run do that is under way.
 */
#include "cmd/cmd.h"
#include "store/results.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_DATABASES "results/*.db"

static void add_states(struct table *t, struct store *s)
{
    struct buf err = BUF_INIT;
    struct rows *r = store_query(s, &err,
                                 "SELECT sweep, status, count(*), sum(samples), sum(tokens),"
                                 " round(sum(seconds), 1) FROM cell GROUP BY sweep, status"
                                 " ORDER BY sweep, status");
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, &err)) == 1) {
        table_add(t, store_path(s));
        for (int c = 0; c < 6; c++)
            table_add(t, rows_text(r, c));
    }
    if (rc)
        die(1, "%s", err.s);
    rows_close(r);
    buf_release(&err);
}

/* On stderr is where complaints go, but these are what was asked for: stdout. */
static void print_failed(struct store *s)
{
    struct buf err = BUF_INIT;
    struct results all = { 0 };
    if (results_read(s, "status = 'failed'", &all, &err))
        die(1, "%s", err.s);
    for (size_t i = 0; i < all.len; i++) {
        const struct result *c = &all.v[i];
        printf("%sfailed: %s, %s, K = %d, %s: %s\n", i ? "" : "\n", c->model, c->task, c->k,
               c->label, c->error ? c->error : "no reason was kept");
    }
    results_release(&all);
    buf_release(&err);
}

/* Each row of the one column as a line. */
static void print_rows(struct store *s, const char *sql, const char *words)
{
    struct buf err = BUF_INIT;
    struct rows *r = store_query(s, &err, sql);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, &err)) == 1)
        printf("%s %s\n", words, rows_text(r, 0));
    if (rc)
        die(1, "%s", err.s);
    rows_close(r);
    buf_release(&err);
}

static void print_more(struct store *s)
{
    print_failed(s);
    print_rows(s,
               "SELECT group_concat(substr(cell_id, 1, 12), ' ') || ': ' || note FROM v_cells"
               " WHERE note IS NOT NULL GROUP BY note ORDER BY note",
               "note on");
    // Of a run that was killed they are still there.
    if (store_is_locked(store_path(s)))
        print_rows(
            s,
            "SELECT (n + 1) || ' (' || pid || ', ' || device || '): ' || doing || ', for ' ||"
            " max(0, strftime('%s', 'now') - since) || ' s' FROM process ORDER BY n",
            "process");
}

static int status_run(int argc, char **argv)
{
    static const char *const columns[] = { "database", "sweep",   "state",    "#cells",
                                           "#samples", "#tokens", "#seconds", NULL };
    bool json = false, tsv = false;
    const struct option_spec specs[] = { { .name = "--json", .flag = &json },
                                         { .name = "--tsv", .flag = &tsv },
                                         { .name = NULL } };
    struct buf err = BUF_INIT;
    glob_t found = { 0 };
    int given = cmd_options(&cmd_status, argc, argv, specs, 0, 1);
    if (!given && glob(DEFAULT_DATABASES, 0, NULL, &found) != 0)
        die(1, "status: there is no database at " DEFAULT_DATABASES "; name one");
    size_t n = given ? 1 : found.gl_pathc;
    char **paths = given ? argv + 1 : found.gl_pathv;
    struct store **stores = xcalloc(n, sizeof(struct store *));
    struct table *t = table_new(columns);
    for (size_t i = 0; i < n; i++) {
        stores[i] = store_open(paths[i], STORE_READ, &err);
        if (!stores[i])
            die(1, "%s", err.s);
        add_states(t, stores[i]);
    }
    table_print(t, json ? TABLE_JSON : tsv ? TABLE_TSV : TABLE_TEXT);
    for (size_t i = 0; i < n; i++) {
        if (!json && !tsv)
            print_more(stores[i]);
        store_close(stores[i]);
    }
    table_free(t);
    free(stores);
    globfree(&found);
    buf_release(&err);
    return 0;
}

const struct cmd cmd_status = {
    .name = "status",
    .args = "[DB] [--json | --tsv]",
    .help = "how far the sweeps of a database are, and what failed (default: all of results/)",
    .run = status_run,
};
