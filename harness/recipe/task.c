/*
 * task.c: see task.h.
 */
#include "recipe/task.h"
#include "recipe/task_own.h"

#include <string.h>
#include <unistd.h>

/* Fails with the place in the recipe, where there is one. */
static int refuse(const struct recipe_task *spec, const char *key, struct buf *err, const char *fmt,
                  ...) PRINTF(4, 5);
static int refuse(const struct recipe_task *spec, const char *key, struct buf *err, const char *fmt,
                  ...)
{
    struct buf what = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&what, fmt, ap);
    va_end(ap);
    if (spec->at.path)
        place_fail(&spec->at, key, err, "%s", what.s);
    else
        fail(err, "%s", what.s);
    buf_release(&what);
    return -1;
}

/* What the task's name is the value of: no key of task { ... }, but one of sweep { ... }. */
static const char *name_key(const struct recipe_task *spec)
{
    return spec->at.word && strcmp(spec->at.word, "task") != 0 ? "tasks" : NULL;
}

/* The file a recipe names: beside the recipe, in the current folder, or among the data. */
static int find_file(const struct recipe_task *spec, char **out, struct buf *err)
{
    const char *slash = spec->at.path ? strrchr(spec->at.path, '/') : NULL;
    bool fixed = spec->file[0] == '/';
    struct buf tried = BUF_INIT;
    char *places[3] = { NULL, xstrdup(spec->file), NULL };
    if (slash && !fixed)
        places[0] = xasprintf("%.*s/%s", (int)(slash - spec->at.path), spec->at.path, spec->file);
    if (!fixed)
        places[2] = xasprintf("%s/%s", eval_data_dir(), spec->file);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (!places[i] || *out || access(places[i], F_OK) != 0) {
            if (places[i] && i != 1)
                buf_addf(&tried, "%s%s", tried.len ? " or " : ", nor is there ", places[i]);
            free(places[i]);
            continue;
        }
        *out = places[i];
    }
    if (!*out)
        refuse(spec, "file", err, "%s: no such file%s", spec->file, tried.s);
    buf_release(&tried);
    return *out ? 0 : -1;
}

/* A file that an eval names. */
static int find_data(const struct recipe_task *spec, const char *file, char **out, struct buf *err)
{
    *out = xasprintf("%s/%s", eval_data_dir(), file);
    if (access(*out, F_OK) == 0)
        return 0;
    const char *env = getenv("SEQTOPK_DATA");
    return refuse(spec, name_key(spec), err,
                  "%s: %s is missing; scripts/fetch-data gets it; its folder is what SEQTOPK_DATA "
                  "says (%s), \"data\" where it says nothing",
                  spec->name, *out, env && *env ? env : "nothing now");
}

static void unknown_form(const char *name, const struct eval *eval, struct buf *err)
{
    if (eval->nforms == 0) {
        fail(err, "there is no task '%.80s'; %s has a training set only", name, eval->name);
        return;
    }
    struct buf known = BUF_INIT;
    for (size_t i = 0; i < eval->nforms; i++)
        buf_addf(&known, "%s%s/%s", i ? ", " : "", eval->name, eval->forms[i].name);
    fail(err, "there is no task '%.80s'; known of %s are %s", name, eval->name, known.s);
    buf_release(&known);
}

struct eval *task_eval(const char *name, const struct eval_form **form, struct buf *err)
{
    const char *slash = strchr(name, '/');
    *form = NULL;
    if (!slash) {
        fail(err, "'%.80s' is no task; its name is TASK/FORM, such as gsm8k/nll", name);
        return NULL;
    }
    char *first = xstrndup(name, (size_t)(slash - name));
    struct eval *e = eval_open(first, err);
    free(first);
    for (size_t i = 0; e && i < e->nforms; i++)
        if (strcmp(e->forms[i].name, slash + 1) == 0)
            *form = &e->forms[i];
    if (e && !*form) {
        unknown_form(name, e, err);
        eval_free(e);
        return NULL;
    }
    return e;
}

static int refuse_decoding(const struct recipe_task *spec, struct buf *err)
{
    const char *key = spec->max_tokens         ? "max_tokens"
                      : spec->temperature >= 0 ? "temperature"
                                               : "top_p";
    return refuse(spec, key, err,
                  "'%.80s' scores a loss and generates no text; %s goes with a form that does",
                  spec->name, key);
}

/* Adds "KEY=VALUE" to what stands in the brackets behind the task's name. */
static void note_change(struct buf *changes, const char *key, double value)
{
    buf_addf(changes, "%s%s=%.10g", changes->len ? "," : "", key, value);
}

