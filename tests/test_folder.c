/* test_folder.c -- folders of image files: classes, splits, order, what is left aside. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/data.h"
#include "tests/support.h"
#include "tests/support_files.h"

/* ---- helpers --------------------------------------------------------------------------------- */

/* Small images at these names. */
static int put(const char *dir, const char *const *name)
{
    for (int i = 0; name[i]; i++)
        if (!support_put_ppm(dir, name[i], 2, 3, i)) return 0;
    return 1;
}
#define PUT(dir, ...) put(dir, (const char *const[]){ __VA_ARGS__, NULL })

/* "PATH=label ..." of all images, paths from dir. */
static const char *listing(const tlv_dataset *d, const char *dir, char *out, size_t room)
{
    size_t at = 0;
    out[0] = 0;
    for (int64_t i = 0; i < tlv_dataset_size(d) && at < room; i++)
        at += (size_t)snprintf(out + at, room - at, "%s%s=%d", i ? " " : "",
                               tlv_dataset_path(d, i) + strlen(dir) + 1, tlv_dataset_label(d, i));
    return out;
}

static void expect_set(const char *dir, const char *split, const char *files, const char *classes)
{
    char text[2000] = "", names[500] = "";
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, dir, split);
    if (EXPECT(d, "%s", tlv_error_msg(c))) {
        EXPECT_STR(listing(d, dir, text, sizeof text), files);
        for (int k = 0; k < tlv_dataset_classes(d); k++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", k ? " " : "",
                     tlv_dataset_class_name(d, k));
        EXPECT_STR(names, classes);
        EXPECT(!tlv_dataset_pixels(d, 0), "files have pixels");
        int h, w, channels;
        tlv_dataset_image_shape(d, &h, &w, &channels);
        EXPECT(h == 0 && w == 0 && channels == 3, "%dx%dx%d", h, w, channels);
    }
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void expect_refused(const char *what, const char *split, tlv_status code, const char *says)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, what, split);
    EXPECT(!d, "%s opened, though it should say '%s'", what, says);
    EXPECT(*tlv_error_hint(c), "no hint beside '%s'", tlv_error_msg(c));
    EXPECT_ERROR(c, code, says);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static int has(const char *dir, const char *split)
{
    tlv_ctx *c = support_open();
    int is = tlv_dataset_has_split(c, dir, split);
    EXPECT_OK(c);
    tlv_ctx_close(c);
    return is;
}

/* ---- classes --------------------------------------------------------------------------------- */

/* By bytes: capitals before small letters, "10" before "9", and no letter's dots matter. */
static void test_classes_and_files_are_sorted_by_bytes(void)
{
    char dir[SUPPORT_PATH], what[SUPPORT_PATH + 8];
    REQUIRE(support_folder(dir, "d"), "no folder");
    if (!PUT(dir, "b/9.ppm", "b/10.ppm", "b/Z.PPM", "a/x.pnm", "B/y.ppm", "a b/1.ppm",
             "\xc3\xa4/1.ppm"))
        return;
    const char *files = "B/y.ppm=0 a/x.pnm=1 a b/1.ppm=2 b/10.ppm=3 b/9.ppm=3 b/Z.PPM=3 "
                        "\xc3\xa4/1.ppm=4";
    expect_set(dir, NULL, files, "B a a b b \xc3\xa4");
    expect_set(dir, "train", files, "B a a b b \xc3\xa4");
    snprintf(what, sizeof what, "folder:%s", dir);
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, what, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_class_count(d, 3), 3);
    EXPECT_INT(tlv_dataset_size(d), 7);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
    expect_refused(dir, "val", TLV_ERR_ARG, "no split 'val', since it is not divided");
    EXPECT(!has(dir, "train") && !has(dir, "val") && !has(dir, "test"), "it has splits");
}

