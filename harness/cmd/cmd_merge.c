/*
 * cmd_merge.c: `seqtopk merge`: databases of the same or of other sweeps become one. An input is a
 * database, or a manifest of shards or the folder that it is in, which stands for the databases of all
 * shards there.
 *
 * Invariant: an input that is missing, damaged or contradicts the others is named, the others are
 * merged, and the exit code is 1; where no input is good, no database is made.
 * Leaves out: what is merged with what (store/store_merge.h).
 */
#include "cmd/cmd.h"
#include "run_shards.h"
#include "store/store_merge.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A shard that a manifest has. */
struct expected {
    char *path, *manifest;
    bool models;
    size_t number;
    struct strings ids; /* of its cells, or of its trainings */
};

struct inputs {
    struct strings paths;      /* that are there, or were named */
    struct expected *expected; /* whose databases are not there */
    size_t nexpected, cap;
};

/* ---- shards ---- */

static struct expected *expect(struct inputs *in, const char *manifest, const char *path,
                               bool models, size_t number)
{
    ARRAY_GROW(in->expected, in->cap, in->nexpected + 1);
    struct expected *e = &in->expected[in->nexpected++];
    *e = (struct expected){ xstrdup(path), xstrdup(manifest), models, number, { 0 } };
    return e;
}

static void expect_shard(struct inputs *in, const struct shards *s, const char *manifest,
                         bool models, size_t number)
{
    struct buf path = BUF_INIT;
    shard_store_path(manifest, models ? SHARD_MODELS : SHARD_CELLS, number, &path);
    if (access(path.s, F_OK) != 0) {
        struct expected *e = expect(in, manifest, path.s, models, number);
        const struct shard_line *lines = models ? s->trainings : s->cells;
        for (size_t i = 0; i < (models ? s->ntrainings : s->ncells); i++)
            if (lines[i].shard == number)
                strings_add(&e->ids, lines[i].id);
    }
    buf_release(&path);
}

/* All shards' databases beside a manifest: its own, and what earlier ones left. */
static void add_shards(struct inputs *in, const char *manifest)
{
    struct buf err = BUF_INIT;
    struct shards s;
    if (shards_read(&s, manifest, &err))
        die(1, "%s", err.s);
    for (size_t i = 0; i < s.makers; i++)
        expect_shard(in, &s, manifest, true, i);
    for (size_t i = 0; i < s.plain + s.late; i++)
        expect_shard(in, &s, manifest, false, i);
    shards_release(&s);
    static const char *const patterns[] = { "models-*.db", "shard-*.db" };
    const char *slash = strrchr(manifest, '/');
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        glob_t found = { 0 };
        char *pattern =
            xasprintf("%.*s%s", slash ? (int)(slash - manifest) + 1 : 0, manifest, patterns[i]);
        if (glob(pattern, 0, NULL, &found) == 0)
            for (size_t j = 0; j < found.gl_pathc; j++)
                strings_add(&in->paths, found.gl_pathv[j]);
        globfree(&found);
        free(pattern);
    }
}

static bool is_newer(const struct stat *a, const struct stat *b)
{
    return a->st_mtim.tv_sec != b->st_mtim.tv_sec ? a->st_mtim.tv_sec > b->st_mtim.tv_sec
                                                  : a->st_mtim.tv_nsec > b->st_mtim.tv_nsec;
}

/* A folder of shards: what it is to have, its newest manifest says. */
static void add_folder(struct inputs *in, const char *folder)
{
    glob_t found = { 0 };
    const char *newest = NULL;
    struct stat st, best = { 0 };
    char *pattern =
        xasprintf("%s%smanifest-*", folder, folder[strlen(folder) - 1] == '/' ? "" : "/");
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (stat(found.gl_pathv[i], &st) == 0 && (!newest || is_newer(&st, &best)))
                newest = found.gl_pathv[i], best = st;
    if (!newest)
        die(1, "merge: %s is a folder without a manifest of shards; name databases", folder);
    add_shards(in, newest);
    globfree(&found);
    free(pattern);
}

