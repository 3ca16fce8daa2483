/* test_episodes.c -- splits of classes, and the tasks that are drawn from them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/autograd.h"
#include "data/data.h"
#include "tests/support.h"

enum { SIDE = 6, CLASSES = 9, PER_CLASS = 5, PIXELS = SIDE * SIDE };

/* ---- a set whose pixels say what they are ---------------------------------------------------- */

/* Image i of class k: pixel 0 is 10 k + i, so no two are alike; the rest is a gradient. */
static uint8_t pixel(int k, int i, int at)
{
    return (uint8_t)(at == 0 ? 10 * k + i : at == 1 ? 200 : 100 + at);
}

static tlv_dataset *marked_set(tlv_ctx *c)
{
    char path[1024], what[1100];
    uint8_t head[20] = { 0, 0, 8, 4, 0, 0, 0, CLASSES, 0, 0, 0, PER_CLASS,
                         0, 0, 0, SIDE, 0, 0, 0, SIDE };
    if (!test_temp_path(path, sizeof path, "marked-idx4-ubyte")) return NULL;
    FILE *f = fopen(path, "wb");
    if (!EXPECT(f, "cannot write %s", path)) return NULL;
    fwrite(head, 1, sizeof head, f);
    for (int k = 0; k < CLASSES; k++)
        for (int i = 0; i < PER_CLASS; i++)
            for (int p = 0; p < PIXELS; p++) fputc(pixel(k, i, p), f);
    fclose(f);
    snprintf(what, sizeof what, "idx:%s", path);
    return tlv_dataset_open(c, what, NULL);
}

static const tlv_episodes_opts GREY = { .recipe = { .size = SIDE }, .channels = 1 };

static tlv_rng_key key_of(uint64_t k) { return tlv_rng_fold((tlv_rng_key){ 7 }, k); }

/* Bytes again, [n][PIXELS]. */
static int bytes_of(tlv_ctx *c, const tlv_tensor *x, uint8_t *out)
{
    double v[60 * PIXELS];
    int64_t n = tlv_numel(x);
    if (!EXPECT(n <= 60 * PIXELS, "too many") || !support_read(c, x, v, n)) return 0;
    for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)(v[i] * 255 + 0.5);
    return 1;
}

/* Undoes `turns` quarters (counter-clockwise) of an image. */
static void turn_back(const uint8_t *in, int turns, uint8_t *out)
{
    memcpy(out, in, PIXELS);
    for (int t = 0; t < turns; t++) {
        uint8_t old[PIXELS];
        memcpy(old, out, PIXELS);
        for (int y = 0; y < SIDE; y++)                  // clockwise
            for (int x = 0; x < SIDE; x++) out[y * SIDE + x] = old[(SIDE - 1 - x) * SIDE + y];
    }
}

