/*
 * config_rope.h: what config.json says of rotary positions, read into a configuration.
 *
 * Invariant: a kind of scaling is either computed as transformers computes it, or refused by name.
 * Leaves out: the frequencies themselves, which are computed as a model is built.
 */
#ifndef CONFIG_ROPE_H
#define CONFIG_ROPE_H

#include "json.h"
#include "weights.h"

/*
 * Fills in rope_theta and rope; `theta` is the base where the file names none. Needs the context. The
 * base stands at the top level, in "rope_parameters" or in "rope_scaling"; a scaling in one of the
 * two. Where they say it twice, they must say the same.
 */
int config_read_rope(const struct json_in *in, double theta, struct model_config *c) MUST_USE;

#endif
