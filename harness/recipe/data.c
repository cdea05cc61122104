/*
 * data.c: see data.h.
 */
#include "recipe/data.h"
#include "recipe/data_file.h"
#include "recipe/shots.h"
#include "recipe/task_own.h"
#include "json.h"

#include <limits.h>
#include <string.h>

/* A document before it is tokenized. The whole text of nll { ... } is a target without a prompt. */
struct texts {
    struct buf prompt, target;
};

static void texts_release(struct texts *t)
{
    buf_release(&t->prompt);
    buf_release(&t->target);
}

static int fill(const char *template, const json_t *object, const char *output, const char *where,
                struct buf *out, struct buf *err)
{
    if (!template || template_fill(template, object, output, out, err) == 0)
        return 0;
    return fail(err, "%s: %s", where, err->s);
}

static int whole_text(const struct task *task, json_t *object, const char *where, struct texts *out,
                      struct buf *err)
{
    struct json_in in = { object, where, err };
    const char *text;
    if (json_need_string(&in, task->text, &text) != 0)
        return -1;
    if (!*text)
        return fail(err, "%s: '%s' is an empty text; a loss needs at least two tokens", where,
                    task->text);
    buf_adds(&out->target, text);
    return 0;
}

/* The texts of one line. `shots` NULL: the task has none. */
static int texts_read(const struct task *task, struct shots *shots, json_t *object,
                      const char *where, struct texts *out, struct buf *err)
{
    if (task->text)
        return whole_text(task, object, where, out, err);
    if (shots)
        shots_next(shots, &out->prompt);
    size_t before = out->prompt.len;
    if (fill(task->form->prompt, object, NULL, where, &out->prompt, err) != 0 ||
        fill(task->form->target, object, NULL, where, &out->target, err) != 0)
        return -1;
    if (out->prompt.len == before)
        return fail(err, "%s: the prompt is an empty text", where);
    if (task->form->target && !out->target.len)
        return fail(err, "%s: the answer to be scored is an empty text", where);
    return 0;
}

/*
 * Can a measure's templates be filled in? The reference is the document's own; in the others {output}
 * is the model's text, and may not mean a field as well.
 */
static int check_measure(const struct measure *m, json_t *object, const char *where,
                         struct buf *err)
{
    const struct {
        const char *key, *template;
    } others[] = { { "program", m->program }, { "system", m->system }, { "user", m->user } };
    struct buf out = BUF_INIT;
    int rc = fill(m->reference, object, NULL, where, &out, err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(others); i++) {
        const char *template = others[i].template;
        if (template && template_has(template, "output") && json_object_get(object, "output"))
            rc =
                fail(err,
                     "%s: {output} in `%s` of the measure %s is what the model wrote, and the line "
                     "has a field 'output' too; give the field another name",
                     where, others[i].key, m->name);
        else
            rc = fill(template, object, "", where, &out, err);
    }
    buf_release(&out);
    return rc;
}

/* Can all that scores a line's output be filled in? */
static int check_scoring(const struct task *task, json_t *object, const char *where,
                         struct buf *err)
{
    struct buf out = BUF_INIT;
    int rc = 0;
    if (!task->eval)
        return 0; // what is compared is the text itself
    for (size_t i = 0; rc == 0 && task->form && i < task->form->nmeasures; i++)
        rc = check_measure(&task->form->measures[i], object, where, err);
    for (size_t i = 0; rc == 0 && task->form && i < task->form->nself_tests; i++)
        rc = fill(task->form->self_tests[i].output, object, NULL, where, &out, err);
    buf_release(&out);
    return rc;
}

static int open_shots(const struct task *task, struct shots **out, struct buf *err)
{
    *out = NULL;
    if (!task->shots_file)
        return 0;
    *out = shots_open(&task->form->shots, task->shots_file, err);
    return *out ? 0 : -1;
}

static struct eval_rows rows_of(const struct task *task)
{
    return task->eval ? task->eval->rows
                      : (struct eval_rows){ .text = task->text, .min_bytes = task->min_bytes };
}

/* The task's documents; `checked`: data_check() has seen that the sum is right. */
static int open_file(const struct task *task, bool checked, struct data_file *file, struct buf *err)
{
    if (!task->file)
        return data_file_of_eval(file, task->eval, false, err);
    return data_file_read(file, task->file, checked ? NULL : task->sha256, err);
}

struct check {
    struct task *task;
    struct shots *shots;
    int documents;
};

