/* SPDX-License-Identifier: MIT */
/* What all vector variants of gumbel_noise share. The includer defines before
 *   fill_span(g, span, y): the noise of the ids 128 * span + i, i < 128 */
#ifndef HALO_KERNELS_GUMBEL_GUMBEL_WALK_H
#define HALO_KERNELS_GUMBEL_GUMBEL_WALK_H

#include <stdbool.h>
#include <string.h>

#include "kernels/gumbel/gumbel.h"
#include "kernels/philox/philox.h"

#define GUMBEL_VARIANT(isa)                                                                        \
    void gumbel_noise_##isa(const struct gumbel *g, size_t first, size_t n, float *y)              \
    {                                                                                              \
        while (n > 0) {                                                                            \
            float span[GUMBEL_SPAN];                                                               \
            size_t from = first % GUMBEL_SPAN;                                                     \
            size_t here = GUMBEL_SPAN - from < n ? GUMBEL_SPAN - from : n;                         \
            bool is_whole = here == GUMBEL_SPAN;                                                   \
            fill_span(g, (uint32_t)(first / GUMBEL_SPAN), is_whole ? y : span);                    \
            if (!is_whole)                                                                         \
                memcpy(y, span + from, here * sizeof *y);                                          \
            first += here;                                                                         \
            n -= here;                                                                             \
            y += here;                                                                             \
        }                                                                                          \
    }

#endif
