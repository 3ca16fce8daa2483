/* support_files.c -- see support_files.h. */
#include "tests/support_files.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

int support_folder(char dir[SUPPORT_PATH], const char *name)
{
    if (!test_temp_path(dir, SUPPORT_PATH, name)) return 0;
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return EXPECT(mkdir(dir, 0777) == 0, "%s: %s", dir, strerror(errno));
}

int support_put(const char *dir, const char *name, const void *data, size_t n)
{
    char path[2 * SUPPORT_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    for (char *p = path + strlen(dir) + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = 0;
        mkdir(path, 0777);
    }
    FILE *f = fopen(path, "wb");
    int ok = f && fwrite(data, 1, n, f) == n;
    if (f) ok &= fclose(f) == 0;
    return EXPECT(ok, "cannot write %s", path);
}

int support_put_text(const char *dir, const char *name, const char *text)
{
    return support_put(dir, name, text, strlen(text));
}

int support_put_ppm(const char *dir, const char *name, int h, int w, int seed)
{
    size_t n = 3 * (size_t)h * (size_t)w;
    char *file = malloc(n + 64);
    if (!EXPECT(file, "no memory")) return 0;
    size_t head = (size_t)snprintf(file, 64, "P6\n%d %d\n255\n", w, h);
    for (size_t k = 0; k < n; k++) file[head + k] = (char)(uint8_t)((size_t)seed + k * 31 / 7);
    int ok = support_put(dir, name, file, head + n);
    free(file);
    return ok;
}
