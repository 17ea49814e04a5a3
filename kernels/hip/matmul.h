/* SPDX-License-Identifier: MIT */
/* matmul: the loop of all kernels that use matrix instructions: int8 rows of tokens by rows of weights, which are
 * T2 codes or int8, into int32 sums in registers.
 *
 * A wave has 16 * tiles tokens by 32 rows of weights (64 where it has 64 lanes; 16 with wgmma). The waves of a block lie in
 * token_groups x k_groups x as many row groups as are left; k groups take the units of columns in turns, and
 * matmul_join adds theirs up. The tokens of a unit (and its weights, where they are int8) go through shared memory for
 * all waves, `stages` units deep: on NVIDIA by copies that need no registers; on AMD, whose loop has two stages,
 * by registers that are loaded a unit ahead. Codes go straight into operands, loaded a unit ahead.
 *
 * Rows in shared memory are so far apart that the lanes of one load meet no bank twice: 8 bytes a lane and
 * four rows at once (MMA, MFMA) want an odd number of 32 bytes, 16 bytes and eight rows (WMMA) of 16. */
#ifndef HALO_KERNELS_HIP_MATMUL_H
#define HALO_KERNELS_HIP_MATMUL_H

#include "kernels/hip/device.h"
#include "kernels/hip/matrix.h"

enum {
    MATMUL_ROW_TILES = MATRIX_LAYOUT == MATRIX_WGMMA ? 1 : MATRIX_LANES / 16, /* of a wave */
    MATMUL_MAX_TILES = MATRIX_LAYOUT == MATRIX_WGMMA ? 8 : 4,
    MATMUL_PAD = MATRIX_PARTS == 4 ? 32 : 16,
    MATMUL_UNIT_BYTES = 32, /* of codes: 128 columns */
    MATMUL_CODE_WORDS = MATRIX_WORDS,
};

/* Constants of a kernel. */
struct matmul_shape {
    uint32_t threads;
    uint32_t tiles, token_groups, k_groups, stages;
    uint32_t units; /* of a step and k group, in wgmma.h; a power of two */
    uint32_t cols; /* of a unit: 128, or 64 of int8 weights */
    bool is_int8;
};

struct matmul {
    const int8_t *q; /* first token's row */
    const int8_t
        *q_low; /* with int8 weights: the rows of the second half of the tokens; else unused */
    const uint8_t *weights;
    uint32_t stride; /* bytes of a row of q, and of int8 weights */
    uint32_t row_bytes; /* of weights */
    uint32_t row0; /* of weights, the block's first */
    uint32_t last; /* row of weights; rows beyond it give something that is not stored */
};

DEVICE uint32_t matmul_tokens(struct matmul_shape s)
{
    return 16 * s.tiles * s.token_groups;
}

DEVICE uint32_t matmul_row_groups(struct matmul_shape s)
{
    return s.threads / MATRIX_LANES / s.token_groups / s.k_groups;
}

DEVICE uint32_t matmul_rows(struct matmul_shape s)
{
    return matmul_row_groups(s) * MATMUL_ROW_TILES * 16;
}

/* Where a wave stands; row groups follow each other. */
DEVICE uint32_t matmul_row_group(struct matmul_shape s)
{
    return thread_id() / MATRIX_LANES % matmul_row_groups(s);
}

DEVICE uint32_t matmul_k_group(struct matmul_shape s)
{
    return thread_id() / MATRIX_LANES / matmul_row_groups(s) % s.k_groups;
}

DEVICE uint32_t matmul_token_group(struct matmul_shape s)
{
    return thread_id() / MATRIX_LANES / matmul_row_groups(s) / s.k_groups;
}

#if MATRIX_LAYOUT == MATRIX_WGMMA
#include "kernels/hip/wgmma.h"
#else
DEVICE uint32_t matmul_stage_rows(struct matmul_shape s)
{
    return s.k_groups * matmul_tokens(s) + (s.is_int8 ? matmul_rows(s) : 0);
}

