/*
 * exact.c: 1 where answer and reference are the same bytes once both are rewritten; see measure.h.
 */
#include "score/measure.h"

#include <string.h>

static void lower(struct buf *text)
{
    for (size_t i = 0; i < text->len; i++)
        if (text->s[i] >= 'A' && text->s[i] <= 'Z')
            text->s[i] = (char)(text->s[i] - 'A' + 'a');
}

/* As a regular expression's failure is no reason to stop a run, it is the verdict's. */
static int side(const struct measure *m, struct buf *text, char **out, struct verdict *v)
{
    struct buf why = BUF_INIT;
    int rc = rewrites_apply(&m->normalise, text, &why);
    if (rc != 0)
        v->failure = buf_detach(&why);
    if (m->ignore_case)
        lower(text);
    *out = buf_detach(text);
    buf_release(&why);
    return rc;
}

static int score(const struct measure *m, const struct tools *tools, const json_t *doc,
                 struct verdict *v, struct buf *err)
{
    (void)tools;
    struct buf answer = BUF_INIT, reference = BUF_INIT;
    int rc = template_fill(m->reference, doc, NULL, &reference, err);
    buf_adds(&answer, v->found);
    if (rc == 0 && side(m, &answer, &v->compared, v) == 0 && side(m, &reference, &v->with, v) == 0)
        v->score = strcmp(v->compared, v->with) == 0;
    buf_release(&answer);
    buf_release(&reference);
    return rc;
}

static const char *const needs[] = { "reference", NULL };

const struct scorer scorer_exact = {
    .name = "exact",
    .help = "1 where the answer is the reference, both rewritten by `normalise`; else 0",
    .needs = needs,
    .score = score,
};
