/* SPDX-License-Identifier: MIT */
/* Tiles for weights with scales of groups, 4 rows by 1 token or 2 by 2. The lanes i < 8 of p (see
 * ternary.h) come from the columns 0..31 and 64..95 of a unit, the others from the rest. The sum of the
 * activations of each lane is taken off, which turns codes t + 1 into t. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_GROUPS_AVX2_H
#define HALO_KERNELS_TERNARY_TERNARY_GROUPS_AVX2_H

#include "kernels/reduce_avx2.h"
#include "kernels/ternary/ternary_one_avx2.h"

enum { GROUP_TOKENS = 2 };

/* The activations of a group that meet eight of its lanes, 32 or 64 of them, and minus their sums, where
 * the sums of products start. */
struct lane_input {
    __m256i x[2];
    __m256i start;
};

INLINE struct lane_input lane_input(const int8_t *q, size_t n)
{
    struct lane_input in;
    __m256i sum = _mm256_setzero_si256();
    UNROLL
    for (size_t i = 0; i < n; i++) {
        in.x[i] = load(q + 64 * i);
        add_products(&sum, _mm256_set1_epi8(1), in.x[i]);
    }
    const __m256i zero = _mm256_setzero_si256();
    in.start = IS_WIDE ? _mm256_sub_epi32(zero, sum) : _mm256_sub_epi16(zero, sum);
    return in;
}

/* Eight lanes of p. */
INLINE __m256i lane_sum(const __m256i codes[2], const struct lane_input *in, size_t n)
{
    __m256i s = in->start;
    UNROLL
    for (size_t i = 0; i < n; i++) {
        add_products(&s, codes[i], in->x[i]);
    }
    return IS_WIDE ? s : _mm256_madd_epi16(s, _mm256_set1_epi16(1));
}

/* One group of one unit: n = 2 quarters of it at codes[half] and codes[half + 2], or n = 1 at
 * codes[half]; half = 0, 1 are the lower and the upper eight lanes. */
INLINE void step_group(const struct ternary_tile *a, size_t rows, size_t tokens, size_t n,
                       const int8_t *q, size_t g, size_t first, const __m256i codes[4][4],
                       __m256 f[4][GROUP_TOKENS][2])
{
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        float x_scale = a->x_scale[t * a->n_groups + g];
        UNROLL
        for (size_t half = 0; half < 2; half++) {
            const struct lane_input in = lane_input(q + t * a->q_stride + 32 * half, n);
            UNROLL
            for (size_t r = 0; r < rows; r++) {
                const __m256i c[2] = {codes[r][first + half], codes[r][(first + half + 2) % 4]};
                __m256 s = _mm256_set1_ps(x_scale * a->w_groups[r * a->n_groups + g]);
                __m256 p = _mm256_cvtepi32_ps(lane_sum(c, &in, n));
                f[r][t][half] = _mm256_fmadd_ps(p, s, f[r][t][half]);
            }
        }
    }
}

INLINE void run_groups(const struct ternary_tile *a, size_t rows, size_t tokens,
                       enum ternary_packing packing, size_t group)
{
    __m256 f[4][GROUP_TOKENS][2];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            f[r][t][0] = f[r][t][1] = _mm256_setzero_ps();
        }
    }
    const size_t unit_bytes = ternary_row_bytes(packing, 1);
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    for (size_t g = 0, unit = 0; g < a->n_groups; unit++) {
        UNROLL
        for (size_t i = 0; i < rows * unit_bytes; i += 64) {
            _mm_prefetch(ahead + unit * unit_bytes * rows + i, _MM_HINT_T0);
        }
        const int8_t *q = a->q + 128 * unit;
        __m256i codes[4][4];
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            unpack(packing, a->codes + r * a->row_bytes + unit * unit_bytes, codes[r]);
        }
        step_group(a, rows, tokens, group / 64, q, g++, 0, codes, f);
        if (group == 64 && g < a->n_groups) {
            step_group(a, rows, tokens, 1, q + 64, g++, 2, codes, f);
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            a->y[t * a->y_stride + r] = reduce_add8_avx2(_mm256_add_ps(f[r][t][0], f[r][t][1]));
        }
    }
}

#define GROUPS(name, rows, tokens, packing, group)                                                 \
    static void name##group##_##rows##x##tokens(const struct ternary_tile *a)                      \
    {                                                                                              \
        run_groups(a, rows, tokens, packing, group);                                               \
    }
#define GROUPS_ONE(name, packing)                                                                  \
    GROUPS(name, 4, 1, packing, 64)                                                                \
    GROUPS(name, 1, 1, packing, 64)                                                                \
    GROUPS(name, 4, 1, packing, 128)                                                               \
    GROUPS(name, 1, 1, packing, 128)
#define GROUPS_MANY(rows, tokens)                                                                  \
    GROUPS(t2_, rows, tokens, TERNARY_T2, 64)                                                      \
    GROUPS(t2_, rows, tokens, TERNARY_T2, 128)
GROUPS_ONE(t2_, TERNARY_T2)
GROUPS_ONE(b1_, TERNARY_B1)
GROUPS_MANY(2, 1)
GROUPS_MANY(2, 2)
GROUPS_MANY(1, 2)
#undef GROUPS_MANY
#undef GROUPS_ONE
#undef GROUPS

#endif
