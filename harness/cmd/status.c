/*
 * status.c: see status.h. What each database says of a cell is a mark; the marks of a cell lie together
 * once they are sorted, and are then one.
 */
#include "cmd/status_impl.h"

#include <math.h>
#include <string.h>

double training_seconds_left(const struct training_status *t)
{
    return t->goal ? (double)(t->goal - t->step) * t->a_step : NAN;
}

static int by_cell(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;
    if (x->sweep != y->sweep)
        return x->sweep < y->sweep ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* One mark for each cell, sorted. */
static void unite_marks(struct reader *r)
{
    size_t n = 0;
    if (r->nmarks)
        qsort(r->marks, r->nmarks, sizeof(*r->marks), by_cell);
    for (size_t i = 0; i < r->nmarks; i++) {
        const struct mark *m = &r->marks[i];
        struct mark *to = n ? &r->marks[n - 1] : NULL;
        if (!to || by_cell(to, m) != 0) {
            r->marks[n++] = *m;
            continue;
        }
        if (m->state > to->state)
            to->state = m->state;
        if (m->samples > to->samples) {
            to->samples = m->samples;
            to->tokens = m->tokens;
            to->seconds = m->seconds;
        }
        to->planned |= m->planned;
        to->trains |= m->trains;
        to->to_samples = m->to_samples ? m->to_samples : to->to_samples;
        to->to_tokens = m->to_tokens ? m->to_tokens : to->to_tokens;
    }
    r->nmarks = n;
}

/* What kinds of cells take. */
static void weigh_kinds(struct reader *r)
{
    double seconds = 0, tokens = 0;
    for (size_t i = 0; i < r->nmarks; i++) {
        const struct mark *m = &r->marks[i];
        struct kind *k = &r->kinds[m->kind];
        if (m->state != DONE || m->to_tokens <= 0 || !(m->seconds > 0))
            continue;
        k->seconds += m->seconds;
        k->tokens += (double)m->to_tokens;
        seconds += m->seconds;
        tokens += (double)m->to_tokens;
    }
    // Of a kind that has no cell done yet nothing better is known than the mean of the others.
    for (size_t i = 0; i < r->nkinds; i++)
        if (r->kinds[i].tokens == 0) {
            r->kinds[i].seconds = tokens > 0 ? seconds : 1;
            r->kinds[i].tokens = tokens > 0 ? tokens : 1;
        }
}

/* The work that so many of a cell's samples are. */
static double work_of(const struct reader *r, const struct mark *m, int64_t samples)
{
    const struct kind *k = &r->kinds[m->kind];
    double share = m->to_samples > 0 ? (double)samples / (double)m->to_samples : 0;
    return share * (double)m->to_tokens * k->seconds / k->tokens;
}

static void count_mark(struct sweep_status *s, const struct mark *m, bool planned)
{
    s->samples += m->samples;
    s->tokens += m->tokens;
    s->seconds += m->seconds;
    if (planned && !m->planned) {
        s->orphans++;
        return;
    }
    s->cells++;
    s->done += m->state == DONE;
    s->running += m->state == RUNNING;
    s->failed += m->state == FAILED;
    s->left += m->state < FAILED;
    s->waiting += m->state < FAILED && m->trains;
}

static void weigh_runs(struct reader *r)
{
    for (size_t i = 0; i < r->nadded; i++) {
        const struct added *a = &r->added[i];
        struct mark key = { .sweep = a->sweep };
        memcpy(key.id, a->id, sizeof(key.id));
        const struct mark *m =
            r->nmarks ? bsearch(&key, r->marks, r->nmarks, sizeof(key), by_cell) : NULL;
        if (m)
            r->paces[a->pace].work += work_of(r, m, a->samples);
    }
}

/*
 * Tokens and work a second of the sweep: of the runs at work, else of those that did not end with all
 * of their work done, else of all.
 */
static double speed_of(const struct reader *r, size_t sweep, double *rate)
{
    bool some[2] = { false, false };
    double work = 0;
    *rate = NAN;
    for (size_t i = 0; i < r->npaces; i++) {
        some[0] |= r->paces[i].sweep == sweep && r->paces[i].live;
        some[1] |= r->paces[i].sweep == sweep && !r->paces[i].over;
    }
    for (size_t i = 0; i < r->npaces; i++) {
        const struct pace *p = &r->paces[i];
        bool counts = some[0] ? p->live : some[1] ? !p->over : true;
        if (p->sweep != sweep || !counts || !(p->seconds > 0))
            continue;
        *rate = (isnan(*rate) ? 0 : *rate) + p->tokens / p->seconds;
        work += p->work / p->seconds;
    }
    return work;
}

static void add_trainings(struct status *s)
{
    for (size_t i = 0; i < s->ntrainings; i++) {
        const struct training_status *t = &s->trainings[i];
        struct sweep_status *to = s->sweeps;
        while (strcmp(to->name, t->sweep) != 0)
            to++;
        double left = training_seconds_left(t);
        to->trainings++;
        to->trained += t->goal && t->step >= t->goal;
        to->steps += t->step;
        to->goal += t->goal;
        if (!(left > 0))
            continue;
        if (!to->cells && isnan(to->rate))
            to->rate = t->rate;
        to->seconds_left = (isnan(to->seconds_left) ? 0 : to->seconds_left) + left;
    }
}

static void sum_up(struct reader *r)
{
    struct status *s = r->out;
    double *left = xcalloc(s->nsweeps + 1, sizeof(*left));
    unite_marks(r);
    weigh_kinds(r);
    weigh_runs(r);
    for (size_t i = 0; i < r->nmarks; i++) {
        const struct mark *m = &r->marks[i];
        bool planned = r->newest[m->sweep].is;
        // In a plan that is not the newest, and never begun: nobody asks for it.
        if (m->state == NOT_THERE && !m->planned)
            continue;
        count_mark(&s->sweeps[m->sweep], m, planned);
        if (m->planned && m->state != DONE && m->state != FAILED)
            left[m->sweep] += work_of(r, m, m->to_samples - m->samples);
    }
    for (size_t i = 0; i < s->nsweeps; i++) {
        struct sweep_status *w = &s->sweeps[i];
        double speed = speed_of(r, i, &w->rate);
        if (w->left + w->running > 0 && r->newest[i].is && speed > 0)
            w->seconds_left = left[i] / speed;
    }
    free(left);
    add_trainings(s);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sweep_status *)a)->name, ((const struct sweep_status *)b)->name);
}

