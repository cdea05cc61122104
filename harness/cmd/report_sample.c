/*
 * report_sample.c: one sample of the report's reader, folded: prompt, output or target, what was found
 * in it and how that was scored.
 */
#include "cmd/report.h"

#include <math.h>
#include <string.h>

#define TEXT_TOKENS 500 /* of what is behind the prompt */
#define TEXT_BYTES 4000 /* of any text that is not tokens */

static size_t at_character(const struct buf *text, size_t at)
{
    while (at < text->len && ((unsigned char)text->s[at] & 0xc0) == 0x80)
        at++;
    return at;
}

/* Of the tokens in [from, to), where the last `most` begin; `left` gets how many are before them. */
static size_t last_tokens(const struct shown *p, size_t from, size_t to, size_t most, size_t *left)
{
    size_t i = p->ntokens, n = 0, begin = to;
    for (*left = 0; i-- > 0 && p->tokens[i].from >= from;)
        if (p->tokens[i].from < to && n++ < most)
            begin = p->tokens[i].from;
        else if (p->tokens[i].from < to)
            ++*left;
    return *left ? at_character(&p->text, begin) : from;
}

/* And where the first `most` end. */
static size_t first_tokens(const struct shown *p, size_t from, size_t to, size_t most, size_t *left)
{
    size_t n = 0, end = to;
    *left = 0;
    for (size_t i = 0; i < p->ntokens; i++) {
        if (p->tokens[i].from < from)
            continue;
        if (n++ == most)
            end = p->tokens[i].from;
        *left += n > most;
    }
    if (p->ntokens == 0 && to - from > TEXT_BYTES)
        end = from + TEXT_BYTES;
    return at_character(&p->text, end);
}

static void add_prompt(const struct shown *p, const struct scale *scales, struct buf *out)
{
    size_t left, from = last_tokens(p, 0, p->output_from, REPORT_PROMPT_TOKENS, &left);
    buf_adds(out, "<p class=part>Prompt");
    if (left)
        buf_addf(out, ", its last %d tokens; %zu before them are left out", REPORT_PROMPT_TOKENS,
                 left);
    buf_adds(out, "</p>");
    html_tokens(p, from, p->output_from, scales, HTML_BRIEF, out);
}

static void add_text(const struct shown *p, size_t from, const char *name,
                     const struct scale *scales, struct buf *out)
{
    size_t left, to = first_tokens(p, from, p->text.len, TEXT_TOKENS, &left);
    buf_addf(out, "<p class=part>%s", name);
    if (left)
        buf_addf(out, ", its first %d tokens; %zu behind them are left out", TEXT_TOKENS, left);
    else if (to < p->text.len)
        buf_addf(out, ", its first %zu bytes; %zu behind them are left out", to - from,
                 p->text.len - to);
    buf_adds(out, "</p>");
    if (to > from)
        html_tokens(p, from, to, scales, HTML_BRIEF, out);
    else
        buf_addf(out, "<p class=dim>%s</p>\n", p->output ? "(empty)" : "(not kept)");
}

/* What show_facts() says of the sample, without what the page says of the cell. */
static void add_sample_facts(const struct shown *p, struct buf *out)
{
    static const char *const skip[] = { "cell", "model", "router", "task", "note", "score" };
    struct strings all = { 0 };
    show_facts(p, &all);
    buf_adds(out, "<dl class=facts>");
    for (size_t i = 0; i + 1 < all.len; i += 2) {
        size_t s = 0;
        while (s < ARRAY_LEN(skip) && strcmp(skip[s], all.v[i]) != 0)
            s++;
        if (s < ARRAY_LEN(skip))
            continue;
        buf_addf(out, "<dt>%s</dt><dd>", all.v[i]);
        html_text_most(all.v[i + 1], TEXT_BYTES, out);
        buf_adds(out, "</dd>\n");
    }
    buf_adds(out, "</dl>\n");
    strings_release(&all);
}

static void add_scale(const char *name, struct scale s, const char *class, struct buf *out)
{
    if (isnan(s.lo))
        return;
    buf_addf(out, "<span class=%s>%s <b class=s0>%.4g</b>", class, name, s.lo);
    if (s.hi > s.lo)
        buf_addf(out, " to <b class=s%d>%.4g</b>", SHADE_STEPS - 1, s.hi);
    buf_adds(out, "</span> ");
}

static void add_summary(const struct family *f, const struct shown *p, struct buf *out)
{
    struct buf name = BUF_INIT;
    report_cell_name(f, p->cell, &name);
    buf_adds(out, "<summary>");
    html_text(name.s, out);
    buf_adds(out, " <span class=dim>");
    if (!isnan(p->score))
        buf_addf(out, "score %.4g ", p->score);
    if (!isnan(p->nll) && p->nll_tokens > 0)
        buf_addf(out, "loss %.4f a token ", p->nll / p->nll_tokens);
    if (p->error)
        buf_adds(out, "error");
    buf_adds(out, "</span></summary>\n");
    buf_release(&name);
}

void report_sample(const struct family *f, const struct shown *p, const struct scale scales[SHADES],
                   bool open, struct buf *out)
{
    struct shown tokens = show_tokens_alone(p);
    size_t from = show_has_prompt(p) ? p->output_from : 0;
    buf_addf(out, "<details class=sample%s>", open ? " open" : "");
    add_summary(f, p, out);
    add_sample_facts(p, out);
    if (p->ntokens) {
        buf_adds(out, "<p class=scale>Shades: ");
        add_scale("experts", scales[SHADE_EXPERTS], "by-e", out);
        add_scale("entropy", scales[SHADE_ENTROPY], "by-h", out);
        buf_adds(out, "</p>");
    }
    if (from)
        add_prompt(&tokens, scales, out);
    bool wrote = p->output || p->output_tokens;
    add_text(&tokens, from,
             wrote  ? "Output"
             : from ? "Target, scored by its loss"
                    : "Text, scored by "
                      "its loss",
             scales, out);
    if (p->ntokens && p->apart) {
        struct shown output = show_output_alone(p);
        add_text(&output, 0, "Output, as it was scored", scales, out);
    }
    html_measures(p, TEXT_BYTES, out);
    buf_adds(out, "</details>\n");
}
