/*
 * tokenizer.c: see tokenizer.h. Text goes through added tokens, normal form, pre-tokenizer and
 * merges (added_tokens.h, unicode.h, pretokenize.h, bpe.h), one piece after the other; in the
 * SentencePiece kind, metaspace.h is both normal form and pre-tokenizer.
 */
#include "text/tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "json.h"
#include "text/metaspace.h"
#include "text/pretokenize.h"
#include "text/unicode.h"

#include <string.h>

/* No tokenizer.json comes near it; a file that does is something else. */
enum { FILE_MAX = 256 << 20 };

struct token {
    const char *s; /* NULL: no token has this id */
    size_t len;
};

struct tokenizer {
    char *path;
    struct added_tokens *added;
    struct bpe *bpe;
    bool sentencepiece;         /* which of the two kinds */
    bool nfc;                   /* of the byte-level kind */
    struct pretokenizer *pre;   /* of the byte-level kind */
    struct metaspace metaspace; /* of the SentencePiece kind */
    bool *special;              /* by id */
    struct token *tokens;       /* by id; the strings belong to `added`, `bpe` and `contents` */
    struct buf contents;        /* what added tokens stand for in the SentencePiece kind */
    int size;
    struct buf normal, spaced; /* room for normalised text, and for a pre-token of it */
};

static int check_version(const struct json_in *in)
{
    const char *version;
    if (json_need_string(in, "version", &version) != 0)
        return -1;
    return strcmp(version, "1.0") == 0 ? 0
                                       : json_refuse(in, "version", "only \"1.0\" is supported");
}

static int check_normalizer(const struct json_in *in, bool *nfc)
{
    const json_t *node = json_value(in, "normalizer");
    const char *type = json_string_value(json_object_get(node, "type"));
    *nfc = type && strcmp(type, "NFC") == 0;
    if (*nfc || !node)
        return 0;
    if (type)
        return fail(in->err, "%s: normalizer '%s' is not supported; NFC and null are", in->where,
                    type);
    return json_refuse(in, "normalizer", "only null and the type NFC are supported");
}

static int check_decoder(const struct json_in *in)
{
    const json_t *node = json_value(in, "decoder");
    const char *type = json_string_value(json_object_get(node, "type"));
    if (type && strcmp(type, "ByteLevel") == 0)
        return 0;
    if (type)
        return fail(in->err, "%s: decoder '%s' is not supported; ByteLevel is", in->where, type);
    return json_refuse(in, "decoder", "only the type ByteLevel is supported");
}

static int normalize(void *ctx, const char *text, size_t len, struct buf *room, const char **out,
                     size_t *out_len, struct buf *err)
{
    const struct tokenizer *t = ctx;
    *out = text;
    *out_len = len;
    if (t->sentencepiece)
        metaspace_normalize(&t->metaspace, text, len, METASPACE_INSIDE, room, out, out_len);
    return t->nfc ? unicode_nfc(text, len, room, out, out_len, err) : 0;
}

/* What an added token stands for: in the SentencePiece kind what was looked for, so that the spaces of
 * the normalised text come back, as `tokenizers` has it since 2026. */
static struct token content_of(struct tokenizer *t, const struct added_token *a)
{
    if (!t->sentencepiece)
        return (struct token){ a->content, a->len };
    // There is room already, so that what was added before stays in its place.
    size_t at = t->contents.len;
    metaspace_token(a->pattern, a->pattern_len, &t->contents);
    return (struct token){ t->contents.s + at, t->contents.len - at };
}

/* What each id stands for. */
static int list_tokens(struct tokenizer *t, struct buf *err)
{
    t->size = bpe_size(t->bpe);
    size_t room = 1;
    for (size_t i = 0; i < added_tokens_count(t->added); i++) {
        const struct added_token *a = added_tokens_get(t->added, i);
        t->size = a->id >= t->size ? a->id + 1 : t->size;
        room += a->pattern_len;
    }
    buf_grow(&t->contents, room);
    t->tokens = xcalloc((size_t)t->size, sizeof(*t->tokens));
    t->special = xcalloc((size_t)t->size, sizeof(*t->special));
    for (int32_t id = 0; id < bpe_size(t->bpe); id++)
        t->tokens[id].s = bpe_token(t->bpe, id, &t->tokens[id].len);
    // An added token may have a vocabulary entry of its own, and then stands for its content.
    for (size_t i = 0; i < added_tokens_count(t->added); i++) {
        const struct added_token *a = added_tokens_get(t->added, i);
        if (t->tokens[a->id].s && !a->in_vocab)
            return fail(err, "%s: the id %d is there twice", t->path, a->id);
        t->tokens[a->id] = content_of(t, a);
        t->special[a->id] = a->special;
    }
    return 0;
}

static int load_byte_level(struct tokenizer *t, const struct json_in *in)
{
    if (check_normalizer(in, &t->nfc) != 0 || check_decoder(in) != 0)
        return -1;
    t->pre = pretokenizer_new(t->path, json_object_get(in->object, "pre_tokenizer"), in->err);
    return t->pre ? 0 : -1;
}

static int load(struct tokenizer *t, const json_t *root, struct buf *err)
{
    struct json_in in = { root, t->path, err };
    const json_t *model, *added = NULL;
    if (check_version(&in) != 0 || json_need_object(&in, "model", &model) != 0)
        return -1;
    if (json_value(&in, "added_tokens") && json_need_array(&in, "added_tokens", &added) != 0)
        return -1;
    t->bpe = bpe_new(t->path, model, err);
    if (!t->bpe)
        return -1;
    t->sentencepiece = bpe_falls_back(t->bpe);
    int rc = t->sentencepiece ? metaspace_read(&t->metaspace, t->path, root, err)
                              : load_byte_level(t, &in);
    if (rc != 0)
        return -1;
    t->added = added_tokens_new(t->path, added, json_object_get(model, "vocab"), normalize, t, err);
    return t->added ? list_tokens(t, err) : -1;
}

