/* SPDX-License-Identifier: MIT */
#include "kernels/planes/planes.h"

#include "kernels/planes/planes_row.h"

void planes_pack_ref(const float *w, const struct planes *to, size_t row)
{
    planes_pack_row(w, to, row);
}

bool planes_quantize(const float *h, size_t n_cols, const struct planes_input *to, size_t token)
{
    size_t stride = planes_stride(n_cols);
    int8_t *hi = to->hi + token * stride;
    int8_t *lo = to->lo + token * stride;
    float m = 0.0f;
    for (size_t c = 0; c < n_cols; c++) {
        float a = fabsf(h[c]);
        if (!(a <= 1e20f)) {
            return false;
        }
        m = a > m ? a : m;
    }
    if (m < 1e-20f) {
        return false;
    }
    size_t most = ((size_t)1 << 31) - 1;
    most /= 512 * n_cols;
    float top = (float)(most < 16256 ? most : 16256);
    float xs = m / top;
    float inv = top / m;
    double squares = 0;
    double lost = 0;
    int32_t total = 0;
    for (size_t c = 0; c < n_cols; c++) {
        float q = (h[c] * inv + PLANES_ROUND) - PLANES_ROUND;
        q = q > top ? top : q < -top ? -top : q;
        int32_t p = (int32_t)q;
        int32_t high = (p + 64) >> 7;
        hi[c] = (int8_t)high;
        lo[c] = (int8_t)(p - 128 * high);
        total += p;
        double d = (double)h[c] - (double)xs * (double)q;
        squares += (double)h[c] * (double)h[c];
        lost += d * d;
    }
    memset(hi + n_cols, 0, stride - n_cols);
    memset(lo + n_cols, 0, stride - n_cols);
    double gamma = ((double)n_cols / 32 + 32) * 0x1p-23;
    double h_len = sqrt(squares);
    double f_len = sqrt(lost);
    to->total[token] = total;
    to->xs[token] = xs;
    to->a[token] = (float)((1 + gamma) * (h_len + f_len) * (1 + 0x1p-20));
    to->b[token] = (float)((f_len + gamma * (h_len + f_len)) * (1 + 0x1p-20));
    return true;
}

static int32_t dot(const uint8_t *row, unsigned bits, const struct planes_input *x, size_t t,
                   size_t stride)
{
    unsigned per_byte = 8 / bits;
    int32_t sum = 0;
    for (size_t c = 0; c < stride; c++) {
        size_t g = c % PLANES_BLOCK / 64;
        size_t at = c / PLANES_BLOCK * 64 * bits + 64 * (g / per_byte) + c % 64;
        int32_t u = row[at] >> bits * (g % per_byte) & ((1 << bits) - 1);
        sum += u * (128 * x->hi[t * stride + c] + x->lo[t * stride + c]);
    }
    return sum;
}

void planes_sum_ref(const struct planes *w, unsigned k, const struct planes_input *x,
                    const struct planes_rows *rows, int32_t *sums, size_t y_stride)
{
    for (size_t t = 0; t < x->n_tokens; t++) {
        for (size_t i = 0; i < rows->n; i++) {
            size_t r = rows->list != NULL ? rows->list[i] : rows->first + i;
            const uint8_t *row = w->plane[k] + r * planes_row_bytes(w->n_cols, k);
            int32_t part =
                dot(row, planes_bits(k), x, t, planes_stride(w->n_cols)) * (1 << planes_shift(k));
            int32_t *s = &sums[t * y_stride + r];
            *s = k == 0 ? part : *s + part;
        }
    }
}

void planes_sum_top_ref(const struct planes *w, const struct planes_input *x,
                        const struct planes_rows *rows, int32_t *sums, size_t y_stride)
{
    planes_sum_ref(w, 0, x, rows, sums, y_stride);
    planes_sum_ref(w, 1, x, rows, sums, y_stride);
}

void planes_bound_ref(const struct planes *w, unsigned k, const struct planes_input *x,
                      const struct planes_rows *rows, const int32_t *sums, float *lower,
                      float *upper, size_t y_stride)
{
    planes_bound_rows(w, k, x, rows, sums, lower, upper, y_stride);
}
