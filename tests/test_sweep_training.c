/*
 * test_sweep_training.c: the trainings of a sweep: which cells share one, what changes its identity
 * and what does not, what people are told of it, and what cannot be trained.
 */
#include "recipe/sweep_training.h"
#include "run_train.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;
static const struct sweep_options silent;

/* Models a and b with 8 and 4 experts and 64 positions, texts to score and to train on. */
static int enter(void **state)
{
    (void)state;
    dir = fixture_dir();
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    m.context = 64;
    char *a = xasprintf("%s/a", dir), *b = xasprintf("%s/b", dir);
    fixture_model_write(a, &m);
    fixture_text(a, "tokenizer.json", "{}");
    m.experts = 4;
    fixture_model_write(b, &m);
    fixture_text(b, "tokenizer.json", "{}");
    fixture_text(dir, "t.jsonl", "{\"text\": \"one two\"}\n");
    fixture_text(dir, "d.jsonl", "{\"q\": \"1\", \"a\": \"2\"}\n{\"q\": \"2\", \"a\": \"3\"}\n");
    fixture_text(dir, "e.jsonl", "{\"q\": \"1\", \"a\": \"2\"}\n{\"q\": \"2\", \"a\": \"4\"}\n");
    setenv("SEQTOPK_MODELS", dir, 1);
    setenv("SEQTOPK_DATA", dir, 1);
    unsetenv("SEQTOPK_EVALS");
    free(a);
    free(b);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    fixture_remove(dir);
    buf_release(&err);
    return 0;
}

static struct sweep *open_text(const char *text, const struct sweep_options *o)
{
    fixture_text(dir, "r.lua", text);
    char *path = xasprintf("%s/r.lua", dir);
    struct sweep *s = sweep_open(path, o, &err);
    free(path);
    return s;
}

/*
 * return sweep { ... } with what `changes` says over the defaults: of the sweep s, and of t, what
 * sft() is called with; they stand on line 4.
 */
static struct sweep *open_with(const char *changes, const struct sweep_options *o)
{
    char *text = xasprintf(
        "local t = { data = { file = 'd.jsonl', prompt = '{q}', completion = '{a}' }, steps = 9, "
        "lr = 1e-3 }\n"
        "local s = { name = 'x', models = 'a', K = 2, routers = topk(),\n"
        "tasks = nll { file = 't.jsonl' } }\n%s\ns.train = s.train or sft(t)\nreturn sweep(s)\n",
        changes);
    struct sweep *s = open_text(text, o);
    free(text);
    return s;
}

static struct sweep *must_open(const char *changes)
{
    struct sweep *s = open_with(changes, &silent);
    if (!s)
        fail_msg("%s: %s", changes, err.s);
    return s;
}

/* The ids of the only cell and of its training. */
static void only_ids(const char *changes, char cell[33], char training[33])
{
    struct sweep *s = must_open(changes);
    assert_int_equal(s->ncells, 1);
    assert_int_equal(s->ntrainings, 1);
    assert_ptr_equal(s->cells[0].training, s->trainings[0]);
    assert_int_equal(strlen(s->trainings[0]->id), 32);
    memcpy(cell, s->cells[0].id, 33);
    memcpy(training, s->trainings[0]->id, 33);
    sweep_free(s);
}

