/* SPDX-License-Identifier: MIT */
/* A vocabulary: what bytes a token id stands for, which id given bytes have, and which pairs merge in
 * which order. There are two kinds:
 * - byte-level BPE: symbols begin as the tokens of single bytes, a list says which pairs merge;
 * - SentencePiece's BPE ("spm"): symbols begin as characters, and a pair merges when its concatenation is
 *   a normal token, the higher the token's score the earlier. Tokens of one score have one rank, so
 *   that the leftmost goes first. What is in no token is spelled in byte tokens, or is unknown.
 *   (Kudo and Richardson 2018, https://arxiv.org/abs/1808.06226.) Pairs are worked out once, here:
 *   then both kinds merge alike (bpe.h).
 *
 * The arrays are borrowed (they lie in a mapped model file or in a test's memory) and are used in place;
 * this module owns only its hash tables. Immutable after vocab_new, so any thread may read it. */
#ifndef HALO_TOKENIZER_VOCAB_H
#define HALO_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

enum {
    VOCAB_MAX_TOKENS = 1 << 21,
    VOCAB_MAX_MERGES = 1 << 22,
    VOCAB_MAX_TOKEN_BYTES = 4096,
};

#define VOCAB_NONE UINT32_MAX
#define VOCAB_FOREIGN UINT32_C(0x80000000)

/* GGUF's numbers. */
enum vocab_type {
    VOCAB_NORMAL = 1,
    VOCAB_UNKNOWN = 2, /* stands for what the vocabulary cannot spell; never printed */
    VOCAB_CONTROL = 3, /* steers the model; never made from a user's text, never printed */
    VOCAB_USER_DEFINED = 4, /* found in any text before the rest is split, printed */
    VOCAB_UNUSED = 5,
    VOCAB_BYTE = 6,
};

/* The sections tokenizer.* of a model file, see common/h1b.h. */
struct vocab_data {
    const uint32_t *offsets; /* n_tokens + 1 */
    const uint8_t *bytes;
    size_t n_bytes;
    const uint8_t *types; /* n_tokens */
    size_t n_tokens;
    const uint32_t *merges; /* n_merges pairs (left, right), best rank first */
    size_t n_merges;
    const float *scores; /* n_tokens of them make it an spm vocabulary, without merges; or NULL */
};

struct vocab;

/* Checks everything: offsets ascend and end at n_bytes, types are known, each of the 256 bytes has a
 * token (or, with scores, there is an unknown token), each merge names tokens whose concatenation is a
 * token, scores are numbers. On failure (ERR_MODEL_FORMAT,
 * ERR_TOO_LARGE, ERR_NOMEM) one line that names the place is written into `why`. Where two tokens
 * have the same bytes, the lower id is the one found. Borrows the arrays until vocab_free. */
MUST_CHECK enum err vocab_new(const struct vocab_data *data, char *why, size_t cap_why,
                              struct vocab **ret_vocab);
void vocab_free(struct vocab *v);

size_t vocab_size(const struct vocab *v);

bool vocab_is_spm(const struct vocab *v);

/* Whether a normal token has a space behind another character. If none has, no merge goes across such a
 * place, and text may be cut there. */
bool vocab_has_inner_space(const struct vocab *v);

/* Whether `id` is a token of this vocabulary. */
bool vocab_has(const struct vocab *v, uint32_t id);

/* The bytes of token `id`, which must be < vocab_size. Lends until vocab_free; may be empty. */
struct str vocab_bytes(const struct vocab *v, uint32_t id);

/* `id` must be < vocab_size. */
enum vocab_type vocab_type_of(const struct vocab *v, uint32_t id);

/* The normal token of exactly these bytes, or VOCAB_NONE. */
uint32_t vocab_find(const struct vocab *v, struct str bytes);

/* The control token of exactly these bytes, or VOCAB_NONE. */
uint32_t vocab_find_control(const struct vocab *v, struct str bytes);

/* The token of a single byte; VOCAB_NONE where an spm vocabulary has none. */
uint32_t vocab_byte(const struct vocab *v, uint8_t byte);

/* The token for what the vocabulary cannot spell, or VOCAB_NONE. */
uint32_t vocab_unknown(const struct vocab *v);

/* The symbol of the character that text, which is not empty, begins with, and its length in bytes: its
 * normal token, or VOCAB_FOREIGN plus a number of its own, which may be part of merges as well. A byte
 * that is not UTF-8 counts as a character. */
uint32_t vocab_char(const struct vocab *v, struct str text, size_t *ret_len);

/* The token ids, at most 4, that stand for a symbol when merging is over: itself, or byte tokens, or the
 * unknown token. Returns how many. */
size_t vocab_spell(const struct vocab *v, uint32_t symbol, uint32_t ret_ids[4]);

/* Rank of the merge of two adjacent symbols and the token it makes; VOCAB_NONE when there is none. */
uint32_t vocab_rank(const struct vocab *v, uint32_t left, uint32_t right, uint32_t *ret_merged);

#endif
