/*
 * sweep_training.c: see sweep_training.h. Like a cell's, an identity is written out as text and then
 * hashed.
 */
#include "recipe/sweep_training.h"
#include "recipe/cell.h"

#include <jansson.h>
#include <string.h>

/* The words of seqtopk's parameters go back to their defaults: mode global, no other prefill. */
static void train_globally(const struct router *r, struct router_args *args)
{
    for (const struct router_param *p = r->params; r == &router_seqtopk && p->name; p++)
        if (p->choices)
            *(int *)((char *)args + p->offset) = p->def.c;
}

int training_cell_args(const struct recipe_train *said, const struct recipe_router *r, int K,
                       const struct sweep_model *model, struct router_args *args, struct buf *err)
{
    struct sweep_model left = *model;
    if (!said->trains || !(said->how.prune > 0))
        return cell_args(r, K, model, args, err);
    left.config.experts = training_experts(&said->how, model->config.experts);
    left.name = xasprintf("%s with %d experts left", model->name, left.config.experts);
    int rc = cell_args(r, K, &left, args, err);
    free(left.name);
    return rc;
}

/* Experts are lost, and as many are left as the model and K take. */
static int check_prune(const struct sweep_training *t, int K, struct buf *err)
{
    const struct model_config *c = &t->model->config;
    const struct lua_place *at = &t->said->at;
    const int left = training_experts(&t->how, c->experts);
    struct buf share = BUF_INIT;
    int rc = 0;
    if (!(t->how.prune > 0))
        return 0;
    real_text(t->how.prune, &share);
    if (left == c->experts)
        rc = place_fail(at, "prune", err,
                        "a share of %s is none of the %d experts of model %s; allowed is %.4g or "
                        "more",
                        share.s, c->experts, t->model->name, 1.0 / c->experts);
    else if (left < c->top_k)
        rc = place_fail(at, "prune", err,
                        "a share of %s leaves %d of the %d experts of model %s, whose tokens take "
                        "%d; allowed is %d or more",
                        share.s, left, c->experts, t->model->name, c->top_k, c->top_k);
    else if (K > left)
        rc = place_fail(at, "prune", err,
                        "K = %d is above the %d experts that a share of %s leaves of the %d of "
                        "model %s",
                        K, left, share.s, c->experts, t->model->name);
    buf_release(&share);
    return rc;
}

static int router_args(const struct recipe_train *said, const struct recipe_router *r, int K,
                       const struct sweep_model *model, struct router_args *args, struct buf *err)
{
    if (training_cell_args(said, r, K, model, args, err) != 0)
        return -1;
    if (!said->routed)
        train_globally(r->router, args);
    return 0;
}

/* The arguments at each K that is drawn. */
static int draw_args(const struct recipe_router *r, struct sweep_training *t, struct buf *err)
{
    const struct lua_place *at = &t->said->at;
    if (t->router->ignores_k || t->router->learns)
        return place_fail(at, "matryoshka", err, "router %s %s", t->router->name,
                          t->router->learns
                              ? "learns its cutoffs with one K; allowed is no matryoshka"
                              : "does not heed K, and so nothing could be drawn");
    for (int i = 0; i < t->how.nmatryoshka; i++) {
        int K = t->how.matryoshka[i];
        if (check_prune(t, K, err) != 0)
            return -1;
        if (K > t->model->config.experts)
            return place_fail(at, "matryoshka", err,
                              "K = %d is above N = %d, the experts of model %s", K,
                              t->model->config.experts, t->model->name);
        if (router_args(t->said, r, K, t->model, &t->drawn[i], err) != 0)
            return -1;
    }
    t->args = t->drawn[0];
    return 0;
}

/* Mode online can stand in for mode global alone. */
static int check_online(const struct sweep_training *t, struct buf *err)
{
    const char *mode = router_mode(t->router, &t->args);
    if (!t->how.online_anneal && !(t->how.online > 0))
        return 0;
    if (t->router == &router_seqtopk && t->args.mode == SEQTOPK_GLOBAL)
        return 0;
    return place_fail(&t->said->at, "online", err,
                      "the model trains with %s%s%s; allowed is seqtopk in mode global alone, such "
                      "as router = seqtopk { max = K + 2 }",
                      t->router->name, *mode ? " in mode " : "", mode);
}

