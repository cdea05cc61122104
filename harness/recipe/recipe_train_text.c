/*
 * recipe_train_text.c: a training's settings as text: for its identity, for people, as JSON. One
 * table says what they are called; see recipe_train.h.
 *
 * Invariant: every member of struct training is in the table, or is told beside it (K of
 * matryoshka, `online`, `prune`), and what decides the weights is in the identity.
 */
#include "recipe/recipe_train.h"

#include <math.h>
#include <string.h>

const char *const training_schedules[] = { [SCHEDULE_CONSTANT] = "constant",
                                           [SCHEDULE_LINEAR] = "linear",
                                           [SCHEDULE_COSINE] = "cosine",
                                           NULL };
const char *const training_parts[] = {
    [TRAIN_ALL] = "all", [TRAIN_ROUTER] = "router", [TRAIN_EXPERTS] = "experts", NULL
};
const char *const training_losses[] = {
    [LOSS_COMPLETION] = "completion", [LOSS_ALL] = "all", NULL
};
const char *const training_optimisers[] = {
    [OPTIMISER_ADAMW] = "adamw", [OPTIMISER_ADAMW8BIT] = "adamw8bit", NULL
};
const char *const training_dtypes[] = { [DTYPE_F32] = "float32", [DTYPE_BF16] = "bfloat16", NULL };

static const struct setting {
    const char *name;
    enum {
        SETTING_INT,
        SETTING_INT64,
        SETTING_REAL,
        SETTING_WORD,
        SETTING_DTYPE,
        SETTING_FLAG,
    } type;
    size_t offset;
    const char *const *words;
    bool apart; /* said in its own way for people */
    enum {
        IDENTITY_ALWAYS,
        IDENTITY_WHERE_SET, /* where it is not 0: what came later leaves old identities alone */
        IDENTITY_NEVER,     /* changes no number */
    } identity;
} settings[] = {
#define AT(member) offsetof(struct training, member)
    { "steps", SETTING_INT64, AT(steps), NULL, true, IDENTITY_ALWAYS },
    { "epochs", SETTING_REAL, AT(epochs), NULL, true, IDENTITY_ALWAYS },
    { "lr", SETTING_REAL, AT(lr), NULL, true, IDENTITY_ALWAYS },
    { "schedule", SETTING_WORD, AT(schedule), training_schedules, false, IDENTITY_ALWAYS },
    { "warmup", SETTING_REAL, AT(warmup), NULL, false, IDENTITY_ALWAYS },
    { "batch", SETTING_INT, AT(batch), NULL, false, IDENTITY_ALWAYS },
    { "length", SETTING_INT, AT(length), NULL, false, IDENTITY_ALWAYS },
    { "micro_tokens", SETTING_INT, AT(micro_tokens), NULL, false, IDENTITY_ALWAYS },
    { "weight_decay", SETTING_REAL, AT(weight_decay), NULL, false, IDENTITY_ALWAYS },
    { "beta1", SETTING_REAL, AT(beta1), NULL, false, IDENTITY_ALWAYS },
    { "beta2", SETTING_REAL, AT(beta2), NULL, false, IDENTITY_ALWAYS },
    { "clip", SETTING_REAL, AT(clip), NULL, false, IDENTITY_ALWAYS },
    { "balance_loss", SETTING_REAL, AT(balance_loss), NULL, false, IDENTITY_ALWAYS },
    { "z_loss", SETTING_REAL, AT(z_loss), NULL, false, IDENTITY_ALWAYS },
    { "train_only", SETTING_WORD, AT(only), training_parts, false, IDENTITY_ALWAYS },
    { "loss_on", SETTING_WORD, AT(loss_on), training_losses, false, IDENTITY_ALWAYS },
    { "seed", SETTING_INT64, AT(seed), NULL, true, IDENTITY_ALWAYS },
    { "dtype", SETTING_DTYPE, AT(dtype), NULL, false, IDENTITY_ALWAYS },
    { "save", SETTING_DTYPE, AT(save), NULL, false, IDENTITY_ALWAYS },
    { "optimiser", SETTING_WORD, AT(optimiser), training_optimisers, false, IDENTITY_WHERE_SET },
    { "checkpointing", SETTING_FLAG, AT(checkpointing), NULL, true, IDENTITY_NEVER },
#undef AT
};

/* The value in the fewest characters that tell it from every other. */
static void add_value(const struct setting *s, const struct training *t, struct buf *out)
{
    const void *member = (const char *)t + s->offset;
    switch (s->type) {
    case SETTING_INT:
        buf_addf(out, "%d", *(const int *)member);
        return;
    case SETTING_INT64:
        buf_addf(out, "%lld", (long long)*(const int64_t *)member);
        return;
    case SETTING_REAL:
        real_text(*(const double *)member, out);
        return;
    case SETTING_WORD:
        buf_adds(out, s->words[*(const int *)member]);
        return;
    case SETTING_DTYPE:
        buf_adds(out, dtype_name(*(const enum dtype *)member));
        return;
    case SETTING_FLAG:
        buf_adds(out, *(const bool *)member ? "true" : "false");
        return;
    }
    BUG("setting %s", s->name);
}

/* For people: 100 steps of warmup, and not 1e+02. */
static void add_plainly(const struct setting *s, const struct training *t, struct buf *out)
{
    double value = s->type == SETTING_REAL ? *(const double *)((const char *)t + s->offset) : 0;
    if (value >= 1 && value == floor(value))
        buf_addf(out, "%.0f", value);
    else
        add_value(s, t, out);
}

