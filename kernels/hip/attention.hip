/* SPDX-License-Identifier: MIT */
/* attention: groups of several rows and an f16 cache, in f32 as defined: chains over dimensions for the scores,
 * over positions for the weighted values. Both are outer products: a row of 64 queries (or 32) times a row of
 * 32 positions or dimensions, added to 8 (or 4) times 8 sums of a lane. A row costs 64 fma, 8 conversions and 4
 * loads from shared memory.
 *
 * A block of four waves goes over the tiles by four (attention_chunk.h):
 *   1. scores: a wave has a tile; K by 32 dimensions against q in shared memory; m, p and l in registers
 *   2. factors of the merges in order: a thread has a query
 *   3. values: a wave has 32 dimensions and takes the four tiles in order, merged in registers
 * K and V come in pieces of 32 x 32 by asynchronous copies, the next one while one is used, each for one wave.
 *
 * Prefill of 2048 (2B-4T), a layer: 10.7 G fma, 0.32 ms at the 33 T/s of an H200; by the instructions counted
 * above 75 % of that. Measured (H200, 2026-11, tests/gpu/run): 0.92 ms; 1.44 with branches around exponentials,
 * 3.1 to 3.5 before, with four queries at a time. */
#include "kernels/hip/attention_chunk.h"

enum {
    CHUNK16_WAVES = CHUNK_THREADS / WAVE,
    CHUNK16_BLOCKS = 2, /* of a processor */
    CHUNK16_PIECE = 32 * 32 * 2, /* bytes: 32 dimensions of 32 positions, or the other way round */
    CHUNK16_META = 8, /* floats of a query and tile */
    CHUNK16_MOST = 8, /* queries of a lane */
};

struct chunk16 {
    struct chunk c;
    uint32_t dims0; /* the first of the values' at hand */
    float *q; /* [head_dim][queries] */
    float *p; /* [tiles][32][queries] */
    uint8_t *ring; /* the wave's */
    uint32_t ring_mask; /* pieces of it, less one */
};

/* The wave's pieces in order: of each four tiles K of its own, then V's slab of all. */
struct feed16 {
    uint32_t tile0, piece; /* comes next */
    uint32_t n_issued, n_used;
};

/* Tiles that end where the block's work does. */
DEVICE uint32_t chunk16_last(const struct chunk16 *t)
{
    return least_u32(t->c.n_tiles, t->c.end * SEGMENT_TILES);
}

DEVICE uint32_t chunk16_slab(const struct chunk16 *t)
{
    return t->dims0 + thread_id() / WAVE * WAVE;
}

/* Pieces of K and of V that the wave takes of the tiles from tile0 on. */
DEVICE uint32_t chunk16_key_pieces(const struct chunk16 *t, uint32_t tile0)
{
    return tile0 + thread_id() / WAVE < chunk16_last(t) ? (t->c.n + WAVE - 1) / WAVE : 0;
}

DEVICE uint32_t chunk16_value_pieces(const struct chunk16 *t, uint32_t tile0)
{
    return chunk16_slab(t) < t->c.n ? least_u32(chunk16_last(t) - tile0, CHUNK_TILES) : 0;
}

/* Rows of `bytes` each (at most 64) that lie `stride` apart; they lie 64 apart in `to`. */
DEVICE void copy_rows(const uint8_t *from, uint32_t stride, uint32_t n_rows, uint32_t bytes,
                      uint8_t *to)
{
    uint32_t lane = thread_id() % WAVE;
    if (bytes % 16 == 0 && stride % 16 == 0) {
        UNROLL for (uint32_t i = 0; i < 4; i++)
        {
            uint32_t row = 8 * i + lane / 4;
            uint32_t at = lane % 4 * 16;
            if (row < n_rows && at < bytes) {
                copy16(to + row * 64 + at, from + (size_t)row * stride + at);
            }
        }
        return;
    }
    for (uint32_t row = lane / 8; row < n_rows; row += 4) {
        uint32_t at = lane % 8 * 8;
        if (at < bytes) {
            uint64_t v;
            __builtin_memcpy(&v, __builtin_assume_aligned(from + (size_t)row * stride + at, 8), 8);
            __builtin_memcpy(__builtin_assume_aligned(to + row * 64 + at, 8), &v, 8);
        }
    }
}

