/*
 * cmd_score.c: scores texts that are there already: a file of predictions by the measures of a task.
 * No model is loaded. With --db they become a cell like those of a run, whose samples are stored as
 * they are scored, so that what was interrupted goes on. So does what a judge could not be asked: such
 * a cell has failed, and the same command asks again.
 */
#include "cmd/cmd.h"
#include "cmd/predictions.h"
#include "progress.h"
#include "provenance.h"
#include "recipe/cell.h"
#include "recipe/data.h"
#include "score/judge.h"
#include "scoring.h"
#include "store/store.h"
#include "summary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SWEEP "score" // what its cells and runs say

/* What came of one text, as the database holds it. */
struct scored_text {
    double score;
    char *extracted; /* NULL: not scored yet */
    bool stored;     /* in the database */
    bool again;      /* a tool failed: the text is scored once more */
};

struct score_run {
    struct task task;
    struct documents documents;
    struct predictions predictions;
    size_t given; /* documents with a prediction */
    struct tools tools;
    struct judge_spec judge;
    bool judged; /* a judge was named */
    int threads;
    size_t cut;                /* predictions that went on behind a stop string */
    struct scored_text *texts; /* [documents] */
    struct store *store;       /* NULL: none was asked for */
    char cell[33];
    const char *name; /* of the predictions: their file's, without its folder */
    struct buf command;
};

/* ---- what is asked ---- */

/* A task without measures, with those of the eval that have some. */
static void refuse_loss(const struct task *t)
{
    struct buf others = BUF_INIT;
    for (size_t i = 0; i < t->eval->nforms; i++)
        if (t->eval->forms[i].generates)
            buf_addf(&others, "%s%s/%s", others.len ? ", " : "", t->eval->name,
                     t->eval->forms[i].name);
    die(1, "score: task %s scores a loss, which texts alone do not have; %s%s", t->name,
        others.len ? "tasks with measures: " : "no form of it has measures", others.s);
}

static void check_judge(const struct score_run *r)
{
    bool asks = task_asks_judge(&r->task), others = false;
    if (r->judged && !asks)
        die(2, "score: --judge-...: no measure of %s asks a judge", r->task.name);
    for (size_t i = 0; i < r->task.form->nmeasures; i++)
        others |= !r->task.form->measures[i].scorer->asks_judge;
    if (!r->judged && !others)
        die(1,
            "score: all that %s measures is asked of a judge: --judge-url and --judge-model, or "
            "--judge-command, say of whom",
            r->task.name);
    if (!r->judged && asks)
        fprintf(stderr, "score: no judge is named, so what is asked of one has no score\n");
}

/* Task, documents and predictions. `limit`: how many documents are of interest; 0: all. */
static void read_all(struct score_run *r, const char *task, const char *file, const char *path,
                     int limit)
{
    struct buf err = BUF_INIT;
    if (task_of_texts(task, file, 0, &r->task, &err))
        die(1, "%s", err.s);
    if (!task_generates(&r->task))
        refuse_loss(&r->task);
    check_judge(r);
    if (data_check(&r->task, &err) || documents_read(&r->task, NULL, 0, &r->documents, &err) ||
        predictions_read(&r->predictions, path, r->task.name, r->documents.len, &err))
        die(1, "%s", err.s);
    // The whole was read: a prediction beyond the limit is no unknown one.
    if (limit && limit < r->task.documents)
        r->task.documents = limit;
    for (int i = 0; i < r->task.documents; i++)
        if (r->predictions.v[i].text)
            r->cut += decoding_cut(&r->task.decoding, r->predictions.v[i].text);
    r->given = predictions_count(&r->predictions, (size_t)r->task.documents);
    if (r->given == 0)
        die(1, "%s: has no text for the first %d documents", path, r->task.documents);
    r->texts = xcalloc((size_t)r->task.documents, sizeof(*r->texts));
    const char *slash = strrchr(path, '/');
    r->name = slash ? slash + 1 : path;
}

/* ---- the database ---- */

/* The same texts under the same measures are the same cell, whatever their file is called. */
static void identify(struct score_run *r)
{
    struct hash *h = hash_new();
    char first[64];
    snprintf(first, sizeof(first), "seqtopk scored texts, numerics %d", NUMERICS_VERSION);
    hash_adds(h, first);
    cell_hash_task(h, &r->task, r->judged ? &r->judge : NULL);
    predictions_hash(&r->predictions, (size_t)r->task.documents, h);
    hash_hex(h, r->cell);
    hash_free(h);
}

