/*
 * bpe_load.c: reads the vocabulary and the merges of a tokenizer.json (see bpe.h). An entry of the
 * byte-level kind is written with one character for each byte (GPT-2's table); it is turned into
 * bytes here, so that text is never mapped. With byte_fallback an entry is found as it is written.
 */
#include "text/bpe_impl.h"
#include "json.h"
#include "text/metaspace.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

enum { CHAR_END = 256 + 68 }; /* one past the largest character of the byte table */

/* GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on. */
static void byte_table(int16_t byte_of[CHAR_END])
{
    memset(byte_of, -1, CHAR_END * sizeof(*byte_of));
    int next = 256;
    for (int b = 0; b < 256; b++) {
        bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        byte_of[printable ? b : next++] = (int16_t)b;
    }
}

/* Appends the bytes of a written entry; false, and nothing, where a character stands for none. */
static bool add_bytes(const int16_t byte_of[CHAR_END], const char *s, size_t len, struct buf *out)
{
    size_t before = out->len;
    for (size_t at = 0; at < len;) {
        utf8proc_int32_t c = -1;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)s + at, (utf8proc_ssize_t)(len - at), &c);
        if (n <= 0 || c >= CHAR_END || byte_of[c] < 0) {
            out->len = before;
            return false;
        }
        buf_addc(out, (char)byte_of[c]);
        at += (size_t)n;
    }
    return true;
}

/* What is false, null, empty or zero is not set. */
static bool is_set(const json_t *value)
{
    return !(json_is_null(value) || json_is_false(value) ||
             (json_is_number(value) && json_number_value(value) == 0) ||
             (json_is_string(value) && json_string_length(value) == 0));
}

static bool is_among(const char *key, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, list[i]) == 0)
            return true;
    return false;
}

static int check_options(struct bpe *b, const char *path, const json_t *model, struct buf *err)
{
    // An unknown token is none's where every byte has one.
    static const char *const unset[] = { "dropout", "continuing_subword_prefix",
                                         "end_of_word_suffix", "unk_token" };
    static const char *const known[] = { "type",     "vocab",         "merges",
                                         "fuse_unk", "ignore_merges", "byte_fallback" };
    struct json_in in = { model, path, err };
    const char *type;
    if (json_need_string(&in, "type", &type) != 0)
        return -1;
    if (strcmp(type, "BPE") != 0)
        return fail(err, "%s: model.type '%s' is not supported; BPE is", path, type);
    if (json_opt_bool(&in, "byte_fallback", &b->falls_back) != 0 ||
        json_opt_bool(&in, "ignore_merges", &b->whole_first) != 0)
        return -1;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)model, key, value) {
        if (is_among(key, known, ARRAY_LEN(known)))
            continue;
        if (!is_among(key, unset, ARRAY_LEN(unset)))
            return fail(err, "%s: model.%s is not known", path, key);
        if (is_set(value) && !(b->falls_back && strcmp(key, "unk_token") == 0))
            return fail(err, "%s: model.%s is set, which is not supported%s", path, key,
                        strcmp(key, "unk_token") == 0 ? " where byte_fallback is not true" : "");
    }
    return 0;
}

/* The largest id, once all of them are known to be ids. */
static int check_ids(struct bpe *b, const char *path, json_t *vocab, struct buf *err)
{
    const char *key;
    json_t *value;
    json_object_foreach (vocab, key, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id > TOKEN_ID_MAX)
            return fail(err, "%s: model.vocab: the id of '%s' is not a number from 0 to %d", path,
                        key, TOKEN_ID_MAX);
        if (id >= b->size)
            b->size = (int)id + 1;
    }
    return 0;
}

/* Of the byte-level kind. */
static void add_entry(struct bpe *b, const int16_t byte_of[CHAR_END], const char *key, size_t len,
                      int32_t id)
{
    struct bpe_token *t = &b->tokens[id];
    // An entry that is not written in bytes is no text's; it stands for itself.
    bool of_bytes = add_bytes(byte_of, key, len, &b->bytes);
    if (!of_bytes)
        buf_add(&b->bytes, key, len);
    t->len = (uint32_t)(b->bytes.len - t->at);
    if (of_bytes && t->len == 1)
        b->byte_id[(unsigned char)b->bytes.s[t->at]] = id;
    if (of_bytes && t->len > 0 && b->whole_first)
        memo_add(&b->whole, b->bytes.s + t->at, t->len, &id, 1);
}

/* With byte_fallback. */
static void add_text_entry(struct bpe *b, const char *key, size_t len, int32_t id)
{
    struct bpe_token *t = &b->tokens[id];
    metaspace_token(key, len, &b->bytes);
    t->len = (uint32_t)(b->bytes.len - t->at);
    if (len > 0 && bpe_char_len(key) == len)
        memo_add(&b->chars, key, len, &id, 1);
    if (len > 0 && b->whole_first)
        memo_add(&b->whole, key, len, &id, 1);
}

