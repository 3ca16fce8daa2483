/* gemm.c -- matrix products in blocks.
 *
 * The unit of work is gemm_tile: up to mr rows by nr columns along a block of kc terms.  Rows are
 * cut into balanced panels (197 = 2 x 14 + 13 x 13, no rest), columns into panels of nr.  The ways:
 *   direct    few rows, or little work: A is read where it lies, B too where its rows are
 *             contiguous; threads take column panels.
 *   grouped   A is packed once, or read in place; threads take groups of B's panels, pack them into
 *             [kc][nr] runs that stay in their L2 cache, and pass A's panels over them.
 *   blocked   A is too large for that, or one thread has a product of a batch: for each block of k,
 *             B's panels and A's are packed, then threads take blocks of C that keep their part of
 *             A in the L2 cache while panels of B pass through L1.
 * All go through the same tile with the same cuts of k, so they give the same bits. */
#include "tensor/gemm.h"

enum {
    DIRECT_WORK = 64 * 1024,            /* multiply-adds; below that no blocking pays */
    STACK_BYTES = 16 * 1024,            /* a panel of B for the direct way */
    B_BLOCK_BYTES = 6 << 20,            /* packed B of one block of k: a part of the L3 cache */
    A_BLOCK_BYTES = 4 << 20,            /* packed A, too */
    A_TASK_BYTES = 448 << 10,           /* one task's part of A: a part of the L2 cache */
    GROUP_A_BYTES = 8 << 20,            /* packed A of the grouped way */
    GROUP_PANELS = 8,                   /* of B */
    FINISH_PANELS = 8,                  /* column panels between a tile and its epilogue */
    PACK_PANELS = 8,                    /* panels that one task packs ... */
    PACK_STEP = 16,                     /* ... in turns of so many k, to read memory in long runs */
    B_IN_PLACE_ROWS = 8,                /* row panels */
    B_IN_PLACE_K = 256
};

typedef struct plan {
    const tlvi_gemm_job *j;
    const tlvi_kset *k;
    size_t size;                        // of an element
    int nr;                             // columns of a panel
    int64_t row_panels, col_panels;
    int a_in_place, b_in_place;
    char *pa, *pb;                      // packed panels
    size_t pa_bytes, pb_bytes;
    // the block at work
    int64_t k0, kc;
    int64_t col_lo, col_hi, row_lo, row_hi;         // panels
    int64_t task_rows, task_cols, n_col_tasks;      // panels a task, tasks a row of blocks
    int64_t direct_cols;                            // direct, grouped: panels a task
    int64_t group_rows;                             // grouped: row panels a task
} plan;

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* First row of panel i: the rows are shared out so that panels differ by one at most. */
static inline int64_t panel_row(const plan *p, int64_t i)
{
    int64_t base = p->j->m / p->row_panels, extra = p->j->m % p->row_panels;
    return i * base + min64(i, extra);
}

/* Columns of panel i, and how wide it is packed: a narrow tile takes up to one vector. */
static inline int panel_cols(const plan *p, int64_t i)
{
    return (int)min64(p->nr, p->j->n - i * p->nr);
}
static inline int panel_width(const plan *p, int cols)
{
    return cols <= p->k->lanes ? p->k->lanes : cols <= p->k->nr ? p->k->nr : p->k->wide_nr;
}

static void make_plan(plan *p, tlv_ctx *c, const tlvi_gemm_job *j)
{
    *p = (plan){ .j = j, .k = tlvi_ks(c, j->dtype), .size = j->dtype == TLV_F64 ? 8 : 4 };
    p->nr = j->m <= p->k->wide_mr ? p->k->wide_nr : p->k->nr;
    p->row_panels = ceil_div(j->m, p->k->mr);
    p->col_panels = ceil_div(j->n, p->nr);
}

static const char *a_at(const plan *p, int64_t row, int64_t k0)
{
    return (const char *)p->j->a + (row * p->j->rsa + k0 * p->j->csa) * (int64_t)p->size;
}
static const char *b_at(const plan *p, int64_t k0, int64_t col)
{
    return (const char *)p->j->b + (k0 * p->j->rsb + col * p->j->csb) * (int64_t)p->size;
}
static char *c_at(const plan *p, int64_t row, int64_t col)
{
    return (char *)p->j->c + (row * p->j->ldc + col) * (int64_t)p->size;
}

