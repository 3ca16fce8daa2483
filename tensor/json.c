/* json.c -- a strict reader of JSON (RFC 8259) without recursion and without memory of its own. */
#include "tensor/json.h"

#include <stdio.h>
#include <string.h>

void tlvi_json_begin(tlvi_json *j, const char *text, size_t n)
{
    *j = (tlvi_json){ .begin = text, .at = text, .end = text + n };
}

/* ---- failures -------------------------------------------------------------------------------- */

/* "byte 17: expected ':', got ','".  Returns 0. */
static int expected(tlvi_json *j, const char *what)
{
    if (j->bad) return 0;
    j->bad = 1;
    char got[24] = "the end";
    if (j->at < j->end) {
        unsigned char ch = (unsigned char)*j->at;
        snprintf(got, sizeof got, ch >= 0x20 && ch < 0x7f ? "'%c'" : "byte 0x%02x", ch);
    }
    size_t at = (size_t)(j->at - j->begin);
    snprintf(j->why, sizeof j->why, "byte %zu: expected %s, got %s", at, what, got);
    return 0;
}

static int refused(tlvi_json *j, const char *why)
{
    if (j->bad) return 0;
    j->bad = 1;
    snprintf(j->why, sizeof j->why, "byte %zu: %s", (size_t)(j->at - j->begin), why);
    return 0;
}

/* ---- structure ------------------------------------------------------------------------------- */

static void skip_space(tlvi_json *j)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\r' || *j->at == '\t'))
        j->at++;
}

/* Eats ch if it is what comes next. */
static int take(tlvi_json *j, char ch)
{
    if (j->bad) return 0;
    skip_space(j);
    if (j->at == j->end || *j->at != ch) return 0;
    j->at++;
    return 1;
}

void tlvi_json_open(tlvi_json *j, char bracket)
{
    if (!take(j, bracket)) expected(j, bracket == '{' ? "'{'" : "'['");
}

int tlvi_json_more(tlvi_json *j, int *n, char bracket)
{
    if (j->bad || take(j, bracket)) return 0;
    if (*n > 0 && !take(j, ',')) return expected(j, bracket == '}' ? "',' or '}'" : "',' or ']'");
    ++*n;
    return 1;
}

void tlvi_json_colon(tlvi_json *j)
{
    if (!take(j, ':')) expected(j, "':'");
}

void tlvi_json_end(tlvi_json *j)
{
    skip_space(j);
    if (j->at < j->end) expected(j, "nothing more");
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int is_digit(const tlvi_json *j) { return j->at < j->end && *j->at >= '0' && *j->at <= '9'; }

int64_t tlvi_json_int(tlvi_json *j)
{
    if (j->bad) return 0;
    skip_space(j);
    if (!is_digit(j)) return expected(j, "an integer from 0");
    int64_t v = 0;
    const char *first = j->at;
    for (; is_digit(j); j->at++) {
        int digit = *j->at - '0';
        if (v > (INT64_MAX - digit) / 10) return refused(j, "an integer larger than 2^63 - 1");
        v = 10 * v + digit;
    }
    if (*first == '0' && j->at > first + 1) return refused(j, "an integer that begins with 0");
    if (j->at < j->end && (*j->at == '.' || *j->at == 'e' || *j->at == 'E'))
        return expected(j, "an integer");
    return v;
}

/* ---- UTF-8 ----------------------------------------------------------------------------------- */

/* Bytes of the character at s (Unicode 15, table 3-7), 0 if it is not well-formed. */
static int utf8_length(const char *s, const char *end)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned char lo = 0x80, hi = 0xbf;
    int n;
    if (p[0] < 0x80) return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) n = 2;
    else if (p[0] >= 0xe0 && p[0] <= 0xef) n = 3;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4) n = 4;
    else return 0;
    if (p[0] == 0xe0) lo = 0xa0;                    // shorter forms exist
    if (p[0] == 0xed) hi = 0x9f;                    // surrogates
    if (p[0] == 0xf0) lo = 0x90;
    if (p[0] == 0xf4) hi = 0x8f;                    // above U+10FFFF
    if (end - s < n || p[1] < lo || p[1] > hi) return 0;
    for (int i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xbf) return 0;
    return n;
}

int tlvi_utf8_ok(const char *s)
{
    for (const char *end = s + strlen(s); s < end;) {
        int n = utf8_length(s, end);
        if (n == 0) return 0;
        s += n;
    }
    return 1;
}