DEVICE void feed16_next(const struct chunk16 *t, struct feed16 *f)
{
    uint32_t n = t->c.n;
    if (f->tile0 < chunk16_last(t)) {
        uint32_t n_keys = chunk16_key_pieces(t, f->tile0);
        uint32_t n_all = n_keys + chunk16_value_pieces(t, f->tile0);
        bool is_key = f->piece < n_keys;
        uint8_t *to = t->ring + (f->n_issued & t->ring_mask) * CHUNK16_PIECE;
        if (n_all > 0) {
            uint32_t i = is_key ? thread_id() / WAVE : f->piece - n_keys;
            const uint8_t *part = chunk_part(&t->c, f->tile0 + i);
            uint32_t at = is_key ? f->piece * WAVE : chunk16_slab(t);
            uint32_t count = least_u32(n - at, WAVE);
            copy_rows(is_key ? part + at * 64 : part + 64 * n + 2 * at, is_key ? 64 : 2 * n,
                      is_key ? count : WAVE, is_key ? 64 : 2 * count, to);
            f->n_issued++;
            f->piece++;
        }
        if (f->piece >= n_all) {
            f->piece = 0;
            f->tile0 += CHUNK_TILES;
        }
    }
    copy_commit();
}

/* The oldest piece, once it is there. */
DEVICE const uint16_t *feed16_take(const struct chunk16 *t, struct feed16 *f)
{
    if (t->ring_mask == 0) {
        copy_wait(0);
    } else {
        copy_wait(1);
    }
    lane_sync();
    return (const uint16_t *)(const void *)(t->ring + (f->n_used & t->ring_mask) * CHUNK16_PIECE);
}

DEVICE void feed16_release(const struct chunk16 *t, struct feed16 *f)
{
    lane_sync();
    f->n_used++;
    feed16_next(t, f);
}

/* A lane's columns are 4x .. and 16 + 4x .., x being lane % 4; its queries ql * (lane / 4) .. */
DEVICE uint32_t column16(uint32_t i)
{
    return i / 4 * 16 + thread_id() % 4 * 4 + i % 4;
}

struct products {
    float c[CHUNK16_MOST][8];
};

DEVICE void products_clear(struct products *c)
{
    UNROLL for (uint32_t j = 0; j < CHUNK16_MOST; j++)
    {
        UNROLL for (uint32_t i = 0; i < 8; i++)
        {
            c->c[j][i] = 0.0f;
        }
    }
}

struct rows16 {
    float a[CHUNK16_MOST], b[8];
};

DEVICE void rows16_load(const float *a, const uint16_t *b, uint32_t ql, struct rows16 *r)
{
    uint16_t half[8];
    UNROLL for (uint32_t j = 0; j < ql; j += 4)
    {
        __builtin_memcpy(r->a + j, __builtin_assume_aligned(a + j, 16), 16);
    }
    __builtin_memcpy(half, __builtin_assume_aligned(b, 8), 8);
    __builtin_memcpy(half + 4, __builtin_assume_aligned(b + 16, 8), 8);
    UNROLL for (uint32_t i = 0; i < 8; i++)
    {
        r->b[i] = f32_of_f16(half[i]);
    }
}

/* c[j][i] += a[row][j] * b[row][i], rows in order. a: the lane's first query; b: its first column. */
DEVICE void products_add(const float *a, uint32_t stride, const uint16_t *b, uint32_t count,
                         uint32_t ql, struct products *c)
{
    enum { AT_ONCE = 4 };
    uint32_t row = 0;
    NO_UNROLL for (; row + AT_ONCE <= count; row += AT_ONCE)
    {
        UNROLL for (uint32_t o = 0; o < AT_ONCE; o++)
        {
            struct rows16 r;
            rows16_load(a + (row + o) * stride, b + (row + o) * WAVE, ql, &r);
            UNROLL for (uint32_t j = 0; j < ql; j++)
            {
                UNROLL for (uint32_t i = 0; i < 8; i++)
                {
                    c->c[j][i] = fma_f32(r.a[j], r.b[i], c->c[j][i]);
                }
            }
        }
    }
}

/* The same for values that only some queries see: those of the rows below present[j]. */
DEVICE void products_add_some(const float *a, uint32_t stride, const uint16_t *b,
                              const uint32_t *present, uint32_t ql, struct products *c)
{
    NO_UNROLL for (uint32_t row = 0; row < WAVE; row++)
    {
        struct rows16 r;
        rows16_load(a + row * stride, b + row * WAVE, ql, &r);
        UNROLL for (uint32_t j = 0; j < ql; j++)
        {
            bool is_present = row < present[j];
            UNROLL for (uint32_t i = 0; i < 8; i++)
            {
                float next = fma_f32(r.a[j], r.b[i], c->c[j][i]);
                c->c[j][i] = is_present ? next : c->c[j][i];
            }
        }
    }
}

