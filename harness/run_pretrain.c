/*
 * run_pretrain.c: see run_pretrain.h.
 */
#include "run_pretrain.h"

#include "json.h"
#include "recipe/recipe_pretrain.h"
#include "recipe/sweep_training.h"
#include "run_impl.h"
#include "run_tokenizer.h"
#include "train/checkpoint.h"
#include "train/checkpoint_file.h"
#include "train/model_init.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ABOUT_MAX = 1 << 24, COPY_PIECE = 1 << 20 };

struct pretraining {
    struct recipe_pretrain *said;
    char *device;
    struct sweep_model model; /* with random weights; its folder is there while it is needed */
    struct sweep_training training;
    char *tokenizer;
    struct buf trained; /* the trained model's folder */
    bool there, copied; /* is it there, and in `out`? */
};

/* ---- what it is ---- */

/* In the place of the weights that a training begins with: all that decides them. */
static void hash_model(const struct recipe_pretrain *p, struct sweep_model *m)
{
    const struct model_config *c = &p->model;
    struct buf text = BUF_INIT;
    struct hash *h = hash_new();
    buf_addf(&text, "seqtopk random weights, numerics %d\nfamily %d\n", NUMERICS_VERSION,
             (int)c->family);
    const int sizes[] = { c->layers,         c->hidden,   c->heads, c->kv_heads,   c->head_dim,
                          c->context,        c->experts,  c->top_k, c->expert_ffn, c->shared_ffn,
                          c->norm_topk_prob, c->qkv_bias, c->tied };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        buf_addf(&text, "%d\n", sizes[i]);
    buf_addf(&text, "%.17g\n%.17g\n%.17g\nseed %lld\nend %s\n", c->rms_eps, c->rope_theta,
             c->clip_qkv, (long long)p->train.how.seed, p->end_text);
    hash_adds(h, text.s);
    hash_hex(h, m->weights_hash);
    hash_free(h);
    buf_release(&text);
}

/* Is DIR the model that the training `id` made, by its training.json? */
static bool made_by(const char *dir, const char *id)
{
    struct buf none = BUF_INIT;
    char *path = xasprintf("%s/training.json", dir);
    json_t *root = json_read_file(path, ABOUT_MAX, &none);
    const char *by =
        json_string_value(json_object_get(json_object_get(root, "made_by"), "training"));
    bool same = by && strcmp(by, id) == 0;
    json_decref(root);
    free(path);
    buf_release(&none);
    return same;
}

/* The folder that PATH lies in, and its name there. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return xstrdup(".");
    return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Is `out` there, whole, and what the training made? Another folder of that name is refused. */
static int check_out(struct pretraining *p, struct buf *err)
{
    const char *out = p->said->out;
    if (!out || access(out, F_OK) != 0)
        return 0;
    if (!made_by(out, p->training.id))
        return place_fail(
            &p->said->at, "out", err,
            "%s is there already, and is another model; remove it, or name another folder", out);
    struct buf dir = BUF_INIT;
    char *parent = folder_of(out);
    int rc = checkpoint_find(parent, name_of(out), &p->copied, &dir, err);
    buf_release(&dir);
    free(parent);
    return rc;
}

static int check_all(struct pretraining *p, struct buf *err)
{
    struct recipe_pretrain *said = p->said;
    struct buf label = BUF_INIT;
    const char *root = checkpoint_root();
    if (!device_named(p->device))
        return fail(err, "--device %s: allowed is " DEVICES_ALLOWED, p->device);
    if ((said->tokenizer_data_said && lesson_data_check(&said->tokenizer_data, err)) ||
        lesson_data_check(&said->train.data, err) ||
        pretrain_tokenizer_find(said, root, &p->tokenizer, p->model.tokenizer_hash, err) ||
        training_resolve(&said->train, NULL, said->K ? said->K : said->model.top_k, &p->model,
                         &p->training, err))
        return -1;
    hash_model(said, &p->model);
    training_identify(&p->training, p->device);
    training_label(&p->training, &label);
    p->training.label = buf_detach(&label);
    p->model.dir = xasprintf("%s/%s.base", root, p->training.id);
    if (checkpoint_find(root, p->training.id, &p->there, &p->trained, err))
        return -1;
    return check_out(p, err);
}

struct pretraining *pretraining_open(const struct recipe *r, const char *device, struct buf *err)
{
    struct pretraining *p = xcalloc(1, sizeof(*p));
    p->said = r->pretrain;
    p->device = xstrdup(device);
    buf_init(&p->trained);
    for (char *out = p->said->out; out && out[0] && out[1] && out[strlen(out) - 1] == '/';)
        out[strlen(out) - 1] = '\0'; // a name goes behind it
    p->model.name = xstrdup(p->said->name);
    p->model.config = p->said->model;
    if (check_all(p, err) == 0)
        return p;
    pretraining_free(p);
    return NULL;
}

void pretraining_free(struct pretraining *p)
{
    if (!p)
        return;
    buf_release(&p->trained);
    free(p->training.label);
    free(p->model.name);
    free(p->model.dir);
    free(p->tokenizer);
    free(p->device);
    free(p);
}

bool pretraining_there(const struct pretraining *p)
{
    return p->there || p->copied;
}

