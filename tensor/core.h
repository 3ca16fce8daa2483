/* core.h -- what the folders of the library share and users do not see.
 *
 * Reading order: buffers and tensors, scopes, the tape's storage, the context, then the helpers
 * that every op uses.  The life of a buffer: a header holds one reference, a node of the tape one
 * for each buffer that its gradient reads; the pool takes it back when both are gone. */
#ifndef TLVI_CORE_H
#define TLVI_CORE_H

#include <stdarg.h>
#include <string.h>

#include "tensor/tensor.h"
#include "tensor/kernels/kernels.h"
#include "tensor/pool.h"
#include "tensor/threads.h"

#ifndef TLVI_DEBUG
#define TLVI_DEBUG 0
#endif

#if defined(__GNUC__)
#define TLVI_PRINTF(a, b) __attribute__((format(printf, a, b)))
#define TLVI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TLVI_UNUSED __attribute__((unused))
#else
#define TLVI_PRINTF(a, b)
#define TLVI_UNLIKELY(x) (x)
#define TLVI_UNUSED
#endif

/* ---- buffers and tensors --------------------------------------------------------------------- */

enum { TLVI_BUF_FOREIGN = 1 };      /* memory of another context or of the user: never freed here */

typedef struct tlvi_buf {
    void *ptr;
    size_t bytes;
    int32_t refs;
    uint32_t version;               /* counts writes after creation; nodes remember what they saw */
    uint32_t flags;
} tlvi_buf;

enum {
    TLVI_T_WANT = TLV_WANT_GRAD, /* a leaf that wants a gradient */
    TLVI_T_HUSK = 2,             /* shape and place in the graph, but no data */
    TLVI_T_FRESH = 4,            /* from tlv_empty, not read yet: writable */
    TLVI_T_OWNED = 8,            /* belongs to a parameter set, not to a scope */
    TLVI_T_TOKEN = 16,           /* on_end runs when the header is freed */
    TLVI_T_PIN = 32              /* a tap: moves outwards with its scopes, as far as scope `pin` */
};

/* What every op touches comes first: headers lie in cache lines of their own. */
struct tlv_tensor {
    tlv_ctx *ctx;                   /* NULL: ended */
    tlvi_buf *buf;                  /* NULL: husk */
    int64_t offset;                 /* elements */
    uint8_t dtype, ndim, flags, out;/* out: which output of its node */
    int32_t node;                   /* index in the tape, -1 without history */
    int32_t depth;                  /* scope that owns the header; -1: a parameter set */
    int32_t mark;                   /* tlv_grad: index of the target + 1 */
    int32_t grefs;                  /* tlv_grad: places that hold this tensor as a gradient */
    int32_t uses;                   /* replay: times that a segment still takes it as input */
    tlv_tensor *prev, *next;        /* in the scope's list (or the free list) */
    int64_t shape[TLV_MAX_DIMS], stride[TLV_MAX_DIMS];
    const char *name;               /* of a parameter, for error sentences; or NULL */
    int32_t pin;                    /* with TLVI_T_PIN */
    void (*on_end)(void *);         /* with TLVI_T_TOKEN */
    void *on_end_arg;
};

/* ---- the tape's storage (what it means is autograd's) ---------------------------------------- */

typedef struct tlvi_slot {
    tlv_tensor *t;                  /* NULL for an absent optional input */
    tlvi_buf *buf;                  /* the node's own reference, NULL where nothing reads it */
    uint32_t version;
    uint16_t reads;                 /* nonzero: some wanted gradient reads this slot */
    uint16_t replay;                /* nonzero: not held; the cheap node that made t is run again */
} tlvi_slot;

enum {
    TLVI_NODE_CONSUMED = 1,
    TLVI_NODE_HOLDS = 2             /* some slot may hold a buffer; without it none does */
};

/* slot[] holds n_in inputs, then n_out outputs, then n_aux saved values without history. */
typedef struct tlvi_node {
    uint16_t op;
    uint8_t n_out, n_aux;
    int32_t n_in;
    tlvi_slot *slot;
    void *attr;                     /* the op's own struct, NULL if it has none */
    uint32_t chunk, used;           /* the arena's fill before this node */
    uint32_t flags;
    int32_t segment;                /* first node of its checkpointed segment, or -1 */
    /* only in the copy that a vjp sees: */
    uint64_t want; /* bit i: input i leads to a target; bit 63 speaks for the rest */
    const tlv_tensor *g1;           /* gradient of the second output, or NULL */
} tlvi_node;

enum { TLVI_NODES_PER_CHUNK = 1024, TLVI_SCOPES = 128, TLVI_SEGMENTS_STEP = 64 };

typedef struct tlvi_segment { int32_t begin, end; } tlvi_segment;   /* nodes [begin, end) */