DEVICE uint32_t matmul_stage_bytes(struct matmul_shape s)
{
    return matmul_stage_rows(s) * (s.cols + MATMUL_PAD);
}

/* Of the 16 bytes that a thread carries of a stage. */
DEVICE uint32_t matmul_n_shares(struct matmul_shape s)
{
    return (matmul_stage_rows(s) * (s.cols / 16) + s.threads - 1) / s.threads;
}

/* The thread's i-th 16 bytes of step `step`, where they come from and where they go. Past the end, of the stage
 * or of the columns, it is the last ones again. */
DEVICE void matmul_share(const struct matmul *m, struct matmul_shape s, uint32_t step, uint32_t i,
                         const int8_t **ret_from, uint32_t *ret_to)
{
    uint32_t per_row = s.cols / 16;
    uint32_t id = i * s.threads + thread_id();
    uint32_t row = least_u32(id / per_row, matmul_stage_rows(s) - 1);
    uint32_t tokens = matmul_tokens(s);
    uint32_t at = id % per_row * 16;
    uint32_t last_unit = m->stride / s.cols - 1;
    *ret_to = row * (s.cols + MATMUL_PAD) + at;
    if (s.is_int8) {
        const int8_t *from = row < tokens / 2 ? m->q + (size_t)row * m->stride
                                              : m->q_low + (size_t)(row - tokens / 2) * m->stride;
        if (row >= tokens) {
            uint32_t r = least_u32(m->row0 + row - tokens, m->last);
            from = (const int8_t *)m->weights + (size_t)r * m->stride;
        }
        *ret_from = from + least_u32(step, last_unit) * s.cols + at;
    } else {
        uint32_t group = row / tokens;
        uint32_t unit = least_u32(step * s.k_groups + group, last_unit);
        *ret_from = m->q + (size_t)(row - group * tokens) * m->stride + unit * s.cols + at;
    }
}

/* One group of copies; an empty one past the last step, so that none is under way when the loop ends. */
DEVICE void matmul_copy(const struct matmul *m, struct matmul_shape s, uint32_t step,
                        uint32_t n_steps, int8_t *stage)
{
    if (step < n_steps) {
        UNROLL for (uint32_t i = 0; i < matmul_n_shares(s); i++)
        {
            const int8_t *from;
            uint32_t to;
            matmul_share(m, s, step, i, &from, &to);
            copy16(stage + to, from);
        }
    }
    copy_commit();
}

/* A thread's shares of a stage, in registers: no array, which LLVM 19 would leave in memory. */
struct matmul_shares {
    struct quad first, second, third, fourth;
};

DEVICE struct quad matmul_load_share(const struct matmul *m, struct matmul_shape s, uint32_t step,
                                     uint32_t i)
{
    const int8_t *from;
    uint32_t to;
    matmul_share(m, s, step, least_u32(i, matmul_n_shares(s) - 1), &from, &to);
    return *(const struct quad *)(const void *)from;
}

DEVICE struct matmul_shares matmul_load(const struct matmul *m, struct matmul_shape s,
                                        uint32_t step)
{
    struct matmul_shares x;
    x.first = matmul_load_share(m, s, step, 0);
    x.second = matmul_load_share(m, s, step, 1);
    x.third = matmul_load_share(m, s, step, 2);
    x.fourth = matmul_load_share(m, s, step, 3);
    return x;
}

DEVICE void matmul_store_share(const struct matmul *m, struct matmul_shape s, uint32_t i,
                               struct quad x, int8_t *stage)
{
    const int8_t *from;
    uint32_t to;
    if (i < matmul_n_shares(s)) {
        matmul_share(m, s, 0, i, &from, &to);
        *(struct quad *)(void *)(stage + to) = x;
    }
}

DEVICE void matmul_store(const struct matmul *m, struct matmul_shape s, struct matmul_shares x,
                         int8_t *stage)
{
    matmul_store_share(m, s, 0, x.first, stage);
    matmul_store_share(m, s, 1, x.second, stage);
    matmul_store_share(m, s, 2, x.third, stage);
    matmul_store_share(m, s, 3, x.fourth, stage);
}