/* bias, residual and activation on a part of C */
static void finish_at(const tlvi_kset *k, const tlvi_gemm_job *j, int64_t row, int64_t rows,
                      int64_t col, int64_t cols)
{
    int64_t size = j->dtype == TLV_F64 ? 8 : 4;
    char *c = (char *)j->c + (row * j->ldc + col) * size;
    if (j->bias || j->residual) {
        const char *bias = j->bias, *res = j->residual;
        if (bias) bias += col * size;
        if (res) res += (row * j->ldr + col) * size;
        k->gemm_finish((size_t)rows, (size_t)cols, c, j->ldc, bias, res, j->ldr);
    }
    if (!j->act) return;
    if (cols == j->ldc) k->unary[j->act]((size_t)(rows * cols), c, c, j->act_a, j->act_b);
    else
        for (int64_t r = 0; r < rows; r++, c += j->ldc * size)
            k->unary[j->act]((size_t)cols, c, c, j->act_a, j->act_b);
}

static void finish(const plan *p, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    finish_at(p->k, p->j, row, rows, col, cols);
}

static inline int has_finish(const tlvi_gemm_job *j) { return j->bias || j->residual || j->act; }

/* c NULL: on this thread. */
static void run_tasks(tlv_ctx *c, int64_t n, int64_t cost, tlvi_chunk_fn fn, plan *p)
{
    if (c) tlvi_parallel_for(c, n, cost, fn, p);
    else for (int64_t i = 0; i < n; i++) fn(p, i, 0);
}

/* ---- direct ---------------------------------------------------------------------------------- */

/* One column panel through all of k and all rows; pb holds a panel of B where it is not read in
 * place. */
static void direct_panel(const plan *p, int64_t panel, void *pb)
{
    const tlvi_gemm_job *j = p->j;
    int cols = panel_cols(p, panel), width = panel_width(p, cols);
    int64_t col = panel * p->nr;
    int in_place = j->csb == 1 && cols == width;

    for (int64_t k0 = 0; k0 < j->k; k0 += p->k->kc) {
        int64_t kc = min64(p->k->kc, j->k - k0), ldb = j->rsb;
        const void *b = b_at(p, k0, col);
        if (!in_place) {
            p->k->gemm_pack_b(cols, width, kc, b, j->rsb, j->csb, pb);
            b = pb;
            ldb = width;
        }
        int64_t row = 0;
        for (int64_t i = 0; i < p->row_panels; i++) {
            int64_t next = panel_row(p, i + 1);
            p->k->gemm_tile((int)(next - row), cols, kc, a_at(p, row, k0), j->rsa, j->csa, b, ldb,
                            c_at(p, row, col), j->ldc, j->accumulate || k0 > 0);
            row = next;
        }
    }
    if (has_finish(j)) finish(p, 0, j->m, col, cols);
}

static void direct_task(void *arg, int64_t task, int worker)
{
    const plan *p = arg;
    int64_t lo = task * p->direct_cols, hi = min64(lo + p->direct_cols, p->col_panels);
    char *pb = p->pb ? p->pb + (size_t)worker * p->pb_bytes : NULL;
    for (int64_t i = lo; i < hi; i++) direct_panel(p, i, pb);
}

static size_t direct_pb_bytes(const plan *p)
{
    int last = panel_cols(p, p->col_panels - 1);
    if (p->j->csb == 1 && last == panel_width(p, last)) return 0;
    int64_t kc = min64(p->j->k, p->k->kc);
    return (size_t)(kc * p->nr) * p->size;
}

/* A's rows or columns are contiguous, nobody packs, and there is little to gain from blocking. */
static int is_direct(const plan *p)
{
    const tlvi_gemm_job *j = p->j;
    if (j->pack_a || j->pack_b || (j->rsa != 1 && j->csa != 1)) return 0;
    return p->row_panels == 1 || j->m * j->n * j->k <= DIRECT_WORK;
}

/* Little work on this thread: the direct way in few instructions, for unit strides in A and a k
 * that is one block.  pb is a panel; returns 0 if that is not the case. */
