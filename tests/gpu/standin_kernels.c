/* SPDX-License-Identifier: MIT */
#include "tests/gpu/standin_kernels.h"

#include "kernels/hip/harness.h"

bool standin_kernels_find(const char *name, uint32_t *ret_args_bytes)
{
    return hip_harness_has(name, ret_args_bytes);
}

bool standin_kernels_run(const char *name, const uint32_t grid[static 3],
                         const uint32_t block[static 3], uint32_t shared_bytes, const void *args)
{
    return hip_harness_launch(name, grid, block, shared_bytes, args) == 0;
}
