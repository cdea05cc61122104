/*
 * status_read.c: what databases say of their sweeps, and of trainings. See status_impl.h.
 */
#include "cmd/status_impl.h"
#include "json.h"

#include <math.h>
#include <string.h>

enum { LATELY = 50 }; /* steps of a training that its speed is taken from */

/* ---- names ---- */

static size_t sweep_number(struct reader *r, const char *name)
{
    struct status *s = r->out;
    for (size_t i = 0; i < s->nsweeps; i++)
        if (strcmp(s->sweeps[i].name, name) == 0)
            return i;
    ARRAY_GROW(s->sweeps, s->sweeps_cap, s->nsweeps + 1);
    s->sweeps[s->nsweeps] =
        (struct sweep_status){ .name = xstrdup(name), .rate = NAN, .seconds_left = NAN };
    ARRAY_GROW(r->newest, r->newest_cap, s->nsweeps + 1);
    r->newest[s->nsweeps] = (struct newest){ 0 };
    return s->nsweeps++;
}

static size_t kind_number(struct reader *r, const char *model, const char *task)
{
    // Cells of one kind follow one another.
    for (size_t i = r->nkinds; i-- > 0;)
        if (strcmp(r->kinds[i].model, model) == 0 && strcmp(r->kinds[i].task, task) == 0)
            return i;
    ARRAY_GROW(r->kinds, r->kinds_cap, r->nkinds + 1);
    r->kinds[r->nkinds] = (struct kind){ .model = xstrdup(model), .task = xstrdup(task) };
    return r->nkinds++;
}

static struct mark *add_mark(struct reader *r, const char *sweep, const char *id, const char *model,
                             const char *task)
{
    ARRAY_GROW(r->marks, r->marks_cap, r->nmarks + 1);
    struct mark *m = &r->marks[r->nmarks++];
    *m = (struct mark){ .sweep = sweep_number(r, sweep), .kind = kind_number(r, model, task) };
    strncpy(m->id, id, sizeof(m->id) - 1);
    return m;
}

/* ---- one database ---- */

/* All rows of a query with one argument, or none, to `use`, which has columns that are not null. */
static int each_row(struct reader *r, size_t store, const char *sql, const char *argument,
                    int (*use)(struct reader *r, size_t store, struct rows *row, struct buf *err),
                    struct buf *err)
{
    struct rows *rows = store_query(r->stores[store], err, sql, argument);
    int rc = rows ? 0 : -1;
    while (rows && (rc = rows_next(rows, err)) == 1) {
        for (int i = 0; i < rows_columns(rows) && rc == 1; i++)
            rc = rows_need(rows, i, err) ? -1 : 1;
        if (rc != 1 || use(r, store, rows, err)) {
            rc = -1;
            break;
        }
    }
    rows_close(rows);
    return rc;
}

static int use_cell(struct reader *r, size_t store, struct rows *row, struct buf *err)
{
    (void)store, (void)err;
    const char *status = rows_text(row, 4);
    bool running = rows_int(row, 8) != 0;
    struct mark *m =
        add_mark(r, rows_text(row, 0), rows_text(row, 1), rows_text(row, 2), rows_text(row, 3));
    m->state = strcmp(status, "done") == 0     ? DONE
               : strcmp(status, "failed") == 0 ? FAILED
               : running                       ? RUNNING
                                               : LEFT;
    m->samples = rows_int(row, 5);
    m->tokens = rows_int(row, 6);
    m->seconds = rows_double(row, 7);
    return 0;
}

static int use_plan(struct reader *r, size_t store, struct rows *row, struct buf *err)
{
    (void)err;
    struct mark *m =
        add_mark(r, rows_text(row, 0), rows_text(row, 1), rows_text(row, 2), rows_text(row, 3));
    m->to_samples = rows_int(row, 4);
    m->to_tokens = rows_int(row, 5);
    m->trains = strcmp(rows_text(row, 6), "none") != 0;
    m->planned = r->newest[m->sweep].is && r->newest[m->sweep].store == store;
    return 0;
}

