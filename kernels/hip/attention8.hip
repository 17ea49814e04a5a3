/* SPDX-License-Identifier: MIT */
/* attention8: groups of several rows and an int8 cache. The scores are integer sums of 15-bit queries, in a
 * high and a low byte, times int8 keys, and so are the weighted values: exact, so they go to the matrix
 * units (matrix.h). What is left to do in floats is per score and per output of a tile.
 *
 * A block has up to 64 queries of a group (rows times the heads that share the KV head) and goes over their
 * tiles by four:
 *   1. scores: a wave has a tile; Q times K to shared memory, [query][40] floats
 *   2. weights: a lane has a query, 32 scores in registers: m, p, l and W, whose bytes take the scores' place
 *   3. factors of the merges in order: a thread has a query
 *   4. values: a wave has 32 dimensions of all queries and four tiles in order: W times V, merged in registers
 * Where there are more segments than one the total lies in `out` in the meantime, or with sums the last block to
 * end merges them. K and V come straight from the cache: each word is used for all queries of the block.
 *
 * Prefill of 2048 (2B-4T), a layer: 640 blocks, 20,800 tiles of 64 queries: each 256 mma, 64 exponentials a
 * lane, 256 conversions a lane: about 5,500 instructions of a wave, 0.12 ms on 132 x 4 schedulers. Measured (H200,
 * 2026-11, tests/gpu/run): 0.48 ms; 0.73 with branches around exponentials, 2.8 by dot4. A warp issues one
 * instruction in 8 cycles (ncu): waits for shared memory and the loads of K and V that nothing hides. */
#include "kernels/hip/attention_chunk.h"
#include "kernels/hip/matrix.h"

enum {
    CHUNK8_WAVES = CHUNK_THREADS / MATRIX_LANES,
    CHUNK8_BLOCKS = 3, /* of a processor */
    CHUNK8_QUERIES = SHIM_AMD ? 16 : 64, /* at most: by registers */
    CHUNK8_M = CHUNK8_QUERIES / 16,
    CHUNK8_ROW = 40, /* words of a query and tile */
    ROW_LOW = 8, /* in them, once they are weights: high bytes, low bytes, meta */
    ROW_META = 16,
    CHUNK8_SLAB = CHUNK_DIMS / CHUNK8_WAVES,
    CHUNK8_N = CHUNK8_SLAB / 16,
};

struct chunk8 {
    struct chunk c;
    uint32_t n_m; /* sixteens of queries */
    uint32_t q_words; /* of a query's high bytes, and of its low bytes */
    uint32_t *q; /* [queries][high, low] */
    float *q_scale; /* [queries] */
    float *rows; /* [tiles][queries][40] */
};

DEVICE float *chunk8_row(const struct chunk8 *t, uint32_t i_tile, uint32_t k)
{
    return t->rows + (i_tile * t->c.a->queries + k) * CHUNK8_ROW;
}

/* 15 bits of every query; a wave does one at a time. */
DEVICE void chunk8_split(const struct chunk8 *t)
{
    uint32_t lane = thread_id() % WAVE;
    for (uint32_t k = thread_id() / WAVE; k < t->n_m * 16; k += CHUNK_THREADS / WAVE) {
        const float *from = t->c.a->q + chunk_at(&t->c, k < t->c.n_queries ? k : 0);
        uint32_t *to = t->q + 2 * k * t->q_words;
        float most = X15_TINY;
        for (uint32_t d = lane; d < t->c.n; d += WAVE) {
            most = larger_f32(most, magnitude_f32(from[d]));
        }
        most = wave_max_f32(most);
        float inv = X15_TOP / most;
        for (uint32_t i = lane; i < t->q_words; i += WAVE) {
            uint32_t high = 0;
            uint32_t low = 0;
            UNROLL for (uint32_t j = 0; j < 4; j++)
            {
                int32_t v = i < t->c.n / 4 ? x15(from[4 * i + j], inv, -X15_TOP) : 0;
                int32_t lo = ((v + 64) & 127) - 64;
                high |= (uint32_t)((v - lo) / 128 & 255) << 8 * j;
                low |= (uint32_t)(lo & 255) << 8 * j;
            }
            to[i] = high;
            to[t->q_words + i] = low;
        }
        if (lane == 0) {
            t->q_scale[k] = most / X15_TOP * t->c.a->scale;
        }
    }
}

