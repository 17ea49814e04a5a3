/* SPDX-License-Identifier: MIT */
/* attention_row, attention8_row: groups of one row, so decoding: kernels/attention's definition, where a
 * block of eight waves has a segment of one KV head (or all of them), for one query at a time or four.
 *
 * Where the row's q, k and v come as the matrices left them, the block does what rope.hip does: it rotates its
 * queries and, where it has the newest tile, k and v. They go into the tile in shared memory, and one of
 * the blocks that share the KV head stores them; none reads them from the cache.
 *
 * Tile w is wave w's. Its K and V come to shared memory in chunks (8 of f16, 4 of int8), as many ahead as the
 * ring has places, from before the launch ahead has ended. Scores: a lane is a position; weighted values: a
 * lane has four dimensions, and the positions come in order. Then threads that have dimensions of their own
 * merge the tiles. Of a group with sums the last block to end merges the segments.
 *
 * Bytes (2B-4T, f16): 5 KV heads x 16 KB a tile, 21 MB a layer at 8192: 4.9 us at 4.3 TB/s. At 192 positions it is
 * all latency: one block per query, so 20 blocks with 96 KB each. us a layer, H200, 2026-11, tests/gpu/run
 * --only attention (f16 / int8): 5.3 / 4.9 at 192 positions (rope and attention apart took 17.8, the first version
 * of this 8.4), 7.7 / 7.4 at 1024, 14.2 / 15.0 at 8192; 64 rows 13.2 / 12.7 at 192 and 94 / 84 at 2048, where
 * the bytes take 7.3 / 3.8 and 78 / 40. */
#include "kernels/hip/attention.h"

enum {
    ROW_THREADS = 256,
    ROW_WAVES = ROW_THREADS / WAVE,
    ROW_BLOCKS = 3, /* of a processor: 64 rows of five KV heads at once on 132 of them */
    MAX_QUERIES = 4, /* at a time */
    INT8_OWN = 8, /* dimensions of a lane, where heads have 256 */
    ROW_OWN =
        2, /* dimensions of a thread that merges: 4 queries only where heads have 128 at most */
    F16_CHUNKS = 8, /* of a tile: 4 of K, 4 of V */
    INT8_CHUNKS = 4, /* 2 of K, 2 of V */
};

struct row_task {
    const struct hip_attention_args *a;
    uint32_t n; /* of a head; a constant in the kernels for 128 */
    const struct hip_rope_args *rope;
    struct hip_group g;
    bool is_fused;
    uint32_t kv_head, split, head0; /* the first of the queries at hand */
    uint32_t n_queries;
    uint32_t n_pos, n_tiles;
    uint32_t first, end; /* segments */
    float *q; /* [queries][head_dim], as they are, or hi and lo bytes and the largest */
    float *fresh; /* k and v of the row */
    float *p; /* [waves][queries][32] */
    float *ml; /* [queries][tiles] of m and l */
    float *factors; /* [waves][32][2] */
    float *tiles; /* [queries][tiles][head_dim] */
    uint8_t *ring; /* the wave's */
};

/* What comes next into the wave's ring. */
struct feed {
    uint32_t tile, chunk;
    const uint8_t *part; /* of the tile */
};

/* int8: of K's rows, a row being four dimensions of all positions. */
DEVICE uint32_t key_rows(uint32_t n)
{
    return (n + 7) / 8;
}

DEVICE uint32_t slot_bytes(uint32_t n, bool is_int8)
{
    return is_int8 ? key_rows(n) * 4 * WAVE + 2 * WAVE * 4 : 16 * n;
}

DEVICE const uint8_t *part_of(const struct row_task *t, uint32_t tile)
{
    const struct hip_attention_args *a = t->a;
    uint32_t block = a->table[t->g.first_block + tile];
    return a->cache + block * a->block_bytes + a->layer_offset + (size_t)t->kv_head * a->part_bytes;
}

DEVICE void copy_chunk(const uint8_t *from, uint32_t bytes, uint8_t *to)
{
    uint32_t lane_at = thread_id() % WAVE * 16;
    for (uint32_t at = 0; at < bytes; at += WAVE * 16) {
        if (at + lane_at < bytes) {
            copy16(to + at + lane_at, from + at + lane_at);
        }
    }
}

