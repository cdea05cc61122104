/*
 * test_recipe_train.c: what a recipe says of training: sft { ... } and pretrain { ... }, read with
 * their defaults, and everything wrong in them said by file, line and key.
 */
#include "recipe/recipe_pretrain.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;

static int enter(void **state)
{
    (void)state;
    dir = fixture_dir();
    return 0;
}

static int leave(void **state)
{
    (void)state;
    fixture_remove(dir);
    buf_release(&err);
    return 0;
}

static struct recipe *read_text(const char *text)
{
    fixture_text(dir, "r.lua", text);
    char *path = xasprintf("%s/r.lua", dir);
    struct recipe *r = recipe_open(path, NULL, &err);
    free(path);
    return r;
}

/* A sweep whose third line is `train`. */
static struct recipe *read_train(const char *train)
{
    char *text = xasprintf("return sweep { name = 'x', models = 'm', K = 8, routers = topk(),\n"
                           "tasks = 't/f',\n%s }\n",
                           train);
    struct recipe *r = read_text(text);
    free(text);
    return r;
}

#define DATA "data = { file = 'a.jsonl', prompt = '{q}', completion = '{a}' }"
#define TEXTS "data = { file = 'a.jsonl', text = 't' }"

static struct recipe *read_sft(const char *fields)
{
    char *train = xasprintf("train = sft { %s }", fields);
    struct recipe *r = read_train(train);
    free(train);
    return r;
}

/* The settings of a sweep's only training. */
static struct training settings(const char *fields)
{
    struct recipe *r = read_sft(fields);
    if (!r)
        fail_msg("%s: %s", fields, err.s);
    assert_int_equal(r->ntrains, 1);
    assert_true(r->trains[0].trains);
    struct training how = r->trains[0].how;
    recipe_free(r);
    return how;
}

static void what_is_not_said_has_its_default(void **state)
{
    (void)state;
    struct training t = settings(DATA ", steps = 100, lr = 1e-5");
    assert_int_equal(t.steps, 100);
    assert_true(t.epochs == 0 && t.lr == 1e-5 && t.warmup == 0.03 && t.weight_decay == 0);
    assert_true(t.beta1 == 0.9 && t.beta2 == 0.999 && t.clip == 1);
    assert_true(t.balance_loss == 0 && t.z_loss == 0);
    assert_int_equal(t.schedule, SCHEDULE_LINEAR);
    assert_int_equal(t.batch, 16);
    assert_int_equal(t.length, 0); // the model says
    assert_int_equal(t.micro_tokens, 2048);
    assert_int_equal(t.only, TRAIN_ALL);
    assert_int_equal(t.loss_on, LOSS_COMPLETION);
    assert_int_equal(t.nmatryoshka, 0);
    assert_true(t.online == 0 && !t.online_anneal);
    assert_int_equal(t.dtype, DTYPE_F32);
    assert_int_equal(t.save, DTYPE_F32);
    assert_int_equal(t.optimiser, OPTIMISER_ADAMW);
    assert_false(t.checkpointing);
    assert_int_equal(settings(TEXTS ", steps = 1, lr = 0").loss_on, LOSS_ALL);
}

