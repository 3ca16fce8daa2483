/* boxes.c -- the boxes around what a mask shows: connected regions, labelled in two passes with a
 * forest of joined labels (Rosenfeld & Pfaltz 1966, J. ACM 13). */
#include "data/reader.h"

static int32_t root_of(int32_t *up, int32_t k)
{
    while (up[k] != k) k = up[k] = up[up[k]];
    return k;
}

static void join(int32_t *up, int32_t a, int32_t b)
{
    a = root_of(up, a);
    b = root_of(up, b);
    if (a < b) up[b] = a;
    else up[a] = b;
}

/* Each pixel's label, joined with those of its left and upper neighbours; 0: no region.  Returns
 * how many labels there are, one for each pixel without such a neighbour. */
static int32_t label_pixels(const tlv_image *m, int32_t *label, int32_t *up)
{
    const uint8_t *px = m->samples;
    int32_t n = 0;
    up[0] = 0;
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++) {
            int64_t i = (int64_t)y * m->w + x;
            label[i] = 0;
            if (!px[i]) continue;
            for (int k = 0; k < 4; k++) {               // left; upper left, above, upper right
                int dx = k == 0 ? -1 : k - 2, dy = k == 0 ? 0 : -1;
                if (y + dy < 0 || x + dx < 0 || x + dx >= m->w) continue;
                int32_t near = label[i + (int64_t)dy * m->w + dx];
                if (!near) continue;
                if (label[i]) join(up, label[i], near);
                else label[i] = near;
            }
            if (!label[i]) {
                label[i] = ++n;
                up[n] = n;
            }
        }
    return n;
}

static void grow(tlv_box *b, int x, int y)
{
    if (x < b->x0) b->x0 = x;
    if (x >= b->x1) b->x1 = x + 1;
    if (y >= b->y1) b->y1 = y + 1;
}

/* number[root]: the place of a region's box + 1, in the order in which regions begin. */
static int64_t collect(const tlv_image *m, const int32_t *label, int32_t *up, int32_t *number,
                       int32_t labels, tlv_box *box, int64_t room)
{
    int64_t n = 0;
    memset(number, 0, ((size_t)labels + 1) * sizeof *number);
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++) {
            int32_t k = label[(int64_t)y * m->w + x];
            if (!k) continue;
            k = root_of(up, k);
            if (!number[k]) {
                number[k] = (int32_t)++n;
                if (n <= room) box[n - 1] = (tlv_box){ x, y, x + 1, y + 1 };
            } else if (number[k] <= room) grow(&box[number[k] - 1], x, y);
        }
    return n;
}

int64_t tlv_mask_boxes(tlv_ctx *c, const tlv_image *mask, tlv_box *box, int64_t room)
{
    if (c->err) return -1;
    if (!mask || !mask->samples || mask->channels != 1 || mask->depth != 8) {
        tlvi_fail(c, TLV_ERR_ARG, "pass a grey image of 8 bits", "mask_boxes: %s",
                  mask && mask->samples ? "not a grey mask" : "no mask");
        return -1;
    }
    size_t n = (size_t)mask->h * (size_t)mask->w;
    int32_t *mem = tlvi_alloc(c, 3 * (n + 1) * sizeof *mem);
    if (!mem) return -1;
    int32_t *up = mem + n + 1, labels = label_pixels(mask, mem, up);
    int64_t boxes = collect(mask, mem, up, up + n + 1, labels, box, room);
    tlvi_free(c, mem, 3 * (n + 1) * sizeof *mem);
    return boxes;
}