/* Has a tool failed to score it? how: it is appended to this, where that is not NULL. */
static bool unscored(const char *extracted, struct buf *how)
{
    struct buf why = BUF_INIT, err = BUF_INIT;
    int failed = outcome_failure(extracted, &why, &err);
    // What is no verdict at all is found, and said, by the summary.
    if (failed == 1 && how)
        buf_adds(how, why.s);
    buf_release(&why);
    buf_release(&err);
    return failed == 1;
}

/* Takes up what an earlier run has scored. */
static int read_scored(struct score_run *r, struct buf *err)
{
    struct rows *rows = store_query(
        r->store, err, "SELECT doc, score, extracted FROM v_samples WHERE cell_id = ?", r->cell);
    int rc = rows ? 0 : -1;
    while (rows && (rc = rows_next(rows, err)) == 1) {
        int64_t doc = rows_int(rows, 0);
        const char *extracted = rows_text(rows, 2);
        if (doc < 0 || doc >= r->task.documents || !extracted || r->texts[doc].extracted) {
            rc = fail(err, "%s: cell %s has a sample of document %lld that is none of `score`",
                      store_path(r->store), r->cell, (long long)doc);
            break;
        }
        r->texts[doc] = (struct scored_text){ rows_double(rows, 1), xstrdup(extracted), true,
                                              unscored(extracted, NULL) };
    }
    rows_close(rows);
    return rc;
}

/* Texts are scored by the processor, whatever wrote them. */
static int begin_run(struct score_run *r, struct buf *err)
{
    struct provenance from;
    provenance_init(&from, SWEEP, r->command.s);
    int rc = provenance_begin(&from, r->store, NULL, NULL, "cpu", err);
    provenance_release(&from);
    return rc;
}

static int add_sources(struct score_run *r, struct buf *err)
{
    const struct task *t = &r->task;
    char texts[33];
    struct hash *h = hash_new();
    predictions_hash(&r->predictions, (size_t)t->documents, h);
    hash_hex(h, texts);
    hash_free(h);
    const struct store_source v[] = { { "data", t->file ? t->file : t->name, t->data_hash },
                                      { "predictions", r->name, texts } };
    return store_cell_sources(r->store, r->cell, v, ARRAY_LEN(v), err);
}

static int open_cell(struct score_run *r, const char *db, enum cell_status *was, struct buf *err)
{
    struct store_cell cell = { .id = r->cell,
                               .sweep = SWEEP,
                               .model = r->name,
                               .router = "none",
                               .mode = "",
                               .params = "{}",
                               .train = "none",
                               .task = r->task.name,
                               .device = "none",
                               .dtype = "none",
                               .min = -1,
                               .max = -1 };
    r->store = store_open(db, STORE_WRITE, err);
    if (!r->store || store_lock(r->store, err))
        return -1;
    identify(r);
    return begin_run(r, err) || store_cell_begin(r->store, &cell, was, err) || add_sources(r, err)
               ? -1
               : read_scored(r, err);
}

static int store_text(struct score_run *r, int doc, const struct scored_text *t, struct buf *err)
{
    if (t->stored)
        return store_sample_score(r->store, r->cell, doc, t->score, t->extracted, err);
    struct store_sample sample = { .cell_id = r->cell,
                                   .doc = doc,
                                   .output = r->predictions.v[doc].text,
                                   .extracted = t->extracted,
                                   .nll = NAN,
                                   .score = t->score };
    return store_sample_add(r->store, &sample, err);
}

/* `why`: what the cell fails with, where a tool could not score all of its texts. */
static int finish_cell(struct score_run *r, double seconds, struct buf *why, struct buf *err)
{
    int failed = 0;
    struct buf first = BUF_INIT;
    for (int doc = 0; doc < r->task.documents; doc++)
        failed +=
            r->texts[doc].extracted && unscored(r->texts[doc].extracted, failed ? NULL : &first);
    if (failed)
        buf_addf(why,
                 "%s: %d of %zu texts could not be scored by every measure, and the same command "
                 "tries those again; the first: %s",
                 r->task.name, failed, r->given, first.s);
    buf_release(&first);
    return cell_summarise(r->store, r->cell, err) ||
                   store_cell_finish(r->store, r->cell, failed ? CELL_FAILED : CELL_DONE,
                                     failed ? why->s : NULL, seconds, err)
               ? -1
               : 0;
}

