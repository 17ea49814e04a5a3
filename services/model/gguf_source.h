/* SPDX-License-Identifier: MIT */
/* gguf_source: a GGUF file as a source (services/model/source.h): tensor names of llama.cpp become those
 * of Hugging Face, rows of q and k of `llama` go back to half-split order, scales that are equal collapse
 * to one per tensor or slice of rows, and optional `X.scale` tensors are multiplied into them.
 *
 * Layers' projections are codes where the type has codes; embedding and head are floats, whatever their
 * type. The head is tied when output.weight is absent or a copy of the embedding.
 *
 * options->layout is the order of I2_S codes: "128" (or NULL), "64" or "rows", see
 * services/model/gguf_types.h. A histogram of codes or statistics of rows are the same for all three, so
 * a wrong one cannot be noticed here: if a converted model talks noise, convert with another one. */
#ifndef HALO_MODEL_GGUF_SOURCE_H
#define HALO_MODEL_GGUF_SOURCE_H

#include "services/model/source.h"

bool gguf_source_is_it(const struct source_head *head);
MUST_CHECK enum err gguf_source_open(struct source *s, const struct source_options *options,
                                     struct why *why);

#endif
