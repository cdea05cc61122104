/*
 * html.h: what the pages of `show` and `report` are written with: text that cannot be anything else,
 * and the parts of a sample.
 *
 * Invariant: everything that comes from the database goes through html_text() or html_attribute().
 * What they write is valid UTF-8 without control characters, and neither opens a tag nor ends an
 * attribute in double quotes nor turns the direction of writing.
 * Leaves out: what stands on a page, and in which order (show_html.c, report_page.c).
 */
#ifndef HTML_H
#define HTML_H

#include "cmd/show.h"

/* As text. What may not stand as it is gets a box: <span class=e>\x1b</span>. */
void html_text(const char *s, struct buf *out);
void html_text_len(const char *s, size_t len, struct buf *out);
/* Inside of an attribute in double quotes, and in <title>. */
void html_attribute(const char *s, struct buf *out);
/* The same on one line: a line break becomes \n. */
void html_attribute_line(const char *s, size_t len, struct buf *out);

/*
 * The colours of a page, light and dark, as variables of CSS: --bg, --fg, --dim, --line, --box,
 * --link; --s0 to --s6 are shades from few to many, and --t0 to --t6 the letters on them.
 */
extern const char html_colours[];
/* How the tokens and boxes of html_tokens() look, but for their shades. */
extern const char html_token_style[];

/* What is said of a token. */
enum html_detail {
    HTML_WHOLE, /* title="...": text, number, position, experts by layer, entropy, loss */
    HTML_BRIEF, /* data-e="7.5" data-h="1.23" data-l="0.40": experts, entropy, loss */
};

/*
 * Bytes [from, to) of the sample's text as <pre>, a span for each token, of the classes "a0" to "a6" by
 * experts and "b0" to "b6" by entropy, in `scales`.
 */
void html_tokens(const struct shown *p, size_t from, size_t to, const struct scale scales[SHADES],
                 enum html_detail detail, struct buf *out);
/* As text, cut behind `most` bytes, with a note that says how many more there are; 0: all of it. */
void html_text_most(const char *s, size_t most, struct buf *out);
/*
 * A table for each measure: what it found, and what that was compared with, each cut behind `most` bytes.
 */
void html_measures(const struct shown *p, size_t most, struct buf *out);
/* The middle of a <dl>: what show_facts() says. */
void html_facts(const struct strings *facts, struct buf *out);

#endif
