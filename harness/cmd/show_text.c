/*
 * show_text.c: a sample on a terminal: facts, prompt and output with each token on a ground that says
 * how many experts it drew, and the measures. Without colours the texts stand as they are.
 *
 * Invariant: the ground ends before a line does, and every shade has its own colour of letters, so
 * that it reads the same on a dark and a light terminal.
 */
#include "cmd/show.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* From few to many: pale yellow to dark purple. */
static const struct {
    unsigned char r, g, b;
    unsigned char of_256; /* the nearest of the 256 colours */
    bool white;           /* letters */
} shades[SHADE_STEPS] = {
    { 255, 248, 215, 230, false }, { 254, 229, 165, 223, false }, { 251, 200, 120, 215, false },
    { 245, 160, 88, 209, false },  { 226, 112, 78, 167, false },  { 184, 66, 82, 125, true },
    { 116, 30, 82, 89, true },
};

/* How this terminal is written to. */
struct pen {
    bool color, rgb;
};

static struct pen pen_choose(bool color)
{
    const char *depth = getenv("COLORTERM");
    return (struct pen){ color, depth && (strcmp(depth, "truecolor") == 0 ||
                                          strcmp(depth, "24bit") == 0) };
}

static void sgr(struct pen pen, const char *codes)
{
    if (pen.color)
        printf("\x1b[%sm", codes);
}

static void ground(struct pen pen, int step)
{
    if (!pen.color || step < 0)
        return;
    int letters = shades[step].white ? 231 : 16;
    if (pen.rgb)
        printf("\x1b[38;5;%d;48;2;%d;%d;%dm", letters, shades[step].r, shades[step].g,
               shades[step].b);
    else
        printf("\x1b[38;5;%d;48;5;%dm", letters, shades[step].of_256);
}

/* The look of a piece, begun anew on each line. */
static void begin(struct pen pen, const struct piece *piece, int step)
{
    ground(pen, step);
    if (piece->answer)
        sgr(pen, "1;4");
    if (piece->cut)
        sgr(pen, "9");
}

static void print_piece(struct pen pen, const struct shown *p, const struct piece *piece, int step)
{
    const char *s = p->text.s;
    char shown[16];
    begin(pen, piece, step);
    for (size_t i = piece->from, n; i < piece->to; i += n) {
        n = show_char(s + i, piece->to - i, shown);
        if (shown[0]) {
            sgr(pen, "7");
            fputs(shown, stdout);
            sgr(pen, "27");
        } else if (s[i] == '\n' && pen.color) {
            fputs("\xe2\x86\xb5", stdout); // an arrow, so that its shade can be seen
            sgr(pen, "0");
            putchar('\n');
            begin(pen, piece, step);
        } else {
            fwrite(s + i, 1, n, stdout);
        }
    }
    sgr(pen, "0");
}

static void print_text(struct pen pen, const struct shown *p, enum shade_by by, size_t from,
                       size_t to)
{
    struct scale scale = show_scale(p, by);
    struct piece piece = { .from = from, .to = from };
    bool cut = false;
    while (show_piece(p, to, &piece)) {
        if (piece.cut && !cut && !pen.color)
            fputs("\n[what follows was written too, and cut off]\n", stdout);
        cut = piece.cut;
        print_piece(pen, p, &piece, show_step(scale, show_value(p, &piece, by)));
    }
    if (to == from || p->text.s[to - 1] != '\n' || pen.color)
        putchar('\n');
}

static void heading(struct pen pen, const char *words)
{
    putchar('\n');
    sgr(pen, "1");
    printf(pen.color ? "%s" : "--- %s ---", words);
    sgr(pen, "0");
    putchar('\n');
}

/* A name and its value; what is of several lines stands below, indented. */
static void print_pair(const char *indent, const char *name, const char *value)
{
    struct buf line = BUF_INIT;
    if (!strchr(value, '\n')) {
        show_clean(value, strlen(value), &line);
        printf("%s%-9s %s\n", indent, name, line.s);
    } else {
        printf("%s%s\n", indent, name);
        for (const char *s = value; *s;) {
            size_t n = strcspn(s, "\n");
            buf_reset(&line);
            show_clean(s, n, &line);
            printf("%s  | %s\n", indent, line.s);
            s += n + (s[n] == '\n');
        }
    }
    buf_release(&line);
}

static void print_measures(struct pen pen, const struct shown *p)
{
    const char *name;
    json_t *verdict;
    struct buf value = BUF_INIT;
    if (p->extracted_text)
        heading(pen, "measures");
    if (p->extracted_text && !p->extracted) {
        show_clean(p->extracted_text, strlen(p->extracted_text), &value);
        puts(value.s);
    }
    json_object_foreach (p->extracted, name, verdict) {
        buf_reset(&value);
        show_clean(name, strlen(name), &value);
        sgr(pen, "1");
        fputs(value.s, stdout);
        sgr(pen, "0");
        buf_reset(&value);
        bool scored = show_verdict(verdict, "score", &value);
        printf(": %s\n", scored ? value.s : "not scored");
        for (const struct show_row *r = show_rows; r->key; r++) {
            buf_reset(&value);
            if (show_verdict(verdict, r->key, &value))
                print_pair("  ", r->name, value.s);
        }
    }
    buf_release(&value);
}

static void print_facts(const struct shown *p)
{
    struct strings facts = { 0 };
    show_facts(p, &facts);
    for (size_t i = 0; i + 1 < facts.len; i += 2)
        print_pair("", facts.v[i], facts.v[i + 1]);
    strings_release(&facts);
}

static void print_legend(struct pen pen, const struct shown *p, enum shade_by by)
{
    struct scale s = show_scale(p, by);
    const char *what = by == SHADE_EXPERTS ? "experts, mean over the layers" : "entropy in nats";
    if (!pen.color || isnan(s.lo))
        return;
    printf("%-9s ", "shade");
    if (!(s.hi > s.lo)) {
        ground(pen, show_step(s, s.lo));
        printf(" %.4g ", s.lo);
        sgr(pen, "0");
        printf(" %s: every token has the same\n", what);
        return;
    }
    for (int i = 0; i < SHADE_STEPS; i++) {
        ground(pen, i);
        printf(" %.2f ", s.lo + (s.hi - s.lo) * i / SHADE_STEPS);
        sgr(pen, "0");
    }
    printf(" %.2f  %s\n", s.hi, what);
}

void show_text(const struct shown *p, enum shade_by by, bool color)
{
    struct pen pen = pen_choose(color);
    struct shown tokens = show_tokens_alone(p);
    print_facts(p);
    print_legend(pen, p, by);
    if (show_has_prompt(p)) {
        heading(pen, "prompt");
        print_text(pen, &tokens, by, 0, p->output_from);
    }
    heading(pen, p->ntokens && p->apart ? "output, token by token" : show_part_name(p));
    if (p->text.len)
        print_text(pen, &tokens, by, show_has_prompt(p) ? p->output_from : 0, p->text.len);
    else
        puts(p->output ? "(empty)" : "(not kept: the tokens were not logged)");
    if (p->ntokens && p->apart) {
        struct shown output = show_output_alone(p);
        heading(pen, "output, as it was scored");
        print_text(pen, &output, SHADE_NONE, 0, output.text.len);
    }
    print_measures(pen, p);
}
