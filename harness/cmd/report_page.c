/*
 * report_page.c: puts the parts of a report together: families of cells, table of contents, what to
 * mind, and the rest in the order of reading; see report.h.
 */
#include "cmd/report.h"

#include <stdio.h>
#include <string.h>

const char report_mark[] = "<!doctype html>\n<!-- made by seqtopk report -->\n";

/* ---- families ---- */

static bool same_family(const struct result *a, const struct result *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->task, b->task) == 0 &&
           strcmp(a->train, b->train) == 0 && strcmp(a->dtype, b->dtype) == 0;
}

/* What all cells have in common is not in the names, but model and task are. */
static void name_families(struct report *r)
{
    bool trained = false, dtypes = false;
    for (size_t i = 0; i < r->all.len; i++) {
        trained |= strcmp(r->all.v[i].train, r->all.v[0].train) != 0;
        dtypes |= strcmp(r->all.v[i].dtype, r->all.v[0].dtype) != 0;
    }
    for (size_t i = 0; i < r->nfamilies; i++) {
        const struct result *c = r->families[i].cells[0];
        bool none = strcmp(c->train, "none") == 0;
        r->families[i].name =
            xasprintf("%s, %s%s%s%s%s", c->model, c->task,
                      !trained ? ""
                      : none   ? ", not trained"
                               : ", trained ",
                      !trained || none ? "" : c->train, dtypes ? ", " : "", dtypes ? c->dtype : "");
    }
}

static void make_families(struct report *r)
{
    for (size_t i = 0; i < r->all.len; i++) {
        const struct result *c = &r->all.v[i];
        size_t j = 0;
        while (j < r->nfamilies && !same_family(r->families[j].cells[0], c))
            j++;
        if (j == r->nfamilies) {
            ARRAY_GROW(r->families, r->families_cap, r->nfamilies + 1);
            r->families[r->nfamilies++] = (struct family){ 0 };
        }
        struct family *f = &r->families[j];
        ARRAY_GROW(f->cells, f->cap, f->n + 1);
        f->cells[f->n++] = c;
    }
    name_families(r);
}

/* ---- the page ---- */

static void add_warnings(const struct report *r, struct buf *out)
{
    report_open("mind", "What to mind", out);
    if (r->nwarnings == 0)
        buf_adds(out,
                 "<p>Nothing was found: all cells are finished, nothing was cut off, and every "
                 "difference that is claimed has the documents for it.</p>\n");
    else
        buf_adds(out, "<ul class=warnings>\n");
    for (int grave = 1; grave >= 0; grave--)
        for (size_t i = 0; i < r->nwarnings; i++) {
            const struct warning *w = &r->warnings[i];
            if (w->grave != grave)
                continue;
            buf_addf(out, "<li class=%s><b>%s</b> ", grave ? "grave" : "remark",
                     grave ? "Warning" : "Remark");
            html_text(w->text, out);
            buf_addf(out, " <a href=#%s>See %s</a></li>\n", w->where, w->where);
        }
    if (r->nwarnings)
        buf_adds(out, "</ul>\n");
    if (r->unheard)
        report_left_out(out, "%zu more of these", r->unheard);
    report_close(out);
}

/* One link for each <section id=...>, taken from the page itself, so that none leads nowhere. */
static void add_contents(const char *body, struct buf *out)
{
    static const char open[] = "<section id=", close[] = "</h2>";
    buf_adds(out, "<nav aria-label=Contents><ul>\n");
    for (const char *p = body; (p = strstr(p, open)) != NULL;) {
        p += strlen(open);
        const char *h2 = strstr(p, "<h2"), *heading = strchr(h2, '>') + 1, *end = strstr(h2, close);
        buf_addf(out, "<li><a href=#%.*s>%.*s</a></li>\n", (int)strcspn(p, " "), p,
                 (int)(end - heading), heading);
    }
    buf_adds(out, "</ul></nav>\n");
}

