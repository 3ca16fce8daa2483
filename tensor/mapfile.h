/* mapfile.h -- whole files in memory, and files that are written whole or not at all. */
#ifndef TLVI_MAPFILE_H
#define TLVI_MAPFILE_H

#include "tensor/core.h"

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct tlvi_mapfile {
    const void *data;               /* NULL for an empty file */
    size_t bytes;
    int mapped;                     /* else a copy in the context's pool */
} tlvi_mapfile;

enum { TLVI_MAP_COPY = 1 };         /* read it even where it could be mapped */

/* Maps a regular file read-only; reads it where the system cannot map it.  TLV_ERR_IO with the path
 * and the system's reason.  As long as it is mapped, nobody should shorten the file. */
tlv_status tlvi_mapfile_open(tlv_ctx *c, const char *path, int flags, tlvi_mapfile *m);
void tlvi_mapfile_close(tlv_ctx *c, tlvi_mapfile *m);

/* ---- writing --------------------------------------------------------------------------------- */

/* A file beside the one that is meant, PATH.tmp.PID, which takes its place at the end.  The first
 * failure sticks in the context; later calls then do nothing. */
typedef struct tlvi_newfile {
    tlv_ctx *c;
    const char *path;               /* the caller's: lives until the end */
    char *temp;
    size_t temp_bytes;
    int fd;                         /* -1: no file */
} tlvi_newfile;

tlv_status tlvi_newfile_open(tlv_ctx *c, const char *path, tlvi_newfile *f);
void tlvi_newfile_write(tlvi_newfile *f, const void *data, size_t bytes);
/* Without an error in the context: forces the data to disk and renames.  Else: removes the new file
 * and leaves what stood at path as it was.  Always to be called; returns the context's status. */
tlv_status tlvi_newfile_close(tlvi_newfile *f);

/* ---- text for error sentences ---------------------------------------------------------------- */

/* On one line, without control characters; of a long path the end, of a long name the beginning. */
tlvi_text tlvi_path_str(const char *path);
tlvi_text tlvi_name_str(const char *name, size_t len);

#endif
