/* test_resample.c -- resizing against Pillow's bytes, parts of a resize, refusals. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/resample.h"
#include "tests/support.h"
#include "tests/support_image.h"

/* One line of goldens/resample.txt, if it is a resize; 1 if it was checked. */
static int check_line(tlv_ctx *c, const char *line)
{
    int kind, h, w, filter, oh, ow;
    double box[4];
    unsigned want;
    if (sscanf(line, "resize %d %d %d %d %d %d %lf %lf %lf %lf %x", &kind, &h, &w, &filter, &oh,
               &ow, &box[0], &box[1], &box[2], &box[3], &want)
        != 11)
        return 0;
    tlv_image m, out;
    if (!support_picture(c, (tlv_pixels)kind, h, w, &m)) return 0;
    tlv_status st = tlv_image_resize(&m, oh, ow, (tlv_filter)filter, box[2] > 0 ? box : NULL, &out);
    if (EXPECT(st == TLV_OK && out.h == oh && out.w == ow && out.kind == m.kind, "%s: %s", line,
               tlv_error_msg(c)))
        EXPECT(support_crc32(out.samples, out.bytes) == want, "not Pillow's bytes: %s", line);
    tlv_image_close(&m);
    tlv_image_close(&out);
    return 1;
}

static void with_isa(const char *isa)
{
    char path[1024], line[256];
    int n = 0;
    if (!test_file_path(path, sizeof path, "goldens/resample.txt")) return;
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .isa = isa });
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) n += check_line(c, line);
    if (f) fclose(f);
    EXPECT(n > 500, "%d sizes and filters compared", n);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_bytes_are_pillows(void) { with_isa(NULL); }
static void test_bytes_are_pillows_scalar(void) { with_isa("scalar"); }

TEST_MAIN(T(test_bytes_are_pillows), T(test_bytes_are_pillows_scalar))