static int check_line(void *ud, json_t *object, const char *where, struct buf *err)
{
    struct check *c = ud;
    struct texts texts = { BUF_INIT, BUF_INIT };
    c->documents++;
    int rc = texts_read(c->task, c->shots, object, where, &texts, err);
    texts_release(&texts);
    return rc == 0 ? check_scoring(c->task, object, where, err) : -1;
}

int data_check(struct task *task, struct buf *err)
{
    if (task_times(task)) {
        task_own_speed_check(task);
        return 0;
    }
    struct data_file file;
    struct check c = { .task = task };
    struct eval_rows rows = rows_of(task);
    int rc = open_file(task, false, &file, err);
    if (rc == 0)
        rc = open_shots(task, &c.shots, err);
    if (rc == 0)
        rc = data_file_each(&file, &rows, task->limit, check_line, &c, err);
    if (rc == 0) {
        memcpy(task->data_hash, file.hash, sizeof(task->data_hash));
        if (c.shots)
            memcpy(task->shots_hash, shots_hash(c.shots), sizeof(task->shots_hash));
        task->documents = c.documents;
    }
    shots_free(c.shots);
    data_file_release(&file);
    return rc;
}

struct reading {
    const struct task *task;
    struct tokenizer *tokenizer;
    size_t context;
    struct shots *shots;
    struct documents *out;
};

static void cut_left(struct document *d, size_t extra)
{
    d->ids.len -= extra;
    memmove(d->ids.v, d->ids.v + extra, d->ids.len * sizeof(*d->ids.v));
    d->prompt_tokens -= (int)extra;
    d->truncated = true;
}

/* The first `length` tokens of a text, which has them. */
static int cut_to_length(const struct reading *r, struct document *d, const char *where,
                         struct buf *err)
{
    size_t length = (size_t)r->task->length;
    if (d->ids.len < length)
        return fail(err,
                    "%s: %zu tokens are fewer than length = %zu; min_bytes = ... leaves shorter "
                    "texts out",
                    where, d->ids.len, length);
    d->ids.len = length;
    return 0;
}

/* Makes a text that is scored whole, or a prompt with its target, fit. */
static int fit(const struct reading *r, struct document *d, const char *where, struct buf *err)
{
    if (r->task->length)
        return cut_to_length(r, d, where, err);
    if (d->ids.len <= r->context)
        return 0;
    if (!r->task->truncate)
        return fail(err,
                    "%s: %zu tokens are more than the model's %zu; the recipe may say truncate "
                    "= true",
                    where, d->ids.len, r->context);
    size_t extra = d->ids.len - r->context;
    if (r->task->text) {
        d->ids.len = r->context;
        d->truncated = true;
        return 0;
    }
    if (extra >= (size_t)d->prompt_tokens)
        return fail(err,
                    "%s: the answer alone has %zu tokens, and the model takes %zu with at least "
                    "one of the prompt",
                    where, d->ids.len - (size_t)d->prompt_tokens, r->context);
    cut_left(d, extra);
    return 0;
}

/* Makes a prompt fit behind which a text is generated. */
static int fit_prompt(const struct reading *r, struct document *d, const char *where,
                      struct buf *err)
{
    if (r->task->truncate) { // documents_read() has seen to it that there is room
        size_t room = r->context - (size_t)r->task->decoding.max_tokens;
        if (d->ids.len > room)
            cut_left(d, d->ids.len - room);
        return 0;
    }
    if (d->ids.len < r->context)
        return 0;
    return fail(err,
                "%s: a prompt of %zu tokens leaves no room for a new one in the model's %zu; the "
                "recipe may say task { \"%s/%s\", truncate = true }, which cuts it at its left",
                where, d->ids.len, r->context, r->task->eval->name, r->task->form->name);
}

static int encode_texts(const struct reading *r, const struct texts *texts, struct document *d,
                        const char *where, struct buf *err)
{
    const struct buf *both[] = { &texts->prompt, &texts->target };
    size_t prompt = 0;
    for (int i = 0; i < 2; i++) {
        const struct buf *b = both[i];
        int rc = prompt ? tokenizer_encode_more(r->tokenizer, b->s, b->len, &d->ids, err)
                        : tokenizer_encode(r->tokenizer, b->s, b->len, &d->ids, err);
        if (rc != 0)
            return fail(err, "%s: %s", where, err->s);
        if (i == 0)
            prompt = d->ids.len;
    }
    if (d->ids.len > INT_MAX)
        return fail(err, "%s: more than %d tokens", where, INT_MAX);
    d->prompt_tokens = (int)prompt;
    return 0;
}

