/* torture.c -- see torture.h. */
#include "tests/torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/codec.h"
#include "tests/support.h"

/* A whole file with a zero behind it; NULL and a failed check if it cannot be read. */
static char *whole_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!EXPECT(f, "%s cannot be opened", path)) return NULL;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *p = malloc((size_t)(size < 0 ? 0 : size) + 1);
    *n = p ? fread(p, 1, (size_t)size, f) : 0;
    fclose(f);
    if (!EXPECT(p && *n == (size_t)size, "%s cannot be read", path)) {
        free(p);
        return NULL;
    }
    p[*n] = 0;
    return p;
}

/* What follows "path\t" in a table, or NULL. */
static const char *find_line(const char *table, const char *path)
{
    size_t n = strlen(path);
    for (const char *p = table; p; p = strchr(p, '\n')) {
        if (*p == '\n') p++;
        if (strncmp(p, path, n) == 0 && p[n] == '\t') return p + n + 1;
    }
    return NULL;
}

/* One pixel of m as the form has it; the number of bytes, at most 8. */
static size_t pixel_in_form(const tlv_image *m, size_t i, int alpha, uint8_t *out)
{
    size_t n = 0;
    if (m->depth == 16) {
        const uint16_t *p = (const uint16_t *)m->samples + i * (size_t)m->channels;
        for (int k = 0; k < m->channels; k++) {
            out[n++] = (uint8_t)(p[k] >> 8);
            out[n++] = (uint8_t)p[k];
        }
        return n;
    }
    const uint8_t *p = (const uint8_t *)m->samples + i * (size_t)m->channels;
    int colours = m->channels < 3 ? 1 : 3;
    for (int k = 0; k < 3; k++) out[n++] = p[colours == 1 ? 0 : k];
    if (alpha) out[n++] = p[colours];
    return n;
}

static uint32_t samples_crc(const tlv_image *m)
{
    uint8_t row[8 * 512];
    uint32_t crc = 0;
    size_t total = (size_t)m->h * (size_t)m->w, n = 0;
    int alpha = m->channels == 2 || m->channels == 4;
    for (size_t i = 0; i < total; i++) {
        n += pixel_in_form(m, i, alpha, row + n);
        if (n + 8 > sizeof row) {
            crc = tlvi_crc32(crc, row, n);
            n = 0;
        }
    }
    return tlvi_crc32(crc, row, n);
}

static void check_samples(const tlv_image *m, const char *path, const char *golden)
{
    static const char *const forms[2][5] = { { "", "RGB", "RGBA", "RGB", "RGBA" },
                                             { "", "L16", "LA16", "RGB16", "RGBA16" } };
    int w, h;
    char form[8];
    unsigned crc;
    if (!EXPECT(sscanf(golden, "%d\t%d\t%7s\t%x", &w, &h, form, &crc) == 4, "golden of %s", path))
        return;
    const char *got = m->kind == TLV_CMYK ? "CMYK" : forms[m->depth == 16][m->channels];
    EXPECT(m->w == w && m->h == h, "%s: %dx%d, want %dx%d", path, m->w, m->h, w, h);
    EXPECT(strcmp(got, form) == 0, "%s: %s, want %s", path, got, form);
    EXPECT(samples_crc(m) == crc, "%s: samples differ", path);
}

static int check_file(tlv_ctx *c, torture_decode decode, const char *root, const char *path,
                      const char *golden, const char *listed)
{
    char full[1200];
    size_t n;
    snprintf(full, sizeof full, "%.900s/%.250s", root, path);
    char *bytes = whole_file(full, &n);
    if (!bytes) return 0;
    char *exact = malloc(n ? n : 1);            // no byte more, for the sanitizers
    if (exact) memcpy(exact, bytes, n);
    free(bytes);
    if (!EXPECT(exact, "no memory")) return 0;

    tlv_image m = { 0 };
    tlv_status st = decode(c, (const uint8_t *)exact, n, path, &m);
    free(exact);
    if (st == TLV_OK) {
        EXPECT(m.orientation >= 1 && m.orientation <= 8, "%s: orientation %d", path, m.orientation);
        EXPECT((golden != NULL) != (listed != NULL),
               "%s: opened, and Pillow %s it: in torture_opened.tsv stands %.60s", path,
               golden ? "opens" : "refuses", listed ? listed : "nothing");
        if (golden) check_samples(&m, path, golden);
    } else {
        EXPECT(!golden && !listed, "%s: refused: %s", path, tlv_error_msg(c));
        EXPECT(st == TLV_ERR_FORMAT || st == TLV_ERR_LIMIT, "%s: %s", path, tlv_status_name(st));
        EXPECT(strstr(tlv_error_msg(c), path) && *tlv_error_hint(c), "%s: says %s", path,
               tlv_error_msg(c));
        EXPECT(!m.samples, "%s: refused, but there are samples", path);
    }
    tlv_error_clear(c);
    tlv_image_close(&m);
    return st == TLV_OK;
}

int torture_check(const char *format, torture_decode decode)
{
    char at[1024], root[1024], golden_at[1024], listed_at[1024];
    if (!test_data_path(at, sizeof at, "decoder_torture/MANIFEST.tsv")) return 0;
    snprintf(root, sizeof root, "%.*s", (int)(strlen(at) - strlen("/MANIFEST.tsv")), at);
    if (!test_file_path(golden_at, sizeof golden_at, "goldens/torture.tsv")) return 0;
    if (!test_file_path(listed_at, sizeof listed_at, "torture_opened.tsv")) return 0;
    size_t n;
    char *manifest = whole_file(at, &n), *golden = whole_file(golden_at, &n),
         *listed = whole_file(listed_at, &n);
    tlv_ctx *c = support_open();
    int opened = 0, files = 0;
    char *next = manifest && golden && listed ? manifest : NULL;
    while (next && *next) {
        char *line = next, *end = strchr(line, '\n');
        next = end ? end + 1 : line + strlen(line);
        if (end) *end = 0;
        char *tab = strchr(line, '\t');
        if (*line == '#' || !tab) continue;
        *tab++ = 0;
        if (strncmp(tab, format, strlen(format)) != 0 || tab[strlen(format)] != '\t') continue;
        opened += check_file(c, decode, root, line, find_line(golden, line),
                             find_line(listed, line));
        files++;
    }
    EXPECT(files > 0, "no %s in %s", format, at);
    free(manifest);
    free(golden);
    free(listed);
    tlv_ctx_close(c);
    return opened;
}