static void every_setting_is_read(void **state)
{
    (void)state;
    struct recipe *r = read_sft(
        DATA ", epochs = 2.5, lr = 0, schedule = 'cosine', warmup = 7, batch = 3,\n"
             "length = 99, micro_tokens = 512, weight_decay = 0.25, betas = { 0.5, 0.75 },\n"
             "clip = 0, router = seqtopk { max = K + 1 }, balance_loss = 0.01,\n"
             "z_loss = 0.001, train_only = 'experts', loss_on = 'all', seed = 9,\n"
             "matryoshka = { K = { 8, 4, 2 }, per = 'layer' }, dtype = 'bfloat16',\n"
             "save = 'bfloat16', optimiser = 'adamw8bit', checkpointing = true");
    if (!r)
        fail_msg("%s", err.s);
    const struct recipe_train *said = &r->trains[0];
    const struct training *t = &said->how;
    assert_true(t->steps == 0 && t->epochs == 2.5 && t->lr == 0 && t->warmup == 7);
    assert_true(t->weight_decay == 0.25 && t->beta1 == 0.5 && t->beta2 == 0.75 && t->clip == 0);
    assert_true(t->balance_loss == 0.01 && t->z_loss == 0.001);
    assert_int_equal(t->schedule, SCHEDULE_COSINE);
    assert_int_equal(t->batch, 3);
    assert_int_equal(t->length, 99);
    assert_int_equal(t->micro_tokens, 512);
    assert_int_equal(t->only, TRAIN_EXPERTS);
    assert_int_equal(t->loss_on, LOSS_ALL);
    assert_true(said->seeded && t->seed == 9);
    assert_int_equal(t->nmatryoshka, 3);
    assert_int_equal(t->matryoshka[0], 8);
    assert_int_equal(t->matryoshka[2], 2);
    assert_true(t->matryoshka_by_layer);
    assert_int_equal(t->dtype, DTYPE_BF16);
    assert_int_equal(t->save, DTYPE_BF16);
    assert_int_equal(t->optimiser, OPTIMISER_ADAMW8BIT);
    assert_true(t->checkpointing);
    assert_true(said->routed);
    assert_ptr_equal(said->router.router, &router_seqtopk);
    assert_string_equal(said->data.files.v[0], "a.jsonl");
    recipe_free(r);
}

/* What the identity of a training with these fields says that one without them does not. */
static void identity_adds(const char *fields, const char *adds, const char *says)
{
    char *text = xasprintf(DATA ", steps = 1, lr = 0%s", fields);
    struct training with = settings(text), without = settings(DATA ", steps = 1, lr = 0");
    struct buf a = BUF_INIT, b = BUF_INIT, json = BUF_INIT;
    training_identity(&without, &a);
    training_identity(&with, &b);
    buf_adds(&a, adds);
    assert_string_equal(a.s, b.s);
    training_json(&with, &json);
    assert_non_null(strstr(json.s, says));
    buf_release(&a);
    buf_release(&b);
    buf_release(&json);
    free(text);
}

static void what_came_later_leaves_the_identity_of_older_trainings_alone(void **state)
{
    (void)state;
    identity_adds("", "", "\"optimiser\":\"adamw\",\"checkpointing\":false");
    identity_adds(", checkpointing = true", "", "\"checkpointing\":true");
    identity_adds(", optimiser = 'adamw8bit'", "optimiser adamw8bit\n",
                  "\"optimiser\":\"adamw8bit\"");
    identity_adds(", online = 0", "", "\"checkpointing\":false");
    identity_adds(", online = 0.25", "online 0.25\n", ",\"online\":0.25");
    identity_adds(", prune = { share = 0.25 }", "prune 0.25 texts 64\n",
                  ",\"prune\":{\"share\":0.25,\"texts\":64}");
    identity_adds(", prune = { share = 0.5, texts = 7 }", "prune 0.5 texts 7\n",
                  ",\"prune\":{\"share\":0.5,\"texts\":7}");
    identity_adds(", online = 'anneal'", "online anneal\n", ",\"online\":\"anneal\"");
}

static void train_is_a_list_of_none_and_sft(void **state)
{
    (void)state;
    struct recipe *r = read_train("train = { none(), sft { " DATA ", steps = 1, lr = 0, "
                                  "router = 'same' }, none() }");
    if (!r)
        fail_msg("%s", err.s);
    assert_int_equal(r->ntrains, 3);
    assert_false(r->trains[0].trains);
    assert_true(r->trains[1].trains && !r->trains[1].routed && !r->trains[1].seeded);
    assert_false(r->trains[2].trains);
    recipe_free(r);
    r = read_train("");
    assert_int_equal(r->ntrains, 1);
    assert_false(r->trains[0].trains);
    recipe_free(r);
}

static void assert_says(struct recipe *r, const char *text, const char *want)
{
    const char *said = strstr(err.s, "r.lua:");
    if (r || !said || strcmp(said, want) != 0)
        fail_msg("%s\n  says    %s\n  and not %s", text, r ? "nothing" : err.s, want);
}

