/*
 * bpe_train.c: see bpe_train.h. Texts become words and how often each one comes; bpe_merge.c finds the
 * merges; what came of it is written as Hugging Face's `tokenizers` would write it.
 */
#include "text/bpe_train_impl.h"
#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/unicode.h"

#include <string.h>

static const char *const specials[] = { "<|endoftext|>", "<|padding|>" };

bool bpe_train_special(const char *text)
{
    for (size_t i = 0; i < ARRAY_LEN(specials); i++)
        if (strcmp(specials[i], text) == 0)
            return true;
    return false;
}
enum { FIRST_BYTE = ARRAY_LEN(specials), WORDS_MAX = 1 << 30 };

/* ---- words ---- */

/* The words of the texts, while they are counted: a hash table of places in `words`. */
struct counter {
    struct pretokenizer *pre;
    struct buf normal; /* room for normalised text */
    struct buf bytes;  /* of the words, end to end; their `at` and `len` are in it */
    struct train_words words;
    uint32_t *hashes; /* by word */
    size_t hashes_cap;
    uint32_t *slots; /* the word's number plus one; 0: free. At least half of them are */
    size_t mask;
};

/* FNV-1a; the last step carries the high bits down to those that choose the slot. */
static uint32_t hash_of(const char *s, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return (uint32_t)(h ^ (h >> 32));
}

static void grow_slots(struct counter *c)
{
    size_t slots = c->mask ? 2 * (c->mask + 1) : 1024;
    free(c->slots);
    c->slots = xcalloc(slots, sizeof(*c->slots));
    c->mask = slots - 1;
    for (size_t w = 0; w < c->words.len; w++) {
        size_t i = c->hashes[w] & c->mask;
        while (c->slots[i])
            i = (i + 1) & c->mask;
        c->slots[i] = (uint32_t)w + 1;
    }
}

/* A pretokenize_fn. */
static int count_word(void *ctx, const char *s, size_t len, struct buf *err)
{
    struct counter *c = ctx;
    struct train_words *all = &c->words;
    if (2 * (all->len + 1) > c->mask)
        grow_slots(c);
    uint32_t hash = hash_of(s, len);
    size_t i = hash & c->mask;
    for (; c->slots[i]; i = (i + 1) & c->mask) {
        struct train_word *w = &all->v[c->slots[i] - 1];
        if (c->hashes[c->slots[i] - 1] == hash && w->len == len &&
            memcmp(c->bytes.s + w->at, s, len) == 0) {
            w->count++;
            return 0;
        }
    }
    if (all->len == WORDS_MAX || len > INT32_MAX)
        return fail(err, "more than %d different words, or one of more than %d bytes, are too many",
                    WORDS_MAX, INT32_MAX);
    ARRAY_GROW(c->hashes, c->hashes_cap, all->len + 1);
    ARRAY_GROW(all->v, all->cap, all->len + 1);
    c->hashes[all->len] = hash;
    all->v[all->len++] = (struct train_word){ c->bytes.len, (uint32_t)len, 1 };
    c->slots[i] = (uint32_t)all->len;
    buf_add(&c->bytes, s, len);
    return 0;
}

static int count_text(struct counter *c, const char *text, size_t len, struct buf *err)
{
    size_t valid = utf8_valid(text, len);
    if (valid != len)
        return fail(err, "it is not UTF-8 at byte %zu", valid);
    if (unicode_nfc(text, len, &c->normal, &text, &len, err))
        return -1;
    return pretokenize(c->pre, text, len, count_word, c, err);
}

static int count_texts(struct counter *c, bpe_next_fn *next, void *ctx, struct bpe_trained *out,
                       struct buf *err)
{
    const char *text;
    size_t len;
    int more;
    while ((more = next(ctx, &text, &len, err)) == 1) {
        out->texts++;
        out->bytes += (int64_t)len;
        if (count_text(c, text, len, err))
            return fail(err, "text %lld to train a tokenizer on: %s", (long long)out->texts,
                        err->s);
    }
    if (more)
        return -1;
    out->words = (int64_t)c->words.len;
    return out->words ? 0 : fail(err, "there is no text to train a tokenizer on");
}

/* ---- bytes ---- */

/*
 * GPT-2's table: a printable byte of Latin-1 stands for itself, the others for U+0100 and on. In the
 * order of these characters the bytes have their ids.
 */
