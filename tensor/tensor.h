/* tensor.h -- contexts, scopes, errors, memory, tensors, random numbers, threads.
 *
 * Conventions of every function in the library
 *   - A function that makes a tensor returns NULL on failure; the first failure stays in the
 *     context (tlv_error, tlv_error_msg, tlv_error_hint) and later calls do nothing, so that
 *     expressions nest and one check a step is enough.  Other functions return a tlv_status.
 *   - A tensor that a function returns belongs to the innermost open scope and dies with it.
 *     User code closes contexts, scopes and parameter sets, never tensors.
 *   - Shapes are listed outermost first.  "f32|f64" names the dtypes a function takes. */
#ifndef TLV_TENSOR_H
#define TLV_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TLV_VERSION_MAJOR 0
#define TLV_VERSION_MINOR 1
#define TLV_VERSION_PATCH 0

/* "0.1.0" */
const char *tlv_version(void);

#define TLV_MAX_DIMS 8

typedef struct tlv_ctx tlv_ctx;         /* owns everything; one thread at a time */
typedef struct tlv_tensor tlv_tensor;   /* a strided view of a buffer; immutable once returned */

/* ---- status codes: the numbers are pinned and never reused ----------------------------------- */

typedef enum tlv_status {
    TLV_OK = 0,
    TLV_ERR_ARG = 1,        /* an argument outside its documented range */
    TLV_ERR_SHAPE = 2,      /* shapes do not fit together */
    TLV_ERR_DTYPE = 3,      /* a dtype the function does not take, or mixed dtypes */
    TLV_ERR_NOMEM = 4,      /* the system or the memory limit said no */
    TLV_ERR_CTX = 5,        /* a tensor of another context */
    TLV_ERR_ENDED = 6,      /* a tensor or scope that has ended */
    TLV_ERR_NOGRAD = 7,     /* no target of tlv_grad is reached */
    TLV_ERR_VERSION = 8,    /* a buffer the gradient needs was changed after it was used */
    TLV_ERR_CONSUMED = 9,   /* the graph was consumed by an earlier tlv_grad */
    TLV_ERR_STATE = 10,     /* a call at the wrong time (step while borrowed, write after use) */
    TLV_ERR_INDEX = 11,     /* an index tensor holds a value outside its range */
    TLV_ERR_NAME = 12,      /* parameter names do not match */
    TLV_ERR_IO = 13,        /* the system could not open, read or write a file */
    TLV_ERR_FORMAT = 14,    /* a file's content is not what it should be */
    TLV_ERR_ISA = 15,       /* an instruction set that this CPU or build does not have */
    TLV_ERR_USER = 16,      /* reported by a user's callback */
    TLV_ERR_LIMIT = 17,     /* a fixed limit of the library (dims, scope depth) */
    TLV_STATUS_COUNT = 18
} tlv_status;

/* "TLV_ERR_SHAPE" and so on; never NULL. */
const char *tlv_status_name(tlv_status s);

typedef enum tlv_dtype {
    TLV_F32 = 0,            /* what networks compute in */
    TLV_F64 = 1,            /* gradient checks; every op takes it */
    TLV_I32 = 2,            /* labels and indices */
    TLV_U8 = 3,             /* images and masks */
    TLV_I64 = 4,            /* storage only, as the three below: tlv_cast converts */
    TLV_F16 = 5,
    TLV_BF16 = 6,
    TLV_DTYPE_COUNT = 7
} tlv_dtype;

size_t tlv_dtype_size(tlv_dtype d);                         /* bytes of one element */
const char *tlv_dtype_name(tlv_dtype d);    /* "f32" */

typedef struct tlv_shape {
    int ndim;                           /* 0 (a scalar) .. TLV_MAX_DIMS */
    int64_t dim[TLV_MAX_DIMS];
} tlv_shape;

/* TLV_SHAPE(2, 3) in C; tlv_shape2(2, 3) in C and C++. */
#define TLV_SHAPE(...)                                                                             \
    ((tlv_shape){ (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ } })
