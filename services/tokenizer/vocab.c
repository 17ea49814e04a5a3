/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/vocab.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct merge_slot {
    uint32_t left; /* VOCAB_NONE: free */
    uint32_t right;
    uint32_t rank;
    uint32_t merged;
};

/* Both tables are open-addressed with linear probing and at most half full. */
struct vocab {
    struct vocab_data d;
    uint32_t *ids; /* VOCAB_NONE: free */
    size_t ids_mask;
    struct merge_slot *merges;
    size_t merges_mask;
    uint32_t byte_ids[256];
};

static enum err refuse(char *why, size_t cap_why, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static enum err refuse(char *why, size_t cap_why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, cap_why, fmt, ap);
    va_end(ap);
    return ERR_MODEL_FORMAT;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 29;
    return x;
}

/* Eight bytes at a time; only ever compared within one process, so byte order does not matter. */
static uint64_t hash_bytes(struct str s)
{
    const char *p = s.ptr;
    size_t len = s.len;
    uint64_t h = len;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = mix(h ^ w) * UINT64_C(0xd6e8feb86659fd93);
    }
    uint64_t w = 0;
    for (size_t i = 0; i < len; i++)
        w |= (uint64_t)(uint8_t)p[i] << (8 * i);
    return mix(h ^ mix(w + 1));
}

static uint64_t hash_pair(uint32_t left, uint32_t right)
{
    return mix(((uint64_t)left << 32 | right) * UINT64_C(0xd6e8feb86659fd93));
}

static size_t table_size(size_t n)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size;
}

static enum err check_tokens(const struct vocab_data *d, char *why, size_t cap_why)
{
    if (d->n_tokens == 0 || d->n_tokens > VOCAB_MAX_TOKENS)
        return refuse(why, cap_why, "tokenizer.offsets: %zu tokens, expected 1 to %d", d->n_tokens,
                      VOCAB_MAX_TOKENS);
    if (d->n_merges > VOCAB_MAX_MERGES)
        return refuse(why, cap_why, "tokenizer.merges: %zu merges, expected at most %d",
                      d->n_merges, VOCAB_MAX_MERGES);
    if (d->offsets[0] != 0)
        return refuse(why, cap_why, "tokenizer.offsets: first offset is %u, expected 0",
                      d->offsets[0]);
    for (size_t i = 0; i < d->n_tokens; i++) {
        uint32_t from = d->offsets[i];
        uint32_t to = d->offsets[i + 1];
        if (to < from || to > d->n_bytes)
            return refuse(why, cap_why, "tokenizer.offsets: token %zu ends at %u, outside %u..%zu",
                          i, to, from, d->n_bytes);
        if (to - from > VOCAB_MAX_TOKEN_BYTES)
            return refuse(why, cap_why, "tokenizer.offsets: token %zu has %u bytes, most are %d", i,
                          to - from, VOCAB_MAX_TOKEN_BYTES);
        uint8_t t = d->types[i];
        if (t != VOCAB_NORMAL && t != VOCAB_CONTROL && t != VOCAB_USER_DEFINED &&
            t != VOCAB_UNUSED && t != VOCAB_BYTE)
            return refuse(why, cap_why, "tokenizer.types: token %zu has the unknown type %u", i, t);
    }
    if (d->offsets[d->n_tokens] != d->n_bytes)
        return refuse(why, cap_why, "tokenizer.offsets: last offset is %u, expected %zu",
                      d->offsets[d->n_tokens], d->n_bytes);
    return ERR_OK;
}

static uint32_t find(const struct vocab *v, struct str bytes, enum vocab_type a, enum vocab_type b)
{
    for (size_t s = hash_bytes(bytes) & v->ids_mask; v->ids[s] != VOCAB_NONE;
         s = (s + 1) & v->ids_mask) {
        uint32_t id = v->ids[s];
        if (str_eq(vocab_bytes(v, id), bytes) &&
            (v->d.types[id] == (uint8_t)a || v->d.types[id] == (uint8_t)b))
            return id;
    }
    return VOCAB_NONE;
}

static bool is_same(const struct vocab *v, uint32_t a, uint32_t b)
{
    return v->d.types[a] == v->d.types[b] && str_eq(vocab_bytes(v, a), vocab_bytes(v, b));
}

static enum err index_tokens(struct vocab *v, char *why, size_t cap_why)
{
    size_t size = table_size(v->d.n_tokens);
    v->ids = malloc(size * sizeof *v->ids);
    if (!v->ids)
        return ERR_NOMEM;
    memset(v->ids, 0xff, size * sizeof *v->ids);
    v->ids_mask = size - 1;
    for (uint32_t id = 0; id < v->d.n_tokens; id++) {
        struct str bytes = vocab_bytes(v, id);
        if (bytes.len == 0)
            continue;
        /* A repeated token is never found, so it takes no slot: chains stay short whatever the file
         * repeats. */
        size_t s = hash_bytes(bytes) & v->ids_mask;
        while (v->ids[s] != VOCAB_NONE && !is_same(v, v->ids[s], id))
            s = (s + 1) & v->ids_mask;
        if (v->ids[s] == VOCAB_NONE)
            v->ids[s] = id;
    }
    for (unsigned b = 0; b < 256; b++) {
        char byte = (char)b;
        v->byte_ids[b] = vocab_find(v, (struct str){&byte, 1});
        if (v->byte_ids[b] == VOCAB_NONE)
            return refuse(why, cap_why, "tokenizer.bytes: no token for the byte 0x%02x", b);
    }
    return ERR_OK;
}

