/* SPDX-License-Identifier: MIT */
#include "kernels/planes/planes.h"

#include <math.h>
#include <string.h>

#include "kernels/f16/f16.h"
#include "tests/kernels/check.h"

struct data {
    size_t rows, cols, tokens;
    uint16_t *w;
    float *decoded;
    float *h;
    struct planes packed;
    struct planes_input x;
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
    size_t stride = planes_stride(cols);
    d.w = check_alloc(rows * cols * sizeof *d.w);
    d.decoded = check_alloc(rows * cols * sizeof *d.decoded);
    d.h = check_floats(rng, tokens * cols, CHECK_NORMAL);
    fill_rows(rng, &d);
    f16_decode_ref(d.w, rows * cols, d.decoded);
    for (unsigned k = 0; k < PLANES; k++) {
        d.packed.plane[k] = check_alloc(rows * planes_row_bytes(cols, k));
        d.packed.err[k] = check_alloc(rows * sizeof(float));
    }
    d.packed.scale = check_alloc(rows * sizeof(float));
    d.packed.norm = check_alloc(rows * sizeof(float));
    d.packed.n_cols = (uint32_t)cols;
    d.x = (struct planes_input){.hi = check_alloc(tokens * stride),
                                .lo = check_alloc(tokens * stride),
                                .total = check_alloc(tokens * sizeof(int32_t)),
                                .xs = check_alloc(tokens * sizeof(float)),
                                .a = check_alloc(tokens * sizeof(float)),
                                .b = check_alloc(tokens * sizeof(float)),
                                .n_tokens = (uint32_t)tokens};
    return d;
}

static void drop(struct data *d)
{
    void *const parts[] = {d->w,    d->decoded, d->h,    d->packed.scale, d->packed.norm, d->x.hi,
                           d->x.lo, d->x.total, d->x.xs, d->x.a,          d->x.b};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        free(parts[i]);
    }
    for (unsigned k = 0; k < PLANES; k++) {
        free(d->packed.plane[k]);
        free(d->packed.err[k]);
    }
}

static void pack_all(const struct kernels *k, struct data *d)
{
    for (size_t r = 0; r < d->rows; r++) {
        k->planes_pack(d->decoded + r * d->cols, &d->packed, r);
    }
}

static void quantize_all(struct data *d)
{
    for (size_t t = 0; t < d->tokens; t++) {
        assert_true(planes_quantize(d->h + t * d->cols, d->cols, &d->x, t));
    }
}

/* The number U - 128 of one weight, put together from its planes as the header says. */
static int number_at(const struct data *d, size_t row, size_t c)
{
    static const unsigned SHIFTS[PLANES] = {4, 2, 1, 0};
    unsigned u = 0;
    size_t g = c % 512 / 64;
    for (unsigned k = 0; k < PLANES; k++) {
        unsigned bits = planes_bits(k);
        size_t at = row * planes_row_bytes(d->cols, k) + c / 512 * 64 * bits;
        unsigned byte = d->packed.plane[k][at + 64 * (g / (8 / bits)) + c % 64];
        u |= (byte >> bits * (g % (8 / bits)) & ((1U << bits) - 1U)) << SHIFTS[k];
    }
    return (int)u - 128;
}

static void the_planes_hold_the_rounded_weights(void **state)
{
    (void)state;
    struct check_rng rng = {19};
    for (int round = 0; round < 20; round++) {
        struct data d = make(&rng, 5, check_between(&rng, 1, 1100), 1);
        pack_all(kernels_get(ISA_REF), &d);
        for (size_t r = 0; r < d.rows; r++) {
            for (size_t c = 0; c < d.cols; c++) {
                float scale = d.packed.scale[r];
                float lost = d.decoded[r * d.cols + c] - scale * (float)number_at(&d, r, c);
                assert_true(fabsf(lost) <= scale * 0.501f);
            }
        }
        drop(&d);
    }
}

