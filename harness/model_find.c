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
#include <unistd.h>

enum {
    MAX_FILE = 100 * 1000 * 1000,
    MAX_LISTED = 20, // models in an error message
};

static bool is_model(const char *dir)
{
    char *config = xasprintf("%s/config.json", dir);
    bool yes = access(config, F_OK) == 0;
    free(config);
    return yes;
}

/* The folders that hold models, in the order in which they are tried. */
static void find_places(struct strings *out)
{
    const char *env = getenv("SEQTOPK_MODELS");
    struct buf project = BUF_INIT;
    while (env && *env) {
        size_t len = strcspn(env, ":");
        if (len)
            strings_addf(out, "%.*s", (int)len, env);
        env += len + (env[len] == ':');
    }
    strings_add(out, "models");
    strings_add(out, "results/models");
    if (project_dir(&project)) {
        strings_addf(out, "%s/models", project.s);
        strings_addf(out, "%s/results/models", project.s);
    }
    buf_release(&project);
}

/* Adds the models of a folder as PREFIX/NAME; one level down for names like org/model. */
static void list_models(const char *dir, const char *prefix, struct strings *out)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        char *path = xasprintf("%s/%s", dir, e->d_name);
        char *name = xasprintf("%s%s", prefix, e->d_name);
        if (is_model(path)) {
            strings_add(out, name);
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

void model_list(struct strings *names)
{
    struct strings places = { 0 };
    find_places(&places);
    for (size_t i = 0; i < places.len; i++)
        list_models(places.v[i], "", names);
    strings_sort(names);
    strings_release(&places);
}

/* The sentence for a name that leads nowhere. */
static int not_found(const char *name, const struct strings *places, struct buf *err)
{
    struct buf looked = BUF_INIT, there = BUF_INIT;
    struct strings models = { 0 };
    for (size_t i = 0; i < places->len; i++)
        buf_addf(&looked, "%s%s", i ? ", " : "", places->v[i]);
    model_list(&models);
    for (size_t i = 0; i < models.len && i <= MAX_LISTED; i++)
        buf_addf(&there, "%s%s", i ? ", " : "", i < MAX_LISTED ? models.v[i] : "...");
    fail(err,
         "model '%s' not found: no folder of that name with a config.json here or in %s "
         "(models there: %s)",
         name, looked.s, models.len ? there.s : "none");
    strings_release(&models);
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
    struct strings places = { 0 };
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
    strings_release(&places);
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
