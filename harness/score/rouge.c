/*
 * rouge.c: ROUGE-L, the F1 of the longest common subsequence of two texts' tokens; see measure.h.
 *
 * Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004); words as the
 * rouge_score package makes them without stemming: lower-cased runs of a-z and 0-9.
 * Leaves out: sentences (ROUGE-Lsum), stemming, more than one reference, and the two characters
 * beyond ASCII whose lower case is a letter of a-z (U+0130, U+212A): they part words here.
 */
#include "score/measure.h"
#include "text/unicode.h"

#include <string.h>

struct token {
    const char *s;
    size_t len;
};
struct tokens {
    struct token *v;
    size_t len, cap;
};

static void push(struct tokens *t, const char *s, size_t len)
{
    ARRAY_GROW(t->v, t->cap, t->len + 1);
    t->v[t->len++] = (struct token){ s, len };
}

/* Each character that is no white space. */
static void split_characters(const char *text, struct tokens *out)
{
    for (size_t len = strlen(text), size; len > 0; text += size, len -= size) {
        size = 1;
        while (size < len && ((unsigned char)text[size] & 0xc0) == 0x80)
            size++;
        if (unicode_spaces_at_start(text, size) == 0)
            push(out, text, size);
    }
}

/* Runs of a-z and 0-9; `text` is lower-cased. */
static void split_words(char *text, struct tokens *out)
{
    size_t run = 0;
    for (char *p = text;; p++) {
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
        if ((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9')) {
            run++;
            continue;
        }
        if (run)
            push(out, p - run, run);
        run = 0;
        if (!*p)
            return;
    }
}

static bool same(const struct token *a, const struct token *b)
{
    return a->len == b->len && memcmp(a->s, b->s, a->len) == 0;
}

/* One row of the table at a time: length[j] is of a's tokens so far and b's first j. */
static size_t common_subsequence(const struct tokens *a, const struct tokens *b)
{
    size_t *length = xcalloc(b->len + 1, sizeof(*length));
    for (size_t i = 0; i < a->len; i++) {
        size_t diagonal = 0;
        for (size_t j = 0; j < b->len; j++) {
            size_t above = length[j + 1];
            if (same(&a->v[i], &b->v[j]))
                length[j + 1] = diagonal + 1;
            else if (length[j] > above)
                length[j + 1] = length[j];
            diagonal = above;
        }
    }
    size_t longest = length[b->len];
    free(length);
    return longest;
}

static double rouge_l(char *answer, char *reference, bool characters)
{
    struct tokens a = { 0 }, b = { 0 };
    if (characters) {
        split_characters(answer, &a);
        split_characters(reference, &b);
    } else {
        split_words(answer, &a);
        split_words(reference, &b);
    }
    // With P = common / a and R = common / b, 2PR / (P + R) is this.
    double f = 0;
    if (a.len && b.len)
        f = 2.0 * (double)common_subsequence(&a, &b) / (double)(a.len + b.len);
    free(a.v);
    free(b.v);
    return f;
}

static int score(const struct measure *m, const struct tools *tools, const json_t *doc,
                 struct verdict *v, struct buf *err)
{
    (void)tools;
    struct buf reference = BUF_INIT;
    int rc = template_fill(m->reference, doc, NULL, &reference, err);
    if (rc == 0) {
        char *answer = xstrdup(v->found), *with = buf_detach(&reference);
        v->score = rouge_l(answer, with, m->characters);
        free(answer);
        free(with);
    }
    buf_release(&reference);
    return rc;
}

static const char *const needs[] = { "reference", NULL };

const struct scorer scorer_rouge_l = {
    .name = "rouge_l",
    .help = "F1 of the longest common subsequence of words, or of characters; 0 to 1",
    .needs = needs,
    .score = score,
};
