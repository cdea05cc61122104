/*
 * html.c: see html.h.
 */
#include "cmd/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A dark page's shades begin dark, near its ground. */
const char html_colours[] =
    ":root{color-scheme:light dark;--bg:#fdfdfb;--fg:#1c1b1f;--dim:#65626b;--line:#dcd9d3;"
    "--box:#fff;--link:#7a2048;"
    "--s0:#fff8d7;--s1:#fee5a5;--s2:#fbc878;--s3:#f5a058;--s4:#e2704e;--s5:#b84252;--s6:#741e52;"
    "--t0:#000;--t1:#000;--t2:#000;--t3:#000;--t4:#000;--t5:#fff;--t6:#fff}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#17161a;--fg:#e8e6e3;--dim:#a09ca6;"
    "--line:#38353d;--box:#1f1d23;--link:#f0a06a;"
    "--s0:#2a2430;--s1:#4c2845;--s2:#7a2e4d;--s3:#a5424f;--s4:#d46a50;--s5:#eea25f;--s6:#fbdc92;"
    "--t0:#fff;--t1:#fff;--t2:#fff;--t3:#fff;--t4:#000;--t5:#000;--t6:#000}}\n";

const char html_token_style[] =
    ".e{border:1px dotted;user-select:none}.n{opacity:.55;user-select:none}"
    ".x{text-decoration:line-through;opacity:.6}\n"
    "mark{background:none;color:inherit;font-weight:700;"
    "box-shadow:inset 0 -3px currentColor}\n";

/* ---- text ---- */

/* What may not stand as it is gets a box of its own, but not in an attribute. */
static void add_escaped(const char *s, size_t len, bool attribute, struct buf *out)
{
    char shown[16];
    for (size_t i = 0, n; i < len; i += n) {
        n = show_char(s + i, len - i, shown);
        if (shown[0] && !attribute)
            buf_addf(out, "<span class=e>%s</span>", shown);
        else if (shown[0])
            buf_adds(out, shown);
        else if (s[i] == '&')
            buf_adds(out, "&amp;");
        else if (s[i] == '<')
            buf_adds(out, "&lt;");
        else if (s[i] == '>')
            buf_adds(out, "&gt;");
        else if (s[i] == '"')
            buf_adds(out, "&quot;");
        else
            buf_add(out, s + i, n);
    }
}

void html_text(const char *s, struct buf *out)
{
    add_escaped(s, strlen(s), false, out);
}

void html_text_len(const char *s, size_t len, struct buf *out)
{
    add_escaped(s, len, false, out);
}

void html_text_most(const char *s, size_t most, struct buf *out)
{
    size_t len = strlen(s), to = most && len > most ? most : len;
    while (to < len && to > 0 && ((unsigned char)s[to] & 0xc0) == 0x80)
        to--;
    html_text_len(s, to, out);
    if (to < len)
        buf_addf(out, " <i>(and %zu bytes more)</i>", len - to);
}

void html_attribute(const char *s, struct buf *out)
{
    add_escaped(s, strlen(s), true, out);
}

void html_attribute_line(const char *s, size_t len, struct buf *out)
{
    struct buf clean = BUF_INIT;
    show_clean(s, len, &clean);
    add_escaped(clean.s, clean.len, true, out);
    buf_release(&clean);
}

/* ---- tokens ---- */

static void add_number(const char *before, const char *format, double v, const char *after,
                       struct buf *out)
{
    char number[32];
    if (isnan(v))
        return;
    snprintf(number, sizeof(number), format, v);
    buf_addf(out, "%s%s%s", before, number, after);
}

/* All that is known of a token: three short lines. */
static void add_title(const struct shown *p, const struct shown_token *t, struct buf *out)
{
    buf_adds(out, "&quot;");
    html_attribute_line(p->text.s + t->from, t->to - t->from, out);
    buf_addf(out, "&quot; (token %d) at position %d", (int)t->id, t->pos);
    if (!isnan(t->experts)) {
        add_number("\nexperts ", "%.4g", t->experts, "", out);
        if (t->by_layer) {
            buf_adds(out, ", by layer ");
            html_attribute(t->by_layer, out);
        }
    }
    add_number("\nentropy ", "%.3f", t->entropy, "", out);
    add_number("\nloss ", "%.3f", t->nll, "", out);
}

/* A line break stands behind an arrow, so that its shade can be seen; copying leaves the arrow. */
static void add_piece_text(const char *s, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        const char *end = memchr(s + i, '\n', len - i);
        size_t n = end ? (size_t)(end - (s + i)) : len - i;
        html_text_len(s + i, n, out);
        if (end)
            buf_adds(out, "<span class=n>\xe2\x86\xb5</span>\n");
        i += n + (end != NULL);
    }
}

