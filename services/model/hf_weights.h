/* SPDX-License-Identifier: MIT */
/* hf_weights: the tensors of a Hugging Face directory, from model.safetensors or the files that
 * model.safetensors.index.json names.
 *
 * Packed ternary weights are U8 [rows / 4, columns] beside a "weight_scale" of one value: bits
 * 2i..2i+1 of byte (r, c) are the code, 0..2 for -1..+1, of row i * rows / 4 + r, column c
 * (transformers, integrations/bitnet.py). The scale multiplies or divides: see hf_config.h. */
#ifndef HALO_MODEL_HF_WEIGHTS_H
#define HALO_MODEL_HF_WEIGHTS_H

#include "services/model/hf_config.h"
#include "services/model/source.h"

struct hf_weights;

/* Opens all files and lists their tensors in s->tensors; handles are indices of its own. */
MUST_CHECK enum err hf_weights_new(struct source *s, enum hf_scale scale, struct why *why,
                                   struct hf_weights **ret_weights);
void hf_weights_free(struct hf_weights *w);

/* As struct source_ops. */
MUST_CHECK enum err hf_weights_floats(const struct hf_weights *w, const struct source_tensor *t,
                                      uint64_t first, uint64_t n, float *dst, struct why *why);
MUST_CHECK enum err hf_weights_codes(const struct hf_weights *w, const struct source_tensor *t,
                                     uint64_t first, uint64_t n, int8_t *dst, struct why *why);
MUST_CHECK enum err hf_weights_scales(const struct hf_weights *w, const struct source_tensor *t,
                                      float *dst, struct why *why);

#endif