/* Which image it is, as 100 turns + 10 class + i; -1: none of the set's. */
static int which(const uint8_t *px)
{
    for (int t = 0; t < 4; t++) {
        uint8_t up[PIXELS];
        turn_back(px, t, up);
        int k = up[0] / 10, i = up[0] % 10, same = k < CLASSES && i < PER_CLASS;
        for (int p = 0; same && p < PIXELS; p++) same = up[p] == pixel(k, i, p);
        if (same) return 100 * t + up[0];
    }
    return -1;
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Draws an episode and checks all that it promises; which images it holds go to id. */
static void check_episode(tlv_ctx *c, const tlv_episodes *e, tlv_turns turns, uint64_t k, int *id)
{
    enum { WAYS = 4, SHOTS = 2, QUERIES = 1 };
    uint8_t px[60 * PIXELS];
    int at = 0, seen[WAYS * (SHOTS + QUERIES)];
    tlv_scope s = tlv_scope_begin(c);
    tlv_episode p = tlv_episode_draw(c, e, WAYS, SHOTS, QUERIES, key_of(k));
    if (!EXPECT_OK(c)) return;
    for (int part = 0; part < 2; part++) {
        int each = part == TLV_SUPPORT ? SHOTS : QUERIES;
        EXPECT_SHAPE(p.x[part], WAYS * each, 1, SIDE, SIDE);
        double y[WAYS * SHOTS];
        if (!bytes_of(c, p.x[part], px)
            || !support_read(c, tlv_cast(c, p.y[part], TLV_F64), y, WAYS * each))
            return;
        for (int i = 0; i < WAYS * each; i++) {
            EXPECT_INT(y[i], i / each);
            seen[at] = which(px + i * PIXELS);
            EXPECT(seen[at] >= 0, "an image that is not of the set");
            if (turns == TLV_TURNS_NONE) EXPECT(seen[at] < 100, "turned by %d", seen[at] / 100);
            id[part * WAYS * SHOTS + i] = seen[at++];
        }
    }
    for (int i = 0; i < at; i++)
        for (int j = 0; j < i; j++) {
            int wi = i < WAYS * SHOTS ? i / SHOTS : i - WAYS * SHOTS;
            int wj = j < WAYS * SHOTS ? j / SHOTS : j - WAYS * SHOTS;
            EXPECT(seen[i] != seen[j], "image %d twice", seen[i]);
            if (wi == wj) EXPECT(seen[i] / 10 == seen[j] / 10, "two classes or turns in a way");
            else if (turns != TLV_TURNS_CLASSES)
                EXPECT(seen[i] % 100 / 10 != seen[j] % 100 / 10, "a class stands for two ways");
            else EXPECT(seen[i] / 10 != seen[j] / 10, "a turn of a class stands for two ways");
        }
    tlv_scope_end(c, s);
}

static void check_turns(tlv_turns turns)
{
    enum { DRAWS = 300, IMAGES = 12 };
    tlv_ctx *c = support_open();
    tlv_dataset *d = marked_set(c);
    tlv_episodes_opts o = GREY;
    o.turns = turns;
    tlv_episodes *e = tlv_episodes_open(c, d, NULL, 0, o);
    REQUIRE(e, "%s", tlv_error_msg(c));
    tlv_dataset_close(d);                               // no longer needed
    EXPECT_INT(tlv_episodes_classes(e), CLASSES * (turns == TLV_TURNS_CLASSES ? 4 : 1));
    EXPECT_INT(tlv_episodes_per_class(e), PER_CLASS);

    int count[400] = { 0 }, turned[4] = { 0 }, id[IMAGES];
    for (uint64_t k = 0; k < DRAWS; k++) {
        check_episode(c, e, turns, k, id);
        for (int i = 0; i < IMAGES; i++) {
            if (id[i] < 0) continue;
            count[id[i] % 100]++;
            turned[id[i] / 100]++;
        }
    }
    // Uniform over 45 images: chi-square with 44 degrees of freedom is below 87 but once in 10,000.
    double chi = 0, want = (double)DRAWS * IMAGES / (CLASSES * PER_CLASS);
    for (int k = 0; k < CLASSES; k++)
        for (int i = 0; i < PER_CLASS; i++) {
            double off = count[10 * k + i] - want;
            chi += off * off / want;
        }
    EXPECT(chi < 87, "images are drawn unevenly: chi-square %.1f", chi);
    for (int t = 0; turns != TLV_TURNS_NONE && t < 4; t++)
        EXPECT(turned[t] > DRAWS * IMAGES / 5 && turned[t] < DRAWS * IMAGES / 3,
               "%d of %d images are turned by %d quarters", turned[t], DRAWS * IMAGES, t);
    tlv_episodes_close(e);
    tlv_ctx_close(c);
}

static void test_draws(void) { check_turns(TLV_TURNS_NONE); }
static void test_turned_in_an_episode(void) { check_turns(TLV_TURNS_EPISODE); }
static void test_turned_classes(void) { check_turns(TLV_TURNS_CLASSES); }

/* Tasks of one context, whatever its threads, draw what the parent would draw. */
typedef struct draws { const tlv_episodes *e; float *x; } draws;

enum { TASKS = 8, NUMBERS = 3 * PIXELS };

static tlv_status draw_task(tlv_ctx *child, int64_t task, void *user)
{
    const draws *j = user;
    tlv_episode p = tlv_episode_draw(child, j->e, 3, 1, 0, key_of((uint64_t)task));
    if (p.x[TLV_QUERY] || p.y[TLV_QUERY]) return TLV_ERR_USER;
    return tlv_read(child, p.x[TLV_SUPPORT], j->x + task * NUMBERS, NUMBERS);
}

static void test_depends_on_the_key_alone(void)
{
    static float got[3][TASKS * NUMBERS];
    for (int threads = 1; threads <= 2; threads++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .seed = (uint64_t)threads });
        tlv_dataset *d = marked_set(c);
        tlv_episodes *e = tlv_episodes_open(c, d, NULL, 0, GREY);
        draws j = { e, got[threads] };
        EXPECT_STATUS(tlv_parallel_tasks(c, TASKS, draw_task, &j), TLV_OK);
        if (threads == 1)
            for (int t = 0; t < TASKS; t++) {
                j.x = got[0];
                EXPECT_STATUS(draw_task(c, t, &j), TLV_OK);
            }
        tlv_episodes_close(e);
        tlv_dataset_close(d);
        tlv_ctx_close(c);
    }
    EXPECT(memcmp(got[1], got[2], sizeof got[1]) == 0, "2 threads draw something else");
    EXPECT(memcmp(got[0], got[1], sizeof got[1]) == 0, "the parent draws something else");
    EXPECT(memcmp(got[0], got[0] + NUMBERS, NUMBERS * sizeof(float)) != 0, "keys do not matter");
}

