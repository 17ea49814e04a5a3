/* SPDX-License-Identifier: MIT */
/* What all variants of head8 share, one row at a time. The loops over 32 lanes become vector code
 * under each variant's own flags; their order is fixed, so the bits are the same. */
#ifndef HALO_KERNELS_HEAD8_HEAD8_ROW_H
#define HALO_KERNELS_HEAD8_HEAD8_ROW_H

#include <math.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels/head8/head8.h"
#include "kernels/reduce.h"

#define HEAD8_TINY 0x1p-120f
#define HEAD8_SLACK (1.0f + 0x1p-9f) /* of a sum of up to 65536 squares */
#define HEAD8_ROUND 0x1.8p+23f /* x + this - this is x rounded to an integer, |x| < 2^22 */

static inline float head8_largest(const float *w, size_t n)
{
    float m[32] = {0};
    size_t c = 0;
    for (; c + 32 <= n; c += 32) {
        for (size_t i = 0; i < 32; i++) {
            float a = fabsf(w[c + i]);
            m[i] = a > m[i] ? a : m[i];
        }
    }
    for (size_t i = 0; c + i < n; i++) {
        float a = fabsf(w[c + i]);
        m[i] = a > m[i] ? a : m[i];
    }
    for (size_t i = 1; i < 32; i++) {
        m[0] = m[i] > m[0] ? m[i] : m[0];
    }
    return m[0];
}

/* One value: its square and that of what quantising loses go to the sums. */
static inline int8_t head8_round(float w, float inv, float scale, float *squares, float *lost)
{
    float q = (w * inv + HEAD8_ROUND) - HEAD8_ROUND;
    float d = w - scale * q;
    *squares += w * w;
    *lost += d * d;
    return (int8_t)(int32_t)q;
}

static inline void head8_pack_row(const float *w, const struct head8 *to, size_t row)
{
    size_t n = to->n_cols;
    int8_t *q = to->q + row * head8_stride(n);
    memset(q, 0, head8_stride(n));
    float a = head8_largest(w, n);
    float scale = a / 127.0f;
    float inv = a > 0.0f ? 127.0f / a : 0.0f;
    bool is_finite = a < INFINITY;
    for (size_t c = 0; c < n; c++) {
        is_finite &= w[c] - w[c] == 0.0f;
    }
    if (!is_finite) {
        to->scale[row] = 0.0f;
        to->err[row] = INFINITY;
        to->norm[row] = INFINITY;
        return;
    }
    float squares[32] = {0};
    float lost[32] = {0};
    size_t c = 0;
    for (; c + 32 <= n; c += 32) {
        for (size_t i = 0; i < 32; i++) {
            q[c + i] = head8_round(w[c + i], inv, scale, &squares[i], &lost[i]);
        }
    }
    for (size_t i = 0; c + i < n; i++) {
        q[c + i] = head8_round(w[c + i], inv, scale, &squares[i], &lost[i]);
    }
    float norm = sqrtf(reduce_add32(squares)) * HEAD8_SLACK;
    to->scale[row] = scale;
    to->norm[row] = norm;
    to->err[row] = sqrtf(reduce_add32(lost)) * HEAD8_SLACK + norm * 0x1p-22f;
}

/* The bounds of one row for token t, given the exact sum. */
static inline void head8_bound(const struct head8 *w, const struct head8_input *x, size_t t,
                               size_t r, int32_t sum, float *lower, float *upper)
{
    float v = (float)sum * (w->scale[r] * x->xs[t]);
    float radius = (w->err[r] * x->a[t] + w->norm[r] * x->b[t]) + HEAD8_TINY;
    *lower = v - radius;
    *upper = v + radius;
}

/* Rows are read as one stream: how far ahead of the tile's own lines others are fetched, a multiple of
 * the tile's size. Processors do not see the stream in rows of some KB that are read side by side. */
static inline size_t head8_prefetch_bytes(size_t tile_bytes)
{
    enum { LEAST = 8192 };
    return (LEAST + tile_bytes - 1) / tile_bytes * tile_bytes;
}

#if defined(__AVX2__)
/* head8_bound for rows r .. r + 3. */
static inline void head8_bound4(const struct head8 *w, const struct head8_input *x, size_t t,
                                size_t r, __m128i sums, float *lower, float *upper)
{
    __m128 scale = _mm_mul_ps(_mm_loadu_ps(w->scale + r), _mm_set1_ps(x->xs[t]));
    __m128 v = _mm_mul_ps(_mm_cvtepi32_ps(sums), scale);
    __m128 ea = _mm_mul_ps(_mm_loadu_ps(w->err + r), _mm_set1_ps(x->a[t]));
    __m128 nb = _mm_mul_ps(_mm_loadu_ps(w->norm + r), _mm_set1_ps(x->b[t]));
    __m128 radius = _mm_add_ps(_mm_add_ps(ea, nb), _mm_set1_ps(HEAD8_TINY));
    _mm_storeu_ps(lower, _mm_sub_ps(v, radius));
    _mm_storeu_ps(upper, _mm_add_ps(v, radius));
}
#endif

#endif
