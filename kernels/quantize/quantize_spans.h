/* SPDX-License-Identifier: MIT */
/* What the variants of quantize_row share: the spans of a row that have a scale of their own. */
#ifndef HALO_KERNELS_QUANTIZE_QUANTIZE_SPANS_H
#define HALO_KERNELS_QUANTIZE_QUANTIZE_SPANS_H

#include <string.h>

#include "kernels/quantize/quantize.h"

/* Quantises x[0..n) and gives the sum of q; may write zeros up to the next multiple of 32. */
typedef int32_t quantize_span_fn(const float *x, size_t n, int8_t *q, float *scale);

static inline void quantize_spans(const float *x, const struct quantized *out, size_t token,
                                  quantize_span_fn *span)
{
    size_t n = out->n_cols;
    int8_t *q = out->q + token * out->stride;
    memset(q + n, 0, out->stride - n);
    if (out->group == 0) {
        out->sum[token] = span(x, n, q, &out->scale[token]);
        return;
    }
    float *scale = out->scale + token * (n / out->group);
    for (size_t i = 0; i < n; i += out->group) {
        (void)span(x + i, out->group, q + i, scale++);
    }
}

#endif
