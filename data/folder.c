/* folder.c -- folders of image files: a folder a class, perhaps in folders of splits (POSIX).
 *
 * Whatever order the system lists a folder in, classes and files come sorted by their bytes, so
 * that example i is the same one on every machine. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "data/reader.h"
#include "tensor/mapfile.h"

enum { PATH_ROOM = 4096 };

typedef struct walker {
    tlv_dataset *d;                 /* NULL: only looking */
    tlv_ctx *c;
    char path[PATH_ROOM];           /* of the folder at hand */
    size_t len;
    int64_t aside;                  /* files that are no images by their names */
    char first_aside[256];          /* by its bytes */
} walker;

/* A folder that is being walked, and those that it lies in. */
typedef struct link { const struct link *up; dev_t dev; ino_t ino; } link;

int tlvi_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* By its extension, in any case of letters. */
static int is_image_name(const char *name)
{
    static const char *const known[] = { "png", "jpg", "jpeg", "jpe", "jfif", "bmp",
                                         "dib", "pbm", "pgm",  "ppm", "pnm" };
    const char *dot = strrchr(name, '.');
    char ext[8] = { 0 };
    for (size_t i = 0; dot && i < sizeof ext - 1 && dot[1 + i]; i++) {
        char ch = dot[1 + i];
        ext[i] = (char)(ch >= 'A' && ch <= 'Z' ? ch - 'A' + 'a' : ch);
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(ext, known[i]) == 0) return 1;
    return 0;
}

/* ---- one folder ------------------------------------------------------------------------------ */

/* Into the folder `name` of the one at hand; leave puts the path back to what len was. */
static int enter(walker *w, const char *name)
{
    size_t n = strlen(name), slash = w->len > 0 && w->path[w->len - 1] != '/';
    if (w->len + slash + n >= sizeof w->path) {
        tlvi_fail(w->c, TLV_ERR_LIMIT, "use shorter paths",
                  "%s: a path in it has more than %d bytes", tlvi_path_str(w->path).s,
                  PATH_ROOM - 1);
        return 0;
    }
    if (slash) w->path[w->len++] = '/';
    memcpy(w->path + w->len, name, n + 1);
    w->len += n;
    return 1;
}

static void leave(walker *w, size_t len)
{
    w->len = len;
    w->path[len] = 0;
}

static void set_aside(walker *w, const char *name)
{
    if (w->aside++ == 0 || strcmp(name, w->first_aside) < 0)
        snprintf(w->first_aside, sizeof w->first_aside, "%s", name);
}

static tlv_status folder_error(walker *w, int error, const char *doing)
{
    char why[96];
    if (strerror_r(error, why, sizeof why) != 0) snprintf(why, sizeof why, "error %d", error);
    return tlvi_fail(w->c, TLV_ERR_IO, NULL, "%s: %s: %s", tlvi_path_str(w->path).s, doing, why);
}

/* One entry of the folder at hand, whose path is w->path: to the folders by its name, to the files
 * by its path. */
static int sort_in(walker *w, const char *name, tlvi_strings *dirs, tlvi_strings *files)
{
    struct stat st;
    int there = stat(w->path, &st) == 0;                // of what a link leads to
    if (there && S_ISDIR(st.st_mode)) return tlvi_strings_add(w->c, dirs, name);
    // A link to nowhere stays: it is an image that cannot be read, which is to be told.
    if ((!there || S_ISREG(st.st_mode)) && is_image_name(name))
        return tlvi_strings_add(w->c, files, w->path);
    set_aside(w, name);
    return 1;
}

/* What the folder at hand holds, hidden things apart: names of folders, sorted, and paths of
 * images, in any order. */
