/* SPDX-License-Identifier: MIT */
/* hf_config: config.json and generation_config.json of a Hugging Face directory.
 *
 * The architecture comes from "architectures"; what the graph would have to compute differently
 * (biases, sliding windows, other activations, other quantisations) is refused by name. */
#ifndef HALO_MODEL_HF_CONFIG_H
#define HALO_MODEL_HF_CONFIG_H

#include <jansson.h>

#include "services/model/source.h"

/* What weight_scale of packed weights means. */
enum hf_scale {
    HF_SCALE_UNKNOWN, /* nothing says it */
    HF_SCALE_MULTIPLIES, /* linear_class "autobitlinear": y = (W q / s) * weight_scale */
    HF_SCALE_DIVIDES, /* "bitlinear", also the default: y = W q / (s * weight_scale) */
};

struct hf_config {
    enum hf_scale scale;
    bool has_tie; /* the file says whether the head is the embedding */
};

/* Fills the model's part of s->config; eos and bos only from ids that the files give. `generation` may
 * be NULL. Lines in `why` begin with "config.json: ". */
MUST_CHECK enum err hf_config_read(const json_t *config, const json_t *generation, struct source *s,
                                   struct why *why, struct hf_config *ret_hf);

/* Adds an end-of-reply token unless it is there; false when there are too many. */
bool hf_config_add_eos(struct source_config *c, json_int_t id);

#endif
