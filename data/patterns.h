/* patterns.h -- what the drawers of patterns share: a stream of small random numbers, and the sheet
 * that they draw on.
 *
 * Everything is made of +, -, *, / and sqrt of floats, so that the bits are the same everywhere. */
#ifndef TLVI_PATTERNS_H
#define TLVI_PATTERNS_H

#include <math.h>

#include "data/data.h"
#include "tensor/core.h"

/* ---- dice: splitmix64 (Steele, Lea, Flood 2014, OOPSLA), some thousand numbers an image ------ */

typedef struct tlvi_dice { uint64_t s; } tlvi_dice;

static inline uint64_t tlvi_dice_u64(tlvi_dice *d)
{
    uint64_t z = (d->s += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
/* [0, 1) in steps of 2^-24, exact in a float */
static inline float tlvi_dice_unit(tlvi_dice *d)
{
    return (float)(int32_t)(tlvi_dice_u64(d) >> 40) * 0x1p-24f;
}
static inline float tlvi_dice_in(tlvi_dice *d, float lo, float hi)
{
    return lo + (hi - lo) * tlvi_dice_unit(d);
}
static inline int tlvi_dice_below(tlvi_dice *d, int n)              /* 0 .. n-1 */
{
    return (int)(((tlvi_dice_u64(d) >> 32) * (uint64_t)n) >> 32);
}
/* A direction: a point of the unit circle, without sines. */
static inline void tlvi_dice_turn(tlvi_dice *d, float out[2])
{
    float x, y, r;
    do {
        x = tlvi_dice_in(d, -1, 1);
        y = tlvi_dice_in(d, -1, 1);
        r = x * x + y * y;
    } while (r > 1 || r < 0.01f);
    r = sqrtf(r);
    out[0] = x / r;
    out[1] = y / r;
}

/* ---- the sheet ------------------------------------------------------------------------------- */

enum { TLVI_GROUND = 0, TLVI_MOST_OBJECTS = 16, TLVI_POINTS = 6000 };

typedef struct tlvi_point { float x, y; } tlvi_point;

typedef struct tlvi_sheet {
    int side;
    float *rgb;                     /* [side,side,3], 0 .. 255 */
    uint8_t *owner;                 /* [side,side] the object on top, from 1; TLVI_GROUND */
    int owned[TLVI_MOST_OBJECTS + 1];   /* pixels of each */
    float *cover;                   /* [side,side] of the object at work, 0 .. 1, */
    uint8_t *shade;                 /* [side,side] and which of its colours */
    tlvi_point *point;              /* [TLVI_POINTS] */
    uint8_t *tag;                   /* [TLVI_POINTS] a point's colour */
} tlvi_sheet;

static inline void tlvi_sheet_own(tlvi_sheet *s, int pixel, int number)
{
    s->owned[s->owner[pixel]]--;
    s->owned[number]++;
    s->owner[pixel] = (uint8_t)number;
}

/* How an object stands on the sheet: centre and half size in pixels, turn and mirror, colours. */
typedef struct tlvi_pose {
    float x, y, half;
    float turn[2];                  /* cosine and sine */
    int mirror;
    float color[3][3];
} tlvi_pose;

/* ---- drawers --------------------------------------------------------------------------------- *
 * Each lays one object on the sheet: its cover blended in, its number where it covers. */

enum { TLVI_MOST_MAPS = 4 };
/* An iterated function system: x -> a x + b by one of n maps. */
typedef struct tlvi_fractal {
    int n;
    float a[TLVI_MOST_MAPS][4], b[TLVI_MOST_MAPS][2];
    float upto[TLVI_MOST_MAPS];     /* sums of their probabilities */
} tlvi_fractal;
tlvi_fractal tlvi_fractal_make(tlvi_dice d);                                /* fractals.c */
void tlvi_fractal_draw(tlvi_sheet *s, const tlvi_fractal *f, const tlvi_pose *p, int number,
                       tlvi_dice *d);

/* A closed line around a centre, r = 1 + sum of two sines, several times at shrinking sizes. */
typedef struct tlvi_contour { int wave[2], rings; float height[2], oval, gap; } tlvi_contour;
tlvi_contour tlvi_contour_make(tlvi_dice d);                                /* contours.c */
void tlvi_contour_draw(tlvi_sheet *s, const tlvi_contour *k, const tlvi_pose *p, int number,
                       tlvi_dice *d);

/* The ground under all: plain, a slope, soft noise, dead leaves; and leaves on top of objects. */
void tlvi_leaves_ground(tlvi_sheet *s, tlvi_dice *d);                       /* leaves.c */
void tlvi_leaves_over(tlvi_sheet *s, int n, tlvi_dice *d);

/* Blends s->cover in the colours of s->shade, inside of a box, into the picture; pixels that are
 * covered belong to `number`. */
typedef struct tlvi_box4 { int x0, y0, x1, y1; } tlvi_box4;                 /* x1, y1: behind */
tlvi_box4 tlvi_box_around(const tlvi_sheet *s, const tlvi_pose *p, float more);
void tlvi_sheet_clear(tlvi_sheet *s, tlvi_box4 b);
void tlvi_sheet_blend(tlvi_sheet *s, tlvi_box4 b, const float color[3][3], int number);

#endif
