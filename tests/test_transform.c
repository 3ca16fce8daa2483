/* test_transform.c -- cutting, turning, colours against Pillow's and torchvision's bytes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "tests/support.h"
#include "tests/support_image.h"

/* Lines of goldens/resample.txt that begin with `name`, through do_line(c, what is behind it). */
static int each_line(tlv_ctx *c, const char *name, void (*do_line)(tlv_ctx *c, const char *line))
{
    char path[1024], line[256];
    int n = 0;
    if (!test_file_path(path, sizeof path, "goldens/resample.txt")) return 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0) {
            do_line(c, line + strlen(name));
            n++;
        }
    if (f) fclose(f);
    return n;
}

static void expect_crc(tlv_ctx *c, tlv_status st, tlv_image *out, unsigned want, const char *line)
{
    if (EXPECT(st == TLV_OK, "%s: %s", line, tlv_error_msg(c)))
        EXPECT(support_crc32(out->samples, out->bytes) == want, "other bytes: %s", line);
    tlv_image_close(out);
}

static void short_line(tlv_ctx *c, const char *line)
{
    int kind, h, w, filter, side, oh, ow;
    unsigned want;
    tlv_image m, out;
    int got = sscanf(line, "%d %d %d %d %d %d %d %x", &kind, &h, &w, &filter, &side, &oh, &ow,
                     &want);
    if (!EXPECT(got == 8, "%s", line) || !support_picture(c, (tlv_pixels)kind, h, w, &m))
        return;
    tlv_status st = tlv_image_resize_short(&m, side, (tlv_filter)filter, &out);
    EXPECT(out.h == oh && out.w == ow, "%dx%d: %s", out.h, out.w, line);
    expect_crc(c, st, &out, want, line);
    tlv_image_close(&m);
}

static void center_line(tlv_ctx *c, const char *line)
{
    int kind, h, w, oh, ow;
    unsigned want;
    tlv_image m, out;
    if (!EXPECT(sscanf(line, "%d %d %d %d %d %x", &kind, &h, &w, &oh, &ow, &want) == 6, "%s", line)
        || !support_picture(c, (tlv_pixels)kind, h, w, &m))
        return;
    expect_crc(c, tlv_image_center_crop(&m, oh, ow, &out), &out, want, line);
    tlv_image_close(&m);
}

static void test_short_side(void)
{
    tlv_ctx *c = support_open();
    EXPECT(each_line(c, "short ", short_line) > 10, "too few lines");
    tlv_ctx_close(c);
}

static void test_center_crop(void)
{
    tlv_ctx *c = support_open();
    EXPECT(each_line(c, "center ", center_line) > 10, "too few lines");
    tlv_ctx_close(c);
}

/* Every placement of a window on a 3x4 image, seen pixel by pixel. */
static void test_crop(void)
{
    tlv_ctx *c = support_open();
    tlv_image m, out;
    if (!support_picture(c, TLV_RGB, 3, 4, &m)) return;
    for (int i = 0; i < 9 * 10 * 6; i++) {
        int top = i % 9 - 4, left = i / 9 % 10 - 5, h = 1 + i / 90, w = 1 + i / 180, wrong = 0;
        EXPECT_STATUS(tlv_image_crop(&m, top, left, h, w, &out), TLV_OK);
        const uint8_t *a = m.samples, *b = out.samples;
        for (int k = 0; k < h * w * 3; k++) {
            int y = top + k / 3 / w, x = left + k / 3 % w;
            wrong += b[k] != (y >= 0 && x >= 0 && y < 3 && x < 4 ? a[(y * 4 + x) * 3 + k % 3] : 0);
        }
        EXPECT(wrong == 0, "%d wrong samples at %d, %d of %dx%d", wrong, top, left, h, w);
        tlv_image_close(&out);
    }
    tlv_image_close(&m);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_mirror_and_flip(void)
{
    tlv_ctx *c = support_open();
    for (int i = 0; i < 24; i++) {
        int h = 1 + i % 3, w = 1 + i / 3 % 4, wrong = 0;
        tlv_pixels kind = i & 1 ? TLV_RGB : TLV_GREY_ALPHA;
        tlv_image a, b;
        if (!support_picture(c, kind, h, w, &a) || !support_picture(c, kind, h, w, &b)) return;
        int ch = a.channels;
        const uint8_t *p = a.samples, *q = b.samples;
        tlv_image_mirror(&b);
        for (int k = 0; k < h * w * ch; k++)
            wrong += q[k] != p[(k / ch / w * w + w - 1 - k / ch % w) * ch + k % ch];
        tlv_image_mirror(&b);
        tlv_image_flip(&b);
        for (int k = 0; k < h * w * ch; k++)
            wrong += q[k] != p[((h - 1 - k / ch / w) * w + k / ch % w) * ch + k % ch];
        EXPECT_INT(wrong, 0);
        tlv_image_close(&a);
        tlv_image_close(&b);
    }
    tlv_ctx_close(c);
}

static void rotate_line(tlv_ctx *c, const char *line)
{
    int kind, h, w, filter;
    double degrees;
    unsigned want;
    tlv_image m, out;
    int got = sscanf(line, "%d %d %d %d %lf %x", &kind, &h, &w, &filter, &degrees, &want);
    if (!EXPECT(got == 6, "%s", line) || !support_picture(c, (tlv_pixels)kind, h, w, &m)) return;
    expect_crc(c, tlv_image_rotate(&m, degrees, (tlv_filter)filter, &out), &out, want, line);
    tlv_image_close(&m);
}

static void test_rotate(void)
{
    tlv_ctx *c = support_open();
    EXPECT(each_line(c, "rotate ", rotate_line) > 400, "too few lines");
    tlv_ctx_close(c);
}

/* ---- colours --------------------------------------------------------------------------------- */

static tlv_status (*adjust)(tlv_image *m, double v);

static void adjust_line(tlv_ctx *c, const char *line)
{
    int kind, h, w;
    double v;
    unsigned want;
    tlv_image m;
    if (!EXPECT(sscanf(line, "%d %d %d %lf %x", &kind, &h, &w, &v, &want) == 5, "%s", line)
        || !support_picture(c, (tlv_pixels)kind, h, w, &m))
        return;
    expect_crc(c, adjust(&m, v), &m, want, line);
}

static void test_colours(void)
{
    const struct { const char *name; tlv_status (*fn)(tlv_image *m, double v); } all[] = {
        { "brightness ", tlv_image_brightness }, { "contrast ", tlv_image_contrast },
        { "saturation ", tlv_image_saturation }, { "hue ", tlv_image_hue },
    };
    tlv_ctx *c = support_open();
    for (int i = 0; i < 4; i++) {
        adjust = all[i].fn;
        EXPECT(each_line(c, all[i].name, adjust_line) > 50, "too few lines of %s", all[i].name);
    }
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_rotate), T(test_colours), T(test_short_side), T(test_center_crop), T(test_crop),
          T(test_mirror_and_flip))