#define TLV_SCALAR ((tlv_shape){ 0, { 0 } })
static inline tlv_shape tlv_shape0(void) { tlv_shape s = { 0, { 0 } }; return s; }
static inline tlv_shape tlv_shape1(int64_t a) { tlv_shape s = { 1, { a } }; return s; }
static inline tlv_shape tlv_shape2(int64_t a, int64_t b)
{
    tlv_shape s = { 2, { a, b } };
    return s;
}
static inline tlv_shape tlv_shape3(int64_t a, int64_t b, int64_t d)
{
    tlv_shape s = { 3, { a, b, d } };
    return s;
}
static inline tlv_shape tlv_shape4(int64_t a, int64_t b, int64_t d, int64_t e)
{
    tlv_shape s = { 4, { a, b, d, e } };
    return s;
}

/* ---- context --------------------------------------------------------------------------------- */

/* Like realloc with a size for the old block: new_size 0 frees, ptr NULL allocates.  Returns NULL
 * when there is no memory.  Blocks must be aligned for any C type.  May be called from several
 * threads. */
typedef void *(*tlv_alloc_fn)(void *user, void *ptr, size_t old_size, size_t new_size);

/* Called where an error first happens, with the context that tlv_error will describe. */
typedef void (*tlv_error_fn)(void *user, tlv_ctx *c);

typedef enum tlv_recompute { TLV_RECOMPUTE_NONE = 0, TLV_RECOMPUTE_CHEAP = 1 } tlv_recompute;

/* How f32 convolutions with a 3x3 filter, stride 1 and no dilation are computed.  Winograd's
 * F(4x4, 3x3) takes a quarter of the multiplications and rounds differently: by at most 1e-4 of the
 * result's norm (tests hold it to 1e-5).  Everything else, and f64, is always direct. */
typedef enum tlv_conv_choice {
    TLV_CONV_AUTO = 0,          /* Winograd where it is faster, by rules on the shape */
    TLV_CONV_DIRECT = 1,        /* never Winograd */
    TLV_CONV_WINOGRAD = 2       /* wherever it can be */
} tlv_conv_choice;

/* Zero everywhere is the usual choice. */
typedef struct tlv_ctx_opts {
    int threads;                /* 0: as many as this process may run on */
    uint64_t seed;              /* of all random streams */
    const char *isa; /* "scalar", "avx2", "avx512", "neon"; NULL: $TLV_ISA, else the widest */
    size_t mem_limit;           /* bytes in use by this context and its children; 0: no limit */
    tlv_alloc_fn alloc;         /* NULL: the system's */
    void *alloc_user;
    tlv_error_fn on_error;      /* NULL: none */
    void *on_error_user;
    int64_t fail_at; /* tests: the fail_at-th request (from 1) for memory fails; 0: none */
    tlv_recompute recompute;    /* TLV_RECOMPUTE_CHEAP: replay cheap ops in the backward sweep */
    tlv_conv_choice conv;       /* TLV_CONV_AUTO: what $TLV_CONV names (auto, direct, winograd) */
} tlv_ctx_opts;

/* Returns NULL only when there is no memory for the context itself.  An instruction set that is
 * asked for and absent gives a context that holds TLV_ERR_ISA, a choice of convolution that does
 * not exist TLV_ERR_ARG.  o may be NULL. */
tlv_ctx *tlv_ctx_open(const tlv_ctx_opts *o);

/* Frees everything the context owns, whatever is still open; parameter sets are closed before.
 * Accepts NULL. */
void tlv_ctx_close(tlv_ctx *c);

int tlv_threads(const tlv_ctx *c);                          /* the caller's included */
const char *tlv_isa(const tlv_ctx *c);          /* "avx512" */
/* Space-separated names of the instruction sets this CPU and this build both have; widest first. */
const char *tlv_isa_available(void);

/* ---- errors ---------------------------------------------------------------------------------- */

tlv_status tlv_error(const tlv_ctx *c);      /* the first failure since the last clear, or TLV_OK */
const char *tlv_error_msg(const tlv_ctx *c); /* one sentence: where, what came, what was expected */
const char *tlv_error_hint(const tlv_ctx *c);   /* what to do about it; "" without an error */

/* Forgets the error.  The tape is cut to the innermost scope's mark first: what was recorded since
 * the scope began has no history any more. */
void tlv_error_clear(tlv_ctx *c);

/* For callbacks and examples: puts an error into the context as the library does (printf format).
 * hint may be NULL.  Returns the context's status, which is an earlier error's if there was one. */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
tlv_status tlv_fail(tlv_ctx *c, tlv_status code, const char *hint, const char *fmt, ...);