static void test_normalised(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = marked_set(c);
    tlv_episodes_opts o = GREY;
    o.recipe.mean[0] = 0.25;
    o.recipe.std[0] = 0.5;
    tlv_episodes *plain = tlv_episodes_open(c, d, NULL, 0, GREY),
                 *e = tlv_episodes_open(c, d, NULL, 0, o);
    tlv_episode a = tlv_episode_draw(c, plain, 2, 1, 0, key_of(1)),
                b = tlv_episode_draw(c, e, 2, 1, 0, key_of(1));
    double x[2 * PIXELS], y[2 * PIXELS];
    REQUIRE(support_read(c, a.x[0], x, 2 * PIXELS) && support_read(c, b.x[0], y, 2 * PIXELS),
            "no values");
    for (int i = 0; i < 2 * PIXELS; i++) EXPECT_CLOSE(y[i], (x[i] - 0.25) / 0.5, 1e-6, 1e-6);
    tlv_ctx_close(c);
}

/* Colour from drawn images, and grey by Pillow's rule from them. */
static void test_channels(void)
{
    enum { S = 32 };
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:3", "train");
    tlv_episodes_opts o = { .recipe = { .size = S } };
    tlv_episodes *rgb = tlv_episodes_open(c, d, NULL, 0, o);
    o.channels = 1;
    tlv_episodes *grey = tlv_episodes_open(c, d, NULL, 0, o);
    REQUIRE(rgb && grey, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_episodes_channels(rgb), 3);
    EXPECT_INT(tlv_episodes_size(grey), S);
    tlv_episode a = tlv_episode_draw(c, rgb, 3, 1, 1, key_of(5)),
                b = tlv_episode_draw(c, grey, 3, 1, 1, key_of(5));
    static double x[3 * 3 * S * S], y[3 * S * S];
    EXPECT_SHAPE(a.x[1], 3, 3, S, S);
    REQUIRE(support_read(c, a.x[1], x, 3 * 3 * S * S) && support_read(c, b.x[1], y, 3 * S * S),
            "no values");
    for (int i = 0; i < 3; i++)
        for (int p = 0; p < S * S; p++) {
            const double *v = x + 3 * i * S * S + p;
            double luma = 0.299 * v[0] + 0.587 * v[S * S] + 0.114 * v[2 * S * S];
            EXPECT_CLOSE(y[i * S * S + p], luma, 0, 0.51 / 255);
        }
    tlv_ctx_close(c);
}

static void test_splits(void)
{
    enum { TRAIN = 4, VAL = 2 };
    tlv_ctx *c = support_open();
    tlv_dataset *d = marked_set(c);
    int32_t at[CLASSES], again[CLASSES], other[CLASSES];
    EXPECT_INT(tlv_class_split(c, d, TRAIN, VAL, key_of(3), at), CLASSES - TRAIN - VAL);
    tlv_class_split(c, d, TRAIN, VAL, key_of(3), again);
    tlv_class_split(c, d, TRAIN, VAL, key_of(4), other);
    EXPECT(memcmp(at, again, sizeof at) == 0, "the same key cuts otherwise");
    EXPECT(memcmp(at, other, sizeof at) != 0, "another key cuts alike");
    int seen[CLASSES] = { 0 };
    for (int i = 0; i < CLASSES; i++) {
        seen[at[i]]++;
        if (i != 0 && i != TRAIN && i != TRAIN + VAL) EXPECT(at[i] > at[i - 1], "not sorted");
    }
    for (int k = 0; k < CLASSES; k++) EXPECT_INT(seen[k], 1);

    tlv_episodes *a = tlv_episodes_open(c, d, at, TRAIN, GREY),
                 *b = tlv_episodes_open(c, d, at + TRAIN, VAL, GREY),
                 *overlap = tlv_episodes_open(c, d, at + TRAIN - 1, VAL, GREY);
    EXPECT_STATUS(tlv_episodes_disjoint(c, a, b), TLV_OK);
    EXPECT_STATUS(tlv_episodes_disjoint(c, a, overlap), TLV_ERR_ARG);
    char sentence[40];
    snprintf(sentence, sizeof sentence, "class %d is in both", at[TRAIN - 1]);
    EXPECT_ERROR(c, TLV_ERR_ARG, sentence);
    EXPECT_INT(tlv_class_split(c, d, CLASSES, 1, key_of(1), at), -1);
    EXPECT_ERROR(c, TLV_ERR_ARG, "9 and 1 of 9 classes");
    tlv_ctx_close(c);
}

