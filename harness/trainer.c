/*
 * trainer.c: see trainer.h. The modules are those that score, with parameters that have gradients in
 * the place of theirs.
 */
#include "trainer.h"
#include "model_impl.h"
#include "torch_train.h"

#include "routers/select.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

struct trainer {
    struct model *model;
    struct adamw *adamw;
    struct scope *scope; /* owns the parameters */
    struct trainer_tensor *tensors;
    size_t ntensors;
    int64_t count;
    int route_threads; /* for each piece's routers: of a GPU's host, whose cores are idle */
};

/* ---- opening ---- */

static bool is_trained(const char *parameter, int only)
{
    switch ((enum train_only)only) {
    case TRAIN_ALL:
        return true;
    case TRAIN_ROUTER:
        return strcmp(parameter, "router") == 0;
    case TRAIN_EXPERTS:
        return strcmp(parameter, "gate_up") == 0 || strcmp(parameter, "down") == 0;
    }
    BUG("train_only %d", only);
}

/* The tensors of the files in the order of the parameters that they make up. */
static void list_tensors(struct trainer *t, const struct parameters *ps)
{
    for (size_t i = 0; i < ps->len; i++)
        t->ntensors += (size_t)ps->v[i].nparts;
    t->tensors = xcalloc(t->ntensors, sizeof(*t->tensors));
    struct trainer_tensor *to = t->tensors;
    for (size_t i = 0; i < ps->len; i++)
        for (int j = 0; j < ps->v[i].nparts; j++, to++) {
            const struct st_tensor *from = ps->v[i].parts[j];
            *to = (struct trainer_tensor){ xstrdup(from->name), from->ndim, { 0 }, t->count };
            int64_t size = 1;
            for (int d = 0; d < from->ndim; d++)
                size *= to->shape[d] = from->shape[d];
            t->count += size;
        }
}

/* The weights, as the modules have them, into the run. */
static int copy_weights(struct trainer *t, const struct parameters *ps, struct buf *err)
{
    float *values = xmalloc((size_t)t->count * sizeof(*values)), *to = values;
    int rc = 0;
    for (size_t i = 0; i < ps->len && rc == 0; i++) {
        const struct parameter *p = &ps->v[i];
        struct scope *s = scope_new(false);
        size_t size = 1;
        for (int d = 0; d < p->ndim; d++)
            size *= (size_t)p->shape[d];
        const float *from = tensor_values(s, module_tensor(s, p->module, p->name));
        if (scope_error(s))
            rc = fail(err, "%s", scope_error(s));
        else
            memcpy(to, from, size * sizeof(*to));
        to += size;
        scope_free(s);
    }
    if (rc == 0)
        rc = adamw_write(t->adamw, ADAMW_WEIGHTS, values, err);
    free(values);
    return rc;
}

/* Parameters that have gradients take the place of those that the modules were built with. */
static int replace_parameters(struct trainer *t, const struct parameters *ps, int only,
                              struct buf *err)
{
    struct module *ends = t->model->ends;
    int64_t offset = 0;
    for (size_t i = 0; i < ps->len; i++) {
        const struct parameter *p = &ps->v[i];
        struct tensor *leaf = adamw_parameter(t->adamw, t->scope, offset, p->ndim, p->shape,
                                              is_trained(p->name, only));
        module_replace_tensor(t->scope, p->module, p->name, leaf);
        // A tied head is the embedding itself: it was not built from tensors of its own.
        if (p->module == ends && strcmp(p->name, "embedding") == 0 && t->model->config.tied)
            module_replace_tensor(t->scope, ends, "head", leaf);
        int64_t size = 1;
        for (int d = 0; d < p->ndim; d++)
            size *= p->shape[d];
        offset += size;
    }
    return scope_error(t->scope) ? fail(err, "%s", scope_error(t->scope)) : 0;
}

static void trainer_close(struct trainer *t)
{
    if (!t)
        return;
    scope_free(t->scope);
    model_close(t->model);
    adamw_free(t->adamw);
    for (size_t i = 0; i < t->ntensors; i++)
        free((char *)(uintptr_t)t->tensors[i].name);
    free(t->tensors);
    free(t);
}

/* Cores for each of `slots` threads, 8 at most. */
static int spare_threads(int slots)
{
    long each = sysconf(_SC_NPROCESSORS_ONLN) / slots;
    return each < 1 ? 1 : each > 8 ? 8 : (int)each;
}

