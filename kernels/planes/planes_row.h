/* SPDX-License-Identifier: MIT */
/* What all variants of planes share. The loops become vector code under each variant's own flags; their
 * order is fixed, so the bits are the same. */
#ifndef HALO_KERNELS_PLANES_PLANES_ROW_H
#define HALO_KERNELS_PLANES_PLANES_ROW_H

#include <math.h>
#include <string.h>

#include "kernels/planes/planes.h"
#include "kernels/reduce.h"

#define PLANES_TINY 0x1p-120f
#define PLANES_SLACK (1.0f + 0x1p-9f) /* of a sum of up to 65536 squares */
#define PLANES_ROUND 0x1.8p+23f /* x + this - this is x rounded to an integer, |x| < 2^22 */

enum { PLANES_LANES = 32, PLANES_ZERO = 128 };

/* The least significant bit of plane k. */
static inline unsigned planes_shift(unsigned k)
{
    static const uint8_t SHIFTS[PLANES] = {4, 2, 1, 0};
    return SHIFTS[k];
}

/* max|w|; infinity or NaN where a value is not finite. */
static inline float planes_largest(const float *w, size_t n)
{
    float m[PLANES_LANES] = {0};
    float odd[PLANES_LANES] = {0};
    for (size_t c = 0; c < n; c += PLANES_LANES) {
        size_t width = n - c < PLANES_LANES ? n - c : PLANES_LANES;
        for (size_t i = 0; i < width; i++) {
            float a = fabsf(w[c + i]);
            m[i] = a > m[i] ? a : m[i];
            odd[i] += a - a;
        }
    }
    for (size_t i = 0; i < PLANES_LANES; i++) {
        m[0] = m[i] > m[0] ? m[i] : m[0];
        m[0] += odd[i];
    }
    return m[0];
}

/* Quantises one value; its square and what each plane still lacks go to the sums of its lane. */
static inline uint8_t planes_round(float w, float inv, float scale, float *squares,
                                   float lost[PLANES])
{
    static const int SHIFTS[PLANES] = {4, 2, 1, 0};
    float q = (w * inv + PLANES_ROUND) - PLANES_ROUND;
    int u = (int)q + PLANES_ZERO;
    *squares += w * w;
    for (unsigned k = 0; k < PLANES; k++) {
        int low = (1 << SHIFTS[k]) - 1;
        float twice = (float)(2 * (u & ~low) + low - 2 * PLANES_ZERO);
        float d = w - scale * (0.5f * twice);
        lost[k] += d * d;
    }
    return (uint8_t)u;
}

/* Spreads the numbers of one block over its bytes of each plane. */
static inline void planes_spread(const uint8_t u[PLANES_BLOCK], uint8_t *plane[PLANES])
{
    for (unsigned k = 0; k < PLANES; k++) {
        unsigned bits = planes_bits(k);
        unsigned shift = planes_shift(k);
        unsigned mask = (1U << bits) - 1U;
        unsigned per_byte = 8 / bits;
        for (unsigned v = 0; v < bits; v++) {
            uint8_t *to = plane[k] + (size_t)64 * v;
            memset(to, 0, 64);
            for (unsigned g = 0; g < per_byte; g++) {
                const uint8_t *from = u + (size_t)64 * (v * per_byte + g);
                for (size_t m = 0; m < 64; m++) {
                    to[m] = (uint8_t)(to[m] | (from[m] >> shift & mask) << bits * g);
                }
            }
        }
    }
}

