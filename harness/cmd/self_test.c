/*
 * self_test.c: see self_test.h.
 */
#include "cmd/self_test.h"
#include "cmd/show.h"
#include "recipe/data.h"
#include "recipe/data_file.h"
#include "scoring.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { MOST_NAMED = 10 }; /* documents that went wrong */

struct testing {
    const struct tools *tools;
    const char *no_code;
    struct workers *workers;
    int threads;
    say_check *say;
};

PRINTF(4, 5)
static void say(say_check *to, enum check c, const char *what, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    to(c, what, text.s);
    buf_release(&text);
}

/* In quotes, on one line. NULL: what is found where nothing is. */
static void quote(const char *s, struct buf *out)
{
    buf_adds(out, s ? "\"" : "nothing");
    if (s)
        show_clean(s, strlen(s), out);
    buf_adds(out, s ? "\"" : "");
}

/* Calls `use` for every eval; one that cannot be read is bad. */
static void each_eval(say_check *to, void (*use)(void *ud, const struct eval *e), void *ud)
{
    struct strings names = { 0 };
    struct buf err = BUF_INIT;
    eval_list(&names);
    if (names.len == 0)
        say(to, CHECK_BAD, "evals", "there are none; SEQTOPK_EVALS says in which folder they are");
    for (size_t i = 0; i < names.len; i++) {
        struct eval *e = eval_open(names.v[i], &err);
        if (e)
            use(ud, e);
        else
            say(to, CHECK_BAD, names.v[i], "%s", err.s);
        eval_free(e);
    }
    strings_release(&names);
    buf_release(&err);
}

/* ---- golden cases ---- */

static bool test_golden(const struct testing *t, const char *what, const struct measure *m,
                        const struct golden *g)
{
    struct buf found = BUF_INIT, err = BUF_INIT, text = BUF_INIT;
    int rc = measure_find(m, g->output, &found, &err);
    bool right =
        rc >= 0 && (rc > 0) == (g->found != NULL) && (!g->found || strcmp(found.s, g->found) == 0);
    if (!right) {
        buf_addf(&text, "%s: in ", m->name);
        quote(g->output, &text);
        buf_adds(&text, " it finds ");
        quote(rc > 0 ? found.s : NULL, &text);
        buf_adds(&text, ", and should find ");
        quote(g->found, &text);
        say(t->say, CHECK_BAD, what, "%s%s%s", text.s, rc < 0 ? ": " : "", rc < 0 ? err.s : "");
    }
    buf_release(&found);
    buf_release(&err);
    buf_release(&text);
    return right;
}

static void test_measure(const struct testing *t, const char *what, const struct measure *m)
{
    size_t right = 0, n = m->ngolden;
    for (size_t i = 0; i < n; i++)
        right += test_golden(t, what, m, &m->golden[i]);
    if (n && right == n)
        say(t->say, CHECK_OK, what, "%s: %zu golden case%s", m->name, n, n == 1 ? "" : "s");
}

/* ---- documents ---- */

/* One output that is scored. */
struct output {
    struct scoring scoring;
    struct buf text;
};

/* How a program ended, or why it could not be run, where the measure runs one. */
static const char *result_of(const json_t *all, const struct measure *m)
{
    const json_t *v = json_object_get(all, m->name), *result = json_object_get(v, "result");
    return json_string_value(result ? result : json_object_get(v, "failure"));
}

static bool is_exception(const struct self_test *test, size_t doc)
{
    for (size_t i = 0; i < test->except.len; i++)
        if (test->except.v[i] == (int64_t)doc)
            return true;
    return false;
}

/* "112 timeout": the document, and what came of it. */
static void name_document(size_t doc, const struct scoring *s, const struct measure *m,
                          struct buf *out)
{
    json_t *all = s->job.rc ? NULL : json_loads(s->extracted.s, 0, NULL);
    const char *result = result_of(all, m);
    buf_addf(out, "%s%zu ", out->len ? ", " : "", doc);
    if (s->job.rc)
        buf_adds(out, s->job.err.s);
    else if (result)
        buf_adds(out, result);
    else
        buf_addf(out, "scores %g", s->score);
    json_decref(all);
}

/* The documents that have another score, those that may or the others, by name. Returns how many. */
static size_t name_wrong(const struct output *v, size_t n, const struct self_test *test,
                         const struct measure *m, bool exceptions, struct buf *out)
{
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        const struct scoring *s = &v[i].scoring;
        if ((!s->job.rc && s->score == test->score) || is_exception(test, i) != exceptions)
            continue;
        if (wrong++ < MOST_NAMED)
            name_document(i, s, m, out);
    }
    if (wrong > MOST_NAMED)
        buf_addf(out, " and %zu more", wrong - MOST_NAMED);
    return wrong;
}

static void report(const struct testing *t, const char *what, const struct output *v, size_t n,
                   const struct self_test *test, const struct measure *m)
{
    struct buf named = BUF_INIT, known = BUF_INIT, quoted = BUF_INIT;
    size_t wrong = name_wrong(v, n, test, m, false, &named);
    size_t exceptions = name_wrong(v, n, test, m, true, &known);
    quote(test->output, &quoted);
    say(t->say, wrong ? CHECK_BAD : CHECK_OK, what,
        "%s of %s: %zu of %zu documents score %d%s%s%s%s", m->name, quoted.s,
        n - wrong - exceptions, n, test->score, wrong ? "; not: " : "", named.s,
        exceptions ? "; known exceptions: " : "", known.s);
    buf_release(&named);
    buf_release(&known);
    buf_release(&quoted);
}