/* m, p and l of one query and tile: four lanes have eight scores each. */
DEVICE void chunk16_soften(float *s, uint32_t present, float *meta)
{
    float m = MINUS_INF;
    UNROLL for (uint32_t i = 0; i < 8; i++)
    {
        m = max_f32(m, column16(i) < present ? s[i] : MINUS_INF);
    }
    m = max_f32(m, lane_xor_f32(m, 2));
    m = max_f32(m, lane_xor_f32(m, 1));
    float l[4];
    UNROLL for (uint32_t i = 0; i < 8; i++)
    {
        float e = exp_below_f32(s[i] - m); /* whether it is present or not: no branch */
        s[i] = column16(i) < present ? e : 0.0f;
    }
    UNROLL for (uint32_t i = 0; i < 4; i++)
    {
        l[i] = s[i] + s[4 + i];
        l[i] += lane_xor_f32(l[i], 2);
        l[i] += lane_xor_f32(l[i], 1);
    }
    if (thread_id() % 4 == 0) {
        meta[0] = m;
        meta[1] = (l[0] + l[2]) + (l[1] + l[3]);
    }
}

/* 1. The wave's tile. */
DEVICE void chunk16_scores(const struct chunk16 *t, uint32_t tile, uint32_t ql, struct feed16 *feed)
{
    uint32_t wave = thread_id() / WAVE;
    uint32_t k0 = thread_id() % WAVE / 4 * ql;
    uint32_t queries = 8 * ql;
    struct products s;
    products_clear(&s);
    NO_UNROLL for (uint32_t d = 0; d < t->c.n; d += WAVE)
    {
        const uint16_t *keys = feed16_take(t, feed) + column16(0);
        products_add(t->q + d * queries + k0, queries, keys, least_u32(t->c.n - d, WAVE), ql, &s);
        feed16_release(t, feed);
    }
    UNROLL for (uint32_t j = 0; j < ql; j++)
    {
        UNROLL for (uint32_t i = 0; i < 8; i++)
        {
            s.c[j][i] = t->c.a->scale * s.c[j][i];
        }
        chunk16_soften(s.c[j], chunk_present(&t->c, k0 + j, tile), chunk_meta(&t->c, wave, k0 + j));
    }
    UNROLL for (uint32_t i = 0; i < 8; i++)
    {
        float *to = t->p + (wave * WAVE + column16(i)) * queries + k0;
        UNROLL for (uint32_t j = 0; j < ql; j += 4)
        {
            const float four[4] = {s.c[j][i], s.c[j + 1][i], s.c[j + 2][i], s.c[j + 3][i]};
            __builtin_memcpy(__builtin_assume_aligned(to + j, 16), four, sizeof four);
        }
    }
}

/* 3. A tile's values in the wave's dimensions, merged into `sum`. */
DEVICE void chunk16_weigh(const struct chunk16 *t, uint32_t tile, uint32_t i_tile, uint32_t ql,
                          struct feed16 *feed, struct products *sum)
{
    uint32_t k0 = thread_id() % WAVE / 4 * ql;
    uint32_t queries = 8 * ql;
    const float *p = t->p + i_tile * WAVE * queries + k0;
    bool is_first = tile % SEGMENT_TILES == 0;
    bool is_full = chunk_present(&t->c, 0, tile) == WAVE; /* for all queries: later ones see more */
    struct products next;
    products_clear(&next);
    const uint16_t *values = feed16_take(t, feed) + column16(0);
    if (is_full) {
        products_add(p, queries, values, WAVE, ql, &next);
    } else {
        uint32_t present[CHUNK16_MOST];
        UNROLL for (uint32_t j = 0; j < ql; j++)
        {
            present[j] = chunk_present(&t->c, k0 + j, tile);
        }
        products_add_some(p, queries, values, present, ql, &next);
    }
    feed16_release(t, feed);
    if (is_first && is_full) {
        *sum = next;
        return;
    }
    UNROLL for (uint32_t j = 0; j < ql; j++)
    {
        struct chunk_factors f = chunk_factors(&t->c, i_tile, k0 + j);
        if (is_full) {
            UNROLL for (uint32_t i = 0; i < 8; i++)
            {
                sum->c[j][i] = fma_f32(sum->c[j][i], f.e, next.c[j][i] * f.e2);
            }
        } else {
            UNROLL for (uint32_t i = 0; i < 8; i++)
            {
                float merged = fma_f32(sum->c[j][i], f.e, next.c[j][i] * f.e2);
                merged = is_first ? next.c[j][i] : merged;
                sum->c[j][i] = f.is_there > 0.0f ? merged : sum->c[j][i];
            }
        }
    }
}

DEVICE void chunk16_store(const struct chunk16 *t, uint32_t segment, bool is_last, uint32_t ql,
                          const struct products *sum)
{
    uint32_t k0 = thread_id() % WAVE / 4 * ql;
    UNROLL for (uint32_t j = 0; j < ql; j++)
    {
        if (k0 + j < t->c.n_queries) {
            const float *f = t->c.totals + 4 * (k0 + j);
            float *to = chunk_target(&t->c, k0 + j, segment);
            UNROLL for (uint32_t i = 0; i < 8; i++)
            {
                uint32_t d = chunk16_slab(t) + column16(i);
                if (d < t->c.n) {
                    chunk_store(&t->c, f, segment, is_last, sum->c[j][i], to + d);
                }
            }
        }
    }
}

