/* SPDX-License-Identifier: MIT */
/* load: little-endian numbers from bytes of a file, at any address. The caller has checked that they are
 * there. */
#ifndef HALO_MODEL_LOAD_H
#define HALO_MODEL_LOAD_H

#include <stdint.h>

#include "services/model/half.h"

static inline uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t load_u64(const uint8_t *p)
{
    return load_u32(p) | (uint64_t)load_u32(p + 4) << 32;
}

static inline float load_f32(const uint8_t *p)
{
    return half_f32_of_bits(load_u32(p));
}

static inline float load_f16(const uint8_t *p)
{
    return half_from_f16(load_u16(p));
}

#endif