/* The run that made the database's plan of a sweep: the plan is newer than those of older runs. */
static int use_planner(struct reader *r, size_t store, struct rows *row, struct buf *err)
{
    (void)err;
    size_t sweep = sweep_number(r, rows_text(row, 0));
    struct newest *n = &r->newest[sweep];
    int64_t started = rows_int(row, 1);
    if (!n->is || started > n->started)
        *n = (struct newest){ store, started, true };
    return 0;
}

static int use_pace(struct reader *r, size_t store, struct rows *row, struct buf *err)
{
    (void)store, (void)err;
    double seconds = rows_double(row, 2) - rows_double(row, 3);
    ARRAY_GROW(r->paces, r->paces_cap, r->npaces + 1);
    r->paces[r->npaces++] = (struct pace){ .sweep = sweep_number(r, rows_text(row, 1)),
                                           .live = rows_int(row, 5) != 0,
                                           .over = rows_int(row, 6) != 0,
                                           .seconds = seconds,
                                           .tokens = rows_double(row, 4) };
    return 0;
}

static int use_added(struct reader *r, size_t store, struct rows *row, struct buf *err)
{
    (void)store, (void)err;
    ARRAY_GROW(r->added, r->added_cap, r->nadded + 1);
    struct added *a = &r->added[r->nadded++];
    *a = (struct added){ .sweep = r->paces[r->npaces - 1].sweep,
                         .samples = rows_int(row, 1),
                         .pace = r->npaces - 1 };
    strncpy(a->id, rows_text(row, 0), sizeof(a->id) - 1);
    return 0;
}

/* The speed of each sweep's last run in the database, and what it did. */
static int read_paces(struct reader *r, size_t store, int64_t live, struct buf *err)
{
    struct strings runs = { 0 };
    struct rows *rows =
        store_query(r->stores[store], err,
                    "SELECT CAST(max(n) AS TEXT) FROM run WHERE samples > 0 GROUP BY sweep");
    int rc = rows ? 0 : -1;
    while (rows && (rc = rows_next(rows, err)) == 1)
        strings_add(&runs, rows_text(rows, 0));
    rows_close(rows);
    for (size_t i = 0; i < runs.len && rc == 0; i++) {
        char *sql = xasprintf("SELECT n, sweep, seconds, trained, tokens, n = %lld,"
                              " ifnull(outcome, '') = 'done' FROM run"
                              " WHERE n = CAST(? AS INTEGER)",
                              (long long)live);
        rc = each_row(r, store, sql, runs.v[i], use_pace, err);
        free(sql);
        if (rc == 0)
            rc = each_row(r, store,
                          "SELECT c.id, x.samples FROM cell_run AS x JOIN cell AS c ON c.n = x.cell"
                          " WHERE x.run = CAST(? AS INTEGER)",
                          runs.v[i], use_added, err);
    }
    strings_release(&runs);
    return rc;
}

/* The number of the run that is at work; 0: none is. */
static int find_live(struct reader *r, size_t store, int64_t *live, struct buf *err)
{
    *live = 0;
    if (!store_is_locked(store_path(r->stores[store])))
        return 0;
    struct rows *rows = store_query(r->stores[store], err,
                                    "SELECT n FROM run WHERE ended IS NULL"
                                    " ORDER BY n DESC LIMIT 1");
    int rc = rows ? rows_next(rows, err) : -1;
    if (rc == 1)
        *live = rows_int(rows, 0);
    rows_close(rows);
    return rc < 0 ? -1 : 0;
}

static int read_cells(struct reader *r, size_t store, struct buf *err)
{
    int64_t live;
    if (find_live(r, store, &live, err))
        return -1;
    char *sql = xasprintf("SELECT sweep, id, model, task, status, samples, tokens, seconds,"
                          " EXISTS (SELECT 1 FROM cell_run WHERE cell = cell.n AND run = %lld)"
                          " FROM cell ORDER BY model, task",
                          (long long)live);
    int rc = each_row(r, store, sql, NULL, use_cell, err);
    free(sql);
    return rc ? rc : read_paces(r, store, live, err);
}