DEVICE void feed_f16(const struct row_task *t, const struct feed *f, uint8_t *to)
{
    uint32_t bytes = 16 * t->n;
    copy_chunk(f->part + f->chunk * bytes, bytes, to);
}

/* The scales come with the first. */
DEVICE void feed_int8(const struct row_task *t, const struct feed *f, uint8_t *to)
{
    uint32_t n = t->n;
    uint32_t rows = key_rows(n);
    const uint8_t *values = f->part + WAVE * n;
    if (f->chunk == 0) {
        copy_chunk(f->part, rows * 4 * WAVE, to);
        copy_chunk(values + WAVE * n, 2 * WAVE * 4, to + rows * 4 * WAVE);
    } else if (f->chunk == 1) {
        copy_chunk(f->part + rows * 4 * WAVE, (n / 4 - rows) * 4 * WAVE, to);
    } else {
        copy_chunk(values + (f->chunk - 2) * 16 * n, 16 * n, to);
    }
}

DEVICE void feed_one(const struct row_task *t, struct feed *f, bool is_int8)
{
    if (f->tile < least_u32(t->n_tiles, t->end * SEGMENT_TILES)) {
        uint8_t *to = t->ring + (f->chunk & (t->a->ring - 1)) * slot_bytes(t->n, is_int8);
        if (f->chunk == 0) {
            f->part = part_of(t, f->tile);
        }
        if (is_int8) {
            feed_int8(t, f, to);
        } else {
            feed_f16(t, f, to);
        }
        f->chunk++;
        if (f->chunk == (is_int8 ? INT8_CHUNKS : F16_CHUNKS)) {
            f->chunk = 0;
            f->tile += SEGMENT_TILES;
        }
    }
    copy_commit();
}

/* Until the oldest chunk is there. */
DEVICE void feed_wait(const struct row_task *t)
{
    if (t->a->ring == 8) {
        copy_wait(7);
    } else if (t->a->ring == 4) {
        copy_wait(3);
    } else if (t->a->ring == 2) {
        copy_wait(1);
    } else {
        copy_wait(0);
    }
    lane_sync();
}

DEVICE uint8_t *slot_at(const struct row_task *t, uint32_t chunk, bool is_int8)
{
    return t->ring + (chunk & (t->a->ring - 1)) * slot_bytes(t->n, is_int8);
}

/* Whether the tile has the row's own position, which is not in the cache yet. */
DEVICE bool is_newest(const struct row_task *t, uint32_t tile)
{
    return t->is_fused && tile == t->n_tiles - 1;
}

/* ---- f16 ---- */

DEVICE void scores_f16(const struct row_task *t, const uint16_t *keys, uint32_t d0, uint32_t count,
                       uint32_t nq, float *s)
{
    enum { AT_ONCE = 16 };
    uint32_t n = t->n;
    uint32_t at = 0;
    if (d0 % 4 == 0) {
        NO_UNROLL for (; at + AT_ONCE <= count; at += AT_ONCE)
        {
            float key[AT_ONCE];
            UNROLL for (uint32_t i = 0; i < AT_ONCE; i++)
            {
                key[i] = f32_of_f16(keys[(at + i) * WAVE]);
            }
            UNROLL for (uint32_t i = 0; i < AT_ONCE; i += 4)
            {
                UNROLL for (uint32_t k = 0; k < nq; k++)
                {
                    float q[4];
                    __builtin_memcpy(q, __builtin_assume_aligned(t->q + k * n + d0 + at + i, 16),
                                     sizeof q);
                    UNROLL for (uint32_t j = 0; j < 4; j++)
                    {
                        s[k] = fma_f32(q[j], key[i + j], s[k]);
                    }
                }
            }
        }
    }
    NO_UNROLL for (; at < count; at++)
    {
        float key = f32_of_f16(keys[at * WAVE]);
        UNROLL for (uint32_t k = 0; k < nq; k++)
        {
            s[k] = fma_f32(t->q[k * n + d0 + at], key, s[k]);
        }
    }
}

