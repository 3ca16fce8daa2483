/* test_exif.c -- the orientation in EXIF blocks, and blocks that are broken. */
#include <string.h>

#include "data/codec.h"
#include "tests/test.h"

enum { BLOCK = 8 + 2 + 2 * 12 + 4 };

/* A block with two entries, an ImageWidth and an orientation of the given type. */
static void block(uint8_t *p, int big, int type, uint32_t count, uint32_t value)
{
    const struct { int at, bytes; uint32_t v; } put[] = {
        { 2, 2, 42 }, { 4, 4, 8 }, { 8, 2, 2 },
        { 10, 2, 0x0100 }, { 12, 2, 3 }, { 14, 4, 1 }, { 18, 2, 640 },
        { 22, 2, 0x0112 }, { 24, 2, (uint32_t)type }, { 26, 4, count },
        { 30, type == 1 ? 1 : type == 3 ? 2 : 4, value },
    };
    memset(p, 0, BLOCK);
    memcpy(p, big ? "MM" : "II", 2);
    for (size_t i = 0; i < sizeof put / sizeof put[0]; i++)
        for (int k = 0; k < put[i].bytes; k++)
            p[put[i].at + k] = (uint8_t)(put[i].v >> 8 * (big ? put[i].bytes - 1 - k : k));
}

static void test_every_orientation_in_either_order(void)
{
    uint8_t p[BLOCK];
    for (int big = 0; big < 2; big++)
        for (uint32_t v = 1; v <= 8; v++)
            for (int type = 1; type <= 4; type++) {
                block(p, big, type, 1, v);
                // Type 2 is text: no number
                EXPECT(tlvi_exif_orientation(p, BLOCK) == (type == 2 ? 1 : (int)v),
                       "big %d type %d: %d, want %u", big, type,
                       tlvi_exif_orientation(p, BLOCK), v);
            }
}

static void test_nonsense_is_upright(void)
{
    uint8_t p[BLOCK];
    const uint32_t values[] = { 0, 9, 255, 65535 };
    for (int i = 0; i < 4; i++) {
        block(p, i & 1, 3, 1, values[i]);
        EXPECT_INT(tlvi_exif_orientation(p, BLOCK), 1);
    }
    block(p, 0, 3, 2, 6);                                   // two orientations
    EXPECT_INT(tlvi_exif_orientation(p, BLOCK), 1);
    const struct { int at; uint8_t value; } spoil[] = {
        { 0, 'M' }, { 1, 'x' }, { 2, 43 }, { 4, 200 }, { 7, 255 }, { 8, 1 }, { 22, 0x13 },
    };
    for (size_t i = 0; i < sizeof spoil / sizeof spoil[0]; i++) {
        block(p, 0, 3, 1, 6);
        p[spoil[i].at] = spoil[i].value;
        EXPECT(tlvi_exif_orientation(p, BLOCK) == 1, "case %zu: %d", i,
               tlvi_exif_orientation(p, BLOCK));
    }
}

static void test_cut_blocks(void)
{
    uint8_t p[BLOCK];
    block(p, 0, 3, 1, 6);
    for (size_t n = 0; n <= BLOCK; n++) {
        // The entry ends at byte 34; what follows is the offset of a next directory.
        int want = n >= 34 ? 6 : 1;
        uint8_t copy[BLOCK];
        memcpy(copy, p, n);
        EXPECT(tlvi_exif_orientation(copy, n) == want, "%zu bytes: %d", n,
               tlvi_exif_orientation(copy, n));
    }
    block(p, 0, 3, 1, 6);
    p[9] = 255;                                             // 65282 entries, two are there
    EXPECT_INT(tlvi_exif_orientation(p, BLOCK), 6);
}

TEST_MAIN(T(test_every_orientation_in_either_order), T(test_nonsense_is_upright),
          T(test_cut_blocks))
