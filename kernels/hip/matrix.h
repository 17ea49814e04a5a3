/* SPDX-License-Identifier: MIT */
/* matrix: one step of 16 x 16 outputs by 32 columns with the integer matrix instruction of each GPU.
 *
 * The operands of a step are bytes as the lanes hold them: MATRIX_WORDS dwords of the tokens' rows and as many
 * of the weights' rows. Which columns a lane has is free as long as it is the same for both, so a lane
 * of part j takes the dwords [j * MATRIX_RUN, (j + 1) * MATRIX_RUN) of the eight that the 32 columns are, and of
 * T2 codes the same dwords of the unit: one load serves four steps, one for each pair of bits.
 *
 *   layout   instruction                   lanes  parts  dwords of a step  row of a lane     output i of lane l
 *   WMMA11   2 wmma 16x16x16 iu8           32     1      8                 l % 16            2 i + l / 16, l % 16
 *   WMMA12   2 wmma 16x16x16 iu8 (gfx12)   32     2      4                 l % 16            8 (l / 16) + i, l % 16
 *   MFMA32   1 mfma 16x16x32 i8            64     4      2                 l % 16            4 (l / 16) + i, l % 16
 *   MFMA16   2 mfma 16x16x16 i8            64     4      2                 l % 16            4 (l / 16) + i, l % 16
 *   MMA      2 mma m16n8k32 s8             32     4      2 of two rows     l / 4, l / 4 + 8  l / 4 + 8 (i / 2 % 2),
 *                                                                                8 (i / 4) + 2 (l % 4) + i % 2
 *   WGMMA    wgmma.h                       32                                               8 (i / 4) + 2 (l % 4) + i % 2,
 *                                                                                l / 4 + 8 (i / 2 % 2)
 * Outputs are (token, weights' row). On the CPU, MATRIX_LAYOUT chooses which one is played. */
#ifndef HALO_KERNELS_HIP_MATRIX_H
#define HALO_KERNELS_HIP_MATRIX_H

#include "kernels/hip/shim.h"

#define MATRIX_WMMA11 0
#define MATRIX_WMMA12 1
#define MATRIX_MFMA32 2
#define MATRIX_MFMA16 3
#define MATRIX_MMA 4
#define MATRIX_WGMMA 5 /* the outputs are wgmma.h's; matrix_step is MMA's */

#if SHIM_AMD && defined(__GFX11__)
#define MATRIX_LAYOUT MATRIX_WMMA11
#elif SHIM_AMD && defined(__GFX12__)
#define MATRIX_LAYOUT MATRIX_WMMA12
#elif SHIM_AMD && defined(__gfx942__)
#define MATRIX_LAYOUT MATRIX_MFMA32
#elif SHIM_AMD
#define MATRIX_LAYOUT MATRIX_MFMA16
#elif SHIM_NVIDIA && defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MATRIX_LAYOUT MATRIX_WGMMA
#elif SHIM_NVIDIA
#define MATRIX_LAYOUT MATRIX_MMA
#elif !defined(MATRIX_LAYOUT)
#define MATRIX_LAYOUT MATRIX_WMMA11
#endif

#if MATRIX_LAYOUT == MATRIX_MFMA32 || MATRIX_LAYOUT == MATRIX_MFMA16
#define MATRIX_LANES 64
#else
#define MATRIX_LANES 32
#endif
#if MATRIX_LAYOUT == MATRIX_WMMA11
#define MATRIX_PARTS 1
#elif MATRIX_LAYOUT == MATRIX_WMMA12
#define MATRIX_PARTS 2
#else
#define MATRIX_PARTS 4
#endif
/* Beside wgmma.h matrix_step is MMA's. */
#define MATRIX_IS_MMA (MATRIX_LAYOUT == MATRIX_MMA || MATRIX_LAYOUT == MATRIX_WGMMA)
#if MATRIX_IS_MMA
#define MATRIX_LANE_ROWS 2
#else
#define MATRIX_LANE_ROWS 1
#endif

