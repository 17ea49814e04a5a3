/* SPDX-License-Identifier: MIT */
#include "services/model/scale_plan.h"

#include <math.h>
#include <stdbool.h>

static float first_of(const float *rows, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if (!isnan(rows[i]))
            return rows[i];
    }
    return NAN;
}

static bool is_one(const float *rows, uint64_t n)
{
    float first = first_of(rows, n);
    for (uint64_t i = 0; i < n; i++) {
        if (!isnan(rows[i]) && rows[i] != first)
            return false;
    }
    return true;
}

uint64_t scale_plan_n_slices(const float *rows, uint64_t n_rows)
{
    for (uint64_t n = 1; n < n_rows; n++) {
        uint64_t n_in_slice = n_rows / n;
        bool fits = n_rows % n == 0;
        for (uint64_t i = 0; i < n_rows && fits; i += n_in_slice)
            fits = is_one(rows + i, n_in_slice);
        if (fits)
            return n;
    }
    return n_rows;
}

void scale_plan_slices(const float *rows, uint64_t n_rows, uint64_t n_slices, float *ret_scales)
{
    uint64_t n_in_slice = n_rows / n_slices;
    for (uint64_t i = 0; i < n_slices; i++) {
        float scale = first_of(rows + i * n_in_slice, n_in_slice);
        ret_scales[i] = isnan(scale) ? 0.0F : scale;
    }
}