/* ---- scopes ---------------------------------------------------------------------------------- */

typedef struct tlv_scope { int32_t depth; uint32_t serial; } tlv_scope;

enum {
    TLV_NO_GRAD = 1,            /* nothing is recorded in this scope */
    TLV_CHECKPOINT = 2,         /* forget inner buffers at the end, replay them in the sweep */
    TLV_RECORD = 4              /* recorded again, inside TLV_NO_GRAD or the gradient of an op */
};

/* Opens a scope; allocates nothing.  At most 127 may be open (then TLV_ERR_LIMIT sticks). */
tlv_scope tlv_scope_begin(tlv_ctx *c);
tlv_scope tlv_scope_begin_with(tlv_ctx *c, int flags);

/* Ends the scope, and every scope opened after it: its tensors are gone and its part of the tape is
 * cut.  Works after an error too.  Ending a scope twice is TLV_ERR_ENDED. */
void tlv_scope_end(tlv_ctx *c, tlv_scope s);

/* Ends the scope but hands t (the same pointer) to the scope around it; returns t.  A tensor that
 * lives further out already is returned as it is.  If t has history, the scope's part of the tape
 * moves outwards too, holding just the buffers that gradients will read. NULL ends plainly. */
tlv_tensor *tlv_scope_end_keep(tlv_ctx *c, tlv_scope s, tlv_tensor *t);

/* The same for n tensors in any order; NULLs among them are skipped, a tensor listed twice is kept
 * once. It cannot fail: after an error too the scope ends. */
void tlv_scope_end_keep_n(tlv_ctx *c, tlv_scope s, int n, tlv_tensor *const *t);

/* Releases everything in s but t and leaves s open: for loops over blocks.  Returns t. */
tlv_tensor *tlv_scope_roll(tlv_ctx *c, tlv_scope s, tlv_tensor *t);

/* ---- memory ---------------------------------------------------------------------------------- */

typedef enum tlv_mem_phase {
    TLV_PHASE_FORWARD = 0, TLV_PHASE_BACKWARD = 1, TLV_PHASE_STEP = 2, TLV_PHASE_COUNT = 3
} tlv_mem_phase;

/* Of a context and its children.  Peaks are exact with a limit, or without children; else they may
 * be too high by 320 KiB a thread. */
typedef struct tlv_mem_stats {
    size_t now, peak; /* bytes in use: now, and the most since the last reset */
    size_t peak_by_phase[TLV_PHASE_COUNT];  /* the most in forward code, in sweeps, in optimizers */
    size_t system;                          /* bytes taken from the system (or the hook) */
    uint64_t requests;                      /* calls to the pool so far */
    uint64_t system_calls;                  /* calls to the hook so far */
    size_t limit;                           /* 0: none */
    int64_t live_tensors;                   /* headers of this context, husks included */
    int64_t tape_nodes;
} tlv_mem_stats;

tlv_mem_stats tlv_mem_get(const tlv_ctx *c); /* now, and since the peaks were reset */
void tlv_mem_reset_peak(tlv_ctx *c);        /* peaks restart from what is in use now */
size_t tlv_mem_trim(tlv_ctx *c);            /* gives unused chunks back; returns their bytes */

/* ---- making tensors -------------------------------------------------------------------------- */

enum { TLV_WANT_GRAD = 1 };                 /* a leaf that tlv_grad may be asked about */

tlv_tensor *tlv_empty(tlv_ctx *c, tlv_dtype d, tlv_shape s); /* uninitialised: tlv_fill_ptr */
tlv_tensor *tlv_zeros(tlv_ctx *c, tlv_dtype d, tlv_shape s); /* all 0 */
tlv_tensor *tlv_full(tlv_ctx *c, tlv_dtype d, tlv_shape s, double value); /* all `value` */
tlv_tensor *tlv_scalar(tlv_ctx *c, tlv_dtype d, double value);      /* shape () */
/* start, start + step, ... up to but without stop: f32, f64, i32 or u8. */
tlv_tensor *tlv_arange(tlv_ctx *c, tlv_dtype d, double start, double stop, double step);

/* Copies row-major data.  flags: 0 or TLV_WANT_GRAD. */
tlv_tensor *tlv_from(tlv_ctx *c, tlv_shape s, const float *data, int flags);
tlv_tensor *tlv_from_data(tlv_ctx *c, tlv_dtype d, tlv_shape s, const void *data, int flags);

