/* SPDX-License-Identifier: MIT */
/* model_config: the "config" section of an .h1b file as a checked struct.
 *
 * The section is one JSON object. The keys have the names and meanings of Hugging Face's config.json
 * where that has one. Every value is range-checked here, so that code which gets a struct
 * model_config needs no further tests. Keys that are not in the list are ignored, but for
 * "rope_scaling", which would change the numbers and must be absent or null.
 *
 *   key                       JSON      required
 *   architecture              string    yes, "bitnet": the graph of BitNet b1.58 2B-4T
 *   name                      string    yes, 1..96 bytes: the model's public name
 *   vocab_size                integer   yes, 2..1048576
 *   hidden_size               integer   yes, 1..65536
 *   intermediate_size         integer   yes, 1..262144
 *   num_hidden_layers         integer   yes, 1..512
 *   num_attention_heads       integer   yes, 1..512
 *   num_key_value_heads       integer   yes, divides num_attention_heads
 *   head_dim                  integer   yes, even, 2..512
 *   max_position_embeddings   integer   yes, 1..1048576: the context in tokens
 *   rope_theta                number    yes, > 1
 *   rms_norm_eps              number    yes, 0 < eps < 1
 *   hidden_act                string    yes, "relu2"
 *   tie_word_embeddings       boolean   yes
 *   bos_token_id              integer   no, or null: the model has none
 *   add_bos                   boolean   no (false): whether a raw prompt starts with it
 *   eos_token_ids             [integer] yes, 1..8 ids that end a reply
 *   pre_tokenizer             string    yes, 1..31 bytes: how text is split before merging ("bpe")
 *   tokenizer_model           string    no ("bpe"): "bpe" is byte-level BPE, "spm" SentencePiece's
 *   add_space_prefix          boolean   no (true): with "spm", text starts with one more space */
#ifndef HALO_COMMON_MODEL_CONFIG_H
#define HALO_COMMON_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum {
    MODEL_NAME_MAX = 96,
    MODEL_EOS_MAX = 8,
    MODEL_PRE_TOKENIZER_MAX = 31,
};

struct model_config {
    char name[MODEL_NAME_MAX + 1];
    char pre_tokenizer[MODEL_PRE_TOKENIZER_MAX + 1];
    uint32_t n_vocab;
    uint32_t n_hidden;
    uint32_t n_ffn; /* intermediate_size */
    uint32_t n_layers;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t n_ctx; /* max_position_embeddings */
    double rope_theta;
    float rms_eps;
    bool is_tied; /* the LM head is the embedding */
    bool has_bos; /* bos_id is valid */
    bool does_add_bos; /* add_bos */
    bool is_spm; /* tokenizer_model is "spm" */
    bool does_add_space; /* add_space_prefix; false unless is_spm */
    uint32_t bos_id;
    uint32_t n_eos;
    uint32_t eos_ids[MODEL_EOS_MAX];
};

/* Parses `size` bytes of JSON. On failure returns ERR_MODEL_FORMAT (or ERR_NOMEM) and writes one
 * line that names the key and what was expected into `why` (cap_why bytes, always terminated);
 * *ret_config is untouched then. */
MUST_CHECK enum err model_config_parse(const void *json, size_t size, char *why, size_t cap_why,
                                       struct model_config *ret_config);

#endif
