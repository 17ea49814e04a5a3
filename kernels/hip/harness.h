/* SPDX-License-Identifier: MIT */
/* harness: runs the GPU kernels on the CPU, block by block, one fiber per GPU thread, to find what a
 * GPU would only show now and then: threads of a block run in a shuffled order between barriers, dynamic
 * shared memory is poisoned at first and exactly as large as asked for, a barrier that not all threads
 * reach and an exchange that not all 32 lanes reach are errors. For tests; not thread-safe. */
#ifndef HALO_KERNELS_HIP_HARNESS_H
#define HALO_KERNELS_HIP_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

/* Whether there is a kernel of that symbol ("halo_embed"), and the size of its arguments. */
bool hip_harness_has(const char *symbol, uint32_t *ret_args_bytes);

/* Runs it. 0, or -1 when the launch is wrong: no such kernel, a block shape it is not made for, threads
 * that part at a barrier or an exchange; a line on stderr says what. */
int hip_harness_launch(const char *symbol, const uint32_t grid[3], const uint32_t block[3],
                       uint32_t shared_bytes, const void *args);

/* Another order of the threads from now on; the default is 1. */
void hip_harness_seed(uint64_t seed);

#endif
