/*
 * memo.c: see memo.h. Open addressing with linear probing; keys and ids lie end to end in two
 * arrays, so that emptying the table frees nothing.
 */
#include "text/memo.h"

#include <string.h>

void memo_init(struct memo *m, size_t max)
{
    size_t slots = 16;
    while (slots < 2 * max)
        slots *= 2;
    *m = (struct memo){ .slots = xcalloc(slots, sizeof(*m->slots)), .mask = slots - 1, .max = max };
    buf_init(&m->keys);
}

void memo_release(struct memo *m)
{
    free(m->slots);
    free(m->ids.v);
    buf_release(&m->keys);
    *m = (struct memo){ 0 };
}

/* FNV-1a over the bytes; the last step carries the high bits down to those that choose the slot. */
static uint32_t hash_of(const char *key, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)key[i]) * 0x100000001b3u;
    return (uint32_t)(h ^ (h >> 32));
}

/* The slot of the key, or the free slot where it would go. */
static struct memo_slot *slot_of(const struct memo *m, uint32_t hash, const char *key, size_t len)
{
    for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        struct memo_slot *s = &m->slots[i];
        if (s->key_len == 0 ||
            (s->hash == hash && s->key_len == len && memcmp(m->keys.s + s->key, key, len) == 0))
            return s;
    }
}

const int32_t *memo_find(const struct memo *m, const char *key, size_t len, size_t *n)
{
    const struct memo_slot *s = slot_of(m, hash_of(key, len), key, len);
    if (s->key_len == 0)
        return NULL;
    *n = s->n;
    return m->ids.v + s->first;
}

void memo_add(struct memo *m, const char *key, size_t len, const int32_t *ids, size_t n)
{
    if (len == 0 || n == 0)
        BUG("an empty entry for a memo");
    if (m->used == m->max) {
        memset(m->slots, 0, (m->mask + 1) * sizeof(*m->slots));
        m->used = m->keys.len = m->ids.len = 0;
    }
    uint32_t hash = hash_of(key, len);
    struct memo_slot *s = slot_of(m, hash, key, len);
    *s = (struct memo_slot){ hash, (uint32_t)m->keys.len, (uint32_t)len, (uint32_t)m->ids.len,
                             (uint32_t)n };
    m->used++;
    buf_add(&m->keys, key, len);
    for (size_t i = 0; i < n; i++)
        ids_push(&m->ids, ids[i]);
}