static void what_is_wrong_names_its_line_and_what_is_allowed(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *want; // behind "r.lua:3: sft"
    } cases[] = {
        { "steps = 1, lr = 0", ": 'data' is missing" },
        { DATA ", lr = 0", ": 'steps' or 'epochs' is missing" },
        { DATA ", steps = 1", ": 'lr' is missing" },
        { DATA ", lr = 0, steps = 1, epochs = 1",
          ".epochs: `steps` is said too; allowed is one of them" },
        { DATA ", steps = 0, lr = 0", ".steps: 0; allowed is a whole number from 1 to 2147483647" },
        { DATA ", epochs = 0, lr = 0", ".epochs: 0; allowed is a number above 0, up to 1000000" },
        { DATA ", epochs = -1, lr = 0", ".epochs: -1; allowed is a number above 0, up to 1000000" },
        { DATA ", steps = 1, lr = -1e-5", ".lr: -1e-05; allowed is a number from 0 to 1" },
        { DATA ", steps = 1, lr = 1/0", ".lr: inf; allowed is a number from 0 to 1" },
        { DATA ", steps = 1, lr = 0, learning_rate = 1",
          ".learning_rate: unknown key; allowed are data, steps, epochs, lr, schedule, warmup, "
          "batch, length, micro_tokens, weight_decay, betas, clip, router, balance_loss, z_loss, "
          "train_only, loss_on, matryoshka, online, prune, seed, dtype, save, optimiser, "
          "checkpointing, name" },
        { DATA ", steps = 1, lr = 0, name = 'none'",
          ".name: \"none\"; allowed are letters, digits, blanks, -, _ and ., at most 64 of them, "
          "but "
          "not none, nor sft at the beginning" },
        { DATA ", steps = 1, lr = 0, name = 'sft x router topk'",
          ".name: \"sft x router topk\"; allowed are letters, digits, blanks, -, _ and ., at most "
          "64 "
          "of them, but not none, nor sft at the beginning" },
        { DATA ", steps = 1, lr = 0, name = ''", ".name: an empty text" },
        { DATA ", steps = 1, lr = 0, schedule = 'step'",
          ".schedule: the text \"step\"; allowed is \"constant\" or \"linear\" or \"cosine\"" },
        { DATA ", steps = 9, lr = 0, warmup = 10", ".warmup: 10 is more than the 9 steps" },
        { DATA ", steps = 9, lr = 0, warmup = 1.5",
          ".warmup: 1.5; allowed is a share of the steps below 1, or a whole number of them" },
        { DATA ", steps = 9, lr = 0, warmup = -1",
          ".warmup: -1; allowed is a number from 0 to 2147483647" },
        { DATA ", steps = 1, lr = 0, batch = 0",
          ".batch: 0; allowed is a whole number from 1 to 65536" },
        { DATA ", steps = 1, lr = 0, length = 1",
          ".length: 1; allowed is a whole number from 2 to 16777216" },
        { DATA ", steps = 1, lr = 0, betas = 0.9",
          ".betas: 0.9; allowed is two numbers from 0 to below 1, such as { 0.9, 0.999 }" },
        { DATA ", steps = 1, lr = 0, betas = { 0.9 }",
          ".betas: a table; allowed is two numbers from 0 to below 1, such as { 0.9, 0.999 }" },
        { DATA ", steps = 1, lr = 0, betas = { 0.9, 1 }",
          ".betas: { 0.9, 1 }; allowed is two numbers from 0 to below 1, such as { 0.9, 0.999 }" },
        { DATA ", steps = 1, lr = 0, router = 'topk'",
          ".router: the text \"topk\"; allowed is \"same\" or a router, such as topk() or seqtopk "
          "{ "
          "max = K + 2 }" },
        { DATA ", steps = 1, lr = 0, train_only = 'head'",
          ".train_only: the text \"head\"; allowed is \"all\" or \"router\" or \"experts\"" },
        { TEXTS ", steps = 1, lr = 0, loss_on = 'completion'",
          ".loss_on: \"completion\", but the data are whole texts, which have none; allowed is "
          "\"all\"" },
        { DATA ", steps = 1, lr = 0, seed = { 1, 2 }",
          ".seed: a table; allowed is one whole number; `seeds` of the sweep is a list" },
        { DATA ", steps = 1, lr = 0, seed = -1",
          ".seed: -1; allowed is a whole number from 0 to 9007199254740992" },
        { DATA ", steps = 1, lr = 0, dtype = 'float16'",
          ".dtype: the text \"float16\"; allowed is \"float32\" or \"bfloat16\"" },
        { DATA ", steps = 1, lr = 0, optimiser = 'sgd'",
          ".optimiser: the text \"sgd\"; allowed is \"adamw\" or \"adamw8bit\"" },
        { DATA ", steps = 1, lr = 0, online = 1.5",
          ".online: 1.5; allowed is a share of the steps from 0 to 1, or \"anneal\"" },
        { DATA ", steps = 1, lr = 0, online = 'half'",
          ".online: the text \"half\"; allowed is a share of the steps from 0 to 1, or "
          "\"anneal\"" },
        { DATA ", steps = 1, lr = 0, checkpointing = 1",
          ".checkpointing: 1; allowed is true or false" },
        { DATA ", steps = 1, lr = 0, z_loss = '1'",
          ".z_loss: the text \"1\"; allowed is a number from 0 to 1000000" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *want = xasprintf("r.lua:3: sft%s", cases[i].want);
        assert_says(read_sft(cases[i].fields), cases[i].fields, want);
        free(want);
    }
}