static int small_gemm(const tlvi_kset *k, const tlvi_gemm_job *j, const void *a, const void *b,
                      void *c, void *pb)
{
    size_t size = j->dtype == TLV_F64 ? 8 : 4;
    int64_t rsa = j->m == 1 ? 1 : j->rsa, csa = j->k == 1 && rsa != 1 ? 1 : j->csa;
    if (j->m > 1024 || j->n > 1024 || j->k > k->kc || j->m * j->n * j->k > DIRECT_WORK
        || (rsa != 1 && csa != 1) || j->pack_a || j->pack_b)
        return 0;
    int m = (int)j->m, n = (int)j->n, nr = m <= k->wide_mr ? k->wide_nr : k->nr;
    if ((size_t)j->k * (size_t)nr * size > STACK_BYTES) return 0;

    unsigned panels = ((unsigned)m + (unsigned)k->mr - 1) / (unsigned)k->mr;
    int base = (int)((unsigned)m / panels), extra = m - base * (int)panels;
    for (int col = 0; col < n; col += nr) {
        int cols = n - col < nr ? n - col : nr;
        int width = cols <= k->lanes ? k->lanes : cols <= k->nr ? k->nr : k->wide_nr;
        const void *from = (const char *)b + col * j->csb * (int64_t)size;
        int64_t ldb = j->rsb;
        if ((j->csb != 1 && n != 1) || cols != width) {
            k->gemm_pack_b(cols, width, j->k, from, j->rsb, n == 1 ? 1 : j->csb, pb);
            from = pb;
            ldb = width;
        }
        for (int row = 0, i = 0; row < m; i++) {
            int rows = base + (i < extra);
            k->gemm_tile(rows, cols, j->k, (const char *)a + row * rsa * (int64_t)size, rsa, csa,
                         from, ldb, (char *)c + (row * j->ldc + col) * (int64_t)size, j->ldc,
                         j->accumulate);
            row += rows;
        }
    }
    if (has_finish(j)) finish_at(k, j, 0, m, 0, n);
    return 1;
}

static int small_on_stack(const tlvi_kset *k, const tlvi_gemm_job *j, const void *a, const void *b,
                          void *c)
{
    _Alignas(64) char pb[STACK_BYTES];
    return small_gemm(k, j, a, b, c, pb);
}

/* ---- blocked --------------------------------------------------------------------------------- */

/* A can be read where it lies if k is contiguous and the rows of a panel do not fall into the same
 * sets of the L1 cache (row strides of whole pages), or if it is read so few times that packing
 * costs more. */
static int reads_a_in_place(const plan *p)
{
    const tlvi_gemm_job *j = p->j;
    if (j->pack_a || (j->csa != 1 && j->rsa != 1)) return 0;
    if (p->col_panels <= 2) return 1;
    if (j->csa == 1) return (j->rsa * (int64_t)p->size) % 4096 != 0;
    return j->csa * (int64_t)p->size <= 1024;
}

/* So can B where its rows are contiguous and a panel is short and few rows of A pass over it; but
 * not a last panel that whole vectors would overrun, so that one is packed in any case. */
static int reads_b_in_place(const plan *p)
{
    return !p->j->pack_b && p->j->csb == 1 && p->row_panels <= B_IN_PLACE_ROWS
           && (p->row_panels == 1 || p->j->k <= B_IN_PLACE_K);
}

static inline int lies_in_place(const plan *p, int64_t panel)
{
    int cols = panel_cols(p, panel);
    return p->b_in_place && cols == panel_width(p, cols);
}

/* If B lies in place there is one panel to pack at most, the last. */
static inline char *packed_b(const plan *p, int64_t panel)
{
    int64_t slot = p->b_in_place ? 0 : panel - p->col_lo;
    return p->pb + (size_t)(slot * p->nr * p->kc) * p->size;
}

/* Terms [at, at + n) of the block that begins at k0, of panel i of B whose pack begins at dst. */
static void pack_b_panel(const plan *p, int64_t i, int64_t k0, int64_t at, int64_t n, char *dst)
{
    const tlvi_gemm_job *j = p->j;
    if (lies_in_place(p, i)) return;
    int64_t col = i * p->nr;
    int cols = panel_cols(p, i), width = panel_width(p, cols);
    dst += (size_t)(at * width) * p->size;
    if (j->pack_b) j->pack_b(j->pack_user, col, cols, k0 + at, n, width, dst);
    else p->k->gemm_pack_b(cols, width, n, b_at(p, k0 + at, col), j->rsb, j->csb, dst);
}

