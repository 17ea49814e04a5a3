/* SPDX-License-Identifier: MIT */
#include "kernels/head8/head8.h"

#include <math.h>
#include <string.h>

#include "kernels/f16/f16.h"
#include "tests/kernels/check.h"

struct data {
    size_t rows, cols, tokens;
    uint16_t *w;
    float *decoded;
    float *h;
    struct head8 packed;
    struct head8_input x;
};

/* The kinds of rows that matter: uneven, with one large value, all equal, all zero. */
static void fill_rows(struct check_rng *rng, struct data *d)
{
    for (size_t r = 0; r < d->rows; r++) {
        for (size_t c = 0; c < d->cols; c++) {
            float v = check_float(rng, CHECK_NORMAL);
            switch (r % 4) {
            case 1:
                v *= c == d->cols / 2 ? 1000.0f : 0.01f;
                break;
            case 2:
                v = 0.75f;
                break;
            case 3:
                v = r % 8 == 3 ? 0.0f : v * 1e-6f;
                break;
            default:
                break;
            }
            d->w[r * d->cols + c] = f16_from_f32(v);
        }
    }
}

static struct data make(struct check_rng *rng, size_t rows, size_t cols, size_t tokens)
{
    struct data d = {.rows = rows, .cols = cols, .tokens = tokens};
    size_t stride = head8_stride(cols);
    d.w = check_alloc(rows * cols * sizeof *d.w);
    d.decoded = check_alloc(rows * cols * sizeof *d.decoded);
    d.h = check_floats(rng, tokens * cols, CHECK_NORMAL);
    fill_rows(rng, &d);
    f16_decode_ref(d.w, rows * cols, d.decoded);
    d.packed = (struct head8){.q = check_alloc(rows * stride),
                              .scale = check_alloc(rows * sizeof(float)),
                              .err = check_alloc(rows * sizeof(float)),
                              .norm = check_alloc(rows * sizeof(float)),
                              .n_cols = (uint32_t)cols};
    d.x = (struct head8_input){.p = check_alloc(tokens * stride * sizeof(int16_t)),
                               .xs = check_alloc(tokens * sizeof(float)),
                               .a = check_alloc(tokens * sizeof(float)),
                               .b = check_alloc(tokens * sizeof(float)),
                               .n_tokens = (uint32_t)tokens};
    return d;
}

static void drop(struct data *d)
{
    void *const parts[] = {d->w,          d->decoded,     d->h,   d->packed.q, d->packed.scale,
                           d->packed.err, d->packed.norm, d->x.p, d->x.xs,     d->x.a,
                           d->x.b};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        free(parts[i]);
    }
}

static void pack_all(const struct kernels *k, struct data *d)
{
    for (size_t r = 0; r < d->rows; r++) {
        k->head8_pack(d->decoded + r * d->cols, &d->packed, r);
    }
}

static void check_bounds(struct data *d)
{
    const struct kernels *ref = kernels_get(ISA_REF);
    size_t n = d->tokens * d->rows;
    float *lower = check_alloc(n * sizeof *lower);
    float *upper = check_alloc(n * sizeof *upper);
    float *logits = check_alloc(n * sizeof *logits);
    pack_all(ref, d);
    for (size_t t = 0; t < d->tokens; t++) {
        assert_true(head8_quantize(d->h + t * d->cols, d->cols, &d->x, t));
    }
    ref->head8_bounds(&d->packed, &d->x, 0, d->rows, lower, upper, d->rows);
    struct head_input in = {d->h, d->cols, d->tokens};
    ref->head_logits(d->w, d->cols, &in, 0, d->rows, logits, d->rows);
    for (size_t i = 0; i < n; i++) {
        assert_true(lower[i] <= logits[i] && logits[i] <= upper[i]);
        size_t r = i % d->rows;
        float size = d->packed.norm[r] * d->x.a[i / d->rows];
        assert_true(upper[i] - lower[i] <= (r % 4 == 1 ? 0.2f : 0.05f) * size + 1e-30f);
    }
    free(lower);
    free(upper);
    free(logits);
}