/* Sums plane after plane; after each the bounds hold, and after the last they are narrow. */
static void check_bounds(struct data *d)
{
    const struct kernels *ref = kernels_get(ISA_REF);
    const float narrow[PLANES] = {0.6f, 0.15f, 0.08f, 0.05f};
    size_t n = d->tokens * d->rows;
    const struct planes_rows all = {.n = (uint32_t)d->rows};
    int32_t *sums = check_alloc(n * sizeof *sums);
    float *lower = check_alloc(n * sizeof *lower);
    float *upper = check_alloc(n * sizeof *upper);
    float *logits = check_alloc(n * sizeof *logits);
    struct head_input in = {d->h, d->cols, d->tokens};
    pack_all(ref, d);
    quantize_all(d);
    ref->head_logits(d->w, d->cols, &in, 0, d->rows, logits, d->rows);
    for (unsigned k = 0; k < PLANES; k++) {
        ref->planes_sum(&d->packed, k, &d->x, &all, sums, d->rows);
        ref->planes_bound(&d->packed, k, &d->x, &all, sums, lower, upper, d->rows);
        for (size_t i = 0; i < n; i++) {
            assert_true(lower[i] <= logits[i] && logits[i] <= upper[i]);
            size_t r = i % d->rows;
            float size = d->packed.norm[r] * d->x.a[i / d->rows];
            if (r % 4 != 1) {
                assert_true(upper[i] - lower[i] <= narrow[k] * size + 1e-30f);
            }
        }
    }
    free(sums);
    free(lower);
    free(upper);
    free(logits);
}