/* The same of panel i of A. */
static void pack_a_panel(const plan *p, int64_t i, int64_t k0, int64_t at, int64_t n, char *dst)
{
    const tlvi_gemm_job *j = p->j;
    int64_t row = panel_row(p, i);
    int rows = (int)(panel_row(p, i + 1) - row);
    dst += (size_t)(at * rows) * p->size;
    if (j->pack_a) j->pack_a(j->pack_user, row, rows, k0 + at, n, rows, dst);
    else p->k->gemm_pack_a(rows, n, a_at(p, row, k0 + at), j->rsa, j->csa, dst);
}

static void pack_b_panels(const plan *p, int64_t lo, int64_t hi, int64_t k_lo, int64_t kc)
{
    for (int64_t i = lo; i < hi; i++) pack_b_panel(p, i, p->k0, k_lo, kc, packed_b(p, i));
}

static void pack_a_panels(const plan *p, int64_t lo, int64_t hi, int64_t k_lo, int64_t kc)
{
    int64_t row0 = panel_row(p, p->row_lo);
    for (int64_t i = lo; i < hi; i++)
        pack_a_panel(p, i, p->k0, k_lo, kc,
                     p->pa + (size_t)((panel_row(p, i) - row0) * p->kc) * p->size);
}

/* A group of B's panels, or after those of A's.  Where neighbours in memory belong to neighbouring
 * panels the panels of a group advance along k together. */
static void pack_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const plan *p = arg;
    const tlvi_gemm_job *j = p->j;
    int64_t n_b = ceil_div(p->col_hi - p->col_lo, PACK_PANELS);
    int is_b = task < n_b;
    int64_t lo = is_b ? p->col_lo + task * PACK_PANELS : p->row_lo + (task - n_b) * PACK_PANELS;
    int64_t hi = min64(lo + PACK_PANELS, is_b ? p->col_hi : p->row_hi);
    int across = is_b ? !j->pack_b && j->csb == 1 : !j->pack_a && j->rsa == 1;
    int64_t step = across ? PACK_STEP : p->kc;
    for (int64_t k_lo = 0; k_lo < p->kc; k_lo += step) {
        int64_t kc = min64(step, p->kc - k_lo);
        if (is_b) pack_b_panels(p, lo, hi, k_lo, kc);
        else pack_a_panels(p, lo, hi, k_lo, kc);
    }
}

/* One tile of C at this block of k. */
static inline void block_tile(const plan *p, int64_t row, int64_t next, int64_t row0, const char *b,
                              int64_t ldb, int64_t col, int cols)
{
    const tlvi_gemm_job *j = p->j;
    int rows = (int)(next - row), add = j->accumulate || p->k0 > 0;
    if (p->a_in_place) {
        p->k->gemm_tile(rows, cols, p->kc, a_at(p, row, p->k0), j->rsa, j->csa, b, ldb,
                        c_at(p, row, col), j->ldc, add);
        return;
    }
    const char *a = p->pa + (size_t)((row - row0) * p->kc) * p->size;
    p->k->gemm_tile(rows, cols, p->kc, a, 1, rows, b, ldb, c_at(p, row, col), j->ldc, add);
}

/* A block of C: panels of B outside, panels of A inside. */
static void block_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const plan *p = arg;
    int64_t i_lo = p->row_lo + task / p->n_col_tasks * p->task_rows;
    int64_t j_lo = p->col_lo + task % p->n_col_tasks * p->task_cols;
    int64_t i_hi = min64(i_lo + p->task_rows, p->row_hi),
            j_hi = min64(j_lo + p->task_cols, p->col_hi);
    int64_t row0 = panel_row(p, p->row_lo), row_lo = panel_row(p, i_lo),
            row_hi = panel_row(p, i_hi);
    int last = p->k0 + p->kc == p->j->k && has_finish(p->j);

    int64_t done = j_lo;
    for (int64_t jp = j_lo; jp < j_hi; jp++) {
        int cols = panel_cols(p, jp), width = panel_width(p, cols);
        const char *b = packed_b(p, jp);
        int64_t row = row_lo, ldb = width;
        if (lies_in_place(p, jp)) {
            b = b_at(p, p->k0, jp * p->nr);
            ldb = p->j->rsb;
        }
        for (int64_t ip = i_lo; ip < i_hi; ip++) {
            int64_t next = panel_row(p, ip + 1);
            block_tile(p, row, next, row0, b, ldb, jp * p->nr, cols);
            row = next;
        }
        if (last && (jp + 1 == j_hi || jp + 1 - done == FINISH_PANELS)) {
            int64_t from = done * p->nr, to = min64((jp + 1) * p->nr, p->j->n);
            finish(p, row_lo, row_hi - row_lo, from, to - from);
            done = jp + 1;
        }
    }
}

