/*
 * show_html.c: a sample as one page that needs nothing else: no network, no script. Each token is a
 * span whose title says all that is known of it; what it is shaded by is chosen with radio buttons
 * and rules of CSS.
 *
 * Invariant: everything that comes from the database goes through add_text().
 */
#include "cmd/show.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --s0 to --s6 are the shades, from few to many, and --t0 to --t6 the letters on them. A dark page's
 * shades begin dark, near its ground. */
static const char style[] =
    ":root{color-scheme:light dark;--bg:#fdfdfb;--fg:#1c1b1f;--dim:#65626b;--line:#dcd9d3;"
    "--box:#fff;--link:#7a2048;"
    "--s0:#fff8d7;--s1:#fee5a5;--s2:#fbc878;--s3:#f5a058;--s4:#e2704e;--s5:#b84252;--s6:#741e52;"
    "--t0:#000;--t1:#000;--t2:#000;--t3:#000;--t4:#000;--t5:#fff;--t6:#fff}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#17161a;--fg:#e8e6e3;--dim:#a09ca6;"
    "--line:#38353d;--box:#1f1d23;--link:#f0a06a;"
    "--s0:#2a2430;--s1:#4c2845;--s2:#7a2e4d;--s3:#a5424f;--s4:#d46a50;--s5:#eea25f;--s6:#fbdc92;"
    "--t0:#fff;--t1:#fff;--t2:#fff;--t3:#fff;--t4:#000;--t5:#000;--t6:#000}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--bg);"
    "color:var(--fg);font:16px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.3rem;margin:.2rem 0 1rem;overflow-wrap:anywhere}"
    "h2{font-size:1rem;margin:1.6rem 0 .4rem}\n"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:0}"
    "dt,th{color:var(--dim);font-weight:400}dd{margin:0;overflow-wrap:anywhere}\n"
    "input{accent-color:var(--link)}label{margin:0 1rem 0 .2rem}\n"
    "pre{margin:0;padding:.8rem;border:1px solid var(--line);border-radius:6px;"
    "background:var(--box);white-space:pre-wrap;overflow-wrap:anywhere;tab-size:4;"
    "font:15px/1.75 ui-monospace,\"DejaVu Sans Mono\",monospace}\n"
    ".t{border-radius:2px;padding:.1em 0}.t:hover{outline:2px solid var(--link)}"
    ".e{border:1px dotted;user-select:none}.n{opacity:.55;user-select:none}"
    ".x{text-decoration:line-through;opacity:.6}\n"
    "mark{background:none;color:inherit;font-weight:700;"
    "box-shadow:inset 0 -3px currentColor}\n"
    ".legend{display:none;flex-wrap:wrap;align-items:center;margin-top:.5rem;font-size:.85rem}"
    ".legend b{font-weight:400;padding:.1rem .5rem}.legend i{font-style:normal;margin-left:.6rem;"
    "color:var(--dim)}\n"
    "table{border-collapse:collapse;width:100%;table-layout:fixed}"
    "th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;"
    "border-top:1px solid var(--line)}.k{width:6.5rem}\n"
    "td{white-space:pre-wrap;overflow-wrap:anywhere;font:14px/1.6 ui-monospace,"
    "\"DejaVu Sans Mono\",monospace}"
    "thead th{color:var(--fg);font-weight:700;padding-top:.8rem;border-top:0}\n"
    // A finger has no pointer to rest on a token: the title comes up at the foot of the page.
    "@media(hover:none){.t:hover::after{content:attr(title);position:fixed;left:0;right:0;bottom:0;"
    "padding:.7rem 1rem;background:var(--fg);color:var(--bg);font:14px/1.5 system-ui,sans-serif;"
    "white-space:pre-wrap}}\n";

/* As text or inside of a quoted attribute. What may not stand as it is gets a box of its own, but
 * not in an attribute. */
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

static void add_text(const char *s, struct buf *out)
{
    add_escaped(s, strlen(s), false, out);
}

/* ---- tokens ---- */

static void add_number(const char *name, const char *format, double v, struct buf *out)
{
    char number[32];
    if (isnan(v))
        return;
    snprintf(number, sizeof(number), format, v);
    buf_addf(out, "%s%s", name, number);
}

