/* SPDX-License-Identifier: MIT */
/* hf_pretokenizer: recognises the "pre_tokenizer" of a tokenizer.json. */
#ifndef HALO_MODEL_HF_PRETOKENIZER_H
#define HALO_MODEL_HF_PRETOKENIZER_H

#include <jansson.h>

#include "common/buf.h"

/* Writes the steps in one line, options that matter included: "Split(Isolated,REGEX) ByteLevel". */
void hf_pretokenizer_describe(const json_t *pre_tokenizer, struct buf *to);

/* The name of the rule for such a line (pretokenizers.def), or NULL. */
const char *hf_pretokenizer_rule(const char *line);

#endif
