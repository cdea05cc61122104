/*
 * report_samples.c: the report's reader for single samples: the same few documents of each family of
 * cells, tokens shaded by experts or by entropy, what was found in an output and how it was scored.
 *
 * Which documents: the first, and those on which routers differ most at one K, by the variance of
 * their scores, or of their losses a token. The shades of one document and K are of one scale, so that
 * routers can be compared.
 */
#include "cmd/choose.h"
#include "cmd/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TEXT_TOKENS 500  /* of what is behind the prompt */
#define TEXT_BYTES 4000  /* of any text that is not tokens */
#define LEAST_BYTES 2000 /* a sample has about so many anyhow */

struct document {
    char *doc;
    bool first; /* else: chosen for its differences */
};

struct documents {
    struct document *v;
    size_t len, cap;
};

/* ---- which documents ---- */

static void add_document(struct documents *d, const char *doc, bool first)
{
    for (size_t i = 0; i < d->len; i++)
        if (strcmp(d->v[i].doc, doc) == 0)
            return;
    ARRAY_GROW(d->v, d->cap, d->len + 1);
    d->v[d->len++] = (struct document){ xstrdup(doc), first };
}

static void documents_release(struct documents *d)
{
    for (size_t i = 0; i < d->len; i++)
        free(d->v[i].doc);
    free(d->v);
}

static void choose_documents(struct report *r, const struct family *f, struct documents *out)
{
    struct buf ids = BUF_INIT, sql = BUF_INIT;
    report_ids(f->cells, f->n, &ids);
    buf_addf(&sql, "SELECT CAST(min(doc) AS INTEGER) FROM v_samples WHERE cell_id IN (%s)", ids.s);
    struct rows *q = report_query(r, sql.s);
    if (report_next(q) && !rows_null(q, 0))
        add_document(out, rows_text(q, 0), true);
    rows_close(q);
    buf_reset(&sql);
    // Documents that more cells have come first; of equal ones the smaller number.
    buf_addf(&sql,
             "SELECT CAST(doc AS INTEGER) FROM (SELECT s.doc, c.k, count(*) AS n,"
             " avg(s.v * s.v) - avg(s.v) * avg(s.v) AS variance FROM (SELECT cell_id, doc,"
             " coalesce(score, nll / nullif(nll_tokens, 0)) AS v FROM v_samples"
             " WHERE cell_id IN (%s) AND error IS NULL) AS s JOIN v_cells AS c USING (cell_id)"
             " GROUP BY s.doc, c.k) GROUP BY doc"
             " ORDER BY sum(n) DESC, round(sum(variance), 9) DESC, doc LIMIT %d",
             ids.s, r->samples);
    q = report_query(r, sql.s);
    while (report_next(q) && out->len < (size_t)r->samples)
        add_document(out, rows_text(q, 0), false);
    rows_close(q);
    buf_release(&ids);
    buf_release(&sql);
}

/* ---- loading ---- */

/* The samples of one document; `v[i].cell` is NULL where cell i has none. */
struct loaded {
    struct shown *v;
    struct scale (*scales)[SHADES];
    size_t n;
};

static bool has_sample(struct report *r, const struct result *c, const char *doc)
{
    struct buf id = BUF_INIT, sql = BUF_INIT;
    report_ids(&c, 1, &id);
    buf_addf(&sql, "SELECT count(*) FROM v_samples WHERE cell_id = %s AND doc = %s", id.s, doc);
    bool has = report_count(r, sql.s) > 0;
    buf_release(&id);
    buf_release(&sql);
    return has;
}

static void load_one(struct report *r, const struct result *c, const char *doc, struct shown *p)
{
    struct buf word = BUF_INIT;
    if (!has_sample(r, c, doc))
        return;
    buf_init(&p->text);
    p->doc = doc;
    buf_adds(&word, "cell_id = ");
    report_ids(&c, 1, &word);
    choose_cells(r->store, word.s, &p->cells);
    show_load(r->store, p);
    show_find_places(p);
    buf_release(&word);
}

static void widen(struct scale *s, struct scale other)
{
    s->lo = fmin(s->lo, other.lo); // of a number and NaN, the number
    s->hi = fmax(s->hi, other.hi);
}

static struct loaded load(struct report *r, const struct family *f, const char *doc)
{
    struct loaded l = { .v = xcalloc(f->n, sizeof(*l.v)),
                        .scales = xcalloc(f->n, sizeof(*l.scales)),
                        .n = f->n };
    for (size_t i = 0; i < f->n; i++)
        load_one(r, f->cells[i], doc, &l.v[i]);
    for (size_t i = 0; i < f->n; i++)
        for (enum shade_by by = SHADE_NONE; by < SHADES; by++) {
            l.scales[i][by] = (struct scale){ NAN, NAN };
            for (size_t j = 0; j < f->n; j++)
                if (l.v[j].cell && f->cells[j]->k == f->cells[i]->k)
                    widen(&l.scales[i][by], show_scale(&l.v[j], by));
        }
    return l;
}

static void loaded_release(struct loaded *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].cell)
            show_release(&l->v[i]);
    free(l->v);
    free(l->scales);
}

