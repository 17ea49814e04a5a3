/* SPDX-License-Identifier: MIT */
/* sentencepiece: the vocabulary of a tokenizer.model file, which older models have in place of a
 * tokenizer.json. It is a protobuf message (sentencepiece_model.proto); what is read:
 *
 *   ModelProto       1 pieces (repeated), 2 trainer_spec, 3 normalizer_spec
 *   SentencePiece    1 piece, 2 score (float), 3 type: 1 normal .. 6 byte, as in "tokenizer.types"
 *   TrainerSpec      3 model_type: 1 unigram, 2 BPE
 *   NormalizerSpec   2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces
 *
 * Only BPE without normalisation is taken, which is what Llama's vocabularies are. */
#ifndef HALO_MODEL_SENTENCEPIECE_H
#define HALO_MODEL_SENTENCEPIECE_H

#include <stdint.h>

#include "services/model/source.h"

/* Fills s->tokenizer, scores included, and what s->config says of it. Lines in `why` begin with
 * "tokenizer.model: ". */
MUST_CHECK enum err sentencepiece_read(const uint8_t *bytes, size_t n, struct source *s,
                                       struct why *why);

#endif
