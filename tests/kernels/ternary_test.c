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
    struct ternary_weights w = {codes, &w_scale, 1, 130, 1};
    struct quantized x = {q, 256, (float[]){x_scale}, &sum, 1, 130};
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

static void layer_init(struct layer *l, struct check_rng *rng, size_t rows, size_t cols,
                       size_t tokens, bool is_extreme)
{
    size_t bytes = rows * ternary_row_bytes(cols);
    size_t n_scales = rows % 2 == 0 ? check_between(rng, 1, 2) : 1;
    size_t stride = quantize_stride(cols);
    l->codes = check_alloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        /* Each random bit pair as it comes, code 3 with it; or all codes at their largest. */
        l->codes[i] = is_extreme ? 0xff : (uint8_t)check_random(rng);
    }
    l->scales = check_floats(rng, n_scales, CHECK_NORMAL);
    l->w = (struct ternary_weights){l->codes, l->scales, (uint32_t)rows, (uint32_t)cols,
                                    (uint32_t)(rows / n_scales)};
    l->x = (struct quantized){check_alloc(tokens * stride),
                              stride,
                              check_floats(rng, tokens, CHECK_NORMAL),
                              check_alloc(tokens * sizeof(int32_t)),
                              (uint32_t)tokens,
                              (uint32_t)cols};
    for (size_t t = 0; t < tokens; t++) {
        int8_t *q = l->x.q + t * stride;
        l->x.sum[t] = 0;
        for (size_t c = 0; c < stride; c++) {
            int v = (int)(check_random(rng) % 256) - 128;
            q[c] = (int8_t)(c >= cols ? 0 : is_extreme ? (t % 2 == 0 ? -128 : 127) : v);
            l->x.sum[t] += q[c];
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
    struct check_rng rng = {4};
    for (int round = 0; round < 300; round++) {
        struct layer l;
        size_t rows = check_between(&rng, 1, 40);
        size_t cols = round < 150 ? check_between(&rng, 1, 700) : check_between(&rng, 1, 4000);
        layer_init(&l, &rng, rows, cols, check_between(&rng, 1, 14), round % 5 == 0);
        size_t row0 = check_between(&rng, 0, rows);
        compare_layer(k, ref, &l, 0, rows);
        compare_layer(k, ref, &l, row0, check_between(&rng, row0, rows));
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
    static const size_t shapes[][3] = {{70, 6912, 5}, {420, 2560, 7}, {16, 20000, 3}, {9, 512, 70}};
    struct check_rng rng = {5};
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        const size_t *s = shapes[i / 2];
        struct layer l;
        layer_init(&l, &rng, s[0], s[1], s[2], i % 2 == 0);
        compare_layer(k, ref, &l, 0, s[0]);
        layer_fini(&l);
    }
}

static void every_variant_gives_the_bits_of_ref_on_large_shapes(void **state)
{
    (void)state;
    check_each_isa(compare_large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_bytes_mean_what_the_format_says),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref_on_any_row_range),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref_on_large_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
