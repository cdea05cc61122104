/*
 * options.c: the options of a command, taken out of its arguments; see cmd.h.
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static void print_usage(const struct cmd *c, FILE *to)
{
    fprintf(to, "usage: seqtopk %s%s%s\n", c->name, *c->args ? " " : "", c->args);
}

NORETURN static void wrong_usage(const struct cmd *c, const char *fmt, ...) PRINTF(2, 3);

NORETURN static void wrong_usage(const struct cmd *c, const char *fmt, ...)
{
    struct buf what = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&what, fmt, ap);
    va_end(ap);
    fflush(stdout);
    fprintf(stderr, "seqtopk: %s\n", what.s);
    print_usage(c, stderr);
    exit(2);
}

static int whole_number(const struct cmd *c, const char *option, const char *text, int most)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || *end || end == text || text[0] == ' ' || value < 1 || value > INT_MAX)
        wrong_usage(c, "%s %s: a whole number from 1 to %d is needed", option, text,
                    most ? most : INT_MAX);
    return (int)value;
}

/* Takes the option argv[i], which may need argv[i + 1]; returns how many words it is. */
static int take_option(const struct cmd *c, char **argv, int i, const struct option_spec *specs)
{
    const char *word = argv[i], *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    const struct option_spec *o = specs;
    while (o->name && (strlen(o->name) != len || strncmp(o->name, word, len) != 0))
        o++;
    if (!o->name)
        wrong_usage(c, "%s has no option '%.*s'", c->name, (int)len, word);
    if (o->flag) {
        if (equals)
            wrong_usage(c, "%s takes no value", o->name);
        *o->flag = true;
        return 1;
    }
    const char *value = equals ? equals + 1 : argv[i + 1];
    if (!value)
        wrong_usage(c, "%s needs a value behind it", o->name);
    if (o->number) {
        *o->number = whole_number(c, o->name, value, o->most);
        if (o->most && *o->number > o->most)
            die(2, "%s: %s %d: at most %d are allowed", c->name, o->name, *o->number, o->most);
    } else if (o->list) {
        strings_add(o->list, value);
    } else {
        *o->value = value;
    }
    return equals ? 1 : 2;
}

int cmd_options(const struct cmd *c, int argc, char **argv, const struct option_spec *specs,
                int min, int max)
{
    int operands = 0;
    bool options = true;
    for (int i = 1; i < argc;) {
        if (options && strcmp(argv[i], "--help") == 0) {
            print_usage(c, stdout);
            printf("%s\n", c->help);
            exit(0);
        }
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
            i++;
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            i += take_option(c, argv, i, specs);
        } else {
            argv[1 + operands++] = argv[i++]; // never ahead of what is still to be read
        }
    }
    if (operands < min)
        wrong_usage(c, "%s needs %s", c->name, min == 1 ? "an operand" : "more operands");
    if (operands > max)
        wrong_usage(c, "%s does not take '%s'", c->name, argv[1 + max]);
    return operands;
}
