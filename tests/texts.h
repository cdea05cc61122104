/*
 * texts.h: random texts for the tests of scores that compare two texts, and a scorer called on its
 * own.
 */
#ifndef TEXTS_H
#define TEXTS_H

#include "score/measure.h"

#include <string.h>

/* A small generator, so that the same texts come everywhere. */
static uint32_t texts_state = 1;
static inline uint32_t texts_noise(uint32_t below)
{
    texts_state = texts_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(texts_state >> 8) * below >> 24);
}

/* Up to `most` pieces, of few kinds, so that much of two texts is in common. */
static inline void texts_random(struct buf *out, uint32_t most)
{
    static const char *const pieces[] = { "a",
                                          "b",
                                          "ab",
                                          " ",
                                          "\n",
                                          "7",
                                          "Ab",
                                          ".",
                                          ", ",
                                          "\xe4\xb8\xad",
                                          "\xe6\x96\x87",
                                          "\xc3\xa9",
                                          "\xe3\x80\x80",
                                          "\xf0\x9f\x98\x80" };
    buf_reset(out);
    for (uint32_t n = texts_noise(most + 1); n > 0; n--)
        buf_adds(out, pieces[texts_noise(ARRAY_LEN(pieces))]);
}

/* What the scorer says of an answer and a reference. */
static inline double texts_score(const struct scorer *scorer, bool characters, const char *answer,
                                 const char *reference)
{
    char template[] = "{reference}";
    struct measure m = { .scorer = scorer, .reference = template, .characters = characters };
    struct verdict v;
    struct buf err = BUF_INIT;
    json_t *doc = json_pack("{s:s}", "reference", reference);
    verdict_init(&v);
    v.found = xstrdup(answer);
    if (scorer->score(&m, NULL, doc, &v, &err) != 0)
        BUG("%s", err.s);
    double score = v.score;
    verdict_release(&v);
    json_decref(doc);
    buf_release(&err);
    return score;
}

#endif
