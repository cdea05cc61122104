/*
 * metaspace.h: what a tokenizer of the SentencePiece kind does around its merges: a space is
 * written as U+2581, one may be put before a text, and tokens are read back as text.
 *
 * A file says it in one of two ways: the normalizers Prepend and Replace (either, or a Sequence of
 * both), or the pre-tokenizer Metaspace. Its decoder is a Sequence of Replace, ByteFallback, Fuse
 * and, where a space was put before the text, Strip.
 *
 * Invariant: what is not written exactly so is refused by name.
 * Leaves out: another character in the place of U+2581, both ways in one file, the decoder
 * Metaspace.
 */
#ifndef METASPACE_H
#define METASPACE_H

#include "text/pretokenize.h"

/* U+2581, "lower one eighth block" */
#define METASPACE "\xe2\x96\x81"

enum metaspace_scheme { METASPACE_ALWAYS, METASPACE_FIRST, METASPACE_NEVER };

/* Where a piece of text stands. */
enum metaspace_place {
    METASPACE_AT_START, /* with it the text begins */
    METASPACE_INSIDE,   /* behind an added token */
    METASPACE_GOES_ON, /* with it a text begins that goes on from another: no space is put before */
};

struct metaspace {
    bool prepend, replace;        /* the normalizers */
    bool pretokenizes;            /* the pre-tokenizer Metaspace is there, and says: */
    enum metaspace_scheme scheme; /* which pieces get a space before them, if they have none */
    bool split;                   /* each space begins a pre-token */
    bool strip;                   /* decoder: a space at the text's start is taken away */
};

/* Reads normalizer, pre-tokenizer and decoder of the file `path`, whose object is `root`. */
int metaspace_read(struct metaspace *m, const char *path, const json_t *root,
                   struct buf *err) MUST_USE;

/*
 * What the normalizers make of the `len` > 0 bytes `s`: `*out` and `*out_len` point into `s`, or
 * into `room`, whose content is replaced.
 */
void metaspace_normalize(const struct metaspace *m, const char *s, size_t len,
                         enum metaspace_place place, struct buf *room, const char **out,
                         size_t *out_len);

/* The pre-tokens of the `len` > 0 bytes `s`; uses `room` until it returns. */
int metaspace_pretokenize(const struct metaspace *m, const char *s, size_t len,
                          enum metaspace_place place, struct buf *room, pretokenize_fn *each,
                          void *ctx, struct buf *err) MUST_USE;

/*
 * Appends the bytes that a token stands for inside a text: at most as many as it is written with.
 */
void metaspace_token(const char *written, size_t len, struct buf *out);

#endif
