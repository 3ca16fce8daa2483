/* support.h -- what tests need around tensors: values in and out as doubles, memory orders, an
 * allocator that counts and fails. */
#ifndef TLV_TESTS_SUPPORT_H
#define TLV_TESTS_SUPPORT_H

#include "tests/test.h"

/* ---- contexts -------------------------------------------------------------------------------- */

/* One thread, a fixed seed. */
tlv_ctx *support_open(void);

/* An allocator for tlv_ctx_opts.alloc: counts what is live; call number fail_at (from 1) that
 * asks for memory returns NULL, with `forever` every later one too.  Thread-safe in the way the
 * pool calls it. */
typedef struct support_hook {
    int64_t live, bytes, asked;
    int64_t fail_at;
    int forever;
    int wrong_size;                     /* blocks that came back with another size than they had */
} support_hook;
void *support_alloc(void *user, void *ptr, size_t old_size, size_t new_size);

/* ---- tensors --------------------------------------------------------------------------------- */

/* How the values of a tensor lie in memory. */
typedef enum support_order {
    SUPPORT_ROW_MAJOR = 0,
    SUPPORT_CHANNELS_LAST,              /* 4 dims; others stay row-major */
    SUPPORT_TRANSPOSED,                 /* dense, dims in reversed order */
    SUPPORT_STRIDED,             /* every dim a step of 2 or 3 in a larger buffer, with an offset */
    SUPPORT_ORDERS
} support_order;

/* A tensor of dtype d with the row-major values v (rounded to d), lying in memory as `order`
 * says. */
tlv_tensor *support_tensor(tlv_ctx *c, tlv_dtype d, tlv_shape s, const double *v, int flags,
                           support_order order);

/* Values as doubles, row-major.  Returns 0 and fails the test if t cannot be read or has not n
 * elements. */
int support_read(tlv_ctx *c, const tlv_tensor *t, double *dst, int64_t n);

/* The n numbers of the tensor PREFIX/PART in a golden file.  Returns 0 and fails the test if it is
 * not there. */
int support_golden(tlv_ctx *c, const tlv_file *f, const char *prefix, const char *part, double *dst,
                   int64_t n);

/* t has exactly these values: EXPECT_VALUES(c, t, 1e-6, 1, 2, 3). */
#define EXPECT_VALUES(c, t, tol, ...)                                                              \
    support_check_values(c, t, tol, (const double[]){ __VA_ARGS__ },                               \
                         (int64_t)(sizeof(double[]){ __VA_ARGS__ } / sizeof(double)), __FILE__,    \
                         __LINE__, #t)
int support_check_values(tlv_ctx *c, const tlv_tensor *t, double tol, const double *want, int64_t n,
                         const char *file, int line, const char *what);

#define EXPECT_SHAPE(t, ...) support_check_shape(t, TLV_SHAPE(__VA_ARGS__), __FILE__, __LINE__, #t)
int support_check_shape(const tlv_tensor *t, tlv_shape want, const char *file, int line,
                        const char *what);

/* Fills v with n draws from [lo, hi). */
void support_uniform(double *v, int64_t n, uint64_t seed, double lo, double hi);

#endif