static bool is_printable(int byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/* The ids of the bytes; the model gets a token for each. */
static void add_bytes(struct train_model *m, int32_t id_of[256])
{
    m->ntokens = FIRST_BYTE + 256;
    ARRAY_GROW(m->tokens, m->tokens_cap, m->ntokens);
    memset(m->tokens, 0, m->ntokens * sizeof(*m->tokens));
    int32_t next = FIRST_BYTE;
    for (int printable = 1; printable >= 0; printable--)
        for (int b = 0; b < 256; b++)
            if (is_printable(b) == printable) {
                id_of[b] = next;
                m->tokens[next++] = (struct train_token){ m->bytes.len, 1 };
                buf_addc(&m->bytes, (char)b);
            }
}

/* Words of bytes become words of symbols. */
static void make_symbols(struct counter *c, const int32_t id_of[256])
{
    c->words.symbols = xmalloc((c->bytes.len + 1) * sizeof(*c->words.symbols));
    for (size_t i = 0; i < c->bytes.len; i++)
        c->words.symbols[i] = id_of[(unsigned char)c->bytes.s[i]];
    buf_release(&c->bytes);
}

/* ---- the file ---- */

static const char file_head[] = "{\n"
                                "  \"version\": \"1.0\",\n"
                                "  \"truncation\": null,\n"
                                "  \"padding\": null,\n"
                                "  \"added_tokens\": [\n";
static const char file_steps[] = "  ],\n"
                                 "  \"normalizer\": {\n"
                                 "    \"type\": \"NFC\"\n"
                                 "  },\n"
                                 "  \"pre_tokenizer\": {\n"
                                 "    \"type\": \"ByteLevel\",\n"
                                 "    \"add_prefix_space\": false,\n"
                                 "    \"trim_offsets\": true,\n"
                                 "    \"use_regex\": true\n"
                                 "  },\n"
                                 "  \"post_processor\": null,\n"
                                 "  \"decoder\": {\n"
                                 "    \"type\": \"ByteLevel\",\n"
                                 "    \"add_prefix_space\": true,\n"
                                 "    \"trim_offsets\": true,\n"
                                 "    \"use_regex\": true\n"
                                 "  },\n"
                                 "  \"model\": {\n"
                                 "    \"type\": \"BPE\",\n"
                                 "    \"dropout\": null,\n"
                                 "    \"unk_token\": null,\n"
                                 "    \"continuing_subword_prefix\": null,\n"
                                 "    \"end_of_word_suffix\": null,\n"
                                 "    \"fuse_unk\": false,\n"
                                 "    \"byte_fallback\": false,\n"
                                 "    \"ignore_merges\": false,\n"
                                 "    \"vocab\": {\n";

/* A token as the file has it: one character for each byte. */
static void add_token(const struct train_model *m, int32_t id, struct buf *out)
{
    const struct train_token *t = &m->tokens[id];
    buf_addc(out, '"');
    if (id < FIRST_BYTE)
        buf_adds(out, specials[id]);
    for (size_t i = 0; i < t->len; i++) {
        int c = (unsigned char)m->bytes.s[t->at + i];
        // 33 bytes below 0x21, 34 from 0x7f to 0xa0, and 0xad are not printable.
        if (!is_printable(c))
            c = 0x100 + (c < 0x21 ? c : c < 0xa1 ? c - 0x7f + 33 : 67);
        if (c == '"' || c == '\\')
            buf_addc(out, '\\');
        if (c >= 0x80)
            buf_addc(out, (char)(0xc0 | c >> 6));
        buf_addc(out, (char)(c < 0x80 ? c : 0x80 | (c & 0x3f)));
    }
    buf_addc(out, '"');
}

static void write_json(const struct train_model *m, struct buf *out)
{
    buf_adds(out, file_head);
    for (size_t i = 0; i < ARRAY_LEN(specials); i++)
        buf_addf(out,
                 "    {\n"
                 "      \"id\": %zu,\n"
                 "      \"content\": \"%s\",\n"
                 "      \"single_word\": false,\n"
                 "      \"lstrip\": false,\n"
                 "      \"rstrip\": false,\n"
                 "      \"normalized\": false,\n"
                 "      \"special\": true\n"
                 "    }%s\n",
                 i, specials[i], i + 1 < ARRAY_LEN(specials) ? "," : "");
    buf_adds(out, file_steps);
    for (size_t id = 0; id < m->ntokens; id++) {
        buf_adds(out, "      ");
        add_token(m, (int32_t)id, out);
        buf_addf(out, ": %zu%s\n", id, id + 1 < m->ntokens ? "," : "");
    }
    buf_adds(out, "    },\n    \"merges\": [");
    for (size_t i = 0; i < m->nmerges; i++) {
        buf_adds(out, i ? ",\n      [\n        " : "\n      [\n        ");
        add_token(m, m->merges[i].left, out);
        buf_adds(out, ",\n        ");
        add_token(m, m->merges[i].right, out);
        buf_adds(out, "\n      ]");
    }
    buf_adds(out, m->nmerges ? "\n    ]\n  }\n}" : "]\n  }\n}");
}

/* ---- all of it ---- */

static int open_counter(struct counter *c, struct buf *err)
{
    json_t *node = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                             "trim_offsets", 1, "use_regex", 1);
    buf_init(&c->normal);
    buf_init(&c->bytes);
    c->pre = pretokenizer_new("the tokenizer to train", node, err);
    json_decref(node);
    return c->pre ? 0 : -1;
}

static void close_counter(struct counter *c)
{
    pretokenizer_free(c->pre);
    buf_release(&c->normal);
    buf_release(&c->bytes);
    free(c->words.v);
    free(c->words.symbols);
    free(c->hashes);
    free(c->slots);
}

static int check_training(const struct bpe_training *t, struct buf *err)
{
    if (t->size < BPE_SIZE_MIN || t->size > TOKEN_ID_MAX + 1)
        return fail(err, "a tokenizer of %d tokens cannot be trained; %d to %d are allowed",
                    t->size, BPE_SIZE_MIN, TOKEN_ID_MAX + 1);
    if (t->min_frequency < 1)
        return fail(err, "a tokenizer's min_frequency is %lld; 1 or more is allowed",
                    (long long)t->min_frequency);
    return 0;
}

int bpe_train(const struct bpe_training *t, bpe_next_fn *next, void *ctx, struct buf *json,
              struct bpe_trained *out, struct buf *err)
{
    struct counter c = { 0 };
    struct train_model m = { .bytes = BUF_INIT };
    struct bpe_trained trained = { 0 };
    int32_t id_of[256];
    if (check_training(t, err))
        return -1;
    int rc = open_counter(&c, err) || count_texts(&c, next, ctx, &trained, err) ? -1 : 0;
    if (rc == 0) {
        add_bytes(&m, id_of);
        make_symbols(&c, id_of);
        bpe_merge_words(t, &c.words, &m);
        write_json(&m, json);
        trained.size = (int)m.ntokens;
        if (out)
            *out = trained;
    }
    close_counter(&c);
    buf_release(&m.bytes);
    free(m.tokens);
    free(m.merges);
    return rc;
}