static tlv_status list(walker *w, tlvi_strings *dirs, tlvi_strings *files)
{
    DIR *dir = opendir(w->path);
    if (!dir) return folder_error(w, errno, "cannot open this folder");
    size_t len = w->len;
    const struct dirent *e;
    int ok = 1;
    while (ok && (errno = 0, e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.') continue;
        ok = enter(w, e->d_name) && sort_in(w, e->d_name, dirs, files);
        leave(w, len);
    }
    if (ok && errno) folder_error(w, errno, "cannot read this folder");
    closedir(dir);
    if (!w->c->err) tlvi_strings_sort(w->c, dirs, 0);
    return w->c->err;
}

/* ---- one class ------------------------------------------------------------------------------- */

/* The images of the folder at hand and of all folders in it. */
static tlv_status walk(walker *w, const link *up, tlvi_strings *files)
{
    struct stat st;
    if (stat(w->path, &st) != 0) return folder_error(w, errno, "cannot look at it");
    for (const link *l = up; l; l = l->up)
        TLVI_CHECK(w->c, l->dev != st.st_dev || l->ino != st.st_ino, TLV_ERR_FORMAT,
                   "remove that link", "%s: it is a link to a folder that it lies in",
                   tlvi_path_str(w->path).s);

    link here = { up, st.st_dev, st.st_ino };
    tlvi_strings dirs = { 0 };
    size_t len = w->len;
    list(w, &dirs, files);
    for (int64_t i = 0; i < dirs.n && !w->c->err; i++) {
        if (enter(w, tlvi_string(&dirs, i))) walk(w, &here, files);
        leave(w, len);
    }
    tlvi_strings_free(w->c, &dirs);
    return w->c->err;
}

/* Adds files with a label, sorted by the bytes of their paths. */
static tlv_status add_files(walker *w, tlvi_strings *files, int label)
{
    if (w->c->err || !tlvi_strings_sort(w->c, files, 0)) return w->c->err;
    for (int64_t i = 0; i < files->n; i++)
        if (!tlvi_dataset_add_file(w->d, tlvi_string(files, i), label, 0)) break;
    return w->c->err;
}

/* The folder `name` of the one at hand, as class `label`. */
static tlv_status add_class(walker *w, const char *name, int label, int may_be_empty)
{
    tlvi_strings files = { 0 };
    size_t len = w->len;
    int64_t aside = w->aside;
    if (enter(w, name)) {
        walk(w, NULL, &files);
        if (!w->c->err && files.n == 0 && !may_be_empty)
            tlvi_fail(w->c, TLV_ERR_FORMAT, "remove the folder, or put PNG, JPEG, BMP or PNM files "
                      "into it", "%s: this class folder holds no image%s",
                      tlvi_path_str(w->path).s,
                      w->aside > aside ? ", but files of other kinds" : "");
        add_files(w, &files, label);
    }
    leave(w, len);
    tlvi_strings_free(w->c, &files);
    return w->c->err;
}

/* ---- splits ---------------------------------------------------------------------------------- */

/* What stands in the folder that a description names. */
typedef struct layout {
    tlvi_strings dirs, files;
    int64_t split[TLVI_SPLITS];     /* train, val, test: which of dirs, -1: none */
    unsigned have;                  /* their bits; 0: the folders are classes */
} layout;

static void free_layout(walker *w, layout *l)
{
    tlvi_strings_free(w->c, &l->dirs);
    tlvi_strings_free(w->c, &l->files);
}

/* Does the folder `name` of the one at hand have folders in it? */
static int has_folders(walker *w, const char *name)
{
    tlvi_strings dirs = { 0 }, files = { 0 };
    size_t len = w->len;
    int64_t aside = w->aside;
    if (enter(w, name)) list(w, &dirs, &files);
    int some = dirs.n > 0;
    leave(w, len);
    w->aside = aside;                                   // counted when it is read
    tlvi_strings_free(w->c, &dirs);
    tlvi_strings_free(w->c, &files);
    return some;
}

/* "train" and so on may be names of classes too (a set of vehicles).  They are splits if one of
 * them has folders in it, or if there are no others. */
static tlv_status find_splits(walker *w, layout *l)
{
    int64_t named = 0;
    int deep = 0;
    for (int s = 0; s < TLVI_SPLITS; s++) l->split[s] = -1;
    for (int64_t i = 0; i < l->dirs.n; i++) {
        const char *name = tlvi_string(&l->dirs, i);
        unsigned bit = tlvi_split_bit(name);
        if (!bit) continue;
        int s = bit == TLVI_TRAIN ? 0 : bit == TLVI_VAL ? 1 : 2;
        TLVI_CHECK(w->c, l->split[s] < 0, TLV_ERR_FORMAT, "keep one of them",
                   "%s: it has two folders for one split, '%s' and '%s'", tlvi_path_str(w->path).s,
                   tlvi_string(&l->dirs, l->split[s]), name);
        l->split[s] = i;
        l->have |= bit;
        named++;
        deep = deep || has_folders(w, name);
    }
    if (!deep && named < l->dirs.n) l->have = 0;
    return w->c->err;
}

static tlv_status read_layout(walker *w, const char *dir, layout *l)
{
    w->len = 0;
    w->path[0] = 0;
    if (!*dir) dir = ".";
    if (enter(w, dir) && list(w, &l->dirs, &l->files) == TLV_OK) find_splits(w, l);
    return w->c->err;
}

unsigned tlvi_folder_splits(tlv_ctx *c, const char *dir)
{
    walker w = { .c = c };
    layout l = { .have = 0 };
    if (!tlvi_is_folder(dir)) return 0;
    read_layout(&w, dir, &l);
    free_layout(&w, &l);
    return c->err ? 0 : l.have;
}

/* ---- the set --------------------------------------------------------------------------------- */

/* Class folders of the folder at hand, numbered by the names of the set; or, where there are none,
 * its images without labels. */
static tlv_status read_classes(walker *w, const tlvi_strings *dirs, tlvi_strings *files,
                               int may_be_empty)
{
    if (dirs->n == 0) return add_files(w, files, -1);
    for (int64_t i = 0; i < files->n; i++) {            // beside class folders
        const char *slash = strrchr(tlvi_string(files, i), '/');
        set_aside(w, slash ? slash + 1 : tlvi_string(files, i));
    }
    for (int64_t i = 0; i < dirs->n && !w->c->err; i++) {
        const char *name = tlvi_string(dirs, i);
        int64_t k = tlvi_strings_find(&w->d->names, name);
        TLVI_CHECK(w->c, k >= 0, TLV_ERR_FORMAT,
                   "rename the folder, or give 'train' one of that name",
                   "%s: its class folder '%s' is none of the %d classes of 'train'",
                   tlvi_path_str(w->path).s, name, w->d->classes);
        add_class(w, name, (int)k, may_be_empty);
    }
    return w->c->err;
}

static tlv_status take_names(walker *w, const tlvi_strings *dirs)
{
    for (int64_t i = 0; i < dirs->n && !w->c->err; i++)
        tlvi_dataset_add_class(w->d, tlvi_string(dirs, i));
    return w->c->err;
}

/* The classes are train's where there is such a split, else those of all splits together. */
static tlv_status name_classes(walker *w, const layout *l)
{
    tlvi_strings names = { 0 }, files = { 0 };
    size_t len = w->len;
    int64_t aside = w->aside;
    unsigned of = l->have & TLVI_TRAIN ? TLVI_TRAIN : l->have;
    for (int s = 0; s < TLVI_SPLITS && !w->c->err; s++) {
        if (!(of >> s & 1)) continue;
        if (enter(w, tlvi_string(&l->dirs, l->split[s]))) list(w, &names, &files);
        leave(w, len);
    }
    if (!w->c->err && tlvi_strings_sort(w->c, &names, 1)) take_names(w, &names);
    w->aside = aside;
    tlvi_strings_free(w->c, &names);
    tlvi_strings_free(w->c, &files);
    return w->c->err;
}

static tlv_status read_split(walker *w, const char *name, int may_be_empty)
{
    tlvi_strings dirs = { 0 }, files = { 0 };
    size_t len = w->len;
    if (enter(w, name) && list(w, &dirs, &files) == TLV_OK)
        read_classes(w, &dirs, &files, may_be_empty);
    leave(w, len);
    tlvi_strings_free(w->c, &dirs);
    tlvi_strings_free(w->c, &files);
    return w->c->err;
}

static tlv_status read_all(walker *w, layout *l, const char *split)
{
    unsigned take = tlvi_pick_splits(w->c, w->path, l->have, split);
    if (!take) return w->c->err;
    if (!l->have) {
        if (take_names(w, &l->dirs) == TLV_OK) read_classes(w, &l->dirs, &l->files, 0);
    } else if (name_classes(w, l) == TLV_OK) {
        // A class that is empty in train is a mistake; elsewhere it has no examples by chance.
        int defining = take & TLVI_TRAIN || !(l->have & TLVI_TRAIN);
        for (int s = 0; s < TLVI_SPLITS && !w->c->err; s++)
            if (take & l->have & 1u << s)
                read_split(w, tlvi_string(&l->dirs, l->split[s]), !defining);
    }
    if (w->c->err) return w->c->err;
    TLVI_CHECK(w->c, w->d->n > 0, TLV_ERR_FORMAT,
               "put PNG, JPEG, BMP or PNM files there, a folder a class",
               "%s: no image is in this folder%s%s", tlvi_path_str(w->path).s,
               l->have ? ", split " : "", l->have ? tlvi_split_name(take & l->have) : "");
    char aside[240] = "", classes[40] = "without labels";
    if (w->d->classes)
        snprintf(classes, sizeof classes, "%d class%s", w->d->classes,
                 w->d->classes == 1 ? "" : "es");
    if (w->aside)
        snprintf(aside, sizeof aside, "; %lld file%s left aside (the first: %s)",
                 (long long)w->aside, w->aside == 1 ? "" : "s",
                 tlvi_path_str(w->first_aside).s);
    snprintf(w->d->text, sizeof w->d->text, "folder %s%s%s, %lld images, %s%s" TLVI_UPRIGHT,
             tlvi_path_str(w->path).s, l->have ? ", " : "",
             l->have ? tlvi_split_name(take & l->have) : "", (long long)w->d->n, classes, aside);
    return TLV_OK;
}

tlv_status tlvi_read_folder(tlv_dataset *d, const char *dir, const char *split)
{
    walker w = { .d = d, .c = d->c };
    layout l = { .have = 0 };
    d->channels = 3;
    if (read_layout(&w, dir, &l) == TLV_OK) read_all(&w, &l, split);
    free_layout(&w, &l);
    return d->c->err;
}