enum {
    MATRIX_RUN = 8 / MATRIX_PARTS, /* dwords of one row that follow each other */
    MATRIX_WORDS = MATRIX_RUN * MATRIX_LANE_ROWS,
    MATRIX_OUTPUTS = 256 / MATRIX_LANES,
};

struct matrix_operand {
    uint32_t w[MATRIX_WORDS];
};

struct matrix_outputs {
    int32_t c[MATRIX_OUTPUTS];
};

DEVICE uint32_t matrix_lane(void)
{
    return thread_id() % MATRIX_LANES;
}

/* The row in 0..15 of a lane's dwords from `which` * MATRIX_RUN on. */
DEVICE uint32_t matrix_row(uint32_t which)
{
    return MATRIX_IS_MMA ? matrix_lane() / 4 + 8 * which : matrix_lane() % 16;
}

/* And the first of them among the eight of 32 columns. */
DEVICE uint32_t matrix_first(void)
{
    uint32_t part = MATRIX_IS_MMA                    ? matrix_lane() % 4
                    : MATRIX_LAYOUT == MATRIX_WMMA11 ? 0
                                                     : matrix_lane() / 16;
    return part * MATRIX_RUN;
}

DEVICE uint32_t matrix_output_token(uint32_t i)
{
    uint32_t lane = matrix_lane();
    return MATRIX_LAYOUT == MATRIX_WMMA11   ? 2 * i + lane / 16
           : MATRIX_LAYOUT == MATRIX_WMMA12 ? 8 * (lane / 16) + i
           : MATRIX_LAYOUT == MATRIX_MMA    ? lane / 4 + 8 * (i / 2 % 2)
           : MATRIX_LAYOUT == MATRIX_WGMMA  ? 8 * (i / 4) + 2 * (lane % 4) + i % 2
                                            : 4 * (lane / 16) + i;
}

DEVICE uint32_t matrix_output_row(uint32_t i)
{
    uint32_t lane = matrix_lane();
    return MATRIX_LAYOUT == MATRIX_MMA     ? 8 * (i / 4) + 2 * (lane % 4) + i % 2
           : MATRIX_LAYOUT == MATRIX_WGMMA ? lane / 4 + 8 * (i / 2 % 2)
                                           : lane % 16;
}

/* The same of matrix_step: another one only beside wgmma.h. */
DEVICE uint32_t matrix_step_token(uint32_t i)
{
    return MATRIX_IS_MMA ? matrix_lane() / 4 + 8 * (i / 2 % 2) : matrix_output_token(i);
}

DEVICE uint32_t matrix_step_row(uint32_t i)
{
    return MATRIX_IS_MMA ? 8 * (i / 4) + 2 * (matrix_lane() % 4) + i % 2 : matrix_output_row(i);
}

#if SHIM_AMD
typedef int matrix_v8i __attribute__((ext_vector_type(8)));
typedef int matrix_v4i __attribute__((ext_vector_type(4)));
typedef int matrix_v2i __attribute__((ext_vector_type(2)));
#endif

/* c += tokens * weights^T, signed bytes. All lanes together. */
DEVICE void matrix_step(const struct matrix_operand *t, const struct matrix_operand *w,
                        struct matrix_outputs *c)
{
#if SHIM_AMD && (MATRIX_LAYOUT == MATRIX_WMMA11 || MATRIX_LAYOUT == MATRIX_WMMA12)
    matrix_v8i v;
    __builtin_memcpy(&v, c->c, sizeof v);
    for (int h = 0; h < 2; h++) {
#if MATRIX_LAYOUT == MATRIX_WMMA11
        matrix_v4i a, b;
        __builtin_memcpy(&a, t->w + 4 * h, sizeof a);
        __builtin_memcpy(&b, w->w + 4 * h, sizeof b);
        v = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, a, true, b, v, false);
#else
        matrix_v2i a, b;
        __builtin_memcpy(&a, t->w + 2 * h, sizeof a);
        __builtin_memcpy(&b, w->w + 2 * h, sizeof b);
        v = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, a, true, b, v, false);
