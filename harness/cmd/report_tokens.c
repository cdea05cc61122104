/*
 * report_tokens.c: the report's lists of the tokens that drew most and fewest experts, of each cell
 * whose tokens differ in that.
 */
#include "cmd/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* How often a token must stand in the texts to be listed: the most of these that leaves enough. */
static const int often[] = { 50, 20, 10, 5, 3 };

struct token_row {
    char *text;
    int64_t id, tokens;
    double experts, entropy;
};

struct token_rows {
    struct token_row *v; /* from most experts to fewest */
    size_t len, cap;
};

static void rows_release(struct token_rows *t)
{
    for (size_t i = 0; i < t->len; i++)
        free(t->v[i].text);
    free(t->v);
}

/* A token as one line of visible marks: leading and trailing blanks too. */
static void show_token(const char *text, size_t len, struct buf *out)
{
    struct buf clean = BUF_INIT;
    show_clean(text, len, &clean);
    size_t from = 0, to = clean.len;
    while (from < to && clean.s[from] == ' ')
        from++;
    while (to > from && clean.s[to - 1] == ' ')
        to--;
    for (size_t i = 0; i < from; i++)
        buf_adds(out, "\xe2\x90\xa3");
    buf_add(out, clean.s + from, to - from);
    for (size_t i = to; i < clean.len; i++)
        buf_adds(out, "\xe2\x90\xa3");
    buf_release(&clean);
}

static void add_row(const struct rows *q, struct token_rows *out)
{
    struct buf text = BUF_INIT;
    ARRAY_GROW(out->v, out->cap, out->len + 1);
    if (rows_null(q, 1))
        buf_addf(&text, "[%lld]", (long long)rows_int(q, 0));
    else
        show_token(rows_text(q, 1), strlen(rows_text(q, 1)), &text);
    out->v[out->len++] = (struct token_row){ .text = buf_detach(&text),
                                             .id = rows_int(q, 0),
                                             .tokens = rows_int(q, 2),
                                             .experts = rows_double(q, 3),
                                             .entropy = rows_double(q, 4) };
}

/* A blob has bytes that are no text: it is asked for as text all the same, and shown byte by byte. */
static void read_rows(struct report *r, const struct result *c, struct token_rows *out)
{
    struct buf id = BUF_INIT, sql = BUF_INIT;
    report_ids(&c, 1, &id);
    buf_addf(&sql,
             "SELECT token_id, CAST(token AS TEXT), tokens, experts, entropy FROM v_token_experts"
             " WHERE cell_id = %s AND experts IS NOT NULL AND tokens >= %d"
             " ORDER BY experts DESC, tokens DESC, token_id",
             id.s, often[ARRAY_LEN(often) - 1]);
    struct rows *q = report_query(r, sql.s);
    while (report_next(q))
        add_row(q, out);
    rows_close(q);
    buf_release(&id);
    buf_release(&sql);
}

static size_t count_of(const struct token_rows *t, int least)
{
    size_t n = 0;
    for (size_t i = 0; i < t->len; i++)
        n += t->v[i].tokens >= least;
    return n;
}

static void keep(struct token_rows *t, int least)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->len; i++)
        if (t->v[i].tokens >= least)
            t->v[kept++] = t->v[i];
        else
            free(t->v[i].text);
    t->len = kept;
}

static void add_list(struct report *r, const char *caption, const struct token_rows *t,
                     size_t first, size_t n, bool backwards, struct buf *out)
{
    static const char *const columns[] = { "token", "#experts", "#entropy, nats", "#times", NULL };
    report_table(r, caption, columns, out);
    for (size_t i = 0; i < n; i++) {
        const struct token_row *row = &t->v[backwards ? first + n - 1 - i : first + i];
        report_row(out);
        buf_adds(out, "<th scope=row class=tok>");
        html_text(row->text, out);
        buf_adds(out, "</th>");
        report_number(row->experts, 3, out);
        report_number(row->entropy, 3, out);
        report_cellf(out, "%lld", (long long)row->tokens);
        report_row_end(out);
    }
    report_table_end(out);
}

static void add_cell(struct report *r, const struct family *f, const struct result *c,
                     struct token_rows *t, struct buf *out)
{
    size_t o = 0;
    while (o + 1 < ARRAY_LEN(often) && count_of(t, often[o]) < (size_t)2 * REPORT_TOKENS)
        o++;
    keep(t, often[o]);
    size_t n = t->len / 2 < REPORT_TOKENS ? t->len / 2 : REPORT_TOKENS;
    struct buf name = BUF_INIT;
    report_cell_name(f, c, &name);
    buf_adds(out, "<details><summary>");
    html_text(name.s, out);
    buf_addf(out, " <span class=dim>%zu tokens that occur at least %d times</span></summary>\n",
             t->len, often[o]);
    char *most = xasprintf("Most experts: %s", name.s), *fewest = xasprintf("Fewest: %s", name.s);
    buf_adds(out, "<div class=pair>\n");
    add_list(r, most, t, 0, n, false, out);
    add_list(r, fewest, t, t->len - n, n, true, out);
    buf_adds(out, "</div></details>\n");
    free(most);
    free(fewest);
    buf_release(&name);
}

static bool is_first(const struct family *f, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (f->cells[j]->k == f->cells[i]->k && strcmp(f->cells[j]->label, f->cells[i]->label) == 0)
            return false;
    return true;
}

struct lists {
    size_t n, left_out;
};

static void add_family(struct report *r, const struct family *f, struct lists *lists,
                       struct buf *out)
{
    bool any = false;
    for (size_t i = 0; i < f->n; i++) {
        struct token_rows t = { 0 };
        const struct result *c = f->cells[i];
        // Of topk every token has the same.
        if (strcmp(c->router, "topk") == 0 || !is_first(f, i))
            continue;
        if (lists->n >= REPORT_TOKEN_CELLS) {
            lists->left_out++;
            continue;
        }
        read_rows(r, c, &t);
        if (t.len >= 2 && t.v[0].experts > t.v[t.len - 1].experts) {
            if (!any) {
                buf_adds(out, "<h3>");
                html_text(f->name, out);
                buf_adds(out, "</h3>\n");
            }
            any = true;
            lists->n++;
            add_cell(r, f, c, &t, out);
        }
        rows_release(&t);
    }
}

void report_tokens(struct report *r, struct buf *out)
{
    struct buf body = BUF_INIT;
    struct lists lists = { 0 };
    for (size_t i = 0; i < r->nfamilies; i++)
        add_family(r, &r->families[i], &lists, &body);
    bool known = report_count(r, "SELECT EXISTS (SELECT 1 FROM v_token_experts)");
    if (r->all.len && (lists.n || !known)) {
        report_open("tokens", "Tokens with most and fewest experts", out);
        if (lists.n)
            buf_adds(out, "<p>Experts: mean over all layers and occurrences. Entropy: mean of the "
                          "predictions made at the token. \xe2\x90\xa3 is a blank at the beginning "
                          "or end.</p>\n");
        else
            buf_adds(out, "<p>This database has no counts by token: it was written by an older "
                          "seqtopk, or tokens were not logged. The view v_tokens has each token "
                          "where they were.</p>\n");
        buf_add(out, body.s, body.len);
        if (lists.left_out)
            report_left_out(
                out, "%zu cells; --where chooses cells, and the view v_token_experts has all",
                lists.left_out);
        report_close(out);
    }
    buf_release(&body);
}
