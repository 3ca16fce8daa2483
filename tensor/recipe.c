/* recipe.c -- how a network wants its images, as text for people and for metadata. */
#include <stdio.h>
#include <stdlib.h>

#include "tensor/core.h"

static const char *const FILTERS[] = { "bilinear", "bicubic", "lanczos", "box", "nearest" };
enum { N_FILTERS = sizeof FILTERS / sizeof FILTERS[0] };

static const char *filter_name(tlv_filter f)
{
    return (unsigned)f < N_FILTERS ? FILTERS[f] : FILTERS[0];
}

/* ".485", "127.5", "1": as people write them. */
static const char *number(double v, char *buf, size_t n)
{
    snprintf(buf, n, "%.4g", v);
    return buf[0] == '0' && buf[1] == '.' ? buf + 1 : buf;
}

char *tlv_recipe_text(const tlv_recipe *r, char *buf, size_t n)
{
    char a[6][32], fit[80];
    const char *t[6];
    for (int i = 0; i < 3; i++) {
        t[i] = number(r->mean[i], a[i], sizeof a[i]);
        t[3 + i] = number(r->std[i] != 0 ? r->std[i] : 1, a[3 + i], sizeof a[3 + i]);
    }
    if (r->resize > 0)
        snprintf(fit, sizeof fit, "shorter side %d %s, centre crop %dx%d", r->resize,
                 filter_name(r->filter), r->size, r->size);
    else
        snprintf(fit, sizeof fit, "%dx%d %s", r->size, r->size, filter_name(r->filter));
    snprintf(buf, n, "%s, %s, mean %s %s %s, std %s %s %s", fit, r->bgr ? "BGR" : "RGB", t[0], t[1],
             t[2], t[3], t[4], t[5]);
    return buf;
}

char *tlv_recipe_write(const tlv_recipe *r, char *buf, size_t n)
{
    snprintf(buf, n,
             "size=%d resize=%d filter=%s channels=%s mean=%.17g,%.17g,%.17g std=%.17g,%.17g,%.17g",
             r->size, r->resize, filter_name(r->filter), r->bgr ? "bgr" : "rgb", r->mean[0],
             r->mean[1], r->mean[2], r->std[0], r->std[1], r->std[2]);
    return buf;
}

/* Three numbers after `key`; 0 if they are not there. */
static int read_three(const char *text, const char *key, double v[3])
{
    const char *at = strstr(text, key);
    if (!at) return 0;
    at += strlen(key);
    for (int i = 0; i < 3; i++) {
        char *end;
        v[i] = strtod(at, &end);
        if (end == at || (i < 2 && *end != ',') || !(v[i] > -1e6 && v[i] < 1e6)) return 0;
        at = end + 1;
    }
    return 1;
}

int tlv_recipe_read(tlv_recipe *r, const char *text)
{
    tlv_recipe got = { 0 };
    char filter[16], channels[8];
    if (!text
        || sscanf(text, "size=%6d resize=%6d filter=%15s channels=%7s", &got.size, &got.resize,
                  filter, channels) != 4
        || got.size < 1 || got.resize < 0 || !read_three(text, " mean=", got.mean)
        || !read_three(text, " std=", got.std))
        return 0;
    int f = 0;
    while (f < N_FILTERS && strcmp(filter, FILTERS[f]) != 0) f++;
    got.bgr = strcmp(channels, "bgr") == 0;
    if (f == N_FILTERS || (!got.bgr && strcmp(channels, "rgb") != 0)) return 0;
    got.filter = (tlv_filter)f;
    *r = got;
    return 1;
}