static void an_id_changes_with_all_that_decides_the_weights(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "",
        "s.models = 'b'",
        "s.K = 1",
        "s.device = 'cuda'",
        "s.seeds = 1",
        "s.routers = seqtopk()",
        "s.routers = seqtopk { min = 0 }",
        "s.routers = seqtopk { max = K + 1 }",
        "s.routers = seqtopk { segment = 9 }",
        "s.routers = topp()",
        "s.routers = batchtopk()",
        "t.router = seqtopk { mode = 'online' }",
        "t.router = batchtopk { batch = 2 }",
        "t.router = topp { p = 0.5 }",
        "t.data.prompt = '{q} '",
        "t.data.completion = ' {a}'",
        "t.data.file = 'e.jsonl'",
        "t.data.limit = 1",
        "t.data = { file = 'd.jsonl', text = 'q' }",
        "t.steps = 10",
        "t.steps = nil t.epochs = 9",
        "t.lr = 1e-3 + 1e-18",
        "t.schedule = 'cosine'",
        "t.warmup = 0",
        "t.batch = 8",
        "t.length = 63",
        "t.micro_tokens = 1024",
        "t.weight_decay = 0.1",
        "t.betas = { 0.8, 0.999 }",
        "t.betas = { 0.9, 0.99 }",
        "t.clip = 0",
        "t.balance_loss = 0.01",
        "t.z_loss = 0.01",
        "t.train_only = 'router'",
        "t.train_only = 'experts'",
        "t.loss_on = 'all'",
        "t.matryoshka = { K = { 2, 4 } }",
        "t.matryoshka = { K = { 4, 2 } }",
        "t.matryoshka = { K = { 2, 4 }, per = 'layer' }",
        "t.matryoshka = { K = 2 }",
        "s.routers = seqtopk() t.online = 0.5",
        "s.routers = seqtopk() t.online = 0.25",
        "s.routers = seqtopk() t.online = 1",
        "s.routers = seqtopk() t.online = 'anneal'",
        "t.prune = { share = 0.25 }",
        "t.prune = { share = 0.5 }",
        "t.prune = { share = 0.5, texts = 63 }",
        "t.seed = 7",
        "t.dtype = 'bfloat16'",
        "t.save = 'bfloat16'",
    };
    char cell[ARRAY_LEN(changes)][33], training[ARRAY_LEN(changes)][33];
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        only_ids(changes[i], cell[i], training[i]);
        for (size_t j = 0; j < i; j++)
            if (strcmp(training[i], training[j]) == 0 || strcmp(cell[i], cell[j]) == 0)
                fail_msg("'%s' and '%s' have the same id", changes[i], changes[j]);
    }
}

/* The end token stands behind each text, and generation_config.json is in no hash of the weights. */
static void an_id_hangs_on_an_end_token_that_generation_config_says(void **state)
{
    (void)state;
    static const char *const says[] = { "{}", "{\"eos_token_id\": 3}",
                                        "{\"eos_token_id\": [4, 3]}" };
    char cell[33], before[33], training[33], *a = xasprintf("%s/a", dir);
    only_ids("", cell, before);
    for (size_t i = 0; i < ARRAY_LEN(says); i++) {
        fixture_text(a, "generation_config.json", says[i]);
        only_ids("", cell, training);
        // Where it says nothing else than config.json, nothing changes.
        assert_int_equal(strcmp(before, training) == 0, i == 0);
        memcpy(before, training, sizeof(before));
    }
    free(a);
}

/* On the CPU each has a core; of a GPU more than a few gain nothing. */
static void a_gpu_is_given_a_few_threads(void **state)
{
    (void)state;
    assert_int_equal(training_threads((struct device){ DEVICE_CPU, 0 }, 16), 16);
    assert_int_equal(training_threads((struct device){ DEVICE_CUDA, 0 }, 16), 8);
    assert_int_equal(training_threads((struct device){ DEVICE_CUDA, 0 }, 2), 2);
}

static void assert_same_training(const char *changes, const char *others)
{
    char cell[33], a[33], b[33];
    only_ids(changes, cell, a);
    only_ids(others, cell, b);
    if (strcmp(a, b) != 0)
        fail_msg("'%s' and '%s' have different trainings", changes, others);
}

