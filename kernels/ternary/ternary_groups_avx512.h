/* SPDX-License-Identifier: MIT */
/* Tiles of 4 rows by up to 4 tokens for weights with scales of groups. p (see ternary.h) are the 16
 * lanes of a sum of vpdpbusd: column c of 64 meets lane c / 4. The sum starts at minus the sum of the
 * activations of each lane, which turns codes t + 1 into t. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_GROUPS_AVX512_H
#define HALO_KERNELS_TERNARY_TERNARY_GROUPS_AVX512_H

#include "kernels/reduce_avx512.h"
#include "kernels/ternary/ternary_few_avx512.h"

enum { GROUP_TOKENS = 4 };

/* f += p * (x_scale * w_scale). */
INLINE void add_group(__m512 *f, __m512i p, float x_scale, __m512 w_scale)
{
    *f =
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(p), _mm512_mul_ps(_mm512_set1_ps(x_scale), w_scale), *f);
}

INLINE __m512i minus_sum(__m512i start, __m512i q)
{
    __m512i sum = _mm512_setzero_si512();
    add_products(&sum, _mm512_set1_epi8(1), q);
    return _mm512_sub_epi32(start, sum);
}

/* One unit of 128 columns, whose first group is g. `has_second`: of groups of 64 there is g + 1. */
INLINE void step_groups(const struct ternary_tile *a, size_t rows, size_t tokens,
                        enum ternary_packing packing, size_t group, size_t unit, bool has_second,
                        __m512 f[4][GROUP_TOKENS])
{
    size_t g = group == 64 ? 2 * unit : unit;
    const uint8_t *codes = a->codes + unit * ternary_row_bytes(packing, 1);
    __m512i lo[4], hi[4];
    __m512 scale[4], scale2[4];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        unpack(packing, codes + r * a->row_bytes, &lo[r], &hi[r]);
        scale[r] = _mm512_set1_ps(a->w_groups[r * a->n_groups + g]);
        scale2[r] = _mm512_set1_ps(has_second ? a->w_groups[r * a->n_groups + g + 1] : 0.0f);
    }
    UNROLL
    for (size_t t = 0; t < tokens; t++) {
        const int8_t *q = a->q + t * a->q_stride + 128 * unit;
        const float *x_scale = a->x_scale + t * a->n_groups + g;
        __m512i x0 = _mm512_loadu_si512(q);
        __m512i x1 = _mm512_loadu_si512(q + 64);
        __m512i start = minus_sum(_mm512_setzero_si512(), x0);
        __m512i start1 = minus_sum(_mm512_setzero_si512(), x1);
        start = group == 64 ? start : _mm512_add_epi32(start, start1);
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m512i p = start;
            add_products(&p, lo[r], x0);
            if (group == 128) {
                add_products(&p, hi[r], x1);
                add_group(&f[r][t], p, x_scale[0], scale[r]);
            } else {
                add_group(&f[r][t], p, x_scale[0], scale[r]);
                if (has_second) {
                    p = start1;
                    add_products(&p, hi[r], x1);
                    add_group(&f[r][t], p, x_scale[1], scale2[r]);
                }
            }
        }
    }
}

INLINE void run_groups(const struct ternary_tile *a, size_t rows, size_t tokens,
                       enum ternary_packing packing, size_t group)
{
    __m512 f[4][GROUP_TOKENS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            f[r][t] = _mm512_setzero_ps();
        }
    }
    size_t unit_bytes = ternary_row_bytes(packing, 1);
    size_t n_units = group == 64 ? a->n_groups / 2 : a->n_groups;
    const uint8_t *ahead = a->codes + TERNARY_PREFETCH_BYTES;
    for (size_t unit = 0; unit < n_units; unit++) {
        UNROLL
        for (size_t i = 0; i < rows * unit_bytes; i += 64) {
            _mm_prefetch(ahead + unit * unit_bytes * rows + i, _MM_HINT_T0);
        }
        step_groups(a, rows, tokens, packing, group, unit, group == 64, f);
    }
    if (group == 64 && a->n_groups % 2 != 0) {
        step_groups(a, rows, tokens, packing, group, n_units, false, f);
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t t = 0; t < tokens; t++) {
            a->y[t * a->y_stride + r] = reduce_add16_avx512(f[r][t]);
        }
    }
}

#define GROUPS(name, rows, tokens, packing, group)                                                 \
    static void name##group##_##rows##x##tokens(const struct ternary_tile *a)                      \
    {                                                                                              \
        run_groups(a, rows, tokens, packing, group);                                               \
    }
#define GROUPS_TOKENS(tokens)                                                                      \
    GROUPS(t2_, 4, tokens, TERNARY_T2, 64)                                                         \
    GROUPS(t2_, 1, tokens, TERNARY_T2, 64)                                                         \
    GROUPS(t2_, 4, tokens, TERNARY_T2, 128)                                                        \
    GROUPS(t2_, 1, tokens, TERNARY_T2, 128)                                                        \
    GROUPS(b1_, 4, tokens, TERNARY_B1, 64)                                                         \
    GROUPS(b1_, 1, tokens, TERNARY_B1, 64)                                                         \
    GROUPS(b1_, 4, tokens, TERNARY_B1, 128)                                                        \
    GROUPS(b1_, 1, tokens, TERNARY_B1, 128)
GROUPS_TOKENS(1)
GROUPS_TOKENS(2)
GROUPS_TOKENS(3)
GROUPS_TOKENS(4)
#undef GROUPS_TOKENS
#undef GROUPS

/* `many` or `few` of weights with scales of groups. */
#define GROUPS_SHAPES(name)                                                                        \
    {                                                                                              \
        .rows = 4, .max_tokens = GROUP_TOKENS,                                                     \
        .full = {name##_4x1, name##_4x2, name##_4x3, name##_4x4},                                  \
        .single = {name##_1x1, name##_1x2, name##_1x3, name##_1x4}, .up_to = 2 * GROUP_TOKENS,     \
    }

#endif
