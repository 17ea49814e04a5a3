/* SPDX-License-Identifier: MIT */
/* tokens_check: whether Halo's tokenizer can work with a vocabulary, so that a conversion fails and not
 * the start of a service. What is asked is what services/tokenizer/vocab.h asks. */
#ifndef HALO_MODEL_TOKENS_CHECK_H
#define HALO_MODEL_TOKENS_CHECK_H

#include "services/model/source.h"

/* Any byte can be written in tokens; each merge joins two tokens into one, and is there once; scores
 * are finite. */
MUST_CHECK enum err tokens_check(const struct source *s, struct why *why);

#endif