static void add_matryoshka(const struct training *t, const char *between, struct buf *out)
{
    for (int i = 0; i < t->nmatryoshka; i++)
        buf_addf(out, "%s%d", i ? between : "", t->matryoshka[i]);
}

static const char *drawn_for(const struct training *t)
{
    return t->matryoshka_by_layer ? "layer" : "step";
}

static bool has_online(const struct training *t)
{
    return t->online_anneal || t->online > 0;
}

/* 0.5, or anneal between two `quote`. */
static void add_online(const struct training *t, const char *quote, struct buf *out)
{
    if (t->online_anneal)
        buf_addf(out, "%sanneal%s", quote, quote);
    else
        real_text(t->online, out);
}

static bool identifies(const struct setting *s, const struct training *t)
{
    return s->identity == IDENTITY_ALWAYS ||
           (s->identity == IDENTITY_WHERE_SET && *(const int *)((const char *)t + s->offset) != 0);
}

void training_identity(const struct training *t, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (!identifies(&settings[i], t))
            continue;
        buf_addf(out, "%s ", settings[i].name);
        add_value(&settings[i], t, out);
        buf_addc(out, '\n');
    }
    if (t->nmatryoshka) {
        buf_adds(out, "matryoshka ");
        add_matryoshka(t, " ", out);
        buf_addf(out, " per %s\n", drawn_for(t));
    }
    if (has_online(t)) {
        buf_adds(out, "online ");
        add_online(t, "", out);
        buf_addc(out, '\n');
    }
    if (t->prune > 0) {
        buf_adds(out, "prune ");
        real_text(t->prune, out);
        buf_addf(out, " texts %d\n", t->prune_texts);
    }
}

/* "K + 1/N/4": a bound for each layer. */
static void add_bounds(const struct recipe_value *v, struct buf *out)
{
    for (size_t i = 0; i < v->nlayers; i++) {
        buf_adds(out, i ? "/" : "");
        expr_text(&v->layers[i], out);
    }
}

static void add_router(const struct recipe_router *r, struct buf *out)
{
    bool any = false;
    buf_addf(out, " router %s", r->router->name);
    for (size_t i = 0; r->router->params[i].name; i++) {
        const struct router_param *p = &r->router->params[i];
        const struct expr *e = &r->value[i].expr;
        if (p->real ? r->value[i].real == p->real_def : !e->n && !r->value[i].nlayers)
            continue;
        buf_addf(out, "%s%s ", any ? ", " : "(", p->name);
        any = true;
        int word = 0;
        struct buf none = BUF_INIT;
        if (p->real)
            real_text(r->value[i].real, out);
        else if (r->value[i].nlayers)
            add_bounds(&r->value[i], out);
        else if (p->choices && expr_value(e, 1, 1, &word, &none) == 0)
            buf_adds(out, p->choices[word]);
        else
            expr_text(e, out);
        buf_release(&none);
    }
    buf_adds(out, any ? ")" : "");
}

void training_changes(const struct recipe_train *said, struct buf *out)
{
    struct recipe_train def;
    const struct training *t = &said->how;
    recipe_train_defaults(&def, said->pretrains);
    bool all = said->pretrains || lesson_data_is_text(&said->data);
    def.how.loss_on = all ? LOSS_ALL : LOSS_COMPLETION;
    if (t->steps)
        buf_addf(out, "%lld steps lr ", (long long)t->steps);
    else
        buf_addf(out, "%.10g epochs lr ", t->epochs);
    real_text(t->lr, out);
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        struct buf is = BUF_INIT, was = BUF_INIT;
        add_plainly(&settings[i], t, &is);
        add_plainly(&settings[i], &def.how, &was);
        if (!settings[i].apart && strcmp(is.s, was.s) != 0)
            buf_addf(out, " %s %s", settings[i].name, is.s);
        buf_release(&is);
        buf_release(&was);
    }
    if (said->routed)
        add_router(&said->router, out);
    if (t->nmatryoshka) {
        buf_adds(out, " matryoshka ");
        add_matryoshka(t, ",", out);
        buf_addf(out, " per %s", drawn_for(t));
    }
    if (has_online(t)) {
        buf_adds(out, " online ");
        add_online(t, "", out);
    }
    if (t->prune > 0) {
        buf_adds(out, " prune ");
        real_text(t->prune, out);
        if (t->prune_texts != PRUNE_TEXTS)
            buf_addf(out, " by %d texts", t->prune_texts);
    }
    if (said->seeded)
        buf_addf(out, " seed %lld", (long long)t->seed);
}

void training_json(const struct training *t, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        const struct setting *s = &settings[i];
        const char *quote = s->type == SETTING_WORD || s->type == SETTING_DTYPE ? "\"" : "";
        if ((s->offset == offsetof(struct training, steps) && !t->steps) ||
            (s->offset == offsetof(struct training, epochs) && t->steps))
            continue;
        buf_addf(out, "%s\"%s\":%s", i && out->s[out->len - 1] != '{' ? "," : "", s->name, quote);
        add_value(s, t, out);
        buf_adds(out, quote);
    }
    if (t->nmatryoshka) {
        buf_adds(out, ",\"matryoshka\":{\"K\":[");
        add_matryoshka(t, ",", out);
        buf_addf(out, "],\"per\":\"%s\"}", drawn_for(t));
    }
    if (has_online(t)) {
        buf_adds(out, ",\"online\":");
        add_online(t, "\"", out);
    }
    if (t->prune > 0) {
        buf_adds(out, ",\"prune\":{\"share\":");
        real_text(t->prune, out);
        buf_addf(out, ",\"texts\":%d}", t->prune_texts);
    }
}
