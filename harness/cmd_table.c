/*
 * cmd_table.c: `seqtopk table`: one row a cell, with what it measured.
 *
 * For people, columns that say the same in every row (training, seed, status) are left out, and a
 * value stands with its error; for programs (--tsv, --json) all columns are there, and numbers alone.
 */
#include "cmd.h"
#include "results.h"
#include "stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum format {
    FORMAT_TEXT,
    FORMAT_MARKDOWN,
    FORMAT_TSV,
    FORMAT_JSON,
};

struct column {
    const char *name; /* '#' before it: numbers */
    void (*show)(const struct result *, const char *metric, struct buf *out); /* empty: nothing known */
    const char *metric;
    bool if_varied; /* only where not all rows say the same */
};

static void show_id(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_adds(out, r->id);
}

static void show_model(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_adds(out, r->model);
}

static void show_task(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_adds(out, r->task);
}

static void show_k(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_addf(out, "%d", r->k);
}

static void show_router(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_adds(out, r->label);
}

static void show_mode(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_adds(out, r->mode ? r->mode : "");
}

static void show_min(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    if (r->min >= 0)
        buf_addf(out, "%d", r->min);
}

static void show_max(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    if (r->max >= 0)
        buf_addf(out, "%d", r->max);
}

static void show_train(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_adds(out, r->train);
}

static void show_seed(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_addf(out, "%lld", (long long)r->seed);
}

static void show_device(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_adds(out, r->device);
}

static void show_dtype(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_adds(out, r->dtype);
}

static void show_status(const struct result *r, const char *m, struct buf *out)
{
    (void)m;
    buf_adds(out, r->status);
}

static void show_value(const struct result *r, const char *name, struct buf *out)
{
    const struct result_metric *m = result_metric(r, name);
    if (m && !isnan(m->value))
        buf_addf(out, "%.9g", m->value);
}

static void show_error(const struct result *r, const char *name, struct buf *out)
{
    const struct result_metric *m = result_metric(r, name);
    if (m && !isnan(m->stderr_))
        buf_addf(out, "%.9g", m->stderr_);
}

/* The value for people, with its error where there is one. */
static void show_both(const struct result *r, const char *name, struct buf *out)
{
    const struct result_metric *m = result_metric(r, name);
    if (!m || isnan(m->value))
        return;
    buf_addf(out, m->value == floor(m->value) && fabs(m->value) < 1e15 ? "%.0f" : "%.4f", m->value);
    if (!isnan(m->stderr_) && m->stderr_ > 0)
        buf_addf(out, " ± %.4f", m->stderr_);
}

static void show_4(const struct result *r, const char *name, struct buf *out)
{
    const struct result_metric *m = result_metric(r, name);
    if (!m || isnan(m->value))
        return;
    buf_addf(out, "%.4f", m->value);
    if (!isnan(m->stderr_))
        buf_addf(out, " ± %.4f", m->stderr_);
}

static void show_3(const struct result *r, const char *name, struct buf *out)
{
    const struct result_metric *m = result_metric(r, name);
    if (m && !isnan(m->value))
        buf_addf(out, "%.3f", m->value);
}

static void interval(const struct result *r, const char *name, double *lo, double *hi)
{
    const struct result_metric *m = result_metric(r, name);
    struct estimate rho = { .value = m ? m->value : NAN, .stderr_ = m ? m->stderr_ : NAN };
    correlation_interval(rho, lo, hi);
}

static void show_low(const struct result *r, const char *name, struct buf *out)
{
    double lo, hi;
    interval(r, name, &lo, &hi);
    if (!isnan(lo))
        buf_addf(out, "%.9g", lo);
}

static void show_high(const struct result *r, const char *name, struct buf *out)
{
    double lo, hi;
    interval(r, name, &lo, &hi);
    if (!isnan(hi))
        buf_addf(out, "%.9g", hi);
}

static void show_correlation(const struct result *r, const char *name, struct buf *out)
{
    double lo, hi;
    show_3(r, name, out);
    interval(r, name, &lo, &hi);
    if (!isnan(lo))
        buf_addf(out, " [%.3f, %.3f]", lo, hi);
}