typedef struct tlvi_tape {
    tlvi_node **chunk;              /* directory of blocks of TLVI_NODES_PER_CHUNK nodes */
    int32_t n_chunks, cap_chunks;
    int32_t len;                    /* nodes */
    struct { char *ptr; size_t size; } *arena;      /* slots and attrs */
    uint32_t n_arena, cap_arena;
    uint32_t cur, used;             /* the arena's fill */
    tlvi_segment *seg;
    int32_t n_seg, cap_seg;
} tlvi_tape;

typedef struct tlvi_scope {
    tlv_tensor *first, *last;       /* headers, oldest first */
    int32_t mark;                   /* length of the tape at the beginning */
    uint32_t serial;
    uint8_t flags, recording, saving;   /* the last two: as they were before this scope */
} tlvi_scope;

/* What an op's exec delivers beside its output, while the tape is replayed. */
typedef struct tlvi_replay {
    int op;
    tlv_tensor *out[2];
    const tlv_tensor *aux[4];
} tlvi_replay;

/* ---- the context ----------------------------------------------------------------------------- */

struct tlvi_op_reads;               /* autograd's parsed table of declared reads */

struct tlv_ctx {
    tlv_status err;
    uint8_t recording;              /* ops put nodes on the tape */
    uint8_t saving;                 /* inside TLV_CHECKPOINT: nodes hold all their inputs */
    uint8_t is_child;
    uint8_t poison;                 /* tests: hide undeclared reads, as debug builds do */
    int32_t depth;                  /* open scopes - 1; scope 0 is the context's own */
    uint32_t serial;
    const tlvi_kernels *k;
    tlv_tensor *free_headers;
    const tlv_tensor *in_hand[4];   /* inputs of the op at work, for error sentences */
    tlvi_scope scope[TLVI_SCOPES];
    tlvi_tape tape;
    tlvi_pool *pool;
    tlvi_team *team;                /* NULL until the first parallel loop needs it */
    int n_threads;
    int split_small;                /* tests: loops go to the team however little there is to do */
    const struct tlvi_op_reads *reads;  /* set by the first recording */
    size_t reads_bytes;
    tlvi_replay *replay;            /* set while a node is replayed */
    const struct tlvi_sweep *sweep; /* the innermost tlv_grad at work, or NULL */
    void **slabs;                   /* blocks of headers and buffers */
    int32_t n_slabs, cap_slabs;
    tlvi_buf *free_bufs;            /* linked through ptr */
    int64_t live_tensors;
    int64_t pins;                   /* headers with TLVI_T_PIN */
    tlv_rng_key rng;
    tlv_ctx *root;                  /* the context itself, or a child's parent */
    tlv_ctx **child;                /* reused by tlv_parallel_tasks */
    int n_child;
#ifdef TLVI_MUTANTS
    struct {                        /* autograd/grad.c, mutate */
        int kind, op, input, recording, fired, in_vjp;
        uint32_t delivered[2];      /* inputs of op that got a gradient, by path */
    } mutant;
#endif
    tlv_ctx_opts opts;
    char msg[512], hint[512];
};

/* ---- errors (error.c) ------------------------------------------------------------------------ */

/* Puts an error into the context if it has none; appends the names of parameters in hand. hint NULL
 * takes the code's usual hint.  Always returns the status in the context. */
tlv_status tlvi_fail(tlv_ctx *c, tlv_status code, const char *hint, const char *fmt, ...)
    TLVI_PRINTF(4, 5);
tlv_status tlvi_failv(tlv_ctx *c, tlv_status code, const char *hint, const char *fmt, va_list ap);

#define TLVI_REQUIRE(c, cond, code, hint, ...)                                                     \
    do {                                                                                           \
        if (TLVI_UNLIKELY(!(cond))) { tlvi_fail((c), (code), (hint), __VA_ARGS__); return NULL; }  \
    } while (0)
#define TLVI_CHECK(c, cond, code, hint, ...)                                                       \
    do {                                                                                           \
        if (TLVI_UNLIKELY(!(cond))) return tlvi_fail((c), (code), (hint), __VA_ARGS__);            \
    } while (0)

/* ---- shapes (shape.c) ------------------------------------------------------------------------ */

typedef struct tlvi_text { char s[160]; } tlvi_text;
tlvi_text tlvi_shape_str(const tlv_tensor *t);          /* "[2,3,8,8]" */
tlvi_text tlvi_shape_text(tlv_shape s);

int tlvi_mul_ok(int64_t a, int64_t b, int64_t *out);    /* a*b for a, b >= 0 without overflow */
int64_t tlvi_shape_numel(tlv_shape s);                  /* -1 on a negative dim or overflow */
int tlvi_broadcast(tlv_shape *io, tlv_shape b);         /* NumPy's rule; 0 if they do not fit */
int tlvi_axis(int axis, int ndim);                      /* 0..ndim-1, or -1 if out of range */

