/* decode_files.c -- decodes every file of a folder of hard cases for torture.py, which compares:
 *
 *     decode_files DIR         the files that DIR/MANIFEST.tsv names in its first column
 *
 * A file that opens becomes a line "ok", path, width, height, channels, bits a sample, kind,
 * orientation (between tabs) and the samples as they are, as L, as RGB and as RGBA; one that does
 * not becomes a line "refused", path, status, sentence. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"

static int put_converted(const tlv_image *m, tlv_pixels kind)
{
    tlv_image copy;
    if (tlv_image_new(m->c, m->h, m->w, m->kind, m->depth, &copy) != TLV_OK) return 0;
    memcpy(copy.samples, m->samples, m->bytes);
    int ok = tlv_image_convert(&copy, kind) == TLV_OK
             && fwrite(copy.samples, 1, copy.bytes, stdout) == copy.bytes;
    tlv_image_close(&copy);
    return ok;
}

static int put_file(tlv_ctx *c, const char *dir, const char *path)
{
    char full[8192];
    snprintf(full, sizeof full, "%s/%s", dir, path);
    tlv_image m;
    if (tlv_image_read(c, full, &m) != TLV_OK) {
        printf("refused\t%s\t%s\t%s\n", path, tlv_status_name(tlv_error(c)), tlv_error_msg(c));
        tlv_error_clear(c);
        return 1;
    }
    printf("ok\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", path, m.w, m.h, m.channels, m.depth, (int)m.kind,
           m.orientation);
    int ok = fwrite(m.samples, 1, m.bytes, stdout) == m.bytes && put_converted(&m, TLV_GREY)
             && put_converted(&m, TLV_RGB) && put_converted(&m, TLV_RGBA);
    tlv_image_close(&m);
    if (!ok) fprintf(stderr, "decode_files: %s: %s\n", path, tlv_error_msg(c));
    return ok;
}

int main(int argc, char **argv)
{
    char line[4096];
    if (argc != 2) {
        fprintf(stderr, "usage: decode_files DIR\n");
        return 2;
    }
    snprintf(line, sizeof line, "%s/MANIFEST.tsv", argv[1]);
    FILE *list = fopen(line, "r");
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1 });
    if (!list || !c) {
        fprintf(stderr, "decode_files: cannot open %s\n", line);
        return 2;
    }
    int ok = 1;
    while (ok && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\t\n")] = 0;
        if (line[0] && line[0] != '#') ok = put_file(c, argv[1], line);
    }
    fclose(list);
    tlv_ctx_close(c);
    return ok ? 0 : 1;
}
