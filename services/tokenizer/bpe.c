/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/bpe.h"

#include <stdlib.h>

enum {
    KEPT_SYMBOLS = 1 << 16,
};

/* One symbol of a long piece. The rank is that of the pair of this symbol and the next. */
struct symbol {
    uint32_t id;
    uint32_t prev; /* VOCAB_NONE: first */
    uint32_t next; /* VOCAB_NONE: last */
    uint32_t rank; /* VOCAB_NONE: no merge, or the symbol is gone */
    uint32_t merged;
};

struct bpe {
    const struct vocab *vocab;
    bool ignore_merges;
    bool is_spm;
    struct symbol *symbols;
    size_t cap_symbols;
    /* Merges to come, each rank << 32 | symbol, in the order of these numbers; some are out of date. Those
     * that come in order wait in a line at the beginning of `keys`, the others in a heap that grows down
     * from its end: long runs of one character take a third of the time that a heap alone takes
     * (encode_bench). */
    uint64_t *keys;
    size_t line_from;
    size_t line_to;
    size_t n_heap;
};

enum err bpe_new(const struct vocab *vocab, bool ignore_merges, struct bpe **ret_bpe)
{
    struct bpe *b = calloc(1, sizeof *b);
    if (!b)
        return ERR_NOMEM;
    b->vocab = vocab;
    b->ignore_merges = ignore_merges;
    b->is_spm = vocab_is_spm(vocab);
    *ret_bpe = b;
    return ERR_OK;
}

void bpe_free(struct bpe *bpe)
{
    if (!bpe)
        return;
    free(bpe->symbols);
    free(bpe->keys);
    free(bpe);
}

/* The first symbol of the rest of a piece. */
static uint32_t next_symbol(const struct bpe *b, struct str piece, size_t *at)
{
    size_t len = 1;
    uint32_t id = b->is_spm
                      ? vocab_char(b->vocab, (struct str){piece.ptr + *at, piece.len - *at}, &len)
                      : vocab_byte(b->vocab, (uint8_t)piece.ptr[*at]);
    *at += len;
    return id;
}

static enum err push_symbol(const struct bpe *b, uint32_t symbol, struct ids *ids)
{
    uint32_t spelled[4];
    if (symbol < VOCAB_FOREIGN)
        return ids_push(ids, symbol);
    return ids_append(ids, spelled, vocab_spell(b->vocab, symbol, spelled));
}

static enum err encode_short(const struct bpe *b, struct str piece, struct ids *ids)
{
    uint32_t id[BPE_SHORT];
    uint32_t rank[BPE_SHORT];
    uint32_t merged[BPE_SHORT];
    const struct vocab *v = b->vocab;
    size_t len = 0;
    for (size_t at = 0; at < piece.len;)
        id[len++] = next_symbol(b, piece, &at);
    for (size_t i = 0; i + 1 < len; i++)
        rank[i] = vocab_rank(v, id[i], id[i + 1], &merged[i]);
    for (;;) {
        size_t best = 0;
        uint32_t best_rank = VOCAB_NONE;
        for (size_t i = 0; i + 1 < len; i++) {
            if (rank[i] < best_rank) {
                best_rank = rank[i];
                best = i;
            }
        }
        if (best_rank == VOCAB_NONE)
            break;
        id[best] = merged[best];
        len--;
        for (size_t i = best + 1; i < len; i++) {
            id[i] = id[i + 1];
            rank[i - 1] = rank[i];
            merged[i - 1] = merged[i];
        }
        if (best + 1 < len)
            rank[best] = vocab_rank(v, id[best], id[best + 1], &merged[best]);
        if (best > 0)
            rank[best - 1] = vocab_rank(v, id[best - 1], id[best], &merged[best - 1]);
    }
    if (!b->is_spm)
        return ids_append(ids, id, len);
    enum err e = ERR_OK;
    for (size_t i = 0; e == ERR_OK && i < len; i++)
        e = push_symbol(b, id[i], ids);
    return e;
}

/* What a usual prompt needs stays; the rest of an unusual one goes back. */
static void shrink(struct bpe *b)
{
    if (b->cap_symbols <= KEPT_SYMBOLS)
        return;
    free(b->symbols);
    free(b->keys);
    b->symbols = NULL;
    b->keys = NULL;
    b->cap_symbols = 0;
}

/* There are never more than 3 keys per symbol: one at the start, two per merge. */
static enum err reserve(struct bpe *b, size_t len)
{
    if (len <= b->cap_symbols)
        return ERR_OK;
    struct symbol *symbols = realloc(b->symbols, len * sizeof *symbols);
    if (!symbols)
        return ERR_NOMEM;
    b->symbols = symbols;
    uint64_t *keys = realloc(b->keys, 3 * len * sizeof *keys);
    if (!keys)
        return ERR_NOMEM;
    b->keys = keys;
    b->cap_symbols = len;
    return ERR_OK;
}