/* Is there what is needed for a loss, or for a text to be generated? */
static int check_tokens(const struct reading *r, const struct document *d, const char *where,
                        struct buf *err)
{
    size_t prompt = (size_t)d->prompt_tokens;
    if (task_continues(r->task))
        return 0; // it is to be long enough for more
    if (!task_generates(r->task) && d->ids.len < 2)
        return fail(err, "%s: a text of %zu token; a loss needs at least two", where, d->ids.len);
    if (!r->task->text && prompt == 0)
        return fail(err, "%s: the prompt has no token", where);
    if (r->task->text || task_generates(r->task) || prompt < d->ids.len)
        return 0;
    return fail(err, "%s: the answer to be scored has no token", where);
}

static int read_line(void *ud, json_t *object, const char *where, struct buf *err)
{
    struct reading *r = ud;
    bool generates = task_generates(r->task);
    ARRAY_GROW(r->out->v, r->out->cap, r->out->len + 1);
    struct document *d = &r->out->v[r->out->len++];
    bool continues = task_continues(r->task);
    *d = (struct document){ .fields = generates && !continues ? json_incref(object) : NULL };
    if (!r->tokenizer)
        return 0;
    struct texts texts = { BUF_INIT, BUF_INIT };
    int rc = texts_read(r->task, r->shots, object, where, &texts, err);
    if (rc == 0)
        rc = encode_texts(r, &texts, d, where, err);
    texts_release(&texts);
    if (rc != 0 || check_tokens(r, d, where, err) != 0)
        return -1;
    rc = continues   ? task_own_cut(r->task, r->tokenizer, d, where, err)
         : generates ? fit_prompt(r, d, where, err)
                     : fit(r, d, where, err);
    if (d->prompt_tokens < 1)
        d->prompt_tokens = 1; // a whole text: its first token has no loss
    r->out->truncated += d->truncated;
    return rc;
}

/* Is there room for what the task asks for, whatever the documents are? */
static int check_context(const struct task *task, int context, struct buf *err)
{
    if (context < 2)
        return fail(err, "a model with %d positions; a loss needs at least two", context);
    if (task->length > context)
        return fail(err, "%s: length = %d is more than the %d positions of the model", task->name,
                    task->length, context);
    if (task_continues(task) || task_times(task))
        return task_own_fits(task, context, err);
    if (task_generates(task) && task->truncate && task->decoding.max_tokens >= context)
        return fail(err,
                    "%s: long prompts are cut to leave room for max_tokens = %d, and the model "
                    "has only %d positions; the recipe may say task { \"%s/%s\", max_tokens = "
                    "... }",
                    task->name, task->decoding.max_tokens, context, task->eval->name,
                    task->form->name);
    return 0;
}

int documents_read(const struct task *task, struct tokenizer *tokenizer, int context,
                   struct documents *out, struct buf *err)
{
    *out = (struct documents){ 0 };
    if (tokenizer && check_context(task, context, err) != 0)
        return -1;
    if (task_times(task)) {
        task_own_speed_documents(task, tokenizer, out);
        return 0;
    }
    struct data_file file;
    struct reading r = { task, tokenizer, (size_t)context, NULL, out };
    struct eval_rows rows = rows_of(task);
    int rc = open_file(task, true, &file, err);
    if (rc == 0 && tokenizer)
        rc = open_shots(task, &r.shots, err);
    bool changed = *task->data_hash && strcmp(file.hash, task->data_hash) != 0;
    bool shots_changed =
        r.shots && *task->shots_hash && strcmp(shots_hash(r.shots), task->shots_hash) != 0;
    if (rc == 0 && (changed || shots_changed))
        rc = fail(err, "%s: was changed while the sweep was being prepared",
                  changed ? file.path : task->shots_file);
    if (rc == 0)
        rc = data_file_each(&file, &rows, task->limit, read_line, &r, err);
    shots_free(r.shots);
    data_file_release(&file);
    return rc;
}

void documents_release(struct documents *d)
{
    for (size_t i = 0; i < d->len; i++) {
        free(d->v[i].ids.v);
        json_decref(d->v[i].fields);
    }
    free(d->v);
    *d = (struct documents){ 0 };
}
