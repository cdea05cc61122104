/*
 * generate.c: see generate.h. A thread's loop: fill empty slots from the queue, feed every text its
 * prompt or its last token, look at what was drawn. A text's last token is fed as well, so that the
 * token has its experts like any other.
 */
#include "generate.h"
#include "generate_text.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

/* Prompt tokens in one step: enough to keep a core busy, few enough to keep the others moving. */
enum { PREFILL_TOKENS = 1024 };

struct list {
    struct generation *first, **end;
};

struct generator {
    struct generator_spec spec;
    struct strings ends; /* the text of the model's end tokens */
    struct worker *workers;
    int nworkers;

    pthread_mutex_t lock;
    pthread_cond_t waiting_changed, done_changed;
    struct list waiting, done;
    int under_way;  /* put and not taken */
    int unfinished; /* put and not done */
    int batch;      /* texts in a thread's batch at most */
    bool end;       /* the threads shall */
};

/* A text in a slot. */
struct seat {
    struct generation *text; /* NULL: free */
    struct sampler sampler;
    int fed; /* tokens that the decoder has */
    struct written written;
    bool ended, alone; /* alone: a batch failed with it in, and now it is tried by itself */
    uint16_t *used;    /* [tokens, layers] */
    size_t cap;        /* tokens that the arrays have room for */
};

struct worker {
    struct generator *g;
    pthread_t thread;
    struct decoder *decoder; /* NULL: no memory was left for one, `why` */
    struct buf why;
    int slots;          /* that it has */
    struct seat *seats; /* [slots of the beginning], as what follows */
    struct feed *feeds;
    int *fed; /* the seat of each feed */
    struct scored scored;
    struct list again; /* texts to be tried alone */
};

void generation_release(struct generation *g)
{
    buf_release(&g->err);
    buf_release(&g->output);
    free(g->ids.v);
    free(g->nll);
    free(g->entropy);
    free(g->used);
    free(g->load_tokens);
    free(g->load_weight);
    g->ids = (struct ids){ 0 };
    g->nll = g->entropy = NULL;
    g->used = NULL;
    g->load_tokens = NULL;
    g->load_weight = NULL;
}

static void list_put(struct list *l, struct generation *t)
{
    t->next = NULL;
    *l->end = t;
    l->end = &t->next;
}

static struct generation *list_take(struct list *l)
{
    struct generation *t = l->first;
    l->first = t->next;
    if (!l->first)
        l->end = &l->first;
    return t;
}

/* ---- one text ---- */

/* Makes room for one more token in every array. */
static void seat_grow(struct seat *s, size_t layers)
{
    struct generation *t = s->text;
    if (t->ids.len < s->cap)
        return;
    s->cap = s->cap ? 2 * s->cap : 256;
    t->nll = xrealloc(t->nll, s->cap, sizeof(*t->nll));
    t->entropy = xrealloc(t->entropy, s->cap, sizeof(*t->entropy));
    s->used = xrealloc(s->used, s->cap * layers, sizeof(*s->used));
}

static void seat_push(struct seat *s, int32_t id, float nll, size_t layers)
{
    seat_grow(s, layers);
    s->text->nll[s->text->ids.len] = nll;
    ids_push(&s->text->ids, id);
}

/* A text takes its place, from its beginning. */
static void seat_begin(struct worker *w, struct seat *s, struct generation *t, bool alone)
{
    const struct model_config *c = w->g->spec.config;
    size_t loads = (size_t)c->layers * (size_t)c->experts;
    generation_release(t);
    buf_init(&t->err);
    buf_init(&t->output);
    t->rc = 0;
    t->seconds = 0;
    *s = (struct seat){ .text = t, .alone = alone };
    written_init(&s->written);
    s->sampler = (struct sampler){ t->decoding->temperature, t->decoding->top_p, t->seed };
    for (int i = 0; i < t->prompt_tokens; i++)
        seat_push(s, t->prompt[i], NAN, (size_t)c->layers);
    t->load_tokens = xcalloc(loads, sizeof(*t->load_tokens));
    t->load_weight = xcalloc(loads, sizeof(*t->load_weight));
    if (w->decoder)
        w->g->spec.engine->decoder_begin(w->decoder, (int)(s - w->seats), t->router, &t->args);
}

