/*
 * predictions.h: a file of texts for the documents of a task, lines {"doc": 0, "text": "..."}, for
 * the command `score`.
 *
 * Invariant: each document has one text or none. Documents may come in any order, and be missing;
 * lines may have more fields, which say nothing here.
 */
#ifndef PREDICTIONS_H
#define PREDICTIONS_H

#include "util.h"

struct prediction {
    char *text;  /* NULL: the document has none */
    char *where; /* "FILE:LINE" */
};

struct predictions {
    struct prediction *v; /* [documents] */
    size_t documents;
};

/*
 * Reads texts for `documents` documents of the task called `task`. Errors name file and line; of a
 * document that has two texts, both lines. predictions_release() also after -1.
 */
int predictions_read(struct predictions *p, const char *path, const char *task, size_t documents,
                     struct buf *err) MUST_USE;
void predictions_release(struct predictions *p);

/* How many of the first `documents` have a text. */
size_t predictions_count(const struct predictions *p, size_t documents);

/* Feeds which of the first `documents` have a text, and what it is. */
void predictions_hash(const struct predictions *p, size_t documents, struct hash *h);

#endif
