/* SPDX-License-Identifier: MIT */
#include "services/engine/kv.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"

enum block_state { BLOCK_FREE, BLOCK_PRIVATE, BLOCK_PUBLISHED };

struct block {
    enum block_state state;
    uint32_t n_refs;
    uint32_t parent; /* the published block before it, or KV_NONE */
    uint32_t n_children;
    uint64_t tenant;
    uint64_t hash;
    uint64_t stamp;
    uint32_t bucket_next; /* next in the hash bucket or in the free list */
    uint32_t lru_prev; /* towards the oldest; only when published and not held */
    uint32_t lru_next;
    uint32_t tokens[KV_BLOCK];
};

struct kv {
    struct block *blocks;
    uint32_t *buckets;
    uint32_t bucket_mask;
    uint32_t free_head;
    uint32_t n_free;
    uint32_t lru_oldest;
    uint32_t lru_newest;
    uint32_t n_lru;
    struct kv_stats stats;
};

struct kv *kv_new(uint32_t n_blocks)
{
    ASSERT(n_blocks > 0 && n_blocks < KV_NONE);
    struct kv *kv = mem_zalloc(1, sizeof *kv);
    kv->blocks = mem_zalloc(n_blocks, sizeof *kv->blocks);
    uint32_t n_buckets = 16;
    while (n_buckets < n_blocks)
        n_buckets *= 2;
    kv->buckets = mem_zalloc(n_buckets, sizeof *kv->buckets);
    kv->bucket_mask = n_buckets - 1;
    for (uint32_t i = 0; i < n_buckets; i++)
        kv->buckets[i] = KV_NONE;
    for (uint32_t i = 0; i < n_blocks; i++)
        kv->blocks[i].bucket_next = i + 1 < n_blocks ? i + 1 : KV_NONE;
    kv->n_free = n_blocks;
    kv->lru_oldest = KV_NONE;
    kv->lru_newest = KV_NONE;
    kv->stats.n_blocks = n_blocks;
    return kv;
}

void kv_free(struct kv *kv)
{
    if (kv == NULL)
        return;
    free(kv->blocks);
    free(kv->buckets);
    free(kv);
}

/* ---- the index of published blocks ---- */

static uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15U;
    return h ^ h >> 29;
}

static uint64_t hash_of(const struct kv *kv, uint64_t tenant, uint32_t parent,
                        const uint32_t *tokens)
{
    uint64_t h = parent == KV_NONE ? mix(0, tenant) : kv->blocks[parent].hash;
    for (size_t i = 0; i < KV_BLOCK; i++)
        h = mix(h, tokens[i]);
    return h;
}

static uint32_t index_find(const struct kv *kv, uint64_t hash, uint64_t tenant, uint32_t parent,
                           const uint32_t *tokens)
{
    uint32_t id = kv->buckets[hash & kv->bucket_mask];
    for (; id != KV_NONE; id = kv->blocks[id].bucket_next) {
        const struct block *b = &kv->blocks[id];
        if (b->hash == hash && b->tenant == tenant && b->parent == parent &&
            memcmp(b->tokens, tokens, sizeof b->tokens) == 0)
            return id;
    }
    return KV_NONE;
}

static void index_add(struct kv *kv, uint32_t id)
{
    uint32_t *head = &kv->buckets[kv->blocks[id].hash & kv->bucket_mask];
    kv->blocks[id].bucket_next = *head;
    *head = id;
}

static void index_remove(struct kv *kv, uint32_t id)
{
    uint32_t *at = &kv->buckets[kv->blocks[id].hash & kv->bucket_mask];
    while (*at != id)
        at = &kv->blocks[*at].bucket_next;
    *at = kv->blocks[id].bucket_next;
}

/* ---- the list of published blocks that nobody holds ---- */

static void lru_add_newest(struct kv *kv, uint32_t id)
{
    struct block *b = &kv->blocks[id];
    b->lru_next = KV_NONE;
    b->lru_prev = kv->lru_newest;
    if (kv->lru_newest != KV_NONE)
        kv->blocks[kv->lru_newest].lru_next = id;
    else
        kv->lru_oldest = id;
    kv->lru_newest = id;
    kv->n_lru++;
}

