/* SPDX-License-Identifier: MIT */
/* linear_N: ternary weights times int8 activations by dot4, for 1 to 4 tokens; linear_group_N with scales of
 * groups of 64 or 128 columns, for any number.
 *
 * Eight lanes share a row of weights: they load 128 bytes that follow each other (16 each), a wave four
 * rows at once, and the sum over lanes takes three exchanges. Row sizes are multiples of 32 bytes, of 640
 * (2560 columns) five rounds exactly, of 1728 (6912) 13.5. A dword has 16 weights, as codes t + 1 of two
 * bits: for k = 0..3 its bytes' bits 2k are columns 32k + 4i.. of the unit of 128, so a mask makes the
 * operand of a dot4 with four activations that follow each other, and sum(t q) = sum(c q) - sum(q).
 *   1 token: masks 03, 0c, 30 without shifts, in accumulators of their own (c times 1, 4, 16: below 2^31
 *   for 2^18 columns), a shift for the top pair: 5 + 4 instructions a dword. More tokens share the
 *   unpacking: 7 + 4 N.
 * Activations come through the first-level cache; four rows of a wave read the same ones.
 *
 * Bytes: 2 bits a weight, once. At 2560 x 2560 1.6 MB: 0.38 us at an H200's 4.3 TB/s, 6.4 us at 256 GB/s.
 * Instructions, counted in gfx1151's code: 226 for 64 bytes of codes a lane with their loads and addresses,
 * 3.5 a byte. 40 CUs x 64 lanes x 2.9 GHz issue 7.4 T/s: 2.1 TB/s of codes, 8 times what memory gives. So
 * bytes bind there, and latency on an H200: 6.3 us a launch on average (2026-11, tests/gpu/run), so few.hip takes
 * its place where it can; models with rotated inputs or group scales still come here.
 *
 * Group scales: the definition has 16 float chains a row, by column / 4 mod 16. Dword i of a unit belongs to
 * chain i for even k and 8 + i for odd k, so lane i of the eight carries those two chains, loads 4 bytes
 * of each unit, and nothing is exchanged before the end. */
#include "kernels/hip/device.h"

enum {
    LINEAR_THREADS = 256,
    LINEAR_LANES = 8, /* that share a row */
    LINEAR_ROWS = LINEAR_THREADS / LINEAR_LANES,
    LINEAR_UNIT = 128, /* columns */
    LINEAR_UNIT_BYTES = 32,
    LINEAR_MAX_TOKENS = 4,
    LINEAR_AHEAD = 4, /* loads of weights before the first is used */
};

/* Which part of the launch a block works for. */
DEVICE const struct hip_linear_part *linear_part(const struct hip_linear_args *a, uint32_t tile)
{
    uint32_t i = 0;
    i += a->n_parts > 1 && tile >= a->parts[1].first_tile;
    i += a->n_parts > 2 && tile >= a->parts[2].first_tile;
    return &a->parts[i];
}

DEVICE int32_t eighth_add_i32(int32_t v)
{
    v += lane_xor_i32(v, 4);
    v += lane_xor_i32(v, 2);
    v += lane_xor_i32(v, 1);
    return v;
}

/* acc[0..3] += the 64 codes of `w` times one token's activations at q; acc[k] counts 1, 4, 16, 1 fold. */
DEVICE void dot_chunk_1(const struct quad *w, const int8_t *q, int32_t *acc)
{
    UNROLL for (int k = 0; k < 4; k++)
    {
        const struct quad x = *(const struct quad *)(const void *)(q + 32 * k);
        uint32_t mask = k == 3 ? 0x03030303U : 0x03030303U << 2 * k;
        UNROLL for (int i = 0; i < 4; i++)
        {
            acc[k] = dot4((k == 3 ? w->w[i] >> 6 : w->w[i]) & mask, x.w[i], acc[k]);
        }
    }
}