/* ---- scoring ---- */

static int put(struct score_run *r, struct workers *workers, int doc, struct buf *err)
{
    struct scoring *s = xcalloc(1, sizeof(*s));
    scoring_init(s, &r->task, r->documents.v[doc].fields, r->predictions.v[doc].text, &r->tools);
    s->owner = &r->texts[doc];
    if (r->texts[doc].again && scoring_keep(s, r->texts[doc].extracted, err)) {
        scoring_release(s);
        free(s);
        return -1;
    }
    workers_put(workers, &s->job);
    return 0;
}

/* Keeps what came of a text; it goes to the database at once. */
static int keep(struct score_run *r, struct scoring *s, struct buf *err)
{
    struct scored_text *t = s->owner;
    int doc = (int)(t - r->texts);
    if (s->job.rc)
        return fail(err, "%s: document %d of %s: %s", r->predictions.v[doc].where, doc,
                    r->task.name, s->job.err.s);
    free(t->extracted);
    t->score = s->score;
    t->extracted = buf_detach(&s->extracted);
    return r->store ? store_text(r, doc, t, err) : 0;
}

/* The texts that are not scored yet; the threads always have one to go on with. */
static int score_texts(struct score_run *r, struct workers *workers, struct progress *p,
                       struct buf *err)
{
    int rc = 0, under_way = 0;
    for (int doc = 0;;) {
        for (; rc == 0 && doc < r->task.documents && under_way < 2 * r->threads; doc++)
            if (r->predictions.v[doc].text && (!r->texts[doc].extracted || r->texts[doc].again)) {
                rc = put(r, workers, doc, err);
                under_way += rc == 0;
            }
        struct scoring *s = (struct scoring *)workers_take(workers);
        if (!s)
            return rc;
        under_way--;
        if (rc == 0)
            rc = keep(r, s, err);
        progress_add(p, 1, 0);
        scoring_release(s);
        free(s);
    }
}

static int score_all(struct score_run *r, const char *db, struct buf *why, struct buf *err)
{
    enum cell_status was = CELL_NEW;
    double from = now_seconds();
    if (db && open_cell(r, db, &was, err))
        return -1;
    if (was == CELL_DONE) {
        fprintf(stderr, "score: these texts are scored in %s already, as cell %.12s\n", db,
                r->cell);
        return 0;
    }
    struct progress progress;
    struct workers *workers = workers_new(r->threads);
    progress_start_units(&progress, (int64_t)r->given, "texts");
    int rc = score_texts(r, workers, &progress, err);
    progress_end(&progress);
    workers_free(workers);
    return rc == 0 && db ? finish_cell(r, now_seconds() - from, why, err) : rc;
}

/* ---- what came of it ---- */

/* What a measure failed with for the first time: the table has only how often. */
static void warn_of_failures(const struct score_run *r)
{
    for (int doc = 0; doc < r->task.documents; doc++) {
        json_t *all = r->texts[doc].extracted ? json_loads(r->texts[doc].extracted, 0, NULL) : NULL;
        const char *name, *why = NULL;
        json_t *v;
        json_object_foreach (all, name, v)
            if ((why = json_string_value(json_object_get(v, "failure"))) != NULL) {
                warning("%s could not score document %d, the first of those it failed: %s", name,
                        doc, why);
                break;
            }
        json_decref(all);
        if (why)
            return;
    }
}

/* Counts are whole. What is not known stays empty. */
static void add_number(struct table *t, double v, enum table_format format, bool count)
{
    if (isnan(v))
        table_add(t, NULL);
    else if (format == TABLE_TEXT && !count)
        table_addf(t, "%.4f", v);
    else
        table_addf(t, "%.9g", v);
}

static void add_row(struct table *t, const struct outcome_metric *m, enum table_format format)
{
    struct estimate e = outcomes_estimate(m);
    table_add(t, m->name);
    add_number(t, e.value, format, m->exact);
    add_number(t, e.stderr_, format, m->exact);
    table_addf(t, "%lld", (long long)e.n);
}

