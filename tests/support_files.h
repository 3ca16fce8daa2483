/* support_files.h -- folders of files that tests make for themselves. */
#ifndef TLV_TESTS_SUPPORT_FILES_H
#define TLV_TESTS_SUPPORT_FILES_H

#include <stdint.h>

#include "tests/test.h"

enum { SUPPORT_PATH = 1200 };

/* An empty folder at a path of test_temp_path; what an earlier run left in it is removed. */
int support_folder(char dir[SUPPORT_PATH], const char *name);
/* A file in it, name "a/b/c.txt", with the folders that it lies in.  0 and a failed check if
 * not. */
int support_put(const char *dir, const char *name, const void *data, size_t n);
int support_put_text(const char *dir, const char *name, const char *text);
/* A PPM file (P6): sample k is (seed + k * 31 / 7) mod 256, so that images differ everywhere. */
int support_put_ppm(const char *dir, const char *name, int h, int w, int seed);

#endif
