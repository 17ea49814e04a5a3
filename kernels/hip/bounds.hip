/* SPDX-License-Identifier: MIT */
/* head_split, head_bounds_N: bounds of all logits by kernels/planes' formula with all 8 bits, so that the f16
 * head is read in few rows: those whose upper bound reaches the n-th largest lower bound.
 *
 * The copy has a byte a weight, row by row. For up to four tokens eight lanes share a row as in linear.hip, and
 * each dword meets the high and the low part of four activations: two dot4 for four bytes. For more, both parts are
 * tokens of a matrix product. Bytes (2B-4T): 328 MB instead of 657, once.
 * H200, 2026-11, tests/gpu/run: one token 82 us (bytes: 76). 64 tokens: 2,860 us by fours, 256 with mma.sync,
 * 119 with wgmma, 65 MB of bounds written included. Of 64 rows of random weights 160 to 1,476 logits were in question. */
#include "kernels/hip/matmul.h"

enum {
    BOUNDS_THREADS = 256,
    BOUNDS_WAVES = BOUNDS_THREADS / WAVE,
    BOUNDS_LANES = 8,
    BOUNDS_ROWS = BOUNDS_THREADS / BOUNDS_LANES,
    BOUNDS_AHEAD = 4
};

DEVICE double wave_add_f64(double v)
{
    uint64_t u;
    UNROLL for (uint32_t i = 0; i < 5; i++)
    {
        double other;
        __builtin_memcpy(&u, &v, sizeof u);
        uint32_t high = (uint32_t)(u >> 32);
        uint32_t low = (uint32_t)u;
        if (i == 0) {
            high = lane_xor_u32(high, 16);
            low = lane_xor_u32(low, 16);
        } else if (i == 1) {
            high = lane_xor_u32(high, 8);
            low = lane_xor_u32(low, 8);
        } else if (i == 2) {
            high = lane_xor_u32(high, 4);
            low = lane_xor_u32(low, 4);
        } else if (i == 3) {
            high = lane_xor_u32(high, 2);
            low = lane_xor_u32(low, 2);
        } else {
            high = lane_xor_u32(high, 1);
            low = lane_xor_u32(low, 1);
        }
        u = (uint64_t)high << 32 | low;
        __builtin_memcpy(&other, &u, sizeof other);
        v += other;
    }
    return v;
}

/* planes_quantize by one block; the sums may be in another order, which their slack covers. A vector that
 * gives no bounds gets infinite ones. */
KERNEL(head_split, bounds, BOUNDS_THREADS)
{
    wait_previous();
    launch_next();
    uint32_t i_row = block_x();
    uint32_t wave = thread_id() / WAVE;
    if (i_row == 0 && thread_id() == 0) {
        *a.n_pairs = 0;
    }
    if (i_row >= a.step->n_wanted) {
        return;
    }
    double *of_waves = (double *)SHARED_MEMORY; /* squares and lost */
    float *largest = (float *)(void *)(of_waves + 2 * BOUNDS_WAVES);
    const float *h = a.h + (size_t)i_row * a.n;
    float m = 0.0f;
    NO_UNROLL for (uint32_t c = thread_id(); c < a.n; c += BOUNDS_THREADS)
    {
        float x = magnitude_f32(h[c]);
        m = larger_f32(m, x <= 1e20f ? x : 0x1p+100f);
    }
    m = wave_most_f32(m);
    if (thread_id() % WAVE == 0) {
        largest[wave] = m;
    }
    barrier();
    for (uint32_t i = 0; i < BOUNDS_WAVES; i++) {
        m = larger_f32(m, largest[i]);
    }
    bool is_bad = m < 1e-20f || m > 1e20f;
    uint32_t most = 0x7fffffffU / (512 * a.n);
    float top = (float)(most < 16256 ? most : 16256);
    float xs = is_bad ? 0.0f : m / top;
    float inv = is_bad ? 0.0f : top / m;
    double squares = 0;
    double lost = 0;
    int8_t *high = a.high + (size_t)i_row * a.stride;
    int8_t *low = a.low + (size_t)i_row * a.stride;
    NO_UNROLL for (uint32_t c = thread_id(); c < a.stride; c += BOUNDS_THREADS)
    {
        float x = c < a.n && !is_bad ? h[c] : 0.0f;
        float q = (x * inv + 0x1.8p+23f) - 0x1.8p+23f;
        q = q > top ? top : q < -top ? -top : q;
        int32_t p = (int32_t)q;
        int32_t hundred = (p + 64) >> 7;
        high[c] = (int8_t)hundred;
        low[c] = (int8_t)(p - 128 * hundred);
        double d = (double)x - (double)xs * (double)q;
        squares += (double)x * (double)x;
        lost += d * d;
    }
    squares = wave_add_f64(squares);
    lost = wave_add_f64(lost);
    if (thread_id() % WAVE == 0) {
        of_waves[2 * wave] = squares;
        of_waves[2 * wave + 1] = lost;
    }
    barrier();
    if (thread_id() == 0) {
        for (uint32_t i = 1; i < BOUNDS_WAVES; i++) {
            squares += of_waves[2 * i];
            lost += of_waves[2 * i + 1];
        }
        /* f32 roots, rounded up by more than they may lack. */
        float gamma = ((float)a.n / 32 + 32) * 0x1p-23f;
        float h_len = sqrt_f32((float)squares) * (1 + 0x1p-20f);
        float f_len = sqrt_f32((float)lost) * (1 + 0x1p-20f);
        struct hip_head_input *to = &a.input[i_row];
        float infinity = f32_of_bits(0x7f800000);
        to->xs = xs;
        to->a = is_bad ? infinity : (1 + gamma) * (h_len + f_len) * (1 + 0x1p-18f);
        to->b = is_bad ? infinity : (f_len + gamma * (h_len + f_len)) * (1 + 0x1p-18f);
        to->padding = 0.0f;
    }
}