static int utf8_encode(uint32_t u, char *out)
{
    if (u < 0x80) return out[0] = (char)u, 1;
    if (u < 0x800) {
        out[0] = (char)(0xc0 | u >> 6);
        out[1] = (char)(0x80 | (u & 0x3f));
        return 2;
    }
    if (u < 0x10000) {
        out[0] = (char)(0xe0 | u >> 12);
        out[1] = (char)(0x80 | (u >> 6 & 0x3f));
        out[2] = (char)(0x80 | (u & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | u >> 18);
    out[1] = (char)(0x80 | (u >> 12 & 0x3f));
    out[2] = (char)(0x80 | (u >> 6 & 0x3f));
    out[3] = (char)(0x80 | (u & 0x3f));
    return 4;
}

/* ---- strings --------------------------------------------------------------------------------- */

/* Four hex digits; at stands behind them. */
static uint32_t hex4(tlvi_json *j)
{
    uint32_t u = 0;
    for (int i = 0; i < 4; i++, j->at++) {
        char ch = j->at < j->end ? *j->at : 0;
        if (ch >= '0' && ch <= '9') u = 16 * u + (uint32_t)(ch - '0');
        else if (ch >= 'a' && ch <= 'f') u = 16 * u + (uint32_t)(ch - 'a' + 10);
        else if (ch >= 'A' && ch <= 'F') u = 16 * u + (uint32_t)(ch - 'A' + 10);
        else return (uint32_t)expected(j, "4 hex digits after \\u");
    }
    return u;
}

/* What follows "\u": one code unit, or two that are a pair.  Returns bytes in out, 0 on failure. */
static int unicode_escape(tlvi_json *j, char *out)
{
    uint32_t u = hex4(j);
    if (j->bad) return 0;
    if (u == 0) return refused(j, "\\u0000 in a string");
    if (u >= 0xdc00 && u <= 0xdfff) return refused(j, "half of a surrogate pair");
    if (u >= 0xd800 && u <= 0xdbff) {
        if (j->end - j->at < 2 || j->at[0] != '\\' || j->at[1] != 'u')
            return refused(j, "half of a surrogate pair");
        j->at += 2;
        uint32_t low = hex4(j);
        if (j->bad) return 0;
        if (low < 0xdc00 || low > 0xdfff) return refused(j, "half of a surrogate pair");
        u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
    }
    return utf8_encode(u, out);
}

/* The character after a backslash; returns bytes in out, 0 on failure. */
static int escape(tlvi_json *j, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (j->at == j->end) return expected(j, "an escape");
    if (*j->at == 'u') {
        j->at++;
        return unicode_escape(j, out);
    }
    const char *known = *j->at ? strchr(from, *j->at) : NULL;
    if (!known) return expected(j, "an escape");
    *out = to[known - from];
    j->at++;
    return 1;
}

/* One character of a string, as UTF-8; returns its bytes, 0 on failure. */
static int one_char(tlvi_json *j, char *out)
{
    if (*j->at == '\\') {
        j->at++;
        return escape(j, out);
    }
    if ((unsigned char)*j->at < 0x20) return refused(j, "a control character in a string");
    int n = utf8_length(j->at, j->end);
    if (n == 0) return refused(j, "a string that is not UTF-8");
    memcpy(out, j->at, (size_t)n);
    j->at += n;
    return n;
}

size_t tlvi_json_string(tlvi_json *j, char *dst, size_t cap)
{
    if (!take(j, '"')) return (size_t)expected(j, "a string");
    size_t len = 0;
    while (j->at < j->end && *j->at != '"') {
        char ch[4];
        int n = one_char(j, ch);
        if (n == 0) return 0;
        for (int i = 0; i < n; i++, len++)
            if (len < cap) dst[len] = ch[i];
    }
    if (j->at == j->end) return (size_t)refused(j, "a string without its closing quote");
    j->at++;
    return len;
}

size_t tlvi_json_quote(char *dst, const char *s)
{
    size_t n = 0;
    char esc[8];
    for (int edge = 0; edge < 2; edge++) {
        if (dst) dst[n] = '"';
        n++;
        for (; edge == 0 && *s; s++) {
            size_t k = 1;
            esc[0] = *s;
            if (*s == '"' || *s == '\\') k = (size_t)snprintf(esc, sizeof esc, "\\%c", *s);
            else if ((unsigned char)*s < 0x20)
                k = (size_t)snprintf(esc, sizeof esc, "\\u%04x", (unsigned)(unsigned char)*s);
            if (dst) memcpy(dst + n, esc, k);
            n += k;
        }
    }
    return n;
}
