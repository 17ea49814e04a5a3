/* SPDX-License-Identifier: MIT */
/* linear_split_N and linear_matrix: ternary weights times int8 activations with matrix instructions.
 *
 * linear_split_16, _32, _64, for batches of so many tokens: 32 rows of weights a block, whose waves take
 * turns at the units of 128 columns (each loads the codes of 32 rows and the activations of all tokens for
 * its unit, straight into operands) and add their sums up in shared memory; integers, so the order is free.
 * Bytes: the weights once; activations from L2 once per 32 rows: 13 MB at 2560 x 2560 x 64, against 1.6 MB.
 *
 * linear_matrix, for prefill: 128 rows by 64 tokens a block. The activations of a unit (8 KB) lie in shared
 * memory for all waves, each of which has 16 rows (twice 16 where it has 64 lanes) and all 64 tokens. The
 * next unit's activations and codes are loaded into registers while this one is computed. Per unit and
 * wave of gfx1151: 32 wmma of 32 clocks (256 products a clock and CU, AMD's published rate), 64 ds_load_b128, 28
 * to unpack, 32 bytes of codes a lane; so the matrix units bind: 40 CUs at 2.9 GHz do 29.7 T products a second,
 * of which a token (2B-4T) takes 2.08 G: 14,300 tokens/s at the very best, without attention. Rows in shared
 * memory are 144 bytes apart, so that 16 lanes read from all banks.
 *
 * Neither has run on a GPU; all five layouts run in the harness, bit for bit. */
#include "kernels/hip/device.h"
#include "kernels/hip/matrix.h"

enum {
    MATRIX_THREADS = 256,
    MATRIX_WAVES = MATRIX_THREADS / MATRIX_LANES,
    MATRIX_UNIT = 128, /* columns */
    MATRIX_UNIT_BYTES = 32,
    SPLIT_ROWS = 32,
    TILE_ROWS = 128,
    TILE_TOKENS = 64,
    TILE_ROW_TILES = TILE_ROWS / 16 / MATRIX_WAVES,
    TILE_STRIDE = MATRIX_UNIT + 16,
};

/* Of the codes of one unit's row, the lane's dwords; `rows` are the 16 of a tile, the last of them
 * `last` (rows beyond give something that is not stored). */
DEVICE struct matrix_operand load_codes(const uint8_t *codes, uint32_t row0, uint32_t last,
                                        uint32_t row_bytes, uint32_t unit)
{
    struct matrix_operand o;
    UNROLL for (uint32_t h = 0; h < MATRIX_LANE_ROWS; h++)
    {
        uint32_t r = least_u32(row0 + matrix_row(h), last);
        const uint8_t *at =
            codes + (size_t)r * row_bytes + unit * MATRIX_UNIT_BYTES + 4 * matrix_first();
        __builtin_memcpy(o.w + h * MATRIX_RUN,
                         __builtin_assume_aligned(at, MATRIX_RUN * 4 < 16 ? MATRIX_RUN * 4 : 16),
                         MATRIX_RUN * 4);
    }
    return o;
}

/* The lane's dwords of 16 tokens' activations for the 32 columns at q. */
DEVICE struct matrix_operand load_tokens(const int8_t *q, uint32_t stride)
{
    struct matrix_operand o;
    UNROLL for (uint32_t h = 0; h < MATRIX_LANE_ROWS; h++)
    {
        const int8_t *at = q + (size_t)matrix_row(h) * stride + 4 * matrix_first();
        __builtin_memcpy(o.w + h * MATRIX_RUN,
                         __builtin_assume_aligned(at, MATRIX_RUN * 4 < 16 ? MATRIX_RUN * 4 : 16),
                         MATRIX_RUN * 4);
    }
    return o;
}

DEVICE struct matrix_operand unpack_codes(const struct matrix_operand *codes, uint32_t k)
{
    struct matrix_operand o;
    UNROLL for (uint32_t i = 0; i < MATRIX_WORDS; i++)
    {
        o.w[i] = codes->w[i] >> 2 * k & 0x03030303U;
    }
    return o;
}

