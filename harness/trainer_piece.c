/*
 * trainer_piece.c: the gradient of one piece, see trainer.h: the forward pass with the routers between
 * scores and experts, the losses, and the way back, at once or, with checkpointing, layer by layer.
 *
 * Invariant: on the CPU both ways give the same gradient, to the bit, but for a tied head's in
 * bfloat16, whose two parts are added in float32 layer by layer.
 *
 * What is kept of the forward pass in bfloat16 for T tokens of hidden d with P pairs of experts of F,
 * in bytes a layer: about 22 T d for norms, projections and attention, and P (2 d + 6 F) for the
 * experts. OLMoE-1B-7B with T = 1024 (P = 8192): 46 MB + 84 MB, 2.1 GB in 16 layers. With
 * checkpointing 2 T d = 4 MB a layer, 67 MB in all, and the 130 MB of the layer at work. Beside these
 * the loss has its logits, 50304 x 1024 in bfloat16: 0.1 GB, and where no kernels are built in float32
 * as well, twice: 0.5 GB.
 */
#include "trainer_impl.h"

#include "routers/select.h"

#include <string.h>

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
    if (p->gpu) {
        pass_gpu_shares(p, out);
        return;
    }
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

/* A layer's balance and z loss as tensors: terms of the loss. share: [N] */
static void aux_terms(struct pass *p, const struct piece *piece, int layer,
                      const struct layer_scores *s, const float *share, struct terms *terms)
{
    const struct scored *scored = p->routing.out;
    int64_t N = scored->experts;
    double each = piece->aux_weight / scored->layers;
    struct tensor *loss[2];
    struct tensor *in[] = { s->scores, s->logits,
                            tensor_floats(p->scope, share, 1, &N, p->m->device) };
    module_call(p->scope, p->m->layers[layer], "aux", in, 3, loss, 2);
    add_term(terms, loss[0], each * piece->balance_loss);
    add_term(terms, loss[1], each * piece->z_loss);
}

static bool has_aux(const struct piece *piece)
{
    return piece->balance_loss > 0 || piece->z_loss > 0;
}

/*
 * What is told of the last layer's routing where it is no part of the loss. Scores that are on a GPU
 * stay there: what they come to is `told`, and read at the end.
 */
