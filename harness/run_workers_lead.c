/*
 * run_workers_lead.c: the process that made the others deals cells out, and listens to all of them
 * until the last has ended. See run_workers.h.
 *
 * Invariant: what became of a cell is what the database says when its process is done with it.
 */
#include "run_impl.h"

#include "run_workers_deal.h"
#include "run_workers_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LISTEN_MILLISECONDS = 500 };

/* ---- what is said on the terminal ---- */

static void warn(struct crew *c, const char *text)
{
    progress_end(&c->r->progress);
    warning("%s", text);
}

/* Lines of a process's stderr, above the one that says how far all are. */
static void pass_on(struct crew *c, struct process *p)
{
    char text[4096];
    ssize_t n = read(p->said, text, sizeof(text));
    if (n > 0)
        buf_add(&p->line, text, (size_t)n);
    char *end = strrchr(p->line.s, '\n');
    if (n <= 0 && (n == 0 || errno != EINTR)) {
        close(p->said);
        p->said = -1;
        end = p->line.len ? p->line.s + p->line.len - 1 : NULL;
    }
    if (!end)
        return;
    size_t whole = (size_t)(end - p->line.s) + 1;
    progress_end(&c->r->progress);
    fwrite(p->line.s, 1, whole, stderr);
    char *rest = xstrdup(p->line.s + whole);
    buf_reset(&p->line);
    buf_adds(&p->line, rest);
    free(rest);
}

static void show_progress(struct crew *c, int64_t tokens)
{
    int cells = 0;
    for (int i = 0; i < c->n; i++)
        cells += c->v[i].cells;
    progress_add(&c->r->progress, tokens, cells);
}

/* ---- cells that end here ---- */

/* What became of the cells of a process that is done with them. */
static int count_cells(struct crew *c, const struct process *p, struct buf *err)
{
    struct runner *r = c->r;
    for (size_t i = 0; i < p->nhas; i++) {
        const char *id = r->cells[p->has[i]].cell->id;
        enum cell_status status;
        if (store_cell_status(r->store, id, &status, err))
            return -1;
        r->result->done += status == CELL_DONE;
        r->result->failed += status == CELL_FAILED;
        if (status != CELL_FAILED)
            continue;
        if (run_keep_error(r, id, &r->result->first_error, err))
            return -1;
        if (r->options->fail_fast)
            run_end();
    }
    return 0;
}

/* Cells that nobody will compute, for a reason of their own. One may be done all the same. */
static int fail_cells(struct crew *c, const size_t *cells, size_t n, const char *why,
                      struct buf *err)
{
    struct runner *r = c->r;
    for (size_t i = 0; i < n; i++) {
        struct cell_run *run = &r->cells[cells[i]];
        struct buf params = BUF_INIT;
        enum cell_status was;
        struct store_cell cell = run_stored_cell(r, run->cell, &params);
        int rc = store_cell_begin(r->store, &cell, &was, err);
        buf_release(&params);
        if (rc)
            return -1;
        if (was == CELL_DONE)
            r->result->done++;
        else if (run_fail_cell(r, run, why, err))
            return -1;
    }
    return 0;
}

/* ---- dealing out ---- */

/* What a token that is written costs beside one that is read, about. */
enum { WRITTEN = 8 };

static void make_deal(struct crew *c)
{
    const struct runner *r = c->r;
    size_t n = r->ncells, nsets = 0;
    struct deal_item *items = xcalloc(n + 1, sizeof(*items));
    bool *unmade = xcalloc(n + 1, sizeof(*unmade));
    c->sets = xcalloc(n + 1, sizeof(*c->sets));
    c->others = xcalloc(n + 1, sizeof(*c->others));
    for (size_t i = 0; i < n; i++) {
        const struct cell *cell = r->cells[i].cell, *before = i ? r->cells[i - 1].cell : NULL;
        if (!before || before->model != cell->model || before->training != cell->training)
            nsets++;
        c->sets[i] = nsets - 1;
        unmade[nsets - 1] = cell->training && !r->courses->there[cell->training->number];
        items[i].set = nsets - 1;
    }
    // The units of a cell lie together, and cells are in their order.
    const struct units *const all[] = { &r->losses, &r->texts };
    for (size_t k = 0; k < ARRAY_LEN(all); k++)
        for (size_t i = 0; i < all[k]->len; i++) {
            const struct unit *u = &all[k]->v[i];
            items[u->run - r->cells].cost += u->tokens * (k == 1 ? WRITTEN : 1);
        }
    c->deal = deal_new(items, n, unmade, nsets, c->n);
    free(items);
    free(unmade);
}

