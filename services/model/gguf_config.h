/* SPDX-License-Identifier: MIT */
/* gguf_config: the shape and the graph of a model from a GGUF file's keys.
 *
 * Architectures: bitnet (1bitLLM's models, SiLU), bitnet-25 and bitnet-b1.58 (BitNet b1.58 2B-4T, squared
 * ReLU), llama (HF1BitLLM, Falcon3, Falcon-E, TriLM) and qwen3 (Bonsai); others are refused by name.
 * So is what would change the numbers and is not computed: experts, sliding windows, logit scales,
 * rotated weights (prism.hadamard.*), unknown RoPE scalings. Nothing is guessed. */
#ifndef HALO_MODEL_GGUF_CONFIG_H
#define HALO_MODEL_GGUF_CONFIG_H

#include "services/model/gguf.h"
#include "services/model/source.h"

/* Fills s->config but for the tokenizer's fields. *ret_is_permuted: rows of q and k are in the order of
 * neighbouring pairs, which llama.cpp has for llama: row 2i + p of a head is row p * head_dim/2 + i of
 * Hugging Face's. */
MUST_CHECK enum err gguf_config_read(const struct gguf *g, struct source *s, struct why *why,
                                     bool *ret_is_permuted);

#endif