static struct trainer *trainer_open(const struct weights *w, struct device device,
                                    const struct training *how, int slots, struct buf *err)
{
    struct trainer *t = xcalloc(1, sizeof(*t));
    struct parameters ps;
    t->scope = scope_new(false);
    t->route_threads = device.kind == DEVICE_CPU ? 1 : spare_threads(slots);
    t->model = model_open_parameters(w, device, &ps, err);
    int rc = t->model ? 0 : -1;
    if (rc == 0) {
        list_tensors(t, &ps);
        const struct adamw_setup setup = { t->count,   device,     how->dtype,       slots,
                                           how->beta1, how->beta2, how->weight_decay };
        t->adamw = adamw_new(&setup, err);
        rc = !t->adamw || copy_weights(t, &ps, err) || replace_parameters(t, &ps, how->only, err);
        t->model->dtype = how->dtype;
    }
    parameters_release(&ps);
    if (rc == 0)
        return t;
    trainer_close(t);
    return NULL;
}

/* ---- a piece ---- */

/* What a piece's loss is summed from. */
struct terms {
    struct tensor *t[1 + 2 * 256];
    double weight[1 + 2 * 256];
    int n;
    struct tensor *nll; /* NULL: no token's loss counts */
};

static void add_term(struct terms *terms, struct tensor *t, double weight)
{
    if (terms->n == (int)ARRAY_LEN(terms->t))
        BUG("more than %d terms in a loss", terms->n);
    terms->t[terms->n] = t;
    terms->weight[terms->n++] = weight;
}

/* Each expert's share of the last layer's pairs, [N]. */
static void shares(const struct pass *p, float *out)
{
    const struct selection *s = &p->routing.selection;
    int N = p->routing.out->experts;
    memset(out, 0, (size_t)N * sizeof(*out));
    for (size_t i = 0; i < s->pairs; i++)
        out[s->expert[i]]++;
    for (int e = 0; e < N && s->pairs; e++)
        out[e] /= (float)s->pairs;
}

/* N * sum over e of share[e] * mean score of e, on the host. scores: [T, N] */
static double balance_of(const float *scores, int T, int N, const float *share)
{
    double sum = 0;
    for (int t = 0; t < T; t++)
        for (int e = 0; e < N; e++)
            sum += (double)scores[(size_t)t * (size_t)N + (size_t)e] * (double)share[e];
    return sum * N / T;
}

/* A layer's balance and z loss: a part of the loss where they have a factor. */
static void add_aux(struct pass *p, const struct piece *piece, int layer,
                    const struct layer_scores *s, struct terms *terms, struct piece_result *out)
{
    const struct scored *scored = &out->scored;
    int64_t N = scored->experts;
    double each = piece->aux_weight / scored->layers;
    float *share = xmalloc((size_t)N * sizeof(*share));
    shares(p, share);
    if (piece->balance_loss > 0 || piece->z_loss > 0) {
        struct tensor *loss[2];
        struct tensor *in[] = { s->scores, s->logits,
                                tensor_floats(p->scope, share, 1, &N, p->m->device) };
        module_call(p->scope, p->m->layers[layer], "aux", in, 3, loss, 2);
        add_term(terms, loss[0], each * piece->balance_loss);
        add_term(terms, loss[1], each * piece->z_loss);
    } else {
        out->balance +=
            balance_of(s->scores_host, scored->tokens, scored->experts, share) / scored->layers;
    }
    free(share);
}

static void learn_cutoffs(const struct piece *piece, int layer, const struct layer_scores *s,
                          struct piece_result *out)
{
    const struct pool *pool = &piece->batch.pools[0];
    const struct scored *scored = &out->scored;
    if (!pool->router->learns)
        return;
    size_t N = (size_t)scored->experts;
    if (!out->kth)
        out->kth = xcalloc((size_t)scored->layers * N, sizeof(*out->kth));
    int K = piece->args ? piece->args[layer].K : pool->args.K;
    kth_of_each(s->logits_host, scored->tokens, scored->experts, K, out->kth + (size_t)layer * N);
}

/* The sum of the losses that count. NULL: none does. */
static struct tensor *nll(struct pass *p, const struct piece *piece, struct tensor *x,
                          struct piece_result *out)
{
    const struct batch *b = &piece->batch;
    int64_t n = 0, *rows = xmalloc((size_t)out->scored.tokens * sizeof(*rows));
    int64_t *target = xmalloc((size_t)out->scored.tokens * sizeof(*target));
    for (int i = 0; i < b->nsequences; i++)
        for (int t = piece->loss_from[i]; t < b->sequences[i].tokens; t++) {
            rows[n] = out->scored.start[i] + t - 1;
            target[n++] = b->sequences[i].ids[t];
        }
    out->nll_tokens = n;
    struct tensor *sum = NULL;
    if (n) {
        struct tensor *in[] = { x, tensor_ints(p->scope, rows, 1, &n, p->m->device),
                                tensor_ints(p->scope, target, 1, &n, p->m->device) };
        module_call(p->scope, p->m->ends, "nll", in, 3, &sum, 1);
    }
    free(rows);
    free(target);
    return sum;
}

