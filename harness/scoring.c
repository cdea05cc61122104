/*
 * scoring.c: see scoring.h.
 */
#include "scoring.h"
#include "json.h"

#include <math.h>
#include <string.h>

static int score(struct job *job, struct buf *err)
{
    struct scoring *s = (struct scoring *)job;
    const struct eval_form *form = s->task->form;
    struct verdict *verdicts = xcalloc(form->nmeasures, sizeof(*verdicts));
    int rc = measures_score(form->measures, form->nmeasures, s->tools, s->fields, s->output,
                            verdicts, err);
    if (rc == 0) {
        s->score = verdicts[0].score;
        verdicts_json(form->measures, verdicts, form->nmeasures, s->tools, &s->extracted);
    }
    for (size_t i = 0; i < form->nmeasures; i++)
        verdict_release(&verdicts[i]);
    free(verdicts);
    return rc;
}

void scoring_init(struct scoring *s, const struct task *task, const json_t *fields,
                  const char *output, const struct tools *tools)
{
    *s = (struct scoring){ .job = { .work = score },
                           .task = task,
                           .fields = fields,
                           .output = output,
                           .tools = tools,
                           .score = NAN };
    buf_init(&s->job.err);
    buf_init(&s->extracted);
}

void scoring_release(struct scoring *s)
{
    buf_release(&s->job.err);
    buf_release(&s->extracted);
}

/* ---- metrics ---- */

static void add_value(struct outcomes *o, const char *measure, const char *behind, double y,
                      bool exact)
{
    char *name = xasprintf("%s%s", measure, behind);
    struct outcome_metric *m = NULL;
    for (size_t i = 0; i < o->len && !m; i++)
        if (strcmp(o->v[i].name, name) == 0)
            m = &o->v[i];
    if (!m) {
        ARRAY_GROW(o->v, o->cap, o->len + 1);
        m = &o->v[o->len++];
        *m = (struct outcome_metric){ .name = name, .exact = exact };
    } else {
        free(name);
    }
    ARRAY_GROW(m->y, m->cap, m->n + 1);
    m->y[m->n++] = y;
}

static void add_verdict(struct outcomes *o, const char *measure, const json_t *v, bool *looked)
{
    const json_t *value = json_object_get(v, "score"), *found = json_object_get(v, "found");
    if (json_is_number(value))
        add_value(o, measure, "", json_number_value(value), false);
    if (json_object_get(v, "reply"))
        add_value(o, measure, "_unparsed", json_is_true(json_object_get(v, "unparsed")), false);
    if (json_object_get(v, "failure"))
        add_value(o, measure, "_failed", 1, true);
    if (!found)
        return;
    add_value(o, measure, "_no_answer", json_is_null(found), false);
    if (!*looked)
        add_value(o, "no_answer", "", json_is_null(found), false);
    *looked = true;
}

int outcomes_add(struct outcomes *o, double score, const char *extracted, struct buf *err)
{
    json_t *root = json_parse(extracted, strlen(extracted), "extracted", 0, err), *v;
    const char *measure;
    bool looked = false;
    if (!root)
        return -1;
    if (!isnan(score))
        add_value(o, "score", "", score, false);
    json_object_foreach (root, measure, v)
        add_verdict(o, measure, v, &looked);
    json_decref(root);
    return 0;
}

struct estimate outcomes_estimate(const struct outcome_metric *m)
{
    if (m->exact)
        return (struct estimate){ (double)m->n, NAN, (int64_t)m->n };
    double *ones = xmalloc(m->n * sizeof(*ones));
    for (size_t i = 0; i < m->n; i++)
        ones[i] = 1;
    struct estimate e = ratio_of_sums(m->y, ones, (int)m->n);
    free(ones);
    return e;
}

void outcomes_release(struct outcomes *o)
{
    for (size_t i = 0; i < o->len; i++) {
        free(o->v[i].name);
        free(o->v[i].y);
    }
    free(o->v);
    *o = (struct outcomes){ 0 };
}