static bool is_manifest(const char *path)
{
    static const char begins[] = "seqtopk shards ";
    char head[sizeof(begins)] = "";
    FILE *f = fopen(path, "re");
    if (f && fread(head, 1, sizeof(begins) - 1, f) < sizeof(begins) - 1)
        head[0] = '\0';
    if (f)
        fclose(f);
    return strcmp(head, begins) == 0;
}

static void add_input(struct inputs *in, const char *path)
{
    struct stat st;
    if (*path && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        add_folder(in, path);
    else if (*path && stat(path, &st) == 0 && S_ISREG(st.st_mode) && is_manifest(path))
        add_shards(in, path);
    else
        strings_add(&in->paths, path);
}

static void inputs_release(struct inputs *in)
{
    for (size_t i = 0; i < in->nexpected; i++) {
        free(in->expected[i].path);
        free(in->expected[i].manifest);
        strings_release(&in->expected[i].ids);
    }
    free(in->expected);
    strings_release(&in->paths);
}

/* ---- what cannot be meant ---- */

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void check_inputs(const struct inputs *in, const char *out)
{
    for (size_t i = 0; i < in->paths.len; i++) {
        const char *path = in->paths.v[i];
        if (same_file(path, out))
            die(1, "merge: %s is the database that is merged into, and cannot be an input", path);
        for (size_t j = 0; j < i; j++)
            if (strcmp(path, in->paths.v[j]) == 0 || same_file(path, in->paths.v[j]))
                die(1, "merge: %s and %s are the same file; name it once", in->paths.v[j], path);
    }
}

/* ---- merging ---- */

struct work {
    const char *path;
    struct store *out; /* NULL: not opened yet */
    bool bad;
};

static void open_out(struct work *w)
{
    struct buf err = BUF_INIT;
    w->out = store_open(w->path, STORE_WRITE, &err);
    if (!w->out || store_lock(w->out, &err))
        die(1, "%s", err.s);
    buf_release(&err);
}

static void complain(struct work *w, const char *sentence)
{
    fprintf(stderr, "seqtopk: %s\n", sentence);
    w->bad = true;
}

static void say_merged(const char *path, const struct merged *m)
{
    fprintf(stderr, "%s: %lld cell%s new, %lld got more, %lld there already", path,
            (long long)m->added, m->added == 1 ? "" : "s", (long long)m->grown, (long long)m->same);
    if (m->left_out)
        fprintf(stderr,
                "; %lld sample%s left out of halves that overlap, which a run computes again",
                (long long)m->left_out, m->left_out == 1 ? "" : "s");
    fprintf(stderr, "\n");
}

/* A new database is made when the first input is known to be good. */
static void merge_one(struct work *w, const char *path, bool first, struct merged *m)
{
    struct buf err = BUF_INIT;
    struct merged one = { 0 };
    struct store_input *in = store_input_open(path, &err);
    if (in && !w->out)
        open_out(w);
    if (!in || store_merge_input(w->out, in, &one, &err)) {
        if (one.broken)
            die(1, "%s", err.s);
        if (first)
            complain(w, err.s);
    } else if (first || one.grown) {
        say_merged(path, &one);
        m->replaced = m->replaced || one.replaced;
    }
    store_input_close(in);
    buf_release(&err);
}

/* Where a half took the place of another, one that was merged before may fit now. */
static void merge_all(struct work *w, const struct inputs *in)
{
    struct merged m = { .replaced = true };
    for (bool first = true; m.replaced; first = false) {
        m.replaced = false;
        for (size_t i = 0; i < in->paths.len; i++)
            merge_one(w, in->paths.v[i], first, &m);
    }
}

/* ---- what is there in the end ---- */

/* How many of a missing shard's cells, done, or trainings are there none the less? */
static size_t count_there(struct store *s, const struct expected *e)
{
    struct buf err = BUF_INIT;
    size_t n = 0;
    for (size_t i = 0; i < e->ids.len; i++) {
        struct rows *r =
            store_query(s, &err,
                        e->models ? "SELECT 1 FROM v_trainings WHERE training_id = ?"
                                  : "SELECT 1 FROM v_cells WHERE cell_id = ? AND status = 'done'",
                        e->ids.v[i]);
        int rc = r ? rows_next(r, &err) : -1;
        if (rc < 0)
            die(1, "%s", err.s);
        n += rc == 1;
        rows_close(r);
    }
    return n;
}

static void say_missing(struct work *w, const struct inputs *in)
{
    for (size_t i = 0; i < in->nexpected; i++) {
        const struct expected *e = &in->expected[i];
        size_t there = w->out ? count_there(w->out, e) : 0;
        if (there == e->ids.len)
            continue;
        const char *what = e->models ? "model" : "cell";
        struct buf sentence = BUF_INIT;
        buf_addf(&sentence, "%s is missing: %s %zu of %s, with %zu %s%s", e->path,
                 e->models ? "the models' shard" : "shard", e->number, e->manifest, e->ids.len,
                 what, e->ids.len == 1 ? "" : "s");
        if (there)
            buf_addf(&sentence, ", of which %zu %s elsewhere", there, there == 1 ? "is" : "are");
        complain(w, sentence.s);
        buf_release(&sentence);
    }
}

/* A line a sweep: what is there, and what its plan has beyond that. */
static void say_states(struct store *s)
{
    struct buf err = BUF_INIT;
    struct rows *r = store_query(
        s, &err,
        "WITH all_sweeps AS (SELECT sweep FROM cell UNION SELECT sweep FROM plan)"
        " SELECT sweep,"
        " (SELECT count(*) FROM cell AS c WHERE c.sweep = a.sweep AND c.status = 'done'),"
        " (SELECT count(*) FROM cell AS c WHERE c.sweep = a.sweep AND c.status = 'unfinished'),"
        " (SELECT count(*) FROM cell AS c WHERE c.sweep = a.sweep AND c.status = 'failed'),"
        " (SELECT count(*) FROM plan AS p WHERE p.sweep = a.sweep),"
        " (SELECT count(*) FROM plan AS p WHERE p.sweep = a.sweep AND p.id NOT IN"
        "  (SELECT id FROM cell WHERE status = 'done'))"
        " FROM all_sweeps AS a ORDER BY sweep");
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, &err)) == 1) {
        printf("%s: %s cells done, %s unfinished, %s failed", rows_text(r, 0), rows_text(r, 1),
               rows_text(r, 2), rows_text(r, 3));
        if (rows_int(r, 4))
            printf("; %s of %s planned are left", rows_text(r, 5), rows_text(r, 4));
        printf("\n");
    }
    if (rc)
        die(1, "%s", err.s);
    rows_close(r);
    buf_release(&err);
}

static int run_merge(int argc, char **argv)
{
    const struct option_spec specs[] = { { .name = NULL } };
    struct inputs in = { 0 };
    int given = cmd_options(&cmd_merge, argc, argv, specs, 2, 100000);
    struct work w = { .path = argv[1] };
    for (int i = 2; i <= given; i++)
        add_input(&in, argv[i]);
    check_inputs(&in, w.path);
    if (access(w.path, F_OK) == 0)
        open_out(&w);
    merge_all(&w, &in);
    say_missing(&w, &in);
    if (w.out)
        say_states(w.out);
    store_close(w.out);
    inputs_release(&in);
    return w.bad;
}

const struct cmd cmd_merge = {
    .name = "merge",
    .args = "OUT.db IN.db... (or a manifest of shards, or the folder of one)",
    .help = "put what databases have into one; what they share must be the same",
    .run = run_merge,
};
