/* SPDX-License-Identifier: MIT */
/* The matrix kernels against ternary_matmul_ref, bit for bit; compiled once for each layout of the matrix
 * instructions (MATRIX_LAYOUT). */
#include <math.h>
#include <string.h>

#include "tests/kernels/hip_check.h"

struct layer {
    uint32_t n_cols, stride, group, n_tokens, n_parts;
    struct ternary_weights w[3];
    uint8_t *codes[3];
    float *scales[3];
    float *got[3];
    int8_t *q; /* rows of whole tiles of tokens */
    float *x_scale;
    int32_t *sum;
};

static uint8_t *aligned_bytes(size_t n)
{
    uint8_t *p = aligned_alloc(256, (n + 255) / 256 * 256);
    if (p == NULL)
        abort();
    return p;
}

static void layer_init(struct layer *l, struct check_rng *rng, bool is_extreme)
{
    size_t n_groups = l->group > 0 ? l->n_cols / l->group : 1;
    l->stride = (l->n_cols + 127) / 128 * 128;
    for (uint32_t i = 0; i < l->n_parts; i++) {
        uint32_t n_rows = (uint32_t)check_between(rng, 1, 150);
        size_t bytes = n_rows * hip_row_bytes(l->n_cols);
        size_t n_scales = n_rows % 2 == 0 ? 2 : 1;
        l->codes[i] = aligned_bytes(bytes);
        for (size_t b = 0; b < bytes; b++)
            l->codes[i][b] = is_extreme ? 0xff : (uint8_t)check_random(rng);
        l->scales[i] = check_floats(rng, l->group > 0 ? n_rows * n_groups : n_scales, CHECK_NORMAL);
        l->got[i] = check_floats(rng, (size_t)n_rows * l->n_tokens, CHECK_ZEROS);
        l->w[i] = (struct ternary_weights){.codes = l->codes[i],
                                           .scales = l->scales[i],
                                           .n_rows = n_rows,
                                           .n_cols = l->n_cols,
                                           .rows_per_scale = n_rows / (uint32_t)n_scales,
                                           .packing = TERNARY_T2,
                                           .group = l->group};
    }
    size_t rows = (l->n_tokens + 127U) / 128 * 128;
    l->q = (int8_t *)aligned_bytes(rows * l->stride);
    l->x_scale = check_floats(rng, l->n_tokens * n_groups, CHECK_NORMAL);
    l->sum = check_alloc(l->n_tokens * sizeof *l->sum);
    for (uint32_t t = 0; t < l->n_tokens; t++) {
        l->sum[t] = 0;
        for (uint32_t c = 0; c < l->stride; c++) {
            int v = (int)(check_random(rng) % 256) - 128;
            v = is_extreme ? (t % 2 == 0 ? -128 : 127) : v;
            l->q[t * l->stride + c] = (int8_t)(c < l->n_cols ? v : 0);
            l->sum[t] += l->q[t * l->stride + c];
        }
    }
}

static void layer_fini(struct layer *l)
{
    for (uint32_t i = 0; i < l->n_parts; i++) {
        free(l->codes[i]);
        free(l->scales[i]);
        free(l->got[i]);
    }
    free(l->q);
    free(l->x_scale);
    free(l->sum);
}

/* Launches kernel for blocks of so many rows and tokens, and compares. */
static void compare(const struct layer *l, enum hip_kernel kernel, uint32_t rows, uint32_t tokens,
                    uint32_t shared_bytes)
{
    struct hip_step step = {.n_rows = l->n_tokens};
    struct hip_linear_args a = {.step = &step,
                                .q = l->q,
                                .x_scale = l->x_scale,
                                .x_sum = l->sum,
                                .n_cols = l->n_cols,
                                .q_stride = l->stride,
                                .group = l->group,
                                .n_parts = l->n_parts};
    uint32_t n_tiles = 0;
    for (uint32_t i = 0; i < l->n_parts; i++) {
        a.parts[i] = (struct hip_linear_part){.codes = l->codes[i],
                                              .scales = l->scales[i],
                                              .y = l->got[i],
                                              .n_rows = l->w[i].n_rows,
                                              .rows_per_scale = l->w[i].rows_per_scale,
                                              .first_tile = n_tiles};
        n_tiles += (l->w[i].n_rows + rows - 1) / rows;
    }
    /* One block of tokens more than there are: it must do nothing. */
    hip_check_run(kernel, n_tiles, (l->n_tokens + tokens - 1) / tokens + 1, 1, shared_bytes, &a);
    struct quantized x = {.q = l->q,
                          .stride = l->stride,
                          .scale = l->x_scale,
                          .sum = l->sum,
                          .n_tokens = l->n_tokens,
                          .n_cols = l->n_cols,
                          .group = l->group};
    for (uint32_t i = 0; i < l->n_parts; i++) {
        size_t n = (size_t)l->w[i].n_rows * l->n_tokens;
        float *want = check_alloc(n * sizeof *want);
        ternary_matmul_ref(&l->w[i], &x, 0, l->w[i].n_rows, want, l->w[i].n_rows);
        check_same_floats(l->got[i], want, n, HIP_KERNELS[kernel].symbol);
        free(want);
    }
}

struct shape {
    enum hip_kernel kernel;
    uint32_t rows, tokens, max_tokens, shared_bytes;
};

