/*
 * cmd_show.c: `seqtopk show`: one sample of a cell, on the terminal or as a page: prompt, output,
 * where the answer was found and what it was compared with, tokens shaded by what they drew.
 */
#include "cmd/choose.h"
#include "cmd/cmd.h"
#include "cmd/show.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool all_digits(const char *s)
{
    return *s && strspn(s, "0123456789") == strlen(s);
}

/* CELL:DOC or DOC; `cell` is the caller's to free, NULL where there is none. */
static const char *split_name(const char *word, char **cell)
{
    const char *colon = strrchr(word, ':'), *doc = colon ? colon + 1 : word;
    if (!all_digits(doc) || colon == word)
        die(2,
            "show: '%s' is no sample; it is CELL:DOC, or DOC with --where: the beginning of a "
            "cell's id, and the number of a document, from 0",
            word);
    *cell = colon ? xstrndup(word, (size_t)(colon - word)) : NULL;
    return doc;
}

static void choose(struct store *s, const char *cell, struct shown *p)
{
    choose_cells(s, cell, &p->cells);
    if (p->cells.len > 1 && cell)
        choose_refuse(&p->cells, "show: '%s' fits %zu cells, those above; it must fit one", cell,
                      p->cells.len);
    if (p->cells.len > 1)
        choose_refuse(&p->cells,
                      "show: %s has %zu cells, those above; name one by the beginning of its id, "
                      "%.8s:%s, or by --where",
                      store_path(s), p->cells.len, p->cells.v[0].id, p->doc);
}

static bool color_wanted(bool asked)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    if (asked)
        return true;
    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

/* What was asked for, or what there is. */
static enum shade_by shade_wanted(const struct shown *p, bool experts, bool entropy)
{
    bool has_experts = !isnan(show_scale(p, SHADE_EXPERTS).lo);
    bool has_entropy = !isnan(show_scale(p, SHADE_ENTROPY).lo);
    if (p->ntokens && ((experts && !has_experts) || (entropy && !has_entropy)))
        warning("the tokens have no %s", experts ? "experts" : "entropy");
    if (entropy || (!experts && !has_experts && has_entropy))
        return SHADE_ENTROPY;
    return SHADE_EXPERTS;
}

static void write_page(const struct shown *p, enum shade_by by, const char *path)
{
    struct buf page = BUF_INIT, err = BUF_INIT;
    show_html(p, by, &page);
    if (write_file(path, page.s, page.len, &err))
        die(1, "%s", err.s);
    puts(path);
    buf_release(&page);
}

static int show_run(int argc, char **argv)
{
    bool experts = false, entropy = false, color = false;
    const char *where = NULL, *html = NULL;
    const struct option_spec specs[] = {
        { .name = "--where", .value = &where },    { .name = "--html", .value = &html },
        { .name = "--experts", .flag = &experts }, { .name = "--entropy", .flag = &entropy },
        { .name = "--color", .flag = &color },     { .name = NULL },
    };
    struct shown p = { 0 };
    struct buf err = BUF_INIT;
    char *cell;
    cmd_options(&cmd_show, argc, argv, specs, 2, 2);
    if (experts && entropy)
        die(2, "show: only one of --experts and --entropy is allowed");
    buf_init(&p.text);
    p.doc = split_name(argv[2], &cell);
    if (cell && where)
        die(2, "show: '%s' names the cell already; --where goes with a document's number alone",
            argv[2]);
    struct store *s = store_open(argv[1], STORE_READ, &err);
    if (!s)
        die(1, "%s", err.s);
    choose(s, cell ? cell : where, &p);
    show_load(s, &p);
    show_find_places(&p);
    enum shade_by by = shade_wanted(&p, experts, entropy);
    if (html)
        write_page(&p, by, html);
    else
        show_text(&p, by, color_wanted(color));
    show_release(&p);
    store_close(s);
    free(cell);
    return 0;
}

const struct cmd cmd_show = {
    .name = "show",
    .args = "DB CELL:DOC | DOC [--where SQL] [--html FILE] [--experts | --entropy] [--color]",
    .help = "one sample: prompt, output, where the answer was found, tokens shaded by experts",
    .run = show_run,
};
