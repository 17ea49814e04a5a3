/* SPDX-License-Identifier: MIT */
/* attention, attention8, attention_join: kernels/attention's definition in its own tiles and order.
 *
 * A block of eight waves computes a segment: wave w its tile w of 32 positions, for four queries at a time
 * (rows of a group times the heads that share the KV head). Scores: a lane is a position, K lies transposed,
 * so each dimension is one load of 64 bytes (f16) a wave for four fma. Weighted values: a lane has
 * four dimensions, and the positions come in order. The tiles are merged in order by threads that each
 * have dimensions of their own, which keep a row's total in registers where the block goes on to the next
 * segment; else the segment goes to the sums, and attention_join merges those.
 *
 * Bytes (2B-4T, one row at 8192 positions, f16): 5 KV heads x 4 MB = 21 MB a layer, 0.63 GB a token; K and V
 * are read once for four queries. Instructions (gfx1151): about 3 a byte of K and 5 of V, of 7.4 T/s that 40
 * CUs issue: 1.8 TB/s of the cache, 7 times what memory gives, so bytes bind. In prefill arithmetic binds:
 * 2 x 20 x 128 fma a position, 10.5 M a token at 2048 and layer. int8 halves the bytes and does four products
 * an instruction, twice (15 bits). Never run. */
#include "kernels/hip/attention.h"

enum {
    ATTENTION_THREADS = 256,
    ATTENTION_TILES = ATTENTION_THREADS / WAVE, /* of a segment */
    ATTENTION_QUERIES = 4, /* at a time */
    ATTENTION_HEAD_DIM = 256, /* at most */
    ATTENTION_SHARE = ATTENTION_THREADS / ATTENTION_QUERIES, /* threads that merge a query */
    ATTENTION_OWN = ATTENTION_HEAD_DIM / ATTENTION_SHARE, /* dimensions of each of them */
};

/* m, l, and acc of a thread's dimensions: d0, d0 + ATTENTION_SHARE, ... below n. */
struct partial {
    float m, l;
    float acc[ATTENTION_OWN];
};

/* acc[o] is at from[o * ATTENTION_SHARE]. */
DEVICE void merge(struct partial *into, float m2, float l2, const float *from, uint32_t n_own,
                  bool is_first)
{
    if (is_first) {
        into->m = m2;
        into->l = l2;
        UNROLL for (uint32_t o = 0; o < ATTENTION_OWN; o++)
        {
            if (o < n_own) {
                into->acc[o] = from[o * ATTENTION_SHARE];
            }
        }
        return;
    }
    float m = m2 > into->m ? m2 : into->m;
    float e = exp_f32(into->m - m);
    float e2 = exp_f32(m2 - m);
    UNROLL for (uint32_t o = 0; o < ATTENTION_OWN; o++)
    {
        if (o < n_own) {
            into->acc[o] = fma_f32(into->acc[o], e, from[o * ATTENTION_SHARE] * e2);
        }
    }
    into->l = fma_f32(into->l, e, l2 * e2);
    into->m = m;
}

DEVICE void clear(struct partial *p)
{
    p->m = 0.0f;
    p->l = 0.0f;
    UNROLL for (uint32_t o = 0; o < ATTENTION_OWN; o++)
    {
        p->acc[o] = 0.0f;
    }
}

/* How many dimensions of n a thread has that begins at d0. */
DEVICE uint32_t own_of(uint32_t n, uint32_t d0)
{
    return d0 < n ? (n - d0 - 1) / ATTENTION_SHARE + 1 : 0;
}

/* Four queries of a group, and where a block's shared memory is. */
struct attend {
    const struct hip_attention_args *a;
    struct hip_group g;
    uint32_t n_shared; /* heads of a KV head */
    uint32_t kv_head;
    uint32_t query0, n_queries; /* of the group's rows * n_shared */
    float *q; /* [queries][head_dim], as they are, or hi and lo bytes and a */
    float *p; /* [tiles][queries][32] */
    float *tiles; /* [queries][tiles][head_dim + 2]: m, l, acc */
};