/* What the text has come to: [tokens, layers] becomes [layers, tokens]. */
static void seat_end(struct worker *w, struct seat *s)
{
    struct generation *t = s->text;
    size_t layers = (size_t)w->g->spec.config->layers, T = t->ids.len;
    t->used = xmalloc(layers * T * sizeof(*t->used));
    for (size_t i = 0; i < T && !t->rc; i++)
        for (size_t l = 0; l < layers; l++)
            t->used[l * T + i] = s->used[i * layers + l];
    utf8_clean(s->written.shown.s, s->written.shown.len, &t->output);
    written_release(&s->written);
    free(s->used);
    *s = (struct seat){ 0 };
}

/* Looks at the token that was drawn: does the text end with it? */
static void seat_read(const struct generator *g, struct seat *s, int32_t id)
{
    struct generation *t = s->text;
    s->ended = true;
    t->stop = STOP_EOS;
    for (int i = 0; i < g->spec.config->neos && !t->decoding->past_end; i++)
        if (id == g->spec.config->eos[i])
            return;
    written_add(&s->written, g->spec.tokenizer, id);
    if (written_stop(&s->written, &t->decoding->stop,
                     t->decoding->stop_at_end_text ? &g->ends : NULL)) {
        t->stop = STOP_STRING;
    } else if ((int)t->ids.len - t->prompt_tokens == t->decoding->max_tokens) {
        t->stop = STOP_LENGTH;
    } else if ((int)t->ids.len == g->spec.capacity) { // which is the context's at most
        t->stop = STOP_CONTEXT;
    } else {
        s->ended = false;
    }
}

/* Takes what a step found of the tokens that were fed, and the token that was drawn. */
static void seat_keep(struct worker *w, struct seat *s, const struct feed *f, int sequence)
{
    const struct scored *found = &w->scored;
    struct generation *t = s->text;
    size_t layers = (size_t)found->layers, loads = layers * (size_t)found->experts;
    int from = found->start[sequence];
    for (int i = 0; i < f->tokens; i++) {
        size_t at = (size_t)s->fed + (size_t)i;
        if (i > 0)
            t->nll[at] = found->nll[from + i];
        t->entropy[at] = found->entropy[from + i];
        for (size_t l = 0; l < layers; l++)
            s->used[at * layers + l] = found->used[l * (size_t)found->tokens + (size_t)(from + i)];
    }
    for (size_t i = 0; i < loads; i++) {
        t->load_tokens[i] += found->load_tokens[(size_t)sequence * loads + i];
        t->load_weight[i] += found->load_weight[(size_t)sequence * loads + i];
    }
    s->fed += f->tokens;
    if (f->sampler) {
        seat_push(s, f->next, f->next_nll, layers);
        seat_read(w->g, s, f->next);
    }
}

/* ---- a thread's batch ---- */

static int taken(const struct worker *w)
{
    int n = 0;
    for (int i = 0; i < w->g->spec.slots; i++)
        n += w->seats[i].text != NULL;
    return n;
}

static void put_done(struct generator *g, struct generation *t)
{
    pthread_mutex_lock(&g->lock);
    list_put(&g->done, t);
    g->unfinished--;
    pthread_cond_signal(&g->done_changed);
    pthread_mutex_unlock(&g->lock);
}

static void hand_back(struct worker *w, struct seat *s)
{
    struct generation *t = s->text;
    seat_end(w, s);
    put_done(w->g, t);
}

int generator_batch(struct generator *g)
{
    pthread_mutex_lock(&g->lock);
    int batch = g->batch;
    pthread_mutex_unlock(&g->lock);
    return batch;
}

/* The next text that waits; NULL: none does, or this thread has its share. busy: texts it has */
static struct generation *next_text(struct generator *g, int busy)
{
    struct generation *t = NULL;
    pthread_mutex_lock(&g->lock);
    while (!busy && !g->waiting.first && !g->end)
        pthread_cond_wait(&g->waiting_changed, &g->lock);
    if (g->waiting.first && busy < (g->unfinished + g->nworkers - 1) / g->nworkers)
        t = list_take(&g->waiting);
    pthread_mutex_unlock(&g->lock);
    return t;
}