/* All that is known of a token: three short lines. */
static void add_title(const struct shown *p, const struct shown_token *t, struct buf *out)
{
    struct buf clean = BUF_INIT;
    show_clean(p->text.s + t->from, t->to - t->from, &clean);
    buf_adds(out, "&quot;");
    add_escaped(clean.s, clean.len, true, out);
    buf_addf(out, "&quot; (token %d) at position %d", (int)t->id, t->pos);
    if (!isnan(t->experts)) {
        add_number("\nexperts ", "%.4g", t->experts, out);
        if (t->by_layer) {
            buf_adds(out, ", by layer ");
            add_escaped(t->by_layer, strlen(t->by_layer), true, out);
        }
    }
    add_number("\nentropy ", "%.3f", t->entropy, out);
    add_number("\nloss ", "%.3f", t->nll, out);
    buf_release(&clean);
}

/* A line break stands behind an arrow, so that its shade can be seen; copying leaves the arrow. */
static void add_piece_text(const char *s, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        const char *end = memchr(s + i, '\n', len - i);
        size_t n = end ? (size_t)(end - (s + i)) : len - i;
        add_escaped(s + i, n, false, out);
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

/* "a3 b5": the steps of experts and of entropy, which the rules of add_rules() give a ground. */
static void open_token(const struct shown *p, const struct piece *piece,
                       const struct scale scales[SHADES], struct buf *out)
{
    static const char letter[SHADES] = { [SHADE_EXPERTS] = 'a', [SHADE_ENTROPY] = 'b' };
    buf_adds(out, "<span class=\"t");
    for (enum shade_by by = SHADE_EXPERTS; by < SHADES; by++) {
        int step = show_step(scales[by], show_value(p, piece, by));
        if (step >= 0)
            buf_addf(out, " %c%d", letter[by], step);
    }
    buf_addf(out, "%s\" title=\"", piece->cut ? " x" : "");
    for (size_t i = piece->first; i < piece->last; i++) {
        buf_adds(out, i > piece->first ? "\n" : "");
        add_title(p, &p->tokens[i], out);
    }
    buf_adds(out, "\">");
}

static void add_tokens(const struct shown *p, size_t from, size_t to, struct buf *out)
{
    const struct scale scales[SHADES] = { [SHADE_EXPERTS] = show_scale(p, SHADE_EXPERTS),
                                          [SHADE_ENTROPY] = show_scale(p, SHADE_ENTROPY) };
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
            open_token(p, &piece, scales, out);
        add_piece(p, &piece, out);
        before = piece;
    }
    buf_addf(out, "%s</pre>\n", before.last ? "</span>" : "");
}

/* ---- the page ---- */

static const char *const ids[SHADES] = { "plain", "experts", "entropy" };

static void add_rules(struct buf *out)
{
    for (int i = 0; i < SHADE_STEPS; i++)
        buf_addf(out,
                 ".s%d,#experts:checked~main .a%d,#entropy:checked~main .b%d"
                 "{background:var(--s%d);color:var(--t%d)}",
                 i, i, i, i, i);
    buf_adds(out, "\n#experts:checked~.experts,#entropy:checked~.entropy{display:flex}\n");
}

static void add_legend(const struct shown *p, enum shade_by by, struct buf *out)
{
    struct scale s = show_scale(p, by);
    const char *what = by == SHADE_EXPERTS ? "experts, mean over the layers" : "entropy in nats";
    buf_addf(out, "<div class=\"legend %s\">", ids[by]);
    if (isnan(s.lo)) {
        buf_addf(out, "<i>no token has %s</i></div>\n", ids[by]);
        return;
    }
    if (!(s.hi > s.lo)) {
        buf_addf(out, "<b class=s%d>%.4g</b><i>%s: every token has the same</i></div>\n",
                 show_step(s, s.lo), s.lo, what);
        return;
    }
    for (int i = 0; i < SHADE_STEPS; i++)
        buf_addf(out, "<b class=s%d>%.2f</b>", i, s.lo + (s.hi - s.lo) * i / SHADE_STEPS);
    buf_addf(out, "<i>to %.2f %s</i></div>\n", s.hi, what);
}

