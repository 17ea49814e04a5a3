/* SPDX-License-Identifier: MIT */
/* The walk over queries and blocks that the SIMD variants share. A pass takes up to
 * ATTENTION_PASS_QUERIES queries (token by token, head by head) through all blocks that they see, so
 * that a block is read once for all of them. */
#ifndef HALO_KERNELS_ATTENTION_ATTENTION_PASS_H
#define HALO_KERNELS_ATTENTION_ATTENTION_PASS_H

#include <stdbool.h>
#include <string.h>

#include "kernels/attention/attention.h"
#include "kernels/unroll.h"

enum { ATTENTION_PASS_QUERIES = 16 };

/* A query of the int8 cache: Q = 128 * high + low, low in -64 .. 63. */
struct attention8_query {
    int16_t q[ATTENTION_MAX_HEAD_DIM];
    int8_t high[ATTENTION_MAX_HEAD_DIM], low[ATTENTION_MAX_HEAD_DIM];
};

struct attention_query {
    size_t n_pos;
    union {
        float q[ATTENTION_MAX_HEAD_DIM];
        struct attention8_query q8;
    };
    int32_t q8_sum; /* of all Q */
    float q8_scale; /* of scores */
    float segment[ATTENTION_MAX_HEAD_DIM]; /* acc of the segment so far */
    float total[ATTENTION_MAX_HEAD_DIM];
};

/* m and l of all queries of a pass. */
struct attention_sums {
    float m[ATTENTION_PASS_QUERIES];
    float l[ATTENTION_PASS_QUERIES];
};

/* What one block adds to a query: first its scaled scores, then p as in attention.h, and the factors
 * of the merge into the segment. */
struct attention_weights {
    float p[ATTENTION_BLOCK];
    float e, e2;
    bool is_first; /* block of the segment: no merge, e and e2 not set */
};

/* A block's part, and that of the following block, to be fetched from memory meanwhile. */
struct attention_data {
    const uint8_t *part;
    const uint8_t *next;
};

struct attention_ops {
    /* Takes a query over in the form that `score` wants. */
    void (*load)(struct attention_query *query, const float *q, size_t head_dim);
    /* Scores of n queries with all 32 slots, absent ones too. */
    void (*score)(const struct attention_data *data, size_t head_dim,
                  const struct attention_query *query, size_t n, struct attention_weights *ret);
    /* p from scores in place for n queries, which see the same n_present slots; m and l of the tile. */
    void (*soften)(struct attention_weights *w, size_t n, size_t n_present, float *ret_m,
                   float *ret_l);
    /* acc of the segments of n queries, which see the same n_present slots, brought up to date. */
    void (*weigh)(const struct attention_data *data, size_t head_dim, size_t n_present,
                  struct attention_query *query, const struct attention_weights *w, size_t n);
    /* into[d] = fma(into[d], e, next[d] * e2) */
    void (*merge)(float *into, const float *next, float e, float e2, size_t head_dim);
    /* out[d] = acc[d] / l */
    void (*divide)(const float *acc, float l, float *out, size_t head_dim);
    /* x[i] = math_exp(x[i]) */
    void (*exp)(float x[ATTENTION_PASS_QUERIES]);
    size_t value_bytes; /* of one number in the cache */
};

struct attention_pass {
    const struct attention *a;
    const struct attention_ops *ops;
    float *sums; /* of the first query; where segments go, or NULL: into the totals */
    size_t sums_stride; /* from segment to segment */
    size_t n; /* queries */
    struct attention_sums segment, total;
    struct attention_query query[ATTENTION_PASS_QUERIES];
};

/* Merges m and l of later sums into earlier ones, queries [from, n); the factors go to e and e2. */
static inline void attention_merge_sums(const struct attention_ops *ops,
                                        struct attention_sums *into,
                                        const struct attention_sums *later, size_t from, size_t n,
                                        float e[ATTENTION_PASS_QUERIES],
                                        float e2[ATTENTION_PASS_QUERIES])
{
    memset(e, 0, ATTENTION_PASS_QUERIES * sizeof *e);
    memset(e2, 0, ATTENTION_PASS_QUERIES * sizeof *e2);
    for (size_t i = from; i < n; i++) {
        float m = later->m[i] > into->m[i] ? later->m[i] : into->m[i];
        e[i] = into->m[i] - m;
        e2[i] = later->m[i] - m;
        into->m[i] = m;
    }
    ops->exp(e);
    ops->exp(e2);
    for (size_t i = from; i < n; i++) {
        into->l[i] = __builtin_fmaf(into->l[i], e[i], later->l[i] * e2[i]);
    }
}

static inline size_t attention_count_present(const struct attention_query *query, size_t block)
{
    size_t n = query->n_pos - block * ATTENTION_BLOCK;
    return n < ATTENTION_BLOCK ? n : ATTENTION_BLOCK;
}

