/* test_safetensors_write.c -- writing files of tensors: round trips, all or nothing, no memory. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tensor/core.h"
#include "tests/support.h"

/* A folder of its own for a test: what is left in it can be counted. */
static int fresh_folder(char *dir, size_t n)
{
    if (!test_temp_path(dir, n, "folder")) return 0;
    char clear[600];
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        snprintf(clear, sizeof clear, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.') remove(clear);
    }
    if (d) closedir(d);
    return EXPECT(mkdir(dir, 0777) == 0 || d, "%s cannot be made", dir);
}

static int files_in(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

/* The whole file as text; the caller frees it. */
static char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *text = malloc(1 << 16);
    *n = f && text ? fread(text, 1, 1 << 16, f) : 0;
    if (f) fclose(f);
    return text;
}

/* ---- what is written ------------------------------------------------------------------------- */

static void test_bytes_of_a_small_file(void)
{
    static const char header[] =
        "{\"__metadata__\":{\"arch\":\"a\\\"b\\\\\\u000a\xc3\xa9\",\"\":\"\"},"
        "\"w\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
        "\"\\u0009\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]}}";
    static const char *const meta[] = { "arch", "a\"b\\\n\xc3\xa9", "", "", NULL };
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "a.safetensors"), "no path");
    float w[2] = { 1.5f, -2 };
    uint8_t u = 200;
    tlv_file_item items[] = { { "w", tlv_from(c, TLV_SHAPE(2, 1), w, 0) },
                              { "\t", tlv_from_data(c, TLV_U8, TLV_SCALAR, &u, 0) } };
    EXPECT_STATUS(tlv_file_write(c, path, 2, items, meta), TLV_OK);

    size_t n, padded = (sizeof header - 1 + 7) / 8 * 8;
    char *text = slurp(path, &n);
    uint64_t length = 0;
    memcpy(&length, text, n < 8 ? 0 : 8);
    EXPECT_INT(length, padded);
    EXPECT_INT(n, 8 + padded + 9);
    EXPECT(memcmp(text + 8, header, sizeof header - 1) == 0, "got %.*s", (int)length, text + 8);
    for (size_t i = sizeof header - 1; i < padded; i++) EXPECT_INT(text[8 + i], ' ');
    EXPECT(memcmp(text + 8 + padded, w, 8) == 0, "other numbers");
    EXPECT_INT((uint8_t)text[8 + padded + 8], 200);
    free(text);

    tlv_file *f = tlv_file_open(c, path);
    EXPECT_OK(c);
    EXPECT_STR(tlv_file_meta(f, "arch"), meta[1]);
    EXPECT_STR(tlv_file_meta(f, ""), "");
    EXPECT_INT(tlv_file_find(f, "\t"), 1);
    tlv_file_close(f);

    EXPECT_STATUS(tlv_file_write(c, path, 0, NULL, NULL), TLV_OK);      // takes the other's place
    f = tlv_file_open(c, path);
    EXPECT(f && tlv_file_count(f) == 0, "an empty file: %s", tlv_error_msg(c));
    tlv_file_close(f);
    remove(path);
    tlv_ctx_close(c);
}

