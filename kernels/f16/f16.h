/* SPDX-License-Identifier: MIT */
/* IEEE binary16 <-> binary32.
 *
 * decode is exact; a signalling NaN becomes quiet: sign, bit 22 set, payload << 13.
 * encode rounds to nearest even, gives subnormals, and +-inf from |x| >= 65520; a NaN becomes
 * sign | 0x7e00 | its top 10 fraction bits. These are the rules of x86's F16C.
 *
 * An embedding row is f16_decode of table + id * hidden. */
#ifndef HALO_KERNELS_F16_F16_H
#define HALO_KERNELS_F16_F16_H

#include <stddef.h>
#include <stdint.h>

uint16_t f16_from_f32(float x);
float f16_to_f32(uint16_t x);

/* y[i] = f16_from_f32(x[i]), i < n */
void f16_encode_ref(const float *x, size_t n, uint16_t *y);
__typeof__(f16_encode_ref) f16_encode_avx2, f16_encode_avx512, f16_encode_neon;

/* y[i] = f16_to_f32(x[i]), i < n */
void f16_decode_ref(const uint16_t *x, size_t n, float *y);
__typeof__(f16_decode_ref) f16_decode_avx2, f16_decode_avx512, f16_decode_neon;

#endif
