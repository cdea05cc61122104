/*
 * show_html.c: a sample as one page that needs nothing else: no network, no script. Each token is a
 * span whose title says all that is known of it; what it is shaded by is chosen with radio buttons
 * and rules of CSS.
 *
 * Invariant: everything that comes from the database goes through html.h.
 */
#include "cmd/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char style[] =
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
    ".legend{display:none;flex-wrap:wrap;align-items:center;margin-top:.5rem;font-size:.85rem}"
    ".legend b{font-weight:400;padding:.1rem .5rem}.legend i{font-style:normal;margin-left:.6rem;"
    "color:var(--dim)}\n"
    "table{border-collapse:collapse;width:100%;table-layout:fixed}"
    "th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;"
    "border-top:1px solid var(--line)}th{width:6.5rem}\n"
    "td{white-space:pre-wrap;overflow-wrap:anywhere;font:14px/1.6 ui-monospace,"
    "\"DejaVu Sans Mono\",monospace}"
    "caption{text-align:left;font-weight:700;padding-top:.8rem}\n"
    // A finger has no pointer to rest on a token: the title comes up at the foot of the page.
    "@media(hover:none){.t:hover::after{content:attr(title);position:fixed;left:0;right:0;bottom:0;"
    "padding:.7rem 1rem;background:var(--fg);color:var(--bg);font:14px/1.5 system-ui,sans-serif;"
    "white-space:pre-wrap}}\n";

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
    html_facts(&facts, out);
    buf_adds(out, "</dl>\n");
    strings_release(&facts);
}

static void add_tokens(const struct shown *p, size_t from, size_t to, struct buf *out)
{
    const struct scale scales[SHADES] = { [SHADE_EXPERTS] = show_scale(p, SHADE_EXPERTS),
                                          [SHADE_ENTROPY] = show_scale(p, SHADE_ENTROPY) };
    html_tokens(p, from, to, scales, HTML_WHOLE, out);
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
    html_attribute(title.s, out);
    buf_addf(out, "</title>\n<style>\n%s%s%s", html_colours, html_token_style, style);
    add_rules(out);
    buf_adds(out, "</style>\n<h1>");
    html_text(title.s, out);
    buf_adds(out, "</h1>\n");
    add_facts(p, out);
    if (p->ntokens) {
        buf_adds(out, "<h2>shade by</h2>\n");
        add_buttons(p, by, out);
    }
    buf_adds(out, "<main>\n");
    add_parts(p, out);
    if (p->extracted_text)
        buf_adds(out, "<h2>measures</h2>\n");
    html_measures(p, 0, out);
    buf_adds(out, "</main>\n</html>\n");
    buf_release(&title);
}
