/*
 * show_facts.c: the words of `show` that its two forms share: characters that may not stand as they
 * are, what is said of a sample, and of a verdict; see show.h.
 */
#include "cmd/show.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The code point of a valid character of n bytes. */
static unsigned code_point(const char *s, size_t n)
{
    static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    unsigned c = (unsigned char)s[0] & first[n];
    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((unsigned char)s[i] & 0x3f);
    return c;
}

/* Control characters of the second set, separators of lines, marks of direction. */
static bool is_hidden(unsigned c)
{
    return (c >= 0x80 && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

size_t show_char(const char *s, size_t len, char shown[16])
{
    unsigned char c = (unsigned char)*s;
    size_t n = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    shown[0] = '\0';
    if (n > len || utf8_valid(s, n) != n || c == 127 || (c < ' ' && c != '\n' && c != '\t')) {
        snprintf(shown, 16, "\\x%02x", (unsigned)c);
        return 1;
    }
    if (n > 1 && is_hidden(code_point(s, n)))
        snprintf(shown, 16, "\\u%04x", code_point(s, n));
    return n;
}

void show_clean(const char *s, size_t len, struct buf *out)
{
    char shown[16];
    for (size_t i = 0, n; i < len; i += n) {
        n = show_char(s + i, len - i, shown);
        if (shown[0])
            buf_adds(out, shown);
        else if (s[i] == '\n' || s[i] == '\t')
            buf_adds(out, s[i] == '\n' ? "\\n" : "\\t");
        else
            buf_add(out, s + i, n);
    }
}

const struct show_row show_rows[] = {
    { "found", "found" },        { "none", "no answer" },   { "compared", "compared" },
    { "with", "reference" },     { "result", "result" },    { "reply", "judge says" },
    { "unparsed", "no number" }, { "failure", "no reply" }, { NULL, NULL },
};

bool show_verdict(const json_t *verdict, const char *key, struct buf *out)
{
    const json_t *v = json_object_get(verdict, key);
    if (!v)
        return false;
    if (json_is_null(v)) {
        buf_adds(out, strcmp(key, "found") == 0 ? "nothing" : "none");
    } else if (json_is_string(v)) {
        buf_adds(out, json_string_value(v));
    } else if (json_is_number(v)) {
        buf_addf(out, "%.6g", json_number_value(v));
    } else if (json_is_boolean(v)) {
        buf_adds(out, json_is_true(v) ? "yes" : "no");
    } else {
        char *text = json_dumps(v, JSON_COMPACT);
        buf_adds(out, text ? text : "?");
        free(text);
    }
    return true;
}

static const char *plural(int n)
{
    return n == 1 ? "" : "s";
}

static void add_cell_facts(const struct result *c, struct strings *out)
{
    const char *trained = strcmp(c->train, "none") == 0 ? NULL : c->train;
    strings_add(out, "cell");
    strings_addf(out, "%s, of the sweep %s%s%s", c->id, c->sweep,
                 strcmp(c->status, "done") == 0 ? "" : "; ",
                 strcmp(c->status, "done") == 0 ? "" : c->status);
    strings_add(out, "model");
    strings_addf(out, "%s, %s on %s%s%s", c->model, c->dtype, c->device,
                 trained ? ", trained " : "", trained ? trained : "");
    strings_add(out, "router");
    strings_addf(out, "%s, K = %d", c->label, c->k);
    strings_add(out, "task");
    strings_addf(out, "%s, seed %lld", c->task, (long long)c->seed);
    if (c->note) {
        strings_add(out, "note");
        strings_add(out, c->note);
    }
}

static void add_places(const struct shown *p, struct strings *out)
{
    struct buf places = BUF_INIT;
    size_t base = p->apart ? 0 : p->output_from;
    for (size_t i = 0; i < p->nplaces; i++)
        buf_addf(&places, "%s%zu to %zu", i ? ", " : "", p->places[i].from - base,
                 p->places[i].to - base);
    strings_add(out, "answer");
    strings_addf(out, "bytes %s of the output%s", places.s,
                 p->unsure ? "; which of the places counted is not known" : "");
    buf_release(&places);
}

/* The words for stop_reason_name(); what is not known stands as it is. */
static const char *stop_words(const char *reason)
{
    static const char *const words[][2] = {
        { "eos", "the model ended it" },
        { "stop", "at a stop string" },
        { "length", "no more tokens were allowed" },
        { "context", "the model has no more positions" },
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(words[i][0], reason) == 0)
            return words[i][1];
    return NULL;
}

void show_facts(const struct shown *p, struct strings *out)
{
    add_cell_facts(p->cell, out);
    bool wrote = p->output || p->output_tokens;
    strings_add(out, "document");
    strings_addf(out, "%s: a prompt of %d token%s, %d %s", p->doc, p->prompt_tokens,
                 plural(p->prompt_tokens), wrote ? p->output_tokens : p->nll_tokens,
                 wrote ? "written" : "scored");
    if (p->stop_reason) {
        const char *words = stop_words(p->stop_reason);
        strings_add(out, "ended");
        strings_addf(out, "%s%s%s", p->stop_reason, words ? ": " : "", words ? words : "");
    }
    if (!isnan(p->score)) {
        strings_add(out, "score");
        strings_addf(out, "%.6g", p->score);
    }
    if (!isnan(p->nll) && p->nll_tokens > 0) {
        strings_add(out, "loss");
        strings_addf(out, "%.4f nats a token, %.2f over %d token%s", p->nll / p->nll_tokens, p->nll,
                     p->nll_tokens, plural(p->nll_tokens));
    }
    if (p->error) {
        strings_add(out, "error");
        strings_add(out, p->error);
    }
    if (p->nplaces)
        add_places(p, out);
    if (p->ntokens == 0) {
        strings_add(out, "tokens");
        strings_add(out, "not logged: there is no prompt to show, and nothing to shade by");
    }
}

bool show_has_prompt(const struct shown *p)
{
    // Whole texts have a first token, which has no loss, for a prompt.
    return p->ntokens > 0 && (p->output || p->prompt_tokens > 1);
}

const char *show_part_name(const struct shown *p)
{
    if (p->output || p->output_tokens)
        return "output";
    return show_has_prompt(p) ? "target, scored by its loss" : "text, scored by its loss";
}
