/* SPDX-License-Identifier: MIT */
/* fiber: one block of GPU threads as fibers of one CPU thread; what shim.h is made of on the CPU. */
#ifndef HALO_KERNELS_HIP_FIBER_H
#define HALO_KERNELS_HIP_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/f16/f16.h"

enum { FIBER_MAX_THREADS = 1024 };

struct fiber_place {
    uint32_t thread;
    uint32_t block[3];
    void *shared;
};

/* Of the running fiber. */
extern struct fiber_place fiber_here;

static inline uint32_t fiber_thread(void)
{
    return fiber_here.thread;
}

static inline uint32_t fiber_block(unsigned dimension)
{
    return fiber_here.block[dimension];
}

static inline void *fiber_shared(void)
{
    return fiber_here.shared;
}

void fiber_barrier(const char *file, int line);
void fiber_lane_sync(const char *file, int line);
uint32_t fiber_exchange(uint32_t value, uint32_t mask, const char *file, int line);

/* Notes that the thread has waited for the launch ahead. */
void fiber_wait_previous(void);

/* From now on launches fail in which a thread ends without it; false as at first. */
void fiber_must_wait(bool must);

/* Shows each of n_lanes (32 or 64) consecutive threads what all of them gave, n words each: lane l's are at
 * l * FIBER_GATHER, valid until the next meeting but one. */
enum { FIBER_GATHER = 16 };
const uint32_t *fiber_gather(const uint32_t *values, uint32_t n, uint32_t n_lanes, const char *file,
                             int line);

/* Runs run(args) for all threads of all blocks. 0, or -1 and a line on stderr. */
int fiber_launch(void (*run)(const void *args), const void *args, const uint32_t grid[3],
                 uint32_t n_threads, uint32_t shared_bytes);

void fiber_seed(uint64_t seed);

#endif
