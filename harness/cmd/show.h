/*
 * show.h: one sample as `show` knows it: what the model was given, what it wrote, how that was
 * scored, and what each token drew. Filled by show_load.c and show_place.c, put on a terminal by
 * show_text.c, on a page by show_html.c.
 *
 * Invariant: `text` is whole: the tokens' bytes laid end to end where tokens were logged, else the
 * output alone. Places are byte offsets into it, between characters. Nothing of the database is
 * printed before show_char() has looked at it: no text moves the cursor or turns a line round.
 */
#ifndef SHOW_H
#define SHOW_H

#include "store/results.h"

#include <jansson.h>

struct shown_token {
    int pos;
    int32_t id;
    size_t from, to;              /* in `text` */
    double nll, entropy, experts; /* NaN: not known */
    char *by_layer;               /* "[8,7,9,8]"; NULL: not known */
};

/* Where a measure found its answer. */
struct place {
    size_t from, to;
};

struct shown {
    struct results cells; /* the one cell */
    const struct result *cell;
    const char *doc; /* as on the command line: digits; borrowed */
    int prompt_tokens, output_tokens, nll_tokens;
    char *stop_reason, *output, *extracted_text, *error; /* NULL where null */
    double nll, score;                                   /* NaN where null */
    json_t *extracted; /* as verdicts_json() of score/measure.h writes it; NULL: none */

    struct shown_token *tokens;
    size_t ntokens, tokens_cap;
    struct buf text;
    size_t output_from; /* where prompt and output meet in `text` */
    size_t output_to;   /* what was scored ends here: a stop string or end token may follow */
    bool apart;         /* the tokens do not spell `output`: it is shown by itself too */

    struct place *places; /* ascending, without overlap; where `apart`, offsets into `output` */
    size_t nplaces, places_cap;
    bool unsure; /* an answer stands at several places, and which one counted is not known */
};

/* Ends the program with a sentence where there is no such document. Zero `p`, set cells and doc. */
void show_load(struct store *s, struct shown *p);
/* Finds the places of the answers: by the measures of evals/ where the task is one of theirs, else
 * wherever what was found stands. */
void show_find_places(struct shown *p);
void show_release(struct shown *p);

struct measure;
/*
 * The smallest part of `output` in which the measure finds `found` as it does in the whole: the match
 * and what it needs around it, also where the output was rewritten before it was searched. false:
 * the measure does not find this in the output.
 */
bool show_place(const struct measure *m, const char *output, const char *found, struct place *out);

/* ---- characters ---- */

/*
 * The length of the first character of s; `shown` gets how it must be shown, "" where it may stand as
 * it is: "\x1b" for control characters and bytes that are no UTF-8, "\u202e" for marks that turn the
 * direction of writing. Line breaks and tabs stand as they are.
 */
size_t show_char(const char *s, size_t len, char shown[16]);
/* All of s on one line: line breaks and tabs too become \n and \t. */
void show_clean(const char *s, size_t len, struct buf *out);

/* ---- walking over the text ---- */

/*
 * A piece of `text` in which nothing changes: one token (or the tokens that share a character), inside
 * or outside of an answer, before or behind the end of what was scored.
 */
struct piece {
    size_t from, to;
    size_t first, last; /* tokens [first, last); equal: none were logged */
    bool answer, cut;
};
/* The next piece before `end`; false: none. Begin with {.from = .to = START}. */
bool show_piece(const struct shown *p, size_t end, struct piece *piece);
/* Where `apart`: the two texts, tokens and output, each without the other. Borrowed from `p`; not
 * released. */
struct shown show_tokens_alone(const struct shown *p);
struct shown show_output_alone(const struct shown *p);

/* ---- shading ---- */

enum shade_by {
    SHADE_NONE,
    SHADE_EXPERTS,
    SHADE_ENTROPY,
    SHADES,
};
#define SHADE_STEPS 7

/* From the smallest to the largest value of the sample, in steps of equal width. */
struct scale {
    double lo, hi; /* NaN: there are no values */
};
struct scale show_scale(const struct shown *p, enum shade_by by);
/* The mean over a piece's tokens; NaN where nothing is known. */
double show_value(const struct shown *p, const struct piece *piece, enum shade_by by);
/* From 0 to SHADE_STEPS - 1; the middle one where all are equal; -1 for NaN. */
int show_step(struct scale s, double value);

/* ---- the two forms ---- */

/* What a measure says of itself, in the order of printing. */
struct show_row {
    const char *key;  /* in the verdict: "found" */
    const char *name; /* for people */
};
extern const struct show_row show_rows[]; /* ended by a NULL key */
/* The verdict's value as text; false where the key is absent. */
bool show_verdict(const json_t *verdict, const char *key, struct buf *out);
/* Lines of name and value about cell and sample: name, value, name, value, ... */
void show_facts(const struct shown *p, struct strings *out);
/* The heading of the part behind the prompt: "output", or what a loss is of. */
const char *show_part_name(const struct shown *p);
/* Does the text have a prompt worth a part of its own? */
bool show_has_prompt(const struct shown *p);

void show_text(const struct shown *p, enum shade_by by, bool color);
void show_html(const struct shown *p, enum shade_by by, struct buf *out);

#endif
