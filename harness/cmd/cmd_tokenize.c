/*
 * cmd_tokenize.c: text to the tokens of a model, and back.
 */
#include "cmd/cmd.h"
#include "text/tokenizer.h"
#include "weights.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX ((size_t)1 << 30)

static void read_stdin(struct buf *out)
{
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), stdin)) > 0) {
        buf_add(out, chunk, n);
        if (out->len > TEXT_MAX)
            die(1, "stdin: larger than the %zu bytes that are accepted", TEXT_MAX);
    }
    if (ferror(stdin))
        die(1, "stdin: %s", strerror(errno));
}

static struct tokenizer *open_tokenizer(const char *model)
{
    struct buf path = BUF_INIT, err = BUF_INIT;
    if (model_find(model, &path, &err) != 0)
        die(1, "%s", err.s);
    buf_adds(&path, "/tokenizer.json");
    struct tokenizer *t = tokenizer_open(path.s, &err);
    if (!t)
        die(1, "%s", err.s);
    buf_release(&path);
    return t;
}

/* The piece in quotes on one line: control characters and broken UTF-8 as \xNN. */
static void escape(const struct buf *piece, struct buf *out)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < piece->len;) {
        const char *s = piece->s + i;
        unsigned char c = (unsigned char)*s;
        size_t n = 1;
        while (n < 4 && i + n < piece->len && ((unsigned char)s[n] & 0xc0) == 0x80)
            n++;
        if (c == '\n')
            buf_adds(out, "\\n");
        else if (c == '\t')
            buf_adds(out, "\\t");
        else if (c == '"' || c == '\\')
            buf_addf(out, "\\%c", c);
        else if (c < ' ' || c == 127 || utf8_valid(s, n) != n)
            buf_addf(out, "\\x%02x", (unsigned)c);
        else {
            buf_add(out, s, n);
            i += n;
            continue;
        }
        i++;
    }
    buf_addc(out, '"');
}

static void add_hex(struct table *t, const struct buf *piece)
{
    struct buf hex = BUF_INIT;
    for (size_t i = 0; i < piece->len; i++)
        buf_addf(&hex, "%02x", (unsigned)(unsigned char)piece->s[i]);
    table_add(t, hex.s);
    buf_release(&hex);
}

/* JSON gives a piece as it is, null where it is no text alone, and its bytes. */
static void print_tokens(const struct tokenizer *t, const struct ids *ids, bool json)
{
    static const char *const for_people[] = { "#id", "text", NULL };
    static const char *const for_programs[] = { "#id", "text", "bytes", NULL };
    struct table *table = table_new(json ? for_programs : for_people);
    struct buf piece = BUF_INIT, shown = BUF_INIT, err = BUF_INIT;
    for (size_t i = 0; i < ids->len; i++) {
        buf_reset(&piece);
        buf_reset(&shown);
        if (tokenizer_decode(t, &ids->v[i], 1, &piece, &err) != 0)
            die(1, "%s", err.s);
        table_addf(table, "%d", (int)ids->v[i]);
        if (json) {
            bool whole = utf8_valid(piece.s, piece.len) == piece.len;
            table_add(table, whole && strlen(piece.s) == piece.len ? piece.s : NULL);
            add_hex(table, &piece);
        } else {
            escape(&piece, &shown);
            table_add(table, shown.s);
        }
    }
    table_print(table, json ? TABLE_JSON : TABLE_TEXT);
    table_free(table);
    buf_release(&piece);
    buf_release(&shown);
}

/* Ids as words between blanks, commas or brackets. */
static void parse_ids(const struct buf *text, struct ids *out)
{
    static const char between[] = " \t\r\n,[]";
    const char *p = text->s + strspn(text->s, between);
    while (*p) {
        char *end;
        errno = 0;
        long id = strtol(p, &end, 10);
        size_t word = strcspn(p, between);
        if (errno || end != p + word || id < 0 || id > INT32_MAX)
            die(1, "'%.*s' is no token id; a whole number is needed", (int)(word < 40 ? word : 40),
                p);
        ids_push(out, (int32_t)id);
        p = end + strspn(end, between);
    }
    if (p != text->s + text->len)
        die(1, "the ids have a zero byte among them");
}

static void print_decoded(const struct tokenizer *t, const struct buf *text)
{
    struct ids ids = { 0 };
    struct buf out = BUF_INIT, err = BUF_INIT;
    parse_ids(text, &ids);
    if (tokenizer_decode_text(t, ids.v, ids.len, &out, &err) != 0)
        die(1, "%s", err.s);
    fwrite(out.s, 1, out.len, stdout);
    buf_release(&out);
    free(ids.v);
}

static int run_tokenize(int argc, char **argv)
{
    const char *file = NULL;
    bool json = false, decode = false;
    const struct option_spec specs[] = {
        { .name = "--file", .value = &file },
        { .name = "--json", .flag = &json },
        { .name = "--decode", .flag = &decode },
        { .name = NULL },
    };
    int n = cmd_options(&cmd_tokenize, argc, argv, specs, 1, 2);
    if (n == 2 && file)
        die(2, "tokenize takes a text or --file, not both");
    if (decode && json)
        die(2, "tokenize --decode gives text, not JSON");
    struct tokenizer *t = open_tokenizer(argv[1]);
    struct buf text = BUF_INIT, err = BUF_INIT;
    if (n == 2)
        buf_adds(&text, argv[2]);
    else if (!file)
        read_stdin(&text);
    else if (read_file(file, TEXT_MAX, &text, &err) != 0)
        die(1, "%s", err.s);
    if (decode) {
        print_decoded(t, &text);
    } else {
        struct ids ids = { 0 };
        if (tokenizer_encode(t, text.s, text.len, &ids, &err) != 0)
            die(1, "%s: %s", file ? file : n == 2 ? "the text" : "stdin", err.s);
        print_tokens(t, &ids, json);
        free(ids.v);
    }
    buf_release(&text);
    tokenizer_free(t);
    return 0;
}

const struct cmd cmd_tokenize = {
    .name = "tokenize",
    .args = "MODEL [TEXT | --file F] [--json | --decode]",
    .help = "the tokens of a text (of stdin without one), or the text of token ids",
    .run = run_tokenize,
};
