/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/vocab.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

/* In a foreign symbol: a byte that is not UTF-8, not a code point. */
#define FOREIGN_BYTE UINT32_C(0x200000)

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
    uint32_t unknown;
    uint32_t ascii[128]; /* spm: the symbols of one-byte characters */
    bool has_inner_space;
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
        if (t < VOCAB_NORMAL || t > VOCAB_BYTE)
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

static enum err index_tokens(struct vocab *v)
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
    return ERR_OK;
}

static void find_special(struct vocab *v)
{
    v->unknown = VOCAB_NONE;
    for (uint32_t id = 0; id < v->d.n_tokens; id++) {
        struct str t = vocab_bytes(v, id);
        if (v->unknown == VOCAB_NONE && v->d.types[id] == VOCAB_UNKNOWN)
            v->unknown = id;
        for (size_t i = 1; v->d.types[id] == VOCAB_NORMAL && i < t.len; i++)
            v->has_inner_space |= t.ptr[i] == ' ' && t.ptr[i - 1] != ' ';
    }
}

static enum err index_bytes(struct vocab *v, char *why, size_t cap_why)
{
    for (unsigned b = 0; b < 256; b++) {
        char byte = (char)b;
        struct str s = {&byte, 1};
        v->byte_ids[b] = v->d.scores ? find(v, s, VOCAB_BYTE, VOCAB_BYTE) : vocab_find(v, s);
        if (v->byte_ids[b] == VOCAB_NONE && !(v->d.scores && v->unknown != VOCAB_NONE))
            return refuse(why, cap_why, "tokenizer.bytes: no token for the byte 0x%02x", b);
        if (v->d.scores && b < 128) {
            uint32_t id = vocab_find(v, s);
            v->ascii[b] = id == VOCAB_NONE ? VOCAB_FOREIGN | b : id;
        }
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

/* ---- merges of an spm vocabulary ---------------------------------------------------------------- */

struct scored {
    float score;
    uint32_t id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a;
    const struct scored *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

/* Ranks of the normal tokens, the highest score first; those of one score share a rank. */
static enum err rank_tokens(const struct vocab *v, uint32_t *ranks, char *why, size_t cap_why)
{
    struct scored *order = malloc(v->d.n_tokens * sizeof *order);
    if (!order)
        return ERR_NOMEM;
    size_t n = 0;
    size_t bad = v->d.n_tokens;
    for (uint32_t id = 0; id < v->d.n_tokens; id++) {
        if (!isfinite(v->d.scores[id]))
            bad = id;
        if (v->d.types[id] == VOCAB_NORMAL)
            order[n++] = (struct scored){v->d.scores[id], id};
    }
    if (bad == v->d.n_tokens) {
        qsort(order, n, sizeof *order, by_score);
        uint32_t rank = 0;
        for (size_t i = 0; i < n; i++) {
            rank += i > 0 && order[i].score < order[i - 1].score;
            ranks[order[i].id] = rank;
        }
    }
    free(order);
    return bad == v->d.n_tokens
               ? ERR_OK
               : refuse(why, cap_why, "tokenizer.scores: token %zu has no finite score", bad);
}

struct merge_list {
    struct merge_slot *v;
    size_t n;
    size_t cap;
};

static enum err add_merge(struct merge_list *l, struct merge_slot m, char *why, size_t cap_why)
{
    if (l->n == VOCAB_MAX_MERGES)
        return refuse(why, cap_why, "tokenizer.bytes: more than %d pairs make tokens",
                      VOCAB_MAX_MERGES);
    if (l->n == l->cap) {
        size_t cap = l->cap > 0 ? 2 * l->cap : 1 << 14;
        struct merge_slot *grown = realloc(l->v, cap * sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        l->v = grown;
        l->cap = cap;
    }
    l->v[l->n++] = m;
    return ERR_OK;
}

/* A part of a token as a symbol: a character always is one, a longer part when it is a token. */
static uint32_t symbol_of(const struct vocab *v, struct str part)
{
    size_t len;
    uint32_t first = vocab_char(v, part, &len);
    return len == part.len ? first : vocab_find(v, part);
}

static enum err list_pairs_of(const struct vocab *v, uint32_t id, uint32_t rank,
                              struct merge_list *l, char *why, size_t cap_why)
{
    struct str t = vocab_bytes(v, id);
    size_t len;
    for (size_t at = 0; at < t.len; at += len) {
        struct str rest = {t.ptr + at, t.len - at};
        (void)vocab_char(v, rest, &len);
        uint32_t left = at > 0 ? symbol_of(v, (struct str){t.ptr, at}) : VOCAB_NONE;
        uint32_t right = left != VOCAB_NONE ? symbol_of(v, rest) : VOCAB_NONE;
        if (right == VOCAB_NONE)
            continue;
        enum err e = add_merge(l, (struct merge_slot){left, right, rank, id}, why, cap_why);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static enum err fill_merges(struct vocab *v, const struct merge_list *l)
{
    size_t size = table_size(l->n);
    v->merges = malloc(size * sizeof *v->merges);
    if (!v->merges)
        return ERR_NOMEM;
    memset(v->merges, 0xff, size * sizeof *v->merges);
    v->merges_mask = size - 1;
    for (size_t i = 0; i < l->n; i++) {
        size_t s = hash_pair(l->v[i].left, l->v[i].right) & v->merges_mask;
        while (v->merges[s].left != VOCAB_NONE)
            s = (s + 1) & v->merges_mask;
        v->merges[s] = l->v[i];
    }
    return ERR_OK;
}

static enum err index_scores(struct vocab *v, char *why, size_t cap_why)
{
    struct merge_list l = {0};
    uint32_t *ranks = calloc(v->d.n_tokens, sizeof *ranks);
    enum err e = ranks ? rank_tokens(v, ranks, why, cap_why) : ERR_NOMEM;
    for (uint32_t id = 0; e == ERR_OK && id < v->d.n_tokens; id++) {
        struct str t = vocab_bytes(v, id);
        if (t.len > 0 && vocab_find(v, t) == id)
            e = list_pairs_of(v, id, ranks[id], &l, why, cap_why);
    }
    if (e == ERR_OK)
        e = fill_merges(v, &l);
    free(ranks);
    free(l.v);
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
    e = index_tokens(v);
    find_special(v);
    if (e == ERR_OK)
        e = index_bytes(v, why, cap_why);
    if (e == ERR_OK)
        e = v->d.scores ? index_scores(v, why, cap_why) : index_merges(v, why, cap_why);
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
    return find(v, bytes, VOCAB_NORMAL, v->d.scores ? VOCAB_NORMAL : VOCAB_BYTE);
}

uint32_t vocab_find_control(const struct vocab *v, struct str bytes)
{
    return find(v, bytes, VOCAB_CONTROL, VOCAB_CONTROL);
}

uint32_t vocab_byte(const struct vocab *v, uint8_t byte)
{
    return v->byte_ids[byte];
}

uint32_t vocab_unknown(const struct vocab *v)
{
    return v->unknown;
}

bool vocab_is_spm(const struct vocab *v)
{
    return v->d.scores != NULL;
}

bool vocab_has_inner_space(const struct vocab *v)
{
    return v->has_inner_space;
}

uint32_t vocab_char(const struct vocab *v, struct str text, size_t *ret_len)
{
    uint8_t first = (uint8_t)text.ptr[0];
    *ret_len = 1;
    if (first < 128)
        return v->ascii[first];
    int n = utf8_next(text.ptr, text.len);
    if (n <= 0)
        return VOCAB_FOREIGN | FOREIGN_BYTE | first;
    *ret_len = (size_t)n;
    uint32_t id = vocab_find(v, (struct str){text.ptr, (size_t)n});
    return id == VOCAB_NONE ? VOCAB_FOREIGN | utf8_decode(text.ptr, n) : id;
}

static size_t utf8_encode(uint32_t cp, uint8_t out[4])
{
    static const uint8_t LEAD[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; cp >>= 6)
        out[i] = (uint8_t)(0x80 | (cp & 0x3f));
    out[0] = (uint8_t)(LEAD[n] | cp);
    return n;
}

size_t vocab_spell(const struct vocab *v, uint32_t symbol, uint32_t ret_ids[4])
{
    uint8_t bytes[4] = {(uint8_t)symbol};
    uint32_t cp = symbol & ~VOCAB_FOREIGN;
    size_t n = cp & FOREIGN_BYTE ? 1 : utf8_encode(cp, bytes);
    ret_ids[0] = symbol;
    if (symbol < VOCAB_FOREIGN)
        return 1;
    for (size_t i = 0; i < n; i++) {
        ret_ids[i] = v->byte_ids[bytes[i]];
        if (ret_ids[i] == VOCAB_NONE) {
            ret_ids[0] = v->unknown;
            return 1;
        }
    }
    return n;
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
