/*
 * provenance.c: see provenance.h.
 */
#include "provenance.h"

#include "machine.h"
#include "program.h"
#include "recipe/recipe_train.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { ID_BYTES = 16 };

/* ---- the run ---- */

static void add_word(const char *word, struct buf *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789-_./:,=+@%";
    struct buf text = BUF_INIT;
    buf_addc(out, ' ');
    // Names of files may be no text, and the database takes only text.
    utf8_clean(word, strlen(word), &text);
    if (text.len && text.s[strspn(text.s, plain)] == '\0') {
        buf_adds(out, text.s);
    } else {
        buf_addc(out, '\'');
        for (const char *c = text.s; *c; c++)
            *c == '\'' ? buf_adds(out, "'\\''") : buf_addc(out, *c);
        buf_addc(out, '\'');
    }
    buf_release(&text);
}

void provenance_command(int argc, char **argv, struct buf *out)
{
    buf_adds(out, "seqtopk");
    for (int i = 0; i < argc; i++)
        add_word(argv[i], out);
}

/* Where the system has no random numbers to give, no two runs begin in the same moment. */
static void make_id(char id[33])
{
    unsigned char random[ID_BYTES];
    size_t have = 0;
    while (have < ID_BYTES) {
        ssize_t n = getrandom(random + have, ID_BYTES - have, 0);
        if (n > 0)
            have += (size_t)n;
        else if (errno != EINTR)
            BUG("getrandom: %s", strerror(errno));
    }
    for (size_t i = 0; i < ID_BYTES; i++)
        snprintf(id + 2 * i, 3, "%02x", random[i]);
}

void provenance_init(struct provenance *p, const char *sweep, const char *command)
{
    *p = (struct provenance){
        .from = now_seconds(), .sweep = xstrdup(sweep), .command = xstrdup(command), .processes = 1
    };
    make_id(p->id);
}

void provenance_release(struct provenance *p)
{
    for (size_t i = 0; i < p->ncells; i++) {
        free((char *)p->plan[i].label);
        free((char *)p->plan[i].train);
    }
    free(p->plan);
    free(p->cells);
    free(p->sweep);
    free(p->command);
    free(p->shard);
    *p = (struct provenance){ 0 };
}

/* ---- the plan ---- */

void provenance_plan(struct provenance *p, const struct sweep *s)
{
    p->ncells = s->ncells;
    p->cells = xcalloc(s->ncells + 1, sizeof(*p->cells));
    p->plan = xcalloc(s->ncells + 1, sizeof(*p->plan));
    for (size_t i = 0; i < s->ncells; i++) {
        struct cell *c = &p->cells[i];
        struct buf label = BUF_INIT;
        *c = s->cells[i];
        router_label(c->router, &c->args, &label);
        p->plan[i] = (struct store_plan){ .id = c->id,
                                          .model = c->model->name,
                                          .label = buf_detach(&label),
                                          .train = xstrdup(c->train),
                                          .task = c->task->name,
                                          .k = c->args.K };
        // With another shard's cells go the trainings that only they need.
        c->training = NULL;
        c->train = p->plan[i].train;
    }
}

/* Tokens that the cell comes to, if each text is written to its end. */
static int64_t planned_tokens(const struct cell *c, const struct documents *d)
{
    int64_t context = c->model->config.context, all = 0;
    bool writes = task_generates(c->task);
    for (size_t i = 0; i < d->len; i++) {
        int64_t tokens = (int64_t)d->v[i].ids.len;
        tokens += writes ? c->task->decoding.max_tokens : 0;
        all += writes && tokens > context ? context : tokens;
    }
    return all;
}

static int write_plan(const struct provenance *p, struct store *store,
                      const struct corpora *corpora, struct buf *err)
{
    for (size_t i = 0; i < p->ncells; i++) {
        const struct documents *d = &corpora_find(corpora, &p->cells[i])->documents;
        p->plan[i].samples = (int64_t)d->len;
        p->plan[i].tokens = planned_tokens(&p->cells[i], d);
    }
    return store_plan_set(store, p->plan, p->ncells, err);
}

