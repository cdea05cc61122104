/*
 * cmd.h: the commands, one file each (cmd_NAME.c), listed in main.c.
 *
 * A command parses its own options with `struct option_spec`, prints results to stdout and
 * everything else to stderr, and returns its exit code: 0 done, 1 failed, 2 wrong usage.
 */
#ifndef CMD_H
#define CMD_H

#include "util.h"

struct cmd {
    const char *name;
    const char *args;                  /* "RECIPE [--db FILE]" */
    const char *help;                  /* one line */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

/* An option of a command: either a flag or one with a value. The table is ended by a NULL name. */
struct option_spec {
    const char *name;     /* "--db" */
    const char **value;   /* gets the word behind it; or NULL */
    bool *flag;           /* set; or NULL */
    int *number;          /* gets the word behind it as a whole number of at least 1; or NULL */
    int most;             /* of `number`; 0: INT_MAX */
    struct strings *list; /* gets the word behind it, each time that the option stands; or NULL */
};

/* The most that --threads and --batch may say. */
enum { THREADS_MAX = 1024, BATCH_MAX = 4096 };

/*
 * Takes the options out of argv; what is left, the operands, stands in argv[1..], and their number
 * is returned. A wrong option, or fewer than `min` or more than `max` operands, ends the program
 * with one sentence and the command's usage, exit code 2. --help prints it and exits 0.
 */
int cmd_options(const struct cmd *c, int argc, char **argv, const struct option_spec *specs,
                int min, int max);

/*
 * What measures need beside texts, checked: a sandbox where code is run, and a judge where `judge`
 * is not NULL. What is wrong ends the program; code without `allowed` is refused by the command's name.
 */
struct tools;
struct judge_spec;
void cmd_tools_open(struct tools *t, const struct cmd *c, const char *task, bool allowed,
                    const struct judge_spec *judge);
void cmd_tools_close(struct tools *t);
/* Says which tasks would ask a judge and find none. */
struct sweep;
void cmd_judge_note(const struct sweep *s);

/*
 * A table on stdout: columns aligned for people, tab-separated, a JSON array of objects, a table of
 * Markdown, CSV (RFC 4180), or a tabular of LaTeX that needs the package booktabs.
 */
enum table_format {
    TABLE_TEXT,
    TABLE_TSV,
    TABLE_JSON,
    TABLE_MARKDOWN,
    TABLE_CSV,
    TABLE_LATEX,
};
struct table;
/* `columns` ended by NULL. A name that begins with '#' (not shown) is a column of numbers. */
struct table *table_new(const char *const *columns);
void table_add(struct table *t, const char *cell); /* the next cell; NULL: nothing known */
void table_addf(struct table *t, const char *fmt, ...) PRINTF(2, 3);
/* In LaTeX, `over` stands above the column, once over those beside each other that have the same, and
 * `under` in its head. Both are copied. */
void table_head(struct table *t, size_t column, const char *over, const char *under);
void table_print(const struct table *t, enum table_format format);
void table_free(struct table *t);

extern const struct cmd cmd_run, cmd_plan, cmd_status, cmd_table, cmd_plot, cmd_report,
    cmd_tokenize, cmd_list, cmd_doctor, cmd_show, cmd_compare, cmd_score, cmd_generate, cmd_train,
    cmd_submit, cmd_merge;

#endif