/* ---- grouped --------------------------------------------------------------------------------- */

/* Whole columns of B, so that no thread waits for another's packing: pays while all of A, packed,
 * is a part of the L3 cache. */
static int is_grouped(const plan *p)
{
    const tlvi_gemm_job *j = p->j;
    return p->a_in_place || j->m * j->k * (int64_t)p->size <= GROUP_A_BYTES;
}

/* Packs panels lo .. hi-1 of B for the block [k0, k0+kc) into dst, kc * nr elements each. */
static void pack_group(const plan *p, int64_t lo, int64_t hi, int64_t k0, int64_t kc, char *dst)
{
    const tlvi_gemm_job *j = p->j;
    int64_t step = !j->pack_b && j->csb == 1 ? PACK_STEP : kc;
    for (int64_t at = 0; at < kc; at += step)
        for (int64_t i = lo; i < hi; i++)
            pack_b_panel(p, i, k0, at, min64(step, kc - at),
                         dst + (size_t)((i - lo) * p->nr * kc) * p->size);
}

/* Rows of one panel of A, at this block of k, times one panel of B. */
static inline void group_tile(const plan *p, int64_t row, int rows, int64_t panel, int64_t lo,
                              int64_t k0, int64_t kc, const char *packed)
{
    const tlvi_gemm_job *j = p->j;
    int cols = panel_cols(p, panel), add = j->accumulate || k0 > 0;
    int64_t col = panel * p->nr, ldb = panel_width(p, cols), rsa = 1, csa = rows;
    const char *a = p->pa, *b = packed + (size_t)((panel - lo) * p->nr * kc) * p->size;
    if (lies_in_place(p, panel)) {
        b = b_at(p, k0, col);
        ldb = j->rsb;
    }
    if (p->a_in_place) {
        a = a_at(p, row, k0);
        rsa = j->rsa;
        csa = j->csa;
    } else {
        a += (size_t)(k0 * j->m + row * kc) * p->size;
    }
    p->k->gemm_tile(rows, cols, kc, a, rsa, csa, b, ldb, c_at(p, row, col), j->ldc, add);
}

static void group_task(void *arg, int64_t task, int worker)
{
    const plan *p = arg;
    const tlvi_gemm_job *j = p->j;
    int64_t n_row_tasks = ceil_div(p->row_panels, p->group_rows);
    int64_t lo = task / n_row_tasks * p->direct_cols;
    int64_t hi = min64(lo + p->direct_cols, p->col_panels);
    int64_t i_lo = task % n_row_tasks * p->group_rows;
    int64_t i_hi = min64(i_lo + p->group_rows, p->row_panels);
    int64_t row_lo = panel_row(p, i_lo), row_hi = panel_row(p, i_hi);
    char *packed = p->pb + (size_t)worker * p->pb_bytes;
    for (int64_t k0 = 0; k0 < j->k; k0 += p->k->kc) {
        int64_t kc = min64(p->k->kc, j->k - k0);
        pack_group(p, lo, hi, k0, kc, packed);
        for (int64_t i = i_lo, row = row_lo; i < i_hi; i++) {
            int64_t next = panel_row(p, i + 1);
            for (int64_t panel = lo; panel < hi; panel++)
                group_tile(p, row, (int)(next - row), panel, lo, k0, kc, packed);
            row = next;
        }
    }
    if (has_finish(j)) {
        int64_t from = lo * p->nr, to = min64(hi * p->nr, j->n);
        finish(p, row_lo, row_hi - row_lo, from, to - from);
    }
}

