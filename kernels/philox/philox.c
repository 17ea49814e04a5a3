/* SPDX-License-Identifier: MIT */
#include "kernels/philox/philox.h"

struct philox_block philox_rounds(struct philox_block counter, const uint32_t key[2])
{
    struct philox_block x = counter;
    uint32_t k0 = key[0];
    uint32_t k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t a = (uint64_t)PHILOX_M0 * x.word[0];
        uint64_t b = (uint64_t)PHILOX_M1 * x.word[2];
        x = (struct philox_block){{
            (uint32_t)(b >> 32) ^ x.word[1] ^ k0,
            (uint32_t)b,
            (uint32_t)(a >> 32) ^ x.word[3] ^ k1,
            (uint32_t)a,
        }};
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    return x;
}