DEVICE struct matrix_operand chunk8_operand(const uint32_t *rows, uint32_t stride)
{
    struct matrix_operand o;
    UNROLL for (uint32_t w = 0; w < MATRIX_LANE_ROWS; w++)
    {
        const uint32_t *from = rows + matrix_row(w) * stride + matrix_first();
        __builtin_memcpy(o.w + w * MATRIX_RUN, __builtin_assume_aligned(from, 8), 4 * MATRIX_RUN);
    }
    return o;
}

/* Of words that lie `stride` apart, rows being neighbours; those from n_words or n_rows on count as zero. */
DEVICE struct matrix_operand chunk8_columns(const uint32_t *from, uint32_t stride, uint32_t first,
                                            uint32_t n_words, uint32_t row0, uint32_t n_rows)
{
    struct matrix_operand o;
    UNROLL for (uint32_t w = 0; w < MATRIX_LANE_ROWS; w++)
    {
        uint32_t row = row0 + matrix_row(w);
        UNROLL for (uint32_t j = 0; j < MATRIX_RUN; j++)
        {
            uint32_t word = first + matrix_first() + j;
            o.w[w * MATRIX_RUN + j] =
                word < n_words && row < n_rows ? from[word * stride + row] : 0;
        }
    }
    return o;
}

/* Sixteen queries times the keys, or those of one half of the tile; `low`, where their bytes begin: 0 for the high ones, which come first. */
DEVICE void chunk8_products(const struct chunk8 *t, uint32_t m, uint32_t low,
                            struct matrix_operand (*key)[4], uint32_t n_c, uint32_t at_once,
                            const uint32_t *half, struct matrix_outputs *c)
{
    if (n_c > 4) { /* too many keys for registers, and only one half */
        for (uint32_t i = 0; 8 * i < t->c.n / 4; i++) {
            struct matrix_operand q =
                chunk8_operand(t->q + 2 * 16 * m * t->q_words + low + 8 * i, 2 * t->q_words);
            struct matrix_operand keys = chunk8_columns(half, WAVE, 8 * i, t->c.n / 4, 0, WAVE);
            if (low == 0 && i == 0) {
                matrix_start(&q, &keys, &c[0]);
            } else {
                matrix_step(&q, &keys, &c[0]);
            }
        }
        return;
    }
    UNROLL for (uint32_t i = 0; i < n_c; i++)
    {
        keep_order();
        struct matrix_operand q =
            chunk8_operand(t->q + 2 * 16 * m * t->q_words + low + 8 * i, 2 * t->q_words);
        UNROLL for (uint32_t h = 0; h < at_once; h++)
        {
            if (low == 0 && i == 0) {
                matrix_start(&q, &key[h][i], &c[h]);
            } else {
                matrix_step(&q, &key[h][i], &c[h]);
            }
        }
    }
}

