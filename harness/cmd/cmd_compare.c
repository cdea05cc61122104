/*
 * cmd_compare.c: `seqtopk compare`: is A better than B on the documents that both have? Means with
 * errors, their difference with an interval, and McNemar's test.
 */
#include "cmd/choose.h"
#include "cmd/cmd.h"
#include "cmd/compare.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

/* What came out. */
struct findings {
    struct paired paired;
    bool has_mcnemar;
    struct mcnemar mcnemar;
};

static void add_seeds(const struct results *cells, struct buf *out)
{
    for (size_t i = 0; i < cells->len; i++)
        buf_addf(out, "%s%lld", i ? ", " : "", (long long)cells->v[i].seed);
}

static void add_side(struct table *t, const char *name, const struct side *side, struct estimate e)
{
    const struct result *c = &side->cells.v[0];
    struct buf seeds = BUF_INIT;
    add_seeds(&side->cells, &seeds);
    table_add(t, name);
    table_addf(t, "%.8s", c->id);
    table_add(t, c->model);
    table_addf(t, "%d", c->k);
    table_add(t, c->label);
    table_add(t, c->train);
    table_add(t, seeds.s);
    table_addf(t, "%.4f \xc2\xb1 %.4f", e.value, e.stderr_);
    buf_release(&seeds);
}

static void print_text(const struct comparison *c, const struct findings *f)
{
    char *mean = xasprintf("#%s \xc2\xb1 se", c->metric);
    const char *const columns[] = {
        "", "cell", "model", "#K", "router", "train", "seed", mean, NULL
    };
    struct table *t = table_new(columns);
    add_side(t, "A", &c->a, f->paired.a);
    add_side(t, "B", &c->b, f->paired.b);
    table_print(t, TABLE_TEXT);
    table_free(t);
    free(mean);
    printf("\n%s, %d documents that both have%s\n", c->a.cells.v[0].task, c->npairs,
           c->seeds >= PAIRED_SEEDS ? ", under each of the seeds"
           : c->seeds > 1           ? ", each pooled over the seeds"
                                    : "");
    printf("A - B = %.4f \xc2\xb1 %.4f, 95 %% interval [%.4f, %.4f]\n", f->paired.difference.value,
           f->paired.difference.stderr_, f->paired.lo, f->paired.hi);
    if (c->seeds >= PAIRED_SEEDS)
        printf("(documents and seeds vary: the error is %.4f by document and %.4f by seed; "
               "Student's t "
               "with %.1f degrees of freedom)\n",
               f->paired.by_document, f->paired.by_seed, f->paired.df);
    else
        printf("(paired bootstrap: documents drawn anew, %d times; percentiles)\n",
               PAIRED_RESAMPLES);
    if (f->has_mcnemar)
        printf("McNemar: only A is right on %d, only B on %d; p = %.4g (exact, two-sided)\n",
               f->mcnemar.only_a, f->mcnemar.only_b, f->mcnemar.p);
}

static json_t *number(double v)
{
    return isnan(v) ? json_null() : json_real(v);
}

static json_t *side_json(const struct side *side, struct estimate e)
{
    const struct result *c = &side->cells.v[0];
    json_t *ids = json_array(), *seeds = json_array();
    for (size_t i = 0; i < side->cells.len; i++) {
        json_array_append_new(ids, json_string(side->cells.v[i].id));
        json_array_append_new(seeds, json_integer(side->cells.v[i].seed));
    }
    return json_pack("{s:o, s:s, s:i, s:s, s:s, s:o, s:o, s:o}", "cells", ids, "model", c->model,
                     "k", c->k, "router", c->label, "train", c->train, "seeds", seeds, "value",
                     number(e.value), "stderr", number(e.stderr_));
}

static void print_json(const struct comparison *c, const struct findings *f)
{
    json_t *warnings = json_array(), *mcnemar = json_null();
    for (size_t i = 0; i < c->warnings.len; i++)
        json_array_append_new(warnings, json_string(c->warnings.v[i]));
    if (f->has_mcnemar)
        mcnemar = json_pack("{s:i, s:i, s:f}", "only_a", f->mcnemar.only_a, "only_b",
                            f->mcnemar.only_b, "p", f->mcnemar.p);
    json_t *difference = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i}", "value", number(f->paired.difference.value),
        "stderr", number(f->paired.difference.stderr_), "low", number(f->paired.lo), "high",
        number(f->paired.hi), "stderr_by_document", number(f->paired.by_document), "stderr_by_seed",
        number(f->paired.by_seed), "p", number(paired_p(&f->paired)), "resamples",
        c->seeds >= PAIRED_SEEDS ? 0 : PAIRED_RESAMPLES);
    json_t *all = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o}", "task",
                            c->a.cells.v[0].task, "metric", c->metric, "documents", c->npairs,
                            "only_a", c->only_a, "only_b", c->only_b, "without_value", c->without,
                            "a", side_json(&c->a, f->paired.a), "b", side_json(&c->b, f->paired.b),
                            "difference", difference, "mcnemar", mcnemar, "warnings", warnings);
    if (!all)
        die(1, "compare: a name in the database is not text");
    json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(all);
}

static int compare_run(int argc, char **argv)
{
    bool json = false;
    const char *metric = NULL;
    const struct option_spec specs[] = { { .name = "--metric", .value = &metric },
                                         { .name = "--json", .flag = &json },
                                         { .name = NULL } };
    cmd_options(&cmd_compare, argc, argv, specs, 3, 3);
    struct comparison c = { .a.word = argv[2], .b.word = argv[3] };
    struct buf err = BUF_INIT;
    struct store *s = store_open(argv[1], STORE_READ, &err);
    if (!s)
        die(1, "%s", err.s);
    choose_cells(s, c.a.word, &c.a.cells);
    choose_cells(s, c.b.word, &c.b.cells);
    if (compare_check(&c, &err))
        die(1, "compare: %s", err.s);
    compare_load(s, metric, &c.a);
    compare_load(s, metric, &c.b);
    if (compare_pair(&c, metric, &err))
        die(1, "compare: %s", err.s);
    compare_doubts(s, &c);
    for (size_t i = 0; i < c.warnings.len; i++)
        warning("%s", c.warnings.v[i]);
    struct findings f = { .paired = paired_compare_seeds(c.pairs, c.npairs, c.seeds) };
    // Pooled over seeds, a document's flips would not be independent.
    f.has_mcnemar = c.quantity == QUANTITY_SCORE && c.seeds == 1 &&
                    mcnemar_exact(c.pairs, c.npairs, &f.mcnemar);
    if (json)
        print_json(&c, &f);
    else
        print_text(&c, &f);
    compare_release(&c);
    store_close(s);
    return 0;
}

const struct cmd cmd_compare = {
    .name = "compare",
    .args = "DB A B [--metric score|nll|experts|MEASURE] [--json]",
    .help = "two cells (ids or conditions) on the documents both have: difference, interval, test",
    .run = compare_run,
};