const struct sweep_training *pretraining_training(const struct pretraining *p)
{
    return &p->training;
}

const char *pretraining_dir(const struct pretraining *p)
{
    return p->said->out ? p->said->out : p->trained.s;
}

/* ---- making it ---- */

/* The folder with random weights. Another program may be making the same one. */
static int make_base(const struct pretraining *p, struct buf *err)
{
    char *name = xasprintf("%s.base", p->training.id);
    struct checkpoint_lock *lock = checkpoint_lock(checkpoint_root(), name, NULL, err);
    int rc = lock ? 0 : -1;
    if (rc == 0 && access(p->model.dir, F_OK) != 0)
        rc = model_init(p->model.dir, &p->model.config, p->tokenizer, p->said->train.how.seed, err);
    checkpoint_unlock(lock);
    free(name);
    return rc;
}

/* Tokenizer, lessons, and the folder with random weights. */
static int prepare(struct pretraining *p, struct lessons *lessons, struct buf *err)
{
    struct model_config *c = &p->model.config;
    struct tokenizer *t = pretrain_tokenizer_open(p->said, p->tokenizer, err);
    int rc = t ? pretrain_end_token(p->said, t, p->tokenizer, &c->eos[0], err) : -1;
    if (rc == 0) {
        c->neos = 1;
        c->vocab = tokenizer_size(t);
        rc = lessons_read(&p->said->train.data, t, c->eos[0], &p->training.how, c->context, lessons,
                          err);
    }
    tokenizer_free(t);
    if (rc == 0)
        rc = training_check(&p->training, lessons, err);
    return rc == 0 ? make_base(p, err) : rc;
}

/* Piece by piece: weights may be large. */
static int copy_file(const char *from, const char *to, const char *name, struct buf *err)
{
    char *source = xasprintf("%s/%s", from, name), *path = xasprintf("%s/%s", to, name);
    char *piece = xmalloc(COPY_PIECE);
    struct checkpoint_file out;
    FILE *in = fopen(source, "rb");
    int rc =
        in ? checkpoint_file_open(&out, path, err) : fail(err, "%s: %s", source, strerror(errno));
    if (rc == 0) {
        for (size_t n; (n = fread(piece, 1, COPY_PIECE, in)) > 0;)
            checkpoint_file_write(&out, piece, n);
        bool broken = ferror(in);
        rc = checkpoint_file_close(&out, err);
        if (rc == 0 && broken)
            rc = fail(err, "%s: it cannot be read", source);
    }
    if (in)
        fclose(in);
    free(piece);
    free(source);
    free(path);
    return rc;
}

/* The files of a folder, which has no folders in it. */
static int list_files(const char *dir, struct strings *out, struct buf *err)
{
    DIR *d = opendir(dir);
    if (!d)
        return fail(err, "%s: %s", dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            strings_add(out, e->d_name);
    closedir(d);
    strings_sort(out);
    return 0;
}

/* Written under another name and renamed, so that `out` is whole or not there. */
static int copy_folder(const struct pretraining *p, struct buf *err)
{
    const char *out = p->said->out;
    struct strings names = { 0 };
    struct buf ignored = BUF_INIT;
    char *tmp = xasprintf("%s.tmp", out);
    int rc = checkpoint_folder_remove(tmp, err) || make_dirs(tmp, err) ||
                     list_files(p->trained.s, &names, err)
                 ? -1
                 : 0;
    for (size_t i = 0; rc == 0 && i < names.len; i++)
        rc = copy_file(p->trained.s, tmp, names.v[i], err);
    if (rc == 0)
        rc = checkpoint_folder_sync(tmp, err);
    if (rc == 0 && rename(tmp, out) != 0)
        rc = fail(err, "%s: %s", out, strerror(errno));
    if (rc && checkpoint_folder_remove(tmp, &ignored))
        warning("%s", ignored.s);
    free(tmp);
    strings_release(&names);
    buf_release(&ignored);
    return rc;
}

/* Another program that made the same model may be copying it. */
static int copy_out(struct pretraining *p, struct buf *err)
{
    char *parent = folder_of(p->said->out);
    struct checkpoint_lock *lock = checkpoint_lock(parent, name_of(p->said->out), NULL, err);
    int rc = lock ? check_out(p, err) : -1;
    if (rc == 0 && !p->copied)
        rc = copy_folder(p, err);
    checkpoint_unlock(lock);
    free(parent);
    return rc;
}

int pretraining_run(struct pretraining *p, const struct train_place *place,
                    struct train_result *result, struct buf *err)
{
    struct lessons lessons = { 0 };
    *result = (struct train_result){ .there = pretraining_there(p) };
    if (p->copied)
        return 0;
    int rc = p->there ? 0 : prepare(p, &lessons, err);
    buf_reset(&p->trained);
    if (rc == 0) {
        struct run_signals signals;
        run_signals_catch(&signals);
        rc = training_make(&p->training, p->said->name, p->device, &lessons, place, result,
                           &p->trained, err);
        run_signals_release(&signals);
    }
    lessons_release(&lessons);
    if (rc || result->interrupted)
        return rc;
    if (checkpoint_folder_remove(p->model.dir, err))
        return -1;
    return p->said->out ? copy_out(p, err) : 0;
}