static inline int64_t tlvi_numel(const tlv_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= t->shape[i];
    return n;
}

static inline int tlvi_same_shape(const tlv_tensor *a, const tlv_tensor *b)
{
    if (a->ndim != b->ndim) return 0;
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i]) return 0;
    return 1;
}

/* A leaf that wants a gradient, or something with history; t may be NULL. */
static inline int tlvi_wants_grad(const tlv_tensor *t)
{
    return t && (t->node >= 0 || (t->flags & TLVI_T_WANT));
}

/* Dense in row-major order / dense in channels-last order (4-d only).  Size-1 dims do not count. */
static inline int tlvi_is_row_major(const tlv_tensor *t)
{
    int64_t want = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] == 1) continue;
        if (t->shape[i] == 0) return 1;
        if (t->stride[i] != want) return 0;
        want *= t->shape[i];
    }
    return 1;
}
int tlvi_is_channels_last(const tlv_tensor *t);
int tlvi_is_dense(const tlv_tensor *t);                 /* dense in some order of its dims */
void tlvi_strides_row_major(tlv_tensor *t);
void tlvi_strides_channels_last(tlv_tensor *t);

/* ---- headers, buffers (header.c) ------------------------------------------------------------- */

/* A tensor of the innermost scope with its own uninitialised buffer. */
tlv_tensor *tlvi_new(tlv_ctx *c, tlv_dtype d, tlv_shape s);                 /* row-major */
tlv_tensor *tlvi_new_image(tlv_ctx *c, tlv_dtype d, tlv_shape s);           /* channels-last, 4-d */
/* The same for the shape and the memory order of `like`; row-major if that is not dense. */
tlv_tensor *tlvi_new_like(tlv_ctx *c, tlv_dtype d, const tlv_tensor *like);
/* Shape s and the memory order of `like`, which has as many dims and is dense; else row-major. */
tlv_tensor *tlvi_new_ordered(tlv_ctx *c, tlv_dtype d, tlv_shape s, const tlv_tensor *like);
/* A header that shares t's buffer; the caller sets shape, stride, offset. */
tlv_tensor *tlvi_new_view(tlv_ctx *c, const tlv_tensor *t);
/* A header over foreign memory (row-major). */
tlv_tensor *tlvi_new_foreign(tlv_ctx *c, tlv_dtype d, tlv_shape s, void *ptr);
/* A tensor outside every scope, for parameter sets; free with tlvi_owned_free. */
tlv_tensor *tlvi_new_owned(tlv_ctx *c, tlv_dtype d, tlv_shape s);
void tlvi_owned_free(tlv_tensor *t);

/* Keeps t, wherever it lives now, until scope `depth` ends: scopes inside hand it outwards. */
void tlvi_pin(tlv_tensor *t, int32_t depth);

/* fn(arg) runs when t's header is freed, whichever way. */
void tlvi_on_end(tlv_tensor *t, void (*fn)(void *arg), void *arg);

/* Ends one header of a scope before its scope does (a husk if the tape may refer to it). */
void tlvi_release(tlv_ctx *c, tlv_tensor *t);

void tlvi_buf_unref(tlv_ctx *c, tlvi_buf *b);

static inline void *tlvi_ptr(const tlv_tensor *t)
{
    static const uint8_t size[TLV_DTYPE_COUNT] = { 4, 8, 4, 1, 8, 2, 2 };
    return (char *)t->buf->ptr + t->offset * size[t->dtype];
}
static inline float *tlvi_f32(const tlv_tensor *t) { return (float *)t->buf->ptr + t->offset; }
static inline int32_t *tlvi_i32(const tlv_tensor *t) { return (int32_t *)t->buf->ptr + t->offset; }

/* The kernels for a floating dtype. */
static inline const tlvi_kset *tlvi_ks(const tlv_ctx *c, int dtype)
{
    return dtype == TLV_F64 ? c->k->f64 : c->k->f32;
}

/* ---- an op's front (front.c) ----------------------------------------------------------------- */

/* True if no error is pending and every input is alive, of this context and readable.  Anything
 * else sticks: "matmul: input 1 has ended ...".  Inputs are remembered for error sentences. */
int tlvi_ready_slow(tlv_ctx *c, const char *op, int n, const tlv_tensor *const *in);