static int find_bytes(struct bpe *b, const char *path, const json_t *vocab, struct buf *err)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char key[sizeof("<0x00>")];
        snprintf(key, sizeof(key), "<0x%02X>", byte);
        const json_t *id = json_object_get(vocab, key);
        if (!id)
            return fail(err, "%s: model.vocab has no '%s'; byte_fallback needs all 256 bytes", path,
                        key);
        b->byte_id[byte] = (int32_t)json_integer_value(id);
    }
    return 0;
}

static int load_vocab(struct bpe *b, const char *path, json_t *vocab, struct buf *err)
{
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return fail(err, "%s: model.vocab is not an object of tokens and ids", path);
    if (check_ids(b, path, vocab, err) != 0)
        return -1;
    b->tokens = xcalloc((size_t)b->size, sizeof(*b->tokens));
    if (b->whole_first)
        memo_init(&b->whole, json_object_size(vocab));
    if (b->falls_back)
        memo_init(&b->chars, json_object_size(vocab));
    int16_t byte_of[CHAR_END];
    byte_table(byte_of);
    const char *key;
    size_t key_len;
    json_t *value;
    json_object_keylen_foreach(vocab, key, key_len, value)
    {
        int32_t id = (int32_t)json_integer_value(value);
        if (b->tokens[id].known)
            return fail(err, "%s: model.vocab: the id %d is there twice", path, id);
        b->tokens[id] = (struct bpe_token){ .at = b->bytes.len, .known = true };
        if (b->falls_back)
            add_text_entry(b, key, key_len, id);
        else
            add_entry(b, byte_of, key, key_len, id);
    }
    return b->falls_back ? find_bytes(b, path, vocab, err) : 0;
}

/* The two halves of a merge, which is "a b" or ["a", "b"]; copies into `left` and `right`. */
static bool halves(const json_t *merge, struct buf *left, struct buf *right)
{
    buf_reset(left);
    buf_reset(right);
    if (json_is_array(merge)) {
        const json_t *a = json_array_get(merge, 0), *c = json_array_get(merge, 1);
        if (json_array_size(merge) != 2 || !json_is_string(a) || !json_is_string(c))
            return false;
        buf_adds(left, json_string_value(a));
        buf_adds(right, json_string_value(c));
        return true;
    }
    const char *s = json_string_value(merge);
    const char *space = s ? strchr(s, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return false;
    buf_add(left, s, (size_t)(space - s));
    buf_adds(right, space + 1);
    return true;
}

/* The ids of the two halves and of the whole. */
static int add_merge(struct bpe *b, const char *path, const json_t *vocab, struct buf part[2],
                     int32_t rank, struct buf *err)
{
    int32_t id[3];
    if (part[0].len == 0 || part[1].len == 0)
        return fail(err, "%s: merge %d has an empty half", path, rank);
    if (b->falls_back)
        bpe_cut_merge(b, part[0].s, part[0].len, part[1].s, part[1].len);
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            buf_add(&part[0], part[1].s, part[1].len);
        const char *piece = part[i % 2].s;
        const json_t *known = json_object_get(vocab, piece);
        if (!known)
            return fail(err, "%s: merge %d: '%s' is not in the vocabulary", path, rank, piece);
        id[i] = (int32_t)json_integer_value(known);
    }
    // Where a pair comes twice the later one counts, as in the library.
    *bpe_pair(b, id[0], id[1]) = (struct bpe_pair){ bpe_pair_key(id[0], id[1]), rank };
    b->merged[rank] = id[2];
    return 0;
}

static int load_merges(struct bpe *b, const char *path, const json_t *vocab, const json_t *merges,
                       struct buf *err)
{
    if (!json_is_array(merges))
        return fail(err, "%s: model.merges is not an array", path);
    size_t n = json_array_size(merges), slots = 16;
    if (n > INT32_MAX / 4)
        return fail(err, "%s: model.merges has %zu entries, which are too many", path, n);
    while (slots < 2 * n)
        slots *= 2;
    b->pair_mask = slots - 1;
    b->pairs = xcalloc(slots, sizeof(*b->pairs));
    for (size_t i = 0; i < slots; i++)
        b->pairs[i].rank = -1;
    b->merged = xcalloc(n, sizeof(*b->merged));
    if (b->falls_back)
        bpe_cut_init(b, n);
    struct buf part[2] = { BUF_INIT, BUF_INIT };
    int rc = 0;
    int32_t rank = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const json_t *merge = json_array_get(merges, i);
        // Older files begin with a line of merges.txt that is no merge.
        if (json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0)
            continue;
        if (!halves(merge, &part[0], &part[1]))
            rc = fail(err, "%s: merge %d is neither \"a b\" nor [\"a\", \"b\"]", path, rank);
        else
            rc = add_merge(b, path, vocab, part, rank, err);
        rank++;
    }
    buf_release(&part[0]);
    buf_release(&part[1]);
    return rc;
}

int bpe_load(struct bpe *b, const char *path, const json_t *model, struct buf *err)
{
    json_t *vocab = json_object_get(model, "vocab");
    if (check_options(b, path, model, err) != 0 || load_vocab(b, path, vocab, err) != 0)
        return -1;
    return load_merges(b, path, vocab, json_object_get(model, "merges"), err);
}