static void an_id_does_not_hang_on_what_is_decided_after_or_how_it_is_said(void **state)
{
    (void)state;
    assert_same_training("",
                         "t.schedule = 'linear' t.warmup = 0.03 t.length = 64 t.router = 'same' "
                         "t.betas = { 0.9, 0.999 } t.batch = 16 t.seed = 0 s.name = 'y'");
    assert_same_training("", "t.router = topk()");
    assert_same_training("", "t.name = 'annealed'");
    assert_same_training("", "s.dtype = 'bfloat16'");
    assert_same_training("", "s.log = { tokens = 'none' }");
    assert_same_training("", "s.tasks = nll { file = 't.jsonl', truncate = true }");
    assert_same_training("t.seed = 7", "t.seed = 7 s.seeds = 3");
    assert_same_training("s.device = 'cuda:0'", "s.device = 'cuda:1'");
    assert_same_training("t.router = seqtopk { max = K + 1 }", "t.router = seqtopk { max = 3 }");
    // Where K is drawn, the cell's decides nothing.
    assert_same_training("t.matryoshka = { K = { 2, 4 } }",
                         "t.matryoshka = { K = { 2, 4 } } s.K = 1");
    assert_same_training("s.routers = topp()", "s.routers = topp() s.K = 1");
    char *elsewhere = xasprintf("s.models = '%s/a'", dir);
    assert_same_training("", elsewhere);
    free(elsewhere);
}

/* As it was before there was any training: these ids stand in databases. */
static void an_untrained_cell_keeps_its_id(void **state)
{
    (void)state;
    struct sweep *s = must_open("s.train = none()");
    assert_null(s->cells[0].training);
    assert_string_equal(s->cells[0].train, "none");
    assert_int_equal(s->ntrainings, 0);
    struct buf text = BUF_INIT;
    const struct sweep_model *m = &s->models[0];
    buf_addf(&text,
             "seqtopk cell, numerics %d\nweights %s\ntokenizer %s\nrouter topk\nK 2\ntrain none\n"
             "dtype float32\ndevice cpu\nseed 0\nlog tokens\ndata %s\ndocuments 1\ntruncate 0\n",
             NUMERICS_VERSION, m->weights_hash, m->tokenizer_hash, s->tasks[0].data_hash);
    struct hash *h = hash_new();
    char id[33];
    hash_adds(h, text.s);
    hash_adds(h, "nll:t.jsonl");
    hash_adds(h, "text");
    hash_adds(h, "text");
    hash_hex(h, id);
    hash_free(h);
    assert_string_equal(s->cells[0].id, id);
    buf_release(&text);
    sweep_free(s);
}

static void cells_that_only_decode_in_another_mode_share_a_model(void **state)
{
    (void)state;
    struct sweep *s = must_open("s.routers = { seqtopk { mode = 'online', max = 4 },\n"
                                "seqtopk { mode = 'strict', max = 4 }, seqtopk { max = 4 },\n"
                                "seqtopk { mode = 'online', max = 4, prefill = 'global' },\n"
                                "seqtopk { mode = 'online', max = 3 }, topk() }");
    assert_int_equal(s->ncells, 6);
    assert_int_equal(s->ntrainings, 3);
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(s->cells[i].training, s->trainings[0]);
    assert_ptr_equal(s->cells[4].training, s->trainings[1]);
    const struct sweep_training *t = s->trainings[0];
    assert_string_equal(router_mode(t->router, &t->args), "global");
    assert_int_equal(t->args.max, 4);
    assert_string_equal(router_mode(s->cells[0].router, &s->cells[0].args), "online");
    sweep_free(s);
}

