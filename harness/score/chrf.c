/*
 * chrf.c: chrF2, the F score of character n-grams; see measure.h.
 *
 * Source: Popovic, "chrF: character n-gram F-score for automatic MT evaluation" (2015), with the
 * defaults of sacrebleu 2: n-grams of 1 to 6 characters, white space left out, case kept, recall
 * twice as important as precision, and precision and recall averaged over the lengths of which both
 * texts have n-grams. Here it is a share from 0 to 1, there it is in percent.
 * Leaves out: words (chrF++), smoothing, more than one reference.
 */
#include "score/measure.h"
#include "text/unicode.h"

#include <string.h>

enum { ORDER = 6 };
static const double beta = 2;

/*
 * The characters from one place on, behind the text's end 0. Sorted byte by byte, grams with the
 * same first k characters stand together for every k: one sort serves all lengths.
 */
struct gram {
    uint32_t c[ORDER];
};
struct grams {
    struct gram *v;
    size_t len, cap;
};

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct gram));
}

/* A number for the character: its bytes, one behind the other. */
static uint32_t character(const char *s, size_t size)
{
    uint32_t c = 0;
    for (size_t i = 0; i < size; i++)
        c = c << 8 | (unsigned char)s[i];
    return c;
}

static void grams_make(const char *text, struct grams *out)
{
    for (size_t len = strlen(text), size; len > 0; text += size, len -= size) {
        size = 1;
        while (size < len && size < 4 && ((unsigned char)text[size] & 0xc0) == 0x80)
            size++;
        if (unicode_spaces_at_start(text, size))
            continue;
        ARRAY_GROW(out->v, out->cap, out->len + 1);
        struct gram *g = &out->v[out->len++];
        *g = (struct gram){ { character(text, size) } };
        for (size_t k = 1; k < ORDER && k < out->len; k++)
            (g - k)->c[k] = g->c[0];
    }
    if (out->len)
        qsort(out->v, out->len, sizeof(*out->v), by_bytes);
}

static size_t of_length(const struct grams *g, size_t k)
{
    return g->len < k ? 0 : g->len - k + 1;
}

/* Where the grams end that have v[i]'s first k characters. */
static size_t run_end(const struct grams *g, size_t i, size_t k)
{
    size_t j = i + 1;
    while (j < g->len && memcmp(g->v[i].c, g->v[j].c, k * sizeof(uint32_t)) == 0)
        j++;
    return j;
}

/* How many k-grams both have, each as often as the text has it that has it less often. */
static size_t common(const struct grams *a, const struct grams *b, size_t k)
{
    size_t n = 0;
    for (size_t i = 0, j = 0; i < a->len && j < b->len;) {
        int order = memcmp(a->v[i].c, b->v[j].c, k * sizeof(uint32_t));
        size_t i_end = order <= 0 ? run_end(a, i, k) : i;
        size_t j_end = order >= 0 ? run_end(b, j, k) : j;
        bool whole = a->v[i].c[k - 1] != 0; // else the text ends before k characters
        if (order == 0 && whole)
            n += i_end - i < j_end - j ? i_end - i : j_end - j;
        i = i_end;
        j = j_end;
    }
    return n;
}

static double chrf(const char *answer, const char *reference)
{
    struct grams a = { 0 }, b = { 0 };
    double precision = 0, recall = 0;
    grams_make(answer, &a);
    grams_make(reference, &b);
    int lengths = 0;
    for (size_t k = 1; k <= ORDER && of_length(&a, k) && of_length(&b, k); k++) {
        double both = (double)common(&a, &b, k);
        precision += both / (double)of_length(&a, k);
        recall += both / (double)of_length(&b, k);
        lengths++;
    }
    free(a.v);
    free(b.v);
    if (precision + recall == 0)
        return 0;
    precision /= lengths;
    recall /= lengths;
    return (1 + beta * beta) * precision * recall / (beta * beta * precision + recall);
}

static int score(const struct measure *m, const struct tools *tools, const json_t *doc,
                 struct verdict *v, struct buf *err)
{
    (void)tools;
    struct buf reference = BUF_INIT;
    int rc = template_fill(m->reference, doc, NULL, &reference, err);
    if (rc == 0)
        v->score = chrf(v->found, reference.s);
    buf_release(&reference);
    return rc;
}

static const char *const needs[] = { "reference", NULL };

const struct scorer scorer_chrf = {
    .name = "chrf",
    .help = "chrF2: F score of runs of 1 to 6 characters, recall counting twice; 0 to 1",
    .needs = needs,
    .score = score,
};
