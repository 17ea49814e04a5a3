/* SPDX-License-Identifier: MIT */
/* vocabularies: how a tokenizer gets what it needs of a model, and what it made of it.
 *
 * The status names all models that engines have. A tokenizer that does not know one asks; an engine that
 * has it answers, and the answer goes to every tokenizer that ever asked: who has it already ignores it.
 * Nothing is kept here: if the engine is lost in between, the tokenizer asks again with the next status
 * that names the model. */
#ifndef HALO_ROUTER_VOCABULARIES_H
#define HALO_ROUTER_VOCABULARIES_H

#include "common/err.h"
#include "proto/frames.h"

struct router;
struct tokenizer;

/* A frame of a tokenizer: its question (vocabulary_ask), which is passed on if an engine can answer it, or
 * what it can serve (known). ERR_NOMEM. */
MUST_CHECK enum err vocabularies_on_frame(struct router *r, struct tokenizer *t,
                                          const struct frame *f);

/* Passes an engine's answer on; ERR_OK. */
MUST_CHECK enum err vocabularies_answer(const struct router *r, const struct frame_vocabulary *f);

/* Whether all tokenizers, at least one, can serve the model: ERR_OK. ERR_AGAIN: not yet. Any other: one
 * cannot, and *ret_why is its line. */
MUST_CHECK enum err vocabularies_state(const struct router *r, const char *model_hash,
                                       const char **ret_why);

void vocabularies_forget(struct tokenizer *t);

#endif
