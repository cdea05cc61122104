/*
 * choose.c: see choose.h.
 */
#include "cmd/choose.h"

#include "cmd/show.h"

#include <stdio.h>
#include <string.h>

#define MOST_LISTED 20
#define SHORT_ID 8

static bool begins_an_id(const char *word)
{
    return *word && strspn(word, "0123456789abcdef") == strlen(word);
}

void choose_cells(struct store *s, const char *word, struct results *out)
{
    struct buf err = BUF_INIT, where = BUF_INIT;
    bool id = word && begins_an_id(word);
    if (id)
        buf_addf(&where, "cell_id GLOB '%s*'", word);
    else if (word)
        buf_adds(&where, word);
    if (results_read(s, word ? where.s : NULL, out, &err))
        die(1, "%s", err.s);
    if (out->len == 0 && id)
        die(1, "%s: no cell's id begins with '%s'; `seqtopk table %s --tsv` lists them",
            store_path(s), word, store_path(s));
    if (out->len == 0 && word)
        die(1, "%s: there is no cell with %s", store_path(s), word);
    if (out->len == 0)
        die(1, "%s: there are no cells in it", store_path(s));
    buf_release(&where);
    buf_release(&err);
}

void choose_describe(const struct result *c, struct buf *out)
{
    buf_addf(out, "%.*s  %s, %s, K = %d, %s, seed %lld", SHORT_ID, c->id, c->model, c->task, c->k,
             c->label, (long long)c->seed);
    if (strcmp(c->train, "none") != 0)
        buf_addf(out, ", trained %s", c->train);
    if (strcmp(c->status, "done") != 0)
        buf_addf(out, " (%s)", c->status);
}

void choose_refuse(const struct results *cells, const char *fmt, ...)
{
    struct buf line = BUF_INIT, shown = BUF_INIT, sentence = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&sentence, fmt, ap);
    va_end(ap);
    fflush(stdout);
    for (size_t i = 0; i < cells->len && i < MOST_LISTED; i++) {
        buf_reset(&line);
        buf_reset(&shown);
        choose_describe(&cells->v[i], &line);
        show_clean(line.s, line.len, &shown);
        fprintf(stderr, "  %s\n", shown.s);
    }
    if (cells->len > MOST_LISTED)
        fprintf(stderr, "  and %zu more\n", cells->len - MOST_LISTED);
    die(1, "%s", sentence.s);
}