/* `count` of eight positions, for four dimensions. */
DEVICE void weigh_f16(const uint16_t *values, uint32_t n, const float *p, uint32_t count,
                      uint32_t nq, float (*acc)[4])
{
    UNROLL for (uint32_t i0 = 0; i0 < 8; i0 += 4)
    {
        float value[4][4];
        UNROLL for (uint32_t i = 0; i < 4; i++)
        {
            uint16_t half[4];
            __builtin_memcpy(half, __builtin_assume_aligned(values + (i0 + i) * n, 8), sizeof half);
            UNROLL for (uint32_t j = 0; j < 4; j++)
            {
                value[i][j] = f32_of_f16(half[j]);
            }
        }
        UNROLL for (uint32_t k = 0; k < nq; k++)
        {
            float w[4];
            __builtin_memcpy(w, __builtin_assume_aligned(p + k * WAVE + i0, 16), sizeof w);
            UNROLL for (uint32_t i = 0; i < 4; i++)
            {
                if (i0 + i < count) {
                    UNROLL for (uint32_t j = 0; j < 4; j++)
                    {
                        acc[k][j] = fma_f32(w[i], value[i][j], acc[k][j]);
                    }
                }
            }
        }
    }
}

/* m, l and p of the wave's tile; s becomes the weights. */
DEVICE void soften(const struct row_task *t, uint32_t present, uint32_t nq, float *s)
{
    uint32_t wave = thread_id() / WAVE;
    uint32_t lane = thread_id() % WAVE;
    bool is_present = lane < present;
    UNROLL for (uint32_t k = 0; k < nq; k++)
    {
        float m = wave_max_f32(is_present && s[k] > MINUS_INF ? s[k] : MINUS_INF);
        float e = exp_f32(s[k] - m);
        s[k] = is_present ? e : 0.0f;
        float l = wave_add_f32(s[k]);
        if (lane == 0) {
            t->ml[(k * ROW_WAVES + wave) * 2] = m;
            t->ml[(k * ROW_WAVES + wave) * 2 + 1] = l;
        }
    }
}

DEVICE void row_tile_f16(const struct row_task *t, uint32_t tile, uint32_t present, uint32_t nq,
                         struct feed *feed)
{
    enum { WIDE = 2 }; /* times 128 dimensions */
    uint32_t n = t->n;
    uint32_t wave = thread_id() / WAVE;
    uint32_t lane = thread_id() % WAVE;
    uint32_t slot = t->g.pos0 % WAVE;
    bool has_fresh = is_newest(t, tile);
    float *p = t->p + wave * (nq * WAVE);
    float s[MAX_QUERIES] = {0};
    float acc[WIDE][MAX_QUERIES][4] = {{{0}}};
    NO_UNROLL for (uint32_t c = 0; c < F16_CHUNKS / 2; c++)
    {
        uint16_t *keys = (uint16_t *)(void *)slot_at(t, c, false);
        feed_wait(t);
        if (has_fresh) {
            put_f16(t->fresh + c * (n / 4), n / 4, WAVE, keys + slot);
            lane_sync();
        }
        scores_f16(t, keys + lane, c * (n / 4), n / 4, nq, s);
        lane_sync();
        feed_one(t, feed, false);
    }
    UNROLL for (uint32_t k = 0; k < nq; k++)
    {
        s[k] = t->a->scale * s[k];
    }
    soften(t, present, nq, s);
    UNROLL for (uint32_t k = 0; k < nq; k++)
    {
        p[k * WAVE + lane] = s[k];
    }
    NO_UNROLL for (uint32_t c = 0; c < F16_CHUNKS / 2; c++)
    {
        uint16_t *values = (uint16_t *)(void *)slot_at(t, F16_CHUNKS / 2 + c, false);
        feed_wait(t);
        if (has_fresh && slot / 8 == c) {
            put_f16(t->fresh + n, n, 1, values + slot % 8 * n);
            lane_sync();
        }
        uint32_t count = present > c * 8 ? least_u32(present - c * 8, 8) : 0;
        UNROLL for (uint32_t w = 0; w < (nq == 4 ? 1 : WIDE); w++)
        {
            uint32_t d = w * 4 * WAVE + lane * 4;
            if (d < n) {
                weigh_f16(values + d, n, p + c * 8, count, nq, acc[w]);
            }
        }
        lane_sync();
        feed_one(t, feed, false);
    }
    UNROLL for (uint32_t w = 0; w < (nq == 4 ? 1 : WIDE); w++)
    {
        uint32_t d = w * 4 * WAVE + lane * 4;
        UNROLL for (uint32_t k = 0; k < nq; k++)
        {
            if (d < n) {
                float *to = t->tiles + (k * ROW_WAVES + wave) * n + d;
                __builtin_memcpy(__builtin_assume_aligned(to, 16), acc[w][k], sizeof acc[w][k]);
            }
        }
    }
}

