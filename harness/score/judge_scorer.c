/*
 * judge_scorer.c: a judge's rating as a score: `parse` finds a number in its reply, which is
 * divided by `out_of`.
 *
 * A reply without such a number, or with one above `out_of`, scores 0 and says so in `unparsed`:
 * that is the published protocol, under which a judge that is cut short counts as a bad answer. A
 * judge that could not be asked leaves no score at all, and why in `failure`.
 */
#include "score/judge.h"
#include "score/measure.h"
#include "score/regex.h"

#include <math.h>
#include <string.h>

/* \d finds the full-width digits of Chinese text too, which Python reads as numbers. */
static void narrow_digits(struct buf *text)
{
    size_t to = 0;
    for (size_t i = 0; i < text->len; i++) {
        const unsigned char *p = (const unsigned char *)text->s + i;
        if (p[0] == 0xef && p[1] == 0xbc && p[2] >= 0x90 && p[2] <= 0x99) {
            text->s[to++] = (char)('0' + p[2] - 0x90);
            i += 2;
        } else {
            text->s[to++] = text->s[i];
        }
    }
    if (text->cap)
        text->s[to] = '\0';
    text->len = to;
}

/* The number that is all of `text`, digits with at most one dot. NaN: it is none. */
static double read_number(struct buf *text)
{
    char *end;
    narrow_digits(text);
    bool plain = *text->s >= '0' && *text->s <= '9' && !text->s[strspn(text->s, "0123456789.")];
    double number = strtod(text->s, &end);
    return plain && *end == '\0' ? number : NAN;
}

/* Sets the score that v->reply has. */
static void parse(const struct measure *m, struct verdict *v)
{
    struct buf found = BUF_INIT, why = BUF_INIT;
    int rc = regex_find(m->parse_regex, v->reply, strlen(v->reply), false, &found, &why);
    if (rc < 0) {
        v->failure = buf_detach(&why);
    } else {
        double number = rc ? read_number(&found) : NAN;
        v->unparsed = !(number <= m->out_of);
        v->score = v->unparsed ? 0 : number / m->out_of;
    }
    buf_release(&found);
    buf_release(&why);
}

static void ask(const struct measure *m, struct judge *judge, const char *system, const char *user,
                struct verdict *v)
{
    struct buf reply = BUF_INIT, why = BUF_INIT;
    if (judge_ask(judge, system, user, m->max_tokens, &reply, &why) == 0) {
        v->reply = buf_detach(&reply);
        parse(m, v);
    } else {
        v->failure = buf_detach(&why);
        v->again = true;
    }
    buf_release(&reply);
    buf_release(&why);
}

static int score(const struct measure *m, const struct tools *tools, const json_t *doc,
                 struct verdict *v, struct buf *err)
{
    struct buf system = BUF_INIT, user = BUF_INIT;
    int rc = m->system ? template_fill(m->system, doc, v->found, &system, err) : 0;
    if (rc == 0)
        rc = template_fill(m->user, doc, v->found, &user, err);
    if (rc == 0)
        ask(m, tools->judge, system.s, user.s, v);
    buf_release(&system);
    buf_release(&user);
    return rc;
}

static const char *const needs[] = { "user", "parse", "out_of", "max_tokens", NULL };

const struct scorer scorer_judge = {
    .name = "judge",
    .help = "a language model rates the text: the number in its reply, as a fraction of out_of",
    .needs = needs,
    .asks_judge = true,
    .score = score,
};
