/*
 * fake.h: a sweep that was never run, put into a database through store.h: two models, three K and
 * fourteen routers, whose numbers of experts follow the entropy about as real ones do. For tests of
 * what reads the database, and for looking at figures without a model.
 *
 * Invariant: the same arguments make the same database (but for the time it was started).
 */
#ifndef FAKE_H
#define FAKE_H

#include "store/store.h"
#include "summary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct fake_router {
    const char *router, *mode;
    int bound; /* of max: K + bound; 0: from 0 to N; -1: no bounds */
};

static const struct fake_router fake_routers[] = {
    { "topk", NULL, -1 },       { "seqtopk", "global", 1 }, { "seqtopk", "global", 2 },
    { "seqtopk", "global", 4 }, { "seqtopk", "global", 0 }, { "seqtopk", "online", 1 },
    { "seqtopk", "online", 2 }, { "seqtopk", "online", 4 }, { "seqtopk", "online", 0 },
    { "seqtopk", "strict", 1 }, { "seqtopk", "strict", 2 }, { "seqtopk", "strict", 4 },
    { "seqtopk", "strict", 0 }, { "batchtopk", NULL, 2 },
};

/* A number from 0 to 1 that only depends on what is asked for. */
static double fake_noise(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t z = a * 0x9e3779b97f4a7c15u + b * 0xc2b2ae3d27d4eb4fu + c * 0x165667b19e3779f9u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

enum { FAKE_LAYERS = 4, FAKE_TOKENS = 60 };

struct fake_sample {
    int32_t ids[FAKE_TOKENS];
    float nll[FAKE_TOKENS], entropy[FAKE_TOKENS];
    uint16_t experts[FAKE_LAYERS * FAKE_TOKENS];
    int32_t load[FAKE_LAYERS * 64];
    double weight[FAKE_LAYERS * 64];
};

static int fake_clamp(int v, int lo, int hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* Experts of one layer: more for more entropy, and for `global` exactly K x tokens together. */
static void fake_layer(struct fake_sample *p, const struct store_cell *c, int doc, int layer)
{
    int lo = c->min < 0 ? c->k : c->min, hi = c->max < 0 ? c->k : c->max, sum = 0;
    uint16_t *e = p->experts + layer * FAKE_TOKENS;
    bool online = c->mode && strcmp(c->mode, "global") != 0;
    bool strict = c->mode && strcmp(c->mode, "strict") == 0;
    double slope = 0.10 + 0.06 * layer - 0.04 * strict - 0.02 * !c->mode;
    for (int t = 0; t < FAKE_TOKENS; t++) {
        double noise = fake_noise((uint64_t)doc, (uint64_t)(t * 8 + layer), 3) - 0.5;
        double want =
            c->k * (1 + slope * (p->entropy[t] - 1.7) + 0.7 * noise + 0.04 * online - 0.1 * strict);
        e[t] = (uint16_t)fake_clamp((int)lround(want), lo, hi);
        sum += e[t];
    }
    for (int t = 0; !online && sum != c->k * FAKE_TOKENS; t = (t + 7) % FAKE_TOKENS) {
        int step = sum < c->k * FAKE_TOKENS ? 1 : -1;
        if (e[t] + step >= lo && e[t] + step <= hi) {
            e[t] = (uint16_t)(e[t] + step);
            sum += step;
        }
    }
}

static void fake_fill(struct fake_sample *p, const struct store_cell *c, int doc)
{
    memset(p, 0, sizeof(*p));
    for (int t = 0; t < FAKE_TOKENS; t++) {
        double u = fake_noise((uint64_t)doc, (uint64_t)t, 1);
        p->ids[t] = (int32_t)(u * 97);
        p->entropy[t] = (float)(-1.6 * log(1 - 0.98 * u) + 0.4 * fake_noise((uint64_t)doc, 0, 2));
        p->nll[t] = t == 0 ? NAN : p->entropy[t] * (float)(0.6 + 0.8 * (t % 3) / 2 + 0.4 / c->k);
    }
    for (int l = 0; l < c->layers; l++) {
        fake_layer(p, c, doc, l);
        for (int t = 0; t < FAKE_TOKENS; t++)
            for (int i = 0; i < p->experts[l * FAKE_TOKENS + t]; i++) {
                int expert = (int)(pow(fake_noise((uint64_t)t, (uint64_t)i, (uint64_t)doc), 1.3) *
                                   c->experts);
                p->load[l * c->experts + expert]++;
                p->weight[l * c->experts + expert] += 0.05;
            }
    }
}

static int fake_cell(struct store *s, const struct store_cell *c, int docs, struct buf *err)
{
    enum cell_status was;
    struct fake_sample p;
    if (store_begin(s, err) || store_cell_begin(s, c, &was, err))
        return -1;
    for (int doc = 0; doc < docs; doc++) {
        fake_fill(&p, c, doc);
        double nll = 0;
        for (int t = 1; t < FAKE_TOKENS; t++)
            nll += (double)p.nll[t];
        struct store_sample sample = { .cell_id = c->id,
                                       .doc = doc,
                                       .prompt_tokens = 1,
                                       .output_tokens = FAKE_TOKENS - 1,
                                       .stop_reason = "end",
                                       .nll = nll,
                                       .nll_tokens = FAKE_TOKENS - 1,
                                       .score = NAN,
                                       .tokens = FAKE_TOKENS,
                                       .ids = p.ids,
                                       .token_nll = p.nll,
                                       .entropy = p.entropy,
                                       .experts = p.experts,
                                       .load_tokens = p.load,
                                       .load_weight = p.weight };
        if (store_sample_add(s, &sample, err))
            return -1;
    }
    return cell_summarise(s, c->id, err) || store_cell_finish(s, c->id, CELL_DONE, NULL, 1.5, err)
               ? -1
               : store_commit(s, err);
}

/* The cell of one router; the strings live until the next call. */
static struct store_cell fake_describe(const char *model, int experts, int k,
                                       const struct fake_router *r)
{
    static char id[33], params[96];
    int min = r->bound < 0 ? -1 : r->bound == 0 ? 0 : 1;
    int max = r->bound < 0 ? -1 : r->bound == 0 ? experts : k + r->bound;
    struct buf text = BUF_INIT;
    buf_addf(&text, "%s/%d/%s/%s/%d", model, k, r->router, r->mode ? r->mode : "", r->bound);
    struct hash *h = hash_new();
    hash_adds(h, text.s);
    hash_hex(h, id);
    hash_free(h);
    buf_release(&text);
    if (r->bound < 0)
        snprintf(params, sizeof(params), "{}");
    else if (r->mode)
        snprintf(params, sizeof(params), "{\"mode\":\"%s\",\"min\":%d,\"max\":%d,\"segment\":0}",
                 r->mode, min, max);
    else
        snprintf(params, sizeof(params), "{\"batch\":8,\"min\":%d,\"max\":%d}", min, max);
    return (struct store_cell){ .id = id,
                                .sweep = "fake",
                                .model = model,
                                .router = r->router,
                                .mode = r->mode,
                                .params = params,
                                .train = "none",
                                .task = "nll:texts.jsonl",
                                .device = "cpu",
                                .dtype = "float32",
                                .tokenizer = "fake-tokenizer",
                                .k = k,
                                .min = min,
                                .max = max,
                                .layers = FAKE_LAYERS,
                                .experts = experts };
}

/* The whole sweep of `models` models, `docs` documents a cell. */
static int fake_sweep(const char *path, int models, int docs, struct buf *err)
{
    static const struct {
        const char *name;
        int experts;
    } model[] = { { "tiny-olmoe", 64 }, { "tiny_qwen2 \"moe\"", 60 } };
    static const int ks[] = { 8, 4, 2 };
    struct store *s = store_open(path, STORE_WRITE, err);
    int rc = s ? 0 : -1;
    for (int m = 0; m < models; m++)
        for (size_t k = 0; k < ARRAY_LEN(ks); k++)
            for (size_t r = 0; rc == 0 && r < ARRAY_LEN(fake_routers); r++) {
                struct store_cell c =
                    fake_describe(model[m].name, model[m].experts, ks[k], &fake_routers[r]);
                rc = fake_cell(s, &c, docs, err);
            }
    store_close(s);
    return rc;
}

#endif