/* How many of the queries from `from` on see as many slots of the block as that one. */
static inline size_t attention_count_same(const struct attention_pass *s, size_t block, size_t from)
{
    size_t n_present = attention_count_present(&s->query[from], block);
    size_t n = 1;
    while (from + n < s->n && attention_count_present(&s->query[from + n], block) == n_present) {
        n++;
    }
    return n;
}

/* Scores to weights, and the sums of the segments brought up to date. */
static inline void attention_soften(struct attention_pass *s, size_t block, size_t from,
                                    struct attention_weights *w)
{
    struct attention_sums tile;
    bool is_first = block % ATTENTION_SEGMENT == 0;
    size_t n_same;
    for (size_t i = from; i < s->n; i += n_same) {
        n_same = attention_count_same(s, block, i);
        s->ops->soften(w + i, n_same, attention_count_present(&s->query[i], block), tile.m + i,
                       tile.l + i);
    }
    for (size_t i = from; i < s->n; i++) {
        w[i].is_first = is_first;
    }
    if (is_first) {
        for (size_t i = from; i < s->n; i++) {
            s->segment.m[i] = tile.m[i];
            s->segment.l[i] = tile.l[i];
        }
        return;
    }
    float e[ATTENTION_PASS_QUERIES], e2[ATTENTION_PASS_QUERIES];
    attention_merge_sums(s->ops, &s->segment, &tile, from, s->n, e, e2);
    for (size_t i = from; i < s->n; i++) {
        w[i].e = e[i];
        w[i].e2 = e2[i];
    }
}

/* What attention_split leaves for attention_join. */
static inline void attention_put_sums(const struct attention_pass *s, size_t segment, size_t from,
                                      size_t to)
{
    size_t hd = s->a->head_dim;
    float *sums = s->sums + segment * s->sums_stride;
    for (size_t i = from; i < to; i++) {
        float *put = sums + i * attention_sums_stride(hd);
        put[0] = s->segment.m[i];
        put[1] = s->segment.l[i];
        memcpy(put + ATTENTION_SUMS_ACC, s->query[i].segment, hd * sizeof(float));
    }
}

/* Segments [from, to) join their totals, the first ones as they are. */
static inline void attention_join_totals(struct attention_pass *s, bool is_first, size_t from,
                                         size_t to)
{
    size_t hd = s->a->head_dim;
    if (is_first) {
        for (size_t i = from; i < to; i++) {
            s->total.m[i] = s->segment.m[i];
            s->total.l[i] = s->segment.l[i];
            memcpy(s->query[i].total, s->query[i].segment, (hd + 7) / 8 * 8 * sizeof(float));
        }
        return;
    }
    float e[ATTENTION_PASS_QUERIES], e2[ATTENTION_PASS_QUERIES];
    attention_merge_sums(s->ops, &s->total, &s->segment, from, to, e, e2);
    for (size_t i = from; i < to; i++) {
        s->ops->merge(s->query[i].total, s->query[i].segment, e[i], e2[i], hd);
    }
}

/* Segments of queries [from, to) end with this block. */
static inline void attention_close_segments(struct attention_pass *s, size_t block, size_t from,
                                            size_t to)
{
    if (s->sums != NULL) {
        attention_put_sums(s, block / ATTENTION_SEGMENT, from, to);
    } else {
        attention_join_totals(s, block < ATTENTION_SEGMENT, from, to);
    }
}

/* Some of the values of the block that follows, and its scales. Without, memory would stand idle while
 * weights are made of scores. */
static inline void attention_fetch_ahead(const struct attention_ops *ops, const uint8_t *next,
                                         size_t head_dim)
{
    size_t values = ATTENTION_BLOCK * head_dim * ops->value_bytes;
    for (size_t i = 0; i < values * 3 / 8; i += 512) {
        UNROLL
        for (size_t j = 0; j < 512; j += 64) {
            __builtin_prefetch(next + values + i + j);
        }
    }
    for (size_t i = 0; ops->value_bytes == 1 && i < 2 * ATTENTION_BLOCK * sizeof(float); i += 64) {
        __builtin_prefetch(next + 2 * values + i);
    }
}

/* The queries from `from` on see at least one slot of the block, later ones not fewer. */
static inline void attention_run_block(struct attention_pass *s, size_t block, size_t next,
                                       size_t from, size_t n_done)
{
    const struct attention *a = s->a;
    const struct attention_ops *ops = s->ops;
    size_t hd = a->head_dim;
    struct attention_weights w[ATTENTION_PASS_QUERIES];
    struct attention_data data = {a->blocks[block] + a->offset, a->blocks[next] + a->offset};
    ops->score(&data, hd, s->query + from, s->n - from, w + from);
    attention_fetch_ahead(ops, data.next, hd);
    attention_soften(s, block, from, w);
    size_t n_same;
    for (size_t i = from; i < s->n; i += n_same) {
        n_same = attention_count_same(s, block, i);
        ops->weigh(&data, hd, attention_count_present(&s->query[i], block), s->query + i, w + i,
                   n_same);
    }
    bool is_end = block % ATTENTION_SEGMENT == ATTENTION_SEGMENT - 1;
    attention_close_segments(s, block, from, is_end ? s->n : n_done);
}