static void add_piece(const struct shown *p, const struct piece *piece, struct buf *out)
{
    if (piece->answer)
        buf_adds(out, "<mark>");
    add_piece_text(p->text.s + piece->from, piece->to - piece->from, out);
    if (piece->answer)
        buf_adds(out, "</mark>");
}

/* Title and end of the tag: a line for each token that shares the piece's characters. */
static void add_whole(const struct shown *p, const struct piece *piece, struct buf *out)
{
    buf_adds(out, " title=\"");
    for (size_t i = piece->first; i < piece->last; i++) {
        buf_adds(out, i > piece->first ? "\n" : "");
        add_title(p, &p->tokens[i], out);
    }
    buf_adds(out, "\">");
}

static void add_brief(const struct shown *p, const struct piece *piece, struct buf *out)
{
    add_number(" data-e=", "%.4g", show_value(p, piece, SHADE_EXPERTS), "", out);
    add_number(" data-h=", "%.2f", show_value(p, piece, SHADE_ENTROPY), "", out);
    double nll = piece->last == piece->first + 1 ? p->tokens[piece->first].nll : NAN;
    add_number(" data-l=", "%.2f", nll, "", out);
    buf_adds(out, ">");
}

/* "a3 b5": the steps of experts and of entropy, which a page's rules give a ground. */
static void open_token(const struct shown *p, const struct piece *piece,
                       const struct scale scales[SHADES], enum html_detail detail, struct buf *out)
{
    static const char letter[SHADES] = { [SHADE_EXPERTS] = 'a', [SHADE_ENTROPY] = 'b' };
    buf_adds(out, "<span class=\"t");
    for (enum shade_by by = SHADE_EXPERTS; by < SHADES; by++) {
        int step = show_step(scales[by], show_value(p, piece, by));
        if (step >= 0)
            buf_addf(out, " %c%d", letter[by], step);
    }
    buf_addf(out, "%s\"", piece->cut ? " x" : "");
    if (detail == HTML_WHOLE)
        add_whole(p, piece, out);
    else
        add_brief(p, piece, out);
}

void html_tokens(const struct shown *p, size_t from, size_t to, const struct scale scales[SHADES],
                 enum html_detail detail, struct buf *out)
{
    struct piece piece = { .from = from, .to = from }, before = { 0 };
    buf_adds(out, "<pre>");
    // A browser drops a line break right behind <pre>.
    if (to > from && p->text.s[from] == '\n')
        buf_addc(out, '\n');
    while (show_piece(p, to, &piece)) {
        bool token = piece.last > piece.first;
        bool next = !before.last || piece.first != before.first || piece.cut != before.cut;
        if (before.last && next)
            buf_adds(out, "</span>");
        if (token && next)
            open_token(p, &piece, scales, detail, out);
        add_piece(p, &piece, out);
        before = piece;
    }
    buf_addf(out, "%s</pre>\n", before.last ? "</span>" : "");
}

/* ---- facts and measures ---- */

void html_facts(const struct strings *facts, struct buf *out)
{
    for (size_t i = 0; i + 1 < facts->len; i += 2) {
        buf_adds(out, "<dt>");
        html_text(facts->v[i], out);
        buf_adds(out, "</dt><dd>");
        html_text(facts->v[i + 1], out);
        buf_adds(out, "</dd>\n");
    }
}

static void add_measure(const char *name, const json_t *verdict, size_t most, struct buf *out)
{
    struct buf value = BUF_INIT;
    bool scored = show_verdict(verdict, "score", &value);
    buf_adds(out, "<table class=measure><caption>");
    html_text(name, out);
    buf_adds(out, ": ");
    html_text_most(scored ? value.s : "not scored", most, out);
    buf_adds(out, "</caption>\n");
    for (const struct show_row *r = show_rows; r->key; r++) {
        buf_reset(&value);
        if (!show_verdict(verdict, r->key, &value))
            continue;
        buf_addf(out, "<tr><th scope=row>%s</th><td>", r->name);
        html_text_most(value.s, most, out);
        buf_adds(out, "</td></tr>\n");
    }
    buf_adds(out, "</table>\n");
    buf_release(&value);
}

void html_measures(const struct shown *p, size_t most, struct buf *out)
{
    const char *name;
    json_t *verdict;
    if (!p->extracted && p->extracted_text) {
        buf_adds(out, "<pre>");
        html_text_most(p->extracted_text, most, out);
        buf_adds(out, "</pre>\n");
    }
    json_object_foreach (p->extracted, name, verdict)
        add_measure(name, verdict, most, out);
}
