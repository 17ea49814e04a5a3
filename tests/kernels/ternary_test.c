/* SPDX-License-Identifier: MIT */
#include "kernels/ternary/ternary.h"

#include <string.h>

#include "tests/kernels/check.h"

/* One row of 130 columns, packed by hand: codes are 1 (weight 0) but for
 *   column   0: code 2 -> byte  0, bits 0..1
 *   column  33: code 0 -> byte  1, bits 2..3
 *   column  66: code 2 -> byte  2, bits 4..5
 *   column 127: code 0 -> byte 31, bits 6..7
 *   column 129: code 2 -> byte 33, bits 0..1 */
static void packed_bytes_mean_what_the_format_says(void **state)
{
    (void)state;
    uint8_t codes[64];
    memset(codes, 0x55, sizeof codes);
    codes[0] = 0x56;
    codes[1] = 0x51;
    codes[2] = 0x65;
    codes[31] = 0x15;
    codes[33] = 0x56;
    int8_t q[256] = {0};
    int32_t sum = 0;
    for (int c = 0; c < 130; c++) {
        q[c] = (int8_t)(c % 100 + 1);
        sum += q[c];
    }
    const float w_scale = 0.5f, x_scale = 2.0f;
    struct ternary_weights w = {codes, &w_scale, 1, 130, 1, TERNARY_T2, 0};
    struct quantized x = {q, 256, (float[]){x_scale}, &sum, 1, 130, 0};
    for (int level = 0; level < ISA_COUNT; level++) {
        const struct kernels *k = kernels_get((enum isa)level);
        float y;
        if (k != NULL) {
            k->ternary_matmul(&w, &x, 0, 1, &y, 1);
            assert_true(y == (float)(q[0] - q[33] + q[66] - q[127] + q[129]));
        }
    }
}

struct layer {
    struct ternary_weights w;
    struct quantized x;
    uint8_t *codes;
    float *scales;
};

struct layer_shape {
    enum ternary_packing packing;
    size_t group, rows, cols, tokens;
    bool is_extreme;
};

static void layer_init(struct layer *l, struct check_rng *rng, const struct layer_shape *s)
{
    size_t bytes = s->rows * ternary_row_bytes(s->packing, s->cols);
    size_t n_groups = s->group > 0 ? s->cols / s->group : 1;
    size_t n_scales = s->rows % 2 == 0 ? check_between(rng, 1, 2) : 1;
    size_t stride = quantize_stride(s->cols);
    l->codes = check_alloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        /* Any byte, also those that files may not have; or all codes at their largest. */
        l->codes[i] = s->is_extreme ? 0xff : (uint8_t)check_random(rng);
    }
    l->scales = check_floats(rng, s->group > 0 ? s->rows * n_groups : n_scales, CHECK_NORMAL);
    l->w = (struct ternary_weights){.codes = l->codes,
                                    .scales = l->scales,
                                    .n_rows = (uint32_t)s->rows,
                                    .n_cols = (uint32_t)s->cols,
                                    .rows_per_scale = (uint32_t)(s->rows / n_scales),
                                    .packing = s->packing,
                                    .group = (uint32_t)s->group};
    l->x = (struct quantized){.q = check_alloc(s->tokens * stride),
                              .stride = stride,
                              .scale = check_floats(rng, s->tokens * n_groups, CHECK_NORMAL),
                              .sum = s->group > 0 ? NULL : check_alloc(s->tokens * 4),
                              .n_tokens = (uint32_t)s->tokens,
                              .n_cols = (uint32_t)s->cols,
                              .group = (uint32_t)s->group};
    for (size_t t = 0; t < s->tokens; t++) {
        int8_t *q = l->x.q + t * stride;
        int32_t sum = 0;
        for (size_t c = 0; c < stride; c++) {
            int v = (int)(check_random(rng) % 256) - 128;
            q[c] = (int8_t)(c >= s->cols ? 0 : s->is_extreme ? (t % 2 == 0 ? -128 : 127) : v);
            sum += q[c];
        }
        if (s->group == 0) {
            l->x.sum[t] = sum;
        }
    }
}

static void layer_fini(struct layer *l)
{
    free(l->codes);
    free(l->scales);
    free(l->x.q);
    free(l->x.scale);
    free(l->x.sum);
}