/* acc[t] += the same for n tokens. */
DEVICE void dot_chunk(const struct quad *w, const int8_t *q, uint32_t stride, int n, int32_t *acc)
{
    UNROLL for (int k = 0; k < 4; k++)
    {
        struct quad c;
        UNROLL for (int i = 0; i < 4; i++)
        {
            c.w[i] = w->w[i] >> 2 * k & 0x03030303U;
        }
        UNROLL for (int t = 0; t < n; t++)
        {
            const struct quad x =
                *(const struct quad *)(const void *)(q + (size_t)t * stride + 32 * k);
            UNROLL for (int i = 0; i < 4; i++)
            {
                acc[t] = dot4(c.w[i], x.w[i], acc[t]);
            }
        }
    }
}

DEVICE void add_chunk(const struct quad *w, const int8_t *q, uint32_t c, uint32_t stride, int n,
                      int32_t *acc)
{
    q += c / 2 * LINEAR_UNIT + c % 2 * 16;
    if (n == 1) {
        dot_chunk_1(w, q, acc);
    } else {
        dot_chunk(w, q, stride, n, acc);
    }
}

DEVICE void linear_few(const struct hip_linear_args *a, int n_tokens)
{
    wait_previous();
    launch_next();
    uint32_t first = block_y() * (uint32_t)n_tokens;
    uint32_t n_rows = a->step->n_rows;
    if (first >= n_rows) {
        return;
    }
    const struct hip_linear_part *p = linear_part(a, block_x());
    uint32_t lane = thread_id() % LINEAR_LANES;
    uint32_t r = (block_x() - p->first_tile) * LINEAR_ROWS + thread_id() / LINEAR_LANES;
    uint32_t n_chunks = a->q_stride / LINEAR_UNIT * 2; /* of 16 bytes */
    int32_t acc[LINEAR_MAX_TOKENS] = {0};
    if (r < p->n_rows) {
        const struct quad *w =
            (const struct quad *)(const void *)(p->codes + (size_t)r * n_chunks * sizeof *w);
        /* Rows past the last token lie in the buffer; what they give is not stored. */
        const int8_t *q = a->q + (size_t)first * a->q_stride;
        uint32_t c = lane;
        for (; c + (LINEAR_AHEAD - 1) * LINEAR_LANES < n_chunks; c += LINEAR_AHEAD * LINEAR_LANES) {
            struct quad codes[LINEAR_AHEAD];
            UNROLL for (uint32_t i = 0; i < LINEAR_AHEAD; i++)
            {
                codes[i] = w[c + i * LINEAR_LANES];
            }
            UNROLL for (uint32_t i = 0; i < LINEAR_AHEAD; i++)
            {
                add_chunk(&codes[i], q, c + i * LINEAR_LANES, a->q_stride, n_tokens, acc);
            }
        }
        for (; c < n_chunks; c += LINEAR_LANES) {
            const struct quad codes = w[c];
            add_chunk(&codes, q, c, a->q_stride, n_tokens, acc);
        }
    }
    if (n_tokens == 1) {
        acc[0] += acc[1] / 4 + acc[2] / 16 + acc[3];
    }
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        int32_t sum = eighth_add_i32(acc[t]);
        uint32_t row = first + (uint32_t)t;
        if (lane == 0 && r < p->n_rows && row < n_rows) {
            float y = (float)(sum - a->x_sum[row]) * a->x_scale[row];
            p->y[(size_t)row * p->n_rows + r] = y * p->scales[r / p->rows_per_scale];
        }
    }
}

KERNEL(linear_1, linear, LINEAR_THREADS)
{
    linear_few(&a, 1);
}

KERNEL(linear_2, linear, LINEAR_THREADS)
{
    linear_few(&a, 2);
}

KERNEL(linear_4, linear, LINEAR_THREADS)
{
    linear_few(&a, 4);
}

/* ---- group scales ---- */

/* The chains of lane i for one group of 64 columns, which is half a unit: planes 2 h and 2 h + 1 of the
 * dword w. Codes count from 0, so -1 for each comes in as a dot4 with the activations' own sum. */