/* PACK_PANELS panels of A at one block of k. */
static void group_pack_a(void *arg, int64_t task, int worker)
{
    (void)worker;
    const plan *p = arg;
    const tlvi_gemm_job *j = p->j;
    int64_t n = ceil_div(p->row_panels, PACK_PANELS);
    int64_t lo = task % n * PACK_PANELS, hi = min64(lo + PACK_PANELS, p->row_panels);
    int64_t k0 = task / n * p->k->kc, kc = min64(p->k->kc, j->k - k0);
    int64_t step = !j->pack_a && j->rsa == 1 ? PACK_STEP : kc;
    for (int64_t at = 0; at < kc; at += step)
        for (int64_t i = lo; i < hi; i++)
            pack_a_panel(p, i, k0, at, min64(step, kc - at),
                         p->pa + (size_t)(k0 * j->m + panel_row(p, i) * kc) * p->size);
}

/* Groups of panels, fewer if threads would go idle; then rows are cut, too. */
static void size_groups(plan *p, int threads)
{
    int64_t kc = min64(p->j->k, p->k->kc), want = threads > 1 ? 4 * threads : 1;
    p->direct_cols = min64(GROUP_PANELS, ceil_div(p->col_panels, want));
    int64_t tasks = ceil_div(p->col_panels, p->direct_cols);
    p->group_rows = ceil_div(p->row_panels, min64(p->row_panels, ceil_div(want, tasks)));
    p->pb_bytes = ((size_t)(p->direct_cols * p->nr * kc) * p->size + 63) & ~(size_t)63;
    p->pa_bytes = p->a_in_place ? 0 : (size_t)(p->j->m * p->j->k) * p->size;
}

static void run_groups(tlv_ctx *c, plan *p)
{
    const tlvi_gemm_job *j = p->j;
    int64_t kc = min64(j->k, p->k->kc);
    if (!p->a_in_place)
        run_tasks(c, ceil_div(p->row_panels, PACK_PANELS) * ceil_div(j->k, p->k->kc),
                  kc * p->k->mr * PACK_PANELS / 4, group_pack_a, p);
    int64_t n = ceil_div(p->col_panels, p->direct_cols) * ceil_div(p->row_panels, p->group_rows);
    run_tasks(c, n, j->m * j->n * j->k / n / 20, group_task, p);
}

/* ---- blocked, continued ---------------------------------------------------------------------- */

/* Tasks of the block at work: as many rows as fit the L2 cache, fewer if threads would go idle;
 * then columns are cut, too.  Only outputs are cut, so this may depend on the number of threads. */
static void cut_tasks(plan *p, int threads)
{
    int64_t rows = p->row_hi - p->row_lo, cols = p->col_hi - p->col_lo;
    int64_t fit = A_TASK_BYTES / ((int64_t)p->size * p->kc * p->k->mr);
    int64_t want = threads > 1 ? 4 * threads : 1;
    p->task_rows = fit < 1 ? 1 : min64(fit, rows);
    p->task_cols = cols;
    int64_t row_tasks = ceil_div(rows, p->task_rows);
    if (row_tasks < want) {
        int64_t cuts = min64(ceil_div(want, row_tasks), ceil_div(cols, 4));
        p->task_cols = ceil_div(cols, cuts < 1 ? 1 : cuts);
        row_tasks = min64(rows, ceil_div(want, ceil_div(cols, p->task_cols)));
        p->task_rows = min64(p->task_rows, ceil_div(rows, row_tasks));
    } else {
        p->task_rows = ceil_div(rows, row_tasks);           // balanced
    }
    p->n_col_tasks = ceil_div(cols, p->task_cols);
}

/* How many panels of B and A one block holds, and the bytes for them. */
static void size_blocks(plan *p, int64_t *b_panels, int64_t *a_panels)
{
    int64_t kc = min64(p->j->k, p->k->kc);
    int64_t b_panel = p->nr * kc * (int64_t)p->size, a_panel = p->k->mr * kc * (int64_t)p->size;
    p->a_in_place = reads_a_in_place(p);
    p->b_in_place = reads_b_in_place(p);
    *b_panels = p->b_in_place ? p->col_panels : min64(p->col_panels, B_BLOCK_BYTES / b_panel);
    *a_panels = p->row_panels;
    p->pb_bytes = (size_t)((p->b_in_place ? 1 : *b_panels) * b_panel + 63) & ~(size_t)63;
    if (p->a_in_place) return;
    *a_panels = min64(p->row_panels, A_BLOCK_BYTES / a_panel);
    p->pa_bytes = (size_t)(*a_panels * a_panel + 63) & ~(size_t)63;
}