static void lru_add_oldest(struct kv *kv, uint32_t id)
{
    struct block *b = &kv->blocks[id];
    b->lru_prev = KV_NONE;
    b->lru_next = kv->lru_oldest;
    if (kv->lru_oldest != KV_NONE)
        kv->blocks[kv->lru_oldest].lru_prev = id;
    else
        kv->lru_newest = id;
    kv->lru_oldest = id;
    kv->n_lru++;
}

static void lru_remove(struct kv *kv, uint32_t id)
{
    const struct block *b = &kv->blocks[id];
    if (b->lru_prev != KV_NONE)
        kv->blocks[b->lru_prev].lru_next = b->lru_next;
    else
        kv->lru_oldest = b->lru_next;
    if (b->lru_next != KV_NONE)
        kv->blocks[b->lru_next].lru_prev = b->lru_prev;
    else
        kv->lru_newest = b->lru_prev;
    kv->n_lru--;
}

/* ---- changes of state ---- */

static void hold_published(struct kv *kv, uint32_t id)
{
    if (kv->blocks[id].n_refs++ == 0)
        lru_remove(kv, id);
}

static void add_free(struct kv *kv, uint32_t id)
{
    kv->blocks[id].state = BLOCK_FREE;
    kv->blocks[id].bucket_next = kv->free_head;
    kv->free_head = id;
    kv->n_free++;
}

static void let_go(struct kv *kv, uint32_t id)
{
    struct block *b = &kv->blocks[id];
    ASSERT(b->state != BLOCK_FREE && b->n_refs > 0);
    if (--b->n_refs > 0)
        return;
    if (b->state == BLOCK_PUBLISHED)
        lru_add_newest(kv, id);
    else
        add_free(kv, id);
}

static void evict_oldest(struct kv *kv)
{
    uint32_t id = kv->lru_oldest;
    struct block *b = &kv->blocks[id];
    ASSERT(b->n_refs == 0 && b->n_children == 0);
    lru_remove(kv, id);
    index_remove(kv, id);
    if (b->parent != KV_NONE)
        kv->blocks[b->parent].n_children--;
    add_free(kv, id);
    kv->stats.n_published--;
    kv->stats.n_evictions++;
}

static uint32_t take_private(struct kv *kv)
{
    if (kv->n_free == 0)
        evict_oldest(kv);
    uint32_t id = kv->free_head;
    struct block *b = &kv->blocks[id];
    kv->free_head = b->bucket_next;
    kv->n_free--;
    *b = (struct block){.state = BLOCK_PRIVATE, .n_refs = 1, .parent = KV_NONE};
    return id;
}

static void reserve(struct kv_seq *seq, uint32_t n_blocks)
{
    if (n_blocks <= seq->cap_blocks)
        return;
    uint32_t cap = seq->cap_blocks * 2 > n_blocks ? seq->cap_blocks * 2 : n_blocks;
    seq->blocks = mem_resize(seq->blocks, cap, sizeof *seq->blocks);
    seq->cap_blocks = cap;
}

/* ---- for the scheduler ---- */

uint32_t kv_match(struct kv *kv, struct kv_seq *seq, uint64_t tenant, const uint32_t *tokens,
                  uint32_t n_tokens)
{
    ASSERT(seq->n_blocks == 0 && n_tokens > 0);
    seq->tenant = tenant;
    uint32_t most = (n_tokens - 1) / KV_BLOCK;
    reserve(seq, most);
    uint32_t parent = KV_NONE;
    while (seq->n_blocks < most) {
        const uint32_t *part = tokens + (size_t)seq->n_blocks * KV_BLOCK;
        uint32_t id = index_find(kv, hash_of(kv, tenant, parent, part), tenant, parent, part);
        if (id == KV_NONE)
            break;
        hold_published(kv, id);
        seq->blocks[seq->n_blocks++] = id;
        parent = id;
    }
    seq->n_published = seq->n_blocks;
    return seq->n_blocks * KV_BLOCK;
}

bool kv_grow(struct kv *kv, struct kv_seq *seq, uint32_t n_positions)
{
    uint32_t want = n_positions / KV_BLOCK + (n_positions % KV_BLOCK != 0);
    if (want <= seq->n_blocks)
        return true;
    if (want - seq->n_blocks > kv_n_available(kv))
        return false;
    reserve(seq, want);
    while (seq->n_blocks < want)
        seq->blocks[seq->n_blocks++] = take_private(kv);
    return true;
}

/* Puts the published block of the same tokens in place of the first private one; false if there is
 * none. */