static enum err index_merge(struct vocab *v, uint32_t rank, char *joined, char *why, size_t cap_why)
{
    uint32_t left = v->d.merges[2 * (size_t)rank];
    uint32_t right = v->d.merges[2 * (size_t)rank + 1];
    if (!vocab_has(v, left) || !vocab_has(v, right))
        return refuse(why, cap_why, "tokenizer.merges: merge %u names tokens %u and %u of %zu",
                      rank, left, right, v->d.n_tokens);
    struct str a = vocab_bytes(v, left);
    struct str b = vocab_bytes(v, right);
    memcpy(joined, a.ptr, a.len);
    memcpy(joined + a.len, b.ptr, b.len);
    uint32_t merged = vocab_find(v, (struct str){joined, a.len + b.len});
    if (a.len == 0 || b.len == 0 || merged == VOCAB_NONE)
        return refuse(why, cap_why, "tokenizer.merges: merge %u (%u + %u) makes no token", rank,
                      left, right);
    size_t s = hash_pair(left, right) & v->merges_mask;
    for (; v->merges[s].left != VOCAB_NONE; s = (s + 1) & v->merges_mask) {
        if (v->merges[s].left == left && v->merges[s].right == right)
            return refuse(why, cap_why, "tokenizer.merges: merge %u repeats merge %u", rank,
                          v->merges[s].rank);
    }
    v->merges[s] = (struct merge_slot){left, right, rank, merged};
    return ERR_OK;
}

static enum err index_merges(struct vocab *v, char *why, size_t cap_why)
{
    size_t size = table_size(v->d.n_merges);
    v->merges = malloc(size * sizeof *v->merges);
    char *joined = malloc(2 * (size_t)VOCAB_MAX_TOKEN_BYTES);
    enum err e = v->merges && joined ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK) {
        memset(v->merges, 0xff, size * sizeof *v->merges);
        v->merges_mask = size - 1;
    }
    for (uint32_t rank = 0; e == ERR_OK && rank < v->d.n_merges; rank++)
        e = index_merge(v, rank, joined, why, cap_why);
    free(joined);
    return e;
}

enum err vocab_new(const struct vocab_data *data, char *why, size_t cap_why,
                   struct vocab **ret_vocab)
{
    if (cap_why > 0)
        why[0] = '\0';
    enum err e = check_tokens(data, why, cap_why);
    if (e != ERR_OK)
        return e;
    struct vocab *v = calloc(1, sizeof *v);
    if (!v)
        return ERR_NOMEM;
    v->d = *data;
    e = index_tokens(v, why, cap_why);
    if (e == ERR_OK)
        e = index_merges(v, why, cap_why);
    if (e != ERR_OK)
        goto fail;
    *ret_vocab = v;
    return ERR_OK;
fail:
    vocab_free(v);
    return e;
}

void vocab_free(struct vocab *v)
{
    if (!v)
        return;
    free(v->ids);
    free(v->merges);
    free(v);
}

size_t vocab_size(const struct vocab *v)
{
    return v->d.n_tokens;
}

bool vocab_has(const struct vocab *v, uint32_t id)
{
    return id < v->d.n_tokens;
}

struct str vocab_bytes(const struct vocab *v, uint32_t id)
{
    uint32_t from = v->d.offsets[id];
    return (struct str){(const char *)v->d.bytes + from, v->d.offsets[id + 1] - from};
}

enum vocab_type vocab_type_of(const struct vocab *v, uint32_t id)
{
    return (enum vocab_type)v->d.types[id];
}

uint32_t vocab_find(const struct vocab *v, struct str bytes)
{
    return find(v, bytes, VOCAB_NORMAL, VOCAB_BYTE);
}

uint32_t vocab_find_control(const struct vocab *v, struct str bytes)
{
    return find(v, bytes, VOCAB_CONTROL, VOCAB_CONTROL);
}

uint32_t vocab_byte(const struct vocab *v, uint8_t byte)
{
    return v->byte_ids[byte];
}

uint32_t vocab_rank(const struct vocab *v, uint32_t left, uint32_t right, uint32_t *ret_merged)
{
    for (size_t s = hash_pair(left, right) & v->merges_mask; v->merges[s].left != VOCAB_NONE;
         s = (s + 1) & v->merges_mask) {
        const struct merge_slot *m = &v->merges[s];
        if (m->left == left && m->right == right) {
            *ret_merged = m->merged;
            return m->rank;
        }
    }
    return VOCAB_NONE;
}
