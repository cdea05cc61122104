/*
 * tokenizer.h: text to token ids and back, from a Hugging Face tokenizer.json.
 *
 * Two kinds are supported. Byte-level BPE: normalizer none or NFC; pre-tokenizers ByteLevel
 * (GPT-2's pattern, or without a pattern), Split (regex, behaviour Isolated) and a Sequence of
 * them. The SentencePiece kind (Mixtral, Mistral, Llama 2): BPE with byte_fallback; normalizers
 * Prepend and Replace, or the pre-tokenizer Metaspace; the decoder of metaspace.h. Both have added
 * tokens. Everything else is refused when the file is opened, by name: a tokenizer that is nearly
 * right gives wrong numbers silently.
 *
 * Invariant: the ids are those that Hugging Face's `tokenizers` gives with add_special_tokens =
 * false, and decoding gives back the bytes of the (normalised) text. Where ids make no valid
 * UTF-8, the library puts U+FFFD in the place of bytes, and here they stay.
 * Leaves out: post-processors (no special token is ever added, so a text that should begin with
 * "<s>" says so itself), truncation, padding; characters that are younger than Unicode 14 (they
 * are no letters here).
 *
 * Source of the format: the JSON that `tokenizers` writes, version 1.0.
 */
#ifndef TOKENIZER_H
#define TOKENIZER_H

#include "util.h"

struct tokenizer;

/* Opens `path`, the tokenizer.json itself. NULL on failure: `err` names the file and the fault. */
struct tokenizer *tokenizer_open(const char *path, struct buf *err) MUST_USE;
void tokenizer_free(struct tokenizer *t);

/* The largest id plus one. */
int tokenizer_size(const struct tokenizer *t);

/*
 * Appends the ids of `text` (`len` bytes) to `out`; on failure `out` is as it was. Text that is not
 * UTF-8 is refused, with the byte where it stops being so (the caller says whose text it is). Not
 * for two threads at once on one tokenizer.
 */
int tokenizer_encode(struct tokenizer *t, const char *text, size_t len, struct ids *out,
                     struct buf *err) MUST_USE;

/*
 * The same for a text that goes on from another, such as an answer behind its prompt: nothing is
 * put before it, where the SentencePiece kind puts a space before a text, so that the ids of both,
 * end to end, decode to both texts, end to end. In the byte-level kind it is tokenizer_encode().
 */
int tokenizer_encode_more(struct tokenizer *t, const char *text, size_t len, struct ids *out,
                          struct buf *err) MUST_USE;

/* Is it no part of the text that is shown, such as an end token? */
bool tokenizer_special(const struct tokenizer *t, int32_t id);
/* Does a token have this id? A model's vocabulary may be larger. */
bool tokenizer_has(const struct tokenizer *t, int32_t id);

/*
 * Appends the bytes of `n` ids, wherever in a text they stand: decoding them one by one gives the
 * same. One token alone may be a part of a UTF-8 character.
 */
int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, struct buf *out,
                     struct buf *err) MUST_USE;

/*
 * The same for all ids of a text, from its first one on: the space that the SentencePiece kind put
 * before the text is taken away, as by the library.
 */
int tokenizer_decode_text(const struct tokenizer *t, const int32_t *ids, size_t n, struct buf *out,
                          struct buf *err) MUST_USE;

#endif