static void bounds_hold_and_are_narrow(void **state)
{
    (void)state;
    struct check_rng rng = {20};
    for (int round = 0; round < 200; round++) {
        size_t cols = check_between(&rng, 1, round % 2 == 0 ? 70 : 700);
        struct data d = make(&rng, check_between(&rng, 1, 20), cols, check_between(&rng, 1, 4));
        check_bounds(&d);
        drop(&d);
    }
}

/* A hidden vector along the quantisation error of a row makes Cauchy and Schwarz an equality. */
static void bounds_hold_against_the_worst_vector(void **state)
{
    (void)state;
    struct check_rng rng = {21};
    for (int round = 0; round < 200; round++) {
        struct data d = make(&rng, 4, check_between(&rng, 1, 400), 4);
        pack_all(kernels_get(ISA_REF), &d);
        for (size_t t = 0; t < 4; t++) {
            float sign = round % 2 == 0 ? 1.0f : -1.0f;
            for (size_t c = 0; c < d.cols; c++) {
                float q = (float)d.packed.q[t * head8_stride(d.cols) + c];
                d.h[t * d.cols + c] =
                    sign * (d.decoded[t * d.cols + c] - d.packed.scale[t] * q) + 1e-12f;
            }
        }
        check_bounds(&d);
        drop(&d);
    }
}

static void rows_and_vectors_that_are_not_finite_exclude_nothing(void **state)
{
    (void)state;
    const float bad[] = {INFINITY, -INFINITY, NAN};
    struct check_rng rng = {22};
    for (size_t i = 0; i < 3; i++) {
        struct data d = make(&rng, 2, 100, 1);
        d.decoded[37] = bad[i];
        pack_all(kernels_get(ISA_REF), &d);
        assert_true(head8_quantize(d.h, d.cols, &d.x, 0));
        float lower[2], upper[2];
        head8_bounds_ref(&d.packed, &d.x, 0, 2, lower, upper, 2);
        assert_false(upper[0] < INFINITY || lower[0] > -INFINITY);
        assert_true(upper[1] < INFINITY && lower[1] > -INFINITY);
        d.h[99] = bad[i];
        assert_false(head8_quantize(d.h, d.cols, &d.x, 0));
        drop(&d);
    }
    struct data d = make(&rng, 1, 100, 1);
    memset(d.h, 0, 100 * sizeof *d.h);
    assert_false(head8_quantize(d.h, d.cols, &d.x, 0));
    drop(&d);
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {23};
    for (int round = 0; round < 300; round++) {
        size_t cols = check_between(&rng, 1, round % 2 == 0 ? 100 : 1000);
        struct data d = make(&rng, check_between(&rng, 1, 12), cols, check_between(&rng, 1, 9));
        size_t n = d.tokens * d.rows;
        size_t row0 = check_between(&rng, 0, d.rows - 1);
        float *got[2], *want[2];
        for (int i = 0; i < 2; i++) {
            got[i] = check_floats(&rng, n, CHECK_EQUAL);
            want[i] = check_floats(&rng, n, CHECK_EQUAL);
        }
        if (round % 7 == 0) {
            d.decoded[check_between(&rng, 0, d.rows * cols - 1)] = INFINITY;
        }
        for (size_t t = 0; t < d.tokens; t++) {
            assert_true(head8_quantize(d.h + t * cols, cols, &d.x, t));
        }
        pack_all(ref, &d);
        ref->head8_bounds(&d.packed, &d.x, row0, d.rows, want[0], want[1], d.rows);
        memset(d.packed.q, 1, d.rows * head8_stride(cols));
        pack_all(k, &d);
        k->head8_bounds(&d.packed, &d.x, row0, d.rows, got[0], got[1], d.rows);
        for (int i = 0; i < 2; i++) {
            check_same_floats(got[i], want[i], n, k->isa_name);
            free(got[i]);
            free(want[i]);
        }
        drop(&d);
    }
}

static void every_variant_gives_the_bits_of_ref(void **state)
{
    (void)state;
    check_each_isa(compare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_hold_and_are_narrow),
        cmocka_unit_test(bounds_hold_against_the_worst_vector),
        cmocka_unit_test(rows_and_vectors_that_are_not_finite_exclude_nothing),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
