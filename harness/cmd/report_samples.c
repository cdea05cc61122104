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
        report_sample(f, &l->v[i], l->scales[i], open && varied, out);
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
