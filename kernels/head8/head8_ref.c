/* SPDX-License-Identifier: MIT */
#include "kernels/head8/head8.h"

#include "kernels/head8/head8_row.h"

void head8_pack_ref(const float *w, const struct head8 *to, size_t row)
{
    head8_pack_row(w, to, row);
}

bool head8_quantize(const float *h, size_t n_cols, const struct head8_input *to, size_t token)
{
    size_t stride = head8_stride(n_cols);
    int16_t *p = to->p + token * stride;
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
    most /= 127 * n_cols;
    float top = (float)(most < 32767 ? most : 32767);
    float xs = m / top;
    float inv = top / m;
    double squares = 0;
    double lost = 0;
    for (size_t c = 0; c < n_cols; c++) {
        float q = (h[c] * inv + HEAD8_ROUND) - HEAD8_ROUND;
        q = q > top ? top : q < -top ? -top : q;
        p[c] = (int16_t)q;
        double d = (double)h[c] - (double)xs * (double)q;
        squares += (double)h[c] * (double)h[c];
        lost += d * d;
    }
    for (size_t c = n_cols; c < stride; c++) {
        p[c] = 0;
    }
    double gamma = ((double)n_cols / 32 + 32) * 0x1p-23;
    double h_len = sqrt(squares);
    double f_len = sqrt(lost);
    to->xs[token] = xs;
    to->a[token] = (float)((1 + gamma) * (h_len + f_len) * (1 + 0x1p-20));
    to->b[token] = (float)((f_len + gamma * (h_len + f_len)) * (1 + 0x1p-20));
    return true;
}

void head8_bounds_ref(const struct head8 *w, const struct head8_input *x, size_t row0, size_t row1,
                      float *lower, float *upper, size_t y_stride)
{
    size_t stride = head8_stride(w->n_cols);
    for (size_t t = 0; t < x->n_tokens; t++) {
        for (size_t r = row0; r < row1; r++) {
            int32_t sum = 0;
            for (size_t c = 0; c < w->n_cols; c++) {
                sum += w->q[r * stride + c] * x->p[t * stride + c];
            }
            head8_bound(w, x, t, r, sum, &lower[t * y_stride + r], &upper[t * y_stride + r]);
        }
    }
}
