/* SPDX-License-Identifier: MIT */
/* rope_tables: cosines and sines of all positions of a model, with its RoPE scaling.
 *
 * Frequencies f[i] of kernels/rope become, with w[i] = 2 pi / f[i] the wavelength in positions and
 * N the original context (Hugging Face transformers, modeling_rope_utils):
 *   linear  f / factor
 *   llama3  w > N / low: f / factor; w < N / high: f; between: t = (N / w - low) / (high - low),
 *           (1 - t) * f / factor + t * f
 *   yarn    (arXiv 2309.00071) t(r) = head_dim * ln(N / (2 pi r)) / (2 ln theta) is where a frequency
 *           turns r times in N positions; a = t(beta_fast), b = t(beta_slow), a rounded down and b up
 *           if truncated, kept in 0..head_dim - 1; g = (i - a) / (b - a) kept in 0..1;
 *           f / factor * g + f * (1 - g). Cosines and sines times attention_factor, if none is given
 *           m(factor, mscale) / m(factor, mscale_all_dim) where both are, else m(factor, 1), with
 *           m(s, k) = 0.1 k ln s + 1, or 1 for s <= 1 */
#ifndef HALO_ENGINE_ROPE_TABLES_H
#define HALO_ENGINE_ROPE_TABLES_H

#include <stdbool.h>

#include "common/err.h"
#include "common/model_config.h"

/* Fills cos and sin, [context][head_dim / 2] each. False, and nothing filled, if the scaling gives a
 * value that is not finite or an angle above 2^20. */
MUST_CHECK bool rope_tables_fill(const struct model_config *c, float *cos, float *sin);

#endif