static void add_sentence(const struct report *r, struct buf *out)
{
    size_t grave = 0;
    for (size_t i = 0; i < r->nwarnings; i++)
        grave += r->warnings[i].grave;
    buf_addf(
        out,
        "<p>%zu cell%s in %zu table%s; <a href=#mind>%zu warning%s and %zu remark%s</a>.</p>\n",
        r->all.len, r->all.len == 1 ? "" : "s", r->nfamilies, r->nfamilies == 1 ? "" : "s", grave,
        grave == 1 ? "" : "s", r->nwarnings - grave, r->nwarnings - grave == 1 ? "" : "s");
}

static void add_title(const struct report *r, struct buf *out)
{
    struct strings sweeps = { 0 };
    for (size_t i = 0; i < r->all.len; i++)
        strings_add(&sweeps, r->all.v[i].sweep);
    strings_sort(&sweeps);
    for (size_t i = 0; i < sweeps.len && i < 3; i++)
        buf_addf(out, "%s%s", i ? ", " : "", sweeps.v[i]);
    if (sweeps.len > 3)
        buf_addf(out, " and %zu more", sweeps.len - 3);
    if (sweeps.len == 0)
        buf_adds(out, "Trainings");
    strings_release(&sweeps);
}

/*
 * No script may run and nothing may be loaded, whatever is on the page: the policy says so to the
 * browser.
 */
static void add_page(const struct report *r, const char *body, struct buf *out)
{
    struct buf title = BUF_INIT;
    add_title(r, &title);
    buf_addf(out,
             "%s<html lang=en>\n<head>\n<meta charset=utf-8>\n"
             "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
             "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src "
             "data:; style-src "
             "'unsafe-inline'\">\n<link rel=icon href=\"data:,\">\n<title>",
             report_mark);
    html_attribute(title.s, out);
    buf_addf(out, ": a report of seqtopk</title>\n<style>\n%s%s", html_colours, html_token_style);
    for (const char *const *rules = report_style; *rules; rules++)
        buf_adds(out, *rules);
    buf_adds(out, "</style>\n</head>\n<body>\n"
                  "<a class=skip href=#main>Skip to the report</a>\n<header>\n<h1>");
    html_text(title.s, out);
    buf_adds(out, "</h1>\n");
    add_sentence(r, out);
    buf_adds(out, "</header>\n");
    add_contents(body, out);
    buf_addf(
        out,
        "<main id=main tabindex=-1>\n%s</main>\n<footer><p>Made by <code>seqtopk report</code> "
        "from a database that has more: each token of each sample, by layer. The page loads "
        "nothing and runs no script.</p></footer>\n</body>\n</html>\n",
        body);
    buf_release(&title);
}

static void release(struct report *r)
{
    for (size_t i = 0; i < r->nfamilies; i++) {
        free(r->families[i].cells);
        free(r->families[i].name);
    }
    for (size_t i = 0; i < r->nwarnings; i++)
        free(r->warnings[i].text);
    free(r->families);
    free(r->warnings);
    results_release(&r->all);
}

int report_make(struct store *s, const char *where, int samples, struct buf *page)
{
    struct report r = { .store = s, .where = where, .samples = samples };
    struct buf err = BUF_INIT, runs = BUF_INIT, rest = BUF_INIT, body = BUF_INIT;
    if (results_read(s, where, &r.all, &err))
        die(1, "%s", err.s);
    if (r.all.len == 0 &&
        (where || !report_count(&r, "SELECT EXISTS (SELECT 1 FROM v_trainings)"))) {
        release(&r);
        return 1;
    }
    make_families(&r);
    report_runs(&r, &runs);
    report_results(&r, &rest);
    report_tests(&r, &rest);
    report_figures(&r, &rest);
    report_load(&r, &rest);
    report_tokens(&r, &rest);
    report_samples(&r, &rest);
    report_doubts(&r);
    add_warnings(&r, &body);
    buf_add(&body, runs.s, runs.len);
    buf_add(&body, rest.s, rest.len);
    add_page(&r, body.s, page);
    release(&r);
    buf_release(&err);
    buf_release(&runs);
    buf_release(&rest);
    buf_release(&body);
    return 0;
}
