/*
 * template.h: text with {field} in it, filled in from a document's JSON object.
 *
 * Leaves out: anything but putting texts together; no conditions, no loops.
 */
#ifndef TEMPLATE_H
#define TEMPLATE_H

#include "util.h"

#include <jansson.h>

/*
 * Calls `part` for the pieces of a template in order: text between fields (`field` false) and the
 * names of fields. Stops at the first that does not return 0. -1 and a sentence also where the
 * template is not well formed.
 */
int template_walk(const char *template,
                  int (*part)(void *ud, bool field, const char *s, size_t len, struct buf *err),
                  void *ud, struct buf *err) MUST_USE;

/*
 * Fills a template in: {field} of the document, {field[0]} of an array, {field[0].name} of an array
 * of objects, {field} of an array of strings: all of them, one a line; {output} is `output` where that is not NULL; {{ and }} are
 * braces. Numbers as JSON writes them.
 */
int template_fill(const char *template, const json_t *doc, const char *output, struct buf *out,
                  struct buf *err) MUST_USE;

/* Does {field} stand in it? The template is well formed. */
bool template_has(const char *template, const char *field);

#endif
