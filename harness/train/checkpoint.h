/*
 * checkpoint.h: what a training leaves on the disk: the trained model, a Hugging Face folder named by
 * the hash of all that made it, and while it is under way the state to go on from.
 *
 * DIR/ID/        the model: config.json, model.safetensors, training.json (what made it, and the sums
 *                of its files), cutoffs.json where they were learnt, and as they are in the base
 *                tokenizer.json, tokenizer_config.json, special_tokens_map.json, generation_config.json
 * DIR/ID.state   the newest state; DIR/ID.state.before the one before it; what was damaged is put
 *                aside as DIR/ID.state.damaged
 * DIR/ID.lock    held by the program that trains it
 * DIR/ID.pruned  the model that it begins with, where experts were taken out first: see prune.h
 *
 * Invariant: each of these names stands for something whole, or nothing: it was written under
 * another name, flushed to the disk, and renamed. A state says the sum of its bytes, and one that was
 * cut short is not used: the one before it is.
 * Errors: a disk that is full leaves what was there as it was.
 */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "dtype.h"
#include "train/checkpoint_file.h"

/* Where trained models are: SEQTOPK_TRAINED, or results/trained. */
const char *checkpoint_root(void);

/*
 * Is there room under `root`, which is made, for all that a training of ID leaves there: three states,
 * of so many bytes each, while the newest is written, or two and the model? What lies there already
 * is counted off. state = 0: no state is written, and the model alone needs room.
 */
int checkpoint_room(const char *root, const char *id, int64_t state, int64_t model,
                    struct buf *err) MUST_USE;

/* One tensor that is to be written. */
struct checkpoint_tensor {
    const char *name;
    int ndim;
    const int64_t *shape;
    const float *values; /* row-major; not looked at where the bytes come from a function */
};

/* A safetensors file, in one dtype, float32 or bfloat16. Flushed to the disk; none where it fails. */
int safetensors_write(const char *path, const struct checkpoint_tensor *v, size_t n,
                      enum dtype dtype, struct buf *err) MUST_USE;
/*
 * The same with the bytes that get() gives: of all tensors, one behind the other, in that dtype; the
 * parts end anywhere between two numbers. Two parts of CHECKPOINT_PART bytes are held, however large
 * the model.
 */
int safetensors_write_from(const char *path, const struct checkpoint_tensor *v, size_t n,
                           enum dtype dtype, checkpoint_get *get, void *of,
                           struct buf *err) MUST_USE;

/*
 * Is the model there? Its files are as long as training.json says, and have the sums that it says;
 * a folder that is not whole is refused with what to do. `dir` gets its path in any case.
 */
int checkpoint_find(const char *root, const char *id, bool *found, struct buf *dir,
                    struct buf *err) MUST_USE;

/* Waits until no other program trains ID; NULL also where `stop` (may be NULL) ended the wait. */
struct checkpoint_lock;
struct checkpoint_lock *checkpoint_lock(const char *root, const char *id, bool (*stop)(void),
                                        struct buf *err) MUST_USE;
void checkpoint_unlock(struct checkpoint_lock *l);

/*
 * What a training goes on from. The trainer's bytes, as it has them (trainer.h), are not in here:
 * they come and go a part at a time, so that no second copy of a large model is ever made.
 */
struct checkpoint_state {
    int64_t step;   /* that are done */
    int64_t tokens; /* trained on so far */
    int64_t bytes;  /* the trainer's */
    int64_t nextra; /* moving averages of cutoffs, and what belongs to them */
    double *extra;  /* [nextra] */
};
void checkpoint_state_release(struct checkpoint_state *s);
/* Bytes from `at` to at + n - 1 into the trainer; `of` is the caller's. */
typedef int checkpoint_put(void *of, int64_t at, int64_t n, const void *bytes, struct buf *err);
/* Where it fails, the states that were there are there. The lock is held. */
int checkpoint_save(const char *root, const char *id, const struct checkpoint_state *s,
                    checkpoint_get *get, void *of, struct buf *err) MUST_USE;
/*
 * The newest state that is whole and of s->bytes and s->nextra, which the caller fills in; the rest of
 * `s` gets it. found = false: there is none, and nothing was put. A damaged one is told by a warning,
 * and put aside; a whole one of another version of this program is refused, and stays.
 */
int checkpoint_load(const char *root, const char *id, struct checkpoint_state *s,
                    checkpoint_put *put, void *of, bool *found, struct buf *err) MUST_USE;

/* Learnt cutoffs, [layers, experts], and the K that they were learnt with: see cutoffs.h. */
struct cutoffs;

/* What a finished model's folder is made of. */
struct checkpoint_model {
    const char *base; /* the folder whose config, tokenizer and generation_config it takes */
    int experts;      /* that a layer has, which config.json says instead; 0: as the base's */
    const struct checkpoint_tensor *tensors;
    size_t ntensors;
    checkpoint_get *get; /* see safetensors_write_from(); NULL: the tensors have their values */
    void *of;            /* get's */
    enum dtype dtype;
    const struct cutoffs *cutoffs; /* NULL: none */
    const char *about;             /* JSON object: goes into training.json as "made_by" */
};
/* What a program left that was killed between the model and this. What cannot be removed does no harm. */
void checkpoint_remove_states(const char *root, const char *id);

/* Writes the folder, then removes the states. config.json says the new dtype. The lock is held. */
int checkpoint_publish(const char *root, const char *id, const struct checkpoint_model *m,
                       struct buf *err) MUST_USE;

#endif
