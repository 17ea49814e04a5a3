/* SPDX-License-Identifier: MIT */
/* scale_plan: the fewest scales that say the same. Given the scale of each row, how many equal slices of
 * rows have one scale each: 1 for BitNet's scale per tensor, a handful for TriLM's per model-parallel
 * slice, else one per row. A NaN stands for a row of zeros, which any scale fits. */
#ifndef HALO_MODEL_SCALE_PLAN_H
#define HALO_MODEL_SCALE_PLAN_H

#include <stdint.h>

/* A divisor of n_rows, which is at least 1. */
uint64_t scale_plan_n_slices(const float *rows, uint64_t n_rows);

/* The scales of n_slices slices; 0 for a slice of nothing but NaN. */
void scale_plan_slices(const float *rows, uint64_t n_rows, uint64_t n_slices, float *ret_scales);

#endif