static void matryoshka_is_refused_by_its_own_name(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "8", "r.lua:3: matryoshka: 8; allowed is a table { K =, per = }" },
        { "{ per = 'step' }", "r.lua:3: matryoshka: 'K' is missing" },
        { "{ K = {} }", "r.lua:3: matryoshka.K: an empty list; at least one element is needed" },
        { "{ K = { 8, 0 } }",
          "r.lua:3: matryoshka.K: 0; allowed is a whole number from 1 to 65535" },
        { "{ K = { 8 }, per = 'token' }",
          "r.lua:3: matryoshka.per: the text \"token\"; allowed is \"step\" or \"layer\"" },
        { "{ K = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17 } }",
          "r.lua:3: matryoshka.K: a list of 17 numbers; allowed are 16 at most" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *fields = xasprintf(DATA ", steps = 1, lr = 0, matryoshka = %s", cases[i][0]);
        assert_says(read_sft(fields), fields, cases[i][1]);
        free(fields);
    }
}

static void prune_is_refused_by_its_own_name(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "0.25", "r.lua:3: prune: 0.25; allowed is a table { share =, texts = }" },
        { "{ texts = 64 }", "r.lua:3: prune: 'share' is missing" },
        { "{ share = 0 }", "r.lua:3: prune.share: 0; allowed is a number above 0, up to 1" },
        { "{ share = 1.5 }", "r.lua:3: prune.share: 1.5; allowed is a number above 0, up to 1" },
        { "{ share = 0.5, texts = 0 }",
          "r.lua:3: prune.texts: 0; allowed is a whole number from 1 to 1000000" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *fields = xasprintf(DATA ", steps = 1, lr = 0, prune = %s", cases[i][0]);
        assert_says(read_sft(fields), fields, cases[i][1]);
        free(fields);
    }
}

/* ---- pretrain ---- */

#define SIZES                                                                       \
    "family = 'olmoe', layers = 2, hidden = 32, heads = 4, experts = 8, top_k = 2," \
    "expert_ffn = 16, context = 64"

/* A recipe whose line 2 is the model, line 3 the rest. */
static struct recipe *read_pretrain(const char *model, const char *rest)
{
    char *text =
        xasprintf("return pretrain { name = 'p', " TEXTS ",\nmodel = { %s },\n%s }", model, rest);
    struct recipe *r = read_text(text);
    free(text);
    return r;
}