int status_read(struct store *const *stores, size_t n, struct status *out, struct buf *err)
{
    struct reader r = { .out = out, .stores = stores, .nstores = n };
    *out = (struct status){ 0 };
    int rc = status_read_all(&r, err);
    if (rc == 0)
        sum_up(&r);
    if (out->nsweeps)
        qsort(out->sweeps, out->nsweeps, sizeof(*out->sweeps), by_name);
    for (size_t i = 0; i < r.nkinds; i++) {
        free(r.kinds[i].model);
        free(r.kinds[i].task);
    }
    free(r.kinds);
    free(r.marks);
    free(r.added);
    free(r.paces);
    free(r.newest);
    return rc;
}

void status_release(struct status *s)
{
    for (size_t i = 0; i < s->nsweeps; i++)
        free(s->sweeps[i].name);
    for (size_t i = 0; i < s->ntrainings; i++)
        training_release(&s->trainings[i]);
    free(s->sweeps);
    free(s->trainings);
    *s = (struct status){ 0 };
}

void duration_text(double seconds, struct buf *out)
{
    int64_t minutes = (int64_t)(seconds / 60 + 0.5), hours = minutes / 60;
    if (minutes < 1)
        buf_adds(out, "less than a minute");
    else if (minutes < 60)
        buf_addf(out, "about %lld min", (long long)minutes);
    else if (hours < 48)
        buf_addf(out, "about %lld h %lld min", (long long)hours, (long long)(minutes % 60));
    else
        buf_addf(out, "about %lld d %lld h", (long long)(hours / 24), (long long)(hours % 24));
}
