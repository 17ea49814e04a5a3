/* SPDX-License-Identifier: MIT */
/* kv: which sequence holds which KV block, and which blocks can be shared.
 *
 * A block holds the keys and values of KV_BLOCK positions for all layers; its memory belongs to the
 * backend, this module deals in block ids only. A block is in one of three states:
 *   free       in the free list;
 *   private    held by one sequence that still writes to it;
 *   published  full and never written again. It is found by (tenant, the published block before it,
 *              its tokens), may be held by any number of sequences, and stays after the last one let
 *              go of it until its memory is needed: least recently used first.
 * The index hashes, but a match compares the tokens and the identity of the block before it, so a
 * collision costs time and never an answer. Keys and values are a pure function of model, tokens and
 * position; the model is the process's own, so the key needs no model hash in memory.
 *
 * Invariants: whoever holds a published block holds all blocks before it, and sequences let go from
 * their last block backwards; so in the LRU list a block stands before the one it follows, and an
 * evicted block never has a published successor.
 *
 * Owned by the step thread. Memory is allocated in kv_new only. */
#ifndef HALO_ENGINE_KV_H
#define HALO_ENGINE_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    KV_BLOCK = 32, /* positions in a block */
    KV_NONE = INT32_MAX,
};

/* How a backend keeps keys and values. Replies differ a little between the two, so it is one for the
 * life of a process. */
enum kv_type { KV_F16, KV_INT8 };

#define KV_TYPES "f16|int8" /* names, as options have them */

static inline enum kv_type kv_type_of(const char *name)
{
    return strcmp(name, "int8") == 0 ? KV_INT8 : KV_F16;
}

static inline const char *kv_type_name(enum kv_type type)
{
    return type == KV_INT8 ? "int8" : "f16";
}

struct kv;

/* The blocks of one sequence, in order of positions. Zeros are an empty one. */
struct kv_seq {
    uint64_t tenant;
    uint32_t *blocks;
    uint32_t n_blocks;
    uint32_t n_published; /* of them, from the front */
    uint32_t cap_blocks;
};

struct kv_stats {
    uint32_t n_blocks;
    uint32_t n_held; /* by sequences */
    uint32_t n_published; /* held or not */
    uint64_t n_evictions; /* since kv_new */
    uint64_t mark; /* the stamp of the block that was published last */
};

/* A published block, for those who carry blocks from one process to another. */
struct kv_block {
    uint32_t parent; /* the published block before it, or KV_NONE */
    uint64_t tenant;
    uint64_t stamp; /* counts publications from 1 */
    const uint32_t *tokens; /* [KV_BLOCK], lent until the next change */
};

/* At least one block; aborts when memory runs out. */
struct kv *kv_new(uint32_t n_blocks);
void kv_free(struct kv *kv);

/* Gives the empty sequence `seq` the longest published chain that is a prefix of tokens[0..n_tokens)
 * and shorter than it, so that at least one token is left to compute. Returns the number of positions
 * covered, a multiple of KV_BLOCK. */
uint32_t kv_match(struct kv *kv, struct kv_seq *seq, uint64_t tenant, const uint32_t *tokens,
                  uint32_t n_tokens);

/* Private blocks at the end of `seq` until it covers n_positions, evicting as needed. False, and
 * nothing changed, when there are too few. */
bool kv_grow(struct kv *kv, struct kv_seq *seq, uint32_t n_positions);

/* Publishes the blocks of `seq` that tokens[0..n_computed) fill. Where another sequence published
 * the same one before, `seq` changes over to that one: the bits are the same. */
void kv_publish(struct kv *kv, struct kv_seq *seq, const uint32_t *tokens, uint32_t n_computed);

/* Changes over to published blocks for the positions that follow n_computed, a multiple of KV_BLOCK,
 * where another sequence has computed them since. Returns the new n_computed, less than n_tokens. */
uint32_t kv_adopt(struct kv *kv, struct kv_seq *seq, const uint32_t *tokens, uint32_t n_tokens,
                  uint32_t n_computed);

/* Lets go of all blocks and of the list; `seq` is empty afterwards. */
void kv_release(struct kv *kv, struct kv_seq *seq);

/* ---- carrying blocks away, and in ---- */

/* The ids of at most `cap` published blocks: those that sequences hold, then the most recently used; each
 * after its parent. Returns how many. */
uint32_t kv_list(const struct kv *kv, uint32_t *ids, uint32_t cap);

/* The published blocks that tokens[0..n_tokens) begin with, in order, at most `cap`. */
uint32_t kv_list_prefix(const struct kv *kv, uint64_t tenant, const uint32_t *tokens,
                        uint32_t n_tokens, uint32_t *ids, uint32_t cap);

struct kv_block kv_describe(const struct kv *kv, uint32_t id);

/* The published block of these tokens behind `parent`, or KV_NONE. */
uint32_t kv_find(const struct kv *kv, const struct kv_block *b);

/* A free block to fill, or KV_NONE; nothing is evicted. Then kv_put_in publishes it, the first to be
 * evicted of all, or kv_put_back gives it back. kv_find has found no such block. */
uint32_t kv_take(struct kv *kv);
void kv_put_in(struct kv *kv, uint32_t id, const struct kv_block *b);
void kv_put_back(struct kv *kv, uint32_t id);

/* Blocks that kv_grow could hand out now. */
uint32_t kv_n_available(const struct kv *kv);

struct kv_stats kv_stats(const struct kv *kv);

/* Aborts if an invariant is broken; reads everything. For tests. */
void kv_check(const struct kv *kv);

#endif