/* What `status` says of the process. */
static int note_work(struct crew *c, struct process *p, struct buf *err)
{
    struct buf text = BUF_INIT;
    if (p->state == WORKS) {
        const struct cell *first = c->r->cells[p->has[0]].cell;
        buf_addf(&text, "%zu cell%s of %s", p->nhas, p->nhas == 1 ? "" : "s", first->model->name);
        if (first->training)
            buf_addf(&text, ", trained %s", first->train);
        buf_addf(&text, ", %s", first->task->name);
    } else {
        buf_adds(&text, p->state == WAITS ? "waits for a model" : "has ended");
    }
    int rc = store_process_set(c->r->store, (int)(p - c->v), p->pid, p->device, text.s, err);
    buf_release(&text);
    return rc;
}

/* Gives cells to every process that waits, or tells it that there are no more. */
static int deal_out(struct crew *c, struct buf *err)
{
    for (int i = 0; i < c->n; i++) {
        struct process *p = &c->v[i];
        if (p->state != WAITS)
            continue;
        if (c->ends || deal_over(c->deal)) {
            process_dismiss(p);
            continue;
        }
        p->nhas = deal_take(c->deal, i, p->has, MESSAGE_CELLS_MAX);
        if (p->nhas == 0)
            continue;
        struct message m = { .kind = MESSAGE_CELLS, .cells = (int)p->nhas };
        for (size_t k = 0; k < p->nhas; k++)
            m.cell[k] = (uint32_t)(c->r->cells[p->has[k]].cell - c->r->sweep->cells);
        p->state = WORKS;
        if (note_work(c, p, err))
            return -1;
        // One that has ended is noticed as soon as it is listened to.
        if (message_send(p->socket, &m, -1))
            continue;
    }
    return 0;
}

/* ---- what processes say ---- */

/* Everything is to end: what is under way is finished. */
static void end_all(struct crew *c)
{
    if (c->ends)
        return;
    c->ends = true;
    for (int i = 0; i < c->n; i++)
        if (c->v[i].state != GONE)
            kill(c->v[i].pid, SIGTERM);
}

static bool others_there(const struct crew *c, const struct process *p)
{
    for (int i = 0; i < c->n; i++)
        if (&c->v[i] != p && c->v[i].state < LEAVES)
            return true;
    return false;
}

/* The process cannot go on, and what it had goes to others. how: "was ended by signal 9" */
static int lose(struct crew *c, struct process *p, const char *how, struct buf *err)
{
    char *text = xasprintf("process %d of %d (%s) %s", (int)(p - c->v) + 1, c->n, p->device, how);
    bool had = p->state == WORKS;
    if (p->state != GONE)
        process_dismiss(p);
    free(c->last_death);
    c->last_death = text;
    size_t n = had ? deal_lost(c->deal, (int)(p - c->v), c->others) : 0;
    p->nhas = 0;
    char *said = xasprintf("%s; the others go on%s", text, had ? " with its cells" : "");
    // Where nobody is left to go on, the end of the run says so.
    if (!c->ends && (others_there(c, p) || deal_over(c->deal)))
        warn(c, deal_over(c->deal) ? text : said);
    free(said);
    said = xasprintf("two processes ended while they computed it; the last: %s", text);
    int rc = fail_cells(c, c->others, n, said, err);
    free(said);
    return rc ? rc : note_work(c, p, err);
}

static int hear_over(struct crew *c, struct process *p, const struct message *m, struct buf *err)
{
    // Somebody ended this process alone.
    if (m->tokens && !c->ends && !run_interrupted())
        return lose(c, p, "was asked to end", err);
    if (count_cells(c, p, err))
        return -1;
    deal_done(c->deal, (int)(p - c->v));
    p->nhas = 0;
    p->state = WAITS;
    return note_work(c, p, err);
}

static int hear_lost(struct crew *c, struct process *p, const char *why, struct buf *err)
{
    char *how = xasprintf("cannot go on: %s", why);
    int rc = lose(c, p, how, err);
    free(how);
    return rc;
}

/* Nothing more can be kept: the run fails with what the first process said. */
static void hear_failed(struct crew *c, struct process *p, const char *why, struct buf *err)
{
    if (!c->failed)
        fail(err, "%s", why);
    c->failed = true;
    process_dismiss(p);
    end_all(c);
}