/* Fills free seats from the queue; waits where there is nothing else to do. false: all is over. */
static bool fill(struct worker *w)
{
    int busy = taken(w), prompts = 0;
    // One that is tried again has the batch to itself.
    if (w->again.first && busy == 0) {
        seat_begin(w, &w->seats[0], list_take(&w->again), true);
        return true;
    }
    if (w->again.first || (busy && w->seats[0].alone))
        return true;
    for (int i = 0; i < w->slots && prompts < PREFILL_TOKENS; i++) {
        if (w->seats[i].text || busy >= generator_batch(w->g))
            continue;
        struct generation *t = next_text(w->g, busy);
        if (!t)
            break;
        prompts += t->prompt_tokens;
        seat_begin(w, &w->seats[i], t, false);
        busy++;
    }
    return busy > 0;
}

/* Every text of this thread comes out as it is, with `why`. */
static void give_up(struct worker *w, const char *why)
{
    for (int i = 0; i < w->g->spec.slots; i++)
        if (w->seats[i].text) {
            w->seats[i].text->rc = fail(&w->seats[i].text->err, "%s", why);
            hand_back(w, &w->seats[i]);
        }
    while (w->again.first) {
        struct generation *t = list_take(&w->again);
        t->rc = fail(&t->err, "%s", why);
        put_done(w->g, t);
    }
}

static int make_feeds(struct worker *w)
{
    int n = 0;
    for (int i = 0; i < w->g->spec.slots; i++) {
        struct seat *s = &w->seats[i];
        if (!s->text)
            continue;
        w->fed[n] = i;
        w->feeds[n++] = (struct feed){ .slot = i,
                                       .ids = s->text->ids.v + s->fed,
                                       .tokens = (int)s->text->ids.len - s->fed,
                                       .sampler = s->ended ? NULL : &s->sampler };
    }
    return n;
}

/* A decoder of so many slots, or, where there is no memory for it, of fewer. */
static void open_decoder(struct worker *w, int slots)
{
    const struct generator_spec *s = &w->g->spec;
    s->engine->decoder_close(w->decoder);
    for (w->slots = slots;; w->slots /= 2) {
        buf_reset(&w->why);
        w->decoder = s->engine->decoder_open(s->model, w->slots, s->capacity, &w->why);
        if (w->decoder || w->slots == 1 || !says_out_of_memory(w->why.s))
            return;
    }
}

/* There was no memory for the step: all texts wait again, to be written fewer at a time, with fewer
 * texts' keys and values in memory. */
static void halve(struct worker *w, int n)
{
    struct generator *g = w->g;
    open_decoder(w, n > 1 ? n / 2 : 1);
    pthread_mutex_lock(&g->lock);
    if (g->batch > w->slots)
        g->batch = w->slots;
    for (int i = 0; i < n; i++) {
        struct seat *s = &w->seats[w->fed[i]];
        list_put(&g->waiting, s->text);
        written_release(&s->written);
        free(s->used);
        *s = (struct seat){ 0 };
    }
    pthread_cond_broadcast(&g->waiting_changed);
    pthread_mutex_unlock(&g->lock);
}

/* The texts of a batch that failed are tried alone; one that fails alone has failed. */
static void failed(struct worker *w, int n, const struct buf *err)
{
    for (int i = 0; i < n; i++) {
        struct seat *s = &w->seats[w->fed[i]];
        if (n == 1) {
            s->text->rc = fail(&s->text->err, "%s", err->s);
            hand_back(w, s);
            continue;
        }
        list_put(&w->again, s->text);
        written_release(&s->written);
        free(s->used);
        *s = (struct seat){ 0 };
    }
}

static void step(struct worker *w)
{
    struct buf err = BUF_INIT;
    double from = now_seconds();
    int n = make_feeds(w);
    int rc = w->g->spec.engine->decode(w->decoder, w->feeds, n, &w->scored, &err);
    double share = (now_seconds() - from) / n;
    if (rc && w->slots > 1 && says_out_of_memory(err.s))
        halve(w, n);
    else if (rc)
        failed(w, n, &err);
    for (int i = 0; i < n && rc == 0; i++) {
        struct seat *s = &w->seats[w->fed[i]];
        bool last = s->ended;
        s->text->seconds += share;
        seat_keep(w, s, &w->feeds[i], i);
        if (last)
            hand_back(w, s);
    }
    buf_release(&err);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    while (fill(w)) {
        if (w->g->spec.stopped && w->g->spec.stopped())
            give_up(w, "stopped");
        else if (!w->decoder)
            give_up(w, w->why.s);
        else
            step(w);
    }
    return NULL;
}

