/* SPDX-License-Identifier: MIT */
/* What the tokenizer takes from a model: vocabulary, rule for cutting text, chat template and the facts
 * that clients are told; from the model's file, or from what an engine sent of it. Everything is checked
 * when it is opened. */
#ifndef HALO_TOKENIZER_MODEL_H
#define HALO_TOKENIZER_MODEL_H

#include <stdint.h>

#include "common/err.h"
#include "common/h1b.h"
#include "common/model_config.h"
#include "proto/frames.h"
#include "services/tokenizer/encode.h"
#include "services/tokenizer/template.h"
#include "services/tokenizer/vocab.h"

enum { MODEL_HASH_LEN = 64 };

struct model {
    char hash[MODEL_HASH_LEN + 1];
    struct h1b *file; /* NULL: it came from an engine */
    struct h1b_section *sections; /* copies; NULL: they are in the file */
    size_t n_sections;
    struct model_config config;
    struct vocab *vocab;
    struct encoder *encoder;
    struct template *template; /* NULL: a base model without one */
    bool has_other_template; /* the file's own is known to be wrong and was replaced */
    uint64_t created; /* Unix time, 0 if not said */
    char *license; /* "" if not said */
    char *description;
};

/* On failure one line for the operator is written into `why`. */
MUST_CHECK enum err model_open(const char *path, char *why, size_t cap_why,
                               struct model **ret_model);
/* The same from an engine's frame, of which nothing is kept. */
MUST_CHECK enum err model_receive(const struct frame_vocabulary *f, char *why, size_t cap_why,
                                  struct model **ret_model);

void model_close(struct model *m);

#endif