/* ---- one sample ---- */

static size_t at_character(const struct buf *text, size_t at)
{
    while (at < text->len && ((unsigned char)text->s[at] & 0xc0) == 0x80)
        at++;
    return at;
}

/* Of the tokens in [from, to), where the last `most` begin; `left` gets how many are before them. */
static size_t last_tokens(const struct shown *p, size_t from, size_t to, size_t most, size_t *left)
{
    size_t i = p->ntokens, n = 0, begin = to;
    for (*left = 0; i-- > 0 && p->tokens[i].from >= from;)
        if (p->tokens[i].from < to && n++ < most)
            begin = p->tokens[i].from;
        else if (p->tokens[i].from < to)
            ++*left;
    return *left ? at_character(&p->text, begin) : from;
}

/* And where the first `most` end. */
static size_t first_tokens(const struct shown *p, size_t from, size_t to, size_t most, size_t *left)
{
    size_t n = 0, end = to;
    *left = 0;
    for (size_t i = 0; i < p->ntokens; i++) {
        if (p->tokens[i].from < from)
            continue;
        if (n++ == most)
            end = p->tokens[i].from;
        *left += n > most;
    }
    if (p->ntokens == 0 && to - from > TEXT_BYTES)
        end = from + TEXT_BYTES;
    return at_character(&p->text, end);
}

static void add_prompt(const struct shown *p, const struct scale *scales, struct buf *out)
{
    size_t left, from = last_tokens(p, 0, p->output_from, REPORT_PROMPT_TOKENS, &left);
    buf_adds(out, "<p class=part>Prompt");
    if (left)
        buf_addf(out, ", its last %d tokens; %zu before them are left out", REPORT_PROMPT_TOKENS,
                 left);
    buf_adds(out, "</p>");
    html_tokens(p, from, p->output_from, scales, HTML_BRIEF, out);
}

static void add_text(const struct shown *p, size_t from, const char *name,
                     const struct scale *scales, struct buf *out)
{
    size_t left, to = first_tokens(p, from, p->text.len, TEXT_TOKENS, &left);
    buf_addf(out, "<p class=part>%s", name);
    if (left)
        buf_addf(out, ", its first %d tokens; %zu behind them are left out", TEXT_TOKENS, left);
    else if (to < p->text.len)
        buf_addf(out, ", its first %zu bytes; %zu behind them are left out", to - from,
                 p->text.len - to);
    buf_adds(out, "</p>");
    if (to > from)
        html_tokens(p, from, to, scales, HTML_BRIEF, out);
    else
        buf_addf(out, "<p class=dim>%s</p>\n", p->output ? "(empty)" : "(not kept)");
}

/* What show_facts() says of the sample, without what the page says of the cell. */
static void add_sample_facts(const struct shown *p, struct buf *out)
{
    static const char *const skip[] = { "cell", "model", "router", "task", "note", "score" };
    struct strings all = { 0 };
    show_facts(p, &all);
    buf_adds(out, "<dl class=facts>");
    for (size_t i = 0; i + 1 < all.len; i += 2) {
        size_t s = 0;
        while (s < ARRAY_LEN(skip) && strcmp(skip[s], all.v[i]) != 0)
            s++;
        if (s < ARRAY_LEN(skip))
            continue;
        buf_addf(out, "<dt>%s</dt><dd>", all.v[i]);
        html_text_most(all.v[i + 1], TEXT_BYTES, out);
        buf_adds(out, "</dd>\n");
    }
    buf_adds(out, "</dl>\n");
    strings_release(&all);
}

static void add_scale(const char *name, struct scale s, const char *class, struct buf *out)
{
    if (isnan(s.lo))
        return;
    buf_addf(out, "<span class=%s>%s <b class=s0>%.4g</b>", class, name, s.lo);
    if (s.hi > s.lo)
        buf_addf(out, " to <b class=s%d>%.4g</b>", SHADE_STEPS - 1, s.hi);
    buf_adds(out, "</span> ");
}

static void add_summary(const struct family *f, const struct shown *p, struct buf *out)
{
    struct buf name = BUF_INIT;
    report_cell_name(f, p->cell, &name);
    buf_adds(out, "<summary>");
    html_text(name.s, out);
    buf_adds(out, " <span class=dim>");
    if (!isnan(p->score))
        buf_addf(out, "score %.4g ", p->score);
    if (!isnan(p->nll) && p->nll_tokens > 0)
        buf_addf(out, "loss %.4f a token ", p->nll / p->nll_tokens);
    if (p->error)
        buf_adds(out, "error");
    buf_adds(out, "</span></summary>\n");
    buf_release(&name);
}