static void try_shapes(const struct shape *s, uint32_t group, int rounds)
{
    struct check_rng rng = {s->kernel};
    for (int i = 0; i < rounds; i++) {
        uint32_t unit = group > 0 ? group : 1;
        struct layer l = {.n_cols = (uint32_t)check_between(&rng, 1, 700 / unit) * unit,
                          .group = group,
                          .n_tokens = (uint32_t)check_between(&rng, 1, s->max_tokens),
                          .n_parts = (uint32_t)check_between(&rng, 1, 3)};
        layer_init(&l, &rng, i == 0);
        compare(&l, s->kernel, s->rows, s->tokens, s->shared_bytes);
        layer_fini(&l);
    }
}

static void decode_kernels_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    static const struct shape SHAPES[] = {
        {HIP_KERNEL_linear_1, 32, 1, 1, 0},
        {HIP_KERNEL_linear_2, 32, 2, 3, 0},
        {HIP_KERNEL_linear_4, 32, 4, 9, 0},
    };
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++)
        try_shapes(&SHAPES[i], 0, 8);
}

static void group_scales_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    static const struct shape SHAPES[] = {
        {HIP_KERNEL_linear_group_1, 32, 1, 2, 0},
        {HIP_KERNEL_linear_group_4, 32, 4, 9, 0},
    };
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
        try_shapes(&SHAPES[i], 64, 6);
        try_shapes(&SHAPES[i], 128, 6);
    }
}

static void matrix_kernels_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    static const struct shape SHAPES[] = {
        {HIP_KERNEL_linear_split_16, 64, 16, 33, 66560},
        {HIP_KERNEL_linear_split_32, 64, 32, 33, 99328},
        {HIP_KERNEL_linear_split_64, 128, 64, 70, 99328},
        {HIP_KERNEL_linear_matrix, 128, 128, 140, 82944},
    };
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++)
        try_shapes(&SHAPES[i], 0, 4);
}

/* Of the same int8 rows and parts, by matrix instructions and by dot4. */
static void bounds_of_batches_are_those_of_few(void **state)
{
    (void)state;
    static const struct {
        enum hip_kernel kernel;
        uint32_t tokens, wanted, shared_bytes;
    } CASES[] = {
        {HIP_KERNEL_head_bounds_16, 16, 13, 82944},
        {HIP_KERNEL_head_bounds_32, 32, 33, 99328},
        {HIP_KERNEL_head_bounds_64, 64, 70, 99328},
    };
    enum { MOST = 128, STRIDE = 384, VOCAB = 200 };
    struct check_rng rng = {11};
    int8_t *head8 = (int8_t *)aligned_bytes((size_t)VOCAB * STRIDE);
    int8_t *high = (int8_t *)aligned_bytes((size_t)MOST * STRIDE);
    int8_t *low = (int8_t *)aligned_bytes((size_t)MOST * STRIDE);
    for (size_t i = 0; i < (size_t)VOCAB * STRIDE; i++)
        head8[i] = (int8_t)(check_random(&rng) % 256);
    for (size_t i = 0; i < (size_t)MOST * STRIDE; i++) {
        high[i] = (int8_t)((int)(check_random(&rng) % 255) - 127);
        low[i] = (int8_t)((int)(check_random(&rng) % 128) - 64);
    }
    float *of_rows = check_floats(&rng, 3 * VOCAB, CHECK_NORMAL);
    static struct hip_head_input input[MOST];
    for (size_t i = 0; i < MOST; i++)
        input[i] =
            (struct hip_head_input){check_float(&rng, CHECK_NORMAL),
                                    check_float(&rng, CHECK_NORMAL), i % 7 == 0 ? INFINITY : 1, 0};
    static float want[2][70 * VOCAB], got[2][70 * VOCAB];
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        uint32_t n = CASES[i].wanted;
        struct hip_step step = {.n_wanted = n};
        struct hip_bounds_args a = {.step = &step,
                                    .high = high,
                                    .low = low,
                                    .input = input,
                                    .head8 = head8,
                                    .scale = of_rows,
                                    .err = of_rows + VOCAB,
                                    .norm = of_rows + 2 * VOCAB,
                                    .lower = want[0],
                                    .upper = want[1],
                                    .n = STRIDE,
                                    .stride = STRIDE,
                                    .n_vocab = VOCAB};
        hip_check_run(HIP_KERNEL_head_bounds_4, (VOCAB + 31) / 32, (n + 3) / 4, 1, 0, &a);
        a.lower = got[0];
        a.upper = got[1];
        hip_check_run(CASES[i].kernel, (VOCAB + 127) / 128,
                      (n + CASES[i].tokens - 1) / CASES[i].tokens + 1, 1, CASES[i].shared_bytes,
                      &a);
        check_same_floats(got[0], want[0], (size_t)n * VOCAB, "lower");
        check_same_floats(got[1], want[1], (size_t)n * VOCAB, "upper");
    }
    free(head8);
    free(high);
    free(low);
    free(of_rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_kernels_give_the_bits_of_the_reference),
        cmocka_unit_test(group_scales_give_the_bits_of_the_reference),
        cmocka_unit_test(matrix_kernels_give_the_bits_of_the_reference),
        cmocka_unit_test(bounds_of_batches_are_those_of_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
