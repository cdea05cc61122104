/*
 * checkpoint.c: see checkpoint.h. The folder is made as DIR/ID.tmp and renamed; only who holds the
 * lock makes one, so the name needs nothing that tells programs apart.
 */
#include "train/checkpoint.h"

#include "cutoffs.h"
#include "json.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { MAX_JSON = 64 * 1000 * 1000 };

const char *checkpoint_root(void)
{
    const char *root = getenv("SEQTOPK_TRAINED");
    return root && *root ? root : "results/trained";
}

/* A training's states; what was put aside as damaged too. */
static const char *const states[] = { "", ".before", ".tmp", ".damaged", ".before.damaged" };

static double states_size(const char *root, const char *id)
{
    double size = 0;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        char *path = xasprintf("%s/%s.state%s", root, id, states[i]);
        struct stat st;
        size += stat(path, &st) == 0 ? (double)st.st_size : 0;
        free(path);
    }
    return size;
}

int checkpoint_room(const char *root, const char *id, int64_t state, int64_t model, struct buf *err)
{
    struct statvfs fs;
    if (make_dirs(root, err))
        return -1;
    if (statvfs(root, &fs) != 0)
        return fail(err, "%s: %s", root, strerror(errno));
    const double room = (double)fs.f_bavail * (double)fs.f_frsize, mb = 1e6;
    const double all = 2.0 * (double)state + (double)(model > state ? model : state);
    // Old states go when the model is there, and make no room for it.
    const double need = all - (state ? states_size(root, id) : 0);
    if (room < need)
        return fail(
            err, "%s: %.1f MB are free, but the states and the model of this training need %.1f MB",
            root, room / mb, need / mb);
    return 0;
}

/* ---- is it there? ---- */

static int check_file(const char *dir, const char *name, const json_t *says, struct buf *err)
{
    char *path = xasprintf("%s/%s", dir, name), hex[33];
    struct json_in in = { says, path, err };
    const char *sum;
    int64_t bytes;
    int rc = json_need_string(&in, "xxh3", &sum) || checkpoint_file_sum(path, &bytes, hex, err);
    if (rc == 0 && (bytes != json_integer_value(json_value(&in, "bytes")) || strcmp(sum, hex) != 0))
        rc = fail(err, "%s: its %lld bytes are not those that training.json says", path,
                  (long long)bytes);
    free(path);
    return rc ? -1 : 0;
}

static int check_folder(const char *dir, struct buf *err)
{
    char *path = xasprintf("%s/training.json", dir);
    json_t *root = json_read_file(path, MAX_JSON, err);
    struct json_in in = { root, path, err };
    const json_t *files = NULL;
    int rc = !root || json_need_object(&in, "files", &files) ? -1 : 0;
    const char *name;
    json_t *says;
    json_object_foreach ((json_t *)files, name, says)
        if (rc == 0)
            rc = check_file(dir, name, says, err);
    json_decref(root);
    free(path);
    return rc;
}

int checkpoint_find(const char *root, const char *id, bool *found, struct buf *dir, struct buf *err)
{
    buf_addf(dir, "%s/%s", root, id);
    *found = false;
    if (access(dir->s, F_OK) != 0)
        return errno == ENOENT ? 0 : fail(err, "%s: %s", dir->s, strerror(errno));
    if (check_folder(dir->s, err))
        return fail(err, "%s; the trained model is not whole: remove the folder %s and run again",
                    err->s, dir->s);
    *found = true;
    return 0;
}

/* ---- making it ---- */

/* A folder under way. */
struct making {
    const char *dir;
    json_t *files; /* what training.json says of them */
    struct buf *err;
};

/* Sums are of what the disk gives back, and not of what was meant to go there. */
static int note_file(const struct making *m, const char *name)
{
    char *path = xasprintf("%s/%s", m->dir, name), hex[33];
    int64_t bytes;
    int rc = checkpoint_file_sum(path, &bytes, hex, m->err);
    if (rc == 0)
        json_object_set_new(m->files, name,
                            json_pack("{s:I,s:s}", "bytes", (json_int_t)bytes, "xxh3", hex));
    free(path);
    return rc;
}

/* As the numbers were written, where 15 digits are enough for them: 1e-05. */
static char *json_text(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_t *back = text ? json_loads(text, 0, NULL) : NULL;
    if (!json_equal(back, value)) {
        free(text);
        text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    }
    json_decref(back);
    if (!text)
        BUG("an object could not be written as JSON");
    return text;
}

static int write_json(const struct making *m, const char *name, const json_t *value)
{
    char *text = json_text(value);
    int rc = checkpoint_file_text(m->dir, name, text, strlen(text), m->err);
    free(text);
    return rc;
}