static void compare_layer(const struct kernels *k, const struct kernels *ref, struct layer *l,
                          size_t row0, size_t row1)
{
    size_t y_stride = l->w.n_rows + 3;
    size_t n = l->x.n_tokens * y_stride;
    float *got = check_alloc(n * sizeof *got);
    float *want = check_alloc(n * sizeof *want);
    memset(got, 0, n * sizeof *got);
    memset(want, 0, n * sizeof *want);
    k->ternary_matmul(&l->w, &l->x, row0, row1, got, y_stride);
    ref->ternary_matmul(&l->w, &l->x, row0, row1, want, y_stride);
    check_same_floats(got, want, n, k->isa_name);
    free(got);
    free(want);
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    static const size_t groups[] = {0, 0, 64, 128};
    struct check_rng rng = {4};
    for (int round = 0; round < check_rounds(800); round++) {
        size_t group = groups[round / 4 % 4];
        size_t max_cols = round % 2 == 0 ? 700 : 4000;
        struct layer_shape s = {
            .packing = (enum ternary_packing)(round % TERNARY_PACKINGS),
            .group = group,
            .rows = check_between(&rng, 1, 40),
            .cols = group > 0 ? group * check_between(&rng, 1, max_cols / group)
                              : check_between(&rng, 1, max_cols),
            .tokens = round / 16 % 2 == 0 ? 1 : check_between(&rng, 1, 14),
            .is_extreme = round % 5 == 0,
        };
        struct layer l;
        layer_init(&l, &rng, &s);
        size_t row0 = check_between(&rng, 0, s.rows);
        compare_layer(k, ref, &l, 0, s.rows);
        compare_layer(k, ref, &l, row0, check_between(&rng, row0, s.rows));
        layer_fini(&l);
    }
}

static void every_variant_gives_the_bits_of_ref_on_any_row_range(void **state)
{
    (void)state;
    check_each_isa(compare);
}

static void compare_large(const struct kernels *k, const struct kernels *ref)
{
    static const size_t shapes[][3] = {
        {20, 6912, 5}, {210, 2560, 7}, {9, 512, 40}, {9, 20000, 3}, {5, TERNARY_MAX_COLS, 1}};
    struct check_rng rng = {5};
    for (size_t i = 0; i < 8 * sizeof shapes / sizeof *shapes; i++) {
        const size_t *s = shapes[i / 8];
        struct layer l;
        layer_init(&l, &rng,
                   &(struct layer_shape){.packing = (enum ternary_packing)(i / 2 % 4),
                                         .rows = s[0],
                                         .cols = s[1],
                                         .tokens = s[2],
                                         .is_extreme = i % 2 == 0});
        compare_layer(k, ref, &l, 0, s[0]);
        layer_fini(&l);
    }
}

static void every_variant_gives_the_bits_of_ref_on_large_shapes(void **state)
{
    (void)state;
    check_each_isa(compare_large);
}

/* Scales of groups that are all one are a scale of the row: the sums are exact in f32, too. */
static void groups_of_equal_scales_give_what_one_scale_gives(void **state)
{
    (void)state;
    const struct kernels *ref = kernels_get(ISA_REF);
    struct check_rng rng = {6};
    for (int round = 0; round < 32; round++) {
        struct layer l;
        layer_init(&l, &rng,
                   &(struct layer_shape){.packing = (enum ternary_packing)(round % 4),
                                         .group = round % 8 < 4 ? 64 : 128,
                                         .rows = 7,
                                         .cols = 1152,
                                         .tokens = 3});
        float *got = check_alloc(21 * sizeof *got);
        float *want = check_alloc(21 * sizeof *want);
        for (size_t i = 0; i < (size_t)7 * 1152 / l.w.group; i++) {
            l.scales[i] = 0.5f;
        }
        for (size_t i = 0; i < (size_t)3 * 1152 / l.w.group; i++) {
            l.x.scale[i] = 0.25f;
        }
        ref->ternary_matmul(&l.w, &l.x, 0, 7, got, 7);
        l.w.group = l.x.group = 0;
        l.x.sum = check_alloc(3 * sizeof(int32_t));
        l.w.rows_per_scale = 7;
        ref->ternary_matmul(&l.w, &l.x, 0, 7, want, 7);
        check_same_floats(got, want, 21, "ref");
        free(got);
        free(want);
        layer_fini(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_bytes_mean_what_the_format_says),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref_on_any_row_range),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref_on_large_shapes),
        cmocka_unit_test(groups_of_equal_scales_give_what_one_scale_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
