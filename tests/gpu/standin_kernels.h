/* SPDX-License-Identifier: MIT */
/* standin_kernels: the device kernels by name, run on the CPU. */
#ifndef HALO_TESTS_GPU_STANDIN_KERNELS_H
#define HALO_TESTS_GPU_STANDIN_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/* False if there is no such kernel; else the size of the struct that it takes. */
bool standin_kernels_find(const char *name, uint32_t *ret_args_bytes);

/* Runs all blocks. False if there is no such kernel or the harness refuses the launch. */
bool standin_kernels_run(const char *name, const uint32_t grid[static 3],
                         const uint32_t block[static 3], uint32_t shared_bytes, const void *args);

#endif
