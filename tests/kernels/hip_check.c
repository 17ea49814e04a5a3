/* SPDX-License-Identifier: MIT */
#include "tests/kernels/hip_check.h"

void hip_check_run(enum hip_kernel kernel, uint32_t x, uint32_t y, uint32_t z,
                   uint32_t shared_bytes, const void *args)
{
    const struct hip_kernel_info *info = &HIP_KERNELS[kernel];
    uint32_t args_bytes = 0;
    assert_true(hip_harness_has(info->symbol, &args_bytes));
    assert_int_equal(args_bytes, info->args_bytes);
    const uint32_t grid[3] = {x, y, z};
    const uint32_t block[3] = {info->n_threads, 1, 1};
    assert_int_equal(hip_harness_launch(info->symbol, grid, block, shared_bytes, args), 0);
}

void hip_check_launch(const struct hip_launch *l)
{
    hip_check_run(l->kernel, l->grid[0], l->grid[1], l->grid[2], l->shared_bytes, &l->args);
}