static int set_length(struct sweep_training *t, struct buf *err)
{
    int context = t->model->config.context;
    if (!t->how.length)
        t->how.length = context < LENGTH_DEFAULT ? context : LENGTH_DEFAULT;
    if (t->how.length > context)
        return place_fail(&t->said->at, "length", err,
                          "%d; allowed is 2 to the %d positions of model %s", t->how.length,
                          context, t->model->name);
    return 0;
}

int training_resolve(struct recipe_train *said, const struct recipe_router *cell, int K,
                     const struct sweep_model *model, struct sweep_training *t, struct buf *err)
{
    struct recipe_router topk = { .router = &router_topk, .at = said->at };
    const struct recipe_router *r = said->routed ? &said->router : cell ? cell : &topk;
    *t = (struct sweep_training){
        .model = model, .said = said, .how = said->how, .router = r->router
    };
    if (set_length(t, err) != 0 || check_prune(t, r->router->ignores_k ? 1 : K, err) != 0)
        return -1;
    if (t->how.nmatryoshka ? draw_args(r, t, err) : router_args(said, r, K, model, &t->args, err))
        return -1;
    return check_online(t, err);
}

void training_identify(struct sweep_training *t, const char *device)
{
    struct buf text = BUF_INIT;
    buf_addf(&text, "seqtopk training, numerics %d\n", NUMERICS_VERSION);
    model_identity(t->model, &text);
    // The weights' hash has config.json. The first of its end tokens stands behind each text.
    if (t->model->config.eos_apart)
        buf_addf(&text, "end %d\n", t->model->config.neos ? t->model->config.eos[0] : -1);
    if (!t->how.nmatryoshka)
        router_identity(t->router, &t->args, &text);
    for (int i = 0; i < t->how.nmatryoshka; i++)
        router_identity(t->router, &t->drawn[i], &text);
    training_identity(&t->how, &text);
    buf_addf(&text, "device %.*s\n", (int)strcspn(device, ":"), device);
    struct hash *h = hash_new();
    hash_adds(h, text.s);
    lesson_data_hash(h, &t->said->data);
    hash_hex(h, t->id);
    hash_free(h);
    buf_release(&text);
}

void training_label(const struct sweep_training *t, struct buf *out)
{
    if (t->said->name) {
        buf_adds(out, t->said->name);
        return;
    }
    buf_adds(out, t->said->pretrains ? "pretrain " : "sft ");
    lesson_data_label(&t->said->data, out);
    buf_addc(out, ' ');
    training_changes(t->said, out);
}

/* A text as JSON has it. */
static void add_string(const char *text, struct buf *out)
{
    json_t *string = json_string(text);
    char *json = json_dumps(string, JSON_ENCODE_ANY);
    buf_adds(out, json ? json : "null");
    free(json);
    json_decref(string);
}

void training_about(const struct sweep_training *t, const char *device, struct buf *out)
{
    struct buf data = BUF_INIT;
    char data_hash[33];
    struct hash *h = hash_new();
    lesson_data_hash(h, &t->said->data);
    hash_hex(h, data_hash);
    hash_free(h);
    lesson_data_label(&t->said->data, &data);
    buf_addf(out, "{\"training\":\"%s\",\"numerics\":%d,\"model\":", t->id, NUMERICS_VERSION);
    add_string(t->model->name, out);
    buf_addf(out, ",\"weights\":\"%s\",\"tokenizer\":\"%s\",\"data\":", t->model->weights_hash,
             t->model->tokenizer_hash);
    add_string(data.s, out);
    buf_addf(out, ",\"data_hash\":\"%s\",\"router\":\"%s\",\"K\":%d,\"params\":", data_hash,
             t->router->name, t->args.K);
    router_params_json(t->router, &t->args, out);
    buf_addf(out, ",\"device\":\"%.*s\",\"settings\":{", (int)strcspn(device, ":"), device);
    training_json(&t->how, out);
    buf_adds(out, "}}");
    buf_release(&data);
}