DEVICE void bound_chunk(const struct quad *w, const int8_t *high, const int8_t *low,
                        uint32_t stride, int n, int32_t *dot_high, int32_t *dot_low)
{
    UNROLL for (int t = 0; t < n; t++)
    {
        const struct quad hi = *(const struct quad *)(const void *)(high + (size_t)t * stride);
        const struct quad lo = *(const struct quad *)(const void *)(low + (size_t)t * stride);
        UNROLL for (int i = 0; i < 4; i++)
        {
            dot_high[t] = dot4(w->w[i], hi.w[i], dot_high[t]);
            dot_low[t] = dot4(w->w[i], lo.w[i], dot_low[t]);
        }
    }
}

DEVICE int32_t eighth_sum(int32_t v)
{
    v += lane_xor_i32(v, 4);
    v += lane_xor_i32(v, 2);
    v += lane_xor_i32(v, 1);
    return v;
}

struct head_row {
    float scale, err, norm;
};

/* Given twice the integer sum of p and the row. */
DEVICE void store_bounds(const struct hip_bounds_args *a, const struct hip_head_input *in,
                         const struct head_row *row, int32_t twice, size_t at)
{
    float v = (float)twice * (row->scale * (0.5f * in->xs));
    float radius = (row->err * in->a + row->norm * in->b) + 0x1p-120f;
    float infinity = f32_of_bits(0x7f800000);
    bool is_bound = radius < infinity; /* not so for a NaN */
    a->lower[at] = is_bound ? v - radius : -infinity;
    a->upper[at] = is_bound ? v + radius : infinity;
}

DEVICE void head_bounds(const struct hip_bounds_args *a, int n_tokens)
{
    wait_previous();
    launch_next();
    uint32_t first = block_y() * (uint32_t)n_tokens;
    uint32_t n_wanted = a->step->n_wanted;
    if (first >= n_wanted) {
        return;
    }
    uint32_t lane = thread_id() % BOUNDS_LANES;
    uint32_t r = block_x() * BOUNDS_ROWS + thread_id() / BOUNDS_LANES;
    int32_t dot_high[4] = {0};
    int32_t dot_low[4] = {0};
    if (r < a->n_vocab) {
        const struct quad *w =
            (const struct quad *)(const void *)(a->head8 + (size_t)r * a->stride);
        const int8_t *high = a->high + (size_t)first * a->stride;
        const int8_t *low = a->low + (size_t)first * a->stride;
        uint32_t n_chunks = a->stride / 16; /* a multiple of 8 */
        uint32_t c = lane;
        for (; c + (BOUNDS_AHEAD - 1) * BOUNDS_LANES < n_chunks; c += BOUNDS_AHEAD * BOUNDS_LANES) {
            struct quad ahead[BOUNDS_AHEAD];
            UNROLL for (uint32_t i = 0; i < BOUNDS_AHEAD; i++)
            {
                ahead[i] = w[c + i * BOUNDS_LANES];
            }
            UNROLL for (uint32_t i = 0; i < BOUNDS_AHEAD; i++)
            {
                uint32_t at = (c + i * BOUNDS_LANES) * 16;
                bound_chunk(&ahead[i], high + at, low + at, a->stride, n_tokens, dot_high, dot_low);
            }
        }
        for (; c < n_chunks; c += BOUNDS_LANES) {
            const struct quad one = w[c];
            bound_chunk(&one, high + c * 16, low + c * 16, a->stride, n_tokens, dot_high, dot_low);
        }
    }
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        int32_t high = eighth_sum(dot_high[t]);
        int32_t low = eighth_sum(dot_low[t]);
        uint32_t row = first + (uint32_t)t;
        if (lane == 0 && r < a->n_vocab && row < n_wanted) {
            int32_t twice = (int32_t)(2U * (128U * (uint32_t)high + (uint32_t)low));
            const struct head_row of_row = {a->scale[r], a->err[r], a->norm[r]};
            store_bounds(a, &a->input[row], &of_row, twice, (size_t)row * a->n_vocab + r);
        }
    }
}

KERNEL(head_bounds_1, bounds, BOUNDS_THREADS)
{
    head_bounds(&a, 1);
}

KERNEL(head_bounds_4, bounds, BOUNDS_THREADS)
{
    head_bounds(&a, 4);
}

