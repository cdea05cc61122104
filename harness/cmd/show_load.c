/*
 * show_load.c: a sample out of the store, its tokens as one text, and walks over that; see show.h.
 */
#include "cmd/show.h"

#include <math.h>
#include <string.h>

static char *copy(const struct rows *r, int col)
{
    const char *s = rows_text(r, col);
    return s ? xstrdup(s) : NULL;
}

NORETURN static void no_such_document(struct store *s, const struct shown *p)
{
    struct buf err = BUF_INIT;
    struct rows *r =
        store_query(s, &err, "SELECT count(*), min(doc), max(doc) FROM v_samples WHERE cell_id = ?",
                    p->cell->id);
    if (!r || rows_next(r, &err) != 1)
        die(1, "%s", err.s);
    if (rows_int(r, 0) == 0)
        die(1, "%s: cell %.8s has no samples yet", store_path(s), p->cell->id);
    die(1, "%s: cell %.8s has no document %s; it has %lld, from %lld to %lld", store_path(s),
        p->cell->id, p->doc, (long long)rows_int(r, 0), (long long)rows_int(r, 1),
        (long long)rows_int(r, 2));
}

static void load_sample(struct store *s, struct shown *p)
{
    struct buf err = BUF_INIT;
    struct rows *r =
        store_query(s, &err,
                    "SELECT prompt_tokens, output_tokens, nll_tokens, stop_reason, output, "
                    "extracted, error, nll, score FROM v_samples "
                    "WHERE cell_id = ? AND doc = CAST(? AS INTEGER)",
                    p->cell->id, p->doc);
    int rc = r ? rows_next(r, &err) : -1;
    if (rc < 0)
        die(1, "%s", err.s);
    if (rc == 0)
        no_such_document(s, p);
    p->prompt_tokens = (int)rows_int(r, 0);
    p->output_tokens = (int)rows_int(r, 1);
    p->nll_tokens = (int)rows_int(r, 2);
    p->stop_reason = copy(r, 3);
    p->output = copy(r, 4);
    p->extracted_text = copy(r, 5);
    p->error = copy(r, 6);
    p->nll = rows_double(r, 7);
    p->score = rows_double(r, 8);
    rows_close(r);
    if (p->extracted_text)
        p->extracted = json_loads(p->extracted_text, 0, NULL);
    if (p->extracted && !json_is_object(p->extracted)) {
        json_decref(p->extracted);
        p->extracted = NULL;
    }
    buf_release(&err);
}

/* Bytes from hexadecimal digits, as SQLite writes them: a token may hold any byte, also zero. */
static void add_bytes(const char *hex, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; hex[0] && hex[1]; hex += 2) {
        const char *high = strchr(digits, hex[0]), *low = strchr(digits, hex[1]);
        if (!high || !low)
            BUG("'%.2s' is no byte in hexadecimal digits", hex);
        buf_addc(out, (char)((high - digits) * 16 + (low - digits)));
    }
}

static void add_token(const struct rows *r, struct shown *p)
{
    ARRAY_GROW(p->tokens, p->tokens_cap, p->ntokens + 1);
    struct shown_token *t = &p->tokens[p->ntokens++];
    *t = (struct shown_token){ .pos = (int)rows_int(r, 0),
                               .id = (int32_t)rows_int(r, 1),
                               .from = p->text.len,
                               .nll = rows_double(r, 4),
                               .entropy = rows_double(r, 5),
                               .experts = rows_double(r, 6),
                               .by_layer = copy(r, 7) };
    if (rows_int(r, 3))
        buf_addf(&p->text, "[%d]", (int)t->id); // its text was not kept
    else
        add_bytes(rows_text(r, 2), &p->text);
    t->to = p->text.len;
}

static void load_tokens(struct store *s, struct shown *p)
{
    struct buf err = BUF_INIT;
    struct rows *r = store_query(s, &err,
                                 "SELECT pos, token_id, hex(token), token IS NULL, nll, entropy, "
                                 "experts, experts_by_layer FROM v_tokens "
                                 "WHERE cell_id = ? AND doc = CAST(? AS INTEGER) ORDER BY pos",
                                 p->cell->id, p->doc);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, &err)) == 1)
        add_token(r, p);
    if (rc)
        die(1, "%s", err.s);
    rows_close(r);
    buf_release(&err);
}

/* Where does the output begin in the text, and where does what was scored of it end? */
static void split(struct shown *p)
{
    const char *output = p->output ? p->output : "";
    p->output_from = p->ntokens == 0 ? 0 : p->text.len;
    for (size_t i = p->ntokens; i-- > 0 && p->tokens[i].pos >= p->prompt_tokens;)
        p->output_from = p->tokens[i].from;
    if (p->ntokens == 0)
        buf_adds(&p->text, output);
    p->output_to = p->text.len;
    if (!p->output)
        return;
    size_t len = strlen(output);
    if (len <= p->text.len - p->output_from && memcmp(p->text.s + p->output_from, output, len) == 0)
        p->output_to = p->output_from + len;
    else
        p->apart = true;
}