/* ---- int8 ---- */

/* In place: head_dim bytes hi, head_dim bytes lo, with Q = 128 hi + lo; the largest |q| at [head_dim / 2]. */
DEVICE void split_query(float *q, uint32_t n)
{
    enum { OWN = 2 }; /* fours of a lane, where heads have 256 */
    uint32_t lane = thread_id() % WAVE;
    uint32_t *words = (uint32_t *)(void *)q;
    float most = X15_TINY;
    for (uint32_t d = lane; d < n; d += WAVE) {
        most = larger_f32(most, magnitude_f32(q[d]));
    }
    most = wave_max_f32(most);
    float inv = X15_TOP / most;
    uint32_t high[OWN] = {0};
    uint32_t low[OWN] = {0};
    UNROLL for (uint32_t o = 0; o < OWN; o++)
    {
        uint32_t i = lane + o * WAVE;
        UNROLL for (uint32_t j = 0; j < 4; j++)
        {
            int32_t v = i < n / 4 ? x15(q[4 * i + j], inv, -X15_TOP) : 0;
            int32_t lo = ((v + 64) & 127) - 64;
            high[o] |= (uint32_t)((v - lo) / 128 & 255) << 8 * j;
            low[o] |= (uint32_t)(lo & 255) << 8 * j;
        }
    }
    lane_sync();
    UNROLL for (uint32_t o = 0; o < OWN; o++)
    {
        uint32_t i = lane + o * WAVE;
        if (i < n / 4) {
            words[i] = high[o];
            words[n / 4 + i] = low[o];
        }
    }
    if (lane == 0) {
        q[n / 2] = most;
    }
}

/* Four dimensions of a position. */
DEVICE void score_row(const struct row_task *t, uint32_t key, uint32_t row, uint32_t nq,
                      int32_t *high, int32_t *low)
{
    UNROLL for (uint32_t k = 0; k < nq; k++)
    {
        const uint32_t *words = (const uint32_t *)(const void *)(t->q + k * t->n) + row;
        high[k] = dot4(words[0], key, high[k]);
        low[k] = dot4(words[t->n / 4], key, low[k]);
    }
}

DEVICE void scores_int8(const struct row_task *t, const uint32_t *keys, uint32_t row0,
                        uint32_t rows, uint32_t nq, int32_t *high, int32_t *low)
{
    enum { AT_ONCE = 4 };
    uint32_t i = 0;
    NO_UNROLL for (; i + AT_ONCE <= rows; i += AT_ONCE)
    {
        UNROLL for (uint32_t o = 0; o < AT_ONCE; o++)
        {
            score_row(t, keys[(i + o) * WAVE], row0 + i + o, nq, high, low);
        }
    }
    NO_UNROLL for (; i < rows; i++)
    {
        score_row(t, keys[i * WAVE], row0 + i, nq, high, low);
    }
}

/* The weights of a tile lie in p as [queries][hi 32 bytes, lo 32 bytes, ..], W = 128 hi + lo. Returns the
 * largest weights. */
DEVICE void split_weights(float *p, const float *s, float value_scale, uint32_t present,
                          uint32_t nq, float *most)
{
    uint32_t lane = thread_id() % WAVE;
    bool is_present = lane < present;
    UNROLL for (uint32_t k = 0; k < nq; k++)
    {
        float w = s[k] * value_scale;
        most[k] = is_present ? larger_f32(X15_TINY, magnitude_f32(w)) : X15_TINY;
        most[k] = wave_max_f32(most[k]);
        int32_t v = is_present ? x15(w, X15_TOP / most[k], 0.0f) : 0;
        uint8_t *bytes = (uint8_t *)(void *)(p + k * WAVE);
        bytes[lane] = (uint8_t)(v >> 7);
        bytes[WAVE + lane] = (uint8_t)(v & 127);
    }
}