/* 1. Scores of the wave's tile; n_c, a constant: 32 columns each that heads have at most. */
DEVICE void chunk8_scores(const struct chunk8 *t, uint32_t tile, uint32_t i_tile, uint32_t n_c)
{
    const uint8_t *part = chunk_part(&t->c, tile);
    const uint32_t *keys = (const uint32_t *)(const void *)part;
    const float *key_scales = (const float *)(const void *)(part + 2 * WAVE * t->c.n);
    uint32_t at_once =
        n_c > 4 || MATRIX_RUN == 8 ? 1 : 2; /* halves of the tile, as registers allow */
    UNROLL for (uint32_t h0 = 0; h0 < 2; h0 += at_once)
    {
        struct matrix_operand key[2][4];
        UNROLL for (uint32_t h = 0; h < at_once && n_c <= 4; h++)
        {
            UNROLL for (uint32_t c = 0; c < n_c; c++)
            {
                key[h][c] = chunk8_columns(keys, WAVE, 8 * c, t->c.n / 4, 16 * (h0 + h), WAVE);
            }
        }
        NO_UNROLL for (uint32_t m = 0; m < t->n_m; m++)
        {
            keep_order();
            struct matrix_outputs c[2] = {{{0}}, {{0}}};
            chunk8_products(t, m, 0, key, n_c, at_once, keys + 16 * h0, c);
            UNROLL for (uint32_t h = 0; h < at_once; h++)
            {
                UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
                {
                    c[h].c[i] *= 128;
                }
            }
            chunk8_products(t, m, t->q_words, key, n_c, at_once, keys + 16 * h0, c);
            UNROLL for (uint32_t h = 0; h < at_once; h++)
            {
                UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
                {
                    uint32_t k = 16 * m + matrix_step_token(i);
                    uint32_t p = 16 * (h0 + h) + matrix_step_row(i);
                    chunk8_row(t, i_tile, k)[p] =
                        ((float)c[h].c[i] * key_scales[p]) * t->q_scale[k];
                }
            }
        }
    }
}

/* Four weights in 15 bits, as bytes: x15 is at least 0 here, and the sum's low bits are the number. */
DEVICE void chunk8_pack(const float *p, float inv, uint32_t *high, uint32_t *low)
{
    uint32_t v[4];
    UNROLL for (uint32_t j = 0; j < 4; j++)
    {
        float x = p[j] * inv;
        x = max_f32(x, 0.0f);
        x = x < X15_TOP ? x : X15_TOP;
        v[j] = bits_of_f32(x + 0x1.8p+23f) & 0x3fff;
    }
    uint32_t even = v[0] | v[2] << 16;
    uint32_t odd = v[1] | v[3] << 16;
    *high = (even >> 7 & 0x007f007f) | (odd >> 7 & 0x007f007f) << 8;
    *low = (even & 0x007f007f) | (odd & 0x007f007f) << 8;
}

/* 2. Of one query and tile, by one lane: m, l and the weights in 15 bits. */
DEVICE void chunk8_weights(const float *value_scales, uint32_t present, float *row)
{
    float p[WAVE];
    float most[4] = {MINUS_INF, MINUS_INF, MINUS_INF, MINUS_INF};
    __builtin_memcpy(p, __builtin_assume_aligned(row, 16), sizeof p);
    UNROLL for (uint32_t i = 0; i < WAVE; i++)
    {
        most[i % 4] = max_f32(most[i % 4], i < present ? p[i] : MINUS_INF);
    }
    float m = max_f32(max_f32(most[0], most[1]), max_f32(most[2], most[3]));
    float sum[WAVE / 2];
    UNROLL for (uint32_t i = 0; i < WAVE; i++)
    {
        if (i % 4 == 0) {
            keep_order();
        }
        float e = exp_below_f32(p[i] - m); /* whether it is present or not: no branch */
        p[i] = i < present ? e : 0.0f;
    }
    UNROLL for (uint32_t i = 0; i < WAVE / 2; i++)
    {
        sum[i] = p[i] + p[i + WAVE / 2];
    }
    UNROLL for (uint32_t d = WAVE / 4; d > 0; d /= 2)
    {
        UNROLL for (uint32_t i = 0; i < d; i++)
        {
            sum[i] += sum[i + d];
        }
    }
    most[0] = most[1] = most[2] = most[3] = X15_TINY;
    UNROLL for (uint32_t i = 0; i < WAVE; i++)
    {
        float w = p[i] * value_scales[i];
        p[i] = i < present ? w : 0.0f;
        most[i % 4] = max_f32(most[i % 4], magnitude_f32(p[i]));
    }
    float largest = max_f32(max_f32(most[0], most[1]), max_f32(most[2], most[3]));
    float inv = X15_TOP / largest;
    uint32_t words[2 * ROW_LOW];
    UNROLL for (uint32_t i = 0; i < ROW_LOW; i++)
    {
        keep_order();
        chunk8_pack(p + 4 * i, inv, &words[i], &words[ROW_LOW + i]);
    }
    __builtin_memcpy(__builtin_assume_aligned(row, 16), words, sizeof words);
    row[ROW_META] = m;
    row[ROW_META + 1] = sum[0];
    row[ROW_META + META_FACTORS] = largest / X15_TOP;
}