DEVICE void dot_half(uint32_t w, uint32_t h, const int8_t *q, int32_t *even, int32_t *odd)
{
    UNROLL for (uint32_t k = 0; k < 2; k++)
    {
        uint32_t x = *(const uint32_t *)(const void *)(q + 32 * (2 * h + k));
        uint32_t c = w >> 2 * (2 * h + k) & 0x03030303U;
        int32_t *to = k == 0 ? even : odd;
        *to = dot4(0xffffffffU, x, dot4(c, x, *to));
    }
}

DEVICE void linear_group(const struct hip_linear_args *a, int n_tokens)
{
    wait_previous();
    launch_next();
    uint32_t first = block_y() * (uint32_t)n_tokens;
    uint32_t n_rows = a->step->n_rows;
    if (first >= n_rows) {
        return;
    }
    const struct hip_linear_part *p = linear_part(a, block_x());
    uint32_t lane = thread_id() % LINEAR_LANES;
    uint32_t r = (block_x() - p->first_tile) * LINEAR_ROWS + thread_id() / LINEAR_LANES;
    uint32_t n_units = a->q_stride / LINEAR_UNIT;
    uint32_t n_groups = a->n_cols / a->group;
    float even[LINEAR_MAX_TOKENS] = {0};
    float odd[LINEAR_MAX_TOKENS] = {0};
    if (r < p->n_rows) {
        const uint32_t *w = (const uint32_t *)(const void *)(p->codes + (size_t)r * n_units *
                                                                           LINEAR_UNIT_BYTES) +
                            lane;
        const float *scales = p->scales + (size_t)r * n_groups;
        const int8_t *q = a->q + (size_t)first * a->q_stride + 4 * lane;
        uint32_t ahead[LINEAR_AHEAD]; /* codes of the units from u on */
        UNROLL for (uint32_t i = 0; i < LINEAR_AHEAD; i++)
        {
            ahead[i] = w[least_u32(i, n_units - 1) * (LINEAR_UNIT_BYTES / 4)];
        }
        for (uint32_t u = 0; u < n_units; u++) {
            uint32_t codes = ahead[0];
            UNROLL for (uint32_t i = 1; i < LINEAR_AHEAD; i++)
            {
                ahead[i - 1] = ahead[i];
            }
            ahead[LINEAR_AHEAD - 1] =
                w[least_u32(u + LINEAR_AHEAD, n_units - 1) * (LINEAR_UNIT_BYTES / 4)];
            UNROLL for (int t = 0; t < n_tokens; t++)
            {
                uint32_t row = first + (uint32_t)t;
                if (row >= n_rows) {
                    continue; /* its scales are not there */
                }
                const int8_t *at = q + (size_t)t * a->q_stride + u * LINEAR_UNIT;
                const float *xs = a->x_scale + (size_t)row * n_groups;
                int32_t pe = 0;
                int32_t po = 0;
                UNROLL for (uint32_t h = 0; h < 2; h++)
                {
                    uint32_t g = a->group == LINEAR_UNIT ? u : 2 * u + h;
                    dot_half(codes, h, at, &pe, &po);
                    if ((a->group == LINEAR_UNIT && h == 0) || g >= n_groups) {
                        continue;
                    }
                    float s = xs[g] * scales[g];
                    even[t] = fma_f32((float)pe, s, even[t]);
                    odd[t] = fma_f32((float)po, s, odd[t]);
                    pe = 0;
                    po = 0;
                }
            }
        }
    }
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        uint32_t row = first + (uint32_t)t;
        float f = even[t] + odd[t];
        f += lane_xor_f32(f, 4);
        f += lane_xor_f32(f, 2);
        f += lane_xor_f32(f, 1);
        if (lane == 0 && r < p->n_rows && row < n_rows) {
            p->y[(size_t)row * p->n_rows + r] = f;
        }
    }
}

KERNEL(linear_group_1, linear, LINEAR_THREADS)
{
    linear_group(&a, 1);
}

KERNEL(linear_group_4, linear, LINEAR_THREADS)
{
    linear_group(&a, 4);
}