/* Entry i of the heap. */
static uint64_t *heap_at(struct bpe *b, size_t i)
{
    return &b->keys[3 * b->cap_symbols - 1 - i];
}

static void heap_push(struct bpe *b, uint64_t key)
{
    size_t i = b->n_heap++;
    while (i > 0 && *heap_at(b, (i - 1) / 2) > key) {
        *heap_at(b, i) = *heap_at(b, (i - 1) / 2);
        i = (i - 1) / 2;
    }
    *heap_at(b, i) = key;
}

static uint64_t heap_pop(struct bpe *b)
{
    uint64_t top = *heap_at(b, 0);
    uint64_t key = *heap_at(b, --b->n_heap);
    size_t i = 0;
    for (size_t child = 1; child < b->n_heap; child = 2 * i + 1) {
        if (child + 1 < b->n_heap && *heap_at(b, child + 1) < *heap_at(b, child))
            child++;
        if (*heap_at(b, child) >= key)
            break;
        *heap_at(b, i) = *heap_at(b, child);
        i = child;
    }
    *heap_at(b, i) = key;
    return top;
}

static void push_key(struct bpe *b, uint64_t key)
{
    if (b->line_from == b->line_to || key >= b->keys[b->line_to - 1])
        b->keys[b->line_to++] = key;
    else
        heap_push(b, key);
}

static bool pop_key(struct bpe *b, uint64_t *ret_key)
{
    bool has_line = b->line_from < b->line_to;
    if (!has_line && b->n_heap == 0)
        return false;
    bool is_from_line = has_line && (b->n_heap == 0 || b->keys[b->line_from] <= *heap_at(b, 0));
    *ret_key = is_from_line ? b->keys[b->line_from++] : heap_pop(b);
    return true;
}

static void rank_pair(struct bpe *b, uint32_t at)
{
    struct symbol *s = &b->symbols[at];
    s->rank = s->next == VOCAB_NONE
                  ? VOCAB_NONE
                  : vocab_rank(b->vocab, s->id, b->symbols[s->next].id, &s->merged);
    if (s->rank != VOCAB_NONE)
        push_key(b, (uint64_t)s->rank << 32 | at);
}

static void merge(struct bpe *b, uint32_t at)
{
    struct symbol *s = &b->symbols[at];
    struct symbol *gone = &b->symbols[s->next];
    s->id = s->merged;
    s->next = gone->next;
    gone->rank = VOCAB_NONE;
    if (s->next != VOCAB_NONE)
        b->symbols[s->next].prev = at;
    rank_pair(b, at);
    if (s->prev != VOCAB_NONE)
        rank_pair(b, s->prev);
}

enum err bpe_encode_by_heap(struct bpe *bpe, struct str piece, struct ids *ids)
{
    if (piece.len == 0)
        return ERR_OK;
    if (piece.len > INT32_MAX)
        return ERR_TOO_LARGE;
    enum err e = reserve(bpe, piece.len);
    if (e != ERR_OK)
        return e;
    uint32_t n = 0;
    for (size_t at = 0; at < piece.len; n++)
        bpe->symbols[n] = (struct symbol){.id = next_symbol(bpe, piece, &at),
                                          .prev = n > 0 ? n - 1 : VOCAB_NONE,
                                          .next = at < piece.len ? n + 1 : VOCAB_NONE};
    bpe->line_from = 0;
    bpe->line_to = 0;
    bpe->n_heap = 0;
    for (uint32_t i = 0; i < n; i++)
        rank_pair(bpe, i);
    for (uint64_t key; pop_key(bpe, &key);) {
        uint32_t at = (uint32_t)key;
        if (bpe->symbols[at].rank == (uint32_t)(key >> 32))
            merge(bpe, at);
    }
    for (uint32_t i = 0; e == ERR_OK && i != VOCAB_NONE; i = bpe->symbols[i].next)
        e = push_symbol(bpe, bpe->symbols[i].id, ids);
    shrink(bpe);
    return e;
}

enum err bpe_encode(struct bpe *bpe, struct str piece, struct ids *ids)
{
    if (bpe->ignore_merges) {
        uint32_t id = vocab_find(bpe->vocab, piece);
        if (id != VOCAB_NONE)
            return ids_push(ids, id);
    }
    if (piece.len > 0 && piece.len <= BPE_SHORT)
        return encode_short(bpe, piece, ids);
    return bpe_encode_by_heap(bpe, piece, ids);
}
