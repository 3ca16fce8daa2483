/* json.h -- a strict reader of JSON text, one value after another, without memory of its own.
 *
 * The caller knows what should come and asks for it; anything else stops the reader with a reason.
 * There is no recursion, so depth is what the caller asks for.  Strings are UTF-8, checked; numbers
 * are integers from 0.
 *
 *     int n = 0;                                   // [1, 2, 3]
 *     tlvi_json_open(&j, '[');
 *     while (tlvi_json_more(&j, &n, ']')) sum += tlvi_json_int(&j); */
#ifndef TLVI_JSON_H
#define TLVI_JSON_H

#include <stddef.h>
#include <stdint.h>

typedef struct tlvi_json {
    const char *begin, *at, *end;
    int bad;                        /* the first failure: why holds it, nothing is read any more */
    char why[112];                  /* "byte 17: expected ':', got ','" */
} tlvi_json;

void tlvi_json_begin(tlvi_json *j, const char *text, size_t n);

/* '{' or '['. */
void tlvi_json_open(tlvi_json *j, char bracket);
/* True if one more element of the object or array follows; *n counts them and begins at 0.  Eats
 * the commas, and the closing bracket when it is there. */
int tlvi_json_more(tlvi_json *j, int *n, char bracket);
/* The ':' after a key. */
void tlvi_json_colon(tlvi_json *j);
/* Decodes a string into dst, at most cap bytes of it (without a terminating 0), and returns the
 * length of the whole.  \u0000 is refused: names are C strings. */
size_t tlvi_json_string(tlvi_json *j, char *dst, size_t cap);
/* 0 .. INT64_MAX, in digits alone; else 0 and a failure. */
int64_t tlvi_json_int(tlvi_json *j);
/* Only white space may be left. */
void tlvi_json_end(tlvi_json *j);

/* Writes s as a JSON string with its quotes; returns the length.  dst NULL only counts. */
size_t tlvi_json_quote(char *dst, const char *s);
/* True for well-formed UTF-8. */
int tlvi_utf8_ok(const char *s);

#endif
