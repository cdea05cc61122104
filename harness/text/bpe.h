/*
 * bpe.h: byte-pair encoding: the vocabulary and merges of a tokenizer.json, and the ids of one
 * pre-token (a piece of text that merges never reach across).
 *
 * There are two kinds. Byte-level: an entry is written with one character for each byte, and
 * merges begin with bytes. Where byte_fallback is true: entries are written as text with U+2581
 * for a space, merges begin with characters, and a character without an entry is its bytes,
 * "<0x00>" to "<0xFF>".
 *
 * Invariant: a pre-token's ids spell exactly its bytes (with a space for U+2581, where
 * byte_fallback is true); a byte without a token is refused.
 * Leaves out: how text is cut into pre-tokens, unknown tokens (with byte_fallback there are none,
 * as a file without all 256 bytes is refused), dropout, prefixes and suffixes of words (a file
 * that sets one of them is refused by name).
 */
#ifndef BPE_H
#define BPE_H

#include "util.h"

#include <jansson.h>

/* Larger ids are refused: a table by id is made. */
enum { TOKEN_ID_MAX = (1 << 22) - 1 };

struct bpe;

/* `model` is the object "model" of the file `path`, which is only named in errors. */
struct bpe *bpe_new(const char *path, const json_t *model, struct buf *err) MUST_USE;
void bpe_free(struct bpe *b);

/* The largest id plus one. */
int bpe_size(const struct bpe *b);

/* Is it the kind with byte_fallback? */
bool bpe_falls_back(const struct bpe *b);

/* The bytes that a token stands for; NULL where the vocabulary has no such id. */
const char *bpe_token(const struct bpe *b, int32_t id, size_t *len);

/*
 * Appends the ids of one pre-token, which is valid UTF-8 where byte_fallback is true. The time is
 * O(n log n) in its length.
 */
int bpe_encode(struct bpe *b, const char *s, size_t len, struct ids *out, struct buf *err) MUST_USE;

#endif
