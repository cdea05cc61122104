/*
 * table_wide.c: `seqtopk table --by`: a row for each router, a column for each value of a field; see
 * table.h. By K, routers whose bounds follow K stand in one row: see router_label.h.
 */
#include "cmd/router_label.h"
#include "cmd/table.h"

#include <math.h>
#include <string.h>

/* ---- rows and columns ---- */

struct wide {
    const struct table_view *v;
    const struct entry *e;
    size_t n;
    bool differences, key[FIELDS]; /* what tells rows apart */
    char **row, **column;          /* of each entry */
    struct strings rows;           /* in the order in which they came first */
    struct strings columns;        /* K from the largest, others by their names */
};

static bool has(const struct strings *s, const char *text)
{
    for (size_t i = 0; i < s->len; i++)
        if (strcmp(s->v[i], text) == 0)
            return true;
    return false;
}

/* Is the metric what the task's name says? */
static bool says_metric(const struct entry *e)
{
    const char *task = e->cell->task, *slash = strrchr(task, '/');
    return strcmp(slash ? slash + 1 : task, e->metric) == 0 || strncmp(task, "nll:", 4) == 0;
}

/* One metric a task is part of the column; several are rows. */
static bool one_metric_each(const struct wide *w)
{
    for (size_t i = 0; i < w->n; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(w->e[i].cell->task, w->e[j].cell->task) == 0 &&
                strcmp(w->e[i].metric, w->e[j].metric) != 0)
                return false;
    return true;
}

static char *column_of(const struct wide *w, const struct entry *e)
{
    struct buf text = BUF_INIT;
    if (w->v->by == FIELD_K)
        buf_adds(&text, "K = ");
    table_field(w->v->by, e, &text);
    if (w->v->by == FIELD_TASK && !w->key[FIELD_METRIC] && !says_metric(e))
        buf_addf(&text, ", %s", e->metric);
    return buf_detach(&text);
}

static char *row_of(const struct wide *w, const struct entry *e)
{
    struct buf text = BUF_INIT;
    for (enum field f = 0; f < FIELDS; f++)
        if (w->key[f]) {
            table_field(f, e, &text);
            buf_addc(&text, '\n');
        }
    return buf_detach(&text);
}

static int by_name(const void *a, const void *b)
{
    return natural_order(*(char *const *)a, *(char *const *)b);
}

static int by_name_falling(const void *a, const void *b)
{
    return by_name(b, a);
}

static void arrange(struct wide *w)
{
    for (enum field f = 0; f < FIELDS; f++)
        w->key[f] = f != w->v->by;
    w->key[FIELD_METRIC] = w->v->by != FIELD_TASK || !one_metric_each(w);
    w->row = xcalloc(w->n, sizeof(*w->row));
    w->column = xcalloc(w->n, sizeof(*w->column));
    for (size_t i = 0; i < w->n; i++) {
        w->row[i] = row_of(w, &w->e[i]);
        w->column[i] = column_of(w, &w->e[i]);
        for (size_t j = 0; j < i; j++)
            if (strcmp(w->row[i], w->row[j]) == 0 && strcmp(w->column[i], w->column[j]) == 0)
                die(1,
                    "table: --by %s: the cells %.8s and %.8s, %s, would stand in one place; choose "
                    "one by --where",
                    table_field_names[w->v->by], w->e[j].cell->id, w->e[i].cell->id,
                    w->e[i].cell->label);
        if (!has(&w->rows, w->row[i]))
            strings_add(&w->rows, w->row[i]);
        if (!has(&w->columns, w->column[i]))
            strings_add(&w->columns, w->column[i]);
    }
    qsort(w->columns.v, w->columns.len, sizeof(*w->columns.v),
          w->v->by == FIELD_K ? by_name_falling : by_name);
}

static const struct entry *entry_at(const struct wide *w, const char *row, const char *column)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->row[i], row) == 0 && (!column || strcmp(w->column[i], column) == 0))
            return &w->e[i];
    return NULL;
}

static void add_entry(const struct wide *w, struct table *t, const struct entry *e)
{
    int places = e ? table_places(e->error) : 0;
    if (!table_for_people(w->v)) {
        table_add_exact(t, e ? e->value : NAN);
        table_add_exact(t, !e ? NAN : w->differences ? e->lo : e->error);
        if (w->differences)
            table_add_exact(t, e ? e->hi : NAN);
    } else if (!e || isnan(e->value)) {
        table_add(t, NULL);
    } else if (w->differences) {
        table_addf(t, "%.*f [%.*f, %.*f]", places, e->value, places, e->lo, places, e->hi);
    } else if (isnan(e->error)) {
        table_addf(t, "%.*f", places, e->value);
    } else {
        table_addf(t, "%.*f \xc2\xb1 %.*f", places, e->value, places, e->error);
    }
}