/* The lane's dwords of 32 columns of 16 rows at `at`. */
DEVICE struct matrix_operand matmul_operand(const int8_t *at, uint32_t stride)
{
    struct matrix_operand o;
    UNROLL for (uint32_t h = 0; h < MATRIX_LANE_ROWS; h++)
    {
        const int8_t *from = at + (size_t)matrix_row(h) * stride + 4 * matrix_first();
        __builtin_memcpy(o.w + h * MATRIX_RUN,
                         __builtin_assume_aligned(from, MATRIX_RUN * 4 < 16 ? MATRIX_RUN * 4 : 16),
                         MATRIX_RUN * 4);
    }
    return o;
}

/* The lane's dwords of a unit's codes, for 16 rows from row0 on. */
DEVICE struct matrix_operand matmul_codes(const struct matmul *m, uint32_t row0, uint32_t unit)
{
    struct matrix_operand o;
    UNROLL for (uint32_t h = 0; h < MATRIX_LANE_ROWS; h++)
    {
        uint32_t r = least_u32(row0 + matrix_row(h), m->last);
        const uint8_t *from =
            m->weights + (size_t)r * m->row_bytes + unit * MATMUL_UNIT_BYTES + 4 * matrix_first();
        __builtin_memcpy(o.w + h * MATRIX_RUN,
                         __builtin_assume_aligned(from, MATRIX_RUN * 4 < 16 ? MATRIX_RUN * 4 : 16),
                         MATRIX_RUN * 4);
    }
    return o;
}

DEVICE struct matrix_operand matmul_unpack(const struct matrix_operand *codes, uint32_t k)
{
    struct matrix_operand o;
    UNROLL for (uint32_t i = 0; i < MATRIX_WORDS; i++)
    {
        o.w[i] = codes->w[i] >> 2 * k & 0x03030303U;
    }
    return o;
}

/* c += one unit, whose tokens lie in `stage`. */
DEVICE void matmul_unit(struct matmul_shape s, const struct matrix_operand *codes,
                        const int8_t *stage, struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    uint32_t stride = s.cols + MATMUL_PAD;
    uint32_t tokens = matmul_tokens(s);
    const int8_t *q =
        stage +
        (size_t)(matmul_k_group(s) * tokens + matmul_token_group(s) * 16 * s.tiles) * stride;
    const int8_t *weights =
        stage + (size_t)(tokens + matmul_row_group(s) * MATMUL_ROW_TILES * 16) * stride;
    UNROLL for (uint32_t k = 0; k < s.cols / 32; k++)
    {
        struct matrix_operand w[MATMUL_ROW_TILES];
        UNROLL for (uint32_t i = 0; i < MATMUL_ROW_TILES; i++)
        {
            w[i] = s.is_int8 ? matmul_operand(weights + (size_t)16 * i * stride + 32 * k, stride)
                             : matmul_unpack(&codes[i], k);
        }
        UNROLL for (uint32_t t = 0; t < s.tiles; t++)
        {
            struct matrix_operand x = matmul_operand(q + (size_t)16 * t * stride + 32 * k, stride);
            UNROLL for (uint32_t i = 0; i < MATMUL_ROW_TILES; i++)
            {
                matrix_step(&x, &w[i], &c[t][i]);
            }
        }
    }
}

DEVICE void matmul_load_codes(const struct matmul *m, struct matmul_shape s, uint32_t unit,
                              struct matrix_operand *codes)
{
    uint32_t row0 = m->row0 + matmul_row_group(s) * MATMUL_ROW_TILES * 16;
    uint32_t n_units = m->stride / s.cols;
    UNROLL for (uint32_t i = 0; i < MATMUL_ROW_TILES; i++)
    {
        codes[i] = matmul_codes(m, row0 + 16 * i, least_u32(unit, n_units - 1));
    }
}

/* c[tile of tokens][tile of rows] = the wave's sums over its units. All threads of the block; waits for the launch
 * ahead, after the first load of codes. */
