/*
 * print_latex.c: a table as a tabular of LaTeX with the rules of booktabs; see cmd.h.
 *
 * Invariant: what stands in a cell cannot do anything: every character that LaTeX acts on is escaped,
 * and numbers are set in math. Characters beyond ASCII are left as they are (UTF-8), but for
 * the plus-minus sign.
 * Leaves out: the document around it.
 */
#include "cmd/print_table.h"

#include <stdio.h>
#include <string.h>

#define PLUS_MINUS "\xc2\xb1"

static const char *escape_of(char c)
{
    switch (c) {
    case '\\':
        return "\\textbackslash{}";
    case '~':
        return "\\textasciitilde{}";
    case '^':
        return "\\textasciicircum{}";
    case '<':
        return "\\textless{}";
    case '>':
        return "\\textgreater{}";
    case '|':
        return "\\textbar{}";
    case '"':
        return "''"; // \textquotedbl wants another encoding of fonts
    case '[':        // behind a row's end it would be an argument
        return "{[}";
    case '*':
        return "{*}";
    default:
        return NULL;
    }
}

static void print_words(const char *s)
{
    for (; *s; s++) {
        const char *escaped = s[0] == '-' && s[1] == '-' ? "-{}" /* not a dash */ : escape_of(*s);
        if (escaped)
            fputs(escaped, stdout);
        else if (strncmp(s, PLUS_MINUS, 2) == 0 && *++s)
            fputs("$\\pm$", stdout);
        else if (strchr("_%&#${}", *s))
            printf("\\%c", *s);
        else
            putchar((unsigned char)*s < ' ' || *s == 0x7f ? ' ' : *s);
    }
}

/* Digits and what stands between them: "1.57 ± 0.03", "-0.1 [-0.2, 0.0]", "< 0.0001". */
static bool is_formula(const char *s)
{
    bool digit = false;
    for (; *s; s++)
        if (strncmp(s, PLUS_MINUS, 2) == 0)
            s++;
        else if (!strchr("0123456789.+-[], <", *s))
            return false;
        else
            digit |= *s >= '0' && *s <= '9';
    return digit;
}

static void print_formula(const char *s)
{
    putchar('$');
    for (; *s; s++)
        if (strncmp(s, PLUS_MINUS, 2) == 0 && *++s)
            fputs("\\pm", stdout);
        else if (*s == ' ' && s[1] == '[')
            fputs("\\;", stdout);
        else
            putchar(*s);
    putchar('$');
}

static void print_cell(const char *s, bool number)
{
    if (!s)
        fputs("--", stdout);
    else if (number && is_formula(s))
        print_formula(s);
    else
        print_words(s);
}

/* Does this column stand under the same head as the one before it? */
static bool goes_on(const struct table *t, size_t col)
{
    return col > 0 && t->over[col] && t->over[col - 1] &&
           strcmp(t->over[col], t->over[col - 1]) == 0;
}

static size_t span_of(const struct table *t, size_t col)
{
    size_t end = col + 1;
    while (end < t->columns && goes_on(t, end))
        end++;
    return end - col;
}

static void print_over(const struct table *t)
{
    bool any = false;
    for (size_t col = 0; col < t->columns; col++)
        any |= t->over[col] != NULL;
    if (!any)
        return;
    for (size_t col = 0; col < t->columns; col += span_of(t, col)) {
        fputs(col ? " & " : "", stdout);
        if (!t->over[col])
            continue;
        printf("\\multicolumn{%zu}{c}{", span_of(t, col));
        print_words(t->over[col]);
        putchar('}');
    }
    printf(" \\\\\n");
    for (size_t col = 0; col < t->columns; col += span_of(t, col))
        if (t->over[col])
            printf("\\cmidrule(lr){%zu-%zu}\n", col + 1, col + span_of(t, col));
}

void print_latex(const struct table *t)
{
    printf("\\begin{tabular}{");
    for (size_t col = 0; col < t->columns; col++)
        putchar(t->number[col] ? 'r' : 'l');
    printf("}\n\\toprule\n");
    print_over(t);
    for (size_t col = 0; col < t->columns; col++) {
        fputs(col ? " & " : "", stdout);
        print_words(t->under[col] ? t->under[col] : t->name[col]);
    }
    printf(" \\\\\n\\midrule\n");
    for (size_t row = 0; row < t->len; row += t->columns)
        for (size_t col = 0; col < t->columns; col++) {
            print_cell(t->cell[row + col], t->number[col]);
            fputs(col + 1 < t->columns ? " & " : " \\\\\n", stdout);
        }
    printf("\\bottomrule\n\\end{tabular}\n");
}
