/*
 * config.c: the input is a model's config.json; behind a NUL, its generation_config.json.
 *
 * What is taken has sizes whose tensors can be named, none of them without an element.
 */
#include "fuzz.h"

#include "weights.h"

static void visit(void *context, const char *name, int ndim, const int64_t shape[2])
{
    struct buf *all = context;
    if (ndim < 1 || ndim > 2 || shape[0] < 1 || (ndim == 2 && shape[1] < 1))
        BUG("%s has no elements", name);
    buf_reset(all);
    buf_adds(all, name);
}

static void look_at(const struct model_config *c)
{
    struct buf name = BUF_INIT;
    if (c->top_k < 1 || c->top_k > c->experts || c->heads % c->kv_heads != 0)
        BUG("K %d of %d, %d heads on %d", c->top_k, c->experts, c->heads, c->kv_heads);
    if (c->neos < 0 || c->neos > MAX_EOS)
        BUG("%d end tokens", c->neos);
    fuzz_touch(c->eos, (size_t)c->neos * sizeof(c->eos[0]));
    // A line for each tensor: of a model with a million, that is no look at its config any more.
    if ((int64_t)c->layers * c->experts < 1000)
        weights_each(c, visit, &name);
    buf_release(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf err = BUF_INIT;
    const uint8_t *rest;
    size_t rest_len, n = fuzz_cut(data, len, &rest, &rest_len);
    char *path = fuzz_path("generation_config.json");
    fuzz_file("config.json", data, n);
    if (rest_len)
        fuzz_file("generation_config.json", rest, rest_len);
    else
        unlink(path);
    free(path);
    struct model_config c;
    if (config_read(fuzz_dir(), &c, &err) == 0) {
        look_at(&c);
        config_release(&c);
    } else {
        fuzz_said(&err);
    }
    return 0;
}
