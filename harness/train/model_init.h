/*
 * model_init.h: a model that has learnt nothing, as a Hugging Face folder: what a pre-training
 * begins with.
 *
 * Matrices and embeddings are normal with a deviation of 0.02, norms are 1, biases 0. A tensor's
 * numbers hang on the seed and its name alone, so that the same model always begins in the same place.
 * Leaves out: which sizes make sense; config.json is refused where the model could not be opened.
 */
#ifndef MODEL_INIT_H
#define MODEL_INIT_H

#include "weights.h"

/*
 * Makes the folder `dir`, which must not be there: config.json, model.safetensors in c->dtype, and a
 * copy of the file `tokenizer` as tokenizer.json (NULL: none). Written under another name, `dir` and
 * ".tmp", and renamed. `name` of the configuration is not looked at; a head_dim, kv_heads, rms_eps or
 * rope_theta of 0 is the family's default; so that zeroes but for the sizes make a model.
 */
int model_init(const char *dir, const struct model_config *c, const char *tokenizer, int64_t seed,
               struct buf *err) MUST_USE;

#endif
