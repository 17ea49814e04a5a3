/* SPDX-License-Identifier: MIT */
/* oracle: the model's forward pass once more, in double precision and without kernels, blocks or
 * steps, to be compared with by tolerance. Formulas: arXiv 2504.12285 and its model card. */
#ifndef HALO_TESTS_ENGINE_ORACLE_H
#define HALO_TESTS_ENGINE_ORACLE_H

#include <stdint.h>

#include "services/engine/model.h"

/* Logits [n_tokens][vocab] after each token; the caller frees them. */
double *oracle_forward(const struct model *m, const uint32_t *tokens, uint32_t n_tokens);

#endif
