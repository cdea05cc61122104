/*
 * generate_text.c: see generate_text.h.
 */
#include "generate_text.h"

#include <string.h>

void written_init(struct written *w)
{
    *w = (struct written){ 0 };
    buf_init(&w->shown);
    buf_init(&w->all);
}

void written_release(struct written *w)
{
    buf_release(&w->shown);
    buf_release(&w->all);
    free(w->hidden);
    written_init(w);
}

void written_add(struct written *w, const struct tokenizer *t, int32_t id)
{
    struct buf err = BUF_INIT;
    w->shown_before = w->shown.len;
    w->all_before = w->all.len;
    // A vocabulary may be larger than the tokenizer's.
    if (!tokenizer_has(t, id))
        return;
    if (tokenizer_decode(t, &id, 1, &w->all, &err))
        BUG("%s", err.s);
    size_t len = w->all.len - w->all_before;
    if (!tokenizer_special(t, id)) {
        buf_add(&w->shown, w->all.s + w->all_before, len);
        return;
    }
    ARRAY_GROW(w->hidden, w->hidden_cap, w->nhidden + 1);
    w->hidden[w->nhidden++] = (struct hidden){ w->all_before, len };
}

/* How many bytes of `all` before this place are shown. */
static size_t shown_at(const struct written *w, size_t at)
{
    size_t n = at;
    for (size_t i = 0; i < w->nhidden && w->hidden[i].from < at; i++) {
        size_t inside = at - w->hidden[i].from;
        n -= inside < w->hidden[i].len ? inside : w->hidden[i].len;
    }
    return n;
}

/* The place of the first of `stop` that ends behind `from`, or the text's length. */
static size_t find_stop(const struct strings *stop, const struct buf *text, size_t from)
{
    size_t first = text->len;
    for (size_t i = 0; stop && i < stop->len; i++) {
        size_t len = strlen(stop->v[i]), begin = from < len ? 0 : from - len + 1;
        const char *at = len ? memmem(text->s + begin, text->len - begin, stop->v[i], len) : NULL;
        if (at && (size_t)(at - text->s) < first)
            first = (size_t)(at - text->s);
    }
    return first;
}

bool written_stop(struct written *w, const struct strings *stop, const struct strings *more)
{
    const struct strings *const lists[] = { stop, more };
    size_t cut = w->shown.len;
    bool stopped = false;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        size_t in_all = find_stop(lists[i], &w->all, w->all_before);
        size_t in_shown = find_stop(lists[i], &w->shown, w->shown_before);
        stopped |= in_all < w->all.len || in_shown < w->shown.len;
        if (shown_at(w, in_all) < cut)
            cut = shown_at(w, in_all);
        if (in_shown < cut)
            cut = in_shown;
    }
    if (stopped)
        w->shown.s[w->shown.len = cut] = '\0';
    return stopped;
}
