/*
 * cmd_status.c: `seqtopk status`: how far sweeps and trainings are and how long the rest will take,
 * what failed, what is to be known of how cells were computed, and what the processes of a run do that
 * is under way. Databases that are given together are summed: those of a sweep's shards are one sweep.
 */
#include "cmd/cmd.h"
#include "cmd/status.h"
#include "store/results.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_FOLDER "results"

/* Databases whose sweeps are summed. */
struct group {
    char *name; /* as the table shows it */
    struct strings paths;
    struct store **stores;
    struct status status;
};

struct groups {
    struct group *v;
    size_t len, cap;
};

/* ---- which databases ---- */

static struct group *add_group(struct groups *all, const char *name)
{
    ARRAY_GROW(all->v, all->cap, all->len + 1);
    struct group *g = &all->v[all->len++];
    *g = (struct group){ .name = xstrdup(name) };
    return g;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The files of a folder whose names end so; how many. */
static size_t find_files(const char *folder, const char *ending, struct strings *out)
{
    struct buf pattern = BUF_INIT;
    glob_t found = { 0 };
    size_t n = 0;
    for (const char *c = folder; *c; c++) {
        if (strchr("*?[\\", *c))
            buf_addc(&pattern, '\\');
        buf_addc(&pattern, *c);
    }
    buf_addf(&pattern, "/*%s", ending);
    if (glob(pattern.s, 0, NULL, &found) == 0)
        for (n = 0; n < found.gl_pathc; n++)
            strings_add(out, found.gl_pathv[n]);
    globfree(&found);
    buf_release(&pattern);
    return n;
}

/* All that are named, summed; a folder stands for the databases in it. */
static void group_named(struct groups *all, char **paths, int n)
{
    struct group *g = add_group(all, paths[0]);
    for (int i = 0; i < n; i++) {
        if (!is_folder(paths[i]))
            strings_add(&g->paths, paths[i]);
        else if (!find_files(paths[i], ".db", &g->paths))
            die(1, "%s: there is no database in this folder: no name in it ends in .db", paths[i]);
    }
    strings_sort(&g->paths);
    if (n > 1) {
        free(g->name);
        g->name = xasprintf("%s and %d more", paths[0], n - 1);
    }
}

/* results/NAME.db each for itself, with those of results/NAME.shards, if there are any. */
static void group_results(struct groups *all)
{
    struct strings names = { 0 }, shards = { 0 };
    find_files(DEFAULT_FOLDER, ".db", &names);
    find_files(DEFAULT_FOLDER, ".shards", &shards);
    for (size_t i = 0; i < names.len; i++) {
        struct group *g = add_group(all, names.v[i]);
        char *folder = xasprintf("%.*s.shards", (int)strlen(names.v[i]) - 3, names.v[i]);
        strings_add(&g->paths, names.v[i]);
        find_files(folder, ".db", &g->paths);
        free(folder);
    }
    for (size_t i = 0; i < shards.len; i++) {
        char *db = xasprintf("%.*s.db", (int)strlen(shards.v[i]) - 7, shards.v[i]);
        struct strings paths = { 0 };
        bool merged = false;
        for (size_t j = 0; j < names.len; j++)
            merged |= strcmp(names.v[j], db) == 0;
        if (!merged && find_files(shards.v[i], ".db", &paths))
            add_group(all, shards.v[i])->paths = paths;
        else
            strings_release(&paths);
        free(db);
    }
    strings_release(&names);
    strings_release(&shards);
    if (!all->len)
        die(1, "status: there is no database at " DEFAULT_FOLDER "/*.db; name one");
}

static void open_group(struct group *g)
{
    struct buf err = BUF_INIT;
    g->stores = xcalloc(g->paths.len, sizeof(struct store *));
    for (size_t i = 0; i < g->paths.len; i++) {
        g->stores[i] = store_open(g->paths.v[i], STORE_READ, &err);
        if (!g->stores[i])
            die(1, "%s", err.s);
    }
    if (status_read(g->stores, g->paths.len, &g->status, &err))
        die(1, "%s", err.s);
    buf_release(&err);
}

static void close_group(struct group *g)
{
    for (size_t i = 0; i < g->paths.len; i++)
        store_close(g->stores[i]);
    status_release(&g->status);
    strings_release(&g->paths);
    free(g->stores);
    free(g->name);
}

/* ---- the table ---- */

/* Whole, where it is for people. What is not known stays empty. */
static void add_number(struct table *t, double v, int digits)
{
    if (isnan(v))
        table_add(t, NULL);
    else
        table_addf(t, "%.*f", digits, v);
}

static void add_sweep(struct table *t, const char *name, const struct sweep_status *s,
                      enum table_format format)
{
    struct buf left = BUF_INIT;
    table_add(t, name);
    table_add(t, s->name);
    const int64_t counts[] = { s->cells, s->done,    s->running, s->failed,
                               s->left,  s->orphans, s->samples, s->tokens };
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        table_addf(t, "%lld", (long long)counts[i]);
    add_number(t, s->seconds, 1);
    if (format != TABLE_TEXT) {
        const int64_t more[] = { s->trainings, s->trained, s->steps, s->goal };
        for (size_t i = 0; i < ARRAY_LEN(more); i++)
            table_addf(t, "%lld", (long long)more[i]);
        add_number(t, s->rate, 3);
        add_number(t, s->seconds_left, 1);
        return;
    }
    add_number(t, s->rate, 0);
    if (!isnan(s->seconds_left))
        duration_text(s->seconds_left, &left);
    table_add(t, left.len ? left.s : NULL);
    buf_release(&left);
}

static void print_sweeps(const struct groups *all, enum table_format format)
{
    static const char *const people[] = { "database",  "sweep",   "#cells",   "#done",
                                          "#running",  "#failed", "#left",    "#orphans",
                                          "#samples",  "#tokens", "#seconds", "#tokens/s",
                                          "time left", NULL };
    static const char *const programs[] = { "database",      "sweep",   "#cells",     "#done",
                                            "#running",      "#failed", "#left",      "#orphans",
                                            "#samples",      "#tokens", "#seconds",   "#trainings",
                                            "#trained",      "#steps",  "#all_steps", "#rate",
                                            "#seconds_left", NULL };
    struct table *t = table_new(format == TABLE_TEXT ? people : programs);
    for (size_t i = 0; i < all->len; i++)
        for (size_t j = 0; j < all->v[i].status.nsweeps; j++)
            add_sweep(t, all->v[i].name, &all->v[i].status.sweeps[j], format);
    table_print(t, format);
    table_free(t);
}

/* ---- what people want to know besides ---- */

static void print_training(const struct training_status *t)
{
    struct buf text = BUF_INIT;
    buf_addf(&text, "training %.12s of %s, %s, %s: step %lld", t->id, t->sweep, t->model, t->label,
             (long long)t->step);
    if (t->goal)
        buf_addf(&text, " of %lld", (long long)t->goal);
    if (!t->live)
        buf_adds(&text, "; nobody is at work on it");
    if (!isnan(t->rate))
        buf_addf(&text, ", %.0f tokens/s", t->rate);
    if (training_seconds_left(t) >= 0) {
        buf_adds(&text, ", ");
        duration_text(training_seconds_left(t), &text);
        buf_adds(&text, " left");
    }
    printf("%s\n", text.s);
    buf_release(&text);
}

static void print_group(const struct group *g)
{
    for (size_t i = 0; i < g->status.nsweeps; i++) {
        const struct sweep_status *s = &g->status.sweeps[i];
        if (s->waiting && !isnan(s->seconds_left))
            printf("time left of %s is without models that are still to be trained for %lld of its "
                   "cells, if any\n",
                   s->name, (long long)s->waiting);
        if (s->orphans)
            printf("orphans of %s: %lld cell%s that its recipe, as it was run last, does not have; "
                   "the database keeps them\n",
                   s->name, (long long)s->orphans, s->orphans == 1 ? "" : "s");
    }
    for (size_t i = 0; i < g->status.ntrainings; i++)
        if (!g->status.trainings[i].goal ||
            g->status.trainings[i].step < g->status.trainings[i].goal)
            print_training(&g->status.trainings[i]);
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
        printf("failed: %s, %s, K = %d, %s: %s\n", c->model, c->task, c->k, c->label,
               c->error ? c->error : "no reason was kept");
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
    bool json = false, tsv = false;
    const struct option_spec specs[] = { { .name = "--json", .flag = &json },
                                         { .name = "--tsv", .flag = &tsv },
                                         { .name = NULL } };
    struct groups all = { 0 };
    int given = cmd_options(&cmd_status, argc, argv, specs, 0, argc);
    if (given)
        group_named(&all, argv + 1, given);
    else
        group_results(&all);
    for (size_t i = 0; i < all.len; i++)
        open_group(&all.v[i]);
    print_sweeps(&all, json ? TABLE_JSON : tsv ? TABLE_TSV : TABLE_TEXT);
    for (size_t i = 0; i < all.len; i++) {
        struct group *g = &all.v[i];
        if (!json && !tsv)
            print_group(g);
        for (size_t j = 0; j < g->paths.len && !json && !tsv; j++)
            print_more(g->stores[j]);
        close_group(g);
    }
    free(all.v);
    return 0;
}

const struct cmd cmd_status = {
    .name = "status",
    .args = "[DB | FOLDER]... [--json | --tsv]",
    .help = "how far sweeps are, what failed, and how long the rest will take (default: results/)",
    .run = status_run,
};