/* Sums of one lane: dimensions lane, lane + 32 and so on. */
struct sums8 {
    int32_t high[INT8_OWN][MAX_QUERIES], low[INT8_OWN][MAX_QUERIES];
};

/* How many of them: four queries only where heads have 128 values at most. */
#define INT8_OWN_OF(nq) ((nq) == 4 ? INT8_OWN / 2 : INT8_OWN)

/* Sixteen positions, `words` from the first of the weights on. */
DEVICE void weigh_int8(const uint32_t *values, uint32_t n, const uint32_t *words, uint32_t nq,
                       struct sums8 *sums)
{
    UNROLL for (uint32_t i = 0; i < 4; i++)
    {
        uint32_t high[MAX_QUERIES];
        uint32_t low[MAX_QUERIES];
        UNROLL for (uint32_t k = 0; k < nq; k++)
        {
            high[k] = words[k * WAVE + i];
            low[k] = words[k * WAVE + WAVE / 4 + i];
        }
        UNROLL for (uint32_t o = 0; o < INT8_OWN_OF(nq); o++)
        {
            uint32_t d = thread_id() % WAVE + o * WAVE;
            uint32_t value = d < n ? values[i * n + d] : 0;
            UNROLL for (uint32_t k = 0; k < nq; k++)
            {
                sums->high[o][k] = dot4(high[k], value, sums->high[o][k]);
                sums->low[o][k] = dot4(low[k], value, sums->low[o][k]);
            }
        }
    }
}

DEVICE void row_tile_int8(const struct row_task *t, uint32_t tile, uint32_t present, uint32_t nq,
                          struct feed *feed)
{
    uint32_t n = t->n;
    uint32_t rows = key_rows(n);
    uint32_t wave = thread_id() / WAVE;
    uint32_t lane = thread_id() % WAVE;
    uint32_t slot = t->g.pos0 % WAVE;
    bool has_fresh = is_newest(t, tile);
    float fresh[2] = {1.0f, 1.0f};
    float *p = t->p + wave * (nq * WAVE);
    float s[MAX_QUERIES], most[MAX_QUERIES];
    int32_t high[MAX_QUERIES] = {0};
    int32_t low[MAX_QUERIES] = {0};
    struct sums8 sums = {{{0}}, {{0}}};
    float scales[2] = {0.0f, 0.0f};
    if (has_fresh) {
        fresh[0] = largest_of_head(t->fresh, n);
        fresh[1] = largest_of_head(t->fresh + n, n);
    }
    NO_UNROLL for (uint32_t c = 0; c < INT8_CHUNKS / 2; c++)
    {
        uint8_t *keys = slot_at(t, c, true);
        uint32_t count = c == 0 ? rows : n / 4 - rows;
        feed_wait(t);
        if (c == 0) {
            const float *from = (const float *)(const void *)(keys + rows * 4 * WAVE);
            UNROLL for (uint32_t i = 0; i < 2; i++)
            {
                scales[i] = has_fresh && lane == slot ? fresh[i] / 127.0f : from[i * WAVE + lane];
            }
        }
        if (has_fresh) {
            put_int8(t->fresh + c * rows * 4, count * 4, fresh[0], slot, (int8_t *)keys, false);
            lane_sync();
        }
        scores_int8(t, (const uint32_t *)(const void *)keys + lane, c * rows, count, nq, high, low);
        lane_sync();
        feed_one(t, feed, true);
    }
    UNROLL for (uint32_t k = 0; k < nq; k++)
    {
        float largest = t->q[k * n + n / 2];
        s[k] = ((float)(128 * high[k] + low[k]) * scales[0]) * (largest / X15_TOP * t->a->scale);
    }
    soften(t, present, nq, s);
    split_weights(p, s, scales[1], present, nq, most);
    NO_UNROLL for (uint32_t c = 0; c < INT8_CHUNKS / 2; c++)
    {
        uint8_t *values = slot_at(t, INT8_CHUNKS / 2 + c, true);
        feed_wait(t);
        if (has_fresh && slot / 16 == c) {
            put_int8(t->fresh + n, n, fresh[1], slot % 16, (int8_t *)values, true);
            lane_sync();
        }
        weigh_int8((const uint32_t *)(const void *)values, n,
                   (const uint32_t *)(const void *)p + 4 * c, nq, &sums);
        lane_sync();
        feed_one(t, feed, true);
    }
    UNROLL for (uint32_t o = 0; o < INT8_OWN_OF(nq); o++)
    {
        uint32_t d = lane + o * WAVE;
        UNROLL for (uint32_t k = 0; k < nq; k++)
        {
            if (d < n) {
                t->tiles[(k * ROW_WAVES + wave) * n + d] =
                    (float)(128 * sums.high[o][k] + sums.low[o][k]) * (most[k] / X15_TOP);
            }
        }
    }
}