static void run_blocks(tlv_ctx *c, plan *p, int threads, int64_t b_panels, int64_t a_panels)
{
    const tlvi_gemm_job *j = p->j;
    for (p->col_lo = 0; p->col_lo < p->col_panels; p->col_lo = p->col_hi) {
        for (p->k0 = 0; p->k0 < j->k; p->k0 += p->kc) {
            p->kc = min64(p->k->kc, j->k - p->k0);
            for (p->row_lo = 0; p->row_lo < p->row_panels; p->row_lo = p->row_hi) {
                p->row_hi = min64(p->row_lo + a_panels, p->row_panels);
                // B is packed with the first rows, if at all
                int has_b = p->row_lo == 0 && !lies_in_place(p, p->col_panels - 1);
                p->col_hi = has_b ? min64(p->col_lo + b_panels, p->col_panels) : p->col_lo;
                int64_t n_pack = ceil_div(p->col_hi - p->col_lo, PACK_PANELS);
                if (!p->a_in_place) n_pack += ceil_div(p->row_hi - p->row_lo, PACK_PANELS);
                if (n_pack) run_tasks(c, n_pack, p->kc * p->nr * PACK_PANELS / 4, pack_task, p);

                p->col_hi = min64(p->col_lo + b_panels, p->col_panels);
                cut_tasks(p, threads);
                int64_t n = ceil_div(p->row_hi - p->row_lo, p->task_rows) * p->n_col_tasks;
                int64_t work = p->task_rows * p->k->mr * p->task_cols * p->nr * p->kc;
                run_tasks(c, n, work / 50, block_task, p);
            }
        }
    }
}

/* ---- front ----------------------------------------------------------------------------------- */

/* Strides that no index uses become 1, so that more jobs look contiguous. */
static void tidy(tlvi_gemm_job *j)
{
    if (j->m == 1) j->rsa = 1;
    if (j->k == 1 && j->rsa != 1) j->csa = 1;
    if (j->n == 1) j->csb = 1;
    if (j->k == 1 && j->csb != 1) j->rsb = 1;
}

static void gemm_empty_k(const plan *p)
{
    const tlvi_gemm_job *j = p->j;
    if (!j->accumulate)
        for (int64_t r = 0; r < j->m; r++) p->k->fill((size_t)j->n, 0, c_at(p, r, 0));
    if (has_finish(j)) finish(p, 0, j->m, 0, j->n);
}

tlv_status tlvi_gemm(tlv_ctx *c, const tlvi_gemm_job *job)
{
    if (c->err != TLV_OK) return c->err;
    if (job->m <= 0 || job->n <= 0) return TLV_OK;
    if (job->k > 0 && small_on_stack(tlvi_ks(c, job->dtype), job, job->a, job->b, job->c))
        return TLV_OK;
    tlvi_gemm_job j = *job;
    plan p;
    tidy(&j);
    make_plan(&p, c, &j);
    if (j.k <= 0) { gemm_empty_k(&p); return TLV_OK; }

    int threads = c->is_child ? 1 : c->n_threads;
    if (is_direct(&p)) {
        size_t need = direct_pb_bytes(&p);
        int64_t work = j.m * j.n * j.k;
        p.direct_cols = ceil_div(p.col_panels, 4 * threads);
        p.pb_bytes = need;
        if (need && !(p.pb = tlvi_alloc(c, need * (size_t)threads))) return c->err;
        int64_t n = ceil_div(p.col_panels, p.direct_cols);
        tlvi_parallel_for(c, n, work / n / 10, direct_task, &p);
        if (need) tlvi_free(c, p.pb, need * (size_t)threads);
        return TLV_OK;
    }

    int64_t b_panels, a_panels;
    size_blocks(&p, &b_panels, &a_panels);
    int grouped = is_grouped(&p);
    if (grouped) size_groups(&p, threads);
    size_t pb = p.pb_bytes * (size_t)(grouped ? threads : 1);
    char *scratch = tlvi_alloc(c, pb + p.pa_bytes);
    if (!scratch) return c->err;
    p.pb = scratch;
    p.pa = scratch + pb;
    if (grouped) run_groups(c, &p);
    else run_blocks(c, &p, threads, b_panels, a_panels);
    tlvi_free(c, scratch, pb + p.pa_bytes);
    return TLV_OK;
}

