/*
 * cmd_table.c: `seqtopk table`: one row a cell, with what it measured. Its other forms are those of
 * table.h.
 *
 * For people, columns that say the same in every row (training, seed, status) are left out, and a
 * value stands with its error; for programs (--tsv, --csv, --json) all columns are there, and numbers
 * alone.
 */
#include "cmd/pass_at.h"
#include "cmd/table.h"
#include "stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a column shows of a cell. */
enum what {
    CELL_ID,
    CELL_MODEL,
    CELL_TASK,
    CELL_K,
    CELL_ROUTER,
    CELL_MODE,
    CELL_MIN,
    CELL_MAX,
    CELL_TRAIN,
    CELL_SEED,
    CELL_DEVICE,
    CELL_DTYPE,
    CELL_STATUS,
    // of a metric, for programs
    VALUE,
    STDERR,
    LOW,
    HIGH,
    // of a metric, for people
    VALUE_3,
    VALUE_WITH_ERROR,
    VALUE_WITH_INTERVAL,
    COUNT,
};

/* Where a column is left out. */
enum shown {
    ALWAYS,
    IF_VARIED, /* not where all rows say the same */
    IF_THERE,  /* not where no row has the metric */
};

struct column {
    const char *name; /* '#' before it: numbers */
    enum what what;
    const char *metric;
    enum shown shown;
};

static const struct column for_people[] = {
    { "model", CELL_MODEL, NULL, ALWAYS },
    { "task", CELL_TASK, NULL, ALWAYS },
    { "#K", CELL_K, NULL, ALWAYS },
    { "router", CELL_ROUTER, NULL, ALWAYS },
    { "train", CELL_TRAIN, NULL, IF_VARIED },
    { "#seed", CELL_SEED, NULL, IF_VARIED },
    { "device", CELL_DEVICE, NULL, IF_VARIED },
    { "dtype", CELL_DTYPE, NULL, IF_VARIED },
    { "status", CELL_STATUS, NULL, IF_VARIED },
};
static const struct column metrics_for_people[] = {
    { "#score \xc2\xb1 se", VALUE_WITH_ERROR, "score", IF_THERE },
    { "#n", COUNT, "score", IF_THERE },
    { "#no answer", VALUE_3, "no_answer", IF_THERE },
    { "#truncated", VALUE_3, "truncated", IF_THERE },
    { "#nll \xc2\xb1 se", VALUE_WITH_ERROR, "nll", IF_THERE },
    { "#ppl", VALUE_3, "ppl", IF_THERE },
    { "#experts", VALUE_3, "experts", ALWAYS },
    { "#spearman [95 %]", VALUE_WITH_INTERVAL, "spearman", ALWAYS },
    { "#load entropy", VALUE_3, "load_entropy", ALWAYS },
};
static const struct column for_programs[] = {
    { "cell_id", CELL_ID, NULL, ALWAYS },    { "model", CELL_MODEL, NULL, ALWAYS },
    { "task", CELL_TASK, NULL, ALWAYS },     { "#k", CELL_K, NULL, ALWAYS },
    { "router", CELL_ROUTER, NULL, ALWAYS }, { "mode", CELL_MODE, NULL, ALWAYS },
    { "#min", CELL_MIN, NULL, ALWAYS },      { "#max", CELL_MAX, NULL, ALWAYS },
    { "train", CELL_TRAIN, NULL, ALWAYS },   { "#seed", CELL_SEED, NULL, ALWAYS },
    { "device", CELL_DEVICE, NULL, ALWAYS }, { "dtype", CELL_DTYPE, NULL, ALWAYS },
    { "status", CELL_STATUS, NULL, ALWAYS },
};
static const struct column metrics_for_programs[] = {
    { "#nll", VALUE, "nll", ALWAYS },
    { "#nll_stderr", STDERR, "nll", ALWAYS },
    { "#ppl", VALUE, "ppl", ALWAYS },
    { "#experts", VALUE, "experts", ALWAYS },
    { "#spearman", VALUE, "spearman", ALWAYS },
    { "#spearman_low", LOW, "spearman", ALWAYS },
    { "#spearman_high", HIGH, "spearman", ALWAYS },
    { "#load_entropy", VALUE, "load_entropy", ALWAYS },
    { "#score", VALUE, "score", ALWAYS },
    { "#score_stderr", STDERR, "score", ALWAYS },
    { "#score_n", COUNT, "score", ALWAYS },
    { "#no_answer", VALUE, "no_answer", ALWAYS },
    { "#truncated", VALUE, "truncated", ALWAYS },
};

