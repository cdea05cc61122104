/*
 * pretokenize.c: see pretokenize.h. The steps of the file become a short list; a piece goes through
 * it depth first, so that no list of pieces is ever made.
 */
#include "text/pretokenize.h"
#include "json.h"
#include "text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

enum { STEPS_MAX = 16 };

/* What ByteLevel cuts by when use_regex is true: the words of GPT-2. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

struct step {
    pcre2_code *code;  /* NULL: does not cut */
    bool prefix_space; /* a piece that does not begin with a space gets one first */
};

struct pretokenizer {
    struct step steps[STEPS_MAX];
    size_t n;
    bool ends; /* ByteLevel was met, which must be the last step */
    pcre2_match_data *found;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;
};

static int add_steps(struct pretokenizer *p, const char *path, const json_t *node, struct buf *err);

struct pretokenizer *pretokenizer_new(const char *path, const json_t *node, struct buf *err)
{
    struct pretokenizer *p = xcalloc(1, sizeof(*p));
    p->found = pcre2_match_data_create(1, NULL);
    p->limits = pcre2_match_context_create(NULL);
    p->stack = pcre2_jit_stack_create(32 << 10, 1 << 20, NULL);
    if (!p->found || !p->limits)
        die(1, "out of memory: no room for a pattern's matches");
    if (p->stack) // none where the system allows no code at run time
        pcre2_jit_stack_assign(p->limits, NULL, p->stack);
    // So high that only a pattern that would never end reaches it; the defaults bound the length
    // of what a real one can match.
    pcre2_set_match_limit(p->limits, 1000000000);
    pcre2_set_heap_limit(p->limits, 1 << 20); // in KiB
    int rc = add_steps(p, path, node, err);
    if (rc == 0 && !p->ends)
        rc = fail(err,
                  "%s: the pre-tokenizer does not end with ByteLevel; only byte-level BPE is "
                  "supported",
                  path);
    if (rc != 0) {
        pretokenizer_free(p);
        return NULL;
    }
    return p;
}

void pretokenizer_free(struct pretokenizer *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        pcre2_code_free(p->steps[i].code);
    pcre2_match_data_free(p->found);
    pcre2_match_context_free(p->limits);
    pcre2_jit_stack_free(p->stack);
    free(p);
}

static pcre2_code *compile(const char *path, const char *pattern, struct buf *err)
{
    struct buf translated = BUF_INIT;
    pcre2_code *code = NULL;
    if (pattern_translate(pattern, &translated, err) != 0) {
        fail(err, "%s: the pre-tokenizer's pattern: %s", path, err->s);
        goto out;
    }
    int number;
    PCRE2_SIZE at;
    code = pcre2_compile((PCRE2_SPTR)translated.s, translated.len, PCRE2_UTF | PCRE2_UCP, &number,
                         &at, NULL);
    if (!code) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(number, why, sizeof(why));
        fail(err, "%s: the pre-tokenizer's pattern: %s", path, (const char *)why);
        goto out;
    }
    // Where this fails, the interpreter does the same, slower.
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
out:
    buf_release(&translated);
    return code;
}

/* A pattern of NULL makes a step that does not cut. */
static int add_step(struct pretokenizer *p, const char *path, const char *pattern,
                    bool prefix_space, struct buf *err)
{
    if (p->ends)
        return fail(err, "%s: a pre-tokenizer after ByteLevel is not supported", path);
    if (p->n == STEPS_MAX)
        return fail(err, "%s: more than %d pre-tokenizers", path, STEPS_MAX);
    struct step step = { NULL, prefix_space };
    if (pattern && !(step.code = compile(path, pattern, err)))
        return -1;
    p->steps[p->n++] = step;
    return 0;
}

static int add_byte_level(struct pretokenizer *p, const char *path, const json_t *node,
                          struct buf *err)
{
    struct json_in in = { node, path, err };
    bool prefix_space, use_regex = true;
    if (json_need_bool(&in, "add_prefix_space", &prefix_space) != 0 ||
        json_opt_bool(&in, "use_regex", &use_regex) != 0)
        return -1;
    if (add_step(p, path, use_regex ? gpt2_pattern : NULL, prefix_space, err) != 0)
        return -1;
    p->ends = true;
    return 0;
}

