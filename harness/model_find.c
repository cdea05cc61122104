/*
 * model_find.c: from a model's name to its folder, and from a folder to the hashes that tell models
 * apart (the last three functions of weights.h).
 *
 * Invariant: a model folder is one that holds a config.json; what is in it is not looked at here.
 */
#include "weights.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_FILE = 100 * 1000 * 1000,
    MAX_LISTED = 20, // models in an error message
};

struct names {
    char **v;
    size_t len, cap;
};

static void names_add(struct names *n, char *owned)
{
    ARRAY_GROW(n->v, n->cap, n->len + 1);
    n->v[n->len++] = owned;
}

static void names_release(struct names *n)
{
    for (size_t i = 0; i < n->len; i++)
        free(n->v[i]);
    free(n->v);
    memset(n, 0, sizeof(*n));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_model(const char *dir)
{
    char *config = xasprintf("%s/config.json", dir);
    bool yes = access(config, F_OK) == 0;
    free(config);
    return yes;
}

/* The project's root where the program is build/seqtopk, or NULL: that is where we are anyway. */
static char *program_root(void)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (len <= 0)
        return NULL;
    path[len] = '\0';
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(path, '/');
        if (!slash || slash == path)
            return NULL;
        *slash = '\0';
    }
    struct stat root, here;
    if (stat(path, &root) != 0 ||
        (stat(".", &here) == 0 && root.st_dev == here.st_dev && root.st_ino == here.st_ino))
        return NULL;
    return xstrdup(path);
}

/* The folders that hold models, in the order in which they are tried. */
static void find_places(struct names *out)
{
    const char *env = getenv("SEQTOPK_MODELS");
    while (env && *env) {
        size_t len = strcspn(env, ":");
        if (len)
            names_add(out, xstrndup(env, len));
        env += len + (env[len] == ':');
    }
    names_add(out, xstrdup("models"));
    names_add(out, xstrdup("results/models"));
    char *root = program_root();
    if (root) {
        names_add(out, xasprintf("%s/models", root));
        names_add(out, xasprintf("%s/results/models", root));
    }
    free(root);
}

/* Adds the models of a folder as PREFIX/NAME; one level down for names like org/model. */
static void list_models(const char *dir, const char *prefix, struct names *out)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        char *path = xasprintf("%s/%s", dir, e->d_name);
        char *name = xasprintf("%s%s", prefix, e->d_name);
        if (is_model(path)) {
            names_add(out, xstrdup(name));
        } else if (!*prefix) {
            char *deeper = xasprintf("%s/", name);
            list_models(path, deeper, out);
            free(deeper);
        }
        free(name);
        free(path);
    }
    if (d)
        closedir(d);
}

/* The sentence for a name that leads nowhere. */
static int not_found(const char *name, const struct names *places, struct buf *err)
{
    struct buf looked = BUF_INIT, there = BUF_INIT;
    struct names models = { 0 };
    for (size_t i = 0; i < places->len; i++) {
        buf_addf(&looked, "%s%s", i ? ", " : "", places->v[i]);
        list_models(places->v[i], "", &models);
    }
    if (models.len)
        qsort(models.v, models.len, sizeof(*models.v), by_name);
    size_t listed = 0;
    for (size_t i = 0; i < models.len && listed <= MAX_LISTED; i++) {
        if (i > 0 && strcmp(models.v[i], models.v[i - 1]) == 0)
            continue;
        const char *shown = listed < MAX_LISTED ? models.v[i] : "...";
        buf_addf(&there, "%s%s", listed ? ", " : "", shown);
        listed++;
    }
    fail(err,
         "model '%s' not found: no folder of that name with a config.json here or in %s "
         "(models there: %s)",
         name, looked.s, models.len ? there.s : "none");
    names_release(&models);
    buf_release(&looked);
    buf_release(&there);
    return -1;
}

int model_find(const char *name, struct buf *dir, struct buf *err)
{
    if (!*name)
        return fail(err, "a model's name is empty");
    if (is_model(name)) {
        buf_adds(dir, name);
        return 0;
    }
    struct names places = { 0 };
    find_places(&places);
    int rc = 1;
    for (size_t i = 0; rc == 1 && name[0] != '/' && i < places.len; i++) {
        char *path = xasprintf("%s/%s", places.v[i], name);
        if (is_model(path)) {
            buf_adds(dir, path);
            rc = 0;
        }
        free(path);
    }
    if (rc == 1)
        rc = not_found(name, &places, err);
    names_release(&places);
    return rc;
}

static int hash_file(struct hash *h, const char *dir, const char *name, struct buf *err)
{
    struct buf text = BUF_INIT;
    char *path = xasprintf("%s/%s", dir, name);
    int rc = read_file(path, MAX_FILE, &text, err);
    hash_add(h, text.s, text.len);
    free(path);
    buf_release(&text);
    return rc;
}

int weights_hash(const char *dir, char hex[33], struct buf *err)
{
    // Opened whole, so that a tensor that is missing is found before any work begins.
    struct weights *w = weights_open(dir, err);
    if (!w)
        return -1;
    struct hash *h = hash_new();
    int rc = hash_file(h, dir, "config.json", err);
    if (rc == 0) {
        safetensors_hash(w->files, h);
        hash_hex(h, hex);
    }
    hash_free(h);
    weights_close(w);
    return rc;
}

int tokenizer_hash(const char *dir, char hex[33], struct buf *err)
{
    struct hash *h = hash_new();
    int rc = hash_file(h, dir, "tokenizer.json", err);
    if (rc == 0)
        hash_hex(h, hex);
    hash_free(h);
    return rc;
}
