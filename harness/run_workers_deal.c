/*
 * run_workers_deal.c: see run_workers_deal.h. All is found by walking over the items: there are few
 * beside the work that they stand for.
 */
#include "run_workers_deal.h"

enum { NOBODY = -1, OVER = -2 };

struct card {
    struct deal_item item;
    size_t number; /* as the caller counts */
    int holder;    /* a process, NOBODY or OVER */
    int lost;      /* processes that died with it */
};

struct set {
    bool made;
    int maker;         /* who trains its model, or NOBODY */
    int64_t cost;      /* of what waits, as it was last counted */
    size_t fresh, old; /* items that wait; old: whose process died */
};

struct deal {
    struct card *cards; /* [n], the largest first, of equal ones the earlier */
    size_t n;
    struct set *sets;
    size_t nsets;
    size_t *at; /* [processes]: the set that each is with; nsets: none */
    int processes;
};

static int by_cost(const void *a, const void *b)
{
    const struct card *x = a, *y = b;
    if (x->item.cost != y->item.cost)
        return x->item.cost > y->item.cost ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

struct deal *deal_new(const struct deal_item *items, size_t n, const bool *unmade, size_t nsets,
                      int processes)
{
    struct deal *d = xcalloc(1, sizeof(*d));
    d->n = n;
    d->nsets = nsets;
    d->processes = processes;
    d->cards = xcalloc(n + 1, sizeof(*d->cards));
    d->sets = xcalloc(nsets + 1, sizeof(*d->sets));
    d->at = xcalloc((size_t)processes, sizeof(*d->at));
    for (size_t i = 0; i < n; i++) {
        if (items[i].set >= nsets)
            BUG("item %zu is of set %zu of %zu", i, items[i].set, nsets);
        d->cards[i] = (struct card){ items[i], i, NOBODY, 0 };
    }
    for (size_t i = 0; i < nsets; i++)
        d->sets[i] = (struct set){ .made = !unmade[i], .maker = NOBODY };
    for (int i = 0; i < processes; i++)
        d->at[i] = nsets;
    qsort(d->cards, n, sizeof(*d->cards), by_cost);
    return d;
}

void deal_free(struct deal *d)
{
    if (!d)
        return;
    free(d->cards);
    free(d->sets);
    free(d->at);
    free(d);
}

/* What waits in each set; returns the cost of all of it. */
static int64_t count_waiting(struct deal *d)
{
    int64_t all = 0;
    for (size_t i = 0; i < d->nsets; i++)
        d->sets[i].cost = 0, d->sets[i].fresh = d->sets[i].old = 0;
    for (size_t i = 0; i < d->n; i++) {
        const struct card *c = &d->cards[i];
        struct set *s = &d->sets[c->item.set];
        if (c->holder != NOBODY)
            continue;
        s->cost += c->item.cost;
        c->lost ? s->old++ : s->fresh++;
        all += c->item.cost;
    }
    return all;
}

static bool can_take(const struct set *s, bool old)
{
    return (s->made || s->maker == NOBODY) && (old ? s->old : s->fresh) > 0;
}

/* Is the set `a` to be begun before `b`? users: processes that are with each */
static bool comes_before(const struct deal *d, size_t a, size_t b, const int *users)
{
    const struct set *x = &d->sets[a], *y = &d->sets[b];
    if (x->made != y->made)
        return !x->made;
    return (double)x->cost / (users[a] + 1) > (double)y->cost / (users[b] + 1);
}

/* The set that the process takes from; nsets: there is none now. */
static size_t choose_set(const struct deal *d, int process, bool old)
{
    size_t best = d->nsets, at = d->at[process];
    if (at < d->nsets && can_take(&d->sets[at], old))
        return at;
    int *users = xcalloc(d->nsets + 1, sizeof(*users));
    for (int i = 0; i < d->processes; i++)
        users[d->at[i]] += i != process;
    for (size_t i = 0; i < d->nsets; i++)
        if (can_take(&d->sets[i], old) && (best == d->nsets || comes_before(d, i, best, users)))
            best = i;
    free(users);
    return best;
}

size_t deal_take(struct deal *d, int process, size_t *out, size_t most)
{
    // Half of an equal share: the shares become smaller as less is left.
    int64_t share = count_waiting(d) / (2 * (int64_t)d->processes), taken = 0;
    size_t n = 0;
    bool old = false;
    size_t set = choose_set(d, process, false);
    if (set == d->nsets) {
        old = true;
        set = choose_set(d, process, true);
    }
    d->at[process] = set;
    if (set == d->nsets)
        return 0;
    if (!d->sets[set].made)
        d->sets[set].maker = process;
    if (old)
        most = 1;
    for (size_t i = 0; i < d->n && n < most && (n == 0 || taken < share); i++) {
        struct card *c = &d->cards[i];
        if (c->holder != NOBODY || c->item.set != set || (c->lost > 0) != old)
            continue;
        c->holder = process;
        taken += c->item.cost;
        out[n++] = c->number;
    }
    return n;
}

/* A set that the process did not come to make is free for others. */
static void let_go(struct deal *d, int process)
{
    for (size_t i = 0; i < d->nsets; i++)
        if (d->sets[i].maker == process)
            d->sets[i].maker = NOBODY;
}

void deal_done(struct deal *d, int process)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->cards[i].holder == process)
            d->cards[i].holder = OVER;
    let_go(d, process);
}

size_t deal_lost(struct deal *d, int process, size_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++) {
        struct card *c = &d->cards[i];
        if (c->holder != process)
            continue;
        c->holder = ++c->lost < 2 ? NOBODY : OVER;
        if (c->holder == OVER)
            out[n++] = c->number;
    }
    let_go(d, process);
    d->at[process] = d->nsets;
    return n;
}

void deal_made(struct deal *d, size_t set)
{
    d->sets[set].made = true;
    d->sets[set].maker = NOBODY;
}

size_t deal_unmade(struct deal *d, size_t set, size_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++) {
        struct card *c = &d->cards[i];
        if (c->item.set != set || c->holder != NOBODY)
            continue;
        c->holder = OVER;
        out[n++] = c->number;
    }
    return n;
}

size_t deal_left(const struct deal *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        n += d->cards[i].holder != OVER;
    return n;
}

bool deal_over(const struct deal *d)
{
    return deal_left(d) == 0;
}