DEVICE const struct hip_linear_part *matrix_part(const struct hip_linear_args *a, uint32_t tile)
{
    uint32_t i = 0;
    i += a->n_parts > 1 && tile >= a->parts[1].first_tile;
    i += a->n_parts > 2 && tile >= a->parts[2].first_tile;
    return &a->parts[i];
}

DEVICE void store_output(const struct hip_linear_args *a, const struct hip_linear_part *p,
                         uint32_t row, uint32_t r, int32_t sum)
{
    if (r < p->n_rows && row < a->step->n_rows) {
        float y = (float)(sum - a->x_sum[row]) * a->x_scale[row];
        p->y[(size_t)row * p->n_rows + r] = y * p->scales[r / p->rows_per_scale];
    }
}

DEVICE void linear_split(const struct hip_linear_args *a, uint32_t n_tiles)
{
    uint32_t first = block_y() * n_tiles * 16;
    if (first >= a->step->n_rows) {
        return;
    }
    const struct hip_linear_part *p = matrix_part(a, block_x());
    uint32_t row0 = (block_x() - p->first_tile) * SPLIT_ROWS;
    uint32_t row_bytes = a->q_stride / MATRIX_UNIT * MATRIX_UNIT_BYTES;
    int32_t *sums = (int32_t *)SHARED_MEMORY; /* [tokens][SPLIT_ROWS] */
    for (uint32_t i = thread_id(); i < n_tiles * 16 * SPLIT_ROWS; i += MATRIX_THREADS) {
        sums[i] = 0;
    }
    struct matrix_outputs c[4][2];
    UNROLL for (uint32_t t = 0; t < n_tiles; t++)
    {
        UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
        {
            c[t][0].c[i] = 0;
            c[t][1].c[i] = 0;
        }
    }
    barrier();
    const int8_t *q = a->q + (size_t)first * a->q_stride;
    for (uint32_t u = thread_id() / MATRIX_LANES; u < a->q_stride / MATRIX_UNIT;
         u += MATRIX_WAVES) {
        struct matrix_operand codes[2];
        UNROLL for (uint32_t h = 0; h < 2; h++)
        {
            codes[h] = load_codes(p->codes, row0 + 16 * h, p->n_rows - 1, row_bytes, u);
        }
        UNROLL for (uint32_t k = 0; k < 4; k++)
        {
            struct matrix_operand w[2];
            w[0] = unpack_codes(&codes[0], k);
            w[1] = unpack_codes(&codes[1], k);
            UNROLL for (uint32_t t = 0; t < n_tiles; t++)
            {
                struct matrix_operand x = load_tokens(
                    q + (size_t)16 * t * a->q_stride + u * MATRIX_UNIT + 32 * k, a->q_stride);
                matrix_step(&x, &w[0], &c[t][0]);
                matrix_step(&x, &w[1], &c[t][1]);
            }
        }
    }
    UNROLL for (uint32_t t = 0; t < n_tiles; t++)
    {
        UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
        {
            int32_t *to = sums + (16 * t + matrix_output_token(i)) * SPLIT_ROWS + matrix_output_row(i);
            add_shared(to, c[t][0].c[i]);
            add_shared(to + 16, c[t][1].c[i]);
        }
    }
    barrier();
    for (uint32_t i = thread_id(); i < n_tiles * 16 * SPLIT_ROWS; i += MATRIX_THREADS) {
        store_output(a, p, first + i / SPLIT_ROWS, row0 + i % SPLIT_ROWS, sums[i]);
    }
}

KERNEL(linear_split_16, linear, MATRIX_THREADS)
{
    linear_split(&a, 1);
}

KERNEL(linear_split_32, linear, MATRIX_THREADS)
{
    linear_split(&a, 2);
}

KERNEL(linear_split_64, linear, MATRIX_THREADS)
{
    linear_split(&a, 4);
}

/* ---- prefill ---- */

enum { SHARE_TOKENS = MATRIX_THREADS * 16 / MATRIX_UNIT }; /* of which each thread has 16 bytes */

/* A thread's 16 bytes of the activations of unit u; there are two halves of a tile. */
DEVICE struct quad load_share(const int8_t *q, uint32_t stride, uint32_t u, uint32_t half)
{
    uint32_t token = half * SHARE_TOKENS + thread_id() / 8;
    return *(const struct quad *)(const void *)(q + (size_t)token * stride + u * MATRIX_UNIT +
                                                thread_id() % 8 * 16);
}

