/*
 * compare.c: see compare.h.
 */
#include "cmd/compare.h"

#include "cmd/choose.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Percentile intervals of few documents are too narrow: of simulated ones with 20 documents and a
 * nominal 95 %, 90 % had the truth in them; with 60 it was 93 %. */
#define FEW_DOCUMENTS 20

const char *const quantity_names[QUANTITY_MEASURE] = {
    [QUANTITY_SCORE] = "score",
    [QUANTITY_NLL] = "nll",
    [QUANTITY_EXPERTS] = "experts",
};

enum quantity quantity_find(const char *name)
{
    enum quantity m = 0;
    while (m < QUANTITY_MEASURE && strcmp(name, quantity_names[m]) != 0)
        m++;
    return m;
}

/* ---- cells that belong together ---- */

struct feature {
    const char *name, *a, *b;
};

/* Two cells of one side: all but the seed, and the id and the sweep, must be the same. */
static const char *what_differs(const struct result *p, const struct result *q)
{
    const char *feature = result_differs(p, q);
    return feature ? feature : p->seed == q->seed ? "id" : NULL;
}

static int check_side(const struct side *side, const char *name, struct buf *err)
{
    for (size_t i = 0; i < side->cells.len; i++)
        for (size_t j = 0; j < i; j++) {
            const char *what = what_differs(&side->cells.v[j], &side->cells.v[i]);
            if (what)
                return fail(err,
                            "%s, '%s', fits %zu cells, those above, which differ in the "
                            "%s; only cells that differ in nothing but the seed are one side",
                            name, side->word, side->cells.len, what);
        }
    return 0;
}

static bool has_seed(const struct results *cells, int64_t seed)
{
    for (size_t i = 0; i < cells->len; i++)
        if (cells->v[i].seed == seed)
            return true;
    return false;
}

int compare_check(const struct comparison *c, struct buf *err)
{
    const struct side *sides[] = { &c->a, &c->b };
    for (int i = 0; i < 2; i++)
        if (check_side(sides[i], i ? "B" : "A", err)) {
            struct buf sentence = *err;
            choose_refuse(&sides[i]->cells, "compare: %s", sentence.s);
        }
    const struct results *a = &c->a.cells, *b = &c->b.cells;
    if (strcmp(a->v[0].task, b->v[0].task) != 0)
        return fail(err, "A is of the task %s and B of %s; only one task can be compared",
                    a->v[0].task, b->v[0].task);
    for (size_t i = 0; i < a->len; i++)
        for (size_t j = 0; j < b->len; j++)
            if (strcmp(a->v[i].id, b->v[j].id) == 0)
                return fail(err, "A and B are both the cell %.8s", a->v[i].id);
    if (a->len == 1 && b->len == 1)
        return 0;
    for (size_t i = 0; i < a->len; i++)
        if (a->len != b->len || !has_seed(b, a->v[i].seed))
            return fail(err,
                        "A has %zu seeds and B has %zu; both need the same ones, so that "
                        "they pair up",
                        a->len, b->len);
    return 0;
}

/* ---- pairs ---- */

static bool has_any(const struct side *side, enum quantity m)
{
    for (size_t i = 0; i < side->nrows; i++)
        if (side->rows[i].of[m].there)
            return true;
    return false;
}

static const char *plural_of(const struct comparison *c)
{
    static const char *const plurals[] = { "scores", "losses", "logged experts" };
    return c->quantity == QUANTITY_MEASURE ? c->metric : plurals[c->quantity];
}

static int choose_metric(struct comparison *c, const char *metric, bool alone, struct buf *err)
{
    bool score = has_any(&c->a, QUANTITY_SCORE) && (alone || has_any(&c->b, QUANTITY_SCORE));
    c->quantity = metric ? quantity_find(metric) : score ? QUANTITY_SCORE : QUANTITY_NLL;
    c->metric = c->quantity == QUANTITY_MEASURE ? metric : quantity_names[c->quantity];
    bool a = has_any(&c->a, c->quantity), b = alone || has_any(&c->b, c->quantity);
    if (!a && !b && c->quantity == QUANTITY_MEASURE)
        return fail(err,
                    "--metric %s: documents have a score, an nll and experts, and what their "
                    "measures say",
                    metric);
    if (metric && (!a || !b))
        return fail(err, "%s no %s; try another --metric",
                    a       ? "B has"
                    : !b    ? "both sides have"
                    : alone ? "the cells have"
                            : "A has",
                    plural_of(c));
    return 0;
}