struct chunk8_values {
    float acc[CHUNK8_M][CHUNK8_N][MATRIX_OUTPUTS];
};

/* 4. Weighted values of a tile, merged. d0: the first of the wave's dimensions; is_first: of a segment;
 * is_seen: by all queries. */
DEVICE void chunk8_weigh(const struct chunk8 *t, uint32_t tile, uint32_t i_tile, uint32_t d0,
                         bool is_first, bool is_seen, struct chunk8_values *v)
{
    const uint32_t *values =
        (const uint32_t *)(const void *)(chunk_part(&t->c, tile) + (size_t)WAVE * t->c.n);
    struct matrix_operand value[CHUNK8_N];
    UNROLL for (uint32_t h = 0; h < CHUNK8_N; h++)
    {
        value[h] = chunk8_columns(values, t->c.n, 0, WAVE / 4, d0 + 16 * h, t->c.n);
    }
    UNROLL for (uint32_t m = 0; m < CHUNK8_M; m++)
    {
        if (m < t->n_m) {
            keep_order();
            const uint32_t *words = (const uint32_t *)(void *)chunk8_row(t, i_tile, 16 * m);
            struct matrix_operand high = chunk8_operand(words, CHUNK8_ROW);
            struct matrix_operand low = chunk8_operand(words + ROW_LOW, CHUNK8_ROW);
            struct chunk_factors f[MATRIX_OUTPUTS];
            UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
            {
                f[i] = chunk_factors(&t->c, i_tile, 16 * m + matrix_step_token(i));
            }
            UNROLL for (uint32_t h = 0; h < CHUNK8_N; h++)
            {
                keep_order();
                struct matrix_outputs c = {{0}};
                matrix_start(&high, &value[h], &c);
                UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
                {
                    c.c[i] *= 128;
                }
                matrix_step(&low, &value[h], &c);
                UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
                {
                    float next = (float)c.c[i] * f[i].scale;
                    float was = v->acc[m][h][i];
                    float sum = is_first ? next : fma_f32(was, f[i].e, next * f[i].e2);
                    v->acc[m][h][i] = is_seen || f[i].is_there > 0.0f ? sum : was;
                }
            }
        }
    }
}

DEVICE void chunk8_store(const struct chunk8 *t, uint32_t segment, bool is_last, uint32_t d0,
                         const struct chunk8_values *v)
{
    UNROLL for (uint32_t m = 0; m < CHUNK8_M; m++)
    {
        UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
        {
            uint32_t k = 16 * m + matrix_step_token(i);
            if (k < t->c.n_queries) {
                const float *f = t->c.totals + 4 * k;
                float *to = chunk_target(&t->c, k, segment);
                UNROLL for (uint32_t h = 0; h < CHUNK8_N; h++)
                {
                    uint32_t d = d0 + 16 * h + matrix_step_row(i);
                    if (d < t->c.n) {
                        chunk_store(&t->c, f, segment, is_last, v->acc[m][h][i], to + d);
                    }
                }
            }
        }
    }
}