static void N_is_what_prune_leaves_and_the_model_of_none_keeps_its_own(void **state)
{
    (void)state;
    struct sweep *s = must_open("s.routers = { seqtopk { max = N }, topk() }\n"
                                "t.prune = { share = 0.25 } s.train = { none(), sft(t) }");
    assert_int_equal(s->ncells, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(s->cells[i].args.N, s->cells[i].training ? 6 : 8);
    assert_int_equal(s->cells[0].args.max, 8);
    assert_int_equal(s->cells[2].args.max, 6);
    assert_int_equal(s->cells[2].training->args.max, 6);
    assert_int_equal(s->cells[2].training->args.N, 6);
    sweep_free(s);
}

static void every_task_is_scored_on_one_model_and_every_seed_on_its_own(void **state)
{
    (void)state;
#define TWO_TASKS                                                                         \
    "s.tasks = { nll { file = 't.jsonl' }, nll { file = 't.jsonl', truncate = true } }\n" \
    "s.seeds = { 1, 2 }"
    struct sweep *s = must_open(TWO_TASKS);
    assert_int_equal(s->ncells, 4);
    assert_int_equal(s->ntrainings, 2);
    assert_int_equal(s->trainings[1]->how.seed, 2);
    assert_ptr_equal(s->cells[0].training, s->cells[2].training);
    sweep_free(s);
    s = must_open(TWO_TASKS " t.seed = 5");
    assert_int_equal(s->ncells, 4);
    assert_int_equal(s->ntrainings, 1);
    assert_int_equal(s->trainings[0]->how.seed, 5);
    sweep_free(s);
}

static void seeds_repeat_nothing_that_was_trained_by_them(void **state)
{
    (void)state;
    static const struct {
        const char *changes;
        bool repeats;
    } cases[] = {
        { "s.seeds = { 1, 2 }", false },
        { "s.seeds = { 1, 2 } t.seed = 3", true },
        { "s.seeds = { 1, 2 } s.train = { none(), sft(t) }", true },
        { "s.seeds = 1 s.train = { none(), sft(t) }", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sweep *s = must_open(cases[i].changes);
        assert_int_equal(sweep_repeats(s), cases[i].repeats);
        sweep_free(s);
    }
}

static void trainings_stand_between_models_and_tasks(void **state)
{
    (void)state;
    struct sweep *s = must_open(
        "local u = {} for k, v in pairs(t) do u[k] = v end u.steps = 5\n"
        "s.train = { none(), sft(t), sft(u) } s.models = { 'a', 'b' } s.K = { 2, 1 }\n"
        "s.tasks = { nll { file = 't.jsonl' }, nll { file = 't.jsonl', truncate = true } }");
    assert_int_equal(s->ncells, 2 * 3 * 2 * 2);
    assert_int_equal(s->ntrainings, 2 * 2 * 2);
    for (size_t i = 0; i < s->ncells; i++) {
        const struct cell *c = &s->cells[i];
        int train = (int)(i / 4 % 3);
        assert_ptr_equal(c->model, &s->models[i / 12]);
        assert_ptr_equal(c->task, &s->tasks[i / 2 % 2]);
        assert_int_equal(c->args.K, i % 2 ? 1 : 2);
        assert_true((c->training != NULL) == (train > 0));
        if (c->training)
            assert_int_equal(c->training->how.steps, train == 1 ? 9 : 5);
        if (c->training)
            assert_int_equal(c->training->args.K, c->args.K);
    }
    const struct cell *ordered[24];
    cells_by_training(s, ordered);
    for (size_t i = 1; i < s->ncells; i++) {
        const struct cell *c = ordered[i], *before = ordered[i - 1];
        bool same = c->training == before->training && c->model == before->model;
        for (size_t j = 0; j < i && !same; j++) // none comes again once another came
            assert_false(c->training == ordered[j]->training && c->model == ordered[j]->model);
        if (same)
            assert_true(c > before);
    }
    sweep_free(s);
}

static void the_same_training_said_twice_is_one(void **state)
{
    (void)state;
    struct sweep *s = must_open("local u = {} for k, v in pairs(t) do u[k] = v end\n"
                                "u.router = topk() s.train = { sft(t), none(), sft(u) }");
    assert_int_equal(s->ncells, 2);
    assert_int_equal(s->ntrainings, 1);
    sweep_free(s);
}

static void length_is_the_models_context_and_never_more(void **state)
{
    (void)state;
    struct sweep *s = must_open("");
    assert_int_equal(s->trainings[0]->how.length, 64);
    sweep_free(s);
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    m.context = 5000;
    char *c = xasprintf("%s/c", dir);
    fixture_model_write(c, &m);
    fixture_text(c, "tokenizer.json", "{}");
    s = must_open("s.models = 'c'");
    assert_int_equal(s->trainings[0]->how.length, LENGTH_DEFAULT);
    sweep_free(s);
    s = must_open("s.models = 'c' t.length = 5000");
    assert_int_equal(s->trainings[0]->how.length, 5000);
    sweep_free(s);
    free(c);
}

static void labels_tell_what_is_not_the_default(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "", "sft d.jsonl 9 steps lr 0.001" },
        { "t.steps = nil t.epochs = 1.5 t.lr = 1e-5", "sft d.jsonl 1.5 epochs lr 1e-05" },
        { "t.seed = 4 t.schedule = 'constant' t.batch = 2",
          "sft d.jsonl 9 steps lr 0.001 schedule constant batch 2 seed 4" },
        { "t.warmup = 3 t.clip = 100 t.z_loss = 1e-3 t.steps = 10",
          "sft d.jsonl 10 steps lr 0.001 warmup 3 clip 100 z_loss 0.001" },
        { "t.router = seqtopk { mode = 'online', max = K + 1 }",
          "sft d.jsonl 9 steps lr 0.001 router seqtopk(mode online, max K + 1)" },
        { "t.router = topp { p = 0.25 } t.data.limit = 1 t.train_only = 'router'",
          "sft d.jsonl limit=1 9 steps lr 0.001 train_only router router topp(p 0.25)" },
        { "t.matryoshka = { K = { 4, 2 }, per = 'layer' } t.dtype = 'bfloat16'",
          "sft d.jsonl 9 steps lr 0.001 dtype bfloat16 matryoshka 4,2 per layer" },
        { "s.routers = seqtopk { mode = 'online' } t.online = 0.5",
          "sft d.jsonl 9 steps lr 0.001 online 0.5" },
        { "t.name = 'gentle' t.seed = 2", "gentle" },
        { "t.prune = { share = 0.25 }", "sft d.jsonl 9 steps lr 0.001 prune 0.25" },
        { "t.prune = { share = 0.5, texts = 7 } t.seed = 2",
          "sft d.jsonl 9 steps lr 0.001 prune 0.5 by 7 texts seed 2" },
        { "s.routers = seqtopk() t.online = 'anneal' t.seed = 2",
          "sft d.jsonl 9 steps lr 0.001 online anneal seed 2" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sweep *s = must_open(cases[i][0]);
        assert_string_equal(s->trainings[0]->label, cases[i][1]);
        assert_ptr_equal(s->cells[0].train, s->trainings[0]->label);
        sweep_free(s);
    }
}

/* A label says not all of it: else figures would draw two trainings as one. */
static void trainings_of_one_label_are_numbered(void **state)
{
    (void)state;
    struct sweep *s = must_open(
        "s.train = { none(), sft(t) } for i, p in ipairs { '{q}', '{q} ', ' {q}' } do\n"
        "s.train[i + 1] = sft { data = { file = 'd.jsonl', prompt = p, completion = '{a}' }, "
        "steps = 9, lr = i == 3 and 1e-4 or 1e-3 } end");
    assert_int_equal(s->ncells, 4);
    assert_string_equal(s->cells[0].train, "none");
    assert_string_equal(s->cells[1].train, "sft d.jsonl 9 steps lr 0.001");
    assert_string_equal(s->cells[2].train, "sft d.jsonl 9 steps lr 0.001 (2)");
    assert_string_equal(s->cells[3].train, "sft d.jsonl 9 steps lr 0.0001");
    sweep_free(s);
}

static void what_made_it_is_told_as_json(void **state)
{
    (void)state;
    struct sweep *s = must_open("s.routers = seqtopk() t.matryoshka = { K = { 4, 2 } }");
    struct buf about = BUF_INIT;
    training_about(s->trainings[0], s->device, &about);
    json_t *root = json_loads(about.s, 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "training")), s->trainings[0]->id);
    json_t *settings = json_object_get(root, "settings");
    assert_int_equal(json_integer_value(json_object_get(settings, "steps")), 9);
    assert_null(json_object_get(settings, "epochs"));
    assert_string_equal(json_string_value(json_object_get(settings, "schedule")), "linear");
    json_t *K = json_object_get(json_object_get(settings, "matryoshka"), "K");
    assert_int_equal(json_array_size(K), 2);
    json_decref(root);
    buf_release(&about);
    sweep_free(s);
}

