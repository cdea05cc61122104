/*
 * print_table.c: a table on stdout, for people or for programs; see cmd.h.
 */
#include "cmd/cmd.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct table {
    size_t columns;
    const char **name; /* without the '#'; borrowed */
    bool *number;
    char **cell; /* row after row; NULL: nothing known */
    size_t len, cap;
};

struct table *table_new(const char *const *columns)
{
    struct table *t = xcalloc(1, sizeof(*t));
    while (columns[t->columns])
        t->columns++;
    t->name = xcalloc(t->columns, sizeof(*t->name));
    t->number = xcalloc(t->columns, sizeof(*t->number));
    for (size_t i = 0; i < t->columns; i++) {
        t->number[i] = columns[i][0] == '#';
        t->name[i] = columns[i] + t->number[i];
    }
    return t;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->len; i++)
        free(t->cell[i]);
    free(t->cell);
    free(t->name);
    free(t->number);
    free(t);
}

void table_add(struct table *t, const char *cell)
{
    ARRAY_GROW(t->cell, t->cap, t->len + 1);
    t->cell[t->len++] = cell ? xstrdup(cell) : NULL;
}

void table_addf(struct table *t, const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    ARRAY_GROW(t->cell, t->cap, t->len + 1);
    t->cell[t->len++] = buf_detach(&b);
}

/* Characters, not bytes. */
static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void print_text(const struct table *t)
{
    size_t *width = xcalloc(t->columns, sizeof(*width));
    for (size_t i = 0; i < t->columns; i++)
        width[i] = width_of(t->name[i]);
    for (size_t i = 0; i < t->len; i++) {
        size_t w = t->cell[i] ? width_of(t->cell[i]) : 1;
        if (w > width[i % t->columns])
            width[i % t->columns] = w;
    }
    for (size_t i = 0; i < t->len + t->columns; i++) {
        size_t col = i % t->columns;
        const char *s = i < t->columns ? t->name[col] : t->cell[i - t->columns];
        s = s ? s : "-";
        int blanks = (int)(width[col] - width_of(s));
        bool last = col + 1 == t->columns;
        if (t->number[col])
            printf("%*s%s", blanks, "", s);
        else
            printf("%s%*s", s, last ? 0 : blanks, "");
        fputs(last ? "\n" : "  ", stdout);
    }
    free(width);
}

static void print_tsv_cell(const char *s)
{
    for (; s && *s; s++) {
        if (*s == '\t')
            fputs("\\t", stdout);
        else if (*s == '\n')
            fputs("\\n", stdout);
        else if (*s == '\r')
            fputs("\\r", stdout);
        else if (*s == '\\')
            fputs("\\\\", stdout);
        else
            putchar(*s);
    }
}

static void print_tsv(const struct table *t)
{
    for (size_t i = 0; i < t->len + t->columns; i++) {
        size_t col = i % t->columns;
        print_tsv_cell(i < t->columns ? t->name[col] : t->cell[i - t->columns]);
        putchar(col + 1 == t->columns ? '\n' : '\t');
    }
}

/* A column of numbers gives numbers, where the cell is one. */
static json_t *json_cell(const char *s, bool number)
{
    if (!s)
        return json_null();
    json_t *v = number ? json_loads(s, JSON_DECODE_ANY, NULL) : NULL;
    if (v && json_is_number(v))
        return v;
    json_decref(v);
    if (number)
        return json_null(); // NaN and the like
    v = json_string(s);
    return v ? v : json_null();
}

static void print_json(const struct table *t)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < t->len; i += t->columns) {
        json_t *row = json_object();
        for (size_t col = 0; col < t->columns; col++)
            json_object_set_new(row, t->name[col], json_cell(t->cell[i + col], t->number[col]));
        json_array_append_new(rows, row);
    }
    json_dumpf(rows, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(rows);
}

void table_print(const struct table *t, enum table_format format)
{
    if (t->len % t->columns)
        BUG("a table of %zu columns has %zu cells", t->columns, t->len);
    if (format == TABLE_JSON)
        print_json(t);
    else if (format == TABLE_TSV)
        print_tsv(t);
    else
        print_text(t);
}