/* The form's decoding with the recipe's changes, which the task's name then tells. */
static int set_decoding(const struct recipe_task *spec, struct task *out, struct buf *err)
{
    const struct decoding *form = &out->form->decoding;
    struct decoding *d = &out->decoding;
    if (!out->form->generates) {
        out->name = xstrdup(spec->name);
        bool said = spec->max_tokens || spec->temperature >= 0 || spec->top_p > 0;
        return said ? refuse_decoding(spec, err) : 0;
    }
    d->max_tokens = spec->max_tokens ? spec->max_tokens : form->max_tokens;
    d->temperature = spec->temperature >= 0 ? spec->temperature : form->temperature;
    d->top_p = spec->top_p > 0 ? spec->top_p : d->temperature == 0 ? 1 : form->top_p;
    for (size_t i = 0; i < form->stop.len; i++)
        strings_add(&d->stop, form->stop.v[i]);
    d->stop_at_end_text = form->stop_at_end_text;
    struct buf changes = BUF_INIT;
    if (d->max_tokens != form->max_tokens)
        note_change(&changes, "max_tokens", d->max_tokens);
    if (d->temperature != form->temperature)
        note_change(&changes, "temperature", d->temperature);
    if (d->top_p != form->top_p)
        note_change(&changes, "top_p", d->top_p);
    out->name = changes.len ? xasprintf("%s(%s)", spec->name, changes.s) : xstrdup(spec->name);
    buf_release(&changes);
    if (d->temperature == 0 && d->top_p < 1)
        return refuse(spec, "top_p", err,
                      "%.10g, but at temperature 0 nothing is drawn; say a temperature above 0",
                      d->top_p);
    return 0;
}

/* `prompts`: they will be made, and so shots must be there. */
static int resolve_named(const struct recipe_task *spec, bool prompts, struct task *out,
                         struct buf *err)
{
    out->eval = task_eval(spec->name, &out->form, err);
    if (!out->eval)
        return refuse(spec, name_key(spec), err, "%s", err->s);
    if (set_decoding(spec, out, err) != 0)
        return -1;
    const struct eval_form *form = out->form;
    // A form that cuts long prompts does what `truncate` asks for.
    out->truncate |= form->long_prompt == LONG_PROMPT_CUT;
    if (prompts && form->shots.file &&
        find_data(spec, form->shots.file, &out->shots_file, err) != 0)
        return -1;
    if (spec->file)
        return find_file(spec, &out->file, err);
    if (!out->eval->file)
        return 0; // it makes them
    out->sha256 = out->eval->sha256;
    return find_data(spec, out->eval->file, &out->file, err);
}

int task_resolve(const struct recipe_task *spec, int limit, struct task *out, struct buf *err)
{
    *out = (struct task){ .limit = spec->limit,
                          .truncate = spec->truncate,
                          .length = spec->length,
                          .min_bytes = spec->min_bytes };
    if (limit && (!out->limit || limit < out->limit))
        out->limit = limit;
    if (spec->name)
        return resolve_named(spec, true, out, err);
    if (spec->speed.repeats) {
        task_own_speed(spec, out);
        return 0;
    }
    if (spec->prompt_tokens)
        return task_own_continue(spec, out, err) == 0 ? find_file(spec, &out->file, err) : -1;
    const char *base = strrchr(spec->file, '/');
    struct buf changes = BUF_INIT;
    if (spec->length)
        note_change(&changes, "length", spec->length);
    if (spec->min_bytes)
        note_change(&changes, "min_bytes", spec->min_bytes);
    out->name = spec->label ? xasprintf("nll:%s", spec->label)
                            : xasprintf("nll:%s%s%s%s", base ? base + 1 : spec->file,
                                        changes.len ? "(" : "", changes.len ? changes.s : "",
                                        changes.len ? ")" : "");
    buf_release(&changes);
    out->text = xstrdup(spec->text);
    return find_file(spec, &out->file, err);
}

static int resolve_name(const char *name, const char *file, int limit, bool prompts,
                        struct task *out, struct buf *err)
{
    char *copy = xstrdup(name), *other = file ? xstrdup(file) : NULL;
    struct recipe_task spec = { .name = copy, .file = other, .temperature = -1 };
    *out = (struct task){ .limit = limit };
    int rc = resolve_named(&spec, prompts, out, err);
    free(copy);
    free(other);
    return rc;
}

int task_named(const char *name, const char *file, int limit, struct task *out, struct buf *err)
{
    return resolve_name(name, file, limit, true, out, err);
}

int task_of_texts(const char *name, const char *file, int limit, struct task *out, struct buf *err)
{
    return resolve_name(name, file, limit, false, out, err);
}

void task_release(struct task *t)
{
    eval_free(t->eval);
    task_own_release(t);
    strings_release(&t->decoding.stop);
    free(t->name);
    free(t->text);
    free(t->file);
    free(t->shots_file);
    *t = (struct task){ 0 };
}

bool task_generates(const struct task *t)
{
    return t->form && t->form->generates;
}

bool task_continues(const struct task *t)
{
    return t->prompt_tokens > 0;
}

bool task_times(const struct task *t)
{
    return t->speed.repeats > 0;
}

bool task_decodes(const struct task *t)
{
    return task_generates(t) || task_times(t);
}

bool task_samples(const struct task *t)
{
    return task_generates(t) && t->decoding.temperature > 0;
}

bool task_runs_code(const struct task *t)
{
    for (size_t i = 0; t->form && i < t->form->nmeasures; i++)
        if (t->form->measures[i].scorer->runs_code)
            return true;
    return false;
}

bool task_asks_judge(const struct task *t)
{
    for (size_t i = 0; t->form && i < t->form->nmeasures; i++)
        if (t->form->measures[i].scorer->asks_judge)
            return true;
    return false;
}
