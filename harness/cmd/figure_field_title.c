/*
 * figure_field_title.c: how the panels of a metric along a field are called: what all of them share
 * stands once above them, what tells one from the others is its title. See figure_field.h.
 *
 * A task's name is taken apart: of "nll:a.jsonl(length=128,min_bytes=9)" and "nll:a.jsonl(length=256,
 * min_bytes=9)" the titles say the length, and the head says the rest.
 */
#include "cmd/figure_field.h"

#include <string.h>

char *field_part(const char *key, enum field_part part)
{
    for (int n = 0; n < (int)part; n++)
        key += strcspn(key, "\n") + 1;
    return xstrndup(key, strcspn(key, "\n"));
}

bool field_part_varies(const struct strings *keys, enum field_part part)
{
    char *first = field_part(keys->v[0], part);
    bool varies = false;
    for (size_t i = 1; i < keys->len && !varies; i++) {
        char *other = field_part(keys->v[i], part);
        varies = strcmp(first, other) != 0;
        free(other);
    }
    free(first);
    return varies;
}

/* ---- tasks ---- */

/* The name before its brackets, and then each "KEY=VALUE" in them. */
static void take_apart(const char *task, struct strings *out)
{
    const char *open = strrchr(task, '(');
    if (!open || task[strlen(task) - 1] != ')') {
        strings_add(out, task);
        return;
    }
    strings_addf(out, "%.*s", (int)(open - task), task);
    for (const char *at = open; *at && *at != ')'; at += 1 + strcspn(at + 1, ",)"))
        strings_addf(out, "%.*s", (int)strcspn(at + 1, ",)"), at + 1);
}

static bool is_among(const struct strings *s, size_t from, const char *text)
{
    for (size_t i = from; i < s->len; i++)
        if (strcmp(s->v[i], text) == 0)
            return true;
    return false;
}

/* Have the tasks of all keys this name (`at` 0), or this setting? */
static bool is_shared(const struct strings *keys, size_t at, const char *text)
{
    bool shared = true;
    for (size_t i = 0; i < keys->len && shared; i++) {
        struct strings parts = { 0 };
        char *task = field_part(keys->v[i], FIELD_PART_TASK);
        take_apart(task, &parts);
        shared = at ? is_among(&parts, 1, text) : strcmp(parts.v[0], text) == 0;
        strings_release(&parts);
        free(task);
    }
    return shared;
}

/* The shared parts of the key's task, or the others. */
static void add_task(const struct strings *keys, const char *key, bool shared, struct buf *out)
{
    struct strings parts = { 0 };
    char *task = field_part(key, FIELD_PART_TASK);
    size_t settings = 0;
    take_apart(task, &parts);
    bool named = is_shared(keys, 0, parts.v[0]) == shared;
    if (named)
        buf_adds(out, parts.v[0]);
    for (size_t i = 1; i < parts.len; i++)
        if (is_shared(keys, i, parts.v[i]) == shared)
            buf_addf(out, "%s%s", settings++ ? (named ? "," : ", ") : named ? "(" : "", parts.v[i]);
    if (named && settings)
        buf_addc(out, ')');
    if (!out->len && !shared)
        buf_adds(out, parts.v[0]); // the others have settings, and this one none
    strings_release(&parts);
    free(task);
}

/* ---- titles ---- */

static void add_part(struct buf *out, const char *before, const char *text)
{
    if (*text)
        buf_addf(out, "%s%s%s", out->len ? ", " : "", before, text);
}

/* What goes without saying in a head: nothing was trained, and K is the field. Arithmetic is said only
 * where it varies. */
static bool goes_unsaid(enum field_part part, const char *text)
{
    return part == FIELD_PART_DEVICE || part == FIELD_PART_DTYPE ||
           (part == FIELD_PART_TRAIN && strcmp(text, "none") == 0) ||
           (part == FIELD_PART_K && strcmp(text, "0") == 0);
}

static char *say(const struct strings *keys, const char *key, bool shared)
{
    struct buf out = BUF_INIT, task = BUF_INIT;
    for (enum field_part i = 0; i < FIELD_PARTS; i++) {
        char *part = field_part(key, i);
        bool varies = field_part_varies(keys, i);
        if (i == FIELD_PART_TASK && (varies || shared)) {
            add_task(keys, key, shared, &task);
            add_part(&out, "", task.len ? task.s : "");
        } else if (shared ? !varies && !goes_unsaid(i, part) : varies) {
            add_part(&out, i == FIELD_PART_K ? "K = " : "", part);
        }
        free(part);
    }
    buf_release(&task);
    return out.len ? buf_detach(&out) : xstrdup("");
}

char *field_title(const struct strings *keys, const char *key)
{
    return say(keys, key, false);
}

char *field_head(const struct strings *keys)
{
    return say(keys, keys->v[0], true);
}