/* Each family has one of the keys, of one meaning. */
static void set_experts(json_t *config, int experts)
{
    static const char *const keys[] = { "num_experts", "num_local_experts" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (experts && json_object_get(config, keys[i]))
            json_object_set_new(config, keys[i], json_integer(experts));
}

/* The base's, with the dtype of the weights that lie beside it, and how many experts there are. */
static int write_config(const struct making *m, const char *base, enum dtype dtype, int experts)
{
    char *path = xasprintf("%s/config.json", base);
    json_t *config = json_read_file(path, MAX_JSON, m->err);
    int rc = config ? 0 : -1;
    if (rc == 0) {
        json_object_set_new(config, "torch_dtype", json_string(dtype_name(dtype)));
        if (json_object_get(config, "dtype"))
            json_object_set_new(config, "dtype", json_string(dtype_name(dtype)));
        set_experts(config, experts);
        rc = write_json(m, "config.json", config) || note_file(m, "config.json");
    }
    json_decref(config);
    free(path);
    return rc;
}

/* Files of the base that say nothing of weights; not every model has them. */
static int copy_files(const struct making *m, const char *base)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json",
                                         "special_tokens_map.json", "generation_config.json" };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(names) && rc == 0; i++) {
        char *path = xasprintf("%s/%s", base, names[i]);
        struct buf text = BUF_INIT;
        if (access(path, F_OK) == 0)
            rc = read_file(path, MAX_JSON, &text, m->err) ||
                 checkpoint_file_text(m->dir, names[i], text.s, text.len, m->err) ||
                 note_file(m, names[i]);
        buf_release(&text);
        free(path);
    }
    return rc;
}

static int write_weights(const struct making *m, const struct checkpoint_model *model)
{
    char *path = xasprintf("%s/model.safetensors", m->dir);
    int rc = model->get
                 ? safetensors_write_from(path, model->tensors, model->ntensors, model->dtype,
                                          model->get, model->of, m->err)
                 : safetensors_write(path, model->tensors, model->ntensors, model->dtype, m->err);
    rc = rc || note_file(m, "model.safetensors");
    free(path);
    return rc;
}

static int write_cutoffs(const struct making *m, const struct cutoffs *c)
{
    struct buf text = BUF_INIT;
    if (!c)
        return 0;
    cutoffs_json(c, &text);
    int rc = checkpoint_file_text(m->dir, "cutoffs.json", text.s, text.len, m->err) ||
             note_file(m, "cutoffs.json");
    buf_release(&text);
    return rc;
}

static int write_training(const struct making *m, const char *about)
{
    json_t *made_by = json_parse(about, strlen(about), "what made the model", 0, m->err);
    if (!made_by)
        return -1;
    json_t *training = json_pack("{s:o,s:O}", "made_by", made_by, "files", m->files);
    int rc = write_json(m, "training.json", training);
    json_decref(training);
    return rc;
}

static int fill_folder(const char *dir, const struct checkpoint_model *model, struct buf *err)
{
    struct making m = { dir, json_object(), err };
    int rc = write_config(&m, model->base, model->dtype, model->experts) ||
             copy_files(&m, model->base) || write_weights(&m, model) ||
             write_cutoffs(&m, model->cutoffs) || write_training(&m, model->about) ||
             checkpoint_folder_sync(dir, err);
    json_decref(m.files);
    return rc ? -1 : 0;
}

void checkpoint_remove_states(const char *root, const char *id)
{
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        char *path = xasprintf("%s/%s.state%s", root, id, states[i]);
        unlink(path);
        free(path);
    }
    char *pruned = xasprintf("%s/%s.pruned", root, id);
    struct buf ignored = BUF_INIT;
    if (checkpoint_folder_remove(pruned, &ignored))
        warning("%s", ignored.s);
    buf_release(&ignored);
    free(pruned);
}

int checkpoint_publish(const char *root, const char *id, const struct checkpoint_model *m,
                       struct buf *err)
{
    char *dir = xasprintf("%s/%s", root, id), *tmp = xasprintf("%s.tmp", dir);
    int rc = make_dirs(root, err) || checkpoint_folder_remove(tmp, err) || make_dirs(tmp, err);
    if (rc == 0) {
        rc = fill_folder(tmp, m, err);
        if (rc == 0 && rename(tmp, dir) != 0)
            rc = fail(err, "%s: %s", dir, strerror(errno));
        // What is half-made is of no use to anyone, and may be what fills the disk.
        struct buf ignored = BUF_INIT;
        if (rc && checkpoint_folder_remove(tmp, &ignored))
            warning("%s", ignored.s);
        buf_release(&ignored);
    }
    if (rc == 0)
        rc = checkpoint_folder_sync(root, err);
    if (rc == 0)
        checkpoint_remove_states(root, id);
    free(dir);
    free(tmp);
    return rc ? -1 : 0;
}