static void test_names_of_any_length(void)
{
    char dir[SUPPORT_PATH], name[240], file[300];
    REQUIRE(support_folder(dir, "d"), "no folder");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    snprintf(file, sizeof file, "%s/1.ppm", name);
    if (!PUT(dir, file, "zebra/1.ppm")) return;
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_STR(tlv_dataset_class_name(d, 0), name);
    EXPECT_STR(tlv_dataset_class_name(d, 1), "zebra");
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_what_is_left_aside(void)
{
    char dir[SUPPORT_PATH];
    REQUIRE(support_folder(dir, "d"), "no folder");
    if (!PUT(dir, "a/1.jpg", "a/2.JPEG", "a/3.jpe", "a/4.jfif", "a/5.png", "a/6.bmp", "a/7.DIB",
             "a/8.pbm", "a/9.pgm", "a/9.gif", "a/9", "a/.hidden.png", "a/png", "a/9.pngx",
             "a/archive.tar.gz", ".git/1.png", "0.png"))
        return;
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_size(d), 9);
    EXPECT_INT(tlv_dataset_classes(d), 1);
    // 9.gif, 9, png, 9.pngx, archive.tar.gz, and 0.png, which lies beside a class folder
    EXPECT(strstr(tlv_dataset_text(d), "9 images, 1 class; 6 files left aside (the first: 0.png)"),
           "%s", tlv_dataset_text(d));
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_folders_in_classes_and_links(void)
{
    char dir[SUPPORT_PATH], other[SUPPORT_PATH], link[SUPPORT_PATH + 40], target[SUPPORT_PATH];
    REQUIRE(support_folder(dir, "d") && support_folder(other, "other"), "no folder");
    if (!PUT(dir, "a/1.ppm", "a/sub/2.ppm", "a/sub/deep/3.ppm", "a/t.ppm", "b/1.ppm")) return;
    if (!PUT(other, "x.ppm")) return;
    REQUIRE(getcwd(target, sizeof target), "no working folder");
    if (other[0] == '/') target[0] = 0;
    else strncat(target, "/", sizeof target - strlen(target) - 1);
    strncat(target, other, sizeof target - strlen(target) - 1);
    snprintf(link, sizeof link, "%s/linked", dir);
    REQUIRE(symlink(target, link) == 0, "no link");
    snprintf(link, sizeof link, "%s/b/nowhere.ppm", dir);   // an image that cannot be read
    REQUIRE(symlink("no/such/file", link) == 0, "no link");
    expect_set(dir, NULL, "a/1.ppm=0 a/sub/2.ppm=0 a/sub/deep/3.ppm=0 a/t.ppm=0 b/1.ppm=1 "
                          "b/nowhere.ppm=1 linked/x.ppm=2", "a b linked");
    snprintf(link, sizeof link, "%s/a/sub/up", dir);
    REQUIRE(symlink("..", link) == 0, "no link");
    expect_refused(dir, NULL, TLV_ERR_FORMAT, "a link to a folder that it lies in");
}

static void test_a_set_without_labels(void)
{
    char dir[SUPPORT_PATH];
    REQUIRE(support_folder(dir, "d"), "no folder");
    if (!PUT(dir, "b.ppm", "a.ppm", "notes.txt")) return;
    expect_set(dir, NULL, "a.ppm=-1 b.ppm=-1", "");
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT(strstr(tlv_dataset_text(d), "2 images, without labels; 1 file left aside"), "%s",
           tlv_dataset_text(d));
    int64_t index[2];
    EXPECT_INT(tlv_dataset_per_class(d, 1, tlv_rng_stream(c, "x"), index), 0);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* ---- splits ---------------------------------------------------------------------------------- */

static void test_splits(void)
{
    char dir[SUPPORT_PATH];
    REQUIRE(support_folder(dir, "d"), "no folder");
    if (!PUT(dir, "train/a/1.ppm", "train/b/1.ppm", "train/c/1.ppm", "valid/c/2.ppm",
             "valid/a/2.ppm", "readme.txt", "notes/1.txt"))
        return;
    expect_set(dir, NULL, "train/a/1.ppm=0 train/b/1.ppm=1 train/c/1.ppm=2", "a b c");
    expect_set(dir, "train", "train/a/1.ppm=0 train/b/1.ppm=1 train/c/1.ppm=2", "a b c");
    expect_set(dir, "val", "valid/a/2.ppm=0 valid/c/2.ppm=2", "a b c");     // train's numbers
    expect_set(dir, "test", "valid/a/2.ppm=0 valid/c/2.ppm=2", "a b c");    // val stands for it
    EXPECT(has(dir, "train") && has(dir, "val") && !has(dir, "test"), "%d %d %d", has(dir, "train"),
           has(dir, "val"), has(dir, "test"));

    if (!PUT(dir, "test/b/3.ppm")) return;                  // now there is one of its own
    expect_set(dir, "test", "test/b/3.ppm=1", "a b c");
    EXPECT(has(dir, "test"), "no split test");
    if (!PUT(dir, "valid/d/2.ppm")) return;
    expect_refused(dir, "val", TLV_ERR_FORMAT, "'d' is none of the 3 classes of 'train'");
    if (!PUT(dir, "val/a/2.ppm")) return;
    expect_refused(dir, "train", TLV_ERR_FORMAT, "two folders for one split, 'val' and 'valid'");
}

static void test_splits_without_train(void)
{
    char dir[SUPPORT_PATH];
    REQUIRE(support_folder(dir, "d"), "no folder");
    if (!PUT(dir, "val/b/1.ppm", "test/a/1.ppm", "test/c/1.ppm")) return;
    expect_set(dir, "val", "val/b/1.ppm=1", "a b c");
    expect_set(dir, NULL, "val/b/1.ppm=1 test/a/1.ppm=0 test/c/1.ppm=2", "a b c");
    expect_refused(dir, "train", TLV_ERR_ARG, "no split 'train', only val test");
}

/* A set of vehicles may have a class "train"; a split may have no labels. */
static void test_splits_or_classes(void)
{
    char dir[SUPPORT_PATH], more[SUPPORT_PATH];
    REQUIRE(support_folder(dir, "d") && support_folder(more, "m"), "no folder");
    if (!PUT(dir, "bus/1.ppm", "train/1.ppm")) return;
    expect_set(dir, NULL, "bus/1.ppm=0 train/1.ppm=1", "bus train");
    if (!PUT(more, "train/cat/1.ppm", "test/1.ppm", "test/2.ppm")) return;
    expect_set(more, "test", "test/1.ppm=-1 test/2.ppm=-1", "cat");
}

static void test_refuses(void)
{
    char dir[SUPPORT_PATH], what[SUPPORT_PATH + 40];
    REQUIRE(support_folder(dir, "d"), "no folder");
    expect_refused(dir, NULL, TLV_ERR_FORMAT, "no image is in this folder");
    if (!PUT(dir, "a/1.ppm", "empty/1.txt")) return;
    expect_refused(dir, NULL, TLV_ERR_FORMAT, "empty: this class folder holds no image");
    snprintf(what, sizeof what, "folder:%s/a/1.ppm", dir);
    expect_refused(what, NULL, TLV_ERR_IO, "cannot open this folder");
    snprintf(what, sizeof what, "%s/none", dir);
    expect_refused(what, NULL, TLV_ERR_ARG, "names no data set and is no folder");
    expect_refused(dir, "dev", TLV_ERR_ARG, "there is no split 'dev'");

    REQUIRE(support_folder(dir, "s"), "no folder");         // only train's classes must have images
    if (!PUT(dir, "train/a/1.ppm", "train/b/1.ppm", "val/a/1.ppm", "val/b/1.txt")) return;
    expect_set(dir, "val", "val/a/1.ppm=0", "a b");
    if (!PUT(dir, "train/c/1.txt")) return;
    expect_refused(dir, "train", TLV_ERR_FORMAT, "c: this class folder holds no image");
}

/* ---- memory, real files ---------------------------------------------------------------------- */

static void test_memory_runs_out(void)
{
    char dir[SUPPORT_PATH], text[1000];
    REQUIRE(support_folder(dir, "d"), "no folder");
    if (!PUT(dir, "train/a/1.ppm", "train/b/s/1.ppm", "train/b/2.ppm", "val/a/1.ppm",
             "val/b/1.ppm"))
        return;
    int64_t at = 1;
    for (int refused = 1; refused && at < 1000; at++) {
        support_hook h = { 0 };
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .alloc = support_alloc,
                                                   .alloc_user = &h, .fail_at = at });
        if (!c) continue;
        tlv_dataset *d = tlv_dataset_open(c, dir, "val");
        int yes = tlv_dataset_has_split(c, dir, "test");
        EXPECT(!yes, "a split that is not there");
        refused = tlv_error(c) != TLV_OK;
        if (refused) EXPECT_ERROR(c, TLV_ERR_NOMEM, "");
        else EXPECT_STR(listing(d, dir, text, sizeof text), "val/a/1.ppm=0 val/b/1.ppm=1");
        tlv_dataset_close(d);
        tlv_ctx_close(c);
        EXPECT(h.live == 0 && h.wrong_size == 0, "refusing request %lld leaves %lld blocks",
               (long long)at, (long long)h.live);
    }
    EXPECT(at > 20 && at < 1000, "%lld requests for memory", (long long)at);
}

static void test_hymenoptera(void)
{
    char path[1024];
    NEED_DATA(path, sizeof path, "hymenoptera/train/ants/0013035.jpg");
    *strstr(path, "/train/") = 0;
    tlv_ctx *c = support_open();
    tlv_dataset *train = tlv_dataset_open(c, path, "train");
    tlv_dataset *val = tlv_dataset_open(c, path, "val");
    REQUIRE(train && val, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_size(train), 244);
    EXPECT_INT(tlv_dataset_class_count(train, 0), 123);
    EXPECT_INT(tlv_dataset_size(val), 153);
    EXPECT_INT(tlv_dataset_class_count(val, 1), 83);
    EXPECT_STR(tlv_dataset_class_name(val, 0), "ants");
    EXPECT_STR(tlv_dataset_class_name(val, 1), "bees");
    tlv_dataset_close(train);
    tlv_dataset_close(val);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_classes_and_files_are_sorted_by_bytes), T(test_names_of_any_length),
          T(test_what_is_left_aside), T(test_folders_in_classes_and_links),
          T(test_a_set_without_labels), T(test_splits), T(test_splits_without_train),
          T(test_splits_or_classes), T(test_refuses), T(test_memory_runs_out), T(test_hymenoptera))