static void assert_fails(const char *changes, const char *want)
{
    struct sweep *s = open_with(changes, &silent);
    if (s || !strstr(err.s, want))
        fail_msg("%s\n  says    %s\n  and not %s", changes, s ? "nothing" : err.s, want);
}

static void what_cannot_train_is_refused_before_any_weight_is_read(void **state)
{
    (void)state;
    char *weights = xasprintf("%s/a/model.safetensors", dir);
    unlink(weights);
    assert_fails("t.length = 65", "sft.length: 65; allowed is 2 to the 64 positions of model a");
    assert_fails("t.router = seqtopk { max = K + 7 }",
                 "seqtopk.max: K + 7 is 9 with K = 2 and N = 8 (model a)");
    assert_fails("t.matryoshka = { K = { 2, 9 } }",
                 "sft.matryoshka: K = 9 is above N = 8, the experts of model a");
    assert_fails("t.matryoshka = { K = { 2, 7 } } s.routers = seqtopk()",
                 "seqtopk: max: the default K + 2 is 9 with K = 7 and N = 8");
    assert_fails("t.matryoshka = { K = { 2, 4 } } t.router = topp()",
                 "sft.matryoshka: router topp does not heed K");
    assert_fails("t.online = 0.5",
                 "sft.online: the model trains with topk; allowed is seqtopk in mode global alone");
    assert_fails("t.online = 'anneal' t.router = seqtopk { mode = 'strict' }",
                 "sft.online: the model trains with seqtopk in mode strict; allowed is seqtopk in");
    assert_fails("t.prune = { share = 0.1 }", "sft.prune: a share of 0.1 is none of the 8 experts "
                                              "of model a; allowed is 0.125 or more");
    assert_fails("t.prune = { share = 1 }", "sft.prune: a share of 1 leaves 0 of the 8 experts of "
                                            "model a, whose tokens take 2; allowed is 2 or more");
    assert_fails("t.prune = { share = 0.5 } s.K = 5",
                 "sft.prune: K = 5 is above the 4 experts that a share of 0.5 leaves of the 8 of "
                 "model a");
    assert_fails("t.prune = { share = 0.5 } t.matryoshka = { K = { 2, 6 } }",
                 "sft.prune: K = 6 is above the 4 experts");
    assert_fails("t.prune = { share = 0.5 } s.routers = seqtopk { max = 6 }",
                 "seqtopk.max: 6 with K = 2 and N = 4 (model a with 4 experts left)");
    assert_fails("t.data.file = 'none.jsonl'", "none.jsonl: no such file");
    assert_fails("t.data.prompt = '{question}'", "d.jsonl:1: ");
    fixture_text(dir, "d.jsonl", "{\"q\": \"1\", \"a\": \"\"}\n");
    assert_fails("", "d.jsonl:1: ");
    assert_non_null(strstr(err.s, "empty"));
    fixture_text(dir, "d.jsonl", "");
    assert_fails("", "d.jsonl: ");
    fixture_text(dir, "d.jsonl", "{\"q\": \"1\", \"a\": \"1\"}\n");
    assert_fails("", "model.safetensors");
    free(weights);
}

