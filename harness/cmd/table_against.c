/*
 * table_against.c: `seqtopk table --against`: each router less a reference of the same model, task, K
 * and training, under the same seeds; see table_against.h and contrast.h.
 */
#include "cmd/table_against.h"
#include "cmd/router_label.h"

#include <math.h>
#include <string.h>

/* ---- what is printed ---- */

static const char *reading_of(const struct contrast *c, struct buf *out)
{
    static const char *const words[] = { [BETTER] = "better", [WORSE] = "worse" };
    static const char *const counts[] = { [BETTER] = "more", [WORSE] = "fewer" };
    static const char *const amounts[] = { [BETTER] = "higher", [WORSE] = "lower" };
    double most = contrast_not_ruled_out(c);
    enum verdict verdict = contrast_verdict(c);
    buf_reset(out);
    if (!isnan(most))
        buf_addf(out, "no difference larger than %.*f", table_places(c->paired.difference.stderr_),
                 most);
    else if (verdict == NOT_SHOWN)
        buf_addf(out, "not shown after Holm");
    else
        buf_adds(out, c->quantity == QUANTITY_EXPERTS   ? counts[verdict]
                      : c->quantity == QUANTITY_MEASURE ? amounts[verdict]
                                                        : words[verdict]);
    return out->s;
}

static void add_number(struct table *t, int places, double v)
{
    if (isnan(v))
        table_add(t, NULL);
    else
        table_addf(t, "%.*f", places, v);
}

static void add_p(struct table *t, double p)
{
    if (p < 0.0001)
        table_add(t, "< 0.0001");
    else
        add_number(t, 4, p);
}

static void add_for_people(struct table *t, const struct contrast *c)
{
    const struct paired *p = &c->paired;
    int places = table_places(p->difference.stderr_);
    struct buf reading = BUF_INIT;
    add_number(t, places, p->a.value);
    add_number(t, places, p->b.value);
    table_addf(t, "%.*f [%.*f, %.*f]", places, p->difference.value, places, p->lo, places, p->hi);
    add_p(t, c->p);
    add_p(t, c->holm);
    table_addf(t, "%lld", (long long)p->difference.n);
    table_addf(t, "%d", p->seeds);
    table_add(t, reading_of(c, &reading));
    buf_release(&reading);
}

static void add_for_programs(struct table *t, const struct contrast *c)
{
    const struct paired *p = &c->paired;
    const double numbers[] = { p->a.value,
                               p->b.value,
                               p->difference.value,
                               p->difference.stderr_,
                               p->by_document,
                               p->by_seed,
                               p->lo,
                               p->hi,
                               c->p,
                               c->holm,
                               contrast_not_ruled_out(c) };
    struct buf reading = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        table_add_exact(t, numbers[i]);
    table_addf(t, "%lld", (long long)p->difference.n);
    table_addf(t, "%d", p->seeds);
    table_add(t, c->exact ? "mcnemar" : "t");
    table_add(t, reading_of(c, &reading));
    buf_release(&reading);
}

static const char *const for_people[] = { "#value", "#reference", "#difference [95 %]",
                                          "#p",     "#p, Holm",   "#documents",
                                          "#seeds", "reading",    NULL };
static const char *const for_programs[] = {
    "#value", "#reference", "#difference", "#stderr", "#stderr_by_document", "#stderr_by_seed",
    "#low",   "#high",      "#p",          "#p_holm", "#not_ruled_out",      "#documents",
    "#seeds", "test",       "reading",     NULL
};

static struct entry entry_of(const struct row *r)
{
    const struct paired *p = &r->c.paired;
    return (struct entry){ .cell = r->c.a.cells[0],
                           .metric = r->c.quantity == QUANTITY_MEASURE
                                         ? r->metric
                                         : quantity_names[r->c.quantity],
                           .router = r->c.a.cells[0]->label,
                           .value = p->difference.value,
                           .error = p->difference.stderr_,
                           .lo = p->lo,
                           .hi = p->hi,
                           .documents = p->difference.n,
                           .seeds = p->seeds };
}

static bool is_shown(const struct table_view *v, const struct entry *e, size_t n, enum field f)
{
    return !table_for_people(v) || f <= FIELD_ROUTER || table_field_varies(f, e, n);
}

static void print_rows(const struct against *a, const struct table_view *v,
                       const struct entry *entries)
{
    bool people = table_for_people(v);
    const char *const *numbers = people ? for_people : for_programs;
    const char *names[FIELDS + ARRAY_LEN(for_programs) + 1];
    struct buf text = BUF_INIT;
    size_t n = 0;
    for (enum field f = 0; f < FIELDS; f++)
        if (is_shown(v, entries, a->len, f))
            names[n++] = f == FIELD_K ? (people ? "#K" : "#k") : table_field_names[f];
    names[n++] = "against";
    while (*numbers)
        names[n++] = *numbers++;
    names[n] = NULL;
    struct table *t = table_new(names);
    for (size_t i = 0; i < a->len; i++) {
        for (enum field f = 0; f < FIELDS; f++) {
            buf_reset(&text);
            table_field(f, &entries[i], &text);
            if (is_shown(v, entries, a->len, f))
                table_add(t, text.s);
        }
        table_add(t, a->v[i].c.b.cells[0]->label);
        if (people)
            add_for_people(t, &a->v[i].c);
        else
            add_for_programs(t, &a->v[i].c);
    }
    table_print(t, v->format);
    table_free(t);
    buf_release(&text);
}