/* Positions that query k of the four sees. */
DEVICE uint32_t positions_of(const struct attend *t, uint32_t k)
{
    return t->g.pos0 + (t->query0 + k) / t->n_shared + 1;
}

DEVICE uint32_t present_of(const struct attend *t, uint32_t k, uint32_t tile)
{
    uint32_t n = positions_of(t, k);
    return k >= t->n_queries || n <= tile * WAVE ? 0 : least_u32(n - tile * WAVE, WAVE);
}

DEVICE const float *query_at(const struct attend *t, uint32_t k)
{
    uint32_t row = t->g.row0 + (t->query0 + k) / t->n_shared;
    uint32_t head = t->kv_head * t->n_shared + (t->query0 + k) % t->n_shared;
    return t->a->q + ((size_t)row * t->a->n_heads + head) * t->a->head_dim;
}

/* ---- f16 ---- */

DEVICE void old_scores_f16(const struct attend *t, const uint8_t *part, float *s)
{
    const uint16_t *keys = (const uint16_t *)(const void *)part + thread_id() % WAVE;
    uint32_t n = t->a->head_dim;
    for (uint32_t d = 0; d < n; d += 4) {
        float key[4];
        UNROLL for (uint32_t i = 0; i < 4; i++)
        {
            key[i] = f32_of_f16(keys[(d + i) * WAVE]);
        }
        UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
        {
            UNROLL for (uint32_t i = 0; i < 4; i++)
            {
                s[k] = fma_f32(t->q[k * n + d + i], key[i], s[k]);
            }
        }
    }
    UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
    {
        s[k] = t->a->scale * s[k];
    }
}

DEVICE void old_weigh_f16(const struct attend *t, const uint8_t *part, const uint32_t *present,
                          float *const *to)
{
    uint32_t n = t->a->head_dim;
    const float *p = t->p + thread_id() / WAVE * (ATTENTION_QUERIES * WAVE);
    const uint16_t *values = (const uint16_t *)(const void *)part + WAVE * n;
    for (uint32_t d = thread_id() % WAVE * 4; d < n; d += 4 * WAVE) {
        float acc[ATTENTION_QUERIES][4] = {{0}};
        uint32_t most = 0;
        UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
        {
            most = present[k] > most ? present[k] : most;
        }
        for (uint32_t i = 0; i < most; i++) {
            uint16_t half[4];
            __builtin_memcpy(half, __builtin_assume_aligned(values + i * n + d, 8), sizeof half);
            UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
            {
                float w = p[k * WAVE + i];
                UNROLL for (uint32_t j = 0; j < 4; j++)
                {
                    float next = fma_f32(w, f32_of_f16(half[j]), acc[k][j]);
                    acc[k][j] = i < present[k] ? next : acc[k][j];
                }
            }
        }
        UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
        {
            UNROLL for (uint32_t j = 0; j < 4; j++)
            {
                to[k][d + j] = acc[k][j];
            }
        }
    }
}

/* ---- int8 ---- */

/* In shared memory for each query: head_dim bytes hi, head_dim bytes lo, with Q = 128 hi + lo; the
 * largest |q| at [head_dim / 2]. A wave does one query. */
DEVICE void old_split_query(const struct attend *t, uint32_t k)
{
    uint32_t n = t->a->head_dim;
    uint32_t lane = thread_id() % WAVE;
    const float *from = query_at(t, k);
    uint32_t *words = (uint32_t *)(void *)(t->q + k * n);
    float most = X15_TINY;
    for (uint32_t d = lane; d < n; d += WAVE) {
        most = larger_f32(most, magnitude_f32(from[d]));
    }
    most = wave_max_f32(most);
    float inv = X15_TOP / most;
    for (uint32_t i = lane; i < n / 4; i += WAVE) {
        uint32_t high = 0;
        uint32_t low = 0;
        UNROLL for (uint32_t j = 0; j < 4; j++)
        {
            int32_t v = x15(from[4 * i + j], inv, -X15_TOP);
            int32_t lo = ((v + 64) & 127) - 64;
            high |= (uint32_t)((v - lo) / 128 & 255) << 8 * j;
            low |= (uint32_t)(lo & 255) << 8 * j;
        }
        words[i] = high;
        words[n / 4 + i] = low;
    }
    if (lane == 0) {
        t->q[k * n + n / 2] = most;
    }
}