static inline int tlvi_alive(tlv_ctx *c, const tlv_tensor *t)
{
    return t && t->ctx == c && t->buf;
}
static inline int tlvi_ready1(tlv_ctx *c, const char *op, const tlv_tensor *a)
{
    if (c->err == TLV_OK && tlvi_alive(c, a) && !(a->flags & TLVI_T_FRESH)) {
        c->in_hand[0] = a;
        c->in_hand[1] = NULL;
        return 1;
    }
    return tlvi_ready_slow(c, op, 1, &a);
}
static inline int tlvi_ready2(tlv_ctx *c, const char *op, const tlv_tensor *a, const tlv_tensor *b)
{
    if (c->err == TLV_OK && tlvi_alive(c, a) && tlvi_alive(c, b)
        && !((a->flags | b->flags) & TLVI_T_FRESH)) {
        c->in_hand[0] = a;
        c->in_hand[1] = b;
        c->in_hand[2] = NULL;
        return 1;
    }
    const tlv_tensor *in[2] = { a, b };
    return tlvi_ready_slow(c, op, 2, in);
}
/* The same for shapes only: husks are allowed. */
int tlvi_ready_shape(tlv_ctx *c, const char *op, const tlv_tensor *t);

/* Both of one floating dtype (f32 or f64), or the error sticks. */
int tlvi_same_float(tlv_ctx *c, const char *op, const tlv_tensor *a, const tlv_tensor *b);
int tlvi_is_float(tlv_ctx *c, const char *op, const tlv_tensor *a);
int tlvi_is_dtype(tlv_ctx *c, const char *op, const char *what, const tlv_tensor *a, tlv_dtype d);

/* ---- loops over strided tensors (map.c) ------------------------------------------------------ */

/* y[i] = fn(x0[i], x1[i], ...) over out's shape: inputs broadcast, any strides; runs of any length
 * reach fn as contiguous memory (strided operands go through a small block).  Cut over threads. */
typedef void (*tlvi_map_fn)(const void *arg, size_t n, const void *const *in, void *out);
void tlvi_map(tlv_ctx *c, tlvi_map_fn fn, const void *arg, int n_in, const tlv_tensor *const *in,
              tlv_tensor *out);

/* Copies any strides to any strides, same shape and dtype. */
void tlvi_copy_strided(tlv_ctx *c, const tlv_tensor *from, tlv_tensor *to);

/* t itself if it is dense row-major (channels-last), else a copy without history. */
const tlv_tensor *tlvi_row_major(tlv_ctx *c, const tlv_tensor *t);
const tlv_tensor *tlvi_channels_last(tlv_ctx *c, const tlv_tensor *t);

/* ---- tape storage, scopes (tape.c, scope.c) -------------------------------------------------- */

static inline tlvi_node *tlvi_node_at(const tlv_ctx *c, int32_t k)
{
    return &c->tape.chunk[k / TLVI_NODES_PER_CHUNK][k % TLVI_NODES_PER_CHUNK];
}
/* Appends a node with room for slots and attrs; NULL and TLV_ERR_NOMEM on failure. */
tlvi_node *tlvi_tape_push(tlv_ctx *c, int n_slots, size_t attr_bytes);
void tlvi_tape_cut(tlv_ctx *c, int32_t len);            /* drops nodes len.. and their references */
void tlvi_tape_free(tlv_ctx *c);
void tlvi_node_drop(tlv_ctx *c, tlvi_node *n);          /* drops a node's references to buffers */
tlv_status tlvi_segment_close(tlv_ctx *c, int32_t begin, int32_t end);
void tlvi_segment_drop(tlv_ctx *c, int32_t begin, int32_t end);
const tlvi_segment *tlvi_segment_of(const tlv_ctx *c, int32_t node);

void tlvi_scopes_close(tlv_ctx *c);
/* tlv_scope_roll for n tensors. */
void tlvi_scope_roll_n(tlv_ctx *c, tlv_scope s, int n, tlv_tensor *const *t);
tlv_ctx *tlvi_child_open(tlv_ctx *parent);             /* ctx.c; closed by tlv_ctx_close */
void tlvi_header_unlink(tlv_ctx *c, tlv_tensor *t);
void tlvi_header_link(tlv_ctx *c, tlv_tensor *t, int32_t depth);
void tlvi_header_free(tlv_ctx *c, tlv_tensor *t);
tlv_tensor *tlvi_header_new(tlv_ctx *c);
tlvi_buf *tlvi_buf_new(tlv_ctx *c, size_t bytes);

/* ---- memory in the context's pool ------------------------------------------------------------ */

/* Uninitialised, 64-byte aligned; NULL with TLV_ERR_NOMEM in the context.  Freed with its size. */
void *tlvi_alloc(tlv_ctx *c, size_t bytes);
void tlvi_free(tlv_ctx *c, void *p, size_t bytes);

tlv_mem_phase tlvi_phase(tlv_ctx *c, tlv_mem_phase p);  /* returns the phase before */

#endif
