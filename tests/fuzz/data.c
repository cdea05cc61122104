/*
 * data.c: the first byte of the input says what the rest is read as, one of the kinds below: JSON
 * lines of a task, of a training or with texts to be scored.
 *
 * What the first reading (without a tokenizer) takes, the second takes as well, but for lengths;
 * documents keep what data.h promises of them.
 */
#include "fuzz.h"

#include "cmd/predictions.h"
#include "recipe/data.h"
#include "recipe/lesson_data.h"

enum { CONTEXT = 64 };

static struct tokenizer *tokenizer; // of the first run that needs it; kept

static void open_tokenizer(void)
{
    struct buf err = BUF_INIT;
    tokenizer = tokenizer ? tokenizer : tokenizer_open("tests/data/tokenizer/small.json", &err);
    if (!tokenizer)
        BUG("%s (targets run from the project's root)", err.s);
}

static void look_at(const struct documents *d, bool generates)
{
    for (size_t i = 0; i < d->len; i++) {
        const struct document *doc = &d->v[i];
        int tokens = (int)doc->ids.len, least = generates ? 1 : 2;
        if (tokens < least || tokens > CONTEXT)
            BUG("document %zu has %d tokens", i, tokens);
        if (generates ? doc->prompt_tokens != tokens
                      : doc->prompt_tokens < 1 || doc->prompt_tokens >= tokens)
            BUG("document %zu: a prompt of %d of %d tokens", i, doc->prompt_tokens, tokens);
        fuzz_touch(doc->ids.v, doc->ids.len * sizeof(doc->ids.v[0]));
    }
}

static void read_task(struct task *t, struct buf *err)
{
    struct documents docs = { 0 };
    bool ok = data_check(t, err) == 0;
    if (!ok)
        fuzz_said(err);
    int rc = documents_read(t, tokenizer, CONTEXT, &docs, err);
    if (rc == 0 && !ok)
        BUG("data are read that were refused before");
    if (rc == 0)
        look_at(&docs, task_generates(t));
    else
        fuzz_said(err);
    documents_release(&docs);
}

/* A task over DIR/`name`; `prompt` NULL: of whole texts. Its strings belong to it. */
static struct task make_task(const char *name, const char *prompt, const char *target)
{
    struct task t = { .name = xstrdup("e/f"), .file = fuzz_path(name) };
    if (!prompt) {
        t.text = xstrdup("text");
        return t;
    }
    t.eval = xcalloc(1, sizeof(*t.eval));
    t.eval->name = xstrdup("e");
    t.eval->forms = xcalloc(1, sizeof(*t.eval->forms));
    t.eval->nforms = 1;
    t.eval->forms[0] = (struct eval_form){ .name = xstrdup("f"), .prompt = xstrdup(prompt) };
    t.eval->forms[0].target = target ? xstrdup(target) : NULL;
    t.eval->forms[0].generates = !target;
    t.form = &t.eval->forms[0];
    t.decoding.max_tokens = target ? 0 : 4;
    return t;
}

static void run_task(struct task t, struct buf *err)
{
    open_tokenizer();
    read_task(&t, err);
    task_release(&t);
}

/* The same file gives the shots, two for each document. */
static void with_shots(struct buf *err)
{
    struct task t = make_task("d.jsonl", "Q: {text}", NULL);
    t.shots_file = xstrdup(t.file);
    t.truncate = true;
    t.eval->forms[0].shots = (struct eval_shots){ .file = xstrdup("d.jsonl"),
                                                  .text = xstrdup("{text}\n"),
                                                  .count = 2,
                                                  .draw = SHOTS_PYTHON,
                                                  .seed = 1 };
    run_task(t, err);
}

/* Only lines whose id is 1 to 3. */
static void with_rows(struct buf *err)
{
    struct task t = make_task("d.jsonl", "Q: {text}\nA:", " {target}");
    t.eval->rows = (struct eval_rows){ .field = xstrdup("id"), .from = 1, .to = 3 };
    run_task(t, err);
}

static int take(void *ud, const struct lesson_text *text, struct buf *err)
{
    (void)err;
    size_t *n = ud;
    (*n)++;
    fuzz_touch(text->prompt->s, text->prompt->len);
    if (!text->completion->len || !*text->where)
        BUG("an empty lesson");
    return 0;
}

static void lessons(bool whole, struct buf *err)
{
    struct lesson_data d = { .too_long = TOO_LONG_SKIP, .held_out = 0.5 };
    char *path = fuzz_path("d.jsonl");
    size_t n = 0;
    strings_add(&d.files, path);
    free(path);
    d.source = xstrdup("source");
    d.text = whole ? xstrdup("text") : NULL;
    d.prompt = whole ? NULL : xstrdup("{text}");
    d.completion = whole ? NULL : xstrdup(" {target}");
    if (lesson_data_check(&d, err) != 0)
        fuzz_said(err);
    else if (lesson_data_each(&d, take, &n, err) != 0 || n != d.documents)
        BUG("%zu of %zu documents: %s", n, d.documents, err->s);
    lesson_data_release(&d);
}

static void predictions(struct buf *err)
{
    struct predictions p = { 0 };
    char *path = fuzz_path("d.jsonl");
    if (predictions_read(&p, path, "e/f", 4, err) != 0)
        fuzz_said(err);
    else if (predictions_count(&p, 4) > 4)
        BUG("more texts than documents");
    predictions_release(&p);
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf err = BUF_INIT;
    if (!len)
        return 0;
    const char *name = data[0] == 'a' ? "d.json" : data[0] == 'z' ? "d.jsonl.gz" : "d.jsonl";
    fuzz_file(name, data + 1, len - 1);
    switch (data[0]) {
    case 't': // whole texts, by lines,
    case 'a': // in one array,
    case 'z': // behind gzip
        run_task(make_task(name, NULL, NULL), &err);
        break;
    case 'l': // the loss of a target
        run_task(make_task(name, "Q: {text}\nA:", " {target}"), &err);
        break;
    case 'g': // what a model goes on from
        run_task(make_task(name, "Q: {text}", NULL), &err);
        break;
    case 's':
        with_shots(&err);
        break;
    case 'r':
        with_rows(&err);
        break;
    case 'w': // whole texts, and prompts with completions, to train on
    case 'c':
        lessons(data[0] == 'w', &err);
        break;
    case 'p':
        predictions(&err);
        break;
    default:
        return -1; // nothing was read: not worth keeping
    }
    buf_release(&err);
    return 0;
}
