/*
 * show_place.c: where in an output the answer was found; see show.h. The database keeps what was
 * found, not where. So the measure is asked again, on ever longer or shorter parts of the output,
 * which also works where the output is rewritten before it is searched: 1,234 found as 1234.
 */
#include "cmd/show.h"

#include "recipe/task.h"

#include <string.h>

/* Asking takes as many searches as the output has characters. */
#define LONGEST_ASKED 20000

/* What was found, and in what. */
struct question {
    const struct measure *measure;
    const char *output, *found;
    size_t len;
    struct buf part, answer, err; /* scratch */
};

/* Is the same found in this part alone? */
static bool found_in(struct question *q, size_t from, size_t to)
{
    buf_reset(&q->part);
    buf_reset(&q->answer);
    buf_add(&q->part, q->output + from, to - from);
    return measure_find(q->measure, q->part.s, &q->answer, &q->err) == 1 &&
           strcmp(q->answer.s, q->found) == 0;
}

static bool between_characters(const struct question *q, size_t at)
{
    return at == q->len || ((unsigned char)q->output[at] & 0xc0) != 0x80;
}

/* The nearest end behind `from` with which the same is found. */
static bool first_end(struct question *q, size_t from, size_t *to)
{
    for (*to = from + 1; *to <= q->len; ++*to)
        if (between_characters(q, *to) && found_in(q, from, *to))
            return true;
    return false;
}

/* The nearest beginning before `to` with which the same is found. */
static bool last_beginning(struct question *q, size_t to, size_t *from)
{
    for (*from = to; (*from)-- > 0;)
        if (between_characters(q, *from) && found_in(q, *from, to))
            return true;
    return false;
}

bool show_place(const struct measure *m, const char *output, const char *found, struct place *out)
{
    struct question q = { m, output, found, strlen(output), BUF_INIT, BUF_INIT, BUF_INIT };
    bool ok = *found && q.len <= LONGEST_ASKED && found_in(&q, 0, q.len);
    if (ok && m->take == TAKE_FIRST)
        ok = first_end(&q, 0, &out->to) && last_beginning(&q, out->to, &out->from);
    else if (ok)
        ok = last_beginning(&q, q.len, &out->from) && first_end(&q, out->from, &out->to);
    buf_release(&q.part);
    buf_release(&q.answer);
    buf_release(&q.err);
    return ok;
}

/*
 * The eval of a task "gsm8k/lmeval-5shot" or "gsm8k/lmeval-5shot(max_tokens=9)", and its form; NULL
 * where it is none of evals/.
 */
static struct eval *open_eval(const char *task, const struct eval_form **form)
{
    struct buf err = BUF_INIT;
    char *name = xstrndup(task, strcspn(task, "("));
    struct eval *e = task_eval(name, form, &err);
    free(name);
    buf_release(&err);
    return e;
}

static const struct measure *measure_named(const struct eval_form *form, const char *name)
{
    for (size_t i = 0; form && i < form->nmeasures; i++)
        if (strcmp(form->measures[i].name, name) == 0)
            return &form->measures[i];
    return NULL;
}

static void add_place(struct shown *p, struct place place)
{
    size_t base = p->apart ? 0 : p->output_from;
    ARRAY_GROW(p->places, p->places_cap, p->nplaces + 1);
    p->places[p->nplaces++] = (struct place){ base + place.from, base + place.to };
}

/* All places where it stands. */
static void add_literal(struct shown *p, const char *found)
{
    size_t len = strlen(found), n = 0;
    for (const char *at = p->output; len && (at = strstr(at, found)) != NULL; at += len, n++)
        add_place(p, (struct place){ (size_t)(at - p->output), (size_t)(at - p->output) + len });
    p->unsure |= n > 1;
}

/* Is it the output but for white space at its ends? Then there is nothing to point at. */
static bool is_all(const char *output, const char *found)
{
    static const char white[] = " \t\r\n\f\v";
    const char *o = output + strspn(output, white), *f = found + strspn(found, white);
    size_t no = strlen(o), nf = strlen(f);
    while (no && strchr(white, o[no - 1]))
        no--;
    while (nf && strchr(white, f[nf - 1]))
        nf--;
    return no == nf && memcmp(o, f, no) == 0;
}

static int by_beginning(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    return p->from < q->from ? -1 : p->from > q->from;
}

/* In order, and what overlaps made one. */
static void merge_places(struct shown *p)
{
    size_t kept = 0;
    if (p->nplaces)
        qsort(p->places, p->nplaces, sizeof(*p->places), by_beginning);
    for (size_t i = 0; i < p->nplaces; i++) {
        struct place *last = kept ? &p->places[kept - 1] : NULL;
        if (last && p->places[i].from < last->to)
            last->to = p->places[i].to > last->to ? p->places[i].to : last->to;
        else
            p->places[kept++] = p->places[i];
    }
    p->nplaces = kept;
}

void show_find_places(struct shown *p)
{
    const struct eval_form *form;
    const char *name;
    json_t *verdict;
    if (!p->extracted || !p->output)
        return;
    struct eval *eval = open_eval(p->cell->task, &form);
    json_object_foreach (p->extracted, name, verdict) {
        const char *found = json_string_value(json_object_get(verdict, "found"));
        const struct measure *m = measure_named(form, name);
        struct place place;
        // Where nothing was found the whole text may stand in for it.
        if (!found || !*found || json_is_true(json_object_get(verdict, "none")) ||
            is_all(p->output, found))
            continue;
        if (m && show_place(m, p->output, found, &place))
            add_place(p, place);
        else
            add_literal(p, found);
    }
    merge_places(p);
    eval_free(eval);
}
