/* SPDX-License-Identifier: MIT */
/* hf_dir: a Hugging Face directory; what others read of one. */
#ifndef HALO_MODEL_HF_DIR_H
#define HALO_MODEL_HF_DIR_H

#include "services/model/source.h"

/* The directory's tokenizer and chat template; s->config may hold bos and eos already. `rule` is the
 * pre-tokenizer where the directory's own is not known, or NULL. */
MUST_CHECK enum err hf_dir_read_tokenizer(struct source *s, const char *folder, const char *rule,
                                          struct why *why);

#endif