/* Two sets that know nothing of each other, and have one image in common. */
static void test_a_common_image(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = marked_set(c), *more = tlv_dataset_open(c, "shapes:3", "train");
    tlv_episodes_opts o = { .recipe = { .size = SIDE }, .channels = 1 };
    tlv_episodes *a = tlv_episodes_open(c, d, (int32_t[]){ 0, 1 }, 2, o),
                 *b = tlv_episodes_open(c, more, NULL, 0, o);
    EXPECT_STATUS(tlv_episodes_disjoint(c, a, b), TLV_OK);
    tlv_dataset *same = tlv_dataset_open(c, "shapes:2", "train");
    tlv_episodes *twice = tlv_episodes_open(c, same, NULL, 0, o);
    EXPECT_STATUS(tlv_episodes_disjoint(c, b, twice), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "an image of class");
    tlv_ctx_close(c);
}

static void test_errors(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = marked_set(c);
    EXPECT(!tlv_episodes_open(c, d, (int32_t[]){ 1, CLASSES }, 2, GREY), "class 9 of 9");
    EXPECT_ERROR(c, TLV_ERR_ARG, "class 9 of 9");
    EXPECT(!tlv_episodes_open(c, d, (int32_t[]){ 1, 1 }, 2, GREY), "twice");
    EXPECT_ERROR(c, TLV_ERR_ARG, "class 1 is listed twice");
    EXPECT(!tlv_episodes_open(c, d, NULL, 0, (tlv_episodes_opts){ .channels = 1 }), "no size");
    EXPECT_ERROR(c, TLV_ERR_ARG, "images of size 0");
    tlv_episodes *e = tlv_episodes_open(c, d, NULL, 0, GREY);
    EXPECT(!tlv_episode_draw(c, e, CLASSES + 1, 1, 1, key_of(0)).x[0], "10 ways of 9 classes");
    EXPECT_ERROR(c, TLV_ERR_ARG, "too many ways");
    EXPECT(!tlv_episode_draw(c, e, 2, 3, 3, key_of(0)).x[0], "6 images of 5");
    EXPECT_ERROR(c, TLV_ERR_ARG, "too many shots and queries");
    tlv_ctx_close(c);
}

static void test_omniglot(void)
{
    enum { ALL = 1623 };
    char path[1024], what[1100];
    NEED_DATA(path, sizeof path, "omniglot/omniglot28-images-idx4-ubyte.gz");
    tlv_ctx *c = support_open();
    snprintf(what, sizeof what, "idx:%s", path);
    tlv_dataset *d = tlv_dataset_open(c, what, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    static int32_t at[ALL];
    EXPECT_INT(tlv_class_split(c, d, 1100, 100, key_of(1), at), 423);
    tlv_episodes_opts o = { .recipe = { .size = 28 }, .channels = 1, .turns = TLV_TURNS_EPISODE };
    tlv_episodes *train = tlv_episodes_open(c, d, at, 1100, o),
                 *test = tlv_episodes_open(c, d, at + 1200, 423, o);
    EXPECT_STATUS(tlv_episodes_disjoint(c, train, test), TLV_OK);
    EXPECT_INT(tlv_episodes_per_class(test), 20);
    tlv_episode p = tlv_episode_draw(c, train, 20, 5, 15, key_of(2));
    EXPECT_SHAPE(p.x[TLV_QUERY], 300, 1, 28, 28);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_draws), T(test_turned_in_an_episode), T(test_turned_classes),
          T(test_depends_on_the_key_alone), T(test_normalised), T(test_channels), T(test_splits),
          T(test_a_common_image), T(test_errors), T(test_omniglot))
