/*
 * print_table.c: a table on stdout, for people or for programs; see cmd.h.
 */
#include "cmd/print_table.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct table *table_new(const char *const *columns)
{
    struct table *t = xcalloc(1, sizeof(*t));
    while (columns[t->columns])
        t->columns++;
    t->name = xcalloc(t->columns, sizeof(*t->name));
    t->number = xcalloc(t->columns, sizeof(*t->number));
    t->over = xcalloc(t->columns, sizeof(*t->over));
    t->under = xcalloc(t->columns, sizeof(*t->under));
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
    for (size_t i = 0; i < t->columns; i++) {
        free(t->over[i]);
        free(t->under[i]);
    }
    free(t->cell);
    free(t->over);
    free(t->under);
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

void table_head(struct table *t, size_t column, const char *over, const char *under)
{
    t->over[column] = xstrdup(over);
    t->under[column] = xstrdup(under);
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
    for (size_t row = 0; row < t->len; row += t->columns)
        for (size_t col = 0; col < t->columns; col++) {
            size_t w = t->cell[row + col] ? width_of(t->cell[row + col]) : 1;
            width[col] = w > width[col] ? w : width[col];
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

static void print_markdown_cell(const char *s)
{
    printf("| ");
    for (; *s; s++) {
        if (*s == '|' || *s == '\\' || *s == '*' || *s == '_' || *s == '`' || *s == '<')
            putchar('\\');
        putchar(*s == '\n' || *s == '\r' ? ' ' : *s);
    }
    putchar(' ');
}

static void print_markdown(const struct table *t)
{
    for (size_t col = 0; col < t->columns; col++)
        print_markdown_cell(t->name[col]);
    printf("|\n");
    for (size_t col = 0; col < t->columns; col++)
        printf(t->number[col] ? "|---:" : "|---");
    printf("|\n");
    for (size_t row = 0; row < t->len; row += t->columns) {
        for (size_t col = 0; col < t->columns; col++)
            print_markdown_cell(t->cell[row + col] ? t->cell[row + col] : "-");
        printf("|\n");
    }
}

static void print_csv_cell(const char *s)
{
    bool quoted = s && s[strcspn(s, ",\"\r\n")];
    fputs(quoted ? "\"" : "", stdout);
    for (; s && *s; s++) {
        if (*s == '"')
            putchar('"');
        putchar(*s);
    }
    fputs(quoted ? "\"" : "", stdout);
}

static void print_csv(const struct table *t)
{
    for (size_t i = 0; i < t->len + t->columns; i++) {
        size_t col = i % t->columns;
        print_csv_cell(i < t->columns ? t->name[col] : t->cell[i - t->columns]);
        fputs(col + 1 == t->columns ? "\r\n" : ",", stdout);
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
    static void (*const printers[])(const struct table *) = {
        [TABLE_TEXT] = print_text,         [TABLE_TSV] = print_tsv, [TABLE_JSON] = print_json,
        [TABLE_MARKDOWN] = print_markdown, [TABLE_CSV] = print_csv, [TABLE_LATEX] = print_latex,
    };
    printers[format](t);
}
