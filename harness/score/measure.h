/*
 * measure.h: from what a model wrote to a number. A form of evals/NAME.lua lists its measures; each
 * has a scorer from the table in measure.c.
 *
 * The steps, each left out where the form does not say it:
 *   1. `before`: regular expressions are replaced in the output, in order
 *   2. `find`: the first or last match in it; group 1 where there is one that took part, else any
 *      other group that is not empty, else the whole match; white space at its ends goes where
 *      `strip`. Nothing found is no answer: it scores 0, or where `otherwise` says so the whole text
 *      goes to step 3 in its place
 *   3. the scorer compares what was found with `reference` (a template over the document's fields),
 *      or runs the `program`, or asks the judge; or it looks at the tokens of the whole output
 * Regular expressions are Perl's (PCRE2), over UTF-8, with \d and its kin meaning Unicode's classes
 * as in Python (score/regex.h). All scores are shares from 0 to 1, also chrF's.
 *
 * Invariant: the same output gives the same number, but for judges, and for programs whose time is
 * near their limit: the clock on the wall runs on while the processor has other work. What was not
 * scored has no score (NaN), never 0.
 * Leaves out: reading Lua (recipe/eval.h), means and errors over documents (summary.h).
 */
#ifndef MEASURE_H
#define MEASURE_H

#include "score/template.h"

struct regex;

/* Every match of `find` becomes `with`, in which $1 is group 1. */
struct rewrite {
    char *find, *with;
    struct regex *regex; /* set by measure_prepare() */
};
struct rewrites {
    struct rewrite *v;
    size_t len, cap;
};
/* All of them in order; they were prepared. -1: a regular expression took too many steps. */
int rewrites_apply(const struct rewrites *r, struct buf *text, struct buf *err) MUST_USE;

enum take {
    TAKE_FIRST,
    TAKE_LAST,
};
enum otherwise {
    OTHERWISE_NONE,  /* nothing found is no answer */
    OTHERWISE_WHOLE, /* the same, but the whole text is compared */
};

/* An output and what must be found in it; `found` NULL: nothing. Run by tests and doctor. */
struct golden {
    char *output, *found;
};

struct scorer;

struct measure {
    char *name; /* of the metric: "strict_match" */
    const struct scorer *scorer;
    struct rewrites before;
    char *find; /* NULL: the whole text */
    struct regex *find_regex;
    int take, otherwise; /* enum take, enum otherwise */
    bool strip;
    char *reference; /* template over the document's fields alone; NULL where none is needed */
    // exact: done to both sides before they are compared byte by byte
    struct rewrites normalise;
    bool ignore_case; /* of A to Z alone */
    // rouge_l
    bool characters; /* tokens are characters, as Chinese wants, white space left out; else words:
                        lower-cased runs of a-z and 0-9 */
    // program: the text that is run, a template over the document's fields and {output}
    char *program;
    int milliseconds; /* of wall clock */
    // repetition, distinct: tokens in a run
    int ngram;
    // judge: templates as that of a program
    char *system, *user;
    char *parse; /* group 1 of its first match in the reply is the score ... */
    struct regex *parse_regex;
    int out_of;     /* ... out of this */
    int max_tokens; /* of the reply */
    struct golden *golden;
    size_t ngolden, golden_cap;
};

/*
 * Compiles the regular expressions and checks that the scorer has what it needs, or says what is
 * missing: "rouge_l needs `reference`". measure_release() frees all strings too.
 */
int measure_prepare(struct measure *m, struct buf *err) MUST_USE;
void measure_release(struct measure *m);

struct sandbox;
struct judge;
/* What scorers need beside the texts; NULL: there is none. Sandbox and judge are shared by threads. */
struct tools {
    struct sandbox *sandbox;
    struct judge *judge;
    const struct ids *written; /* the output's tokens, end token included */
};

/* What came of one measure. Zeroes and score NaN to begin with; verdict_release() after. */
struct verdict {
    double score; /* NaN: not scored */
    char *found;  /* the answer, before it was normalised: the whole text where `find` is NULL, and
                     where `otherwise` lets it stand in; NULL: none, or the search failed */
    bool none;    /* `find` was looked for and not found */
    char *compared, *with; /* exact: both sides as they were compared */
    char *result;          /* program: "passed", "timeout", "AssertionError", ... */
    char *reply;           /* the judge's */
    bool unparsed;         /* it had no number */
    char *failure; /* why there is no score: the judge could not be asked, the sandbox broke, a
                      regular expression took too many steps */
    bool again;    /* the tool failed, not the text: another time there may be a score */
};
void verdict_init(struct verdict *v);
void verdict_release(struct verdict *v);

struct scorer {
    const char *name;         /* as in evals/NAME.lua: "exact" */
    const char *help;         /* one line */
    const char *const *needs; /* fields of a measure that must be there, ended by NULL */
    bool runs_code, asks_judge;
    bool reads_tokens; /* looks at tools->written */
    /*
     * v->found is the answer, and what {output} is in a template. Sets v->score and what else there
     * is to say. -1 and a sentence: a template names a field that the document has not.
     */
    int (*score)(const struct measure *m, const struct tools *tools, const json_t *doc,
                 struct verdict *v, struct buf *err);
};
extern const struct scorer *const scorers[]; /* ended by NULL */
const struct scorer *scorer_find(const char *name);
extern const struct scorer scorer_exact, scorer_rouge_l, scorer_chrf, scorer_program, scorer_judge,
    scorer_repetition, scorer_distinct;

enum { NGRAM_MAX = 8 }; /* most of measure.ngram */

/*
 * Step 1 and 2: what is found in `output`, appended to `found`. 1: found, 0: no answer, 2: no answer
 * either, and the whole text stands in for it, -1: a regular expression took too many steps.
 */
int measure_find(const struct measure *m, const char *output, struct buf *found,
                 struct buf *err) MUST_USE;

/*
 * Scores one output of a document by every measure. A judge's measure is left unscored where
 * there is no judge; so is a program's without a sandbox, and one of tokens where the text came
 * without them, or with too few for one run. verdicts: [n], initialised here.
 */
int measures_score(const struct measure *measures, size_t n, const struct tools *tools,
                   const json_t *doc, const char *output, struct verdict *verdicts,
                   struct buf *err) MUST_USE;

/* The metric's name: the measure's, and with a judge's behind it "judge:MODEL". */
void measure_metric(const struct measure *m, const struct tools *tools, struct buf *out);

/*
 * What v_samples.extracted holds: an object with one object for each measure that was scored, or
 * failed to be:
 *   {"strict_match": {"score": 1, "found": "18", "compared": "18", "with": "18"}, ...}
 * "found" is null where something was looked for and not found, and absent where nothing was looked
 * for, or the search failed. "none": true says that nothing was found and "found" is the whole text.
 * "result", "reply", "unparsed": true, "failure" and "again": true where there are such.
 */
void verdicts_json(const struct measure *measures, const struct verdict *verdicts, size_t n,
                   const struct tools *tools, struct buf *out);

#endif