static void add_number(struct buf *out, const char *before, int places, double v, const char *after)
{
    if (!isnan(v))
        buf_addf(out, "%s%.*f%s", before, places, v, after);
}

/* Nine digits: as many as a program can want of what was measured in float32. */
static void add_exact(struct buf *out, double v)
{
    if (!isnan(v))
        buf_addf(out, "%.9g", v);
}

static void show_metric(const struct column *c, const struct result *r, bool sensible,
                        struct buf *out)
{
    const struct result_metric *m = result_metric(r, c->metric);
    struct estimate e = { .value = m ? m->value : NAN, .stderr_ = m ? m->stderr_ : NAN };
    double lo, hi;
    correlation_interval(e, &lo, &hi);
    int places = sensible ? table_places(e.stderr_) : 4;
    if (c->what == COUNT && m)
        buf_addf(out, "%lld", (long long)m->n);
    else if (c->what == COUNT)
        return;
    else if (c->what == VALUE)
        add_exact(out, e.value);
    else if (c->what == STDERR)
        add_exact(out, e.stderr_);
    else if (c->what == LOW)
        add_exact(out, lo);
    else if (c->what == HIGH)
        add_exact(out, hi);
    else
        add_number(out, "", c->what == VALUE_WITH_ERROR ? places : 3, e.value, "");
    if (c->what == VALUE_WITH_ERROR && !isnan(e.value))
        add_number(out, " ± ", places, e.stderr_, "");
    if (c->what == VALUE_WITH_INTERVAL) {
        add_number(out, " [", 3, lo, ", ");
        add_number(out, "", 3, hi, "]");
    }
}

/* Leaves `out` empty where nothing is known. `sensible`: as many digits as the error allows. */
static void show(const struct column *c, const struct result *r, bool sensible, struct buf *out)
{
    const char *const texts[] = {
        [CELL_ID] = r->id,         [CELL_MODEL] = r->model, [CELL_TASK] = r->task,
        [CELL_ROUTER] = r->label,  [CELL_MODE] = r->mode,   [CELL_TRAIN] = r->train,
        [CELL_DEVICE] = r->device, [CELL_DTYPE] = r->dtype, [CELL_STATUS] = r->status,
    };
    if (c->metric)
        show_metric(c, r, sensible, out);
    else if (c->what == CELL_K)
        buf_addf(out, "%d", r->k);
    else if (c->what == CELL_SEED)
        buf_addf(out, "%lld", (long long)r->seed);
    else if (c->what == CELL_MIN || c->what == CELL_MAX)
        add_number(out, "", 0, r->min < 0 ? NAN : c->what == CELL_MIN ? r->min : r->max, "");
    else if (texts[c->what])
        buf_adds(out, texts[c->what]);
}

/* What the command line says, and the columns that are shown. */
struct view {
    struct table_view said;
    struct column *columns;
    size_t ncolumns, columns_cap;
    char **owned; /* names that were made for columns */
    size_t nowned, owned_cap;
};

static bool varies(const struct results *all, const struct column *c)
{
    struct buf first = BUF_INIT, other = BUF_INIT;
    bool different = false;
    for (size_t i = 0; i < all->len && !different; i++) {
        buf_reset(&other);
        show(c, &all->v[i], false, i == 0 ? &first : &other);
        different = i > 0 && strcmp(first.s, other.s) != 0;
    }
    // One status for all is only worth no column where it is the good one.
    if (all->len && c->what == CELL_STATUS && strcmp(all->v[0].status, "done") != 0)
        different = true;
    buf_release(&first);
    buf_release(&other);
    return different;
}

static bool is_there(const struct results *all, const char *metric)
{
    for (size_t i = 0; i < all->len; i++)
        if (result_metric(&all->v[i], metric))
            return true;
    return false;
}