/* The losses' values, which a GPU would be waited for if they were read as they come. */
static void read_terms(struct pass *p, const struct terms *terms, struct piece_result *out)
{
    int n = terms->nll ? terms->n - 1 : terms->n; // two a layer
    for (int i = 0; i < n; i += 2) {
        out->balance += tensor_number(p->scope, terms->t[i]) / out->scored.layers;
        out->z += tensor_number(p->scope, terms->t[i + 1]) / out->scored.layers;
    }
    if (terms->nll)
        out->nll = tensor_number(p->scope, terms->nll);
}

static void piece_gradient(struct trainer *t, int slot, struct pass *p, const struct piece *piece,
                           struct piece_result *out)
{
    struct tensor *ids = pass_inputs(p), *x;
    struct layer_scores scores;
    struct terms terms = { .n = 0 };
    module_call(p->scope, p->m->ends, "embed", &ids, 1, &x, 1);
    for (int i = 0; i < p->m->config.layers; i++) {
        x = pass_layer(p, i, x, &scores);
        if (scope_error(p->scope))
            return;
        add_aux(p, piece, i, &scores, &terms, out);
        learn_cutoffs(piece, i, &scores, out);
    }
    terms.nll = nll(p, piece, x, out);
    if (terms.nll)
        add_term(&terms, terms.nll, piece->nll_weight);
    if (terms.n == 0)
        scope_fail(p->scope, "no token's loss counts in a piece of %d tokens", out->scored.tokens);
    else
        adamw_gradient(t->adamw, p->scope,
                       tensor_weighted_sum(p->scope, terms.t, terms.weight, terms.n), slot);
    read_terms(p, &terms, out);
}

static int trainer_gradient(struct trainer *t, int slot, const struct piece *piece,
                            struct piece_result *out, struct buf *err)
{
    piece_result_release(out);
    if (t->model->config.layers > 256)
        return fail(err, "a model of %d layers; 256 can be trained", t->model->config.layers);
    if (pass_check(t->model, &piece->batch, NULL, err))
        return -1;
    struct scope *scope = scope_new(true);
    struct pass p;
    pass_begin(&p, t->model, &piece->batch, NULL, scope, &out->scored);
    p.routing.args = piece->args;
    p.routing.threads = t->route_threads;
    adamw_begin(t->adamw, scope, slot);
    piece_gradient(t, slot, &p, piece, out);
    int rc = scope_error(scope) ? fail(err, "%s", scope_error(scope)) : 0;
    pass_end(&p);
    scope_free(scope);
    return rc;
}

/* ---- the rest ---- */

static int trainer_add(struct trainer *t, int n, struct buf *err)
{
    return adamw_add(t->adamw, n, err);
}

static int trainer_step(struct trainer *t, double lr, double clip, double *norm, struct buf *err)
{
    return adamw_step(t->adamw, lr, clip, norm, err);
}

static const struct trainer_tensor *trainer_tensors(const struct trainer *t, size_t *n)
{
    *n = t->ntensors;
    return t->tensors;
}

static int64_t trainer_count(const struct trainer *t)
{
    return t->count;
}

static int64_t trainer_steps(const struct trainer *t)
{
    return adamw_steps(t->adamw);
}

static enum adamw_run run_of(enum trainer_run run)
{
    static const enum adamw_run runs[] = { [RUN_WEIGHTS] = ADAMW_WEIGHTS,
                                           [RUN_MEANS] = ADAMW_MEANS,
                                           [RUN_SQUARES] = ADAMW_SQUARES,
                                           [RUN_GRADIENT] = ADAMW_GRADIENT };
    return runs[run];
}

static int trainer_read(struct trainer *t, enum trainer_run run, float *values, struct buf *err)
{
    return adamw_read(t->adamw, run_of(run), values, err);
}

static int trainer_write(struct trainer *t, enum trainer_run run, const float *values,
                         struct buf *err)
{
    if (run == RUN_GRADIENT)
        BUG("a gradient cannot be written");
    return adamw_write(t->adamw, run_of(run), values, err);
}

static void trainer_set_steps(struct trainer *t, int64_t steps)
{
    adamw_set_steps(t->adamw, steps);
}

static int trainer_score(struct trainer *t, const struct batch *batch, struct scored *out,
                         struct buf *err)
{
    struct scope *scope = scope_new(false);
    int rc = model_forward(t->model, batch, NULL, NULL, 0, scope, NULL, out, err);
    scope_free(scope);
    return rc;
}

const struct trainer_functions trainer_functions = {
    .open = trainer_open,
    .close = trainer_close,
    .gradient = trainer_gradient,
    .add = trainer_add,
    .step = trainer_step,
    .tensors = trainer_tensors,
    .count = trainer_count,
    .steps = trainer_steps,
    .read = trainer_read,
    .write = trainer_write,
    .set_steps = trainer_set_steps,
    .score = trainer_score,
};
