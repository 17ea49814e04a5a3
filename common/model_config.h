/* SPDX-License-Identifier: MIT */
/* model_config: the "config" section of an .h1b file as a checked struct.
 *
 * The section is one JSON object. The keys have the names and meanings of Hugging Face's config.json
 * where that has one. Every value is range-checked here, so that code which gets a struct
 * model_config needs no further tests. Keys that are not in the list are ignored.
 *
 *   key                       JSON      required
 *   architecture              string    yes, "bitnet" (RMSNorms before o_proj and down_proj), "llama"
 *                                       (none), "qwen3" (a norm per head of q and k before RoPE)
 *   name                      string    yes, 1..96 bytes: the model's public name
 *   vocab_size                integer   yes, 2..1048576
 *   hidden_size               integer   yes, 1..65536
 *   intermediate_size         integer   yes, 1..262144
 *   num_hidden_layers         integer   yes, 1..512
 *   num_attention_heads       integer   yes, 1..512
 *   num_key_value_heads       integer   yes, divides num_attention_heads
 *   head_dim                  integer   yes, even, 2..512; need not be hidden_size / heads
 *   max_position_embeddings   integer   yes, 1..1048576: the context in tokens
 *   rope_theta                number    yes, > 1
 *   rope_scaling              object    no, or null: see below
 *   rms_norm_eps              number    yes, 0 < eps < 1
 *   hidden_act                string    yes, "relu2" (squared ReLU) or "silu", of the gate
 *   tie_word_embeddings       boolean   yes
 *   hadamard_inputs           [string]  no: projections whose input is rotated before it is quantised,
 *                                       "o_proj", "down_proj", all of "q_proj", "k_proj", "v_proj",
 *                                       both of "gate_proj", "up_proj"
 *   hadamard_block            integer   with hadamard_inputs: a power of two, 2..32768, that divides
 *                                       the width of each such input
 *   bos_token_id              integer   no, or null: the model has none
 *   add_bos                   boolean   no (false): whether a raw prompt starts with it
 *   eos_token_ids             [integer] yes, 1..8 ids that end a reply
 *   pre_tokenizer             string    with "bpe", 1..31 bytes: how text is split before merging
 *   tokenizer_model           string    no ("bpe"): "bpe" is byte-level BPE, "spm" SentencePiece's
 *   add_space_prefix          boolean   no (true): with "spm", text starts with one more space
 *   license, license_link, source, description
 *                             string    no: for people, not read here
 *
 * rope_scaling has the keys of Hugging Face; one that is not here is refused, for it would change the
 * numbers:
 *   rope_type (or type)       string    yes, "default", "linear", "llama3" or "yarn"
 *   factor                    number    yes but for "default", 0 < factor < 10000
 *   original_max_position_embeddings  integer  "llama3"; no for "yarn" (max_position_embeddings)
 *   low_freq_factor, high_freq_factor number   "llama3"
 *   beta_fast, beta_slow      number    no, "yarn" (32, 1)
 *   attention_factor          number    no, "yarn": factor of cos and sin (from factor and mscale)
 *   mscale, mscale_all_dim    number    no, "yarn"
 *   truncate                  boolean   no, "yarn" (true)
 *   rope_theta, finetuned               no, ignored */
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
    MODEL_HADAMARD_BLOCK_MAX = 32768,
};

enum model_arch { MODEL_BITNET, MODEL_LLAMA, MODEL_QWEN3 };
enum model_act { MODEL_RELU2, MODEL_SILU };
enum model_rope { MODEL_ROPE_DEFAULT, MODEL_ROPE_LINEAR, MODEL_ROPE_LLAMA3, MODEL_ROPE_YARN };

/* Inputs of projections that are rotated, as bits. */
enum model_hadamard {
    MODEL_HADAMARD_QKV = 1,
    MODEL_HADAMARD_O = 2,
    MODEL_HADAMARD_GATE_UP = 4,
    MODEL_HADAMARD_DOWN = 8,
};

struct model_rope_scaling {
    enum model_rope type;
    double factor;
    uint32_t n_ctx_original; /* llama3, yarn */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow; /* yarn */
    double attention_factor, mscale, mscale_all_dim; /* yarn; 0: not given */
    bool is_truncated; /* yarn */
};

struct model_config {
    enum model_arch arch;
    enum model_act act;
    char name[MODEL_NAME_MAX + 1];
    char pre_tokenizer[MODEL_PRE_TOKENIZER_MAX + 1]; /* "" for "spm" without one */
    uint32_t n_vocab;
    uint32_t n_hidden;
    uint32_t n_ffn; /* intermediate_size */
    uint32_t n_layers;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t n_ctx; /* max_position_embeddings */
    double rope_theta;
    struct model_rope_scaling rope_scaling;
    float rms_eps;
    unsigned hadamard; /* enum model_hadamard, or 0 */
    uint32_t hadamard_block; /* 0 when nothing is rotated */
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

/* The name in the file: "bitnet", "llama", "qwen3". */
const char *model_config_arch_name(enum model_arch arch);

#endif
