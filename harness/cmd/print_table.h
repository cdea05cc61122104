/*
 * print_table.h: what a table is made of; for print_table.c and print_latex.c only, see cmd.h.
 */
#ifndef PRINT_TABLE_H
#define PRINT_TABLE_H

#include "cmd/cmd.h"

struct table {
    size_t columns;
    const char **name;    /* without the '#'; borrowed */
    char **over, **under; /* heads in LaTeX; NULL: nothing above, and the name */
    bool *number;
    char **cell; /* row after row; NULL: nothing known */
    size_t len, cap;
};

void print_latex(const struct table *t);

#endif