/* Eight cutoffs for each of the fixture's layers. */
static void write_cutoffs(const char *model, int K)
{
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    float v[64] = { 0.5F };
    struct cutoffs c = { K, m.layers, m.experts, v };
    struct buf text = BUF_INIT;
    char *path = xasprintf("%s/%s", dir, model);
    cutoffs_json(&c, &text);
    fixture_text(path, "cutoffs.json", text.s);
    free(path);
    buf_release(&text);
}

static void a_router_that_learns_needs_what_it_learnt(void **state)
{
    (void)state;
    assert_fails("s.routers = threshold() s.train = none()",
                 "threshold: model a has no cutoffs.json, which training makes; say train = sft { "
                 "..., router = threshold() }");
    assert_fails(
        "s.routers = threshold() t.router = topk()",
        "sft.router: the model trains with topk, and then threshold has no cutoffs; allowed "
        "is \"same\" or threshold()");
    assert_fails("s.routers = threshold() t.matryoshka = { K = { 2, 4 } }",
                 "sft.matryoshka: router threshold learns its cutoffs with one K");
    struct sweep *s = must_open("s.routers = { threshold(), topk() } t.router = threshold()");
    assert_int_equal(s->ntrainings, 1);
    sweep_free(s);
    write_cutoffs("a", 2);
    char one[33];
    s = must_open("s.routers = threshold() s.train = none()");
    memcpy(one, s->cells[0].id, 33);
    sweep_free(s);
    assert_fails(
        "s.routers = threshold() s.train = none() s.K = 1",
        "threshold: the cutoffs of model a were learnt with K = 2 and hold for it alone, not "
        "for K = 1");
    char *a = xasprintf("%s/a", dir);
    struct buf text = BUF_INIT;
    char *path = xasprintf("%s/cutoffs.json", a);
    assert_int_equal(read_file(path, 1 << 20, &text, &err), 0);
    char *half = strstr(text.s, "0.5");
    assert_non_null(half);
    half[2] = '6';
    fixture_text(a, "cutoffs.json", text.s);
    s = must_open("s.routers = threshold() s.train = none()");
    assert_string_not_equal(one, s->cells[0].id);
    sweep_free(s);
    buf_release(&text);
    free(path);
    free(a);
}