static void add_column(struct view *v, struct column c)
{
    ARRAY_GROW(v->columns, v->columns_cap, v->ncolumns + 1);
    v->columns[v->ncolumns++] = c;
}

static void add_columns(struct view *v, const struct results *all, const struct column *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c[i].shown == ALWAYS || (c[i].shown == IF_VARIED && varies(all, &c[i])) ||
            (c[i].shown == IF_THERE && is_there(all, c[i].metric)))
            add_column(v, c[i]);
}

static const char *own(struct view *v, char *name)
{
    ARRAY_GROW(v->owned, v->owned_cap, v->nowned + 1);
    return v->owned[v->nowned++] = name;
}

static void choose_columns(struct view *v, const struct results *all)
{
    bool people = table_for_people(&v->said);
    if (people)
        add_columns(v, all, for_people, ARRAY_LEN(for_people));
    else
        add_columns(v, all, for_programs, ARRAY_LEN(for_programs));
    for (size_t i = 0; i < v->said.nmetrics; i++) {
        const char *m = v->said.metrics[i];
        enum what what = people ? VALUE_WITH_ERROR : VALUE;
        add_column(v, (struct column){ own(v, xasprintf("#%s", m)), what, m, ALWAYS });
        if (!people)
            add_column(v, (struct column){ own(v, xasprintf("#%s_stderr", m)), STDERR, m, ALWAYS });
    }
    if (v->said.nmetrics == 0 && people)
        add_columns(v, all, metrics_for_people, ARRAY_LEN(metrics_for_people));
    else if (v->said.nmetrics == 0)
        add_columns(v, all, metrics_for_programs, ARRAY_LEN(metrics_for_programs));
}

/* A metric that no cell has is a slip of the pen: says which there are. */
static void check_metrics(const struct view *v, const struct results *all, const char *path)
{
    for (size_t i = 0; i < v->said.nmetrics; i++) {
        bool found = all->len == 0;
        struct buf known = BUF_INIT;
        for (size_t c = 0; c < all->len && !found; c++)
            found = result_metric(&all->v[c], v->said.metrics[i]) != NULL;
        for (size_t m = 0; !found && m < all->v[0].nmetrics; m++)
            buf_addf(&known, "%s%s", m ? ", " : "", all->v[0].metrics[m].name);
        if (!found)
            die(1, "%s: none of the cells has a metric '%s'; the first has %s", path,
                v->said.metrics[i], known.len ? known.s : "none yet");
        buf_release(&known);
    }
}

static void print_plain(const struct view *v, const struct results *all)
{
    const char **names = xcalloc(v->ncolumns + 1, sizeof(*names));
    struct buf text = BUF_INIT;
    for (size_t c = 0; c < v->ncolumns; c++)
        names[c] = v->columns[c].name;
    struct table *t = table_new(names);
    for (size_t i = 0; i < all->len; i++)
        for (size_t c = 0; c < v->ncolumns; c++) {
            buf_reset(&text);
            show(&v->columns[c], &all->v[i], v->said.format == TABLE_LATEX, &text);
            table_add(t, text.len ? text.s : NULL);
        }
    table_print(t, v->said.format);
    table_free(t);
    buf_release(&text);
    free(names);
}

/* Takes each --metric NAME out of argv, since it may stand several times. Returns what argc is then. */
static int take_metrics(int argc, char **argv, struct view *v)
{
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        const char *name = NULL;
        if (strncmp(argv[i], "--metric=", 9) == 0)
            name = argv[i] + 9;
        else if (strcmp(argv[i], "--metric") == 0 && i + 1 < argc)
            name = argv[++i];
        else
            argv[kept++] = argv[i];
        if (!name)
            continue;
        ARRAY_GROW(v->said.metrics, v->said.metrics_cap, v->said.nmetrics + 1);
        v->said.metrics[v->said.nmetrics++] = name;
    }
    argv[kept] = NULL;
    return kept;
}

static void view_release(struct view *v)
{
    for (size_t i = 0; i < v->nowned; i++)
        free(v->owned[i]);
    free(v->owned);
    free(v->columns);
    free(v->said.metrics);
}