static void bounds_hold_and_narrow_plane_by_plane(void **state)
{
    (void)state;
    struct check_rng rng = {20};
    for (int round = 0; round < 200; round++) {
        size_t cols = check_between(&rng, 1, round % 2 == 0 ? 70 : 1300);
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
        struct data d = make(&rng, 4, check_between(&rng, 1, 600), 4);
        pack_all(kernels_get(ISA_REF), &d);
        for (size_t t = 0; t < 4; t++) {
            float sign = round % 2 == 0 ? 1.0f : -1.0f;
            for (size_t c = 0; c < d.cols; c++) {
                float q = d.packed.scale[t] * (float)number_at(&d, t, c);
                d.h[t * d.cols + c] = sign * (d.decoded[t * d.cols + c] - q) + 1e-12f;
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
    const struct planes_rows both = {.n = 2};
    struct check_rng rng = {22};
    for (size_t i = 0; i < 3; i++) {
        struct data d = make(&rng, 2, 100, 1);
        d.decoded[37] = bad[i];
        pack_all(kernels_get(ISA_REF), &d);
        quantize_all(&d);
        int32_t sums[2];
        float lower[2], upper[2];
        for (unsigned k = 0; k < PLANES; k++) {
            planes_sum_ref(&d.packed, k, &d.x, &both, sums, 2);
            planes_bound_ref(&d.packed, k, &d.x, &both, sums, lower, upper, 2);
            assert_false(upper[0] < INFINITY || lower[0] > -INFINITY);
            assert_true(upper[1] < INFINITY && lower[1] > -INFINITY);
        }
        d.h[99] = bad[i];
        assert_false(planes_quantize(d.h, d.cols, &d.x, 0));
        drop(&d);
    }
    struct data d = make(&rng, 1, 100, 1);
    memset(d.h, 0, 100 * sizeof *d.h);
    assert_false(planes_quantize(d.h, d.cols, &d.x, 0));
    drop(&d);
}

/* What one variant makes of the data, all of it. */
struct outcome {
    struct data d;
    int32_t *sums;
    float *lower, *upper;
};

static void run(const struct kernels *k, struct outcome *o, const struct planes_rows *rows)
{
    size_t n = o->d.tokens * o->d.rows;
    struct check_rng rng = {5};
    o->sums = check_alloc(n * sizeof *o->sums);
    memset(o->sums, 7, n * sizeof *o->sums);
    o->lower = check_floats(&rng, n, CHECK_EQUAL);
    o->upper = check_floats(&rng, n, CHECK_EQUAL);
    for (unsigned p = 0; p < PLANES; p++) {
        memset(o->d.packed.plane[p], 1, o->d.rows * planes_row_bytes(o->d.cols, p));
    }
    pack_all(k, &o->d);
    quantize_all(&o->d);
    const struct planes_rows all = {.n = (uint32_t)o->d.rows};
    for (unsigned p = 0; p < PLANES; p++) {
        const struct planes_rows *some = p == 0 ? &all : rows;
        k->planes_sum(&o->d.packed, p, &o->d.x, some, o->sums, o->d.rows);
        k->planes_bound(&o->d.packed, p, &o->d.x, some, o->sums, o->lower, o->upper, o->d.rows);
    }
}

static void compare_top(const struct kernels *k, const struct kernels *ref)
{
    for (uint64_t round = 0; round < 60; round++) {
        struct check_rng rng = {2000 + round};
        size_t rows = check_between(&rng, 1, 12);
        struct data d = make(&rng, rows, check_between(&rng, 1, round % 2 == 0 ? 100 : 3000),
                             check_between(&rng, 1, 6));
        pack_all(ref, &d);
        quantize_all(&d);
        int32_t *got = check_alloc(d.tokens * rows * sizeof *got);
        int32_t *want = check_alloc(d.tokens * rows * sizeof *want);
        memset(got, 7, d.tokens * rows * sizeof *got);
        memset(want, 7, d.tokens * rows * sizeof *want);
        const struct planes_rows some = {.first = (uint32_t)(rows / 3),
                                         .n = (uint32_t)(rows - rows / 3)};
        ref->planes_sum(&d.packed, 0, &d.x, &some, want, rows);
        ref->planes_sum(&d.packed, 1, &d.x, &some, want, rows);
        k->planes_sum_top(&d.packed, &d.x, &some, got, rows);
        assert_memory_equal(got, want, d.tokens * rows * sizeof *got);
        free(got);
        free(want);
        drop(&d);
    }
}

static void two_planes_at_once_give_the_sums_of_one_after_the_other(void **state)
{
    (void)state;
    check_each_isa(compare_top);
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    for (uint64_t round = 0; round < 150; round++) {
        struct outcome got, want;
        struct outcome *both[] = {&got, &want};
        uint32_t list[12];
        struct planes_rows rows = {.list = NULL};
        for (int i = 0; i < 2; i++) {
            struct check_rng rng = {1000 + round};
            size_t cols = check_between(&rng, 1, round % 2 == 0 ? 100 : 2000);
            size_t n_rows = check_between(&rng, 1, 12);
            both[i]->d = make(&rng, n_rows, cols, check_between(&rng, 1, 5));
            if (round % 7 == 0) {
                both[i]->d.decoded[check_between(&rng, 0, n_rows * cols - 1)] = INFINITY;
            }
            rows.first = (uint32_t)check_between(&rng, 0, n_rows - 1);
            rows.n = (uint32_t)n_rows - rows.first;
            if (round % 3 == 0) {
                rows.n = 0;
                for (uint32_t r = 0; r < n_rows; r += 1 + (uint32_t)check_between(&rng, 0, 2)) {
                    list[rows.n++] = r;
                }
                rows.list = list;
            }
            run(i == 0 ? k : ref, both[i], &rows);
        }
        size_t n = got.d.tokens * got.d.rows;
        assert_memory_equal(got.sums, want.sums, n * sizeof *got.sums);
        check_same_floats(got.lower, want.lower, n, k->isa_name);
        check_same_floats(got.upper, want.upper, n, k->isa_name);
        for (int i = 0; i < 2; i++) {
            free(both[i]->sums);
            free(both[i]->lower);
            free(both[i]->upper);
            drop(&both[i]->d);
        }
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
        cmocka_unit_test(the_planes_hold_the_rounded_weights),
        cmocka_unit_test(bounds_hold_and_narrow_plane_by_plane),
        cmocka_unit_test(bounds_hold_against_the_worst_vector),
        cmocka_unit_test(rows_and_vectors_that_are_not_finite_exclude_nothing),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref),
        cmocka_unit_test(two_planes_at_once_give_the_sums_of_one_after_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