static const struct column for_people[] = {
    { "model", show_model, NULL, false },
    { "task", show_task, NULL, false },
    { "#K", show_k, NULL, false },
    { "router", show_router, NULL, false },
    { "train", show_train, NULL, true },
    { "#seed", show_seed, NULL, true },
    { "device", show_device, NULL, true },
    { "dtype", show_dtype, NULL, true },
    { "status", show_status, NULL, true },
};
static const struct column metrics_for_people[] = {
    { "#nll", show_4, "nll", false },
    { "#ppl", show_3, "ppl", false },
    { "#experts", show_3, "experts", false },
    { "#spearman [95 %]", show_correlation, "spearman", false },
    { "#load entropy", show_3, "load_entropy", false },
};
static const struct column for_programs[] = {
    { "cell_id", show_id, NULL, false },   { "model", show_model, NULL, false },
    { "task", show_task, NULL, false },    { "#k", show_k, NULL, false },
    { "router", show_router, NULL, false }, { "mode", show_mode, NULL, false },
    { "#min", show_min, NULL, false },     { "#max", show_max, NULL, false },
    { "train", show_train, NULL, false },  { "#seed", show_seed, NULL, false },   { "device", show_device, NULL, false },
    { "dtype", show_dtype, NULL, false },  { "status", show_status, NULL, false },
};
static const struct column metrics_for_programs[] = {
    { "#nll", show_value, "nll", false },
    { "#nll_stderr", show_error, "nll", false },
    { "#ppl", show_value, "ppl", false },
    { "#experts", show_value, "experts", false },
    { "#spearman", show_value, "spearman", false },
    { "#spearman_low", show_low, "spearman", false },
    { "#spearman_high", show_high, "spearman", false },
    { "#load_entropy", show_value, "load_entropy", false },
};

/* Names on the command line, and the columns that are shown. */
struct view {
    enum format format;
    const char **metrics;
    size_t nmetrics, metrics_cap;
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
        c->show(&all->v[i], c->metric, i == 0 ? &first : &other);
        different = i > 0 && strcmp(first.s, other.s) != 0;
    }
    // One status for all is only worth no column where it is the good one.
    if (all->len && c->show == show_status && strcmp(all->v[0].status, "done") != 0)
        different = true;
    buf_release(&first);
    buf_release(&other);
    return different;
}

static void add_column(struct view *v, struct column c)
{
    ARRAY_GROW(v->columns, v->columns_cap, v->ncolumns + 1);
    v->columns[v->ncolumns++] = c;
}

static void add_columns(struct view *v, const struct results *all, const struct column *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!c[i].if_varied || varies(all, &c[i]))
            add_column(v, c[i]);
}

static const char *own(struct view *v, char *name)
{
    ARRAY_GROW(v->owned, v->owned_cap, v->nowned + 1);
    return v->owned[v->nowned++] = name;
}

static void choose_columns(struct view *v, const struct results *all)
{
    bool people = v->format == FORMAT_TEXT || v->format == FORMAT_MARKDOWN;
    if (people)
        add_columns(v, all, for_people, ARRAY_LEN(for_people));
    else
        add_columns(v, all, for_programs, ARRAY_LEN(for_programs));
    for (size_t i = 0; i < v->nmetrics; i++) {
        const char *m = v->metrics[i];
        add_column(v, (struct column){ own(v, xasprintf("#%s", m)), people ? show_both : show_value, m,
                                       false });
        if (!people)
            add_column(v, (struct column){ own(v, xasprintf("#%s_stderr", m)), show_error, m, false });
    }
    if (v->nmetrics == 0 && people)
        add_columns(v, all, metrics_for_people, ARRAY_LEN(metrics_for_people));
    else if (v->nmetrics == 0)
        add_columns(v, all, metrics_for_programs, ARRAY_LEN(metrics_for_programs));
}