/* The buttons stand before <main>, so that a rule can say what follows a checked one. */
static void add_buttons(const struct shown *p, enum shade_by by, struct buf *out)
{
    static const char *const words[SHADES] = { "no shade", "experts", "entropy" };
    static const enum shade_by order[] = { SHADE_EXPERTS, SHADE_ENTROPY, SHADE_NONE };
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        buf_addf(out, "<input type=radio name=by id=%s%s><label for=%s>%s</label>\n", ids[order[i]],
                 order[i] == by ? " checked" : "", ids[order[i]], words[order[i]]);
    add_legend(p, SHADE_EXPERTS, out);
    add_legend(p, SHADE_ENTROPY, out);
}

static void add_facts(const struct shown *p, struct buf *out)
{
    struct strings facts = { 0 };
    show_facts(p, &facts);
    buf_adds(out, "<dl>\n");
    for (size_t i = 0; i + 1 < facts.len; i += 2) {
        buf_addf(out, "<dt>%s</dt><dd>", facts.v[i]);
        add_text(facts.v[i + 1], out);
        buf_adds(out, "</dd>\n");
    }
    buf_adds(out, "</dl>\n");
    strings_release(&facts);
}

static void add_measure(const char *name, const json_t *verdict, struct buf *out)
{
    struct buf value = BUF_INIT;
    bool scored = show_verdict(verdict, "score", &value);
    buf_adds(out, "<table><col class=k><col><thead><tr><th colspan=2>");
    add_text(name, out);
    buf_addf(out, ": %s</th></tr></thead>\n", scored ? value.s : "not scored");
    for (const struct show_row *r = show_rows; r->key; r++) {
        buf_reset(&value);
        if (!show_verdict(verdict, r->key, &value))
            continue;
        buf_addf(out, "<tr><th scope=row>%s</th><td>", r->name);
        add_text(value.s, out);
        buf_adds(out, "</td></tr>\n");
    }
    buf_adds(out, "</table>\n");
    buf_release(&value);
}

static void add_measures(const struct shown *p, struct buf *out)
{
    const char *name;
    json_t *verdict;
    if (!p->extracted_text)
        return;
    buf_adds(out, "<h2>measures</h2>\n");
    if (!p->extracted) {
        buf_adds(out, "<pre>");
        add_text(p->extracted_text, out);
        buf_adds(out, "</pre>\n");
    }
    json_object_foreach (p->extracted, name, verdict)
        add_measure(name, verdict, out);
}

static void add_parts(const struct shown *p, struct buf *out)
{
    struct shown tokens = show_tokens_alone(p);
    size_t from = show_has_prompt(p) ? p->output_from : 0;
    if (from) {
        buf_adds(out, "<h2>prompt</h2>\n");
        add_tokens(&tokens, 0, from, out);
    }
    bool both = p->ntokens && p->apart;
    buf_addf(out, "<h2>%s</h2>\n", both ? "output, token by token" : show_part_name(p));
    if (p->text.len > from)
        add_tokens(&tokens, from, p->text.len, out);
    else
        buf_addf(out, "<p>%s</p>\n", p->output ? "(empty)" : "(not kept)");
    if (both) {
        struct shown output = show_output_alone(p);
        buf_adds(out, "<h2>output, as it was scored</h2>\n");
        add_tokens(&output, 0, output.text.len, out);
    }
}

void show_html(const struct shown *p, enum shade_by by, struct buf *out)
{
    struct buf title = BUF_INIT;
    buf_addf(&title, "%s, document %s: %s, K = %d, %s", p->cell->task, p->doc, p->cell->model,
             p->cell->k, p->cell->label);
    buf_adds(out, "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
                  "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n<title>");
    add_escaped(title.s, title.len, true, out);
    buf_addf(out, "</title>\n<style>\n%s", style);
    add_rules(out);
    buf_adds(out, "</style>\n<h1>");
    add_text(title.s, out);
    buf_adds(out, "</h1>\n");
    add_facts(p, out);
    if (p->ntokens) {
        buf_adds(out, "<h2>shade by</h2>\n");
        add_buttons(p, by, out);
    }
    buf_adds(out, "<main>\n");
    add_parts(p, out);
    add_measures(p, out);
    buf_adds(out, "</main>\n</html>\n");
    buf_release(&title);
}