/* ---- both ---- */

/* The threads of a query, each for dimensions of its own. */
struct row_sum {
    float m, l;
    float acc[ROW_OWN];
};

/* Merges the tiles of a segment in order. */
DEVICE void merge_tiles(const struct row_task *t, uint32_t n_tiles, uint32_t k, uint32_t d0,
                        uint32_t share, struct row_sum *sum)
{
    uint32_t n = t->n;
    uint32_t lane = thread_id() % WAVE;
    const float *ml = t->ml + k * (ROW_WAVES * 2);
    struct factors *factors =
        (struct factors *)(void *)(t->factors + thread_id() / WAVE * (2 * WAVE));
    struct factors f;
    sum->m = merge_factors(lane % ROW_WAVES < n_tiles ? ml[lane % ROW_WAVES * 2] : MINUS_INF,
                           MINUS_INF, ROW_WAVES, &f);
    factors[lane] = f;
    lane_sync();
    const float *from = t->tiles + k * (ROW_WAVES * n);
    sum->l = ml[1];
    UNROLL for (uint32_t o = 0; o < ROW_OWN; o++)
    {
        uint32_t d = d0 + o * share;
        sum->acc[o] = d < n ? from[d] : 0.0f;
    }
    UNROLL for (uint32_t i = 1; i < ROW_WAVES; i++)
    {
        bool is_there = i < n_tiles;
        f = factors[i];
        float l = fma_f32(sum->l, f.e, ml[2 * i + 1] * f.e2);
        sum->l = is_there ? l : sum->l;
        UNROLL for (uint32_t o = 0; o < ROW_OWN; o++)
        {
            uint32_t d = d0 + o * share;
            float next = d < n ? from[i * n + d] : 0.0f;
            float acc = fma_f32(sum->acc[o], f.e, next * f.e2);
            sum->acc[o] = is_there ? acc : sum->acc[o];
        }
    }
}

DEVICE void merge_sum(struct row_sum *into, const struct row_sum *next, bool is_first)
{
    if (is_first) {
        *into = *next;
        return;
    }
    float m = next->m > into->m ? next->m : into->m;
    float e = exp_f32(into->m - m);
    float e2 = exp_f32(next->m - m);
    UNROLL for (uint32_t o = 0; o < ROW_OWN; o++)
    {
        into->acc[o] = fma_f32(into->acc[o], e, next->acc[o] * e2);
    }
    into->l = fma_f32(into->l, e, next->l * e2);
    into->m = m;
}

