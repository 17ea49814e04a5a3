/* SPDX-License-Identifier: MIT */
/* linear_split_N and linear_matrix: ternary weights times int8 activations with matrix instructions, by the
 * loop of matmul.h.
 *
 * linear_split_16, _32, _64, for batches: 64 rows of weights by 16 or 32 tokens a block, or 128 by 64, whose 16
 * waves split the columns, too, and add up in shared memory; integers, so the order is free. plan.c takes the
 * most tokens a block that still keep half of the processors busy: what a unit of codes costs a wave does not
 * depend on the tokens. linear_matrix, for prefill: 128 rows by 128 tokens.
 *
 * H200, 2026-11, tests/gpu/run; us a launch of q k v, o, gate up, down (2B-4T: 2.5, 1.6, 8.8, 4.4 MB):
 *   64 tokens: bytes say 0.6, 0.4, 2.1, 1.0
 *     32 rows a block, operands straight from global memory          23.8 on average
 *     through shared memory, mma.sync, 8 waves                       9.2, 8.6, 16.7, 17.7
 *     wgmma, six stages                                              9.2, 5.7, 15.5, 12.1
 *     wgmma, two stages of several units, sums stored row by row     6.9, 6.8, 13.2, 14.2
 *     the same with 16 waves: 2 of a scheduler leave it idle         5.1, 4.9, 9.6, 9.2
 *   prefill of 2048: 4.27 T products at 1,060 T/s say 34 on average
 *     64 tokens a block, mma.sync                                    239 on average
 *     128 tokens a block, mma.sync, which ends at 265 T/s            85, 68, 280, 157
 *     wgmma                                                          43, 41, 152, 87 (478 T/s)
 * On gfx1151 linear_matrix does 64 wmma and 64 ds_load_b128 a unit and wave, half the loads a wmma of before. */
#include "kernels/hip/matmul.h"

enum { ROW_PAIR = MATRIX_LAYOUT == MATRIX_MMA ? 2 : 1 }; /* outputs in neighbouring rows */

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
            UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i += ROW_PAIR)
            {
                uint32_t token = token0 + 16 * t + matrix_output_token(i);
                uint32_t r = row0 + 16 * j + matrix_output_row(i);
                float *to = p->y + (size_t)token * p->n_rows + r;
                if (token >= n_tokens || r >= p->n_rows) {
                    continue;
                }
                if (ROW_PAIR == 2 && is_even) { /* the next output is the next row's */
                    struct two_floats both = {{y[i], y[i + ROW_PAIR - 1]}};
                    *(struct two_floats *)(void *)to = both;
                    continue;
                }
                to[0] = y[i];
                if (ROW_PAIR == 2 && r + 1 < p->n_rows) {
                    to[1] = y[i + ROW_PAIR - 1];
                }
            }
        }
    }
}

#if MATRIX_LAYOUT == MATRIX_WGMMA
/* By way of shared memory: a thread has one row of weights, whose scale it knows since the start, and stores beside its
 * neighbours. Little code, too, which each wave must fetch for itself. */
DEVICE void store_spread(const struct hip_linear_args *a, const struct hip_linear_part *p,
                         struct matmul_shape s, uint32_t token0, uint32_t row0, float scale,
                         const int32_t *sums)
{
    uint32_t rows = matmul_rows(s);
    uint32_t at_once = s.threads / rows;
    uint32_t token = thread_id() / rows;
    uint32_t r = row0 + thread_id() % rows;
    uint32_t n_tokens = least_u32(matmul_tokens(s), a->step->n_rows - token0);
    const int32_t *from = sums + token * wgmma_pitch(s) + thread_id() % rows;
    float *to = p->y + (size_t)(token0 + token) * p->n_rows + r;
    if (r >= p->n_rows) {
        return;
    }
    for (; token < n_tokens; token += at_once) {
        int32_t sum = from[0];
        UNROLL for (uint32_t k = 1; k < s.k_groups; k++)
        {
            sum += from[k * matmul_tokens(s) * wgmma_pitch(s)];
        }
        float y = (float)(sum - a->x_sum[token0 + token]) * a->x_scale[token0 + token];
        *to = y * scale;
        from += at_once * wgmma_pitch(s);
        to += (size_t)at_once * p->n_rows;
    }
}
#endif

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
#if MATRIX_LAYOUT == MATRIX_WGMMA
    uint32_t r = least_u32(m.row0 + thread_id() % matmul_rows(s), m.last);
    float scale = p->scales[r / p->rows_per_scale];
    matmul_run(&m, s, (int8_t *)SHARED_MEMORY, c);
    wgmma_spread(s, c, (int32_t *)SHARED_MEMORY);
    store_spread(a, p, s, first, m.row0, scale, (const int32_t *)SHARED_MEMORY);
#else
    matmul_run(&m, s, (int8_t *)SHARED_MEMORY, c);
    uint32_t group = matmul_k_group(s);
    if (s.k_groups > 1) {
        uint32_t n_row_groups = matmul_row_groups(s);
        matmul_join(s.k_groups, group, matmul_token_group(s) * n_row_groups + matmul_row_group(s),
                    s.token_groups * n_row_groups, s.tiles, (int32_t *)SHARED_MEMORY, c);
    }
    if (group == 0) {
        store_outputs(a, p, s.tiles, first + matmul_token_group(s) * 16 * s.tiles,
                      m.row0 + matmul_row_group(s) * MATMUL_ROW_TILES * 16, c);
    }
#endif
}

enum { SPLIT_THREADS = 512, MATRIX_THREADS = 256 };

DEVICE struct matmul_shape linear_shape(uint32_t threads, uint32_t tiles, uint32_t token_groups,
                                        uint32_t k_groups)
{
    const struct matmul_shape s = {threads, tiles, token_groups, k_groups, 2, 1, 128, false};
    return s;
}

/* The same block with wgmma.h. */
DEVICE struct matmul_shape warpgroup_shape(uint32_t threads, uint32_t tiles, uint32_t k_groups,
                                           uint32_t stages, uint32_t units)
{
    const struct matmul_shape s = {threads, tiles, 1, k_groups, stages, units, 128, false};
    return s;
}

#define IS_WARPGROUP (MATRIX_LAYOUT == MATRIX_WGMMA)

KERNEL(linear_split_16, linear, SPLIT_THREADS)
{
    linear_tiles(&a, IS_WARPGROUP ? warpgroup_shape(SPLIT_THREADS, 1, 4, 2, 2)
                                  : linear_shape(SPLIT_THREADS, 1, 1, 8));
}

KERNEL(linear_split_32, linear, SPLIT_THREADS)
{
    linear_tiles(&a, IS_WARPGROUP ? warpgroup_shape(SPLIT_THREADS, 2, 4, 2, 2)
                                  : linear_shape(SPLIT_THREADS, 1, 2, 4));
}

KERNEL(linear_split_64, linear, SPLIT_THREADS)
{
    linear_tiles(&a, IS_WARPGROUP ? warpgroup_shape(SPLIT_THREADS, 4, 2, 2, 2)
                                  : linear_shape(SPLIT_THREADS, 2, 2, 2));
}

KERNEL(linear_matrix, linear, MATRIX_THREADS)
{
    linear_tiles(&a, IS_WARPGROUP ? warpgroup_shape(MATRIX_THREADS, 8, 1, 4, 1)
                                  : linear_shape(MATRIX_THREADS, 4, 2, 1));
}