DEVICE void old_scores_int8(const struct attend *t, const uint8_t *part, float *s)
{
    uint32_t n = t->a->head_dim;
    uint32_t lane = thread_id() % WAVE;
    const uint32_t *keys = (const uint32_t *)(const void *)part + lane;
    float key_scale = ((const float *)(const void *)(part + 2 * WAVE * n))[lane];
    int32_t high[ATTENTION_QUERIES] = {0};
    int32_t low[ATTENTION_QUERIES] = {0};
    for (uint32_t i = 0; i < n / 4; i++) {
        uint32_t key = keys[i * WAVE];
        UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
        {
            const uint32_t *words = (const uint32_t *)(const void *)(t->q + k * n);
            high[k] = dot4(words[i], key, high[k]);
            low[k] = dot4(words[n / 4 + i], key, low[k]);
        }
    }
    UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
    {
        float most = t->q[k * n + n / 2];
        s[k] = ((float)(128 * high[k] + low[k]) * key_scale) * (most / X15_TOP * t->a->scale);
    }
}

/* The weights of a tile lie in p as [queries][hi 32 bytes, lo 32 bytes, ..], W = 128 hi + lo. */
DEVICE void old_weigh_int8(const struct attend *t, const uint8_t *part, const float *p_of_lane,
                           const uint32_t *present, float *const *to)
{
    uint32_t n = t->a->head_dim;
    uint32_t lane = thread_id() % WAVE;
    float value_scale = ((const float *)(const void *)(part + 2 * WAVE * n))[WAVE + lane];
    float *p = t->p + thread_id() / WAVE * (ATTENTION_QUERIES * WAVE);
    float most[ATTENTION_QUERIES];
    UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
    {
        bool is_present = lane < present[k];
        float w = p_of_lane[k] * value_scale;
        most[k] = is_present ? larger_f32(X15_TINY, magnitude_f32(w)) : X15_TINY;
        most[k] = wave_max_f32(most[k]);
        int32_t v = is_present ? x15(w, X15_TOP / most[k], 0.0f) : 0;
        uint8_t *bytes = (uint8_t *)(void *)(p + k * WAVE);
        bytes[lane] = (uint8_t)(v >> 7);
        bytes[WAVE + lane] = (uint8_t)(v & 127);
    }
    lane_sync();
    const uint32_t *values = (const uint32_t *)(const void *)(part + WAVE * n);
    for (uint32_t d = lane; d < n; d += WAVE) {
        int32_t high[ATTENTION_QUERIES] = {0};
        int32_t low[ATTENTION_QUERIES] = {0};
        for (uint32_t i = 0; i < WAVE / 4; i++) {
            uint32_t value = values[i * n + d];
            UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
            {
                const uint32_t *words = (const uint32_t *)(const void *)(p + k * WAVE);
                high[k] = dot4(words[i], value, high[k]);
                low[k] = dot4(words[WAVE / 4 + i], value, low[k]);
            }
        }
        UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
        {
            to[k][d] = (float)(128 * high[k] + low[k]) * (most[k] / X15_TOP);
        }
    }
}

/* ---- both ---- */

