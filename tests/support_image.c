/* support_image.c -- the pictures of tests/goldens/make_resample.py. */
#include "tests/support_image.h"
#include "tests/test.h"

int support_picture(tlv_ctx *c, tlv_pixels kind, int h, int w, tlv_image *out)
{
    tlv_status st = tlv_image_new(c, h, w, kind, 8, out);
    if (!EXPECT(st == TLV_OK, "%s", tlv_error_msg(c))) return 0;
    uint8_t *p = out->samples;
    uint32_t i = 0;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int k = 0; k < out->channels; k++, i++) {
                uint32_t noise = (i * 2654435761u + 12345) >> 24;
                int v = (x / 8 + y / 8) & 1 ? (int)noise : (x * 5 + y * 3 + k * 70) & 255;
                if (y / 8 % 3 == 2) v = noise & 1 ? 255 : 0;
                *p++ = (uint8_t)v;
            }
    return 1;
}

uint32_t support_crc32(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint32_t r = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        r ^= p[i];
        for (int k = 0; k < 8; k++) r = r >> 1 ^ (r & 1 ? 0xedb88320u : 0);
    }
    return ~r;
}
