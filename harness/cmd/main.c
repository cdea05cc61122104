/*
 * main.c: the table of commands. To add one, write cmd_NAME.c, declare it in cmd.h, list it here.
 */
#include "cmd/cmd.h"
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct cmd *const commands[] = {
    &cmd_run,   &cmd_plan,   &cmd_submit,   &cmd_merge,   &cmd_status, &cmd_table,
    &cmd_plot,  &cmd_report, &cmd_show,     &cmd_compare, &cmd_score,  &cmd_generate,
    &cmd_train, &cmd_list,   &cmd_tokenize, &cmd_doctor,  NULL,
};

static void print_help(void)
{
    printf("seqtopk sweeps routers of mixture-of-experts language models.\n\n"
           "usage: seqtopk COMMAND [ARGUMENTS]\n\n");
    for (const struct cmd *const *c = commands; *c; c++)
        printf("  %-9s %s\n", (*c)->name, (*c)->help);
    printf("\n`seqtopk COMMAND --help` tells a command's arguments.\n");
}

static const struct cmd *find_command(const char *name)
{
    for (const struct cmd *const *c = commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    struct buf known = BUF_INIT;
    for (const struct cmd *const *c = commands; *c; c++)
        buf_addf(&known, "%s%s", known.len ? ", " : "", (*c)->name);
    die(2, "there is no command '%s'; commands are %s", name, known.s);
}

/* Results that could not be written must not look as if they had been. */
static int finish(int code)
{
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0)
        die(1, "the results could not be written to stdout: %s", strerror(errno ? errno : EIO));
    return code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: seqtopk COMMAND [ARGUMENTS]; `seqtopk help` lists the commands\n");
        return 2;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("seqtopk %s%s%s\n", program_version, *program_revision ? " " : "", program_revision);
        return finish(0);
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        print_help();
        return finish(0);
    }
    return finish(find_command(argv[1])->run(argc - 1, argv + 1));
}
