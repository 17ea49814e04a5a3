/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/gumbel/gumbel.h"
#include "kernels/gumbel/gumbel_walk.h"
#include "kernels/unroll.h"

/* Halves of the products of all sixteen lanes. */
INLINE __m512i mul_halves(__m512i x, uint32_t by, __m512i *ret_high)
{
    const __m512i m = _mm512_set1_epi32((int)by);
    __m512i even = _mm512_mul_epu32(x, m);
    __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), m);
    *ret_high = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}

/* Sixteen blocks of Philox side by side, in place. */
INLINE void rounds(__m512i x[4], uint32_t k0, uint32_t k1)
{
    for (unsigned i = 0; i < PHILOX_ROUNDS; i++) {
        __m512i a_high, b_high;
        __m512i a = mul_halves(x[0], PHILOX_M0, &a_high);
        __m512i b = mul_halves(x[2], PHILOX_M1, &b_high);
        x[0] = _mm512_xor_si512(_mm512_xor_si512(b_high, x[1]), _mm512_set1_epi32((int)k0));
        x[1] = b;
        x[2] = _mm512_xor_si512(_mm512_xor_si512(a_high, x[3]), _mm512_set1_epi32((int)k1));
        x[3] = a;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
}

/* v = 2^e m; gives m - 1. */
INLINE __m512 split(__m512 v, __m512 *ret_e)
{
    __m512i bits = _mm512_castps_si512(v);
    __m512i k = _mm512_srai_epi32(_mm512_sub_epi32(bits, _mm512_set1_epi32(GUMBEL_ROOT)), 23);
    *ret_e = _mm512_cvtepi32_ps(k);
    __m512 m = _mm512_castsi512_ps(_mm512_sub_epi32(bits, _mm512_slli_epi32(k, 23)));
    return _mm512_sub_ps(m, _mm512_set1_ps(1.0f));
}

INLINE __m512 log_parts(__m512 f, __m512 e)
{
    __m512 s = _mm512_div_ps(f, _mm512_add_ps(_mm512_set1_ps(2.0f), f));
    __m512 z = _mm512_mul_ps(s, s);
    __m512 q = _mm512_fmadd_ps(z, _mm512_set1_ps(GUMBEL_C9), _mm512_set1_ps(GUMBEL_C7));
    q = _mm512_fmadd_ps(z, q, _mm512_set1_ps(GUMBEL_C5));
    q = _mm512_fmadd_ps(z, q, _mm512_set1_ps(GUMBEL_C3));
    __m512 l = _mm512_fmadd_ps(_mm512_mul_ps(s, z), q, _mm512_add_ps(s, s));
    return _mm512_fmadd_ps(e, _mm512_set1_ps(GUMBEL_LN2), l);
}

INLINE __m512 negate(__m512 x)
{
    return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
}

INLINE __m512 middle_of(__m512i j)
{
    __m512 x = _mm512_add_ps(_mm512_cvtepi32_ps(j), _mm512_set1_ps(0.5f));
    return _mm512_mul_ps(x, _mm512_set1_ps(0x1p-31f));
}

INLINE __m512 noise_of(__m512i word, __m512 scale)
{
    __m512i j = _mm512_srli_epi32(word, 1);
    __m512 t = middle_of(j);
    __m512 u = middle_of(_mm512_sub_epi32(_mm512_set1_epi32(INT32_MAX), j));
    __mmask16 is_linear = _mm512_cmplt_epi32_mask(j, _mm512_set1_epi32(GUMBEL_LINEAR_BELOW));
    __m512 e;
    __m512 f = split(u, &e);
    f = _mm512_mask_blend_ps(is_linear, f, negate(t));
    e = _mm512_mask_blend_ps(is_linear, e, _mm512_setzero_ps());
    f = split(negate(log_parts(f, e)), &e);
    return _mm512_mul_ps(negate(log_parts(f, e)), scale);
}

static void fill_span(const struct gumbel *g, uint32_t span, float *y)
{
    const __m512 scale = _mm512_set1_ps(g->scale);
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (uint32_t at = 0; at < GUMBEL_LANES; at += 16) {
        __m512i block = _mm512_set1_epi32((int)(span * GUMBEL_LANES + at));
        __m512i x[4] = {_mm512_set1_epi32((int)g->index), _mm512_set1_epi32(GUMBEL_STREAM),
                        _mm512_add_epi32(block, lanes), _mm512_setzero_si512()};
        rounds(x, (uint32_t)g->seed, (uint32_t)(g->seed >> 32));
        UNROLL
        for (size_t w = 0; w < 4; w++) {
            _mm512_storeu_ps(y + w * GUMBEL_LANES + at, noise_of(x[w], scale));
        }
    }
}

GUMBEL_VARIANT(avx512)