/* Every dtype, with values at the edges: what was written is read, bit by bit. */
static void test_round_trip_of_every_dtype(void)
{
    static const unsigned char bits[48] = {
        0, 0, 0xc0, 0x7f, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80, 0x7f, 0, 0, 0x80, 0xff, 0,
        0, 0, 0x80, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0xff, 0x80, 0x7f, 0x55, 0xaa, 1, 2, 3, 5, 8, 13,
        21, 34, 55,
    };
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "all.safetensors"), "no path");
    tlv_file_item items[3 * TLV_DTYPE_COUNT];
    char names[3 * TLV_DTYPE_COUNT][24];
    int n = 0;
    for (int d = 0; d < TLV_DTYPE_COUNT; d++) {
        int64_t k = 48 / (int64_t)tlv_dtype_size((tlv_dtype)d);
        tlv_shape shapes[] = { { 2, { k / 2, 2 } }, TLV_SCALAR, { 3, { 2, 0, 5 } } };
        for (int i = 0; i < 3; i++, n++) {
            snprintf(names[n], sizeof names[n], "%s.%d", tlv_dtype_name((tlv_dtype)d), i);
            items[n].name = names[n];
            items[n].t = tlv_from_data(c, (tlv_dtype)d, shapes[i], bits, 0);
        }
    }
    EXPECT_OK(c);
    EXPECT_STATUS(tlv_file_write(c, path, n, items, NULL), TLV_OK);
    tlv_file *f = tlv_file_open(c, path);
    EXPECT_OK(c);
    EXPECT_INT(tlv_file_count(f), n);
    for (int i = 0; f && i < n; i++) {
        int at = tlv_file_find(f, names[i]);
        tlv_tensor *t = tlv_file_read(c, f, at);
        REQUIRE(t, "%s: %s", names[i], tlv_error_msg(c));
        EXPECT_INT(tlv_dtype_of(t), tlv_dtype_of(items[i].t));
        EXPECT(tlvi_same_shape(t, items[i].t), "%s: another shape", names[i]);
        tlv_view v;
        tlv_view_of(c, t, &v);
        size_t bytes = (size_t)tlv_numel(t) * tlv_dtype_size(v.dtype);
        EXPECT(bytes == 0 || memcmp(v.ptr, bits, bytes) == 0, "%s: other bits", names[i]);
    }
    tlv_file_close(f);
    remove(path);
    tlv_ctx_close(c);
}

/* Names keep their order; memory order does not reach the file. */
static void test_row_major_whatever_the_memory(void)
{
    char path[512];
    double v[2 * 3 * 2 * 2];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "o.safetensors"), "no path");
    for (int i = 0; i < 24; i++) v[i] = i;
    tlv_file_item items[SUPPORT_ORDERS];
    static const char *const names[SUPPORT_ORDERS] = { "z", "y", "x", "w" };
    for (int o = 0; o < SUPPORT_ORDERS; o++)
        items[o] = (tlv_file_item){
            names[o], support_tensor(c, TLV_F32, TLV_SHAPE(2, 3, 2, 2), v, 0, (support_order)o) };
    EXPECT_STATUS(tlv_file_write(c, path, SUPPORT_ORDERS, items, NULL), TLV_OK);
    int64_t live = tlv_mem_get(c).live_tensors;
    tlv_file *f = tlv_file_open(c, path);
    EXPECT_OK(c);
    for (int o = 0; o < SUPPORT_ORDERS; o++) {
        EXPECT_STR(tlv_file_name(f, o), names[o]);
        double got[24];
        support_read(c, tlv_file_read(c, f, o), got, 24);
        for (int i = 0; i < 24; i++)
            if (got[i] != v[i]) EXPECT_CLOSE(got[i], v[i], 0, 0);
    }
    tlv_file_close(f);
    EXPECT_INT(tlv_mem_get(c).live_tensors, live + SUPPORT_ORDERS);
    remove(path);
    tlv_ctx_close(c);
}

/* ---- all or nothing -------------------------------------------------------------------------- */

