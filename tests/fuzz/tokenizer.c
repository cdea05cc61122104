/*
 * tokenizer.c: the input is a tokenizer.json, and behind a NUL a text for it.
 *
 * "@BYTES@" in it stands for the 256 byte tokens of a byte-level vocabulary (ids 0 to 255), and
 * "@PIECES@" for those of a SentencePiece one, so that seeds are small and changes hit what matters.
 * What opens gives ids that it has itself, and decodes them alike in one go and one by one.
 */
#include "fuzz.h"

#include "text/tokenizer.h"

/* GPT-2's letter for a byte: the printable ones stand for themselves, the others come from 256 on. */
static void add_letter(int byte, struct buf *out)
{
    bool shown = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
    int c = byte, before = 0;
    for (int b = 0; !shown && b < byte; b++)
        before += !((b >= '!' && b <= '~') || (b >= 0xa1 && b != 0xad));
    if (!shown)
        c = 256 + before;
    if (c == '"' || c == '\\')
        buf_addc(out, '\\');
    if (c < 128) {
        buf_addc(out, (char)c);
    } else {
        buf_addc(out, (char)(0xc0 | c >> 6));
        buf_addc(out, (char)(0x80 | (c & 63)));
    }
}

static const struct buf *bytes(void)
{
    static struct buf text = BUF_INIT;
    for (int b = text.len ? 256 : 0; b < 256; b++) {
        buf_adds(&text, b ? ",\"" : "\"");
        add_letter(b, &text);
        buf_addf(&text, "\":%d", b);
    }
    return &text;
}

static const struct buf *pieces(void)
{
    static struct buf text = BUF_INIT;
    for (int b = text.len ? 256 : 0; b < 256; b++)
        buf_addf(&text, "%s\"<0x%02X>\":%d", b ? "," : "", b, b);
    return &text;
}

/* Writes the file, with what the two words stand for. */
static void write_json(const uint8_t *data, size_t len)
{
    static struct buf text = BUF_INIT;
    buf_reset(&text);
    for (size_t i = 0; i < len;) {
        if (len - i >= 7 && memcmp(data + i, "@BYTES@", 7) == 0) {
            buf_add(&text, bytes()->s, bytes()->len);
            i += 7;
        } else if (len - i >= 8 && memcmp(data + i, "@PIECES@", 8) == 0) {
            buf_add(&text, pieces()->s, pieces()->len);
            i += 8;
        } else {
            buf_addc(&text, (char)data[i++]);
        }
    }
    fuzz_file("tokenizer.json", text.s, text.len);
}

/* Also of ids that nobody has. */
static void try_ids(struct tokenizer *t, struct buf *out, struct buf *err)
{
    const int32_t ids[] = { -1, 0, tokenizer_size(t) - 1, tokenizer_size(t), INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        int rc = tokenizer_decode(t, ids + i, 1, out, err);
        if ((rc == 0) != tokenizer_has(t, ids[i]))
            BUG("id %d of %d: decoding it gives %d", ids[i], tokenizer_size(t), rc);
        (void)tokenizer_special(t, ids[i]);
        if (rc)
            fuzz_said(err);
    }
    buf_reset(out);
}

static void decode_both(struct tokenizer *t, const struct ids *ids, struct buf *err)
{
    struct buf all = BUF_INIT, one = BUF_INIT, text = BUF_INIT;
    int rc = tokenizer_decode(t, ids->v, ids->len, &all, err);
    for (size_t i = 0; rc == 0 && i < ids->len; i++)
        rc = tokenizer_has(t, ids->v[i]) ? tokenizer_decode(t, ids->v + i, 1, &one, err) : -1;
    if (rc == 0)
        rc = tokenizer_decode_text(t, ids->v, ids->len, &text, err);
    if (rc)
        BUG("its own ids are not decoded: %s", err->s);
    if (all.len != one.len || memcmp(all.s, one.s, all.len) != 0)
        BUG("ids decode to '%s' at once and to '%s' one by one", all.s, one.s);
    if (text.len > all.len)
        BUG("a whole text has %zu bytes more", text.len - all.len);
    buf_release(&all);
    buf_release(&one);
    buf_release(&text);
}

static void encode(struct tokenizer *t, const char *text, size_t len, struct buf *err)
{
    struct ids ids = { 0 };
    for (int more = 0; more < 2; more++) {
        int rc = (more ? tokenizer_encode_more : tokenizer_encode)(t, text, len, &ids, err);
        if (rc == 0)
            decode_both(t, &ids, err);
        else
            fuzz_said(err);
        ids.len = 0;
    }
    free(ids.v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf err = BUF_INIT, out = BUF_INIT;
    const uint8_t *text;
    size_t text_len, n = fuzz_cut(data, len, &text, &text_len);
    write_json(data, n);
    char *path = fuzz_path("tokenizer.json");
    struct tokenizer *t = tokenizer_open(path, &err);
    free(path);
    if (t) {
        try_ids(t, &out, &err);
        encode(t, "Hello  world's 12,\n\t\xc3\xa9!", 23, &err);
        encode(t, (const char *)text, text_len, &err);
    } else {
        fuzz_said(&err);
    }
    tokenizer_free(t);
    buf_release(&out);
    return 0;
}