struct tokenizer *tokenizer_open(const char *path, struct buf *err)
{
    json_t *root = json_read_file(path, FILE_MAX, err);
    if (!root)
        return NULL;
    struct tokenizer *t = xcalloc(1, sizeof(*t));
    t->path = xstrdup(path);
    buf_init(&t->normal);
    buf_init(&t->spaced);
    buf_init(&t->contents);
    if (load(t, root, err) != 0) {
        tokenizer_free(t);
        t = NULL;
    }
    json_decref(root);
    return t;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    added_tokens_free(t->added);
    pretokenizer_free(t->pre);
    bpe_free(t->bpe);
    free(t->tokens);
    free(t->special);
    buf_release(&t->normal);
    buf_release(&t->spaced);
    buf_release(&t->contents);
    free(t->path);
    free(t);
}

int tokenizer_size(const struct tokenizer *t)
{
    return t->size;
}

/* Where the ids of a text go. */
struct target {
    struct tokenizer *t;
    enum metaspace_place begins; /* where the text itself stands */
    struct ids *out;
};

static int encode_piece(void *ctx, const char *s, size_t len, struct buf *err)
{
    struct target *to = ctx;
    return bpe_encode(to->t->bpe, s, len, to->out, err);
}

/* Normalised text without added tokens. `at_start`: the text begins with it. */
static int encode_plain(struct target *to, const char *s, size_t len, bool at_start,
                        struct buf *err)
{
    struct tokenizer *t = to->t;
    if (!t->sentencepiece)
        return pretokenize(t->pre, s, len, encode_piece, to, err);
    return metaspace_pretokenize(&t->metaspace, s, len, at_start ? to->begins : METASPACE_INSIDE,
                                 &t->spaced, encode_piece, to, err);
}

/* Text between the tokens that are looked for in raw text. */
static int encode_raw(struct target *to, const char *s, size_t len, bool at_start, struct buf *err)
{
    struct tokenizer *t = to->t;
    if (t->sentencepiece)
        metaspace_normalize(&t->metaspace, s, len, at_start ? to->begins : METASPACE_INSIDE,
                            &t->normal, &s, &len);
    else if (normalize(t, s, len, &t->normal, &s, &len, err) != 0)
        return -1;
    struct added_match m = { 0 };
    size_t done = 0;
    int rc = 0;
    while (rc == 0 && added_tokens_next(t->added, true, s, len, &m)) {
        if (done < m.start)
            rc = encode_plain(to, s + done, m.start - done, at_start && done == 0, err);
        ids_push(to->out, m.id);
        done = m.stop;
    }
    if (rc != 0 || done == len)
        return rc;
    return encode_plain(to, s + done, len - done, at_start && done == 0, err);
}

static int encode(struct target *to, const char *s, size_t len, struct buf *err)
{
    struct added_match m = { 0 };
    size_t done = 0;
    int rc = 0;
    while (rc == 0 && added_tokens_next(to->t->added, false, s, len, &m)) {
        if (done < m.start)
            rc = encode_raw(to, s + done, m.start - done, done == 0, err);
        ids_push(to->out, m.id);
        done = m.stop;
    }
    return rc == 0 && done < len ? encode_raw(to, s + done, len - done, done == 0, err) : rc;
}

static int encode_text(struct target *to, const char *text, size_t len, struct buf *err)
{
    size_t valid = utf8_valid(text, len), before = to->out->len;
    if (valid != len)
        return fail(err, "the text is not UTF-8 at byte %zu", valid);
    if (encode(to, text, len, err) == 0)
        return 0;
    to->out->len = before;
    return fail(err, "%s: %s", to->t->path, err->s);
}

int tokenizer_encode(struct tokenizer *t, const char *text, size_t len, struct ids *out,
                     struct buf *err)
{
    struct target to = { t, METASPACE_AT_START, out };
    return encode_text(&to, text, len, err);
}

int tokenizer_encode_more(struct tokenizer *t, const char *text, size_t len, struct ids *out,
                          struct buf *err)
{
    struct target to = { t, METASPACE_GOES_ON, out };
    return encode_text(&to, text, len, err);
}

bool tokenizer_special(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->size && t->special[id];
}

bool tokenizer_has(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->size && t->tokens[id].s;
}

int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, struct buf *out,
                     struct buf *err)
{
    for (size_t i = 0; i < n; i++)
        if (!tokenizer_has(t, ids[i]))
            return fail(err, "%s: no token has the id %d; ids go from 0 to %d", t->path, ids[i],
                        t->size - 1);
    for (size_t i = 0; i < n; i++)
        buf_add(out, t->tokens[ids[i]].s, t->tokens[ids[i]].len);
    return 0;
}

int tokenizer_decode_text(const struct tokenizer *t, const int32_t *ids, size_t n, struct buf *out,
                          struct buf *err)
{
    size_t before = out->len;
    if (tokenizer_decode(t, ids, n, out, err) != 0)
        return -1;
    if (t->metaspace.strip && out->len > before && out->s[before] == ' ') {
        memmove(out->s + before, out->s + before + 1, out->len - before); // with the NUL
        out->len--;
    }
    return 0;
}