static inline void planes_pack_columns(const float *w, float scale, float inv,
                                       const struct planes *to, size_t row,
                                       float squares[PLANES_LANES],
                                       float lost[PLANES][PLANES_LANES])
{
    size_t n = to->n_cols;
    uint8_t *plane[PLANES];
    for (unsigned k = 0; k < PLANES; k++) {
        plane[k] = to->plane[k] + row * planes_row_bytes(n, k);
    }
    for (size_t c0 = 0; c0 < n; c0 += PLANES_BLOCK) {
        uint8_t u[PLANES_BLOCK] = {0};
        size_t n_here = n - c0 < PLANES_BLOCK ? n - c0 : PLANES_BLOCK;
        for (size_t c = 0; c < n_here; c += PLANES_LANES) {
            size_t width = n_here - c < PLANES_LANES ? n_here - c : PLANES_LANES;
            for (size_t i = 0; i < width; i++) {
                float parts[PLANES] = {lost[0][i], lost[1][i], lost[2][i], lost[3][i]};
                u[c + i] = planes_round(w[c0 + c + i], inv, scale, &squares[i], parts);
                for (unsigned k = 0; k < PLANES; k++) {
                    lost[k][i] = parts[k];
                }
            }
        }
        planes_spread(u, plane);
        for (unsigned k = 0; k < PLANES; k++) {
            plane[k] += (size_t)64 * planes_bits(k);
        }
    }
}

static inline void planes_pack_row(const float *w, const struct planes *to, size_t row)
{
    size_t n = to->n_cols;
    float largest = planes_largest(w, n);
    if (!(largest < INFINITY)) {
        to->scale[row] = 0.0f;
        to->norm[row] = INFINITY;
        for (unsigned k = 0; k < PLANES; k++) {
            memset(to->plane[k] + row * planes_row_bytes(n, k), 0, planes_row_bytes(n, k));
            to->err[k][row] = INFINITY;
        }
        return;
    }
    float scale = largest / 127.0f;
    float inv = largest > 0.0f ? 127.0f / largest : 0.0f;
    float squares[PLANES_LANES] = {0};
    float lost[PLANES][PLANES_LANES] = {{0}};
    planes_pack_columns(w, scale, inv, to, row, squares, lost);
    float norm = sqrtf(reduce_add32(squares)) * PLANES_SLACK;
    to->scale[row] = scale;
    to->norm[row] = norm;
    for (unsigned k = 0; k < PLANES; k++) {
        to->err[k][row] = sqrtf(reduce_add32(lost[k])) * PLANES_SLACK + norm * 0x1p-22f;
    }
}

/* The bounds of one row. `twice_middle` is 2 ((2^s - 1) / 2 - 128) * total. */
static inline void planes_bound_row(const struct planes *w, const float *err, size_t r, int32_t sum,
                                    int32_t twice_middle, float half_xs, float a, float b,
                                    float *lower, float *upper)
{
    float v =
        (float)(int32_t)(2U * (uint32_t)sum + (uint32_t)twice_middle) * (w->scale[r] * half_xs);
    float radius = (err[r] * a + w->norm[r] * b) + PLANES_TINY;
    *lower = v - radius;
    *upper = v + radius;
}

static inline void planes_bound_rows(const struct planes *w, unsigned k,
                                     const struct planes_input *x, const struct planes_rows *rows,
                                     const int32_t *sums, float *lower, float *upper,
                                     size_t y_stride)
{
    const float *err = w->err[k];
    int32_t middle = (int32_t)(1U << planes_shift(k)) - 1 - 2 * PLANES_ZERO;
    for (size_t t = 0; t < x->n_tokens; t++) {
        int32_t twice_middle = middle * x->total[t];
        float half_xs = 0.5f * x->xs[t];
        float a = x->a[t];
        float b = x->b[t];
        const int32_t *s = sums + t * y_stride;
        float *lo = lower + t * y_stride;
        float *up = upper + t * y_stride;
        if (rows->list == NULL) {
            for (size_t r = rows->first; r < (size_t)rows->first + rows->n; r++) {
                planes_bound_row(w, err, r, s[r], twice_middle, half_xs, a, b, &lo[r], &up[r]);
            }
        } else {
            for (size_t i = 0; i < rows->n; i++) {
                size_t r = rows->list[i];
                planes_bound_row(w, err, r, s[r], twice_middle, half_xs, a, b, &lo[r], &up[r]);
            }
        }
    }
}

#endif