DEVICE void store_share(int8_t *tile, uint32_t half, struct quad x)
{
    uint32_t token = half * SHARE_TOKENS + thread_id() / 8;
    *(struct quad *)(void *)(tile + token * TILE_STRIDE + thread_id() % 8 * 16) = x;
}

KERNEL(linear_matrix, linear, MATRIX_THREADS)
{
    uint32_t first = block_y() * TILE_TOKENS;
    if (first >= a.step->n_rows) {
        return;
    }
    const struct hip_linear_part *p = matrix_part(&a, block_x());
    uint32_t wave = thread_id() / MATRIX_LANES;
    uint32_t row0 = (block_x() - p->first_tile) * TILE_ROWS + wave * TILE_ROW_TILES * 16;
    uint32_t n_units = a.q_stride / MATRIX_UNIT;
    uint32_t row_bytes = n_units * MATRIX_UNIT_BYTES;
    int8_t *tile = (int8_t *)SHARED_MEMORY; /* [TILE_TOKENS][TILE_STRIDE] */
    const int8_t *q = a.q + (size_t)first * a.q_stride;
    struct matrix_outputs c[TILE_TOKENS / 16][TILE_ROW_TILES];
    UNROLL for (uint32_t i = 0; i < TILE_TOKENS / 16 * TILE_ROW_TILES * MATRIX_OUTPUTS; i++)
    {
        c[i / MATRIX_OUTPUTS / TILE_ROW_TILES][i / MATRIX_OUTPUTS % TILE_ROW_TILES]
            .c[i % MATRIX_OUTPUTS] = 0;
    }
    struct matrix_operand next[TILE_ROW_TILES];
    struct quad low = load_share(q, a.q_stride, 0, 0);
    struct quad high = load_share(q, a.q_stride, 0, 1);
    UNROLL for (uint32_t i = 0; i < TILE_ROW_TILES; i++)
    {
        next[i] = load_codes(p->codes, row0 + 16 * i, p->n_rows - 1, row_bytes, 0);
    }
    for (uint32_t u = 0; u < n_units; u++) {
        barrier(); /* the tile was read */
        struct matrix_operand codes[TILE_ROW_TILES];
        store_share(tile, 0, low);
        store_share(tile, 1, high);
        UNROLL for (uint32_t i = 0; i < TILE_ROW_TILES; i++)
        {
            codes[i] = next[i];
        }
        barrier();
        uint32_t after = u + 1 < n_units ? u + 1 : u;
        low = load_share(q, a.q_stride, after, 0);
        high = load_share(q, a.q_stride, after, 1);
        UNROLL for (uint32_t i = 0; i < TILE_ROW_TILES; i++)
        {
            next[i] = load_codes(p->codes, row0 + 16 * i, p->n_rows - 1, row_bytes, after);
        }
        UNROLL for (uint32_t k = 0; k < 4; k++)
        {
            struct matrix_operand w[TILE_ROW_TILES];
            UNROLL for (uint32_t i = 0; i < TILE_ROW_TILES; i++)
            {
                w[i] = unpack_codes(&codes[i], k);
            }
            UNROLL for (uint32_t t = 0; t < TILE_TOKENS / 16; t++)
            {
                struct matrix_operand x =
                    load_tokens(tile + (size_t)16 * t * TILE_STRIDE + 32 * k, TILE_STRIDE);
                UNROLL for (uint32_t i = 0; i < TILE_ROW_TILES; i++)
                {
                    matrix_step(&x, &w[i], &c[t][i]);
                }
            }
        }
    }
    UNROLL for (uint32_t t = 0; t < TILE_TOKENS / 16; t++)
    {
        UNROLL for (uint32_t i = 0; i < TILE_ROW_TILES; i++)
        {
            UNROLL for (uint32_t k = 0; k < MATRIX_OUTPUTS; k++)
            {
                store_output(&a, p, first + 16 * t + matrix_output_token(k),
                             row0 + 16 * i + matrix_output_row(k), c[t][i].c[k]);
            }
        }
    }
}
