/* SPDX-License-Identifier: MIT */
/* The kernels' sources, compiled for the CPU, and their names. */
#include "kernels/hip/harness.h"

#include <stdio.h>
#include <string.h>

#include "kernels/hip/fiber.h"
#include "kernels/hip/kernels.hip"

#define HIP_KERNEL(name, args, threads, doc)                                                       \
    static void run_##name(const void *p)                                                          \
    {                                                                                              \
        halo_##name(*(const struct hip_##args##_args *)p);                                         \
    }
#include "kernels/hip/kernels.def"

static const struct {
    const char *symbol;
    uint32_t args_bytes;
    uint32_t n_threads;
    void (*run)(const void *args);
} TABLE_OF_KERNELS[] = {
#define HIP_KERNEL(name, args, threads, doc)                                                       \
    {"halo_" #name, (uint32_t)sizeof(struct hip_##args##_args), threads, run_##name},
#include "kernels/hip/kernels.def"
};

#define HIP_EARLY(name) "halo_" #name,
static const char *const EARLY[] = {
#include "kernels/hip/kernels.def"
};

enum {
    N_KERNELS = sizeof TABLE_OF_KERNELS / sizeof TABLE_OF_KERNELS[0],
    N_EARLY = sizeof EARLY / sizeof EARLY[0],
};

static int find(const char *symbol)
{
    for (int i = 0; i < N_KERNELS; i++) {
        if (strcmp(symbol, TABLE_OF_KERNELS[i].symbol) == 0)
            return i;
    }
    return -1;
}

static bool is_early(const char *symbol)
{
    for (int i = 0; i < N_EARLY; i++) {
        if (strcmp(EARLY[i], symbol) == 0)
            return true;
    }
    return false;
}

bool hip_harness_has(const char *symbol, uint32_t *ret_args_bytes)
{
    int i = find(symbol);
    if (i < 0)
        return false;
    *ret_args_bytes = TABLE_OF_KERNELS[i].args_bytes;
    return true;
}

int hip_harness_launch(const char *symbol, const uint32_t grid[3], const uint32_t block[3],
                       uint32_t shared_bytes, const void *args)
{
    int i = find(symbol);
    if (i < 0 || block[0] != TABLE_OF_KERNELS[i].n_threads || block[1] != 1 || block[2] != 1) {
        (void)fprintf(stderr, "harness: no kernel %s for blocks of %u,%u,%u\n", symbol, block[0],
                      block[1], block[2]);
        return -1;
    }
    fiber_must_wait(is_early(symbol));
    int r = fiber_launch(TABLE_OF_KERNELS[i].run, args, grid, block[0], shared_bytes);
    fiber_must_wait(false);
    if (r != 0)
        (void)fprintf(stderr, "harness: in kernel %s\n", symbol);
    return r;
}

void hip_harness_seed(uint64_t seed)
{
    fiber_seed(seed);
}