/* ---- in the database ---- */

int provenance_begin(const struct provenance *p, struct store *store, const struct recipe *recipe,
                     const struct corpora *corpora, const char *device, struct buf *err)
{
    struct buf processor = BUF_INIT, host = BUF_INIT;
    machine_processor(&processor);
    machine_host(&host);
    const struct store_run run = { .id = p->id,
                                   .from = p->from,
                                   .sweep = p->sweep,
                                   .command = p->command,
                                   .version = program_version,
                                   .revision = program_revision,
                                   .device = strcmp(device, "cpu") == 0 ? processor.s : "",
                                   .host = host.s,
                                   .shard = p->shard,
                                   .recipe_path = recipe ? recipe->path : NULL,
                                   .recipe_text = recipe ? recipe->text.s : NULL };
    int rc = store_begin(store, err);
    if (rc == 0)
        rc = store_run_begin(store, &run, err);
    if (rc == 0 && p->plan)
        rc = write_plan(p, store, corpora, err);
    if (rc == 0)
        rc = store_commit(store, err);
    if (rc)
        store_rollback(store);
    buf_release(&processor);
    buf_release(&host);
    return rc;
}

int provenance_join(const struct provenance *p, struct store *store, struct buf *err)
{
    return store_run_join(store, p->id, p->from, err);
}

int provenance_engine(struct store *store, const struct engine *engine, struct device device,
                      struct buf *err)
{
    struct torch_info info = engine->info();
    struct buf name = BUF_INIT, driver = BUF_INIT;
    if (device.kind != DEVICE_CPU) {
        machine_gpu(device.index, &name);
        buf_addf(&name, "%scuda:%d", name.len ? ", " : "", device.index);
        machine_driver(&driver);
    }
    int rc = store_run_engine(store, info.version, info.blas, name.s, driver.s, err);
    buf_release(&name);
    buf_release(&driver);
    return rc;
}

void provenance_end(struct store *store, enum outcome_of_run outcome)
{
    static const char *const words[] = {
        [RUN_DONE] = "done", [RUN_FAILED] = "failed", [RUN_INTERRUPTED] = "interrupted"
    };
    struct buf ignored = BUF_INIT;
    if (store_run_end(store, words[outcome], &ignored))
        buf_reset(&ignored); // what was measured is there, and why nothing more can be was said
    buf_release(&ignored);
}

/* ---- what a cell was made of ---- */

struct sources {
    struct store_source *v;
    size_t len, cap;
};

static void add_source(struct sources *s, const char *kind, const char *name, const char *hash)
{
    ARRAY_GROW(s->v, s->cap, s->len + 1);
    s->v[s->len++] = (struct store_source){ kind, name, hash };
}

/* Data that were made, not read, go by the name of what they are for. */
static void add_lessons(struct sources *s, const struct sweep_training *t)
{
    const struct lesson_data *d = &t->said->data;
    for (size_t i = 0; i < d->hashes.len; i++)
        add_source(s, "training data", i < d->paths.len ? d->paths.v[i] : d->name, d->hashes.v[i]);
}

int provenance_cell(struct store *store, const struct cell *c, struct buf *err)
{
    const struct task *t = c->task;
    struct sources all = { 0 };
    add_source(&all, "weights", c->model->name, c->model->weights_hash);
    add_source(&all, "tokenizer", c->model->name, c->model->tokenizer_hash);
    add_source(&all, "data", t->file ? t->file : t->name, t->data_hash);
    if (t->shots_file && t->shots_hash[0])
        add_source(&all, "data", t->shots_file, t->shots_hash);
    if (c->training) {
        add_source(&all, "trained weights", c->train, c->training->id);
        add_lessons(&all, c->training);
    }
    int rc = store_cell_sources(store, c->id, all.v, all.len, err);
    free(all.v);
    return rc;
}