static int hear_message(struct crew *c, struct process *p, const struct message *m, struct buf *err)
{
    size_t set = p->nhas ? c->sets[p->has[0]] : 0;
    switch (m->kind) {
    case MESSAGE_PROGRESS:
        p->cells = m->cells;
        show_progress(c, m->tokens);
        return 0;
    case MESSAGE_MODEL:
        c->r->result->trained += m->tokens != 0;
        deal_made(c->deal, set);
        return 0;
    case MESSAGE_NO_MODEL:
        return fail_cells(c, c->others, deal_unmade(c->deal, set, c->others), m->text, err);
    case MESSAGE_OVER:
        return hear_over(c, p, m, err);
    case MESSAGE_LOST:
        return hear_lost(c, p, m->text, err);
    case MESSAGE_FAILED:
        hear_failed(c, p, m->text, err);
        return 0;
    case MESSAGE_LOCK:
    case MESSAGE_CELLS:
        break;
    }
    BUG("a process says %d", (int)m->kind);
}

/* One message of the process, or its end. */
static int hear(struct crew *c, struct process *p, struct buf *err)
{
    struct message m;
    int fd, rc = message_receive(p->socket, &m, &fd);
    if (rc < 0)
        return 0;
    if (rc > 0)
        return hear_message(c, p, &m, err);
    bool had = p->state == WORKS, waited = p->state == WAITS;
    char *how = process_reap(p);
    rc = 0;
    while (p->said >= 0 && poll(&(struct pollfd){ .fd = p->said, .events = POLLIN }, 1, 0) > 0)
        pass_on(c, p);
    if (had)
        p->state = WORKS; // it still has its cells
    if ((had || waited) && !c->ends && !run_interrupted())
        rc = lose(c, p, how, err);
    p->state = GONE;
    free(how);
    return rc;
}

/* Waits for something to be said, and takes it. */
static int listen_to_all(struct crew *c, struct buf *err)
{
    size_t n = (size_t)c->n;
    // The sockets, and behind them what is said on stderr.
    struct pollfd *fds = xcalloc(2 * n, sizeof(*fds));
    for (size_t i = 0; i < n; i++) {
        fds[i] = (struct pollfd){ .fd = c->v[i].socket, .events = POLLIN };
        fds[n + i] = (struct pollfd){ .fd = c->v[i].said, .events = POLLIN };
    }
    int rc = 0, ready = poll(fds, 2 * n, LISTEN_MILLISECONDS);
    for (size_t i = 0; i < n && ready > 0; i++) {
        if (fds[n + i].revents)
            pass_on(c, &c->v[i]);
        if (fds[i].revents && rc == 0)
            rc = hear(c, &c->v[i], err);
    }
    free(fds);
    return rc;
}

static bool anybody_there(const struct crew *c)
{
    for (int i = 0; i < c->n; i++)
        if (c->v[i].state != GONE)
            return true;
    return false;
}

/* Until the last process has ended. A failure here ends all of them, and is told at the end. */
static int lead(struct crew *c, struct buf *err)
{
    struct buf later = BUF_INIT;
    while (anybody_there(c)) {
        struct buf *to = c->failed ? &later : err;
        if (run_interrupted())
            end_all(c);
        if (deal_out(c, to) || listen_to_all(c, to)) {
            c->failed = true;
            end_all(c);
        }
    }
    buf_release(&later);
    return c->failed ? -1 : 0;
}

int crew_run(struct crew *c, struct runner *r, struct buf *err)
{
    struct run_signals signals;
    struct message lock = { .kind = MESSAGE_LOCK };
    c->r = r;
    store_share(r->store, c->turn);
    make_deal(c);
    run_signals_catch(&signals);
    progress_start(&r->progress, run_planned_tokens(r), (int)r->ncells);
    for (int i = 0; i < c->n; i++)
        if (message_send(c->v[i].socket, &lock, store_lock_fd(r->store)))
            continue; // it has ended, which is noticed below
    int rc = lead(c, err);
    progress_end(&r->progress);
    run_signals_release(&signals);
    r->result->signal = run_signal();
    if (rc == 0)
        rc = store_processes_clear(r->store, err);
    if (rc == 0 && !run_interrupted() && !deal_over(c->deal))
        rc = fail(err,
                  "every process of the run ended before its cells were computed, and %zu cell%s "
                  "left for the next run; the last: %s",
                  deal_left(c->deal), deal_left(c->deal) == 1 ? " is" : "s are", c->last_death);
    store_share(r->store, NULL);
    deal_free(c->deal);
    free(c->sets);
    free(c->others);
    return rc;
}
