/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/gumbel/gumbel.h"
#include "kernels/gumbel/gumbel_walk.h"
#include "kernels/unroll.h"

/* Halves of the products of all eight lanes. */
INLINE __m256i mul_halves(__m256i x, uint32_t by, __m256i *ret_high)
{
    const __m256i m = _mm256_set1_epi32((int)by);
    __m256i even = _mm256_mul_epu32(x, m);
    __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), m);
    *ret_high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}

/* Eight blocks of Philox side by side, in place. */
INLINE void rounds(__m256i x[4], uint32_t k0, uint32_t k1)
{
    for (unsigned i = 0; i < PHILOX_ROUNDS; i++) {
        __m256i a_high, b_high;
        __m256i a = mul_halves(x[0], PHILOX_M0, &a_high);
        __m256i b = mul_halves(x[2], PHILOX_M1, &b_high);
        x[0] = _mm256_xor_si256(_mm256_xor_si256(b_high, x[1]), _mm256_set1_epi32((int)k0));
        x[1] = b;
        x[2] = _mm256_xor_si256(_mm256_xor_si256(a_high, x[3]), _mm256_set1_epi32((int)k1));
        x[3] = a;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
}

/* v = 2^e m; gives m - 1. */
INLINE __m256 split(__m256 v, __m256 *ret_e)
{
    __m256i bits = _mm256_castps_si256(v);
    __m256i k = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(GUMBEL_ROOT)), 23);
    *ret_e = _mm256_cvtepi32_ps(k);
    __m256 m = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(k, 23)));
    return _mm256_sub_ps(m, _mm256_set1_ps(1.0f));
}

INLINE __m256 log_parts(__m256 f, __m256 e)
{
    __m256 s = _mm256_div_ps(f, _mm256_add_ps(_mm256_set1_ps(2.0f), f));
    __m256 z = _mm256_mul_ps(s, s);
    __m256 q = _mm256_fmadd_ps(z, _mm256_set1_ps(GUMBEL_C9), _mm256_set1_ps(GUMBEL_C7));
    q = _mm256_fmadd_ps(z, q, _mm256_set1_ps(GUMBEL_C5));
    q = _mm256_fmadd_ps(z, q, _mm256_set1_ps(GUMBEL_C3));
    __m256 l = _mm256_fmadd_ps(_mm256_mul_ps(s, z), q, _mm256_add_ps(s, s));
    return _mm256_fmadd_ps(e, _mm256_set1_ps(GUMBEL_LN2), l);
}

INLINE __m256 negate(__m256 x)
{
    return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
}

INLINE __m256 middle_of(__m256i j)
{
    __m256 x = _mm256_add_ps(_mm256_cvtepi32_ps(j), _mm256_set1_ps(0.5f));
    return _mm256_mul_ps(x, _mm256_set1_ps(0x1p-31f));
}

INLINE __m256 noise_of(__m256i word, __m256 scale)
{
    __m256i j = _mm256_srli_epi32(word, 1);
    __m256 t = middle_of(j);
    __m256 u = middle_of(_mm256_sub_epi32(_mm256_set1_epi32(INT32_MAX), j));
    __m256 is_linear =
        _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(GUMBEL_LINEAR_BELOW), j));
    __m256 e;
    __m256 f = split(u, &e);
    f = _mm256_blendv_ps(f, negate(t), is_linear);
    e = _mm256_andnot_ps(is_linear, e);
    f = split(negate(log_parts(f, e)), &e);
    return _mm256_mul_ps(negate(log_parts(f, e)), scale);
}

static void fill_span(const struct gumbel *g, uint32_t span, float *y)
{
    const __m256 scale = _mm256_set1_ps(g->scale);
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (uint32_t at = 0; at < GUMBEL_LANES; at += 8) {
        __m256i block = _mm256_set1_epi32((int)(span * GUMBEL_LANES + at));
        __m256i x[4] = {_mm256_set1_epi32((int)g->index), _mm256_set1_epi32(GUMBEL_STREAM),
                        _mm256_add_epi32(block, lanes), _mm256_setzero_si256()};
        rounds(x, (uint32_t)g->seed, (uint32_t)(g->seed >> 32));
        UNROLL
        for (size_t w = 0; w < 4; w++) {
            _mm256_storeu_ps(y + w * GUMBEL_LANES + at, noise_of(x[w], scale));
        }
    }
}

GUMBEL_VARIANT(avx2)