/* The rows of the document that begins at `i`, and whether each cell has a value. */
struct gathered {
    size_t first, next; /* where it and the next document begin */
    bool whole;         /* every cell of the side has the document */
    bool valued;        /* and in each it has a value */
};

static struct gathered gather(const struct side *side, size_t i, enum quantity m)
{
    struct gathered g = { .first = i, .next = i, .valued = true };
    for (; g.next < side->nrows && side->rows[g.next].doc == side->rows[i].doc; g.next++)
        g.valued &= side->rows[g.next].of[m].there;
    g.whole = g.next - i == side->cells.len;
    return g;
}

static struct pair *room_for_pair(struct comparison *c)
{
    size_t seeds = (size_t)c->seeds, at = (size_t)c->npairs++;
    if (at == c->pairs_cap) {
        c->pairs_cap = at ? 2 * at : 64;
        c->pairs = xrealloc(c->pairs, c->pairs_cap * seeds, sizeof(*c->pairs));
    }
    return c->pairs + at * seeds;
}

static void add_pair(struct comparison *c, const struct gathered *a, const struct gathered *b)
{
    if (!a->valued || !b->valued) {
        c->without++;
        return;
    }
    struct pair *pair = room_for_pair(c);
    for (int i = 0; i < c->seeds; i++) {
        const struct observed *x = &c->a.rows[a->first + (size_t)i].of[c->quantity];
        const struct observed *y = &c->b.rows[b->first + (size_t)i].of[c->quantity];
        pair[i] = (struct pair){ x->sum, x->weight, y->sum, y->weight };
    }
}

static void pair_documents(struct comparison *c)
{
    const struct side *a = &c->a, *b = &c->b;
    for (size_t i = 0, j = 0; i < a->nrows || j < b->nrows;) {
        int64_t left = i < a->nrows ? a->rows[i].doc : INT64_MAX;
        int64_t right = j < b->nrows ? b->rows[j].doc : INT64_MAX;
        struct gathered ga = { .next = i }, gb = { .next = j };
        if (left <= right)
            ga = gather(a, i, c->quantity);
        if (right <= left)
            gb = gather(b, j, c->quantity);
        if (ga.whole && gb.whole)
            add_pair(c, &ga, &gb);
        c->only_a += ga.whole && !gb.whole;
        c->only_b += gb.whole && !ga.whole;
        i = ga.next;
        j = gb.next;
    }
}

static const char *one_of(const struct comparison *c)
{
    static const char *const ones[] = { "a score", "a loss", "experts" };
    return c->quantity == QUANTITY_MEASURE ? c->metric : ones[c->quantity];
}

int compare_pair(struct comparison *c, const char *metric, struct buf *err)
{
    if (choose_metric(c, metric, false, err))
        return -1;
    c->seeds = (int)c->a.cells.len;
    pair_documents(c);
    if (c->npairs < 2)
        return fail(
            err,
            "the two sides have %d document%s with %s in common; at least 2 are needed (only "
            "A has %d, only B has %d)",
            c->npairs, c->npairs == 1 ? "" : "s", one_of(c), c->only_a, c->only_b);
    return 0;
}

int compare_alone(struct comparison *c, const char *metric, struct buf *err)
{
    if (choose_metric(c, metric, true, err))
        return -1;
    c->seeds = (int)c->a.cells.len;
    for (size_t i = 0; i < c->a.nrows;) {
        struct gathered g = gather(&c->a, i, c->quantity);
        c->only_a += !g.whole;
        c->without += g.whole && !g.valued;
        if (g.whole && g.valued) {
            struct pair *pair = room_for_pair(c);
            for (int s = 0; s < c->seeds; s++) {
                const struct observed *x = &c->a.rows[g.first + (size_t)s].of[c->quantity];
                pair[s] = (struct pair){ x->sum, x->weight, 0, 1 };
            }
        }
        i = g.next;
    }
    if (c->npairs < 1)
        return fail(err, "no document has %s under every seed", one_of(c));
    return 0;
}

/* ---- doubts ---- */