void show_load(struct store *s, struct shown *p)
{
    p->cell = &p->cells.v[0];
    load_sample(s, p);
    load_tokens(s, p);
    split(p);
}

void show_release(struct shown *p)
{
    for (size_t i = 0; i < p->ntokens; i++)
        free(p->tokens[i].by_layer);
    free(p->tokens);
    free(p->places);
    free(p->stop_reason);
    free(p->output);
    free(p->extracted_text);
    free(p->error);
    json_decref(p->extracted);
    buf_release(&p->text);
    results_release(&p->cells);
    *p = (struct shown){ 0 };
}

/* ---- walking ---- */

/* Does a character of the text lie across this offset? Then two tokens share it. */
static bool inside_character(const struct buf *text, size_t at)
{
    for (size_t back = 1; back <= 3 && back <= at; back++) {
        unsigned char c = (unsigned char)text->s[at - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t len = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        return len > back && at - back + len <= text->len &&
               utf8_valid(text->s + at - back, len) == len;
    }
    return false;
}

/* The tokens around `from`: one, or as many as share characters. Tokens without text go along. */
static void tokens_at(const struct shown *p, size_t from, struct piece *piece)
{
    size_t i = piece->last;
    while (i > 0 && p->tokens[i - 1].to > from)
        i--;
    while (i < p->ntokens && p->tokens[i].to <= from)
        i++;
    piece->first = i;
    while (piece->first > 0 && inside_character(&p->text, p->tokens[piece->first].from))
        piece->first--;
    while (i + 1 < p->ntokens && inside_character(&p->text, p->tokens[i].to))
        i++;
    piece->last = i + 1;
}

static size_t lesser(size_t a, size_t b)
{
    return a < b ? a : b;
}

bool show_piece(const struct shown *p, size_t end, struct piece *piece)
{
    size_t from = piece->to, to = end;
    if (from >= end)
        return false;
    if (p->ntokens) {
        tokens_at(p, from, piece);
        to = lesser(to, p->tokens[piece->last - 1].to);
    }
    piece->answer = false;
    for (size_t i = 0; i < p->nplaces; i++) {
        if (p->places[i].from > from)
            to = lesser(to, p->places[i].from);
        else if (p->places[i].to > from)
            to = lesser(to, p->places[i].to);
        piece->answer |= p->places[i].from <= from && from < p->places[i].to;
    }
    piece->cut = from >= p->output_to;
    if (!piece->cut)
        to = lesser(to, p->output_to);
    piece->from = from;
    piece->to = to;
    return true;
}

struct shown show_tokens_alone(const struct shown *p)
{
    struct shown alone = *p;
    if (p->apart)
        alone.nplaces = 0;
    return alone;
}

struct shown show_output_alone(const struct shown *p)
{
    struct shown alone = *p;
    size_t len = strlen(p->output);
    alone.tokens = NULL;
    alone.ntokens = 0;
    alone.text = (struct buf){ p->output, len, 0 };
    alone.output_from = 0;
    alone.output_to = len;
    return alone;
}

/* ---- shading ---- */

static double token_value(const struct shown_token *t, enum shade_by by)
{
    return by == SHADE_EXPERTS ? t->experts : by == SHADE_ENTROPY ? t->entropy : NAN;
}

struct scale show_scale(const struct shown *p, enum shade_by by)
{
    struct scale s = { NAN, NAN };
    for (size_t i = 0; i < p->ntokens; i++) {
        double v = token_value(&p->tokens[i], by);
        s.lo = fmin(s.lo, v); // of a number and NaN, the number
        s.hi = fmax(s.hi, v);
    }
    return s;
}

double show_value(const struct shown *p, const struct piece *piece, enum shade_by by)
{
    double sum = 0;
    int n = 0;
    for (size_t i = piece->first; i < piece->last; i++) {
        double v = token_value(&p->tokens[i], by);
        if (isnan(v))
            continue;
        sum += v;
        n++;
    }
    return n ? sum / n : NAN;
}

int show_step(struct scale s, double value)
{
    if (isnan(value))
        return -1;
    if (!(s.hi > s.lo))
        return SHADE_STEPS / 2;
    int step = (int)((value - s.lo) / (s.hi - s.lo) * SHADE_STEPS);
    return step < SHADE_STEPS ? step : SHADE_STEPS - 1;
}