static void print_metrics(const struct score_run *r, enum table_format format)
{
    static const char *const columns[] = { "metric", "#value", "#se", "#n", NULL };
    struct outcomes o = { 0 };
    struct buf err = BUF_INIT;
    for (int doc = 0; doc < r->task.documents; doc++)
        if (r->texts[doc].extracted &&
            outcomes_add(&o, r->texts[doc].score, r->texts[doc].extracted, &err))
            die(1, "%s: document %d: %s", store_path(r->store), doc, err.s);
    struct table *t = table_new(columns);
    for (size_t i = 0; i < o.len; i++)
        add_row(t, &o.v[i], format);
    table_print(t, format);
    table_free(t);
    outcomes_release(&o);
}

static void report(const struct score_run *r)
{
    size_t all = (size_t)r->task.documents, none = all - r->given;
    fflush(stdout);
    fprintf(stderr, "%s: %zu of the %zu documents of %s were given", r->name, r->given, all,
            r->task.name);
    if (none)
        fprintf(stderr, "; %zu of %zu documents have no prediction", none, all);
    if (r->cut)
        fprintf(stderr, "; %zu text%s cut at a stop string of the task", r->cut,
                r->cut == 1 ? " was" : "s were");
    fprintf(stderr, "\n");
    warn_of_failures(r);
}

static void score_release(struct score_run *r)
{
    cmd_tools_close(&r->tools);
    store_close(r->store);
    for (int doc = 0; doc < r->task.documents; doc++)
        free(r->texts[doc].extracted);
    free(r->texts);
    buf_release(&r->command);
    predictions_release(&r->predictions);
    documents_release(&r->documents);
    task_release(&r->task);
}

static int run_score(int argc, char **argv)
{
    struct score_run r = { .threads = (int)sysconf(_SC_NPROCESSORS_ONLN) };
    const char *file = NULL, *db = NULL;
    int limit = 0;
    bool allowed = false, tsv = false, json = false;
    const struct option_spec specs[] = {
        { .name = "--file", .value = &file },
        { .name = "--db", .value = &db },
        { .name = "--limit", .number = &limit },
        { .name = "--threads", .number = &r.threads, .most = THREADS_MAX },
        { .name = "--allow-code-execution", .flag = &allowed },
        { .name = "--judge-url", .value = &r.judge.url },
        { .name = "--judge-model", .value = &r.judge.model },
        { .name = "--judge-key-env", .value = &r.judge.key_env },
        { .name = "--judge-command", .value = &r.judge.command },
        { .name = "--tsv", .flag = &tsv },
        { .name = "--json", .flag = &json },
        { .name = NULL },
    };
    buf_init(&r.command);
    provenance_command(argc, argv, &r.command);
    cmd_options(&cmd_score, argc, argv, specs, 2, 2);
    r.judged = r.judge.url || r.judge.model || r.judge.key_env || r.judge.command;
    read_all(&r, argv[1], file, argv[2], limit);
    cmd_tools_open(&r.tools, &cmd_score, task_runs_code(&r.task) ? r.task.name : NULL, allowed,
                   r.judged ? &r.judge : NULL);
    struct buf err = BUF_INIT, why = BUF_INIT;
    int rc = score_all(&r, db, &why, &err);
    if (r.store)
        provenance_end(r.store, rc || why.len ? RUN_FAILED : RUN_DONE);
    if (rc)
        die(1, "%s", err.s);
    print_metrics(&r, json ? TABLE_JSON : tsv ? TABLE_TSV : TABLE_TEXT);
    report(&r);
    if (why.len)
        die(1, "%s", why.s);
    score_release(&r);
    return 0;
}

const struct cmd cmd_score = {
    .name = "score",
    .args =
        "TASK PREDICTIONS.jsonl [--file DATA.jsonl] [--db FILE] [--limit N] [--threads N]\n"
        "       [--allow-code-execution] [--judge-url URL --judge-model M [--judge-key-env E] |\n"
        "       --judge-command CMD [--judge-model NAME]] [--tsv | --json]",
    .help =
        "score texts that are there, lines {\"doc\": 0, \"text\": \"...\"}, by a task's measures",
    .run = run_score,
};
