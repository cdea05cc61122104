/*
 * run_memory.c: see run_memory.h.
 */
#include "run_memory.h"

#include "recipe/recipe_train.h"

static void add_weights(void *sum, const char *name, int ndim, const int64_t shape[2])
{
    int64_t count = 1;
    (void)name;
    for (int i = 0; i < ndim; i++)
        count *= shape[i];
    *(int64_t *)sum += count;
}

struct memory_needed memory_needed(const struct model_config *c, enum dtype dtype, int64_t tokens)
{
    struct memory_needed n = { 0 };
    int64_t size = (int64_t)dtype_size(dtype), count = 0;
    int64_t kept = 2 * (int64_t)c->layers * c->kv_heads * c->head_dim;
    int64_t pair = 3 * (int64_t)c->expert_ffn + c->hidden;
    int64_t work = 8 * (int64_t)c->hidden + c->top_k * pair + 3 * (int64_t)c->shared_ffn;
    weights_each(c, add_weights, &count);
    n.weights = count * size;
    // The logits of a token are float32, and there when no layer is at work any more.
    int64_t logits = (int64_t)c->vocab * (int64_t)sizeof(float);
    n.text = tokens * (kept * size + (logits > work * size ? logits : work * size));
    return n;
}

static void add_bytes(struct buf *out, int64_t bytes)
{
    if (bytes >= 100000000)
        buf_addf(out, "%.1f GB", (double)bytes / 1e9);
    else
        buf_addf(out, "%.1f MB", (double)bytes / 1e6);
}

void memory_refuse(const struct model_config *c, enum dtype dtype,
                   const struct memory_needed *needed, const char *device, int64_t free_bytes,
                   int64_t total, struct buf *err)
{
    struct buf text = BUF_INIT;
    buf_addf(&text, "out of memory: %s needs ", c->name);
    add_bytes(&text, needed->weights);
    buf_addf(&text, " in %s and about ", dtype_name(dtype));
    add_bytes(&text, needed->text);
    buf_addf(&text, " for one text, and of the ");
    add_bytes(&text, total);
    buf_addf(&text, " of %s ", device);
    add_bytes(&text, free_bytes);
    buf_adds(&text, " are free");
    if (dtype == DTYPE_F32 && needed->weights / 2 + needed->text <= free_bytes)
        buf_adds(&text, "; with --dtype bfloat16 it fits");
    fail(err, "%s", text.s);
    buf_release(&text);
}

int memory_check(const struct engine *engine, struct device device, const char *name,
                 const struct model_config *c, enum dtype dtype, int64_t tokens, struct buf *err)
{
    struct memory_needed needed = memory_needed(c, dtype, tokens);
    int64_t free_bytes, total;
    if (!engine->device_memory(device, &free_bytes, &total) ||
        needed.weights + needed.text <= free_bytes)
        return 0;
    memory_refuse(c, dtype, &needed, name, free_bytes, total, err);
    return -1;
}

int64_t memory_trained(const struct model_config *c, const struct training *t)
{
    // Weights, averages, gradient; in eight bits the averages have their scales beside them.
    const double each[2][2] = {
        [false] = { [OPTIMISER_ADAMW] = 4 + 8 + 4, [OPTIMISER_ADAMW8BIT] = 4 + 2.03 + 4 },
        [true] = { [OPTIMISER_ADAMW] = 6 + 8 + 6, [OPTIMISER_ADAMW8BIT] = 4 + 2.03 + 2 }
    };
    bool half = t->dtype == DTYPE_BF16;
    int64_t count = 0;
    weights_each(c, add_weights, &count);
    return (int64_t)((double)count * (t->only == TRAIN_ALL ? each[half][t->optimiser]
                                                           : (double)dtype_size(t->dtype)));
}

int memory_check_training(const struct engine *engine, struct device device, const char *name,
                          const struct model_config *c, const struct training *t, struct buf *err)
{
    struct training smaller = *t;
    struct buf text = BUF_INIT;
    int64_t free_bytes, total, needed = memory_trained(c, t);
    if (device.kind == DEVICE_CPU || !engine->device_memory(device, &free_bytes, &total) ||
        needed <= free_bytes)
        return 0;
    buf_addf(&text, "out of memory: %s needs at least ", c->name ? c->name : "the model");
    add_bytes(&text, needed);
    buf_addf(&text, " to be trained in %s with %s, and of the ", dtype_name(t->dtype),
             training_optimisers[t->optimiser]);
    add_bytes(&text, total);
    buf_addf(&text, " of %s ", name);
    add_bytes(&text, free_bytes);
    buf_adds(&text, " are free");
    smaller.dtype = DTYPE_BF16;
    smaller.optimiser = OPTIMISER_ADAMW8BIT;
    if (memory_trained(c, &smaller) < free_bytes)
        buf_adds(&text, "; dtype = \"bfloat16\" and optimiser = \"adamw8bit\" need less");
    fail(err, "%s", text.s);
    buf_release(&text);
    return -1;
}