#endif
    }
    __builtin_memcpy(c->c, &v, sizeof v);
#elif SHIM_AMD
    matrix_v4i v;
    __builtin_memcpy(&v, c->c, sizeof v);
#if MATRIX_LAYOUT == MATRIX_MFMA32
    long a, b;
    __builtin_memcpy(&a, t->w, sizeof a);
    __builtin_memcpy(&b, w->w, sizeof b);
    v = __builtin_amdgcn_mfma_i32_16x16x32_i8(a, b, v, 0, 0, 0);
#else
    v = __builtin_amdgcn_mfma_i32_16x16x16i8((int)t->w[0], (int)w->w[0], v, 0, 0, 0);
    v = __builtin_amdgcn_mfma_i32_16x16x16i8((int)t->w[1], (int)w->w[1], v, 0, 0, 0);
#endif
    __builtin_memcpy(c->c, &v, sizeof v);
#elif SHIM_NVIDIA
    for (int n = 0; n < 2; n++) {
        __asm__("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                : "+r"(c->c[4 * n]), "+r"(c->c[4 * n + 1]), "+r"(c->c[4 * n + 2]),
                  "+r"(c->c[4 * n + 3])
                : "r"(t->w[0]), "r"(t->w[2]), "r"(t->w[1]), "r"(t->w[3]), "r"(w->w[2 * n]),
                  "r"(w->w[2 * n + 1]));
    }
#else
    uint32_t both[2 * MATRIX_WORDS];
    for (uint32_t i = 0; i < MATRIX_WORDS; i++) {
        both[i] = t->w[i];
        both[MATRIX_WORDS + i] = w->w[i];
    }
    const uint32_t *all = fiber_gather(both, 2 * MATRIX_WORDS, MATRIX_LANES, __FILE__, __LINE__);
    for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++) {
        uint32_t token = matrix_step_token(i);
        uint32_t row = matrix_step_row(i);
        for (uint32_t k = 0; k < 8; k++) {
            uint32_t part = k / MATRIX_RUN;
            bool is_mma = MATRIX_IS_MMA;
            uint32_t t_lane = is_mma ? token % 8 * 4 + part : token + 16 * part;
            uint32_t w_lane = is_mma ? row % 8 * 4 + part : row + 16 * part;
            uint32_t t_word = k % MATRIX_RUN + (is_mma ? token / 8 * MATRIX_RUN : 0);
            uint32_t w_word = k % MATRIX_RUN + (is_mma ? row / 8 * MATRIX_RUN : 0);
            c->c[i] = dot4(all[t_lane * FIBER_GATHER + t_word],
                           all[w_lane * FIBER_GATHER + MATRIX_WORDS + w_word], c->c[i]);
        }
    }
#endif
}

/* c = tokens * weights^T: as matrix_step of zeros. */
DEVICE void matrix_start(const struct matrix_operand *t, const struct matrix_operand *w,
                         struct matrix_outputs *c)
{
#if SHIM_NVIDIA
    for (int n = 0; n < 2; n++) {
        __asm__("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
                "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
                : "=r"(c->c[4 * n]), "=r"(c->c[4 * n + 1]), "=r"(c->c[4 * n + 2]),
                  "=r"(c->c[4 * n + 3])
                : "r"(t->w[0]), "r"(t->w[2]), "r"(t->w[1]), "r"(t->w[3]), "r"(w->w[2 * n]),
                  "r"(w->w[2 * n + 1]), "r"(0));
    }
#else
    for (int i = 0; i < MATRIX_OUTPUTS; i++) {
        c->c[i] = 0;
    }
    matrix_step(t, w, c);
#endif
}

#endif