/* The queries at hand: their segments into sums, or all of them into out. */
DEVICE void row_segments(const struct row_task *t, struct feed *feed, uint32_t nq, bool is_int8)
{
    uint32_t n = t->n;
    uint32_t wave = thread_id() / WAVE;
    uint32_t share = ROW_THREADS / nq;
    uint32_t k = thread_id() / share;
    uint32_t d0 = thread_id() % share;
    bool has_sums = t->g.sums_row != HIP_NO_SUMS;
    struct row_sum total = {0.0f, 0.0f, {0.0f}};
    NO_UNROLL for (uint32_t segment = t->first; segment < t->end; segment++)
    {
        uint32_t tile = segment * SEGMENT_TILES + wave;
        if (tile < t->n_tiles) {
            uint32_t present = least_u32(t->n_pos - tile * WAVE, WAVE);
            if (is_int8) {
                row_tile_int8(t, tile, present, nq, feed);
            } else {
                row_tile_f16(t, tile, present, nq, feed);
            }
        }
        barrier();
        struct row_sum sum;
        merge_tiles(t, least_u32(t->n_tiles - segment * SEGMENT_TILES, SEGMENT_TILES), k, d0, share,
                    &sum);
        if (!has_sums) {
            merge_sum(&total, &sum, segment == 0);
        } else if (k < t->n_queries) {
            float *to = sums_at(t->a, (uint32_t)t->g.sums_row, t->head0 + k, segment);
            UNROLL for (uint32_t o = 0; o < ROW_OWN; o++)
            {
                uint32_t d = d0 + o * share;
                if (d < n) {
                    to[SUMS_ACC + d] = sum.acc[o];
                }
            }
            if (d0 == 0) {
                to[0] = sum.m;
                to[1] = sum.l;
            }
        }
        barrier();
    }
    if (!has_sums && k < t->n_queries) {
        float *out = t->a->out + ((size_t)t->g.row0 * t->a->n_heads + t->head0 + k) * n;
        UNROLL for (uint32_t o = 0; o < ROW_OWN; o++)
        {
            uint32_t d = d0 + o * share;
            if (d < n) {
                out[d] = total.acc[o] / total.l;
            }
        }
    }
}

/* The heads of the row that the block needs, one a wave; all threads, once the launch ahead has ended. */
DEVICE void take_heads(const struct row_task *t, const struct rope_head *h, uint32_t head,
                       bool stores, bool is_int8)
{
    uint32_t n = t->n;
    uint32_t wave = thread_id() / WAVE;
    bool is_query = wave < t->n_queries;
    if (head != UINT32_MAX) {
        const float *from = rope_source(t->rope, t->g.row0, head);
        float *x = is_query ? t->q + wave * n : t->fresh + (h->is_value ? n : 0);
        if (t->is_fused) {
            rope_end(t->rope, n, h, from, x);
        } else {
            for (uint32_t i = thread_id() % WAVE; i < n; i += WAVE) {
                x[i] = from[i];
            }
            lane_sync();
        }
        if (is_query && is_int8) {
            split_query(x, n);
        }
        if (!is_query && stores) {
            uint8_t *part = t->rope->cache + (part_of(t, t->n_tiles - 1) - t->a->cache);
            store_head(x, n, t->g.pos0 % WAVE, part, h->is_value, is_int8);
        }
    }
    barrier();
}

/* The head of this wave, as rope_begin counts: queries, and k and v of the newest position; or UINT32_MAX. */
DEVICE uint32_t head_of_wave(const struct row_task *t, bool has_fresh)
{
    uint32_t wave = thread_id() / WAVE;
    uint32_t n_heads = t->a->n_heads;
    if (wave < t->n_queries) {
        return t->head0 + wave;
    }
    wave -= t->n_queries;
    return has_fresh && wave < 2 ? n_heads + wave * t->a->n_kv_heads + t->kv_head : UINT32_MAX;
}

DEVICE void attend_row(struct row_task *t, uint32_t n_heads, uint32_t nq, bool is_int8)
{
    uint32_t n_segments = (t->n_tiles + SEGMENT_TILES - 1) / SEGMENT_TILES;
    uint32_t head0 = t->head0;
    bool has_newest = t->is_fused && t->end == n_segments;
    bool is_first_split = t->split == 0;
    bool has_waited = false;
    NO_UNROLL for (uint32_t at = 0; at < n_heads; at += nq)
    {
        struct feed feed = {t->first * SEGMENT_TILES + thread_id() / WAVE, 0, t->a->cache};
        struct rope_head h = {{0}, {0}, t->rope->k_norm, false};
        t->head0 = head0 + at;
        t->n_queries = least_u32(n_heads - at, nq);
        uint32_t head = head_of_wave(t, has_newest && at == 0);
        if (!t->is_fused && !has_waited) {
            wait_previous(); /* rope has stored K and V */
        }
        NO_UNROLL for (uint32_t i = 0; i < t->a->ring; i++)
        {
            feed_one(t, &feed, is_int8);
        }
        if (t->is_fused && head != UINT32_MAX) {
            h = rope_begin(t->rope, t->n, t->g.pos0, head);
        }
        if (t->is_fused && !has_waited) {
            wait_previous();
        }
        has_waited = true;
        take_heads(t, &h, head, is_first_split && at == 0, is_int8);
        row_segments(t, &feed, nq, is_int8);
    }
    uint32_t which =
        ((uint32_t)t->g.sums_row * t->a->n_kv_heads + t->kv_head) * t->a->splits + t->split;
    if (t->g.sums_row == HIP_NO_SUMS ||
        !is_last_block(t->a, which, n_segments, (uint32_t *)(void *)t->ml)) {
        return;
    }
    uint32_t parts = (t->n + JOIN_DIMS - 1) / JOIN_DIMS;
    for (uint32_t i = thread_id() / WAVE; i < n_heads * parts; i += ROW_WAVES) {
        uint32_t head = head0 + i / parts;
        join_segments(sums_at(t->a, (uint32_t)t->g.sums_row, head, 0), n_segments, t->n,
                      i % parts * JOIN_DIMS, t->factors + thread_id() / WAVE * (2 * WAVE),
                      t->a->out + ((size_t)t->g.row0 * t->a->n_heads + head) * t->n);
    }
}