/* One tile of the four queries by one wave. */
DEVICE void attend_tile(const struct attend *t, uint32_t tile, bool is_int8)
{
    const struct hip_attention_args *a = t->a;
    uint32_t wave = thread_id() / WAVE;
    uint32_t lane = thread_id() % WAVE;
    uint32_t present[ATTENTION_QUERIES];
    float s[ATTENTION_QUERIES] = {0};
    float *to[ATTENTION_QUERIES];
    uint32_t block = a->table[t->g.first_block + tile];
    const uint8_t *part =
        a->cache + block * a->block_bytes + a->layer_offset + (size_t)t->kv_head * a->part_bytes;
    if (is_int8) {
        old_scores_int8(t, part, s);
    } else {
        old_scores_f16(t, part, s);
    }
    UNROLL for (uint32_t k = 0; k < ATTENTION_QUERIES; k++)
    {
        float minus_inf = f32_of_bits(0xff800000);
        present[k] = present_of(t, k, tile);
        bool is_present = lane < present[k];
        float m = wave_max_f32(is_present && s[k] > minus_inf ? s[k] : minus_inf);
        s[k] = is_present ? exp_f32(s[k] - m) : 0.0f;
        float l = wave_add_f32(s[k]);
        float *sums = t->tiles + (k * ATTENTION_TILES + wave) * (a->head_dim + 2);
        to[k] = sums + 2;
        if (lane == 0) {
            sums[0] = m;
            sums[1] = l;
        }
        if (!is_int8) {
            t->p[(wave * ATTENTION_QUERIES + k) * WAVE + lane] = s[k];
        }
    }
    if (is_int8) {
        old_weigh_int8(t, part, s, present, to);
    } else {
        lane_sync();
        old_weigh_f16(t, part, present, to);
    }
}

DEVICE void merge_partial(struct partial *into, const struct partial *next, bool is_first)
{
    if (is_first) {
        *into = *next;
        return;
    }
    float m = next->m > into->m ? next->m : into->m;
    float e = exp_f32(into->m - m);
    float e2 = exp_f32(next->m - m);
    UNROLL for (uint32_t o = 0; o < ATTENTION_OWN; o++)
    {
        into->acc[o] = fma_f32(into->acc[o], e, next->acc[o] * e2);
    }
    into->l = fma_f32(into->l, e, next->l * e2);
    into->m = m;
}

DEVICE void store_sums(const struct attend *t, uint32_t k, uint32_t segment, uint32_t d0,
                       uint32_t n_own, const struct partial *sum)
{
    uint32_t row = (t->query0 + k) / t->n_shared;
    uint32_t head = t->kv_head * t->n_shared + (t->query0 + k) % t->n_shared;
    float *to = sums_at(t->a, (uint32_t)t->g.sums_row + row, head, segment);
    UNROLL for (uint32_t o = 0; o < ATTENTION_OWN; o++)
    {
        if (o < n_own) {
            to[SUMS_ACC + d0 + o * ATTENTION_SHARE] = sum->acc[o];
        }
    }
    if (d0 == 0) {
        to[0] = sum->m;
        to[1] = sum->l;
    }
}

/* Four queries: segments first..end, into sums or a total. */
DEVICE void attend(const struct attend *t, uint32_t first, uint32_t end, bool is_int8)
{
    const struct hip_attention_args *a = t->a;
    uint32_t n = a->head_dim;
    uint32_t k = thread_id() / ATTENTION_SHARE; /* the query that this thread merges */
    uint32_t d0 = thread_id() % ATTENTION_SHARE;
    uint32_t n_own = own_of(n, d0);
    uint32_t n_tiles = k < t->n_queries ? (positions_of(t, k) + WAVE - 1) / WAVE : 0;
    uint32_t n_tiles_all = (positions_of(t, t->n_queries - 1) + WAVE - 1) / WAVE;
    const float *tiles = t->tiles + k * ATTENTION_TILES * (n + 2);
    struct partial total;
    clear(&total);
    for (uint32_t segment = first; segment < end; segment++) {
        uint32_t tile0 = segment * ATTENTION_TILES;
        if (tile0 + thread_id() / WAVE < n_tiles_all) {
            attend_tile(t, tile0 + thread_id() / WAVE, is_int8);
        }
        barrier();
        if (n_tiles > tile0) {
            struct partial sum;
            clear(&sum);
            for (uint32_t i = 0; i < least_u32(n_tiles - tile0, ATTENTION_TILES); i++) {
                const float *from = tiles + i * (n + 2);
                merge(&sum, from[0], from[1], from + 2 + d0, n_own, i == 0);
            }
            if (t->g.sums_row == HIP_NO_SUMS) {
                merge_partial(&total, &sum, segment == 0);
            } else {
                store_sums(t, k, segment, d0, n_own, &sum);
            }
        }
        barrier();
    }
    if (t->g.sums_row == HIP_NO_SUMS && k < t->n_queries) {
        float *out = a->out + (query_at(t, k) - a->q) + d0;
        UNROLL for (uint32_t o = 0; o < ATTENTION_OWN; o++)
        {
            if (o < n_own) {
                out[o * ATTENTION_SHARE] = total.acc[o] / total.l;
            }
        }
    }
}