/* Documents whose tokens are not the same on both sides, though the tokenizer is. */
static void doubt_data(struct store *s, struct comparison *c)
{
    struct buf err = BUF_INIT;
    struct rows *r = store_query(
        s, &err,
        "SELECT count(*), min(a.doc) FROM v_samples AS a JOIN v_samples AS b ON b.doc = a.doc "
        "WHERE a.cell_id = ?1 AND b.cell_id = ?2 "
        "AND (SELECT tokenizer FROM cell WHERE id = ?1) = "
        "(SELECT tokenizer FROM cell WHERE id = ?2) "
        "AND (a.prompt_tokens <> b.prompt_tokens "
        "OR (a.output_tokens + b.output_tokens = 0 AND a.nll_tokens <> b.nll_tokens) "
        "OR EXISTS (SELECT 1 FROM v_tokens AS t JOIN v_tokens AS u "
        "ON u.cell_id = ?2 AND u.doc = t.doc AND u.pos = t.pos "
        "WHERE t.cell_id = ?1 AND t.doc = a.doc AND t.token_id <> u.token_id "
        "AND (t.pos < a.prompt_tokens OR a.output_tokens + b.output_tokens = 0)))",
        c->a.cells.v[0].id, c->b.cells.v[0].id);
    if (!r || rows_next(r, &err) != 1)
        die(1, "%s", err.s);
    if (rows_int(r, 0))
        strings_addf(&c->warnings,
                     "the data are not the same: the tokens of %lld document%s differ, the first "
                     "is document %lld",
                     (long long)rows_int(r, 0), rows_int(r, 0) == 1 ? "" : "s",
                     (long long)rows_int(r, 1));
    rows_close(r);
    buf_release(&err);
}

/* A loss is by token: where tokens are cut differently, it is a mean over other things. */
static void doubt_tokenizer(struct store *s, struct comparison *c)
{
    struct buf err = BUF_INIT;
    struct rows *r =
        store_query(s, &err, "SELECT count(DISTINCT tokenizer) FROM cell WHERE id IN (?, ?)",
                    c->a.cells.v[0].id, c->b.cells.v[0].id);
    if (!r || rows_next(r, &err) != 1)
        die(1, "%s", err.s);
    if ((c->quantity == QUANTITY_NLL || c->quantity == QUANTITY_EXPERTS) && rows_int(r, 0) > 1)
        strings_add(&c->warnings,
                    "the tokenizers differ, so means over tokens are of other tokens");
    rows_close(r);
    buf_release(&err);
}

static void doubt_cells(struct comparison *c)
{
    const struct result *a = &c->a.cells.v[0], *b = &c->b.cells.v[0];
    const struct feature features[] = {
        { "models", a->model, b->model },
        { "dtypes", a->dtype, b->dtype },
        { "devices", a->device, b->device },
    };
    for (size_t i = 0; i < ARRAY_LEN(features); i++)
        if (strcmp(features[i].a, features[i].b) != 0)
            strings_addf(&c->warnings, "the %s differ: A is %s, B is %s", features[i].name,
                         features[i].a, features[i].b);
    const struct side *sides[] = { &c->a, &c->b };
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; j < sides[i]->cells.len; j++)
            if (strcmp(sides[i]->cells.v[j].status, "done") != 0)
                strings_addf(&c->warnings, "%s, cell %.8s, is %s", i ? "B" : "A",
                             sides[i]->cells.v[j].id, sides[i]->cells.v[j].status);
}

void compare_doubts(struct store *s, struct comparison *c)
{
    doubt_cells(c);
    doubt_tokenizer(s, c);
    doubt_data(s, c);
    if (c->only_a || c->only_b)
        strings_addf(&c->warnings, "left out: %d document%s that only A has, %d that only B has",
                     c->only_a, c->only_a == 1 ? "" : "s", c->only_b);
    if (c->without)
        strings_addf(&c->warnings, "left out: %d document%s without %s on one of the sides",
                     c->without, c->without == 1 ? "" : "s", one_of(c));
    if (c->npairs < FEW_DOCUMENTS)
        strings_addf(&c->warnings, "with %d documents the interval is too narrow", c->npairs);
}

void compare_release(struct comparison *c)
{
    results_release(&c->a.cells);
    results_release(&c->b.cells);
    free(c->a.rows);
    free(c->b.rows);
    free(c->pairs);
    strings_release(&c->warnings);
}