/* Queries [first, first + n) of the call, without their q. */
static inline void attention_begin_pass(struct attention_pass *s, const struct attention *a,
                                        const struct attention_ops *ops, size_t first, size_t n)
{
    s->a = a;
    s->ops = ops;
    s->sums = NULL;
    s->sums_stride = a->n_tokens * a->n_heads * attention_sums_stride(a->head_dim);
    s->n = n;
    memset(&s->total, 0, sizeof s->total);
    for (size_t i = 0; i < n; i++) {
        s->query[i].n_pos = a->pos0 + (first + i) / a->n_heads + 1;
    }
}

static inline void attention_end_pass(const struct attention_pass *s, size_t first)
{
    const struct attention *a = s->a;
    for (size_t i = 0; i < s->n; i++) {
        float *out = a->out + (first + i) / a->n_heads * a->out_stride +
                     (first + i) % a->n_heads * a->head_dim;
        s->ops->divide(s->query[i].total, s->total.l[i], out, a->head_dim);
    }
}

/* Blocks [block, end), as far as the queries see them. */
static inline void attention_run_blocks(struct attention_pass *s, size_t first, size_t block,
                                        size_t end)
{
    const struct attention *a = s->a;
    size_t n = s->n;
    size_t n_blocks = (s->query[n - 1].n_pos + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK;
    n_blocks = end < n_blocks ? end : n_blocks;
    size_t n_done = 0; /* queries that see nothing after the block before */
    while (n_done < n && s->query[n_done].n_pos <= block * ATTENTION_BLOCK) {
        n_done++;
    }
    for (size_t i = n_done; i < n; i++) {
        const float *q =
            a->q + (first + i) / a->n_heads * a->q_stride + (first + i) % a->n_heads * a->head_dim;
        s->ops->load(&s->query[i], q, a->head_dim);
    }
    for (; block < n_blocks; block++) {
        size_t from = n_done;
        while (n_done < n && s->query[n_done].n_pos <= (block + 1) * ATTENTION_BLOCK) {
            n_done++;
        }
        attention_run_block(s, block, block + 1 < n_blocks ? block + 1 : block, from, n_done);
    }
}

static inline size_t attention_pass_size(const struct attention *a, size_t first)
{
    size_t left = a->n_tokens * a->n_heads - first;
    return left < ATTENTION_PASS_QUERIES ? left : ATTENTION_PASS_QUERIES;
}

static inline void attention_run_passes(const struct attention *a, const struct attention_ops *ops)
{
    struct attention_pass s;
    for (size_t i = 0; i < a->n_tokens * a->n_heads; i += s.n) {
        attention_begin_pass(&s, a, ops, i, attention_pass_size(a, i));
        attention_run_blocks(&s, i, 0, SIZE_MAX);
        attention_end_pass(&s, i);
    }
}

static inline void attention_split_passes(const struct attention *a,
                                          const struct attention_ops *ops, size_t segment,
                                          size_t n_segments, float *sums)
{
    struct attention_pass s;
    for (size_t i = 0; i < a->n_tokens * a->n_heads; i += s.n) {
        attention_begin_pass(&s, a, ops, i, attention_pass_size(a, i));
        s.sums = sums + i * attention_sums_stride(a->head_dim);
        attention_run_blocks(&s, i, segment * ATTENTION_SEGMENT,
                             (segment + n_segments) * ATTENTION_SEGMENT);
    }
}

static inline void attention_join_passes(const struct attention *a, const struct attention_ops *ops,
                                         const float *sums)
{
    struct attention_pass s;
    size_t stride = attention_sums_stride(a->head_dim);
    for (size_t first = 0; first < a->n_tokens * a->n_heads; first += s.n) {
        attention_begin_pass(&s, a, ops, first, attention_pass_size(a, first));
        size_t n_segments = attention_n_segments(s.query[s.n - 1].n_pos);
        size_t from = 0; /* the first query that sees the segment */
        for (size_t segment = 0; segment < n_segments; segment++) {
            while (attention_n_segments(s.query[from].n_pos) <= segment) {
                from++;
            }
            for (size_t i = from; i < s.n; i++) {
                const float *get = sums + segment * s.sums_stride + (first + i) * stride;
                s.segment.m[i] = get[0];
                s.segment.l[i] = get[1];
                memcpy(s.query[i].segment, get + ATTENTION_SUMS_ACC, a->head_dim * sizeof(float));
            }
            attention_join_totals(&s, segment == 0, from, s.n);
        }
        attention_end_pass(&s, first);
    }
}

#endif
