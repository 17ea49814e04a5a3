/* SPDX-License-Identifier: MIT */
/* linear_split_N and linear_matrix: ternary weights times int8 activations with matrix instructions, by the
 * loop of matmul.h.
 *
 * linear_split_16, _32, _64, for batches: 64 rows of weights by 16 or 32 tokens a block, or 128 by 64, whose waves
 * split the columns too and add up in shared memory; integers, so the order is free. Which one: plan.c takes the
 * most tokens that still give every processor a block, since bytes come from L2: the activations once per row of
 * blocks, the weights once per column. */
#include "kernels/hip/matmul.h"

DEVICE const struct hip_linear_part *matrix_part(const struct hip_linear_args *a, uint32_t tile)
{
    uint32_t i = 0;
    i += a->n_parts > 1 && tile >= a->parts[1].first_tile;
    i += a->n_parts > 2 && tile >= a->parts[2].first_tile;
    return &a->parts[i];
}

struct two_floats {
    float f[2];
} __attribute__((aligned(8)));

/* Outputs of the wave's tiles; row0 of weights and token0 are its first. */
DEVICE void store_outputs(const struct hip_linear_args *a, const struct hip_linear_part *p,
                          uint32_t tiles, uint32_t token0, uint32_t row0,
                          struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    uint32_t n_tokens = a->step->n_rows;
    float scale[MATMUL_ROW_TILES][MATRIX_OUTPUTS];
    UNROLL for (uint32_t j = 0; j < MATMUL_ROW_TILES; j++)
    {
        UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
        {
            uint32_t r = least_u32(row0 + 16 * j + matrix_output_row(i), p->n_rows - 1);
            scale[j][i] = p->scales[r / p->rows_per_scale];
        }
    }
    bool is_even = p->n_rows % 2 == 0;
    UNROLL for (uint32_t t = 0; t < tiles; t++)
    {
        float x_scale[MATRIX_OUTPUTS];
        int32_t x_sum[MATRIX_OUTPUTS];
        UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
        {
            uint32_t token = least_u32(token0 + 16 * t + matrix_output_token(i), n_tokens - 1);
            x_scale[i] = a->x_scale[token];
            x_sum[i] = a->x_sum[token];
        }
        UNROLL for (uint32_t j = 0; j < MATMUL_ROW_TILES; j++)
        {
            float y[MATRIX_OUTPUTS];
            UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
            {
                y[i] = (float)(c[t][j].c[i] - x_sum[i]) * x_scale[i] * scale[j][i];
            }
            UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i += MATRIX_LANE_ROWS)
            {
                uint32_t token = token0 + 16 * t + matrix_output_token(i);
                uint32_t r = row0 + 16 * j + matrix_output_row(i);
                float *to = p->y + (size_t)token * p->n_rows + r;
                if (token >= n_tokens || r >= p->n_rows) {
                    continue;
                }
                if (MATRIX_LANE_ROWS == 2 && is_even) { /* the next output is the next row's */
                    struct two_floats both = {{y[i], y[i + MATRIX_LANE_ROWS - 1]}};
                    *(struct two_floats *)(void *)to = both;
                    continue;
                }
                to[0] = y[i];
                if (MATRIX_LANE_ROWS == 2 && r + 1 < p->n_rows) {
                    to[1] = y[i + MATRIX_LANE_ROWS - 1];
                }
            }
        }
    }
}

DEVICE void linear_tiles(const struct hip_linear_args *a, struct matmul_shape s)
{
    launch_next();
    uint32_t first = block_y() * matmul_tokens(s);
    const struct hip_linear_part *p = matrix_part(a, block_x());
    const struct matmul m = {
        .q = a->q + (size_t)first * a->q_stride,
        .q_low = NULL,
        .weights = p->codes,
        .stride = a->q_stride,
        .row_bytes = a->q_stride / 128 * MATMUL_UNIT_BYTES,
        .row0 = (block_x() - p->first_tile) * matmul_rows(s),
        .last = p->n_rows - 1,
    };
    if (first >= a->step->n_rows) {
        wait_previous();
        return;
    }
    struct matrix_outputs c[MATMUL_MAX_TILES][MATMUL_ROW_TILES];
    matmul_run(&m, s, (int8_t *)SHARED_MEMORY, c);
    uint32_t group = matmul_k_group(s);
    if (s.k_groups > 1) {
        matmul_join(s.k_groups, group, matmul_row_group(s), matmul_row_groups(s), s.tiles,
                    (int32_t *)SHARED_MEMORY, c);
    }
    if (group == 0) {
        store_outputs(a, p, s.tiles, first + matmul_token_group(s) * 16 * s.tiles,
                      m.row0 + matmul_row_group(s) * MATMUL_ROW_TILES * 16, c);
    }
}

KERNEL(linear_split_16, linear, MATMUL_THREADS)
{
    const struct matmul_shape s = {
        .tiles = 1, .token_groups = 1, .k_groups = 4, .stages = 4, .cols = 128, .is_int8 = false};
    linear_tiles(&a, s);
}

KERNEL(linear_split_32, linear, MATMUL_THREADS)
{
    const struct matmul_shape s = {
        .tiles = 2, .token_groups = 1, .k_groups = 4, .stages = 2, .cols = 128, .is_int8 = false};
    linear_tiles(&a, s);
}

KERNEL(linear_split_64, linear, MATMUL_THREADS)
{
    const struct matmul_shape s = {
        .tiles = 4, .token_groups = 1, .k_groups = 2, .stages = 2, .cols = 128, .is_int8 = false};
    linear_tiles(&a, s);
}

KERNEL(linear_matrix, linear, MATMUL_THREADS)
{
    const struct matmul_shape s = {
        .tiles = 4, .token_groups = 2, .k_groups = 1, .stages = 2, .cols = 128, .is_int8 = false};
    linear_tiles(&a, s);
}