/* Images: copies [B,H,W,C] bytes or floats (as d says) into a [B,C,H,W] tensor whose memory is
 * channels-last, without moving a value. */
tlv_tensor *tlv_from_hwc(tlv_ctx *c, tlv_dtype d, int64_t b, int64_t h, int64_t w, int64_t ch,
                         const void *data);

/* An uninitialised [B,C,H,W] tensor in channels-last memory. */
tlv_tensor *tlv_empty_image(tlv_ctx *c, tlv_dtype d, int64_t b, int64_t ch, int64_t h, int64_t w);

/* The writable memory of a tensor from tlv_empty* that no function has read yet; after that
 * TLV_ERR_STATE.  tlv_empty is row-major, tlv_empty_image channels-last. */
void *tlv_fill_ptr(tlv_ctx *c, tlv_tensor *t);

/* A leaf with the same data that wants gradients / the same data without history. */
tlv_tensor *tlv_leaf(tlv_ctx *c, const tlv_tensor *t);
tlv_tensor *tlv_detach(tlv_ctx *c, const tlv_tensor *t);

/* A tensor of context dst with a copy of t's values (t may belong to another context, which must be
 * idle meanwhile). */
tlv_tensor *tlv_copy_from(tlv_ctx *dst, const tlv_tensor *t);

/* ---- reading tensors ------------------------------------------------------------------------- */

int tlv_ndim(const tlv_tensor *t);                          /* axes; 0: a scalar */
int64_t tlv_dim(const tlv_tensor *t, int axis);         /* axis may count from the end: -1 */
int64_t tlv_numel(const tlv_tensor *t);                     /* elements */
tlv_shape tlv_shape_of(const tlv_tensor *t);                /* all dims */
tlv_dtype tlv_dtype_of(const tlv_tensor *t);                /* the type of its elements */
int tlv_wants_grad(const tlv_tensor *t);                /* a leaf that wants one, or has history */

/* The only element of t as a double; 0 and an error if there is more than one. */
double tlv_item(tlv_ctx *c, const tlv_tensor *t);

/* Copies t row-major into dst, which has room for n elements of t's dtype; n must be numel. */
tlv_status tlv_read(tlv_ctx *c, const tlv_tensor *t, void *dst, int64_t n);

/* The raw memory: stride counts elements.  Valid while the tensor lives. */
typedef struct tlv_view {
    const void *ptr;
    tlv_dtype dtype;
    int ndim;
    int64_t shape[TLV_MAX_DIMS], stride[TLV_MAX_DIMS];
} tlv_view;
tlv_status tlv_view_of(tlv_ctx *c, const tlv_tensor *t, tlv_view *out);

/* Writes "f32[2,3,8,8] channels-last, wants grad" into buf (always terminated); returns buf. */
char *tlv_describe(const tlv_tensor *t, char *buf, size_t n);

/* ---- random numbers --------------------------------------------------------------------------- *
 * Philox4x32-10 (Salmon et al. 2011, SC'11): counter-based, so a number depends on its key and
 * place only, never on threads or on what was drawn before. */

typedef struct tlv_rng_key { uint64_t k; } tlv_rng_key;

/* The key of a named stream of this context: (seed, name).  Children have their task's seed. */
tlv_rng_key tlv_rng_stream(const tlv_ctx *c, const char *name);
tlv_rng_key tlv_rng_fold(tlv_rng_key k, uint64_t data);     /* a new key from a key and a number */

/* The i-th draw under a key. */
uint64_t tlv_rng_u64(tlv_rng_key k, uint64_t i);
double tlv_rng_uniform(tlv_rng_key k, uint64_t i);          /* [0, 1) with 53 bits */
double tlv_rng_normal(tlv_rng_key k, uint64_t i);           /* Box-Muller */
int64_t tlv_rng_below(tlv_rng_key k, uint64_t i, int64_t n);/* 0 .. n-1, without bias; n >= 1 */
/* Permutes index[n] in place (Fisher-Yates). */
void tlv_rng_shuffle(tlv_rng_key k, int64_t n, int64_t *index);

