/* files.c -- whole files into memory. */
#include <errno.h>
#include <stdio.h>

#include "data/reader.h"

int tlvi_file_exists(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

/* A folder opens on some systems and has a size, but gives no byte: its first one tells. */
static long long file_size(FILE *f)
{
    if (fgetc(f) == EOF && ferror(f)) return -1;
    if (fseek(f, 0, SEEK_END) != 0) return -1;
    long long n = ftell(f);
    return fseek(f, 0, SEEK_SET) == 0 ? n : -1;
}

uint8_t *tlvi_read_file(tlv_ctx *c, const char *path, size_t *size)
{
    FILE *f = c->err ? NULL : fopen(path, "rb");
    if (!f) {
        tlvi_fail(c, TLV_ERR_IO, NULL, "%s: %s", path, strerror(errno));
        return NULL;
    }
    long long n = file_size(f);
    if (n < 0) tlvi_fail(c, TLV_ERR_IO, NULL, "%s: cannot be read: %s", path, strerror(errno));
    uint8_t *p = n >= 0 ? tlvi_alloc(c, (size_t)n + 1) : NULL;
    if (p && fread(p, 1, (size_t)n, f) != (size_t)n) {
        tlvi_fail(c, TLV_ERR_IO, NULL, "%s: cannot read %lld bytes: %s", path, n, strerror(errno));
        tlvi_free(c, p, (size_t)n + 1);
        p = NULL;
    }
    fclose(f);
    *size = (size_t)(n < 0 ? 0 : n) + 1; // what tlvi_free wants: one byte more than the file has
    return p;
}
