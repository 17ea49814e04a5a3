/* SPDX-License-Identifier: MIT */
/* fcvtn and fcvtl treat NaN as f16.h says as long as FPCR.DN and AHP are off, their default. */
#include <arm_neon.h>

#include "kernels/f16/f16.h"

void f16_encode_neon(const float *x, size_t n, uint16_t *y)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        vst1_u16(y + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    }
    for (; i < n; i++) {
        y[i] = f16_from_f32(x[i]);
    }
}

void f16_decode_neon(const uint16_t *x, size_t n, float *y)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        vst1q_f32(y + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x + i))));
    }
    for (; i < n; i++) {
        y[i] = f16_to_f32(x[i]);
    }
}