DEVICE void attend_group(const struct hip_attention_args *a, bool is_int8)
{
    if (block_x() >= a->step->n_groups) {
        return;
    }
    struct attend t;
    t.a = a;
    t.g = a->groups[block_x()];
    if (t.g.n_rows == 1) {
        return;
    }
    t.kv_head = block_y();
    t.n_shared = a->n_heads / a->n_kv_heads;
    t.q = (float *)SHARED_MEMORY;
    t.p = t.q + ATTENTION_QUERIES * a->head_dim;
    t.tiles = t.p + ATTENTION_TILES * ATTENTION_QUERIES * WAVE;
    uint32_t n_segments =
        (t.g.pos0 + t.g.n_rows + ATTENTION_TILES * WAVE - 1) / (ATTENTION_TILES * WAVE);
    uint32_t first = block_z();
    uint32_t end = first + 1;
    if (t.g.sums_row == HIP_NO_SUMS) {
        end = first == 0 ? n_segments : 0;
    }
    if (first >= n_segments || first >= end) {
        return;
    }
    uint32_t n_all = t.g.n_rows * t.n_shared;
    for (t.query0 = 0; t.query0 < n_all; t.query0 += ATTENTION_QUERIES) {
        t.n_queries = least_u32(n_all - t.query0, ATTENTION_QUERIES);
        if (is_int8) {
            uint32_t k = thread_id() / WAVE;
            if (k < t.n_queries) {
                old_split_query(&t, k);
            }
        } else {
            for (uint32_t i = thread_id(); i < t.n_queries * a->head_dim; i += ATTENTION_THREADS) {
                t.q[i] = query_at(&t, i / a->head_dim)[i % a->head_dim];
            }
        }
        barrier();
        attend(&t, first, end, is_int8);
    }
}

KERNEL(attention, attention, ATTENTION_THREADS)
{
    attend_group(&a, false);
}

KERNEL(attention8, attention, ATTENTION_THREADS)
{
    attend_group(&a, true);
}

KERNEL(attention_join, attention, ATTENTION_THREADS)
{
    if (block_x() >= a.step->n_groups || a.groups[block_x()].sums_row == HIP_NO_SUMS) {
        return;
    }
    const struct hip_group g = a.groups[block_x()];
    if (g.n_rows == 1) {
        return;
    }
    uint32_t head = block_y();
    uint32_t d0 = thread_id() % ATTENTION_SHARE;
    uint32_t n_own = own_of(a.head_dim, d0);
    for (uint32_t row = thread_id() / ATTENTION_SHARE; row < g.n_rows; row += ATTENTION_QUERIES) {
        uint32_t n_positions = g.pos0 + row + 1;
        uint32_t per_segment = ATTENTION_TILES * WAVE;
        struct partial total;
        clear(&total);
        for (uint32_t s = 0; s < (n_positions + per_segment - 1) / per_segment; s++) {
            const float *from = sums_at(&a, (uint32_t)g.sums_row + row, head, s);
            merge(&total, from[0], from[1], from + SUMS_ACC + d0, n_own, s == 0);
        }
        float *out = a.out + ((size_t)(g.row0 + row) * a.n_heads + head) * a.head_dim + d0;
        UNROLL for (uint32_t o = 0; o < ATTENTION_OWN; o++)
        {
            if (o < n_own) {
                out[o * ATTENTION_SHARE] = total.acc[o] / total.l;
            }
        }
    }
}