/* In LaTeX "gsm8k/nll" stands as "nll" under "gsm8k", and K's values under K. */
static void add_heads(const struct wide *w, struct table *t, size_t first)
{
    for (size_t i = 0; i < w->columns.len; i++) {
        const char *name = w->columns.v[i], *slash = strrchr(name, '/');
        char *over = NULL;
        if (w->v->by == FIELD_K)
            table_head(t, first + i, "K", name + strlen("K = "));
        else if (w->v->by == FIELD_TASK && slash && slash != name && slash[1]) {
            over = xstrndup(name, (size_t)(slash - name));
            table_head(t, first + i, over, slash + 1);
        }
        free(over);
    }
}

static void print_wide(const struct wide *w)
{
    bool people = table_for_people(w->v), shown[FIELDS];
    struct strings names = { 0 };
    struct buf text = BUF_INIT;
    for (enum field f = 0; f < FIELDS; f++) {
        shown[f] = w->key[f] && (!people || f == FIELD_ROUTER || table_field_varies(f, w->e, w->n));
        if (shown[f])
            strings_addf(&names, "%s%s", f == FIELD_K ? "#" : "",
                         f == FIELD_K && people ? "K" : table_field_names[f]);
    }
    size_t first = names.len;
    for (size_t i = 0; i < w->columns.len; i++) {
        strings_addf(&names, "#%s", w->columns.v[i]);
        if (!people && !w->differences)
            strings_addf(&names, "#%s stderr", w->columns.v[i]);
        for (int high = 0; high < 2 && !people && w->differences; high++)
            strings_addf(&names, "#%s %s", w->columns.v[i], high ? "high" : "low");
    }
    ARRAY_GROW(names.v, names.cap, names.len + 1);
    names.v[names.len] = NULL;
    struct table *t = table_new((const char *const *)names.v);
    if (w->v->format == TABLE_LATEX)
        add_heads(w, t, first);
    for (size_t r = 0; r < w->rows.len; r++) {
        const struct entry *any = entry_at(w, w->rows.v[r], NULL);
        for (enum field f = 0; f < FIELDS; f++) {
            buf_reset(&text);
            table_field(f, any, &text);
            if (shown[f])
                table_add(t, text.s);
        }
        for (size_t c = 0; c < w->columns.len; c++)
            add_entry(w, t, entry_at(w, w->rows.v[r], w->columns.v[c]));
    }
    table_print(t, w->v->format);
    table_free(t);
    strings_release(&names);
    buf_release(&text);
}

static void remark_numbers(const struct wide *w)
{
    int64_t fewest = INT64_MAX, most = 0;
    int least = w->e[0].seeds, highest = 0;
    struct buf said = BUF_INIT;
    for (size_t i = 0; i < w->n; i++) {
        fewest = w->e[i].documents < fewest ? w->e[i].documents : fewest;
        most = w->e[i].documents > most ? w->e[i].documents : most;
        least = w->e[i].seeds < least ? w->e[i].seeds : least;
        highest = w->e[i].seeds > highest ? w->e[i].seeds : highest;
    }
    buf_addf(&said, "documents: %lld", (long long)fewest);
    if (most != fewest)
        buf_addf(&said, " to %lld", (long long)most);
    buf_addf(&said, "; seeds: %d", least);
    if (highest != least)
        buf_addf(&said, " to %d", highest);
    table_remark(w->v, "%s%s", said.s,
                 w->differences ? "; in brackets 95 % intervals"
                                : "; \xc2\xb1 standard error, by document, and from three seeds on "
                                  "by seed too");
    buf_release(&said);
}

void table_wide(const struct table_view *v, struct entry *entries, size_t n, bool differences)
{
    struct wide w = { .v = v, .e = entries, .n = n, .differences = differences };
    char **labels = xcalloc(n, sizeof(*labels));
    const struct result **cells = xcalloc(n, sizeof(*cells));
    for (size_t i = 0; i < n; i++)
        cells[i] = entries[i].cell;
    for (size_t i = 0; i < n && v->by == FIELD_K; i++)
        labels[i] = router_label_by_k(cells, n, cells[i], cells[i]->label);
    for (size_t i = 0; i < n && v->by == FIELD_K; i++)
        entries[i].router = labels[i];
    arrange(&w);
    print_wide(&w);
    remark_numbers(&w);
    for (size_t i = 0; i < n; i++) {
        free(w.row[i]);
        free(w.column[i]);
        free(labels[i]);
    }
    free(w.row);
    free(w.column);
    free(labels);
    free(cells);
    strings_release(&w.rows);
    strings_release(&w.columns);
}
