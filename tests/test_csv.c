/* test_csv.c -- lists of image files: fields and quotes, columns, labels, splits, what is refused
 * and where. */
#include <stdio.h>
#include <string.h>

#include "data/data.h"
#include "tests/support.h"
#include "tests/support_files.h"

/* ---- helpers --------------------------------------------------------------------------------- */

static char dir_of[SUPPORT_PATH];               /* the folder of the list at hand */

static tlv_dataset *open_list(tlv_ctx *c, const char *text, size_t n, const char *split)
{
    char what[SUPPORT_PATH + 20];
    if (!support_folder(dir_of, "d") || !support_put(dir_of, "list.csv", text, n)) return NULL;
    snprintf(what, sizeof what, "csv:%s/list.csv", dir_of);
    return tlv_dataset_open(c, what, split);
}

/* The list reads as "PATH=CLASS ...", paths from its folder. */
static void reads(const char *text, const char *split, const char *want)
{
    char got[2000] = "";
    tlv_ctx *c = support_open();
    tlv_dataset *d = open_list(c, text, strlen(text), split);
    EXPECT(d, "%s: %s", text, tlv_error_msg(c));
    for (int64_t i = 0; d && i < tlv_dataset_size(d); i++) {
        const char *path = tlv_dataset_path(d, i);
        size_t n = strlen(dir_of), at = strlen(got);
        int k = tlv_dataset_label(d, i);
        snprintf(got + at, sizeof got - at, "%s%s=%d:%s", i ? " " : "",
                 strncmp(path, dir_of, n) == 0 ? path + n + 1 : path, k,
                 tlv_dataset_class_name(d, k));
    }
    EXPECT(!d || strcmp(got, want) == 0, "%s\nreads as %s\nwant     %s", text, got, want);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void refuses(const char *text, const char *split, tlv_status code, const char *says)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = open_list(c, text, strlen(text), split);
    EXPECT(!d, "%s\nopened, though it should say '%s'", text, says);
    EXPECT(*tlv_error_hint(c), "no hint beside '%s'", tlv_error_msg(c));
    EXPECT_ERROR(c, code, says);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static void test_lines(void)
{
    const char *want = "a.png=1:dog b.png=0:cat";
    reads("a.png,dog\nb.png,cat\n", NULL, want);
    reads("a.png,dog\nb.png,cat", NULL, want);                  // no line end
    reads("a.png,dog\r\nb.png,cat\r\n", NULL, want);
    reads("a.png,dog\nb.png,cat\r", NULL, want);
    reads("a.png,dog\nb.png,cat\n\n\r\n\n", NULL, want);        // empty lines at the end
    reads("\xef\xbb\xbf" "a.png,dog\nb.png,cat\n", NULL, want); // a byte order mark
    reads("  a.png , dog\nb.png,cat  \n", NULL, want);
    reads("a.png\tdog\nb.png\tcat\n", NULL, want);
    reads("a.png,dog\n", "train", "a.png=0:dog");
}

static void test_quotes(void)
{
    reads("\"a, b.png\",\"big \"\"dog\"\"\"\n", NULL, "a, b.png=0:big \"dog\"");
    reads("\"a\nb.png\",x\nc.png,\"\r\n\"\n", NULL, "a\nb.png=1:x c.png=0:\r\n");
    reads(" \" a.png \" , \"x\"\n", NULL, " a.png =0:x");
    reads("\"a.png\",\"x\"", NULL, "a.png=0:x");
    reads("a\"b.png,5'\" tall\n", NULL, "a\"b.png=0:5'\" tall");    // no field in quotes
    reads("a.png\t\"x\"\n", NULL, "a.png=0:\"x\"");             // tabs: no quotes
    refuses("a.png,x\n\"b.png,x\nc.png,x\n", NULL, TLV_ERR_FORMAT,
            "list.csv:2: a quote is never closed");
    refuses("a.png,\"", NULL, TLV_ERR_FORMAT, "list.csv:1: a quote is never closed");
    refuses("a.png,\"x\"\"", NULL, TLV_ERR_FORMAT, "list.csv:1: a quote is never closed");
    refuses("a.png,\"x\"y\n", NULL, TLV_ERR_FORMAT, "list.csv:1: text follows a closing quote");
}

/* ---- columns --------------------------------------------------------------------------------- */

static void test_headers(void)
{
    const char *want = "a.png=1:dog b.png=0:cat";
    reads("path,label\na.png,dog\nb.png,cat\n", NULL, want);
    reads("Image,Class\na.png,dog\nb.png,cat\n", NULL, want);
    reads("filename,label,split\na.png,dog,train\nb.png,cat,train\n", NULL, want);
    reads("id,label,width,path\n1,dog,640,a.png\n2,cat,480,b.png\n", NULL, want);
    reads("split,label,path\ntrain,dog,a.png\ntrain,cat,b.png\n", NULL, want);
    reads("file\tindex\tname\na.png\t1\tdog\nb.png\t0\tcat\n", NULL, want);
    reads("image.png,label.png\n", NULL, "image.png=0:label.png");  // no header
    refuses("path,label\n", NULL, TLV_ERR_FORMAT, "it names no image");
}

static void test_labels(void)
{
    reads("a,10\nb,9\nc,0\n", NULL, "a=10:10 b=9:9 c=0:0");     // numbers: 9 before 10
    reads("a,10\nb,9\nc,x\n", NULL, "a=0:10 b=1:9 c=2:x");      // names: "10" before "9"
    reads("a,3,three\nb,1,one\nc,3,three\n", NULL, "a=3:three b=1:one c=3:three");
    reads("a\t3\tthree\nb\t1\t\n", NULL, "a=3:three b=1:1");
    reads("a,-1\nb,0\nc,-\n", NULL, "a=1:-1 b=2:0 c=0:-");       // one is no number: names
    refuses("a,-1\nb,0\n", NULL, TLV_ERR_FORMAT, "list.csv:1: no number of a class: '-1'");
    refuses("a,0\nb,99999999999\n", NULL, TLV_ERR_FORMAT, "list.csv:2: no number of a class");
    refuses("a,3,three\nb,3,four\n", NULL, TLV_ERR_FORMAT,
            "list.csv:2: the class has another name above: 'four'");
    refuses("a,0\nb,1048576\n", NULL, TLV_ERR_FORMAT,
            "list.csv:2: no number of a class: '1048576'");

    tlv_ctx *c = support_open();
    tlv_dataset *d = open_list(c, "a,2\nb,0\nc,2\n", 12, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_classes(d), 3);
    EXPECT_INT(tlv_dataset_class_count(d, 1), 0);
    EXPECT_INT(tlv_dataset_class_count(d, 2), 2);
    EXPECT(strstr(tlv_dataset_text(d), "list.csv, 3 images, 3 classes"), "%s",
           tlv_dataset_text(d));
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_splits(void)
{
    const char *list = "a,dog,train\nb,cat,val\nc,cat,train\nd,dog,validation\n";
    reads(list, NULL, "a=1:dog c=0:cat");
    reads(list, "train", "a=1:dog c=0:cat");
    reads(list, "val", "b=0:cat d=1:dog");
    reads(list, "test", "b=0:cat d=1:dog");                     // val stands for it
    reads("a,dog,train\nb,dog,val\nc,dog,test\n", "test", "c=0:dog");
    reads("a,dog,val\nb,cat,test\n", "val", "a=1:dog");         // no train: classes of all
    reads("a,dog,val\nb,cat,test\n", NULL, "a=1:dog b=0:cat");
    reads("a,5,train\nb,7,val\n", "train", "a=5:5");
    refuses("a,dog,train\nb,cow,val\n", "val", TLV_ERR_FORMAT,
            "list.csv:2: no line of 'train' has this label: 'cow'");
    refuses("a,dog,val\nb,cat,test\n", "train", TLV_ERR_ARG, "no split 'train', only val test");
    refuses("a,dog\n", "val", TLV_ERR_ARG, "no split 'val', since it is not divided");
    refuses("a,dog,train\nb,dog,dev\n", NULL, TLV_ERR_FORMAT,
            "list.csv:2: this is no split: 'dev'");
    refuses("a,dog,other\n", NULL, TLV_ERR_FORMAT, "list.csv:1: this is no split: 'other'");

    char what[SUPPORT_PATH + 20];
    snprintf(what, sizeof what, "csv:%s/list.csv", dir_of);
    REQUIRE(support_put_text(dir_of, "list.csv", list), "no list");
    tlv_ctx *c = support_open();
    EXPECT_INT(tlv_dataset_has_split(c, what, "train"), 1);
    EXPECT_INT(tlv_dataset_has_split(c, what, "val"), 1);
    EXPECT_INT(tlv_dataset_has_split(c, what, "test"), 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_refuses(void)
{
    refuses("", NULL, TLV_ERR_FORMAT, "it names no image");
    refuses("\n\n", NULL, TLV_ERR_FORMAT, "it names no image");
    refuses("a,x\n\nb,x\n", NULL, TLV_ERR_FORMAT, "list.csv:2: the line is empty");
    refuses("a\nb\n", NULL, TLV_ERR_FORMAT, "list.csv:1: 1 field, want 2 or 3");
    refuses("a,1,x,y\n", NULL, TLV_ERR_FORMAT, "list.csv:1: 4 fields, want 2 or 3");
    refuses("a,x\nb\n", NULL, TLV_ERR_FORMAT, "list.csv:2: 1 field, but the lines before have 2");
    refuses("a,x\nb,x,train\n", NULL, TLV_ERR_FORMAT, "list.csv:2: 3 fields");
    refuses("a,x\n,x\n", NULL, TLV_ERR_FORMAT, "list.csv:2: the path is empty");
    refuses("\"a\n\",x\nb,\n", NULL, TLV_ERR_FORMAT, "list.csv:3: the label is empty");
    refuses("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\n", NULL, TLV_ERR_FORMAT, "too many fields");

    tlv_ctx *c = support_open();
    EXPECT(!open_list(c, "a\0,\0x\0", 6, NULL), "a list in UTF-16");
    EXPECT_ERROR(c, TLV_ERR_FORMAT, "zero bytes");
    char what[SUPPORT_PATH + 20];
    snprintf(what, sizeof what, "csv:%s", dir_of);
    EXPECT(!tlv_dataset_open(c, what, NULL), "a folder as a list");
    EXPECT_ERROR(c, TLV_ERR_IO, "it is a folder");
    snprintf(what, sizeof what, "csv:%s/none", dir_of);
    EXPECT(!tlv_dataset_open(c, what, NULL), "a list that is not there");
    EXPECT_ERROR(c, TLV_ERR_IO, "/none: ");
    tlv_ctx_close(c);
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* From the list's folder; from "images" in it if the first file is only there; absolute ones as
 * they are. */
static void test_paths(void)
{
    char what[SUPPORT_PATH + 20];
    const char *path;
    REQUIRE(support_folder(dir_of, "d"), "no folder");
    if (!support_put_text(dir_of, "list.csv", "a.ppm,x\nsub/b.ppm,x\n/abs/c.ppm,x\n")) return;
    if (!support_put_ppm(dir_of, "images/a.ppm", 2, 2, 0)) return;
    snprintf(what, sizeof what, "csv:%s/list.csv", dir_of);
    tlv_ctx *c = support_open();
    for (int beside = 0; beside < 2; beside++) {
        tlv_dataset *d = tlv_dataset_open(c, what, NULL);
        REQUIRE(d, "%s", tlv_error_msg(c));
        path = tlv_dataset_path(d, 0) + strlen(dir_of);
        EXPECT_STR(path, beside ? "/a.ppm" : "/images/a.ppm");
        path = tlv_dataset_path(d, 1) + strlen(dir_of);
        EXPECT_STR(path, beside ? "/sub/b.ppm" : "/images/sub/b.ppm");
        EXPECT_STR(tlv_dataset_path(d, 2), "/abs/c.ppm");
        EXPECT(!tlv_dataset_path(d, 3) && !tlv_dataset_path(d, -1), "paths of no image");
        tlv_dataset_close(d);
        if (!support_put_ppm(dir_of, "a.ppm", 2, 2, 0)) return;
    }
    tlv_ctx_close(c);
}

static void test_a_missing_file_is_told_with_its_line(void)
{
    char what[SUPPORT_PATH + 20];
    REQUIRE(support_folder(dir_of, "d"), "no folder");
    if (!support_put_text(dir_of, "list.csv", "a.ppm,x\nnone.ppm,x\n")) return;
    if (!support_put_ppm(dir_of, "a.ppm", 2, 2, 0)) return;
    snprintf(what, sizeof what, "csv:%s/list.csv", dir_of);
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, what, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    tlv_image m;
    uint8_t digest[32];
    EXPECT_STATUS(tlv_dataset_image(c, d, 0, &m), TLV_OK);
    tlv_image_close(&m);
    EXPECT_STATUS(tlv_dataset_image(c, d, 1, &m), TLV_ERR_IO);
    EXPECT(strstr(tlv_error_hint(c), "--skip-bad"), "%s", tlv_error_hint(c));
    EXPECT(strstr(tlv_error_msg(c), "none.ppm: "), "%s", tlv_error_msg(c));
    EXPECT_ERROR(c, TLV_ERR_IO, "list.csv:2: ");
    EXPECT_STATUS(tlv_dataset_hash(c, d, 1, digest), TLV_ERR_IO);
    EXPECT_ERROR(c, TLV_ERR_IO, "list.csv:2: ");
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_memory_runs_out(void)
{
    const char *text = "path,label,split\na,\"x\",train\nb,y,train\nc,y,val\n";
    const char *numbers = "a,3,three\nb,1,one\n";
    int64_t at = 1;
    for (int refused = 1; refused && at < 1000; at++) {
        support_hook h = { 0 };
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .alloc = support_alloc,
                                                   .alloc_user = &h, .fail_at = at });
        if (!c) continue;
        tlv_dataset *d = open_list(c, text, strlen(text), "train");
        tlv_dataset *n = open_list(c, numbers, strlen(numbers), NULL);
        refused = tlv_error(c) != TLV_OK;
        if (refused) EXPECT_ERROR(c, TLV_ERR_NOMEM, "");
        else EXPECT(tlv_dataset_size(d) == 2 && tlv_dataset_size(n) == 2, "sizes");
        tlv_dataset_close(n);
        tlv_dataset_close(d);
        tlv_ctx_close(c);
        EXPECT(h.live == 0 && h.wrong_size == 0, "refusing request %lld leaves %lld blocks",
               (long long)at, (long long)h.live);
    }
    EXPECT(at > 20 && at < 1000, "%lld requests for memory", (long long)at);
}

static void test_imagenet_sample(void)
{
    char path[1024], what[1100];
    NEED_DATA(path, sizeof path, "imagenet_sample/labels.tsv");
    snprintf(what, sizeof what, "csv:%s", path);
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, what, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_size(d), 250);
    EXPECT_INT(tlv_dataset_label(d, 2), 8);
    EXPECT_STR(tlv_dataset_class_name(d, 4), "hammerhead");
    EXPECT(strstr(tlv_dataset_path(d, 1), "/images/n01494475.jpg"), "%s", tlv_dataset_path(d, 1));
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_lines), T(test_quotes), T(test_headers), T(test_labels), T(test_splits),
          T(test_refuses), T(test_paths), T(test_a_missing_file_is_told_with_its_line),
          T(test_memory_runs_out), T(test_imagenet_sample))