/* ---- with matrix instructions ---- */

/* Twice 128 times the sums of high parts plus those of low ones, which lie in the second half of the waves. */
DEVICE void join_parts(struct matmul_shape s, struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    uint32_t is_low = matmul_token_group(s);
    UNROLL for (uint32_t t = 0; t < s.tiles; t++)
    {
        UNROLL for (uint32_t j = 0; j < MATMUL_ROW_TILES; j++)
        {
            UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
            {
                c[t][j].c[i] = (int32_t)((uint32_t)c[t][j].c[i] << (is_low ? 1 : 8));
            }
        }
    }
    matmul_join(2, is_low, matmul_row_group(s), matmul_row_groups(s), s.tiles,
                (int32_t *)SHARED_MEMORY, c);
}

/* 128 rows of the head by 16 * tiles tokens, whose high parts go to half of the waves and low parts to the others. */
DEVICE void head_bounds_tiles(const struct hip_bounds_args *a, uint32_t tiles,
                              struct matmul_shape s)
{
    launch_next();
    uint32_t first = block_y() * 16 * tiles;
    if (first >= a->step->n_wanted) {
        wait_previous();
        return;
    }
    const struct matmul m = {
        .q = a->high + (size_t)first * a->stride,
        .q_low = a->low + (size_t)first * a->stride,
        .weights = (const uint8_t *)a->head8,
        .stride = a->stride,
        .row_bytes = a->stride,
        .row0 = block_x() * matmul_rows(s),
        .last = a->n_vocab - 1,
    };
    struct matrix_outputs c[MATMUL_MAX_TILES][MATMUL_ROW_TILES];
    matmul_run(&m, s, (int8_t *)SHARED_MEMORY, c);
    if (MATRIX_LAYOUT == MATRIX_WGMMA) { /* a wave has both parts */
        UNROLL for (uint32_t t = 0; t < tiles; t++)
        {
            UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
            {
                c[t][0].c[i] =
                    (int32_t)(((uint32_t)c[t][0].c[i] << 8) +
                              ((uint32_t)c[(tiles + t) % MATMUL_MAX_TILES][0].c[i] << 1));
            }
        }
    } else {
        join_parts(s, c);
        if (matmul_token_group(s) != 0) {
            return;
        }
    }
    uint32_t row0 = m.row0 + matmul_row_group(s) * MATMUL_ROW_TILES * 16;
    struct head_row rows[MATMUL_ROW_TILES][MATRIX_OUTPUTS];
    UNROLL for (uint32_t j = 0; j < MATMUL_ROW_TILES; j++)
    {
        UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
        {
            uint32_t r = least_u32(row0 + 16 * j + matrix_output_row(i), m.last);
            rows[j][i].scale = a->scale[r];
            rows[j][i].err = a->err[r];
            rows[j][i].norm = a->norm[r];
        }
    }
    uint32_t n_wanted = a->step->n_wanted;
    UNROLL for (uint32_t t = 0; t < tiles; t++)
    {
        struct hip_head_input in[MATRIX_OUTPUTS];
        UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
        {
            in[i] = a->input[least_u32(first + 16 * t + matrix_output_token(i), n_wanted - 1)];
        }
        UNROLL for (uint32_t j = 0; j < MATMUL_ROW_TILES; j++)
        {
            UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
            {
                uint32_t row = first + 16 * t + matrix_output_token(i);
                uint32_t r = row0 + 16 * j + matrix_output_row(i);
                if (row < n_wanted && r <= m.last) {
                    store_bounds(a, &in[i], &rows[j][i], c[t][j].c[i],
                                 (size_t)row * a->n_vocab + r);
                }
            }
        }
    }
}

#if MATRIX_LAYOUT == MATRIX_WGMMA
#define BOUNDS_SHAPE(n_tiles, n_stages, wg_stages)                                                 \
    {                                                                                              \
        .threads = BOUNDS_THREADS, .tiles = 2 * (n_tiles), .token_groups = 1, .k_groups = 1,       \
        .stages = wg_stages, .units = 1, .cols = 128, .is_int8 = true                              \
    }
#else
#define BOUNDS_SHAPE(n_tiles, n_stages, wg_stages)                                                 \
    {                                                                                              \
        .threads = BOUNDS_THREADS, .tiles = n_tiles, .token_groups = 2, .k_groups = 1,             \
        .stages = n_stages, .units = 1, .cols = 64, .is_int8 = true                                \
    }
#endif

KERNEL(head_bounds_16, bounds, BOUNDS_THREADS)
{
    const struct matmul_shape s = BOUNDS_SHAPE(1, 3, 4);
    head_bounds_tiles(&a, 1, s);
}

KERNEL(head_bounds_32, bounds, BOUNDS_THREADS)
{
    const struct matmul_shape s = BOUNDS_SHAPE(2, 2, 4);
    head_bounds_tiles(&a, 2, s);
}

KERNEL(head_bounds_64, bounds, BOUNDS_THREADS)
{
    const struct matmul_shape s = BOUNDS_SHAPE(4, 2, 3);
    head_bounds_tiles(&a, 4, s);
}
