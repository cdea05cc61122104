/*
 * prune.c: see prune.h. The loads are those that scoring counts; the folder is made as a trained
 * model's is, under the name ID.pruned.
 */
#include "train/prune.h"

#include "json.h"
#include "train/checkpoint.h"
#include "train/lesson_order.h"
#include "train/pieces.h"
#include "train/prune_weights.h"

#include <string.h>

enum { MAX_JSON = 64 * 1000 * 1000 };

/* What was counted, and what follows from it. */
struct counted {
    int layers, N, left;
    int64_t texts, tokens;
    int64_t *load; /* [layers, N] */
    int *kept;     /* [layers, left] */
};

void prune_keep(const int64_t *load, int N, int left, int *kept)
{
    int n = 0;
    for (int e = 0; e < N; e++) {
        int better = 0;
        for (int other = 0; other < N; other++)
            better += load[other] > load[e] || (load[other] == load[e] && other < e);
        if (better < left)
            kept[n++] = e;
    }
}

/* ---- loads ---- */

static void add_loads(struct counted *c, const struct scored *s)
{
    const size_t each = (size_t)c->layers * (size_t)c->N;
    for (size_t i = 0; i < (size_t)s->nsequences * each; i++)
        c->load[i % each] += s->load_tokens[i];
}

/* The training's first lessons, as many as there are or as `texts` says. */
static const struct lesson **first_lessons(const struct train_task *task, struct counted *c)
{
    const struct lessons *l = task->lessons;
    struct lesson_order order;
    c->texts = task->training->prune_texts;
    if (c->texts > (int64_t)l->len)
        c->texts = (int64_t)l->len;
    const struct lesson **lessons = xcalloc((size_t)c->texts, sizeof(*lessons));
    lesson_order_init(&order, l, task->training->seed);
    for (int64_t i = 0; i < c->texts; i++)
        lessons[i] = lesson_order_at(&order, i);
    lesson_order_release(&order);
    return lessons;
}

static int count_loads(const struct train_task *task, const struct engine *engine,
                       const struct weights *w, bool (*stop)(void), struct counted *c,
                       bool *stopped, struct buf *err)
{
    const struct router_args args = { .K = w->config.top_k, .N = c->N };
    const struct lesson **lessons = first_lessons(task, c);
    struct pieces p;
    pieces_make(&p, lessons, (int)c->texts, &router_topk, &args, task->training->micro_tokens);
    c->tokens = p.tokens;
    struct model *m = engine->open(w, task->device, task->training->dtype, err);
    int rc = m ? 0 : -1;
    for (int i = 0; i < p.n && rc == 0 && !*stopped; i++) {
        struct scored scored = { 0 };
        rc = engine->score(m, &p.v[i].batch, &scored, err);
        if (rc == 0)
            add_loads(c, &scored);
        scored_release(&scored);
        *stopped = stop && stop();
    }
    if (m)
        engine->close(m);
    pieces_release(&p);
    free(lessons);
    return rc;
}

/* ---- the folder ---- */

static void add_numbers(struct buf *out, const char *key, const struct counted *c, bool loads)
{
    const int each = loads ? c->N : c->left;
    buf_addf(out, ",\"%s\":[", key);
    for (int i = 0; i < c->layers * each; i++)
        buf_addf(out, "%s%lld%s",
                 i % each ? ","
                 : i      ? ",["
                          : "[",
                 loads ? (long long)c->load[i] : (long long)c->kept[i],
                 i % each == each - 1 ? "]" : "");
    buf_addc(out, ']');
}

static int write_folder(const struct train_task *task, const struct weights *w,
                        const struct counted *c, const char *id, struct buf *err)
{
    struct prune_weights p;
    struct buf about = BUF_INIT;
    buf_adds(&about, "{\"share\":");
    real_text(task->training->prune, &about);
    buf_addf(&about, ",\"experts\":%d,\"left\":%d,\"K\":%d,\"texts\":%lld,\"tokens\":%lld", c->N,
             c->left, w->config.top_k, (long long)c->texts, (long long)c->tokens);
    add_numbers(&about, "load", c, true);
    add_numbers(&about, "kept", c, false);
    buf_addc(&about, '}');
    prune_weights_init(&p, w, c->kept, c->left);
    const struct checkpoint_model m = { .base = task->base,
                                        .experts = c->left,
                                        .tensors = p.tensors,
                                        .ntensors = p.n,
                                        .get = prune_weights_get,
                                        .of = &p,
                                        .dtype = p.dtype,
                                        .about = about.s };
    int rc = checkpoint_publish(task->root, id, &m, err);
    prune_weights_release(&p);
    buf_release(&about);
    return rc;
}

static int make_folder(const struct train_task *task, const struct engine *engine,
                       bool (*stop)(void), const char *id, bool *stopped, struct buf *err)
{
    struct weights *w = weights_open(task->base, err);
    if (!w)
        return -1;
    struct counted c = { .layers = w->config.layers, .N = w->config.experts };
    c.left = training_experts(task->training, c.N);
    c.load = xcalloc((size_t)c.layers * (size_t)c.N, sizeof(*c.load));
    c.kept = xcalloc((size_t)c.layers * (size_t)c.left, sizeof(*c.kept));
    int rc = count_loads(task, engine, w, stop, &c, stopped, err);
    if (rc == 0 && !*stopped) {
        for (int i = 0; i < c.layers; i++)
            prune_keep(c.load + (size_t)i * (size_t)c.N, c.N, c.left,
                       c.kept + (size_t)i * (size_t)c.left);
        rc = write_folder(task, w, &c, id, err);
    }
    free(c.load);
    free(c.kept);
    weights_close(w);
    return rc;
}

int prune_base(const struct train_task *task, const struct engine *engine, bool (*stop)(void),
               struct buf *dir, bool *stopped, struct buf *err)
{
    char *id = xasprintf("%s.pruned", task->id);
    bool found = false;
    *stopped = false;
    int rc = checkpoint_find(task->root, id, &found, dir, err);
    if (rc == 0 && !found)
        rc = make_folder(task, engine, stop, id, stopped, err);
    free(id);
    return rc;
}

int prune_about(const char *about, const char *dir, struct buf *out, struct buf *err)
{
    char *path = xasprintf("%s/training.json", dir);
    json_t *folder = json_read_file(path, MAX_JSON, err);
    json_t *all = folder ? json_parse(about, strlen(about), "what made the model", 0, err) : NULL;
    int rc = all ? 0 : -1;
    if (rc == 0) {
        json_object_set(all, "pruned", json_object_get(folder, "made_by"));
        char *text = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(17));
        if (!text)
            BUG("an object could not be written as JSON");
        buf_adds(out, text);
        free(text);
    }
    json_decref(all);
    json_decref(folder);
    free(path);
    return rc;
}
