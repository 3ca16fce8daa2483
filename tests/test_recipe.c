/* test_recipe.c -- how a network wants its images, as text and back. */
#include <stdio.h>
#include <string.h>

#include "tests/support.h"

static const tlv_recipe IMAGENET = {
    .size = 224, .resize = 256, .filter = TLV_FILTER_BILINEAR,
    .mean = { 0.485, 0.456, 0.406 }, .std = { 0.229, 0.224, 0.225 },
};
static const tlv_recipe CAFFE = {
    .size = 299, .resize = 0, .filter = TLV_FILTER_NEAREST, .bgr = 1,
    .mean = { 127.5, 0.1 + 0.2, -1 }, .std = { 1, 1.0 / 3, 0 },
};

static void check_same(const tlv_recipe *got, const tlv_recipe *want, const char *what)
{
    EXPECT(got->size == want->size && got->resize == want->resize && got->filter == want->filter
               && got->bgr == want->bgr,
           "%s: size %d, resize %d, filter %d, bgr %d", what, got->size, got->resize,
           (int)got->filter, got->bgr);
    for (int i = 0; i < 3; i++)
        EXPECT(got->mean[i] == want->mean[i] && got->std[i] == want->std[i],
               "%s, channel %d: mean %.17g, std %.17g; want %.17g, %.17g", what, i, got->mean[i],
               got->std[i], want->mean[i], want->std[i]);
}

static void test_text(void)
{
    char buf[256];
    EXPECT_STR(tlv_recipe_text(&IMAGENET, buf, sizeof buf),
               "shorter side 256 bilinear, centre crop 224x224, RGB, mean .485 .456 .406, "
               "std .229 .224 .225");
    // a deviation of 0 means 1; numbers of 4 digits
    EXPECT_STR(tlv_recipe_text(&CAFFE, buf, sizeof buf),
               "299x299 nearest, BGR, mean 127.5 .3 -1, std 1 .3333 1");
    tlv_recipe r = IMAGENET;
    r.filter = TLV_FILTER_LANCZOS;
    EXPECT(strstr(tlv_recipe_text(&r, buf, sizeof buf), "256 lanczos,"), "says: %s", buf);

    char small[8];
    EXPECT_STR(tlv_recipe_text(&IMAGENET, small, sizeof small), "shorter");
    EXPECT_STR(tlv_recipe_write(&IMAGENET, small, sizeof small), "size=22");
}

/* Every number comes back with all its bits. */
static void test_round_trip(void)
{
    static const char *const names[] = { "bilinear", "bicubic", "lanczos", "box", "nearest" };
    char buf[512];
    for (int f = 0; f < 5; f++)
        for (int k = 0; k < 2; k++) {
            tlv_recipe r = k ? CAFFE : IMAGENET, got = { 0 };
            r.filter = (tlv_filter)f;
            tlv_recipe_write(&r, buf, sizeof buf);
            EXPECT(strstr(buf, names[f]), "no %s in: %s", names[f], buf);
            EXPECT_INT(tlv_recipe_read(&got, buf), 1);
            check_same(&got, &r, buf);
        }
}

#define HEAD "size=224 resize=256 filter=bilinear channels=rgb "
#define TAIL " mean=.5,.5,.5 std=.25,.25,.25"

static void test_what_is_read(void)
{
    static const tlv_recipe plain = {
        .size = 224, .resize = 256, .mean = { .5, .5, .5 }, .std = { .25, .25, .25 },
    };
    tlv_recipe got;
    EXPECT_INT(tlv_recipe_read(&got, HEAD "mean=.5,.5,.5 std=.25,.25,.25"), 1);
    check_same(&got, &plain, "plain");
    EXPECT_INT(tlv_recipe_read(&got, HEAD "std=.25,.25,.25 mean=.5,.5,.5 later=1"), 1);
    check_same(&got, &plain, "another order, and something more");
}

/* What is no recipe is refused, and *r stays as it was. */
static void test_refusals(void)
{
    static const char *const BAD[] = {
        "", "size", "size=224", HEAD, HEAD "mean=.5,.5,.5", HEAD "std=.5,.5,.5",
        HEAD "mean=.5,.5 std=.25,.25,.25", HEAD "mean=.5;.5;.5 std=.25,.25,.25",
        HEAD "mean=.5,.5,x std=.25,.25,.25", HEAD "mean=nan,.5,.5 std=.25,.25,.25",
        HEAD "mean=inf,.5,.5 std=.25,.25,.25", HEAD "mean=.5,.5,.5 std=.25,.25,1e7",
        HEAD "mean=-1e6,.5,.5 std=.25,.25,.25", HEAD "mean= std=.25,.25,.25",
        "size=0 resize=256 filter=bilinear channels=rgb" TAIL,
        "size=-1 resize=256 filter=bilinear channels=rgb" TAIL,
        "size=224 resize=-1 filter=bilinear channels=rgb" TAIL,
        "size=1000000 resize=0 filter=bilinear channels=rgb" TAIL,
        "size=x resize=256 filter=bilinear channels=rgb" TAIL,
        "size=224 resize=256 filter=cubic channels=rgb" TAIL,
        "size=224 resize=256 filter=bilinear-and-a-long-name channels=rgb" TAIL,
        "size=224 resize=256 filter=bilinear channels=grb" TAIL,
        "size=224 resize=256 filter=bilinear channels=rgbrgbrgb" TAIL,
        "resize=256 size=224 filter=bilinear channels=rgb" TAIL,
    };
    tlv_recipe r = CAFFE;
    EXPECT_INT(tlv_recipe_read(&r, NULL), 0);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        EXPECT(tlv_recipe_read(&r, BAD[i]) == 0, "read: %s", BAD[i]);
        check_same(&r, &CAFFE, BAD[i]);
    }
}

TEST_MAIN(T(test_text), T(test_round_trip), T(test_what_is_read), T(test_refusals))
