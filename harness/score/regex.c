/*
 * regex.c: see regex.h.
 */
#include "score/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

/*
 * The work of a search is counted by callouts, which PCRE2 makes before each item of a pattern: for
 * the item itself, and for the characters that the place in the text has moved by since the last one.
 * The unit is about a nanosecond. Real patterns need one to two hundred for each character of a text.
 */
#define WORK_MAX 500000000
#define WORK_ITEM 25
#define KIBIBYTES_MAX (256 << 10) /* for going back */

struct regex {
    char *pattern;
    pcre2_code *code;
    int groups;
};

struct regex *regex_new(const char *pattern, struct buf *err)
{
    pcre2_compile_context *how = pcre2_compile_context_create(NULL);
    int number;
    PCRE2_SIZE at;
    if (!how)
        die(1, "out of memory: no room for a regular expression");
    pcre2_set_newline(how, PCRE2_NEWLINE_LF);
    pcre2_code *code = pcre2_compile(
        (PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
        PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT, &number, &at, how);
    pcre2_compile_context_free(how);
    if (!code) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(number, why, sizeof(why));
        fail(err, "\"%s\" is no regular expression: %s, at byte %zu", pattern, (const char *)why,
             (size_t)at);
        return NULL;
    }
    uint32_t groups;
    struct regex *r = xcalloc(1, sizeof(*r));
    r->pattern = xstrdup(pattern);
    r->code = code;
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups);
    r->groups = (int)groups;
    return r;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r->pattern);
    free(r);
}

int regex_groups(const struct regex *r)
{
    return r->groups;
}

/* The matches of a text, one after the other. */
struct search {
    const struct regex *regex;
    struct buf mended; /* the text, where it was no UTF-8 */
    const char *text;
    size_t len;
    pcre2_match_context *limits;
    size_t work, place; /* done, and where in the text it was last */
    pcre2_match_data *data;
    const PCRE2_SIZE *span; /* [2 * (groups + 1)] of the last match */
    size_t at;              /* where the next search begins */
    uint32_t options;
};

static int count_work(pcre2_callout_block *b, void *search)
{
    struct search *s = search;
    size_t now = b->current_position;
    s->work += WORK_ITEM + (now > s->place ? now - s->place : s->place - now);
    s->place = now;
    return s->work > WORK_MAX ? PCRE2_ERROR_MATCHLIMIT : 0;
}

static void search_init(struct search *s, const struct regex *r, const char *text, size_t len)
{
    *s = (struct search){ .regex = r, .mended = BUF_INIT, .text = text, .len = len };
    if (utf8_valid(text, len) != len) {
        utf8_clean(text, len, &s->mended);
        s->text = s->mended.s;
        s->len = s->mended.len;
    }
    s->options = PCRE2_NO_UTF_CHECK;
    s->data = pcre2_match_data_create_from_pattern(r->code, NULL);
    s->limits = pcre2_match_context_create(NULL);
    if (!s->data || !s->limits)
        die(1, "out of memory: no room for a regular expression's matches");
    pcre2_set_callout(s->limits, count_work, s);
    pcre2_set_match_limit(s->limits, WORK_MAX); // never met first
    pcre2_set_heap_limit(s->limits, KIBIBYTES_MAX);
    s->span = pcre2_get_ovector_pointer(s->data);
}

static void search_release(struct search *s)
{
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->limits);
    buf_release(&s->mended);
}

/* 1: a match, 0: no more, -1: gave up. */
static int search_next(struct search *s, struct buf *err)
{
    const struct regex *r = s->regex;
    int rc =
        pcre2_match(r->code, (PCRE2_SPTR)s->text, s->len, s->at, s->options, s->data, s->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0) {
        PCRE2_UCHAR why[256] = "it takes too many steps";
        if (rc != PCRE2_ERROR_MATCHLIMIT)
            pcre2_get_error_message(rc, why, sizeof(why));
        return fail(err, "the regular expression \"%s\" gave up on a text of %zu bytes: %s",
                    r->pattern, s->len, (const char *)why);
    }
    // Behind an empty match, another one may not be empty at the same place.
    s->options = PCRE2_NO_UTF_CHECK;
    if (s->span[0] == s->span[1])
        s->options |= PCRE2_NOTEMPTY_ATSTART;
    s->at = s->span[1];
    return 1;
}

static bool took_part(const struct search *s, size_t group)
{
    return group <= (size_t)s->regex->groups && s->span[2 * group] != PCRE2_UNSET;
}

/* The group that is the answer. */
static size_t answer(const struct search *s)
{
    if (took_part(s, 1))
        return 1;
    for (size_t g = 2; g <= (size_t)s->regex->groups; g++)
        if (took_part(s, g) && s->span[2 * g] < s->span[2 * g + 1])
            return g;
    return 0;
}

static void add_group(const struct search *s, size_t group, struct buf *out)
{
    if (took_part(s, group))
        buf_add(out, s->text + s->span[2 * group], s->span[2 * group + 1] - s->span[2 * group]);
}

int regex_find(const struct regex *r, const char *text, size_t len, bool last, struct buf *found,
               struct buf *err)
{
    struct search s;
    const size_t before = found->len;
    int rc, matches = 0;
    search_init(&s, r, text, len);
    while ((rc = search_next(&s, err)) > 0) {
        // What the match before this one had gives way.
        found->len = before;
        add_group(&s, answer(&s), found);
        matches = 1;
        if (!last)
            break;
    }
    search_release(&s);
    if (rc < 0)
        found->len = before;
    if (found->cap)
        found->s[found->len] = '\0';
    return rc < 0 ? -1 : matches;
}

static void add_with(const struct search *s, const char *with, struct buf *out)
{
    for (const char *p = with; *p; p++) {
        if (*p != '$')
            buf_addc(out, *p);
        else if (*++p == '$')
            buf_addc(out, '$');
        else
            add_group(s, (size_t)(*p - '0'), out);
    }
}

int regex_replace(const struct regex *r, const char *text, size_t len, const char *with,
                  struct buf *out, struct buf *err)
{
    struct search s;
    size_t done = 0;
    int rc;
    search_init(&s, r, text, len);
    while ((rc = search_next(&s, err)) > 0) {
        buf_add(out, s.text + done, s.span[0] - done);
        add_with(&s, with, out);
        done = s.span[1];
    }
    buf_add(out, s.text + done, s.len - done);
    search_release(&s);
    return rc;
}

int regex_check_with(const struct regex *r, const char *with, struct buf *err)
{
    for (const char *p = with; *p; p++) {
        if (*p != '$' || *++p == '$')
            continue;
        if (*p < '1' || *p > '9')
            return fail(err,
                        "\"%s\": a '$' without a group's number behind it; a dollar sign "
                        "itself is written $$",
                        with);
        if (*p - '0' > r->groups)
            return fail(err, "\"%s\": \"%s\" has no group %c", with, r->pattern, *p);
    }
    return 0;
}