/* n: of a head, a constant; 0: any. */
DEVICE void attention_row(const struct hip_attention_row_args *args, uint32_t nq, uint32_t n,
                          bool is_int8)
{
    const struct hip_attention_args *a = &args->attention;
    struct row_task t;
    launch_next();
    t.a = a;
    t.n = n = n == 0 ? a->head_dim : n;
    t.rope = &args->rope;
    t.is_fused = args->is_fused != 0;
    t.g = a->groups[block_x()]; /* one that is not there, perhaps */
    t.kv_head = block_y() / a->splits;
    t.split = block_y() - t.kv_head * a->splits;
    t.head0 = t.kv_head * a->n_shared + t.split * a->each;
    t.n_pos = t.g.pos0 + 1;
    t.n_tiles = t.g.pos0 / WAVE + 1;
    uint32_t n_segments = (t.n_tiles + SEGMENT_TILES - 1) / SEGMENT_TILES;
    bool has_sums = t.g.sums_row != HIP_NO_SUMS;
    t.first = block_z();
    t.end = has_sums ? t.first + 1 : n_segments;
    if (block_x() >= a->step->n_groups || t.g.n_rows != 1 ||
        t.first >= (has_sums ? n_segments : 1)) {
        wait_previous();
        return;
    }
    t.q = (float *)SHARED_MEMORY;
    t.fresh = t.q + nq * n;
    t.p = t.fresh + 2 * n;
    t.ml = t.p + ROW_WAVES * nq * WAVE;
    t.factors = t.ml + nq * ROW_WAVES * 2;
    t.tiles = t.factors + ROW_WAVES * WAVE * 2;
    uint8_t *rings = (uint8_t *)(void *)(t.tiles + nq * ROW_WAVES * n);
    t.ring = rings + thread_id() / WAVE * (a->ring * slot_bytes(n, is_int8));
    attend_row(&t, a->each, nq, is_int8);
}

KERNEL(attention_row_1, attention_row, ROW_THREADS)
{
    attention_row(&a, 1, 0, false);
}

KERNEL(attention8_row_1, attention_row, ROW_THREADS)
{
    attention_row(&a, 1, 0, true);
}

KERNEL(attention_row128_1, attention_row, ROW_THREADS)
{
    attention_row(&a, 1, 128, false);
}

KERNEL(attention8_row128_1, attention_row, ROW_THREADS)
{
    attention_row(&a, 1, 128, true);
}

KERNEL_BLOCKS(attention_row_4, attention_row, ROW_THREADS, ROW_BLOCKS)
{
    attention_row(&a, 4, 0, false);
}

KERNEL_BLOCKS(attention8_row_4, attention_row, ROW_THREADS, ROW_BLOCKS)
{
    attention_row(&a, 4, 0, true);
}

KERNEL_BLOCKS(attention_row128_4, attention_row, ROW_THREADS, ROW_BLOCKS)
{
    attention_row(&a, 4, 128, false);
}

KERNEL_BLOCKS(attention8_row128_4, attention_row, ROW_THREADS, ROW_BLOCKS)
{
    attention_row(&a, 4, 128, true);
}
