/* SPDX-License-Identifier: MIT */
/* From a generate frame to the token ids of its prompt: chat template or raw text, begin token, limits. */
#ifndef HALO_TOKENIZER_PROMPT_H
#define HALO_TOKENIZER_PROMPT_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "proto/frames.h"
#include "services/tokenizer/ids.h"
#include "services/tokenizer/model.h"

/* Fills *ids (which is empty). `encoder` is one of the model's that belongs to this thread. `context` is the number of positions that engines have. On failure (that of
 * the template, ERR_CONTEXT, ERR_UTF8, ERR_RANGE, ERR_INVALID, ERR_UNSUPPORTED) `why` has a line for the
 * client. */
MUST_CHECK enum err prompt_encode(const struct model *m, struct encoder *encoder,
                                  const struct frame_generate *f, uint32_t context, char *why,
                                  size_t cap_why, struct ids *ids);

#endif