DEVICE void matmul_run(const struct matmul *m, struct matmul_shape s, int8_t *shared,
                       struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    UNROLL for (uint32_t i = 0; i < s.tiles * MATMUL_ROW_TILES * MATRIX_OUTPUTS; i++)
    {
        c[i / MATRIX_OUTPUTS / MATMUL_ROW_TILES][i / MATRIX_OUTPUTS % MATMUL_ROW_TILES]
            .c[i % MATRIX_OUTPUTS] = 0;
    }
    uint32_t n_units = m->stride / s.cols;
    uint32_t n_steps = (n_units + s.k_groups - 1) / s.k_groups;
    uint32_t stage_bytes = matmul_stage_bytes(s);
    struct matrix_operand next[MATMUL_ROW_TILES];
    struct matmul_shares shares;
    uint32_t k_group = matmul_k_group(s);
    if (!s.is_int8) {
        matmul_load_codes(m, s, k_group, next);
    }
    wait_previous();
    if (SHIM_HAS_COPIES) {
        UNROLL for (uint32_t i = 0; i < s.stages - 1; i++)
        {
            matmul_copy(m, s, i, n_steps, shared + i * stage_bytes);
        }
    } else {
        shares = matmul_load(m, s, 0);
    }
    uint32_t stage = 0;
    for (uint32_t step = 0; step < n_steps; step++) {
        int8_t *now = shared + stage * stage_bytes;
        if (SHIM_HAS_COPIES) {
            copy_wait(s.stages - 2);
        } else {
            matmul_store(m, s, shares, now);
        }
        barrier();
        struct matrix_operand codes[MATMUL_ROW_TILES];
        UNROLL for (uint32_t i = 0; i < MATMUL_ROW_TILES; i++)
        {
            codes[i] = next[i];
        }
        if (!s.is_int8) {
            matmul_load_codes(m, s, (step + 1) * s.k_groups + k_group, next);
        }
        if (SHIM_HAS_COPIES) {
            uint32_t into = stage == 0 ? s.stages - 1 : stage - 1;
            matmul_copy(m, s, step + s.stages - 1, n_steps, shared + into * stage_bytes);
            stage = stage + 1 == s.stages ? 0 : stage + 1;
        } else {
            shares = matmul_load(m, s, step + 1);
            stage ^= 1;
        }
        if (step * s.k_groups + k_group < n_units) {
            matmul_unit(s, codes, now, c);
        }
    }
}

#endif

/* The sums of k groups into those of the first, or what `groups` of waves have into the first of each; the order is
 * free. Waves number: first groups, then the rest. */
DEVICE void matmul_join(uint32_t n_groups, uint32_t group, uint32_t wave, uint32_t n_waves,
                        uint32_t tiles, int32_t *slots,
                        struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    uint32_t n_each = tiles * MATMUL_ROW_TILES * MATRIX_OUTPUTS;
    barrier(); /* stages were read */
    if (group > 0) {
        int32_t *to = slots + ((group - 1) * n_waves + wave) * n_each * MATRIX_LANES;
        UNROLL for (uint32_t i = 0; i < n_each; i++)
        {
            to[i * MATRIX_LANES + matrix_lane()] =
                c[i / MATRIX_OUTPUTS / MATMUL_ROW_TILES][i / MATRIX_OUTPUTS % MATMUL_ROW_TILES]
                    .c[i % MATRIX_OUTPUTS];
        }
    }
    barrier();
    if (group == 0) {
        UNROLL for (uint32_t g = 1; g < n_groups; g++)
        {
            const int32_t *from = slots + ((g - 1) * n_waves + wave) * n_each * MATRIX_LANES;
            UNROLL for (uint32_t i = 0; i < n_each; i++)
            {
                c[i / MATRIX_OUTPUTS / MATMUL_ROW_TILES][i / MATRIX_OUTPUTS % MATMUL_ROW_TILES]
                    .c[i % MATRIX_OUTPUTS] += from[i * MATRIX_LANES + matrix_lane()];
            }
        }
    }
}

#endif
