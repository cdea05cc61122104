/*
 * run_workers_member.c: one process of a crew: it takes cells until there are no more, and computes
 * them as a run of one process does. See run_workers.h.
 *
 * Invariant: it ends with the process that made it, whatever that one ends by; and it never returns
 * into its caller, whose open files and buffers are not its own.
 */
#include "run_impl.h"

#include "run_workers_impl.h"
#include "score/judge.h"

#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

static void tell(struct crew_member *m, const struct message *message)
{
    // Where nobody listens any more, this process is about to be ended.
    if (message_send(m->socket, message, -1))
        _exit(1);
}

void crew_tell_progress(struct crew_member *m, int64_t tokens, int cells)
{
    struct message message = message_of(MESSAGE_PROGRESS, tokens, "");
    message.cells = cells;
    tell(m, &message);
}

void crew_tell_model(struct crew_member *m, bool there, bool before, const char *why)
{
    struct message message = message_of(there ? MESSAGE_MODEL : MESSAGE_NO_MODEL, !before, why);
    tell(m, &message);
}

/* Computes the cells, and says what came of it. false: this process ends. */
static bool do_cells(struct crew_member *m, struct runner *r, const struct message *cells)
{
    struct buf err = BUF_INIT;
    const struct cell **list = xcalloc((size_t)cells->cells, sizeof(*list));
    for (int i = 0; i < cells->cells; i++)
        list[i] = &r->sweep->cells[cells->cell[i]];
    int rc = run_plan(r, list, (size_t)cells->cells, &err);
    if (rc == 0)
        rc = run_models(r, &err);
    free(list);
    struct message over = message_of(rc == 0   ? MESSAGE_OVER
                                     : r->lost ? MESSAGE_LOST
                                               : MESSAGE_FAILED,
                                     run_signal() != 0, err.s);
    buf_release(&err);
    tell(m, &over);
    return rc == 0 && !run_interrupted();
}

/* What is asked, until nothing more is, or the user wants an end. */
static void serve(struct crew_member *m, struct runner *r)
{
    struct message message;
    int fd, rc;
    while (!run_interrupted() && (rc = message_receive(m->socket, &message, &fd)) != 0)
        if (rc > 0 && message.kind == MESSAGE_CELLS && !do_cells(m, r, &message))
            return;
    // A descriptor that came along stays open until the process ends: so does the lock.
}

NORETURN void member_main(struct crew_member *m)
{
    const struct crew_spec *s = m->spec;
    struct buf err = BUF_INIT;
    struct run_result result = { 0 };
    struct runner r;
    struct run_signals unused;
    struct message lock;
    int fd, rc;
    run_signals_catch(&unused);
    if (s->options->tools.judge)
        judge_stop_when(s->options->tools.judge, run_stopped);
    // The database is made, and locked, when this comes.
    while ((rc = message_receive(m->socket, &lock, &fd)) < 0 && !run_interrupted())
        ;
    if (rc <= 0)
        _exit(0);
    const struct provenance *p = s->options->provenance;
    struct store *store = store_open(s->db, STORE_WRITE, &err);
    if (store && (!p || provenance_join(p, store, &err) == 0)) {
        store_share(store, m->turn);
        runner_init(&r, s->sweep, s->corpora, s->courses, store, s->options, &result);
        r.member = m;
        r.device_name = s->devices->v[(size_t)m->number % s->devices->len];
        serve(m, &r);
        runner_release(&r);
        store_close(store);
    } else {
        struct message failed = message_of(MESSAGE_FAILED, 0, err.s);
        tell(m, &failed);
    }
    _exit(0);
}