/* ---- the generator ---- */

static int worker_init(struct generator *g, struct worker *w, struct buf *err)
{
    w->g = g;
    w->again.end = &w->again.first;
    w->seats = xcalloc((size_t)g->spec.slots, sizeof(*w->seats));
    w->feeds = xcalloc((size_t)g->spec.slots, sizeof(*w->feeds));
    w->fed = xcalloc((size_t)g->spec.slots, sizeof(*w->fed));
    buf_init(&w->why);
    w->slots = g->spec.slots;
    w->decoder = g->spec.engine->decoder_open(g->spec.model, w->slots, g->spec.capacity, err);
    if (!w->decoder)
        return -1;
    int rc = pthread_create(&w->thread, NULL, work, w);
    return rc ? fail(err, "no thread could be started: %s", strerror(rc)) : 0;
}

static void worker_release(struct worker *w)
{
    w->g->spec.engine->decoder_close(w->decoder);
    scored_release(&w->scored);
    buf_release(&w->why);
    free(w->seats);
    free(w->feeds);
    free(w->fed);
}

/* Ids beyond the tokenizer's have no text. */
static void find_ends(struct generator *g)
{
    struct buf text = BUF_INIT, err = BUF_INIT;
    for (int i = 0; i < g->spec.config->neos; i++) {
        if (!tokenizer_has(g->spec.tokenizer, g->spec.config->eos[i]))
            continue;
        buf_reset(&text);
        if (tokenizer_decode(g->spec.tokenizer, &g->spec.config->eos[i], 1, &text, &err))
            BUG("%s", err.s);
        strings_add(&g->ends, text.s);
    }
    buf_release(&text);
}

struct generator *generator_new(const struct generator_spec *spec, struct buf *err)
{
    struct generator *g = xcalloc(1, sizeof(*g));
    g->spec = *spec;
    g->batch = spec->slots;
    if (g->spec.capacity > spec->config->context)
        g->spec.capacity = spec->config->context;
    find_ends(g);
    g->waiting.end = &g->waiting.first;
    g->done.end = &g->done.first;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->waiting_changed, NULL);
    pthread_cond_init(&g->done_changed, NULL);
    g->workers = xcalloc((size_t)spec->threads, sizeof(*g->workers));
    for (; g->nworkers < spec->threads; g->nworkers++)
        if (worker_init(g, &g->workers[g->nworkers], err)) {
            worker_release(&g->workers[g->nworkers]);
            generator_free(g);
            return NULL;
        }
    return g;
}

void generator_free(struct generator *g)
{
    if (!g)
        return;
    pthread_mutex_lock(&g->lock);
    if (g->under_way)
        BUG("%d texts are under way", g->under_way);
    g->end = true;
    pthread_cond_broadcast(&g->waiting_changed);
    pthread_mutex_unlock(&g->lock);
    for (int i = 0; i < g->nworkers; i++) {
        pthread_join(g->workers[i].thread, NULL);
        worker_release(&g->workers[i]);
    }
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->waiting_changed);
    pthread_cond_destroy(&g->done_changed);
    strings_release(&g->ends);
    free(g->workers);
    free(g);
}

void generator_put(struct generator *g, struct generation *text)
{
    if (text->prompt_tokens < 1 || text->prompt_tokens >= g->spec.capacity ||
        text->decoding->max_tokens < 1)
        BUG("a prompt of %d tokens where %d have room", text->prompt_tokens, g->spec.capacity);
    pthread_mutex_lock(&g->lock);
    list_put(&g->waiting, text);
    g->under_way++;
    g->unfinished++;
    pthread_cond_signal(&g->waiting_changed);
    pthread_mutex_unlock(&g->lock);
}

struct generation *generator_take(struct generator *g)
{
    struct generation *t = NULL;
    pthread_mutex_lock(&g->lock);
    if (g->under_way) {
        while (!g->done.first)
            pthread_cond_wait(&g->done_changed, &g->lock);
        t = list_take(&g->done);
        g->under_way--;
    }
    pthread_mutex_unlock(&g->lock);
    return t;
}
