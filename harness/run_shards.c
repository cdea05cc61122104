/*
 * run_shards.c: see run_shards.h. Here: dealing, and the manifest's text.
 *
 * A shard is dealt in two ways. One gives the dearest item to whom it ends first with it. The other
 * goes set by set and fills shards up to a limit, which keeps sets together; the lowest limit that
 * holds all is looked for by halving. The better of both is taken.
 */
#include "run_shards.h"

#include <errno.h>
#include <string.h>

/* ---- dealing ---- */

struct order {
    int64_t set_cost; /* of all items of its set; 0: sets do not matter */
    int64_t cost;
    size_t set, number;
};

struct dealt {
    size_t *out;     /* [n] */
    int64_t *load;   /* [nshards] */
    bool *has;       /* [nshards, nsets] */
    int64_t dearest; /* load */
    size_t opened;   /* sets, in all shards */
};

struct dealer {
    const struct order *order; /* [n] */
    const int64_t *open;
    size_t n, nsets, nshards;
};

static int by_order(const void *a, const void *b)
{
    const struct order *x = a, *y = b;
    if (x->set_cost != y->set_cost)
        return x->set_cost > y->set_cost ? -1 : 1;
    if (x->set_cost && x->set != y->set)
        return x->set < y->set ? -1 : 1;
    if (x->cost != y->cost)
        return x->cost > y->cost ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static struct dealt dealt_new(const struct dealer *d)
{
    return (struct dealt){ .out = xcalloc(d->n + 1, sizeof(size_t)),
                           .load = xcalloc(d->nshards, sizeof(int64_t)),
                           .has = xcalloc(d->nshards * d->nsets + 1, sizeof(bool)) };
}

static void dealt_release(struct dealt *t)
{
    free(t->out);
    free(t->load);
    free(t->has);
}

static void give(const struct dealer *d, struct dealt *t, const struct order *o, size_t shard)
{
    bool *has = &t->has[shard * d->nsets + o->set];
    t->load[shard] += o->cost + (*has ? 0 : d->open[o->set]);
    t->opened += !*has;
    *has = true;
    t->out[o->number] = shard;
    if (t->load[shard] > t->dearest)
        t->dearest = t->load[shard];
}

/*
 * Each to the shard that ends first with it; or, below a limit, to the fullest of those that have its
 * set, else to the emptiest. false: somewhere there was no room below the limit.
 */
static bool deal_all(const struct dealer *d, struct dealt *t, int64_t limit)
{
    memset(t->load, 0, d->nshards * sizeof(*t->load));
    memset(t->has, 0, d->nshards * d->nsets * sizeof(*t->has));
    t->dearest = 0;
    t->opened = 0;
    for (size_t i = 0; i < d->n; i++) {
        const struct order *o = &d->order[i];
        size_t best = d->nshards;
        int64_t best_end = 0;
        bool best_has = false;
        for (size_t s = 0; s < d->nshards; s++) {
            bool has = t->has[s * d->nsets + o->set], kept = limit < INT64_MAX && has;
            int64_t end = t->load[s] + o->cost + (has ? 0 : d->open[o->set]);
            if (end > limit)
                continue;
            if (best == d->nshards || kept > best_has ||
                (kept == best_has && (kept ? end > best_end : end < best_end)))
                best = s, best_end = end, best_has = kept;
        }
        if (best == d->nshards)
            return false;
        give(d, t, o, best);
    }
    return true;
}

/* The lowest limit, about, below which all have room set by set; false: none up to `most`. */
static bool deal_sets(const struct dealer *d, struct dealt *t, int64_t most)
{
    enum { HALVINGS = 12 };
    int64_t low = 0, high = most;
    if (!deal_all(d, t, most))
        return false;
    for (int i = 0; i < HALVINGS && high - low > 1; i++) {
        int64_t middle = low + (high - low) / 2;
        if (deal_all(d, t, middle))
            high = t->dearest;
        else
            low = middle;
    }
    return deal_all(d, t, high) || deal_all(d, t, most);
}

/* Numbers the shards anew, in the order of their first items, so that none is empty. */
static size_t number_shards(size_t *out, size_t n, size_t nshards)
{
    size_t *name = xcalloc(nshards, sizeof(*name)), used = 0;
    for (size_t i = 0; i < n; i++) {
        if (!name[out[i]])
            name[out[i]] = ++used;
        out[i] = name[out[i]] - 1;
    }
    free(name);
    return used;
}

size_t shards_make(const struct shard_item *items, size_t n, const int64_t *open, size_t nsets,
                   size_t nshards, size_t *out)
{
    struct order *order = xcalloc(n + 1, sizeof(*order));
    int64_t *set_cost = xcalloc(nsets + 1, sizeof(*set_cost));
    struct dealer d = { order, open, n, nsets, nshards };
    struct dealt single = dealt_new(&d), whole = dealt_new(&d);
    for (size_t i = 0; i < n; i++) {
        if (items[i].set >= nsets)
            BUG("item %zu is of set %zu of %zu", i, items[i].set, nsets);
        order[i] = (struct order){ 0, items[i].cost, items[i].set, i };
        set_cost[items[i].set] += items[i].cost + 1;
    }
    qsort(order, n, sizeof(*order), by_order);
    deal_all(&d, &single, INT64_MAX);
    for (size_t i = 0; i < n; i++)
        order[i].set_cost = set_cost[order[i].set];
    qsort(order, n, sizeof(*order), by_order);
    bool better = deal_sets(&d, &whole, single.dearest) &&
                  (whole.dearest < single.dearest || whole.opened < single.opened);
    memcpy(out, better ? whole.out : single.out, n * sizeof(*out));
    dealt_release(&single);
    dealt_release(&whole);
    free(set_cost);
    free(order);
    return number_shards(out, n, nshards);
}

/* ---- the manifest ---- */

#define FIRST_LINE "seqtopk shards 1"
enum { MANIFEST_BYTES = 64 << 20, COUNT_DIGITS = 9, SHARDS_ALL = 2 * SHARDS_MAX };

void shards_release(struct shards *s)
{
    free(s->sweep);
    free(s->cells);
    free(s->trainings);
    *s = (struct shards){ 0 };
}

void shards_text(const struct shards *s, struct buf *out)
{
    buf_addf(out, FIRST_LINE "\nsweep %s\nshards %zu %zu %zu\n", s->sweep, s->plain, s->late,
             s->makers);
    for (size_t i = 0; i < s->ntrainings; i++)
        buf_addf(out, "train %zu %s\n", s->trainings[i].shard, s->trainings[i].id);
    for (size_t i = 0; i < s->ncells; i++) {
        const struct shard_line *c = &s->cells[i];
        buf_addf(out, "cell %zu %s%s%s\n", c->shard, c->id, *c->training ? " " : "", c->training);
    }
    buf_addf(out, "end %zu\n", s->ntrainings + s->ncells);
}

/* Takes a word and the space before the next one; false: there is none. */
static bool take_word(char **at, char **word)
{
    *word = *at;
    char *end = strchrnul(*at, ' ');
    *at = *end ? end + 1 : end;
    *end = '\0';
    return **word != '\0';
}

static bool take_count(char **at, size_t *out)
{
    char *word;
    if (!take_word(at, &word) || strlen(word) > COUNT_DIGITS ||
        word[strspn(word, "0123456789")] != '\0')
        return false;
    *out = strtoul(word, NULL, 10);
    return true;
}

static bool take_id(char **at, char out[33])
{
    char *word;
    if (!take_word(at, &word) || strlen(word) != 32 || strspn(word, "0123456789abcdef") != 32)
        return false;
    memcpy(out, word, 33);
    return true;
}

/* One line behind the first, without its end; false: it means nothing. */
static bool take_line(struct shards *s, char *line, size_t *end)
{
    struct shard_line l = { 0 };
    char *word, *rest = line;
    if (!take_word(&rest, &word))
        return false;
    if (strcmp(word, "sweep") == 0 && !s->sweep && *rest) {
        s->sweep = xstrdup(rest);
        return true;
    }
    if (strcmp(word, "shards") == 0)
        return take_count(&rest, &s->plain) && take_count(&rest, &s->late) &&
               take_count(&rest, &s->makers) && !*rest && s->plain + s->late <= SHARDS_ALL;
    if (strcmp(word, "end") == 0)
        return take_count(&rest, end) && !*rest && s->ncells + s->ntrainings == *end;
    bool cell = strcmp(word, "cell") == 0;
    if ((!cell && strcmp(word, "train") != 0) || !take_count(&rest, &l.shard) ||
        !take_id(&rest, l.id) || (cell && *rest && !take_id(&rest, l.training)) || *rest ||
        l.shard >= (cell ? s->plain + s->late : s->makers))
        return false;
    if (cell) {
        ARRAY_GROW(s->cells, s->cells_cap, s->ncells + 1);
        s->cells[s->ncells++] = l;
    } else {
        ARRAY_GROW(s->trainings, s->trainings_cap, s->ntrainings + 1);
        s->trainings[s->ntrainings++] = l;
    }
    return true;
}

int shards_read(struct shards *out, const char *path, struct buf *err)
{
    struct buf text = BUF_INIT;
    size_t number = 0, end = SIZE_MAX;
    int rc = read_file(path, MANIFEST_BYTES, &text, err);
    *out = (struct shards){ 0 };
    for (char *line = text.s, *next; rc == 0 && *line && end == SIZE_MAX; line = next) {
        next = strchrnul(line, '\n');
        if (*next)
            *next++ = '\0';
        if (number++ == 0 && strcmp(line, FIRST_LINE) != 0)
            rc = fail(err, "%s: is not a manifest of shards, which begins with \"" FIRST_LINE "\"",
                      path);
        else if (number > 1 && !take_line(out, line, &end))
            rc = fail(err, "%s:%zu: is not a line of a manifest of shards, or not all are there",
                      path, number);
    }
    if (rc == 0 && end == SIZE_MAX)
        rc = fail(err, "%s: is not a whole manifest of shards: its last line is missing", path);
    buf_release(&text);
    return rc;
}