/* ---- trainings ---- */

/* How many steps the settings ask for; 0: they say epochs. */
static int64_t goal_of(const char *settings)
{
    struct buf ignored = BUF_INIT;
    json_t *root = json_parse(settings, strlen(settings), "settings", 0, &ignored);
    int64_t n = json_integer_value(json_object_get(root, "all_steps"));
    if (!n)
        n = json_integer_value(json_object_get(json_object_get(root, "settings"), "steps"));
    json_decref(root);
    buf_release(&ignored);
    return n;
}

static int read_steps(struct store *s, struct training_status *t, struct buf *err)
{
    char *sql = xasprintf("SELECT step, tokens, seconds FROM v_training_steps WHERE"
                          " training_id = ? ORDER BY step DESC LIMIT %d",
                          LATELY);
    struct rows *rows = store_query(s, err, sql, t->id);
    double seconds = 0, in_between = 0, last = 0, first = 0;
    int n = 0, rc = rows ? 0 : -1;
    t->rate = t->a_step = NAN;
    while (rows && (rc = rows_next(rows, err)) == 1) {
        if (n++ == 0) {
            t->step = rows_int(rows, 0);
            last = rows_double(rows, 1);
        }
        first = rows_double(rows, 1);
        in_between =
            seconds; // without the first step's, whose tokens are not told from those before
        seconds += rows_double(rows, 2);
    }
    rows_close(rows);
    if (n > 0 && seconds > 0)
        t->a_step = seconds / n;
    if (in_between > 0)
        t->rate = (last - first) / in_between;
    free(sql);
    return rc;
}

void training_release(struct training_status *t)
{
    free(t->id);
    free(t->sweep);
    free(t->model);
    free(t->label);
}

/* Of two databases that have it, the one that is further says how far it is. */
static void keep_training(struct status *s, struct training_status *t)
{
    for (size_t i = 0; i < s->ntrainings; i++) {
        struct training_status *old = &s->trainings[i];
        if (strcmp(old->id, t->id) != 0)
            continue;
        struct training_status *behind = t->step > old->step ? old : t;
        training_release(behind);
        if (behind == old)
            *old = *t;
        return;
    }
    ARRAY_GROW(s->trainings, s->trainings_cap, s->ntrainings + 1);
    s->trainings[s->ntrainings++] = *t;
}

static int use_training(struct reader *r, size_t store, struct rows *row, struct buf *err)
{
    struct store *s = r->stores[store];
    struct training_status t = { .id = xstrdup(rows_text(row, 0)),
                                 .sweep = xstrdup(rows_text(row, 1)),
                                 .model = xstrdup(rows_text(row, 2)),
                                 .label = xstrdup(rows_text(row, 3)),
                                 .goal = goal_of(rows_text(row, 4)),
                                 .live = store_is_locked(store_path(s)) };
    int rc = read_steps(s, &t, err);
    sweep_number(r, t.sweep);
    if (rc)
        training_release(&t);
    else
        keep_training(r->out, &t);
    return rc;
}

/* ---- all ---- */

int status_read_all(struct reader *r, struct buf *err)
{
    int rc = 0;
    for (size_t i = 0; i < r->nstores && rc == 0; i++)
        rc = each_row(r, i,
                      "SELECT sweep, max(started) FROM run WHERE sweep IN (SELECT sweep FROM plan)"
                      " AND recipe IS NOT NULL GROUP BY sweep",
                      NULL, use_planner, err);
    for (size_t i = 0; i < r->nstores && rc == 0; i++)
        rc = read_cells(r, i, err) ||
                     each_row(r, i,
                              "SELECT sweep, id, model, task, samples, tokens, train"
                              "  FROM plan"
                              " ORDER BY model, task",
                              NULL, use_plan, err) ||
                     each_row(r, i,
                              "SELECT training_id, sweep, model, label, settings FROM v_trainings"
                              " ORDER BY started, training_id",
                              NULL, use_training, err)
                 ? -1
                 : 0;
    return rc;
}
