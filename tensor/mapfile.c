/* mapfile.c -- whole files in memory, and files that are written whole or not at all (POSIX). */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#include "tensor/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- text ------------------------------------------------------------------------------------ */

static void one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

tlvi_text tlvi_path_str(const char *path)
{
    tlvi_text t;
    size_t len = strlen(path), room = sizeof t.s - 1;
    int cut = len > room;
    snprintf(t.s, sizeof t.s, "%s%s", cut ? "..." : "", cut ? path + len - (room - 3) : path);
    one_line(t.s);
    return t;
}

tlvi_text tlvi_name_str(const char *name, size_t len)
{
    enum { ROOM = 72 };
    tlvi_text t;
    size_t cut = len < ROOM ? len : ROOM;
    while (cut < len && cut > 0 && (name[cut] & 0xc0) == 0x80) cut--;       // whole characters
    snprintf(t.s, sizeof t.s, "%.*s%s", (int)cut, name, cut < len ? "..." : "");
    one_line(t.s);
    return t;
}

static tlv_status io_error(tlv_ctx *c, const char *path, const char *doing)
{
    char why[96];
    if (strerror_r(errno, why, sizeof why) != 0) snprintf(why, sizeof why, "error %d", errno);
    c->in_hand[0] = NULL;
    return tlvi_fail(c, TLV_ERR_IO, NULL, "%s: %s: %s", tlvi_path_str(path).s, doing, why);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Reads exactly m->bytes into memory of the pool. */
static tlv_status read_all(tlv_ctx *c, const char *path, int fd, tlvi_mapfile *m)
{
    char *p = tlvi_alloc(c, m->bytes);
    if (!p) return c->err;
    size_t at = 0;
    while (at < m->bytes) {
        size_t want = m->bytes - at < (size_t)1 << 30 ? m->bytes - at : (size_t)1 << 30;
        ssize_t n = read(fd, p + at, want);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (n < 0) io_error(c, path, "cannot read it");
            else tlvi_fail(c, TLV_ERR_IO, "do not write to it meanwhile",
                           "%s: it became shorter while it was read", tlvi_path_str(path).s);
            tlvi_free(c, p, m->bytes);
            return c->err;
        }
        at += (size_t)n;
    }
    m->data = p;
    return TLV_OK;
}

/* The file's size, if it is one. */
static tlv_status measure(tlv_ctx *c, const char *path, int fd, tlvi_mapfile *m)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return io_error(c, path, "cannot look at it");
    TLVI_CHECK(c, S_ISREG(st.st_mode), TLV_ERR_IO, "name a file", "%s: it is %s",
               tlvi_path_str(path).s, S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
    TLVI_CHECK(c, (uintmax_t)st.st_size <= PTRDIFF_MAX, TLV_ERR_LIMIT, "use a 64-bit system",
               "%s: %jd bytes are too many", tlvi_path_str(path).s, (intmax_t)st.st_size);
    m->bytes = (size_t)st.st_size;
    return TLV_OK;
}

tlv_status tlvi_mapfile_open(tlv_ctx *c, const char *path, int flags, tlvi_mapfile *m)
{
    *m = (tlvi_mapfile){ 0 };
    if (c->err) return c->err;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_error(c, path, "cannot open it");
    if (measure(c, path, fd, m) == TLV_OK && m->bytes > 0) {
        void *p = flags & TLVI_MAP_COPY ? MAP_FAILED
                                        : mmap(NULL, m->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        m->mapped = p != MAP_FAILED;
        if (m->mapped) m->data = p;
        else read_all(c, path, fd, m);
    }
    close(fd);
    return c->err;
}

void tlvi_mapfile_close(tlv_ctx *c, tlvi_mapfile *m)
{
    if (m->data && m->mapped) munmap((void *)m->data, m->bytes);
    else if (m->data) tlvi_free(c, (void *)m->data, m->bytes);
    *m = (tlvi_mapfile){ 0 };
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Only what is no file yet, or a regular one, may be replaced.  Returns the permissions to give. */
static int replaceable(tlv_ctx *c, const char *path, mode_t *mode)
{
    struct stat st;
    *mode = 0;
    if (stat(path, &st) != 0) return 1;
    if (!S_ISREG(st.st_mode)) {
        c->in_hand[0] = NULL;
        tlvi_fail(c, TLV_ERR_IO, "name a file", "%s: it is %s", tlvi_path_str(path).s,
                  S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
        return 0;
    }
    *mode = st.st_mode & 0777;
    return 1;
}

tlv_status tlvi_newfile_open(tlv_ctx *c, const char *path, tlvi_newfile *f)
{
    enum { TRIES = 100 };
    mode_t mode;
    *f = (tlvi_newfile){ .c = c, .path = path, .fd = -1 };
    if (c->err || !replaceable(c, path, &mode)) return c->err;

    f->temp_bytes = strlen(path) + 40;
    f->temp = tlvi_alloc(c, f->temp_bytes);
    if (!f->temp) return c->err;
    // A number more if another thread of this process, or a dead one of the same id, has the name.
    for (int i = 0; i < TRIES && f->fd < 0; i++) {
        snprintf(f->temp, f->temp_bytes, "%s.tmp.%ld", path, (long)getpid());
        if (i > 0) snprintf(f->temp + strlen(f->temp), 8, ".%d", i);
        f->fd = open(f->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd < 0 && errno != EEXIST) break;
    }
    if (f->fd < 0) return io_error(c, path, "cannot make a file beside it");
    if (mode) (void)fchmod(f->fd, mode);                // without it only the permissions differ
    return TLV_OK;
}

void tlvi_newfile_write(tlvi_newfile *f, const void *data, size_t bytes)
{
    const char *p = data;
    while (bytes > 0 && f->c->err == TLV_OK && f->fd >= 0) {
        ssize_t n = write(f->fd, p, bytes < (size_t)1 << 30 ? bytes : (size_t)1 << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            io_error(f->c, f->path, "cannot write it");
            return;
        }
        p += n;
        bytes -= (size_t)n;
    }
}

/* A rename lasts only when its folder is on disk too; where that cannot be asked for, so be it. */
static void sync_folder(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash) slash[slash == path] = 0;                // "/x" stands in "/"
    int fd = open(slash ? path : ".", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

tlv_status tlvi_newfile_close(tlvi_newfile *f)
{
    tlv_ctx *c = f->c;
    if (f->fd >= 0) {
        // Special file systems know no fsync and say EINVAL.
        if (c->err == TLV_OK && fsync(f->fd) != 0 && errno != EINVAL && errno != ENOTSUP)
            io_error(c, f->path, "cannot write it");
        if (close(f->fd) != 0) io_error(c, f->path, "cannot write it");
        if (c->err == TLV_OK && rename(f->temp, f->path) != 0)
            io_error(c, f->path, "cannot rename to it");
        if (c->err) unlink(f->temp);
        else sync_folder(f->temp);
    }
    tlvi_free(c, f->temp, f->temp_bytes);
    f->temp = NULL;
    f->fd = -1;
    return c->err;
}