static void test_what_cannot_be_written(void)
{
    static const char *const odd[] = { "key", NULL }, *const twice[] = { "k", "1", "k", "2", NULL };
    static const char *const not_text[] = { "k", "\xff", NULL };
    char dir[256], path[512];
    tlv_ctx *c = support_open();
    REQUIRE(fresh_folder(dir, sizeof dir), "no folder");
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    tlv_tensor *t = tlv_zeros(c, TLV_F32, TLV_SHAPE(2));
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *gone = tlv_zeros(c, TLV_F32, TLV_SHAPE(2));
    tlv_scope_end(c, s);

    tlv_file_item same[] = { { "a", t }, { "b", t }, { "a", t } };
    EXPECT_STATUS(tlv_file_write(c, path, 3, same, NULL), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "two tensors are named 'a'");
    tlv_file_item reserved = { "__metadata__", t }, none = { NULL, t }, bytes = { "\xc3(", t };
    tlv_file_write(c, path, 1, &reserved, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "item 0 has no usable name");
    tlv_file_write(c, path, 1, &none, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "item 0 has no usable name");
    tlv_file_write(c, path, 1, &bytes, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "item 0 has no usable name");
    tlv_file_item ended = { "a", gone }, null = { "a", NULL };
    tlv_file_write(c, path, 1, &ended, NULL);
    EXPECT_ERROR(c, TLV_ERR_ENDED, "file_write");
    tlv_file_write(c, path, 1, &null, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "file_write");
    tlv_file_write(c, path, 2, same, odd);
    EXPECT_ERROR(c, TLV_ERR_ARG, "meta 0 has no usable value");
    tlv_file_write(c, path, 2, same, twice);
    EXPECT_ERROR(c, TLV_ERR_ARG, "meta holds 'k' twice");
    tlv_file_write(c, path, 2, same, not_text);
    EXPECT_ERROR(c, TLV_ERR_ARG, "meta 0 has no usable value");
    tlv_file_write(c, NULL, 2, same, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "to NULL");
    tlv_file_write(c, path, -1, same, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "-1 items");
    EXPECT_INT(files_in(dir), 0);
    tlv_ctx_close(c);
}

static void test_where_nothing_can_be_written(void)
{
    char dir[256], path[512];
    tlv_ctx *c = support_open();
    REQUIRE(fresh_folder(dir, sizeof dir), "no folder");
    tlv_file_item item = { "a", tlv_zeros(c, TLV_F32, TLV_SHAPE(2)) };
    snprintf(path, sizeof path, "%s/none/x.safetensors", dir);
    EXPECT_STATUS(tlv_file_write(c, path, 1, &item, NULL), TLV_ERR_IO);
    EXPECT(strstr(tlv_error_msg(c), path), "no path in: %s", tlv_error_msg(c));
    EXPECT_ERROR(c, TLV_ERR_IO, "cannot make a file beside it: No such file or directory");
    EXPECT_STATUS(tlv_file_write(c, dir, 1, &item, NULL), TLV_ERR_IO);
    EXPECT_ERROR(c, TLV_ERR_IO, "it is a folder");
    EXPECT_INT(files_in(dir), 0);

    // A device is not replaced by a file, whoever asks.
    struct stat st;
    EXPECT_STATUS(tlv_file_write(c, "/dev/full", 1, &item, NULL), TLV_ERR_IO);
    EXPECT_ERROR(c, TLV_ERR_IO, "/dev/full: it is not a regular file");
    EXPECT(stat("/dev/full", &st) == 0 && S_ISCHR(st.st_mode), "/dev/full is no device any more");
    tlv_ctx_close(c);
}

/* A disk that is full after so many bytes: the system's limit for the size of a file. */
static void test_a_full_disk_leaves_the_old_file(void)
{
    char dir[256], path[512];
    tlv_ctx *c = support_open();
    REQUIRE(fresh_folder(dir, sizeof dir), "no folder");
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    tlv_file_item small = { "old", tlv_zeros(c, TLV_F32, TLV_SHAPE(2)) };
    tlv_file_item big[] = { { "a", tlv_zeros(c, TLV_F32, TLV_SHAPE(100)) },
                            { "b", tlv_zeros(c, TLV_F32, TLV_SHAPE(50000)) } };
    EXPECT_STATUS(tlv_file_write(c, path, 1, &small, NULL), TLV_OK);

    struct rlimit was, low;
    getrlimit(RLIMIT_FSIZE, &was);
    low = was;
    low.rlim_cur = 8192;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    fflush(stdout);
    setrlimit(RLIMIT_FSIZE, &low);
    tlv_status got = tlv_file_write(c, path, 2, big, NULL);
    setrlimit(RLIMIT_FSIZE, &was);
    signal(SIGXFSZ, handler);

    EXPECT_STATUS(got, TLV_ERR_IO);
    EXPECT_ERROR(c, TLV_ERR_IO, "cannot write it: File too large");
    EXPECT_INT(files_in(dir), 1);
    tlv_file *f = tlv_file_open(c, path);
    EXPECT(f && tlv_file_find(f, "old") == 0, "the old file is gone: %s", tlv_error_msg(c));
    tlv_file_close(f);
    remove(path);
    tlv_ctx_close(c);
}

