/* SPDX-License-Identifier: MIT */
/* What the tests of the GPU kernels share: launches in the harness. */
#ifndef HALO_TESTS_KERNELS_HIP_CHECK_H
#define HALO_TESTS_KERNELS_HIP_CHECK_H

#include "kernels/hip/harness.h"
#include "kernels/hip/plan.h"
#include "tests/kernels/check.h"

/* Runs a kernel; args is its struct. Fails if the launch is wrong. */
void hip_check_run(enum hip_kernel kernel, uint32_t x, uint32_t y, uint32_t z,
                   uint32_t shared_bytes, const void *args);

/* The same for one of a plan. */
void hip_check_launch(const struct hip_launch *l);

#endif