static bool adopt_one(struct kv *kv, struct kv_seq *seq, const uint32_t *tokens)
{
    uint32_t at = seq->n_published;
    uint32_t mine = seq->blocks[at];
    uint32_t parent = at > 0 ? seq->blocks[at - 1] : KV_NONE;
    uint64_t hash = hash_of(kv, seq->tenant, parent, tokens);
    uint32_t same = index_find(kv, hash, seq->tenant, parent, tokens);
    if (same == KV_NONE)
        return false;
    hold_published(kv, same);
    seq->blocks[at] = same;
    seq->n_published++;
    let_go(kv, mine);
    return true;
}

static void publish_as(struct kv *kv, uint32_t id, uint64_t tenant, uint32_t parent,
                       const uint32_t *tokens)
{
    struct block *b = &kv->blocks[id];
    b->state = BLOCK_PUBLISHED;
    b->parent = parent;
    b->tenant = tenant;
    b->hash = hash_of(kv, tenant, parent, tokens);
    b->stamp = ++kv->stats.mark;
    memcpy(b->tokens, tokens, sizeof b->tokens);
    if (parent != KV_NONE)
        kv->blocks[parent].n_children++;
    index_add(kv, id);
    kv->stats.n_published++;
}

static void publish_one(struct kv *kv, struct kv_seq *seq, const uint32_t *tokens)
{
    uint32_t at = seq->n_published;
    if (adopt_one(kv, seq, tokens))
        return;
    publish_as(kv, seq->blocks[at], seq->tenant, at > 0 ? seq->blocks[at - 1] : KV_NONE, tokens);
    seq->n_published++;
}

void kv_publish(struct kv *kv, struct kv_seq *seq, const uint32_t *tokens, uint32_t n_computed)
{
    uint32_t n_full = n_computed / KV_BLOCK;
    ASSERT(n_full <= seq->n_blocks);
    while (seq->n_published < n_full)
        publish_one(kv, seq, tokens + (size_t)seq->n_published * KV_BLOCK);
}

uint32_t kv_adopt(struct kv *kv, struct kv_seq *seq, const uint32_t *tokens, uint32_t n_tokens,
                  uint32_t n_computed)
{
    ASSERT(n_computed == seq->n_published * KV_BLOCK);
    while (seq->n_published < seq->n_blocks && n_tokens - n_computed > KV_BLOCK &&
           adopt_one(kv, seq, tokens + n_computed))
        n_computed += KV_BLOCK;
    return n_computed;
}

void kv_release(struct kv *kv, struct kv_seq *seq)
{
    for (uint32_t i = seq->n_blocks; i > 0; i--)
        let_go(kv, seq->blocks[i - 1]);
    free(seq->blocks);
    *seq = (struct kv_seq){0};
}

/* ---- carrying blocks ---- */

struct listing {
    const struct kv *kv;
    bool *is_listed; /* [n_blocks] */
    uint32_t *path; /* [n_blocks], from a block back to the first that is not listed */
    uint32_t *ids;
    uint32_t n;
    uint32_t cap;
};

/* Lists the block and, before it, those that it follows. */
static void list_chain(struct listing *l, uint32_t id)
{
    uint32_t n = 0;
    for (; id != KV_NONE && !l->is_listed[id]; id = l->kv->blocks[id].parent)
        l->path[n++] = id;
    for (; n > 0 && l->n < l->cap; n--) {
        l->ids[l->n++] = l->path[n - 1];
        l->is_listed[l->path[n - 1]] = true;
    }
}

uint32_t kv_list(const struct kv *kv, uint32_t *ids, uint32_t cap)
{
    uint32_t n_blocks = kv->stats.n_blocks;
    struct listing l = {.kv = kv, .ids = ids, .cap = cap};
    l.is_listed = mem_zalloc(n_blocks, sizeof *l.is_listed);
    l.path = mem_zalloc(n_blocks, sizeof *l.path);
    for (uint32_t id = 0; id < n_blocks; id++) {
        if (kv->blocks[id].state == BLOCK_PUBLISHED && kv->blocks[id].n_refs > 0)
            list_chain(&l, id);
    }
    for (uint32_t id = kv->lru_newest; id != KV_NONE; id = kv->blocks[id].lru_prev)
        list_chain(&l, id);
    free(l.is_listed);
    free(l.path);
    return l.n;
}