/* ---- batches --------------------------------------------------------------------------------- */

typedef struct batch_job {
    tlv_ctx *c;
    tlvi_gemm_job j;
    int64_t batch, per_task, sa, sb, sc;
    int direct;
    size_t scratch_bytes;
    char *scratch;
} batch_job;

static tlvi_gemm_job batch_item(const batch_job *b, int64_t i)
{
    tlvi_gemm_job j = b->j;
    int64_t size = j.dtype == TLV_F64 ? 8 : 4;
    j.a = (const char *)j.a + i * b->sa * size;
    j.b = (const char *)j.b + i * b->sb * size;
    j.c = (char *)j.c + i * b->sc * size;
    if (j.residual) j.residual = (const char *)j.residual + i * b->sc * size;
    return j;
}

static void batch_task(void *arg, int64_t task, int worker)
{
    const batch_job *b = arg;
    int64_t lo = task * b->per_task, hi = min64(lo + b->per_task, b->batch);
    for (int64_t i = lo; i < hi; i++) {
        tlvi_gemm_job j = batch_item(b, i);
        if (j.k > 0 && small_on_stack(tlvi_ks(b->c, j.dtype), &j, j.a, j.b, j.c)) continue;
        plan p;
        make_plan(&p, b->c, &j);
        p.pb = b->scratch ? b->scratch + (size_t)worker * b->scratch_bytes : NULL;
        if (j.k <= 0) {
            gemm_empty_k(&p);
        } else if (b->direct) {
            for (int64_t panel = 0; panel < p.col_panels; panel++) direct_panel(&p, panel, p.pb);
        } else {
            int64_t b_panels, a_panels;
            size_blocks(&p, &b_panels, &a_panels);
            p.pa = p.pb + p.pb_bytes;
            run_blocks(NULL, &p, 1, b_panels, a_panels);
        }
    }
}

tlv_status tlvi_gemm_batched(tlv_ctx *c, const tlvi_gemm_job *job, int64_t batch, int64_t stride_a,
                             int64_t stride_b, int64_t stride_c)
{
    if (c->err != TLV_OK) return c->err;
    if (batch <= 0 || job->m <= 0 || job->n <= 0) return TLV_OK;
    batch_job b = {
        .c = c, .j = *job, .batch = batch, .sa = stride_a, .sb = stride_b, .sc = stride_c
    };
    if (batch == 1) return tlvi_gemm(c, job);
    tidy(&b.j);
    plan p;
    make_plan(&p, c, &b.j);
    int threads = c->is_child ? 1 : c->n_threads;
    int64_t k = b.j.k > 0 ? b.j.k : 1, work = b.j.m * b.j.n * k;
    if (b.j.k > 0) {
        int64_t b_panels, a_panels;
        b.direct = is_direct(&p);
        if (b.direct) p.pb_bytes = direct_pb_bytes(&p);
        else size_blocks(&p, &b_panels, &a_panels);
    }

    // few large products: threads inside each; many: threads over the batch
    if (batch < 2 * threads && work > (int64_t)1 << 24) {
        for (int64_t i = 0; i < batch && c->err == TLV_OK; i++) {
            tlvi_gemm_job j = batch_item(&b, i);
            tlvi_gemm(c, &j);
        }
        return c->err;
    }
    b.scratch_bytes = p.pb_bytes + p.pa_bytes;
    if (b.scratch_bytes && !(b.scratch = tlvi_alloc(c, b.scratch_bytes * (size_t)threads)))
        return c->err;
    int64_t cost = work / 30 + 50;                          // nanoseconds, and some for the call
    b.per_task = cost >= 20000 ? 1 : min64(batch, ceil_div(20000, cost));
    tlvi_parallel_for(c, ceil_div(batch, b.per_task), cost * b.per_task, batch_task, &b);
    if (b.scratch) tlvi_free(c, b.scratch, b.scratch_bytes * (size_t)threads);
    return TLV_OK;
}