static int add_split(struct pretokenizer *p, const char *path, const json_t *node, struct buf *err)
{
    struct json_in in = { node, path, err };
    const char *behavior, *pattern;
    const json_t *kind;
    bool invert;
    if (json_need_object(&in, "pattern", &kind) != 0 ||
        json_need_string(&in, "behavior", &behavior) != 0 ||
        json_need_bool(&in, "invert", &invert) != 0)
        return -1;
    if (strcmp(behavior, "Isolated") != 0)
        return fail(err, "%s: pre-tokenizer Split has behavior '%s'; only Isolated is supported",
                    path, behavior);
    if (invert)
        return fail(err, "%s: pre-tokenizer Split has invert true; only false is supported", path);
    pattern = json_string_value(json_object_get(kind, "Regex"));
    if (!pattern)
        return fail(err, "%s: pre-tokenizer Split has no pattern Regex, the only kind supported",
                    path);
    return add_step(p, path, pattern, false, err);
}

static int add_steps(struct pretokenizer *p, const char *path, const json_t *node, struct buf *err)
{
    const char *type = json_string_value(json_object_get(node, "type"));
    if (!type)
        return fail(err,
                    "%s: there is no pre-tokenizer with a type; ByteLevel, Split and Sequence "
                    "are supported",
                    path);
    if (strcmp(type, "ByteLevel") == 0)
        return add_byte_level(p, path, node, err);
    if (strcmp(type, "Split") == 0)
        return add_split(p, path, node, err);
    if (strcmp(type, "Sequence") != 0)
        return fail(err,
                    "%s: pre-tokenizer '%s' is not supported; ByteLevel, Split and Sequence "
                    "are",
                    path, type);
    const json_t *list;
    struct json_in in = { node, path, err };
    if (json_need_array(&in, "pretokenizers", &list) != 0)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (add_steps(p, path, json_array_get(list, i), err) != 0)
            return -1;
    return 0;
}

/* The first match at or after `from`: 1 with its bounds, 0 none, -1 failed. */
static int find(struct pretokenizer *p, const pcre2_code *code, const char *s, size_t len,
                size_t from, size_t *start, size_t *stop, struct buf *err)
{
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(code, (PCRE2_SPTR)s, len, from, options, p->found, p->limits);
    // The interpreter remembers on the heap what the compiled pattern had no stack for.
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, (PCRE2_SPTR)s, len, from, options | PCRE2_NO_JIT, p->found,
                         p->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(rc, why, sizeof(why));
        return fail(err, "the pre-tokenizer's pattern gave up on %zu bytes of text: %s", len - from,
                    (const char *)why);
    }
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(p->found);
    *start = bounds[0];
    *stop = bounds[1];
    return 1;
}

/* Whom the pieces are for. */
struct sink {
    pretokenize_fn *each;
    void *ctx;
};

static int run_steps(struct pretokenizer *p, size_t i, const char *s, size_t len,
                     const struct sink *sink, struct buf *err);

/* Matches and what lies between them go to the next step; no piece is empty. */
static int cut(struct pretokenizer *p, size_t i, const char *s, size_t len, const struct sink *sink,
               struct buf *err)
{
    size_t done = 0, from = 0, start = 0, stop = 0;
    int rc = 0;
    while (rc == 0 && from <= len) {
        int found = find(p, p->steps[i].code, s, len, from, &start, &stop, err);
        if (found < 0)
            return -1;
        if (found == 0)
            break;
        if (done < start)
            rc = run_steps(p, i + 1, s + done, start - done, sink, err);
        if (rc == 0 && start < stop)
            rc = run_steps(p, i + 1, s + start, stop - start, sink, err);
        done = from = stop;
        // An empty match also cuts; the search goes on behind the next character.
        if (start == stop)
            do
                from++;
            while (from < len && ((unsigned char)s[from] & 0xc0) == 0x80);
    }
    if (rc == 0 && done < len)
        rc = run_steps(p, i + 1, s + done, len - done, sink, err);
    return rc;
}

static int run_steps(struct pretokenizer *p, size_t i, const char *s, size_t len,
                     const struct sink *sink, struct buf *err)
{
    if (i == p->n)
        return sink->each(sink->ctx, s, len, err);
    struct buf spaced = BUF_INIT;
    if (p->steps[i].prefix_space && s[0] != ' ') {
        buf_addc(&spaced, ' ');
        buf_add(&spaced, s, len);
        s = spaced.s;
        len = spaced.len;
    }
    int rc =
        p->steps[i].code ? cut(p, i, s, len, sink, err) : run_steps(p, i + 1, s, len, sink, err);
    buf_release(&spaced);
    return rc;
}

int pretokenize(struct pretokenizer *p, const char *s, size_t len, pretokenize_fn *each, void *ctx,
                struct buf *err)
{
    struct sink sink = { each, ctx };
    return len ? run_steps(p, 0, s, len, &sink, err) : 0;
}