/* An exception that no document is would be one that nobody looks at. */
static bool exceptions_exist(const struct testing *t, const char *what,
                             const struct self_test *test, size_t n)
{
    for (size_t i = 0; i < test->except.len; i++)
        if (test->except.v[i] >= (int64_t)n) {
            say(t->say, CHECK_BAD, what, "self_test: except has document %lld; there are %zu",
                (long long)test->except.v[i], n);
            return false;
        }
    return true;
}

static void run_test(const struct testing *t, const char *what, const struct task *task,
                     const struct documents *docs, const struct self_test *test)
{
    if (!exceptions_exist(t, what, test, docs->len))
        return;
    struct output *v = xcalloc(docs->len, sizeof(*v));
    struct buf err = BUF_INIT;
    for (size_t i = 0; i < docs->len; i++) {
        buf_init(&v[i].text);
        // data_check() has filled it in once.
        if (template_fill(test->output, docs->v[i].fields, NULL, &v[i].text, &err))
            BUG("%s", err.s);
        scoring_init(&v[i].scoring, task, docs->v[i].fields, v[i].text.s, t->tools);
        workers_put(t->workers, &v[i].scoring.job);
    }
    while (workers_take(t->workers))
        ;
    report(t, what, v, docs->len, test, &task->form->measures[0]);
    for (size_t i = 0; i < docs->len; i++) {
        scoring_release(&v[i].scoring);
        buf_release(&v[i].text);
    }
    free(v);
}

static bool file_there(const char *file)
{
    char *path = xasprintf("%s/%s", eval_data_dir(), file);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

/* Why a form's self_test cannot be run; NULL: it can. */
static const char *obstacle(const struct testing *t, const struct eval *e,
                            const struct eval_form *f)
{
    if ((e->file && !file_there(e->file)) || (f->shots.file && !file_there(f->shots.file)))
        return "its data are not there; scripts/fetch-data gets them";
    for (size_t i = 0; i < f->nmeasures; i++)
        if (f->measures[i].scorer->runs_code && !t->tools->sandbox)
            return t->no_code;
    return f->measures[0].scorer->asks_judge ? "a judge's scores are not tested" : NULL;
}

static void test_documents(const struct testing *t, const char *what, const struct eval *e,
                           const struct eval_form *f)
{
    const char *why = obstacle(t, e, f);
    struct task task = { 0 };
    struct documents docs = { 0 };
    struct buf err = BUF_INIT;
    if (why) {
        say(t->say, CHECK_SKIPPED, what, "self-test of its documents skipped: %s", why);
        return;
    }
    if (task_of_texts(what, NULL, 0, &task, &err) || data_check(&task, &err) ||
        documents_read(&task, NULL, 0, &docs, &err))
        say(t->say, CHECK_BAD, what, "%s", err.s);
    else
        for (size_t i = 0; i < f->nself_tests; i++)
            run_test(t, what, &task, &docs, &f->self_tests[i]);
    documents_release(&docs);
    task_release(&task);
    buf_release(&err);
}

static void test_form(const struct testing *t, const struct eval *e, const struct eval_form *f)
{
    char *what = xasprintf("%s/%s", e->name, f->name);
    for (size_t i = 0; i < f->nmeasures; i++)
        test_measure(t, what, &f->measures[i]);
    if (f->nself_tests)
        test_documents(t, what, e, f);
    free(what);
}

static void test_forms(void *ud, const struct eval *e)
{
    for (size_t i = 0; i < e->nforms; i++)
        test_form(ud, e, &e->forms[i]);
}

void self_test_all(const struct tools *tools, const char *no_code, int threads, say_check *to)
{
    struct testing t = { tools, no_code, workers_new(threads), threads, to };
    each_eval(to, test_forms, &t);
    workers_free(t.workers);
}

/* ---- data ---- */

struct looking {
    say_check *say;
    struct strings seen;
};

/* One file, the first time that it is named; NULL: there is none. */
static void look_at(struct looking *l, const char *file, const char *sha256)
{
    struct data_file f;
    struct buf err = BUF_INIT;
    if (!file)
        return;
    for (size_t i = 0; i < l->seen.len; i++)
        if (strcmp(l->seen.v[i], file) == 0)
            return;
    strings_add(&l->seen, file);
    if (!file_there(file)) {
        say(l->say, CHECK_SKIPPED, "data", "%s/%s: missing; scripts/fetch-data gets it",
            eval_data_dir(), file);
        return;
    }
    char *path = xasprintf("%s/%s", eval_data_dir(), file);
    if (data_file_read(&f, path, sha256, &err))
        say(l->say, CHECK_BAD, "data", "%s", err.s);
    else
        say(l->say, CHECK_OK, "data", "%s: %s", path,
            sha256 ? "present, its sum is right" : "present; its sum is not known");
    data_file_release(&f);
    free(path);
    buf_release(&err);
}

/* Items that a function makes. */
static void look_at_items(struct looking *l, const struct eval *e, bool train, int count)
{
    struct data_file f = { 0 };
    struct buf err = BUF_INIT;
    if (count == 0)
        return;
    if (data_file_of_eval(&f, e, train, &err))
        say(l->say, CHECK_BAD, "data", "%s", err.s);
    else
        say(l->say, CHECK_OK, "data", "%s: %d, made here", f.path, count);
    data_file_release(&f);
    buf_release(&err);
}

static void look_at_eval(void *ud, const struct eval *e)
{
    look_at(ud, e->file, e->sha256);
    for (size_t i = 0; i < e->nforms; i++)
        look_at(ud, e->forms[i].shots.file, e->forms[i].shots.sha256);
    look_at(ud, e->train.file, e->train.sha256);
    look_at_items(ud, e, false, e->generated.test);
    look_at_items(ud, e, true, e->generated.train);
}

void self_test_data(say_check *to)
{
    struct looking l = { .say = to };
    each_eval(to, look_at_eval, &l);
    strings_release(&l.seen);
}
