/*
 * kind.h: what kind of text a token is, by its own characters: for tables of which tokens draw many
 * experts.
 *
 * The kinds, each token being of the first that fits:
 *   space        blanks and line breaks alone
 *   digit        digits alone
 *   punctuation  marks of prose: . , ; : ! ? ' " ( ) - and their Unicode kin
 *   symbol       other ASCII signs alone: operators, brackets and rules of code and markup
 *   code         a word of Python, or letters with an underscore, digit or sign in them
 *   function     an English word of grammar: articles, pronouns, prepositions, conjunctions, auxiliaries
 *   name         a word with a capital: names, and the first words of sentences
 *   word         any other word, or its beginning: a blank and letters
 *   piece        letters without a blank before them, that go on with a word
 *   other        what is left: other scripts, parts of characters. A special token such as </s> is what
 *                its characters are: code
 * Blanks around it do not count, but for word and piece those before it.
 *
 * Leaves out: context. A token alone cannot tell a name from the first word of a sentence.
 */
#ifndef KIND_H
#define KIND_H

#include "util.h"

enum text_kind {
    KIND_SPACE,
    KIND_DIGIT,
    KIND_PUNCTUATION,
    KIND_SYMBOL,
    KIND_CODE,
    KIND_FUNCTION,
    KIND_NAME,
    KIND_WORD,
    KIND_PIECE,
    KIND_OTHER,
    KINDS,
};

/* `text` is any bytes; none is `other`. */
enum text_kind text_kind(const char *text, size_t len);
/* The words of the list above. */
extern const char *const text_kind_names[KINDS];

#endif
