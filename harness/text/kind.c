/*
 * kind.c: see kind.h.
 */
#include "text/kind.h"

#include <string.h>

const char *const text_kind_names[KINDS] = {
    [KIND_SPACE] = "space",   [KIND_DIGIT] = "digit", [KIND_PUNCTUATION] = "punctuation",
    [KIND_SYMBOL] = "symbol", [KIND_CODE] = "code",   [KIND_FUNCTION] = "function",
    [KIND_NAME] = "name",     [KIND_WORD] = "word",   [KIND_PIECE] = "piece",
    [KIND_OTHER] = "other",
};

/* Each list is in the order of strcmp(). */
static const char *const function_words[] = {
    "a",       "about", "above",   "across", "after",   "against", "all",     "along",   "although",
    "am",      "among", "an",      "and",    "another", "any",     "are",     "around",  "as",
    "at",      "be",    "because", "been",   "before",  "behind",  "being",   "below",   "beside",
    "between", "both",  "but",     "by",     "can",     "cannot",  "could",   "did",     "do",
    "does",    "doing", "done",    "down",   "during",  "each",    "either",  "every",   "few",
    "for",     "from",  "had",     "has",    "have",    "having",  "he",      "her",     "hers",
    "him",     "his",   "how",     "i",      "if",      "in",      "into",    "is",      "it",
    "its",     "may",   "me",      "might",  "mine",    "most",    "much",    "must",    "my",
    "neither", "no",    "nor",     "not",    "of",      "off",     "on",      "onto",    "or",
    "other",   "our",   "ours",    "out",    "over",    "own",     "per",     "shall",   "she",
    "should",  "since", "so",      "some",   "such",    "than",    "that",    "the",     "their",
    "them",    "then",  "there",   "these",  "they",    "this",    "those",   "though",  "through",
    "to",      "too",   "toward",  "under",  "unless",  "until",   "up",      "upon",    "us",
    "was",     "we",    "were",    "what",   "when",    "where",   "whether", "which",   "while",
    "who",     "whom",  "whose",   "why",    "will",    "with",    "within",  "without", "would",
    "yet",     "you",   "your",
};

static const char *const code_words[] = {
    "False",  "None", "True",       "assert", "async",  "await", "bool",  "class",
    "const",  "def",  "dict",       "elif",   "else",   "enum",  "expr",  "float",
    "import", "int",  "isinstance", "lambda", "len",    "list",  "print", "range",
    "return", "self", "static",     "str",    "struct", "tuple", "void",
};

enum { LONGEST = 16 };

static int by_name(const void *key, const void *word)
{
    return strcmp(key, *(const char *const *)word);
}

/* Is it in the list? Letters are made small where `fold` says so. */
static bool is_listed(const char *s, size_t len, const char *const *list, size_t n, bool fold)
{
    char word[LONGEST];
    if (len >= sizeof(word))
        return false;
    for (size_t i = 0; i < len; i++)
        word[i] = fold && s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i];
    word[len] = '\0';
    return bsearch(word, list, n, sizeof(*list), by_name) != NULL;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_capital(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_letter(char c)
{
    return is_capital(c) || (c >= 'a' && c <= 'z');
}

/* What the characters behind the blanks are. */
struct count {
    size_t letters, digits, prose, signs; /* ASCII; prose: its marks */
    size_t marks;                         /* of prose, beyond ASCII: U+2010 to U+203A */
    size_t foreign;                       /* bytes of other characters */
};

static struct count count(const char *s, size_t len)
{
    struct count n = { 0 };
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        bool general = c == 0xe2 && i + 2 < len && (unsigned char)s[i + 1] == 0x80 &&
                       (unsigned char)s[i + 2] >= 0x90 && (unsigned char)s[i + 2] <= 0xba;
        if (general) {
            n.marks++;
            i += 2;
        } else if (c >= 0x80 || c < ' ' || c == 127) {
            n.foreign++;
        } else if (is_letter((char)c)) {
            n.letters++;
        } else if (c >= '0' && c <= '9') {
            n.digits++;
        } else if (strchr(".,;:!?'\"()-", c)) {
            n.prose++;
        } else if (c != ' ') {
            n.signs++;
        }
    }
    return n;
}

enum text_kind text_kind(const char *text, size_t len)
{
    size_t blanks = 0;
    while (blanks < len && is_space(text[blanks]))
        blanks++;
    const char *s = text + blanks;
    size_t n = len - blanks;
    while (n > 0 && is_space(s[n - 1]))
        n--;
    if (n == 0)
        return len ? KIND_SPACE : KIND_OTHER;
    struct count c = count(s, n);
    if (c.foreign)
        return KIND_OTHER;
    if (!c.letters)
        return c.digits && !(c.prose + c.signs + c.marks) ? KIND_DIGIT
               : c.digits                                 ? KIND_CODE
               : c.signs                                  ? KIND_SYMBOL
                                                          : KIND_PUNCTUATION;
    // "n't" and "'s" are pieces; anything else among letters is no prose.
    if (c.digits || c.signs || (c.prose && !memchr(s, '\'', n)) ||
        is_listed(s, n, code_words, ARRAY_LEN(code_words), false))
        return KIND_CODE;
    if (is_listed(s, n, function_words, ARRAY_LEN(function_words), true))
        return KIND_FUNCTION;
    return is_capital(s[0]) ? KIND_NAME : blanks ? KIND_WORD : KIND_PIECE;
}
