/* fuzz_corpus.c -- what fuzzing found worth keeping, run again: fuzz_corpus of fuzz_inputs.h. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz_inputs.h"

enum { MOST = 1 << 16 };

int fuzz_corpus(const char *name, fuzz_fn fn)
{
    char folder[64], dir[512], path[800];
    uint8_t *buf = malloc(MOST);
    int files = 0;
    snprintf(folder, sizeof folder, "fuzz/corpus/%s", name);
    DIR *d = buf && test_file_path(dir, sizeof dir, folder) ? opendir(dir) : NULL;
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .mem_limit = (size_t)100 << 20 });
    EXPECT(d, "%s cannot be listed", folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        FILE *f = fopen(path, "rb");
        if (!EXPECT(f, "%s cannot be opened", path)) continue;
        size_t n = fread(buf, 1, MOST, f);
        fclose(f);
        uint8_t *exact = malloc(n ? n : 1);     // no byte more, for the sanitizers
        const char *why = "no memory";
        for (size_t i = 0; exact && i < n; i++) exact[i] = buf[i];
        EXPECT(exact && fn(c, exact, n, &why) >= 0, "%s: %s", path, why);
        free(exact);
        files++;
    }
    if (d) closedir(d);
    tlv_ctx_close(c);
    free(buf);
    return files;
}