static enum table_format format_of(bool json, bool tsv, bool markdown, bool csv, bool latex)
{
    if (json + tsv + markdown + csv + latex > 1)
        die(2, "table: only one of --json, --tsv, --csv, --markdown and --latex is allowed");
    return json       ? TABLE_JSON
           : tsv      ? TABLE_TSV
           : csv      ? TABLE_CSV
           : markdown ? TABLE_MARKDOWN
           : latex    ? TABLE_LATEX
                      : TABLE_TEXT;
}

static void take_by(struct table_view *v, const char *by)
{
    static const enum field fields[] = { FIELD_TASK, FIELD_K, FIELD_MODEL, FIELD_TRAIN };
    for (size_t i = 0; by && i < ARRAY_LEN(fields); i++)
        if (strcmp(by, table_field_names[fields[i]]) == 0) {
            v->wide = true;
            v->by = fields[i];
        }
    if (by && !v->wide)
        die(2, "table: --by %s: a table can be by task, k, model or train", by);
}

static void check_options(const struct table_view *v, const char *against, int pass_at)
{
    if (pass_at && (v->nmetrics || against || v->wide))
        die(2, "table: --pass-at does not go with --metric, --against and --by");
}

static void check_documents(struct store *s, const struct results *all, const struct table_view *v)
{
    for (size_t i = 0; i < v->nmetrics; i++) {
        bool there = all->len == 0 || quantity_find(v->metrics[i]) != QUANTITY_MEASURE;
        for (size_t c = 0; c < all->len && !there; c++)
            there = compare_by_document(s, &all->v[c], v->metrics[i]);
        if (!there)
            die(2,
                "table: --against: documents have no %s of their own; --metric can be score, nll, "
                "experts or a measure of theirs",
                v->metrics[i]);
    }
}

static int table_run(int argc, char **argv)
{
    struct view v = { 0 };
    bool json = false, tsv = false, markdown = false, csv = false, latex = false;
    const char *where = NULL, *unused = NULL, *against = NULL, *by = NULL;
    int pass_at = 0;
    const struct option_spec specs[] = {
        { .name = "--where", .value = &where },
        { .name = "--json", .flag = &json },
        { .name = "--tsv", .flag = &tsv },
        { .name = "--csv", .flag = &csv },
        { .name = "--markdown", .flag = &markdown },
        { .name = "--latex", .flag = &latex },
        { .name = "--metric", .value = &unused },
        { .name = "--pass-at", .number = &pass_at },
        { .name = "--against", .value = &against },
        { .name = "--by", .value = &by },
        { .name = NULL },
    };
    argc = take_metrics(argc, argv, &v);
    cmd_options(&cmd_table, argc, argv, specs, 1, 1);
    v.said.format = format_of(json, tsv, markdown, csv, latex);
    v.said.path = argv[1];
    take_by(&v.said, by);
    check_options(&v.said, against, pass_at);

    struct buf err = BUF_INIT;
    struct results all = { 0 };
    struct store *s = store_open(argv[1], STORE_READ, &err);
    if (!s || results_read(s, where, &all, &err))
        die(1, "%s", err.s);
    table_order(&all);
    if (pass_at) {
        pass_at_print(s, &all, pass_at, v.said.format);
    } else if (against) {
        check_documents(s, &all, &v.said);
        table_against(s, &all, against, &v.said);
    } else if (v.said.wide) {
        check_metrics(&v, &all, argv[1]);
        table_by(s, &all, &v.said);
    } else {
        check_metrics(&v, &all, argv[1]);
        choose_columns(&v, &all);
        print_plain(&v, &all);
    }
    store_close(s);
    results_release(&all);
    view_release(&v);
    buf_release(&err);
    return 0;
}

const struct cmd cmd_table = {
    .name = "table",
    .args = "DB [--where SQL] [--metric NAME... | --pass-at K] [--against ROUTER|SQL] [--by FIELD] "
            "[--json | --tsv | --csv | --markdown | --latex]",
    .help = "what each cell measured, or its difference to a router; a row each, or by a field",
    .run = table_run,
};
