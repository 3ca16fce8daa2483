/* fuzz_images.c -- see fuzz_images.h. */
#include "tests/fuzz_images.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

enum { LIMIT = 100 << 20 };

#define WANT(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) return #cond;                                                                 \
    } while (0)

tlv_status fuzz_any_image(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                          tlv_image *out)
{
    return tlv_image_decode(c, bytes, n, name, out);
}

/* What holds for every image that was decoded; NULL if it does. */
static const char *look_inside(tlv_image *m)
{
    static const tlv_pixels kinds[] = { TLV_RGBA, TLV_RGB, TLV_GREY };
    WANT(m->samples && m->c);
    WANT(m->h > 0 && m->w > 0 && (int64_t)m->h * m->w <= 1 << 28);
    WANT(m->depth == 8 || m->depth == 16);
    WANT(m->channels == (m->kind == TLV_CMYK ? 4 : (int)m->kind));
    WANT(m->bytes == (size_t)m->h * (size_t)m->w * (size_t)(m->channels * m->depth / 8));
    WANT(m->orientation >= 1 && m->orientation <= 8);
    int h = m->h, w = m->w;
    if (m->orientation == 1) m->orientation = 1 + (h + w) % 8;
    int across = m->orientation >= 5;
    WANT(tlv_image_orient(m) == TLV_OK && m->orientation == 1);
    WANT(m->h == (across ? w : h) && m->w == (across ? h : w));
    for (int k = 0; k < 3; k++) {
        WANT(tlv_image_convert(m, kinds[k]) == TLV_OK);
        WANT(m->kind == kinds[k] && m->depth == 8);
    }
    return NULL;
}

int fuzz_image(tlv_ctx *c, fuzz_decoder decode, const uint8_t *bytes, size_t n, const char **why)
{
    size_t before = tlv_mem_get(c).now;
    tlv_image m = { 0 };
    tlv_status st = decode(c, bytes, n, "input", &m);
    *why = NULL;
    if (st == TLV_OK) *why = look_inside(&m);
    else if (st != TLV_ERR_FORMAT && st != TLV_ERR_LIMIT) *why = "another kind of error";
    else if (m.samples) *why = "refused, and samples are left";
    else if (!strstr(tlv_error_msg(c), "input")) *why = "a sentence that does not name the file";
    tlv_image_close(&m);
    tlv_error_clear(c);
    if (!*why && tlv_mem_get(c).now != before) *why = "memory is left over";
    return *why ? -1 : st == TLV_OK;
}

static tlv_ctx *small_context(void)
{
    return tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .mem_limit = LIMIT });
}

void fuzz_image_or_abort(fuzz_decoder decode, const uint8_t *bytes, size_t n)
{
    tlv_ctx *c = small_context();
    const char *why;
    if (fuzz_image(c, decode, bytes, n, &why) < 0) {
        fprintf(stderr, "image: %s\n", why);
        abort();
    }
    tlv_ctx_close(c);
}

/* ---- for tests ------------------------------------------------------------------------------- */

/* From a copy of exactly n bytes, so that sanitizers see a byte too far. */
static int run_exact(tlv_ctx *c, fuzz_decoder decode, const uint8_t *bytes, size_t n,
                     const char **why)
{
    uint8_t *exact = malloc(n ? n : 1);
    *why = "no memory";
    if (!exact) return -1;
    memcpy(exact, bytes, n);
    int got = fuzz_image(c, decode, exact, n, why);
    free(exact);
    return got;
}

void fuzz_image_corpus(fuzz_decoder decode, const char *name, int least)
{
    enum { CAP = 1 << 16 };
    static uint8_t buf[CAP];
    char part[64], dir[256], path[600];
    int files = 0;
    snprintf(part, sizeof part, "fuzz/corpus/%s", name);
    if (!test_file_path(dir, sizeof dir, part)) return;
    DIR *d = opendir(dir);
    if (!EXPECT(d, "%s cannot be listed", dir)) return;
    tlv_ctx *c = small_context();
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        FILE *f = fopen(path, "rb");
        if (!EXPECT(f, "%s cannot be opened", path)) continue;
        size_t n = fread(buf, 1, CAP, f);
        fclose(f);
        const char *why;
        int got = run_exact(c, decode, buf, n, &why);
        EXPECT(got >= 0, "%s: %s", path, why);
        files++;
    }
    closedir(d);
    EXPECT(files >= least, "%d files in %s, want at least %d", files, dir, least);
    tlv_ctx_close(c);
}

void fuzz_mutations(fuzz_decoder decode, const uint8_t *seed, size_t n, int rounds)
{
    tlv_ctx *c = small_context();
    const char *why;
    int got = run_exact(c, decode, seed, n, &why);
    EXPECT(got == 1, "the seed is no image: %s", why ? why : "refused");
    for (size_t k = 0; k < n; k++) {
        got = run_exact(c, decode, seed, k, &why);
        EXPECT(got >= 0, "its first %zu bytes: %s", k, why);
    }
    uint8_t *copy = malloc(n);
    uint32_t draw = 1;
    for (int i = 0; copy && i < rounds; i++) {
        memcpy(copy, seed, n);
        for (int k = 0; k <= i % 3; k++) {
            draw = draw * 1664525u + 1013904223u;
            copy[(draw >> 16) % n] = (uint8_t)(draw >> 8);
        }
        if (run_exact(c, decode, copy, n, &why) < 0) EXPECT(0, "mutation %d: %s", i, why);
    }
    EXPECT(copy, "no memory");
    free(copy);
    tlv_ctx_close(c);
}