/* A metric that no cell has is a slip of the pen: says which there are. */
static void check_metrics(const struct view *v, const struct results *all, const char *path)
{
    for (size_t i = 0; i < v->nmetrics; i++) {
        bool found = all->len == 0;
        struct buf known = BUF_INIT;
        for (size_t c = 0; c < all->len && !found; c++)
            found = result_metric(&all->v[c], v->metrics[i]) != NULL;
        for (size_t m = 0; !found && m < all->v[0].nmetrics; m++)
            buf_addf(&known, "%s%s", m ? ", " : "", all->v[0].metrics[m].name);
        if (!found)
            die(1, "%s: none of the cells has a metric '%s'; the first has %s", path, v->metrics[i],
                known.len ? known.s : "none yet");
        buf_release(&known);
    }
}

static void print_markdown_cell(const char *s)
{
    for (; *s; s++) {
        if (*s == '|' || *s == '\\' || *s == '*' || *s == '_' || *s == '`' || *s == '<')
            putchar('\\');
        putchar(*s == '\n' ? ' ' : *s);
    }
}

static void print_markdown(const struct view *v, const struct results *all)
{
    struct buf text = BUF_INIT;
    for (size_t c = 0; c < v->ncolumns; c++) {
        printf("| ");
        print_markdown_cell(v->columns[c].name + (v->columns[c].name[0] == '#'));
        printf(" ");
    }
    printf("|\n");
    for (size_t c = 0; c < v->ncolumns; c++)
        printf(v->columns[c].name[0] == '#' ? "|---:" : "|---");
    printf("|\n");
    for (size_t i = 0; i < all->len; i++) {
        for (size_t c = 0; c < v->ncolumns; c++) {
            buf_reset(&text);
            v->columns[c].show(&all->v[i], v->columns[c].metric, &text);
            printf("| ");
            print_markdown_cell(text.len ? text.s : "-");
            printf(" ");
        }
        printf("|\n");
    }
    buf_release(&text);
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
            v->columns[c].show(&all->v[i], v->columns[c].metric, &text);
            table_add(t, text.len ? text.s : NULL);
        }
    table_print(t, v->format == FORMAT_TSV    ? TABLE_TSV
                   : v->format == FORMAT_JSON ? TABLE_JSON
                                              : TABLE_TEXT);
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
        ARRAY_GROW(v->metrics, v->metrics_cap, v->nmetrics + 1);
        v->metrics[v->nmetrics++] = name;
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
    free(v->metrics);
}

static int table_run(int argc, char **argv)
{
    struct view v = { 0 };
    bool json = false, tsv = false, markdown = false;
    const char *where = NULL, *unused = NULL;
    const struct option_spec specs[] = {
        { .name = "--where", .value = &where },       { .name = "--json", .flag = &json },
        { .name = "--tsv", .flag = &tsv },            { .name = "--markdown", .flag = &markdown },
        { .name = "--metric", .value = &unused },     { .name = NULL },
    };
    argc = take_metrics(argc, argv, &v);
    cmd_options(&cmd_table, argc, argv, specs, 1, 1);
    if (json + tsv + markdown > 1)
        die(2, "table: only one of --json, --tsv and --markdown is allowed");
    v.format = json ? FORMAT_JSON : tsv ? FORMAT_TSV : markdown ? FORMAT_MARKDOWN : FORMAT_TEXT;

    struct buf err = BUF_INIT;
    struct results all = { 0 };
    struct store *s = store_open(argv[1], STORE_READ, &err);
    if (!s || results_read(s, where, &all, &err))
        die(1, "%s", err.s);
    check_metrics(&v, &all, argv[1]);
    choose_columns(&v, &all);
    if (v.format == FORMAT_MARKDOWN)
        print_markdown(&v, &all);
    else
        print_plain(&v, &all);
    store_close(s);
    results_release(&all);
    view_release(&v);
    buf_release(&err);
    return 0;
}

const struct cmd cmd_table = {
    .name = "table",
    .args = "DB [--where SQL] [--metric NAME]... [--json | --tsv | --markdown]",
    .help = "what each cell measured: loss, experts used, correlation with entropy, load",
    .run = table_run,
};
