/*
 * config_rope.c: see config_rope.h. What is absent has the value that transformers gives it; what it
 * only warns of, though the numbers would be senseless, is refused.
 */
#include "config_rope.h"

#include <math.h>
#include <string.h>

static const char *const kinds[] = { [ROPE_DEFAULT] = "default",
                                     [ROPE_LINEAR] = "linear",
                                     [ROPE_LLAMA3] = "llama3",
                                     [ROPE_YARN] = "yarn" };

static const double largest = 1e6; // of factors

/* Old files call it "type". */
static int read_kind(const struct json_in *in, enum rope_kind *kind)
{
    const char *type = NULL, *old = NULL;
    if (json_opt_string(in, "rope_type", &type) || json_opt_string(in, "type", &old))
        return -1;
    if (type && old && strcmp(type, old) != 0)
        return json_refuse(in, "type", "rope_type beside it is \"%s\"", type);
    *kind = ROPE_DEFAULT;
    if (!type && !old)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i], type ? type : old) == 0) {
            *kind = (enum rope_kind)i;
            return 0;
        }
    return json_refuse(in, type ? "rope_type" : "type",
                       "\"default\", \"linear\", \"llama3\" and \"yarn\" are supported");
}

static int read_llama3(const struct json_in *in, struct rope_scaling *r)
{
    if (json_need_number(in, "low_freq_factor", 1e-6, largest, &r->low) ||
        json_need_number(in, "high_freq_factor", 1e-6, largest, &r->high))
        return -1;
    if (r->high <= r->low)
        return json_refuse(in, "high_freq_factor", "more than low_freq_factor (%g) is allowed",
                           r->low);
    return 0;
}

/* By how much attention is sharpened where contexts are `factor` times longer. */
static double sharpened(double factor, double by)
{
    return factor <= 1 ? 1 : 0.1 * by * log(factor) + 1;
}

static int read_yarn(const struct json_in *in, struct rope_scaling *r)
{
    double by = 0, by_all = 0;
    r->low = 1;
    r->high = 32;
    r->truncate = true;
    if (json_opt_number(in, "beta_slow", 1e-6, largest, &r->low) ||
        json_opt_number(in, "beta_fast", 1e-6, largest, &r->high) ||
        json_opt_bool(in, "truncate", &r->truncate) ||
        json_opt_number(in, "mscale", 0, largest, &by) ||
        json_opt_number(in, "mscale_all_dim", 0, largest, &by_all))
        return -1;
    if (r->high < r->low && json_value(in, "beta_fast"))
        return json_refuse(in, "beta_fast", "at least beta_slow (%g) is allowed", r->low);
    if (r->high < r->low)
        return json_refuse(in, "beta_slow", "at most beta_fast (%g) is allowed", r->high);
    r->attention = sharpened(r->factor, 1);
    if (by > 0 && by_all > 0)
        r->attention = sharpened(r->factor, by) / sharpened(r->factor, by_all);
    return json_opt_number(in, "attention_factor", 1e-6, largest, &r->attention);
}

static int read_scaling(const struct json_in *in, struct rope_scaling *r)
{
    if (r->kind == ROPE_DEFAULT)
        return 0;
    if (json_need_number(in, "factor", 1, largest, &r->factor) ||
        json_opt_number(in, "original_max_position_embeddings", 1, 1e9, &r->original))
        return -1;
    return r->kind == ROPE_LLAMA3 ? read_llama3(in, r)
           : r->kind == ROPE_YARN ? read_yarn(in, r)
                                  : 0;
}

static int whole_head(const struct json_in *in)
{
    double part = 1;
    if (json_opt_number(in, "partial_rotary_factor", 0, 1, &part))
        return -1;
    return part != 1 ? json_refuse(in, "partial_rotary_factor", "only 1 is supported") : 0;
}

/* `theta`: the base that is in force so far, NULL where none is stated. */
static int read_object(const struct json_in *in, const double *theta, struct model_config *c)
{
    double own = c->rope_theta;
    if (whole_head(in) || json_opt_number(in, "rope_theta", 1, 1e12, &own) ||
        read_kind(in, &c->rope.kind) || read_scaling(in, &c->rope))
        return -1;
    if (theta && own != *theta)
        return json_refuse(in, "rope_theta", "elsewhere in the file it is %g", *theta);
    c->rope_theta = own;
    return 0;
}

static bool same_scaling(const struct rope_scaling *a, const struct rope_scaling *b)
{
    return a->kind == b->kind && a->factor == b->factor && a->original == b->original &&
           a->low == b->low && a->high == b->high && a->attention == b->attention &&
           a->truncate == b->truncate;
}

int config_read_rope(const struct json_in *in, double theta, struct model_config *c)
{
    static const char *const keys[] = { "rope_parameters", "rope_scaling" };
    bool stated = json_value(in, "rope_theta"), first = true;
    struct rope_scaling plain = { .original = c->context }, was;
    struct buf where = BUF_INIT;
    int rc = 0;
    c->rope_theta = theta;
    if (whole_head(in) || json_opt_number(in, "rope_theta", 1, 1e12, &c->rope_theta))
        return -1;
    c->rope = was = plain;
    for (size_t i = 0; i < ARRAY_LEN(keys) && rc == 0; i++) {
        const json_t *object;
        if (!json_value(in, keys[i]))
            continue;
        if (json_need_object(in, keys[i], &object))
            return -1;
        buf_reset(&where);
        buf_addf(&where, "%s: %s", in->where, keys[i]);
        const struct json_in sub = { object, where.s, in->err };
        double so_far = c->rope_theta;
        c->rope = plain;
        rc = read_object(&sub, stated ? &so_far : NULL, c);
        if (rc == 0 && !first && !same_scaling(&was, &c->rope))
            rc = json_refuse(in, keys[i], "rope_parameters has another scaling");
        stated = stated || json_value(&sub, "rope_theta");
        was = c->rope;
        first = false;
    }
    buf_release(&where);
    // At the top level it has the last word.
    if (rc || json_opt_number(in, "original_max_position_embeddings", 1, 1e9, &c->rope.original))
        return -1;
    if (c->rope.kind == ROPE_YARN && c->rope_theta <= 1)
        return fail(in->err, "%s: rope_theta is %g; with yarn it must be more than 1", in->where,
                    c->rope_theta);
    return 0;
}