static void test_a_new_file_takes_the_old_ones_place(void)
{
    char dir[256], path[512], stale[600];
    tlv_ctx *c = support_open();
    REQUIRE(fresh_folder(dir, sizeof dir), "no folder");
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    tlv_file_item a = { "a", tlv_zeros(c, TLV_F32, TLV_SHAPE(2)) };
    tlv_file_item b = { "b", tlv_zeros(c, TLV_F32, TLV_SHAPE(2)) };
    EXPECT_STATUS(tlv_file_write(c, path, 1, &a, NULL), TLV_OK);
    chmod(path, 0600);
    tlv_file *old = tlv_file_open(c, path);

    // A leftover of a process that died with our number is not in the way.
    snprintf(stale, sizeof stale, "%s.tmp.%ld", path, (long)getpid());
    FILE *f = fopen(stale, "w");
    REQUIRE(f, "%s", stale);
    fclose(f);
    EXPECT_STATUS(tlv_file_write(c, path, 1, &b, NULL), TLV_OK);
    EXPECT_INT(files_in(dir), 2);
    struct stat st;
    EXPECT(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "mode %o", (unsigned)st.st_mode);

    // Who has the old file open goes on reading it.
    EXPECT_INT(tlv_file_find(old, "a"), 0);
    EXPECT(tlv_file_read(c, old, 0), "%s", tlv_error_msg(c));
    tlv_file_close(old);
    tlv_file *now = tlv_file_open(c, path);
    EXPECT_INT(tlv_file_find(now, "b"), 0);
    tlv_file_close(now);
    remove(stale);
    remove(path);
    tlv_ctx_close(c);
}

/* ---- no memory ------------------------------------------------------------------------------- */

/* Writes and reads a file in a context whose request number fail_at fails; 1 if all went well. */
static int write_and_read(int64_t fail_at, const char *path, const char *dir)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .fail_at = fail_at });
    if (!c) return 0;
    double v[16] = { 1, 2, 3 };
    static const char *const meta[] = { "k", "v", NULL };
    tlv_file_item items[] = {
        { "a", support_tensor(c, TLV_F32, TLV_SHAPE(1, 2, 2, 2), v, 0, SUPPORT_CHANNELS_LAST) },
        { "b", tlv_zeros(c, TLV_F64, TLV_SHAPE(3)) } };
    int before = files_in(dir);
    tlv_file *f = NULL;
    tlv_tensor *t = NULL;
    int made = tlv_error(c) == TLV_OK;
    if (tlv_file_write(c, path, 2, items, meta) == TLV_OK) f = tlv_file_open(c, path);
    else EXPECT_INT(files_in(dir), before);
    t = tlv_file_read(c, f, 0);
    int ok = t != NULL;
    EXPECT(ok == (tlv_error(c) == TLV_OK), "request %d: %s", (int)fail_at, tlv_error_msg(c));
    if (!ok && made) EXPECT_STATUS(tlv_error(c), TLV_ERR_NOMEM);
    tlv_file_close(f);
    tlv_ctx_close(c);
    return ok;
}

static void test_no_memory_anywhere(void)
{
    char dir[256], path[512];
    REQUIRE(fresh_folder(dir, sizeof dir), "no folder");
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    int64_t failed = 0, at = 1;
    for (; at < 200; at++) {
        remove(path);
        if (write_and_read(at, path, dir)) break;
        failed++;
    }
    EXPECT(at < 200 && failed >= 6, "%d requests failed", (int)failed);
    remove(path);
}

TEST_MAIN(T(test_bytes_of_a_small_file), T(test_round_trip_of_every_dtype),
          T(test_row_major_whatever_the_memory), T(test_what_cannot_be_written),
          T(test_where_nothing_can_be_written), T(test_a_full_disk_leaves_the_old_file),
          T(test_a_new_file_takes_the_old_ones_place), T(test_no_memory_anywhere))
