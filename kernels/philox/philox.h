/* SPDX-License-Identifier: MIT */
/* Philox4x32-10, a counter-based random generator (Salmon, Moraes, Dror, Shaw: "Parallel random
 * numbers: as easy as 1, 2, 3", SC11): the block for a counter is a pure function of counter and key,
 * so a token's random numbers follow from its place with nothing to carry over. */
#ifndef HALO_KERNELS_PHILOX_PHILOX_H
#define HALO_KERNELS_PHILOX_PHILOX_H

#include <stdint.h>

enum { PHILOX_ROUNDS = 10 };

#define PHILOX_M0 0xd2511f53U
#define PHILOX_M1 0xcd9e8d57U
#define PHILOX_W0 0x9e3779b9U
#define PHILOX_W1 0xbb67ae85U

struct philox_block {
    uint32_t word[4];
};

/* Ten rounds on any counter and key. */
struct philox_block philox_rounds(struct philox_block counter, const uint32_t key[2]);

#endif