uint32_t kv_list_prefix(const struct kv *kv, uint64_t tenant, const uint32_t *tokens,
                        uint32_t n_tokens, uint32_t *ids, uint32_t cap)
{
    uint32_t n = 0;
    uint32_t most = n_tokens / KV_BLOCK < cap ? n_tokens / KV_BLOCK : cap;
    while (n < most) {
        const struct kv_block b = {.parent = n > 0 ? ids[n - 1] : KV_NONE,
                                   .tenant = tenant,
                                   .tokens = tokens + (size_t)n * KV_BLOCK};
        uint32_t id = kv_find(kv, &b);
        if (id == KV_NONE)
            break;
        ids[n++] = id;
    }
    return n;
}

struct kv_block kv_describe(const struct kv *kv, uint32_t id)
{
    const struct block *b = &kv->blocks[id];
    ASSERT(b->state == BLOCK_PUBLISHED);
    return (struct kv_block){
        .parent = b->parent, .tenant = b->tenant, .stamp = b->stamp, .tokens = b->tokens};
}

uint32_t kv_find(const struct kv *kv, const struct kv_block *b)
{
    uint64_t hash = hash_of(kv, b->tenant, b->parent, b->tokens);
    return index_find(kv, hash, b->tenant, b->parent, b->tokens);
}

uint32_t kv_take(struct kv *kv)
{
    return kv->n_free > 0 ? take_private(kv) : KV_NONE;
}

void kv_put_in(struct kv *kv, uint32_t id, const struct kv_block *b)
{
    ASSERT(kv->blocks[id].state == BLOCK_PRIVATE);
    kv->blocks[id].n_refs = 0;
    publish_as(kv, id, b->tenant, b->parent, b->tokens);
    lru_add_oldest(kv, id);
}

void kv_put_back(struct kv *kv, uint32_t id)
{
    let_go(kv, id);
}

uint32_t kv_n_available(const struct kv *kv)
{
    return kv->n_free + kv->n_lru;
}

struct kv_stats kv_stats(const struct kv *kv)
{
    struct kv_stats s = kv->stats;
    s.n_held = s.n_blocks - kv_n_available(kv);
    return s;
}

/* ---- self check ---- */

static void check_lists(const struct kv *kv)
{
    uint32_t n_free = 0;
    for (uint32_t id = kv->free_head; id != KV_NONE && n_free <= kv->n_free; n_free++) {
        ASSERT(kv->blocks[id].state == BLOCK_FREE && kv->blocks[id].n_refs == 0);
        id = kv->blocks[id].bucket_next;
    }
    ASSERT(n_free == kv->n_free);
    uint32_t n_lru = 0;
    uint32_t last = KV_NONE;
    for (uint32_t id = kv->lru_oldest; id != KV_NONE && n_lru <= kv->n_lru; n_lru++) {
        ASSERT(kv->blocks[id].state == BLOCK_PUBLISHED && kv->blocks[id].n_refs == 0);
        ASSERT(kv->blocks[id].lru_prev == last);
        last = id;
        id = kv->blocks[id].lru_next;
    }
    ASSERT(n_lru == kv->n_lru && last == kv->lru_newest);
}

void kv_check(const struct kv *kv)
{
    check_lists(kv);
    uint32_t n_children = 0;
    uint32_t n_with_parent = 0;
    uint32_t n_published = 0;
    uint32_t n_idle = 0;
    for (uint32_t id = 0; id < kv->stats.n_blocks; id++) {
        const struct block *b = &kv->blocks[id];
        n_idle += b->n_refs == 0;
        if (b->state != BLOCK_PUBLISHED) {
            ASSERT((b->state == BLOCK_PRIVATE) == (b->n_refs > 0) && b->n_refs <= 1);
            continue;
        }
        n_published++;
        n_children += b->n_children;
        ASSERT(index_find(kv, b->hash, b->tenant, b->parent, b->tokens) == id);
        if (b->parent == KV_NONE)
            continue;
        n_with_parent++;
        ASSERT(kv->blocks[b->parent].state == BLOCK_PUBLISHED);
        ASSERT(kv->blocks[b->parent].n_refs >= (b->n_refs > 0));
    }
    ASSERT(n_children == n_with_parent);
    ASSERT(n_published == kv->stats.n_published);
    ASSERT(n_idle == kv_n_available(kv));
}