/* Element j of the result, in row-major order, is draw j. */
tlv_tensor *tlv_rand(tlv_ctx *c, tlv_dtype d, tlv_shape s, tlv_rng_key k);   /* uniform [0, 1) */
tlv_tensor *tlv_randn(tlv_ctx *c, tlv_dtype d, tlv_shape s, tlv_rng_key k);  /* normal (0, 1) */

/* ---- tasks in parallel ----------------------------------------------------------------------- */

/* Runs task 0 .. n-1, each on a child context that c owns and reuses; inside a task every loop is
 * serial.  A child's random streams depend on the task's index, its memory counts against c's
 * limit, and its tensors die when the task returns: copy results out (tlv_read, tlv_copy_from after
 * the call). A task fails by an error in its context or by returning another status than TLV_OK;
 * the failure with the lowest index becomes c's error.  All tasks run. */
typedef tlv_status (*tlv_task_fn)(tlv_ctx *child, int64_t task, void *user);
tlv_status tlv_parallel_tasks(tlv_ctx *c, int64_t n, tlv_task_fn fn, void *user);

/* ---- how a network wants its images ----------------------------------------------------------- *
 * Plain data: checkpoints and models carry it (nn), batches are made by it (data). */

typedef enum tlv_filter {
    TLV_FILTER_BILINEAR = 0,    /* the first four antialiased, as Pillow's */
    TLV_FILTER_BICUBIC = 1,
    TLV_FILTER_LANCZOS = 2,
    TLV_FILTER_BOX = 3,
    TLV_FILTER_NEAREST = 4
} tlv_filter;

typedef struct tlv_recipe {
    int size;                   /* of the network's input, square */
    int resize;                 /* the shorter side before the centre crop; 0: squash to the size,
                                   the aspect is not kept */
    tlv_filter filter;
    int bgr;                    /* 1: channels in the order blue, green, red */
    double mean[3], std[3];     /* (sample / 255 - mean) / std, channel by channel; std 0 is 1 */
} tlv_recipe;

/* "shorter side 256 bilinear, centre crop 224x224, RGB, mean .485 .456 .406, std .229 .224 .225"
 * into buf (always terminated); returns buf. */
char *tlv_recipe_text(const tlv_recipe *r, char *buf, size_t n);
/* "size=224 resize=256 filter=bilinear ...": for metadata, and back (0 if the text is no
 * recipe). */
char *tlv_recipe_write(const tlv_recipe *r, char *buf, size_t n);
int tlv_recipe_read(tlv_recipe *r, const char *text);

/* ---- files of tensors (safetensors.c) --------------------------------------------------------- *
 * Format: a little-endian length, a JSON header {name: {dtype, shape, data_offsets}, __metadata__},
 * data (huggingface/safetensors).  Files are mapped.  A header that lies (overlaps, gaps, overflow,
 * data past the end, more than 100 MB, unknown dtypes, names twice) is TLV_ERR_FORMAT with the
 * file, the tensor, the reason. */
typedef struct tlv_file tlv_file;

tlv_file *tlv_file_open(tlv_ctx *c, const char *path);      /* NULL after an error */
void tlv_file_close(tlv_file *f);                           /* accepts NULL */
int tlv_file_count(const tlv_file *f); /* tensors, in the order of their data */
const char *tlv_file_name(const tlv_file *f, int i);        /* of tensor i; lives as long as f */
tlv_dtype tlv_file_dtype(const tlv_file *f, int i);         /* of tensor i, as it is stored */
tlv_shape tlv_file_shape(const tlv_file *f, int i);         /* of tensor i */
int tlv_file_find(const tlv_file *f, const char *name);     /* index, or -1 */
int tlv_file_meta_count(const tlv_file *f);                 /* pairs in __metadata__ */
const char *tlv_file_meta_key(const tlv_file *f, int i);    /* the key of pair i */
const char *tlv_file_meta(const tlv_file *f, const char *key);      /* NULL if absent */
/* A row-major copy in the file's dtype, in the innermost scope of c. */
tlv_tensor *tlv_file_read(tlv_ctx *c, const tlv_file *f, int i);

typedef struct tlv_file_item { const char *name; const tlv_tensor *t; } tlv_file_item;
/* Writes beside path and renames, so that a file is whole or not there.  meta: key, value ... NULL;
 * may be NULL. */
tlv_status tlv_file_write(tlv_ctx *c, const char *path, int n, const tlv_file_item *items,
                          const char *const *meta);

#ifdef __cplusplus
}
#endif
#endif