/* Takes out what could not be compared, and says so of each. */
static void drop_refused(struct against *a)
{
    size_t kept = 0, refused = 0;
    for (size_t i = 0; i < a->len; i++)
        refused += a->v[i].c.refused != NULL;
    if (refused == a->len)
        die(1, "%s: --against %s: nothing could be compared: %s", a->command, a->word,
            a->v[0].c.refused);
    for (size_t i = 0; i < a->len; i++) {
        const struct result *cell = a->v[i].c.a.cells[0];
        if (!a->v[i].c.refused) {
            a->v[kept++] = a->v[i];
            continue;
        }
        warning("%s, %s, K = %d, %s: not compared: %s", cell->model, cell->task, cell->k,
                cell->label, a->v[i].c.refused);
        contrast_release(&a->v[i].c);
    }
    a->len = kept;
}

static void run(struct against *a)
{
    struct contrast **c = xcalloc(a->len + 1, sizeof(struct contrast *));
    int few = 0, apart = 0;
    for (size_t i = 0; i < a->len; i++)
        contrast_run(a->store, &a->v[i].c, a->v[i].metric);
    drop_refused(a);
    for (size_t i = 0; i < a->len; i++) {
        c[i] = &a->v[i].c;
        few += c[i]->paired.difference.n < CONTRAST_FEW;
        apart += c[i]->only_a || c[i]->only_b;
    }
    contrasts_correct(c, a->len);
    free(c);
    if (few)
        warning(
            "%d of %zu comparisons have fewer than %d documents: their intervals are too narrow",
            few, a->len, CONTRAST_FEW);
    if (apart)
        warning("%d of %zu comparisons leave out documents that only one side has", apart, a->len);
}

/* What all rows are compared with, as they name it: its label, that label by K where its bounds follow K,
 * or else the word itself. The caller frees it. */
static char *name_of_references(const struct against *a)
{
    const struct result **cells = xcalloc(a->len + 1, sizeof(*cells));
    const char *label = a->v[0].c.b.cells[0]->label;
    bool same = true;
    char *name = NULL;
    for (size_t i = 0; i < a->len; i++) {
        cells[i] = a->v[i].c.b.cells[0];
        same &= strcmp(cells[i]->label, label) == 0;
    }
    for (size_t i = 0; i < a->len && !same; i++) {
        char *by_k = router_label_by_k(cells, a->len, cells[i], cells[i]->label);
        bool other = name && strcmp(name, by_k) != 0;
        free(name);
        name = by_k;
        if (other) {
            free(name);
            name = xasprintf(a->condition ? "its reference (%s)" : "its %s", a->word);
            break;
        }
    }
    free(cells);
    return name ? name : xstrdup(label);
}

static void add_remarks(const struct against *a, const struct table_view *v)
{
    bool seeds = false, documents = false;
    char *reference = name_of_references(a);
    for (size_t i = 0; i < a->len; i++) {
        seeds |= !isnan(a->v[i].c.paired.by_seed);
        documents |= isnan(a->v[i].c.paired.by_seed);
    }
    table_remark(v,
                 "difference: router less %s on the same documents and seeds; p of %zu test%s, "
                 "corrected by Holm over all of them",
                 reference, a->len, a->len == 1 ? "" : "s");
    free(reference);
    if (documents)
        table_remark(v, "intervals of one or two seeds: paired bootstrap by document, for these "
                        "seeds");
    if (seeds)
        table_remark(v,
                     "intervals of %d seeds or more: variance by document plus variance by seed, "
                     "Student's t",
                     PAIRED_SEEDS);
}

void against_make(struct against *a, const struct results *chosen, const struct table_view *v)
{
    struct buf err = BUF_INIT;
    a->condition = strpbrk(a->word, "=<>") != NULL;
    if (results_read(a->store, NULL, &a->all, &err) ||
        (a->condition && results_read(a->store, a->word, &a->said, &err)))
        die(1, "%s", err.s);
    against_plan(a, chosen, v);
    run(a);
    buf_release(&err);
}

void against_release(struct against *a)
{
    for (size_t i = 0; i < a->len; i++)
        contrast_release(&a->v[i].c);
    free(a->v);
    results_release(&a->all);
    results_release(&a->said);
}

void table_against(struct store *s, const struct results *chosen, const char *word,
                   const struct table_view *v)
{
    struct against a = { .store = s, .command = "table", .word = word };
    against_make(&a, chosen, v);
    struct entry *entries = xcalloc(a.len, sizeof(*entries));
    for (size_t i = 0; i < a.len; i++)
        entries[i] = entry_of(&a.v[i]);
    if (v->wide)
        table_wide(v, entries, a.len, true);
    else
        print_rows(&a, v, entries);
    add_remarks(&a, v);
    free(entries);
    against_release(&a);
}