static void tell_balance(struct pass *p, int layer, struct scope *owner,
                         const struct layer_scores *s, const float *share, struct terms *told,
                         struct piece_result *out)
{
    const struct scored *scored = &out->scored;
    int64_t N = scored->experts;
    if (!p->gpu) {
        out->balance +=
            balance_of(s->scores_host, scored->tokens, scored->experts, share) / scored->layers;
        return;
    }
    struct tensor *loss[2];
    struct tensor *in[] = { tensor_plain(p->scope, s->scores), tensor_plain(p->scope, s->logits),
                            tensor_floats(p->scope, share, 1, &N, p->m->device) };
    module_call(p->scope, p->m->layers[layer], "aux", in, 3, loss, 2);
    add_term(told, tensor_share(owner, loss[0]), 0);
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
static void read_terms(struct pass *p, const struct terms *terms, const struct terms *told,
                       struct piece_result *out)
{
    for (int i = 0; i < told->n; i++)
        out->balance += tensor_number(p->scope, told->t[i]) / out->scored.layers;
    int n = terms->nll ? terms->n - 1 : terms->n; // two a layer
    for (int i = 0; i < n; i += 2) {
        out->balance += tensor_number(p->scope, terms->t[i]) / out->scored.layers;
        out->z += tensor_number(p->scope, terms->t[i + 1]) / out->scored.layers;
    }
    if (terms->nll)
        out->nll = tensor_number(p->scope, terms->nll);
}

static struct tensor *summed(struct pass *p, const struct terms *terms)
{
    return tensor_weighted_sum(p->scope, terms->t, terms->weight, terms->n);
}

static void nothing_counts(struct pass *p)
{
    scope_fail(p->scope, "no token's loss counts in a piece of %d tokens", p->routing.out->tokens);
}

/* All layers at once: what the backward pass needs is kept. */
static void gradient_at_once(struct trainer *t, int slot, struct pass *p, const struct piece *piece,
                             struct piece_result *out)
{
    struct tensor *ids = pass_inputs(p), *x, *none = NULL;
    struct layer_scores scores;
    struct terms terms = { .n = 0 }, told = { .n = 0 };
    float *share = xmalloc((size_t)p->m->config.experts * sizeof(*share));
    module_call(p->scope, p->m->ends, "embed", &ids, 1, &x, 1);
    for (int i = 0; i < p->m->config.layers && !scope_error(p->scope); i++) {
        x = pass_layer(p, i, x, &scores);
        if (scope_error(p->scope))
            break;
        shares(p, share);
        if (has_aux(piece))
            aux_terms(p, piece, i, &scores, share, &terms);
        else
            tell_balance(p, i, p->scope, &scores, share, &told, out);
        learn_cutoffs(piece, i, &scores, out);
    }
    free(share);
    if (scope_error(p->scope))
        return;
    terms.nll = nll(p, piece, x, out);
    if (terms.nll)
        add_term(&terms, terms.nll, piece->nll_weight);
    if (terms.n == 0) {
        nothing_counts(p);
        return;
    }
    struct tensor *loss = summed(p, &terms);
    adamw_gradient(t->adamw, p->scope, &loss, &none, 1, NULL, slot);
    read_terms(p, &terms, &told, out);
}

/* ---- layer by layer ---- */

/* What is kept of a layer: what goes in, and what its router selected. */
struct kept {
    struct tensor *x;
    struct selected selected;
    float *share; /* [N] */
};

/* A scope of its own for one layer: what it makes is let go. Its failure becomes that of `outer`. */
static struct scope *enter(struct pass *p)
{
    struct scope *outer = p->scope;
    p->scope = scope_new(true);
    return outer;
}

static void leave(struct pass *p, struct scope *outer)
{
    if (scope_error(p->scope))
        scope_fail(outer, "%s", scope_error(p->scope));
    scope_free(p->scope);
    p->scope = outer;
}

/*
 * Forward through a layer. Gradients are recorded and let go, so that the numbers are those that the
 * backward pass will see: some operators have another form where none are recorded.
 */
static struct tensor *forward_layer(struct pass *p, int i, const struct piece *piece,
                                    struct kept *kept, struct terms *told, struct piece_result *out)
{
    struct layer_scores scores;
    struct selected selected;
    struct scope *outer = enter(p);
    struct tensor *x = NULL;
    pass_attend(p, i, kept->x, &scores);
    pass_route(p, i, &scores, &selected);
    if (!scope_error(p->scope)) {
        shares(p, kept->share);
        if (!has_aux(piece))
            tell_balance(p, i, outer, &scores, kept->share, told, out);
        learn_cutoffs(piece, i, &scores, out);
        kept->selected.token = tensor_share(outer, selected.token);
        kept->selected.expert = tensor_share(outer, selected.expert);
        x = tensor_cut(outer, pass_experts(p, i, &scores, &selected));
    }
    leave(p, outer);
    return x;
}

/* The layer's gradients, by what comes back from behind it (NULL: nothing): returns what goes on. */
static struct tensor *backward_layer(struct trainer *t, int slot, struct pass *p, int i,
                                     const struct piece *piece, const struct kept *kept,
                                     struct tensor *dx, struct terms *values)
{
    struct layer_scores scores;
    struct terms terms = { .n = 0 };
    struct tensor *outputs[2], *by[2];
    int n = 0;
    struct scope *outer = enter(p);
    pass_attend(p, i, kept->x, &scores);
    struct tensor *x = pass_experts(p, i, &scores, &kept->selected);
    if (dx) {
        outputs[n] = x;
        by[n++] = dx;
    }
    if (has_aux(piece)) {
        aux_terms(p, piece, i, &scores, kept->share, &terms);
        for (int j = 0; j < terms.n; j++)
            add_term(values, tensor_cut(outer, terms.t[j]), 0);
        outputs[n] = summed(p, &terms);
        by[n++] = NULL;
    }
    struct tensor *back = adamw_gradient(t->adamw, p->scope, outputs, by, n, kept->x, slot);
    dx = back ? tensor_share(outer, back) : NULL;
    leave(p, outer);
    return dx;
}

/* Behind the last layer: the losses that count, and their gradient by x. */
static struct tensor *ends_back(struct trainer *t, int slot, struct pass *p,
                                const struct piece *piece, struct tensor *x, struct terms *values,
                                struct piece_result *out)
{
    struct terms terms = { .n = 0 };
    struct tensor *none = NULL;
    values->nll = nll(p, piece, x, out);
    if (!values->nll)
        return NULL;
    add_term(&terms, values->nll, piece->nll_weight);
    struct tensor *loss = summed(p, &terms);
    return adamw_gradient(t->adamw, p->scope, &loss, &none, 1, x, slot);
}

/*
 * Layer after layer: of each only what goes in is kept, and what was selected; it is computed again
 * for its gradients, with the same selection, and by the same operations in the same order.
 */
static void gradient_by_layer(struct trainer *t, int slot, struct pass *p,
                              const struct piece *piece, struct piece_result *out)
{
    const int layers = p->m->config.layers, N = p->m->config.experts;
    struct tensor *ids = pass_inputs(p), *embedded, *x;
    struct terms values = { .n = 0 }, told = { .n = 0 };
    struct kept *kept = xcalloc((size_t)layers, sizeof(*kept));
    float *share = xcalloc((size_t)layers * (size_t)N, sizeof(*share));
    module_call(p->scope, p->m->ends, "embed", &ids, 1, &embedded, 1);
    x = tensor_cut(p->scope, embedded);
    for (int i = 0; i < layers && !scope_error(p->scope); i++) {
        kept[i].x = x;
        kept[i].share = share + (size_t)i * (size_t)N;
        x = forward_layer(p, i, piece, &kept[i], &told, out);
    }
    struct tensor *dx =
        scope_error(p->scope) ? NULL : ends_back(t, slot, p, piece, x, &values, out);
    if (!dx && !has_aux(piece) && !values.nll && !scope_error(p->scope))
        nothing_counts(p);
    for (int i = layers - 1; i >= 0 && !scope_error(p->scope); i--)
        dx = backward_layer(t, slot, p, i, piece, &kept[i], dx, &values);
    if (dx && !scope_error(p->scope))
        adamw_gradient(t->adamw, p->scope, &embedded, &dx, 1, NULL, slot);
    if (values.nll)
        add_term(&values, values.nll, 0);
    read_terms(p, &values, &told, out);
    free(share);
    free(kept);
}

/* ---- the piece ---- */

int trainer_gradient(struct trainer *t, int slot, const struct piece *piece,
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
    p.unpacked = true;
    adamw_begin(t->adamw, scope, slot);
    if (t->checkpointing)
        gradient_by_layer(t, slot, &p, piece, out);
    else
        gradient_at_once(t, slot, &p, piece, out);
    pass_gpu_end(&p);
    int rc = scope_error(scope) ? fail(err, "%s", scope_error(scope)) : 0;
    pass_end(&p);
    scope_free(scope);
    return rc;
}