static void pretraining_has_defaults_of_its_own(void **state)
{
    (void)state;
    struct recipe *r = read_pretrain(SIZES, "tokenizer = { vocab = 300 }, steps = 10, lr = 1e-3");
    if (!r)
        fail_msg("%s", err.s);
    const struct recipe_pretrain *p = r->pretrain;
    const struct training *t = &p->train.how;
    assert_non_null(p);
    assert_true(t->weight_decay == 0.1 && t->beta1 == 0.9 && t->beta2 == 0.95 && t->clip == 1);
    assert_int_equal(t->schedule, SCHEDULE_COSINE);
    assert_int_equal(t->loss_on, LOSS_ALL);
    assert_int_equal(t->seed, 0);
    assert_false(p->train.routed);
    assert_string_equal(p->end_text, "<|endoftext|>");
    assert_int_equal(p->vocab, 300);
    assert_false(p->tokenizer_data_said);
    assert_null(p->tokenizer);
    assert_null(p->out);
    assert_int_equal(p->K, 0);
    assert_int_equal(p->model.family, FAMILY_OLMOE);
    assert_int_equal(p->model.hidden, 32);
    assert_false(p->model.qkv_bias || p->model.tied || p->model.norm_topk_prob);
    recipe_free(r);
}

static void pretraining_is_read_whole(void **state)
{
    (void)state;
    struct recipe *r = read_pretrain(
        "family = 'qwen2_moe', layers = 2, hidden = 30, heads = 4, kv_heads = 2, head_dim = 8,\n"
        "experts = 8, top_k = 2, expert_ffn = 16, shared_ffn = 24, context = 64, tied = true,\n"
        "rope_theta = 500000, rms_eps = 1e-6, norm_topk_prob = true",
        "tokenizer = { vocab = 512, train = { files = { 'b.jsonl' }, text = 'x' } }, K = 4,\n"
        "end_text = '<|end|>', router = seqtopk(), steps = 1, lr = 0, out = 'o', clip = 2");
    if (!r)
        fail_msg("%s", err.s);
    const struct recipe_pretrain *p = r->pretrain;
    assert_int_equal(p->model.family, FAMILY_QWEN2_MOE);
    assert_int_equal(p->model.kv_heads, 2);
    assert_int_equal(p->model.head_dim, 8);
    assert_int_equal(p->model.shared_ffn, 24);
    assert_true(p->model.qkv_bias && p->model.tied && p->model.norm_topk_prob);
    assert_true(p->model.rope_theta == 500000 && p->model.rms_eps == 1e-6);
    assert_true(p->tokenizer_data_said);
    assert_string_equal(p->tokenizer_data.files.v[0], "b.jsonl");
    assert_string_equal(p->end_text, "<|end|>");
    assert_int_equal(p->K, 4);
    assert_true(p->train.routed);
    assert_string_equal(p->out, "o");
    assert_true(p->train.how.clip == 2);
    recipe_free(r);
}