/* The queries at hand transposed into shared memory; zeros behind them. */
DEVICE void chunk16_take(const struct chunk16 *t, uint32_t ql)
{
    uint32_t queries = 8 * ql;
    for (uint32_t k = thread_id() % WAVE; k < queries; k += WAVE) {
        const float *from = t->c.a->q + chunk_at(&t->c, k < t->c.n_queries ? k : 0);
        for (uint32_t d = thread_id() / WAVE * 4; d < t->c.n; d += 4 * CHUNK16_WAVES) {
            float four[4];
            __builtin_memcpy(four, __builtin_assume_aligned(from + d, 16), sizeof four);
            UNROLL for (uint32_t i = 0; i < 4; i++)
            {
                t->q[(d + i) * queries + k] = k < t->c.n_queries ? four[i] : 0.0f;
            }
        }
    }
}

/* The queries at hand, dimensions from dims0 on. */
DEVICE void chunk16_segments(const struct chunk16 *t, uint32_t ql)
{
    uint32_t wave = thread_id() / WAVE;
    uint32_t last_tile = chunk16_last(t);
    struct feed16 feed = {t->c.first * SEGMENT_TILES, 0, 0, 0};
    struct chunk_sums sums = {0.0f, 0.0f, 0.0f, 0.0f};
    struct products sum;
    products_clear(&sum);
    feed16_next(t, &feed);
    if (t->ring_mask > 0) {
        feed16_next(t, &feed);
    }
    NO_UNROLL for (uint32_t tile0 = t->c.first * SEGMENT_TILES; tile0 < last_tile;
                   tile0 += CHUNK_TILES)
    {
        uint32_t n_tiles = least_u32(last_tile - tile0, CHUNK_TILES);
        if (wave < n_tiles) {
            chunk16_scores(t, tile0 + wave, ql, &feed);
        }
        barrier();
        if (thread_id() < t->c.n_queries) {
            chunk_merge(&t->c, tile0, n_tiles, thread_id(), &sums);
        }
        barrier();
        if (chunk16_slab(t) < t->c.n) {
            NO_UNROLL for (uint32_t i = 0; i < n_tiles; i++)
            {
                chunk16_weigh(t, tile0 + i, i, ql, &feed, &sum);
            }
        }
        uint32_t segment = tile0 / SEGMENT_TILES;
        bool is_last = tile0 + n_tiles == t->c.n_tiles;
        if (is_last || (tile0 + n_tiles) % SEGMENT_TILES == 0) {
            chunk16_store(t, segment, is_last, ql, &sum);
            chunk_store_sums(&t->c, segment, &sums);
        }
        barrier();
    }
}

/* ql: queries of a lane, a constant: the block has eight times as many. */
DEVICE void chunk16(const struct hip_attention_args *a, uint32_t ql)
{
    struct chunk16 t;
    uint32_t queries = 8 * ql;
    launch_next();
    wait_previous();
    if (!chunk_begin(a, a->head_dim, &t.c)) {
        return;
    }
    t.q = (float *)SHARED_MEMORY;
    t.p = t.q + t.c.n * queries;
    t.c.meta = t.p + CHUNK_TILES * WAVE * queries;
    t.c.meta_query = CHUNK16_META;
    t.c.meta_tile = CHUNK16_META * queries;
    t.c.totals = t.c.meta + CHUNK_TILES * CHUNK16_META * queries;
    t.ring_mask = a->ring - 1;
    t.ring = (uint8_t *)(void *)(t.c.totals + 4 * queries) +
             thread_id() / WAVE * (a->ring * CHUNK16_PIECE);
    for (uint32_t k = 0; k < t.c.g.n_rows * a->n_shared; k += queries) {
        chunk_queries(&t.c, k, queries);
        chunk16_take(&t, ql);
        barrier();
        NO_UNROLL for (t.dims0 = 0; t.dims0 < t.c.n; t.dims0 += CHUNK_DIMS)
        {
            chunk16_segments(&t, ql);
        }
    }
    chunk_end(&t.c, t.p);
}

KERNEL_BLOCKS(attention_32, attention, CHUNK_THREADS, CHUNK16_BLOCKS)
{
    chunk16(&a, 4);
}

/* AMD's have too little shared memory for it. */
KERNEL_BLOCKS(attention_64, attention, CHUNK_THREADS, CHUNK16_BLOCKS)
{
#if SHIM_AMD
    (void)a;
#else
    chunk16(&a, 8);
#endif
}
