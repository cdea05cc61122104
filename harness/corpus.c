/*
 * corpus.c: see corpus.h.
 */
#include "corpus.h"

struct tokenizer *corpus_tokenizer(const struct sweep_model *m, struct buf *err)
{
    char *path = xasprintf("%s/tokenizer.json", m->dir);
    struct tokenizer *t = tokenizer_open(path, err);
    if (t && tokenizer_size(t) > m->config.vocab) {
        fail(err, "%s: it has %d tokens, and the model's vocabulary is %d", path, tokenizer_size(t),
             m->config.vocab);
        tokenizer_free(t);
        t = NULL;
    }
    free(path);
    return t;
}

int corpora_read(struct corpora *c, const struct sweep *s, struct buf *err)
{
    *c = (struct corpora){ .sweep = s, .len = s->nmodels * s->ntasks };
    c->v = xcalloc(c->len, sizeof(*c->v));
    for (size_t m = 0; m < s->nmodels; m++) {
        const struct sweep_model *model = &s->models[m];
        struct tokenizer *tokenizer = corpus_tokenizer(model, err);
        int rc = tokenizer ? 0 : -1;
        for (size_t t = 0; t < s->ntasks && rc == 0; t++) {
            struct corpus *to = &c->v[m * s->ntasks + t];
            to->model = model;
            to->task = &s->tasks[t];
            rc = documents_read(to->task, tokenizer, model->config.context, &to->documents, err);
        }
        tokenizer_free(tokenizer);
        if (rc)
            return -1;
    }
    return 0;
}

void corpora_release(struct corpora *c)
{
    for (size_t i = 0; i < c->len; i++)
        documents_release(&c->v[i].documents);
    free(c->v);
    *c = (struct corpora){ 0 };
}

const struct corpus *corpora_find(const struct corpora *c, const struct cell *cell)
{
    size_t model = (size_t)(cell->model - c->sweep->models);
    size_t task = (size_t)(cell->task - c->sweep->tasks);
    return &c->v[model * c->sweep->ntasks + task];
}

int corpora_truncated(const struct corpora *c)
{
    size_t n = 0, tasks = c->sweep->ntasks;
    for (size_t t = 0; t < tasks; t++) {
        size_t most = 0;
        for (size_t i = t; i < c->len; i += tasks)
            most = c->v[i].documents.truncated > most ? c->v[i].documents.truncated : most;
        n += most;
    }
    return (int)n;
}

int corpus_store_ids(const int32_t *ids, size_t n, const struct tokenizer *tokenizer,
                     const char *cell_id, bool *seen, struct store *store, struct buf *err)
{
    struct buf text = BUF_INIT;
    int rc = 0;
    for (size_t t = 0; t < n && rc == 0; t++) {
        if (seen[ids[t]] || !tokenizer_has(tokenizer, ids[t]))
            continue;
        seen[ids[t]] = true;
        buf_reset(&text);
        rc = tokenizer_decode(tokenizer, &ids[t], 1, &text, err);
        if (rc == 0)
            rc = store_token_text(store, cell_id, ids[t], text.s, text.len, err);
    }
    buf_release(&text);
    return rc;
}

int corpora_store_texts(const struct corpora *c, const struct cell *cell, struct store *store,
                        struct buf *err)
{
    struct tokenizer *tokenizer = corpus_tokenizer(cell->model, err);
    if (!tokenizer)
        return -1;
    bool *seen = xcalloc((size_t)cell->model->config.vocab, sizeof(*seen));
    int rc = store_begin(store, err);
    for (size_t i = 0; i < c->len && rc == 0; i++) {
        const struct documents *docs = &c->v[i].documents;
        for (size_t d = 0; d < docs->len && c->v[i].model == cell->model && rc == 0; d++)
            rc = corpus_store_ids(docs->v[d].ids.v, docs->v[d].ids.len, tokenizer, cell->id, seen,
                                  store, err);
    }
    if (rc == 0)
        rc = store_commit(store, err);
    if (rc)
        store_rollback(store);
    free(seen);
    tokenizer_free(tokenizer);
    return rc;
}
