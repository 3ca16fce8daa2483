/* patterns.h -- what the drawers of patterns share: the sheet that they draw on.
 *
 * Everything is made of +, -, *, / and sqrt of floats, so that the bits are the same everywhere. */
#ifndef TLVI_PATTERNS_H
#define TLVI_PATTERNS_H

#include "data/data.h"
#include "data/dice.h"
#include "tensor/core.h"

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

/* How an object stands on the sheet: centre and half size in pixels, turn, colours. */
typedef struct tlvi_pose {
    float x, y, half;
    float turn[2];                  /* cosine and sine */
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

/* Stripes and grain: waves along directions, sharp or soft. */
typedef struct tlvi_texture {
    float dir[3][2], weight[3], waves[2], fine, stretch, sharp;
} tlvi_texture;
tlvi_texture tlvi_texture_make(tlvi_dice d);                                /* textures.c */
/* All of the sheet between the colours a and b. */
void tlvi_texture_ground(tlvi_sheet *s, const tlvi_texture *t, const float a[3], const float b[3],
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