static void add_sample(const struct family *f, const struct shown *p,
                       const struct scale scales[SHADES], bool open, struct buf *out)
{
    struct shown tokens = show_tokens_alone(p);
    size_t from = show_has_prompt(p) ? p->output_from : 0;
    buf_addf(out, "<details class=sample%s>", open ? " open" : "");
    add_summary(f, p, out);
    add_sample_facts(p, out);
    if (p->ntokens) {
        buf_adds(out, "<p class=scale>Shades: ");
        add_scale("experts", scales[SHADE_EXPERTS], "by-e", out);
        add_scale("entropy", scales[SHADE_ENTROPY], "by-h", out);
        buf_adds(out, "</p>");
    }
    if (from)
        add_prompt(&tokens, scales, out);
    bool wrote = p->output || p->output_tokens;
    add_text(&tokens, from,
             wrote  ? "Output"
             : from ? "Target, scored by its loss"
                    : "Text, scored by "
                      "its loss",
             scales, out);
    if (p->ntokens && p->apart) {
        struct shown output = show_output_alone(p);
        add_text(&output, 0, "Output, as it was scored", scales, out);
    }
    html_measures(p, TEXT_BYTES, out);
    buf_adds(out, "</details>\n");
}

/* ---- documents and families ---- */

struct reader {
    size_t left;     /* bytes */
    size_t places;   /* documents still to come */
    size_t left_out; /* samples */
    size_t skipped;  /* whole tables */
};

/*
 * As many cells as fit, spread evenly over the family, so that each K has its part. What the first
 * one takes says how many fit.
 */
static void add_cells(const struct family *f, const struct loaded *l, bool open,
                      struct reader *reader, struct buf *out)
{
    size_t share = reader->left / (reader->places ? reader->places : 1), begin = out->len, size = 0;
    size_t there = 0, shown = 0, fit = f->n;
    for (size_t i = 0; i < f->n; i++)
        there += l->v[i].cell != NULL;
    for (size_t i = 0, seen = 0; i < f->n; i++) {
        if (!l->v[i].cell)
            continue;
        // The shown ones are those at which the count of seen * fit / there goes up.
        if (seen++ > 0 && (seen - 1) * fit / there == (seen - 2) * fit / there)
            continue;
        if (shown > 0 && out->len - begin + size > share)
            break;
        bool varied = strcmp(f->cells[i]->router, "topk") != 0;
        add_sample(f, &l->v[i], l->scales[i], open && varied, out);
        open = open && !varied; // the first in which there is something to see
        if (shown++ > 0)
            continue;
        size = out->len - begin > LEAST_BYTES ? out->len - begin : LEAST_BYTES;
        fit = share / size < 1 ? 1 : share / size < there ? share / size : there;
    }
    reader->left_out += there - shown;
    size_t used = out->len - begin;
    reader->left -= used < reader->left ? used : reader->left;
}

static void add_family(struct report *r, const struct family *f, bool open, struct reader *reader,
                       struct buf *out)
{
    struct documents docs = { 0 };
    if (reader->left < LEAST_BYTES) {
        reader->skipped++;
        return;
    }
    choose_documents(r, f, &docs);
    if (docs.len) {
        buf_adds(out, "<h3>");
        html_text(f->name, out);
        buf_adds(out, "</h3>\n");
    }
    for (size_t i = 0; i < docs.len; i++) {
        struct loaded l = load(r, f, docs.v[i].doc);
        buf_adds(out, "<h4>Document ");
        html_text(docs.v[i].doc, out);
        buf_addf(out, " <span class=dim>%s</span></h4>\n",
                 docs.v[i].first ? "the first" : "the routers differ much on it");
        add_cells(f, &l, open && i == 0, reader, out);
        reader->places -= reader->places > 0;
        loaded_release(&l);
    }
    documents_release(&docs);
}

static void add_switch(struct buf *out)
{
    buf_adds(out, "<fieldset class=switch><legend>Shade tokens by</legend>"
                  "<label><input type=radio name=by id=by-experts checked> experts</label> "
                  "<label><input type=radio name=by id=by-entropy> entropy</label> "
                  "<label><input type=radio name=by id=by-none> nothing</label> "
                  "<label><input type=checkbox id=numbers> print the numbers too</label>"
                  "</fieldset>\n");
}

void report_samples(struct report *r, struct buf *out)
{
    struct buf body = BUF_INIT;
    struct reader reader = { .left = REPORT_SAMPLES_BYTES,
                             .places = r->nfamilies * (size_t)r->samples };
    for (size_t i = 0; i < r->nfamilies; i++)
        add_family(r, &r->families[i], i == 0, &reader, &body);
    if (body.len) {
        report_open("samples", "Samples", out);
        buf_addf(
            out,
            "<p>%d document%s of each table (--samples N): the first, and those on which routers "
            "differ most at one K. What a token drew is shown at the foot of the page when it is "
            "pointed at, and behind each token where the box is ticked. Shades go from the "
            "smallest to the largest value of a "
            "document at one K. An underlined part is where the answer was found.</p>\n",
            r->samples, r->samples == 1 ? "" : "s");
        add_switch(out);
        buf_add(out, body.s, body.len);
        if (reader.left_out)
            report_left_out(out,
                            "%zu samples of these documents, for the size of the page; "
                            "`seqtopk show DB CELL:DOC` shows any sample",
                            reader.left_out);
        if (reader.skipped)
            report_left_out(out, "the samples of %zu more tables; --where chooses cells",
                            reader.skipped);
        report_close(out);
    }
    buf_release(&body);
}