/* The queries at hand, dimensions from dims0 on. */
DEVICE void chunk8_segments(const struct chunk8 *t, uint32_t dims0, uint32_t n_c)
{
    uint32_t wave = thread_id() / MATRIX_LANES;
    uint32_t d0 = dims0 + wave * CHUNK8_SLAB;
    uint32_t last_tile = least_u32(t->c.n_tiles, t->c.end * SEGMENT_TILES);
    struct chunk_sums sums = {0.0f, 0.0f, 0.0f, 0.0f};
    struct chunk8_values v;
    UNROLL for (uint32_t m = 0; m < CHUNK8_M; m++)
    {
        UNROLL for (uint32_t h = 0; h < CHUNK8_N; h++)
        {
            UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
            {
                v.acc[m][h][i] = 0.0f;
            }
        }
    }
    NO_UNROLL for (uint32_t tile0 = t->c.first * SEGMENT_TILES; tile0 < last_tile;
                   tile0 += CHUNK_TILES)
    {
        uint32_t n_tiles = least_u32(last_tile - tile0, CHUNK_TILES);
        NO_UNROLL for (uint32_t i = wave; i < n_tiles; i += CHUNK8_WAVES)
        {
            chunk8_scores(t, tile0 + i, i, n_c);
        }
        barrier();
        NO_UNROLL for (uint32_t i = wave; i < n_tiles; i += CHUNK8_WAVES)
        {
            const float *scales =
                (const float *)(const void *)(chunk_part(&t->c, tile0 + i) + 2 * WAVE * t->c.n) +
                WAVE;
            bool is_full = chunk_present(&t->c, 0, tile0 + i) == WAVE; /* later queries see more */
            NO_UNROLL for (uint32_t k = matrix_lane(); k < t->n_m * 16; k += MATRIX_LANES)
            {
                uint32_t present = chunk_present(&t->c, k, tile0 + i);
                if (is_full) {
                    chunk8_weights(scales, WAVE, chunk8_row(t, i, k));
                } else {
                    chunk8_weights(scales, present, chunk8_row(t, i, k));
                }
            }
        }
        barrier();
        if (thread_id() < t->n_m * 16) {
            chunk_merge(&t->c, tile0, n_tiles, thread_id(), &sums);
        }
        barrier();
        NO_UNROLL for (uint32_t i = 0; i < n_tiles; i++)
        {
            uint32_t tile = tile0 + i;
            bool is_first = tile % SEGMENT_TILES == 0;
            bool is_seen =
                chunk_present(&t->c, 0, tile) > 0; /* by all queries: later ones see more */
            if (is_seen && !is_first) {
                chunk8_weigh(t, tile, i, d0, false, true, &v);
            } else {
                chunk8_weigh(t, tile, i, d0, is_first, is_seen, &v);
            }
        }
        uint32_t segment = tile0 / SEGMENT_TILES;
        bool is_last = tile0 + n_tiles == t->c.n_tiles;
        if (is_last || (tile0 + n_tiles) % SEGMENT_TILES == 0) {
            chunk8_store(t, segment, is_last, d0, &v);
            chunk_store_sums(&t->c, segment, &sums);
        }
        barrier();
    }
}

/* n: of a head, a constant; 0: any. */
DEVICE void chunk8(const struct hip_attention_args *a, uint32_t n)
{
    struct chunk8 t;
    uint32_t n_c = n == 0 ? 8 : n / 32;
    launch_next();
    wait_previous();
    n = n == 0 ? a->head_dim : n;
    if (!chunk_begin(a, n, &t.c)) {
        return;
    }
    t.q_words = (n + 31) / 32 * 8 + 8;
    t.q = (uint32_t *)SHARED_MEMORY;
    t.q_scale = (float *)(void *)(t.q + a->queries * 2 * t.q_words);
    t.c.totals = t.q_scale + a->queries;
    t.rows = t.c.totals + 4 * a->queries;
    t.c.meta = t.rows + ROW_META;
    t.c.meta_query = CHUNK8_ROW;
    t.c.meta_tile = CHUNK8_ROW * a->queries;
    uint32_t queries = least_u32(a->queries, CHUNK8_QUERIES);
    for (uint32_t k = 0; k < t.c.g.n_rows * a->n_shared; k += queries) {
        chunk_queries(&t.c, k, queries);
        t.n_m = (t.c.n_queries + 15) / 16;
        chunk8_split(&t);
        barrier();
        NO_UNROLL for (uint32_t d0 = 0; d0 < n; d0 += CHUNK_DIMS)
        {
            chunk8_segments(&t, d0, n_c);
        }
    }
    chunk_end(&t.c, t.rows);
}

KERNEL_BLOCKS(attention8, attention, CHUNK_THREADS, CHUNK8_BLOCKS)
{
    chunk8(&a, 0);
}

KERNEL_BLOCKS(attention8_128, attention, CHUNK_THREADS, CHUNK8_BLOCKS)
{
    chunk8(&a, 128);
}