static void a_sweep_is_asked_for_where_a_model_is_made_from_nothing(void **state)
{
    (void)state;
    struct sweep *s = open_text(
        "return pretrain { name = 'p', model = { family = 'olmoe', layers = 1, hidden = 8,\n"
        "heads = 2, experts = 4, top_k = 1, expert_ffn = 4, context = 8 }, tokenizer = 'a',\n"
        "data = { file = 'd.jsonl', text = 'q' }, steps = 1, lr = 0 }",
        &silent);
    assert_null(s);
    assert_non_null(strstr(err.s, "r.lua:1: the recipe returns pretrain { ... }, which `seqtopk "
                                  "train` takes; here it must end in: return sweep { ... }"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_id_changes_with_all_that_decides_the_weights, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(
            an_id_does_not_hang_on_what_is_decided_after_or_how_it_is_said, enter, leave),
        cmocka_unit_test_setup_teardown(an_id_hangs_on_an_end_token_that_generation_config_says,
                                        enter, leave),
        cmocka_unit_test(a_gpu_is_given_a_few_threads),
        cmocka_unit_test_setup_teardown(an_untrained_cell_keeps_its_id, enter, leave),
        cmocka_unit_test_setup_teardown(cells_that_only_decode_in_another_mode_share_a_model, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(N_is_what_prune_leaves_and_the_model_of_none_keeps_its_own,
                                        enter, leave),
        cmocka_unit_test_setup_teardown(every_task_is_scored_on_one_model_and_every_seed_on_its_own,
                                        enter, leave),
        cmocka_unit_test_setup_teardown(seeds_repeat_nothing_that_was_trained_by_them, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(trainings_stand_between_models_and_tasks, enter, leave),
        cmocka_unit_test_setup_teardown(the_same_training_said_twice_is_one, enter, leave),
        cmocka_unit_test_setup_teardown(length_is_the_models_context_and_never_more, enter, leave),
        cmocka_unit_test_setup_teardown(labels_tell_what_is_not_the_default, enter, leave),
        cmocka_unit_test_setup_teardown(trainings_of_one_label_are_numbered, enter, leave),
        cmocka_unit_test_setup_teardown(what_made_it_is_told_as_json, enter, leave),
        cmocka_unit_test_setup_teardown(what_cannot_train_is_refused_before_any_weight_is_read,
                                        enter, leave),
        cmocka_unit_test_setup_teardown(a_router_that_learns_needs_what_it_learnt, enter, leave),
        cmocka_unit_test_setup_teardown(a_sweep_is_asked_for_where_a_model_is_made_from_nothing,
                                        enter, leave),
    };
    return cmocka_run_group_tests_name("sweep_training", tests, NULL, NULL);
}