static void a_model_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const char rest[] = "tokenizer = 'm', steps = 1, lr = 0";
    static const char *const cases[][2] = {
        { "family = 'gpt'", "r.lua:2: model.family: the text \"gpt\"; allowed is \"olmoe\" or "
                            "\"qwen2_moe\"" },
        { "family = 'olmoe', layers = 2", "r.lua:2: model: 'hidden' is missing" },
        { SIZES ", top_k = 9", "r.lua:2: model.top_k: 9; allowed is 1 to experts, which is 8" },
        { SIZES ", kv_heads = 3",
          "r.lua:2: model.kv_heads: 3; allowed is a divisor of heads, which is 4" },
        { SIZES ", kv_heads = 8",
          "r.lua:2: model.kv_heads: 8; allowed is a divisor of heads, which is 4" },
        { SIZES ", head_dim = 3", "r.lua:2: model.head_dim: 3; allowed is an even number" },
        { SIZES ", heads = 3", "r.lua:2: model.hidden: 32; allowed without head_dim is an even "
                               "multiple of heads, which is 3" },
        { SIZES ", shared_ffn = 8", "r.lua:2: model.shared_ffn: only family \"qwen2_moe\" has it" },
        { SIZES ", qkv_bias = false", "r.lua:2: model.qkv_bias: only family \"qwen2_moe\" has it" },
        { SIZES ", family = 'qwen2_moe'", "r.lua:2: model: 'shared_ffn' is missing" },
        { SIZES ", family = 'qwen2_moe', shared_ffn = 8, clip_qkv = 8",
          "r.lua:2: model.clip_qkv: only family \"olmoe\" has it" },
        { SIZES ", dropout = 0.1",
          "r.lua:2: model.dropout: unknown key; allowed are family, layers, hidden, heads, "
          "kv_heads, head_dim, experts, top_k, expert_ffn, shared_ffn, context, rope_theta, "
          "rms_eps, clip_qkv, norm_topk_prob, qkv_bias, tied" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_says(read_pretrain(cases[i][0], rest), cases[i][0], cases[i][1]);
}

static void the_rest_of_pretraining_is_refused_by_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "steps = 1, lr = 0", "r.lua:1: pretrain: 'tokenizer' is missing" },
        { "tokenizer = 3, steps = 1, lr = 0",
          "r.lua:3: pretrain.tokenizer: 3; allowed is a folder, a tokenizer.json, or { vocab = "
          "8192 }" },
        { "tokenizer = {}, steps = 1, lr = 0", "r.lua:3: tokenizer: 'vocab' is missing" },
        { "tokenizer = { vocab = 257 }, steps = 1, lr = 0",
          "r.lua:3: tokenizer.vocab: 257; allowed is a whole number from 258 to 1000000" },
        { "tokenizer = 'm', steps = 1, lr = 0, router = 'same'",
          "r.lua:3: pretrain.router: the text \"same\"; allowed is a router, such as topk() or "
          "seqtopk { max = K + 2 }" },
        { "tokenizer = 'm', steps = 1, lr = 0, K = 9",
          "r.lua:3: pretrain.K: 9; allowed is 1 to the model's experts, which is 8" },
        { "tokenizer = 'm', steps = 1, lr = -1",
          "r.lua:3: pretrain.lr: -1; allowed is a number from 0 to 1" },
        { "tokenizer = 'm', steps = 1, lr = 0, prune = { share = 0.5 }",
          "r.lua:3: pretrain.prune: a model that is made from nothing has no loads yet; allowed is "
          "prune in an sft of a sweep" },
        { "tokenizer = 'm', steps = 1, lr = 0, loss_on = 'completion'",
          "r.lua:3: pretrain.loss_on: \"completion\", but the data are whole texts, which have "
          "none; allowed is \"all\"" },
        { "tokenizer = 'm', steps = 1, lr = 0, name = 'a/b'",
          "r.lua:3: pretrain.name: \"a/b\"; allowed are letters, digits, - and _, at most 64 of "
          "them" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool named = strstr(cases[i][0], "name = ") != NULL;
        char *text = xasprintf("return pretrain { %s" TEXTS ",\nmodel = { " SIZES " },\n%s }",
                               named ? "" : "name = 'p', ", cases[i][0]);
        assert_says(read_text(text), cases[i][0], cases[i][1]);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_not_said_has_its_default, enter, leave),
        cmocka_unit_test_setup_teardown(every_setting_is_read, enter, leave),
        cmocka_unit_test_setup_teardown(
            what_came_later_leaves_the_identity_of_older_trainings_alone, enter, leave),
        cmocka_unit_test_setup_teardown(train_is_a_list_of_none_and_sft, enter, leave),
        cmocka_unit_test_setup_teardown(what_is_wrong_names_its_line_and_what_is_allowed, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(matryoshka_is_refused_by_its_own_name, enter, leave),
        cmocka_unit_test_setup_teardown(prune_is_refused_by_its_own_name, enter, leave),
        cmocka_unit_test_setup_teardown(pretraining_has_defaults_of_its_own, enter, leave),
        cmocka_unit_test_setup_teardown(pretraining_is_read_whole, enter, leave),
        cmocka_unit_test_setup_teardown(a_model_that_cannot_be_is_refused, enter, leave),
        cmocka_unit_test_setup_teardown(the_rest_of_pretraining_is_refused_by_line, enter, leave),
    };
    return cmocka_run_group_tests_name("recipe_train", tests, NULL, NULL);
}
