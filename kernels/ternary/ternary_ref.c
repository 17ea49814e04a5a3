/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "kernels/ternary/ternary.h"

enum { LANES = 16, MAX_UNIT_COLS = 320 };

static size_t unit_cols(enum ternary_packing packing)
{
    return packing == TERNARY_T5 ? 320 : 128;
}

/* The trits of one unit of a row. */
static void unpack(enum ternary_packing packing, const uint8_t *unit, int8_t *trits)
{
    for (size_t c = 0; c < unit_cols(packing); c++) {
        unsigned v = 0;
        switch (packing) {
        case TERNARY_T5:
            v = unit[c % 64];
            for (size_t k = 0; k < c / 64; k++) {
                v = 3 * v & 255;
            }
            v = 3 * v >> 8;
            break;
        case TERNARY_S3: {
            unsigned nibble = unit[c / 4 % 16] >> c / 64 * 4 & 15;
            unsigned is_negative = unit[16 + c / 32] >> c / 4 % 8 & 1;
            unsigned place = (unsigned)(c % 4) - (c % 4 > (nibble & 3));
            is_negative ^= place == 0 ? 0 : nibble >> (place + 1) & 1;
            v = c % 4 == (nibble & 3) ? 1 : is_negative ? 0 : 2;
            break;
        }
        case TERNARY_B1:
            v = (unit[c % 16] >> c / 16 & 1) * 2u;
            break;
        case TERNARY_T2:
        case TERNARY_PACKINGS:
            v = unit[c % 32] >> c / 32 * 2 & 3;
            break;
        }
        trits[c] = (int8_t)((int)v - 1);
    }
}

static float dot(const struct ternary_weights *w, const uint8_t *codes, const int8_t *q,
                 float x_scale, float w_scale)
{
    size_t step = unit_cols(w->packing);
    size_t unit_bytes = ternary_row_bytes(w->packing, 1);
    int32_t acc = 0;
    for (size_t c = 0; c < w->n_cols; c += step, codes += unit_bytes) {
        int8_t trits[MAX_UNIT_COLS];
        unpack(w->packing, codes, trits);
        for (size_t i = 0; i < step && c + i < w->n_cols; i++) {
            acc += trits[i] * q[c + i];
        }
    }
    return ((float)acc * x_scale) * w_scale;
}

static float dot_groups(const struct ternary_weights *w, const uint8_t *codes, const int8_t *q,
                        const float *x_scale, const float *w_scale)
{
    size_t step = unit_cols(w->packing);
    size_t unit_bytes = ternary_row_bytes(w->packing, 1);
    int32_t p[LANES] = {0};
    float f[LANES] = {0};
    int8_t trits[MAX_UNIT_COLS];
    for (size_t c = 0; c < w->n_cols; c++) {
        if (c % step == 0) {
            unpack(w->packing, codes, trits);
            codes += unit_bytes;
        }
        p[c / 4 % LANES] += trits[c % step] * q[c];
        if ((c + 1) % w->group == 0) {
            float s = x_scale[c / w->group] * w_scale[c / w->group];
            for (size_t i = 0; i < LANES; i++) {
                f[i] = fmaf((float)p[i], s, f[i]);
                p[i] = 0;
            }
        }
    }
    for (size_t d = LANES / 2; d > 0; d /= 2) {
        for (size_t i = 0; i < d; i++) {
            f[i] += f[i + d];
        }
    }
    return f[0];
}

void ternary_matmul_ref(const struct ternary_weights *w, const struct quantized *x, size_t row0,
                        size_t row1, float *y, size_t y_stride)
{
    size_t row_bytes = ternary_row_bytes(w->packing, w->n_cols);
    for (size_t t = 0; t < x->n_tokens; t++) {
        const int8_t *q = x->q + t * x->stride;
        for (size_t r = row0; r < row1; r++) {
            const uint8_t *codes = w->codes + r * row_bytes;
            if (w->group == 0) {
                y[t * y_stride + r] =
                    dot(w, codes, q, x->scale[t], w->scales[r / w->rows_per_scale]);
            } else {
                size_t n = w->n_cols / w->group;
                y[t * y_stride + r] = dot_groups(w, codes, q, x->scale + t * n, w->scales + r * n);
            }
        }
    }
}
