/* SPDX-License-Identifier: MIT */
/* What attention and attention8 share: a block has up to 64 queries of a group of several rows (rows times
 * the heads that share the KV head) and goes over their tiles by four. What belongs to a query and a tile
 * lies in eight floats of shared memory ("meta"): m, l, and how the tile is merged. */
#ifndef HALO_KERNELS_HIP_ATTENTION_CHUNK_H
#define HALO_KERNELS_HIP_ATTENTION_CHUNK_H

#include "kernels/hip/attention.h"

enum {
    CHUNK_THREADS = 128,
    CHUNK_TILES = 4, /* at a time */
    CHUNK_DIMS = 128, /* of the values at a time */
    META_FACTORS = 4, /* struct chunk_factors, behind m and l */
};

struct chunk {
    const struct hip_attention_args *a;
    struct hip_group g;
    uint32_t n; /* of a head */
    uint32_t kv_head, query0, n_queries;
    uint32_t n_tiles; /* of the last query */
    uint32_t first, end; /* segments */
    float *meta;
    uint32_t meta_query, meta_tile; /* floats from one to the next */
    float *
        totals; /* [queries][4]: factors of the total and the segment, l, whether there is a segment */
};

/* What a query's merges are at; a thread has one. */
struct chunk_sums {
    float m, l; /* of the segment */
    float total_m, total_l;
};

/* A tile's values count times `scale`. */
struct chunk_factors {
    float scale, e, e2;
    float is_there;
};

DEVICE uint32_t chunk_positions(const struct chunk *t, uint32_t k)
{
    return t->g.pos0 + (t->query0 + k) / t->a->n_shared + 1;
}

/* Positions of a tile that a query sees. */
DEVICE uint32_t chunk_present(const struct chunk *t, uint32_t k, uint32_t tile)
{
    uint32_t n = chunk_positions(t, k);
    return k >= t->n_queries || n <= tile * WAVE ? 0 : least_u32(n - tile * WAVE, WAVE);
}

/* Where the query's values lie in q and out. */
DEVICE size_t chunk_at(const struct chunk *t, uint32_t k)
{
    uint32_t row = (t->query0 + k) / t->a->n_shared;
    uint32_t head = t->kv_head * t->a->n_shared + (t->query0 + k) - row * t->a->n_shared;
    return ((size_t)(t->g.row0 + row) * t->a->n_heads + head) * t->n;
}

DEVICE const uint8_t *chunk_part(const struct chunk *t, uint32_t tile)
{
    const struct hip_attention_args *a = t->a;
    uint32_t block = a->table[t->g.first_block + tile];
    return a->cache + block * a->block_bytes + a->layer_offset + (size_t)t->kv_head * a->part_bytes;
}

/* i_tile: of the four. */
DEVICE float *chunk_meta(const struct chunk *t, uint32_t i_tile, uint32_t k)
{
    return t->meta + i_tile * t->meta_tile + k * t->meta_query;
}

DEVICE struct chunk_factors chunk_factors(const struct chunk *t, uint32_t i_tile, uint32_t k)
{
    const float *from = chunk_meta(t, i_tile, k) + META_FACTORS;
    const struct quad q = *(const struct quad *)(const void *)from;
    return (struct chunk_factors){f32_of_bits(q.w[0]), f32_of_bits(q.w[1]), f32_of_bits(q.w[2]),
                                  f32_of_bits(q.w[3])};
}

/* False: nothing is to be done here. Blocks of the longest groups come first, mostly. */
DEVICE bool chunk_begin(const struct hip_attention_args *a, uint32_t n, struct chunk *t)
{
    uint32_t n_groups = a->step->n_groups;
    t->a = a;
    t->n = n;
    if (block_y() >= n_groups) {
        return false;
    }
    t->g = a->groups[n_groups - 1 - block_y()];
    t->kv_head = block_x();
    uint32_t n_segments = (t->g.pos0 + t->g.n_rows - 1) / (SEGMENT_TILES * WAVE) + 1;
    bool has_sums = t->g.sums_row != HIP_NO_SUMS;
    t->first = block_z();
    t->end = has_sums ? t->first + 1 : n_segments;
    return t->g.n_rows > 1 && t->first < (has_sums ? n_segments : 1);
}

DEVICE void chunk_queries(struct chunk *t, uint32_t query0, uint32_t most)
{
    t->query0 = query0;
    t->n_queries = least_u32(t->g.n_rows * t->a->n_shared - query0, most);
    t->n_tiles = (chunk_positions(t, t->n_queries - 1) + WAVE - 1) / WAVE;
}

/* The merges of a query's tiles in order, by one thread; where a segment ends, those of the total. */
DEVICE void chunk_merge(const struct chunk *t, uint32_t tile0, uint32_t n_tiles, uint32_t k,
                        struct chunk_sums *s)
{
    bool has_any = chunk_present(t, k, tile0 / SEGMENT_TILES * SEGMENT_TILES) > 0;
    UNROLL for (uint32_t i = 0; i < CHUNK_TILES; i++)
    {
        if (i < n_tiles) {
            float *meta = chunk_meta(t, i, k);
            float m2 = meta[0];
            float l2 = meta[1];
            bool is_there = chunk_present(t, k, tile0 + i) > 0;
            bool is_first = (tile0 + i) % SEGMENT_TILES == 0;
            float m = m2 > s->m ? m2 : s->m;
            float e = exp_f32(s->m - m);
            float e2 = exp_f32(m2 - m);
            float l = fma_f32(s->l, e, l2 * e2);
            if (is_there) {
                s->m = is_first ? m2 : m;
                s->l = is_first ? l2 : l;
            }
            meta[META_FACTORS + 1] = e;
            meta[META_FACTORS + 2] = e2;
            meta[META_FACTORS + 3] = is_there ? 1.0f : 0.0f;
        }
    }
    uint32_t end = tile0 + n_tiles;
    if (end % SEGMENT_TILES != 0 && end != t->n_tiles) {
        return;
    }
    bool is_first = end <= SEGMENT_TILES;
    float m = s->m > s->total_m ? s->m : s->total_m;
    float e = exp_f32(s->total_m - m);
    float e2 = exp_f32(s->m - m);
    float l = fma_f32(s->total_l, e, s->l * e2);
    if (has_any) {
        s->total_m = is_first ? s->m : m;
        s->total_l = is_first ? s->l : l;
    }
    t->totals[4 * k] = e;
    t->totals[4 * k + 1] = e2;
    t->totals[4 * k + 2] = s->total_l;
    t->totals[4 * k + 3] = has_any ? 1.0f : 0.0f;
}

/* Where a query's values of a segment go. */
DEVICE float *chunk_target(const struct chunk *t, uint32_t k, uint32_t segment)
{
    if (t->g.sums_row == HIP_NO_SUMS) {
        return t->a->out + chunk_at(t, k);
    }
    uint32_t row = (t->query0 + k) / t->a->n_shared;
    uint32_t head = t->kv_head * t->a->n_shared + (t->query0 + k) - row * t->a->n_shared;
    return sums_at(t->a, (uint32_t)t->g.sums_row + row, head, segment) + SUMS_ACC;
}

/* One value of a segment: into the sums, or merged with the total that lies in `out` in the meantime, always
 * by the same thread. f: the query's totals. */
DEVICE void chunk_store(const struct chunk *t, const float *f, uint32_t segment, bool is_last,
                        float sum, float *to)
{
    if (t->g.sums_row == HIP_NO_SUMS) {
        if (segment > 0) {
            float was = *to;
            sum = f[3] > 0.0f ? fma_f32(was, f[0], sum * f[1]) : was;
        }
        sum = is_last ? sum / f[2] : sum;
    }
    *to = sum;
}

/* m and l of the segment, where it goes into the sums; all threads, each with its query's. */
DEVICE void chunk_store_sums(const struct chunk *t, uint32_t segment, const struct chunk_sums *s)
{
    if (t->g.sums_row != HIP_NO_SUMS && thread_id() < t->n_queries) {
        float *to = chunk_target(t, thread_id(), segment) - SUMS_ACC;
        to[0] = s->m;
        to[1] = s->l;
    }
}

/* The last block of a group with sums merges them; `shared` are 256 floats. */
DEVICE void chunk_end(const struct chunk *t, float *shared)
{
    const struct hip_attention_args *a = t->a;
    uint32_t which = (uint32_t)t->g.sums_row * a->n_kv_heads + t->kv_head;
    uint32_t n_segments = (t->g.pos0 + t->g.n_rows - 1) / (SEGMENT_TILES * WAVE) + 1;
    if (t->g.sums_row == HIP_NO_SUMS ||
        !is_last_block(a, which, n_segments, (uint32_t *)(void *)t->totals)) {
        return;
    }
    uint32_t parts = (t->n + JOIN_DIMS - 1) / JOIN_DIMS;
    uint32_t wave = thread_id() / WAVE;
    for (uint32_t i = wave; i < t->g.n_rows * a->n_shared * parts; i += CHUNK_THREADS / WAVE) {
        uint32_t row = i / parts / a->n_shared;
        uint32_t head = t->kv_head * a->n_shared + i / parts % a->n_shared;
        uint32_t n = (t->g.pos0 + row) / (SEGMENT_TILES * WAVE) + 1;
        join_segments(sums_at(a, (uint32_t)t->g.sums_row + row, head, 0), n, t->n,
                      i % parts * JOIN_DIMS, shared + wave * (2 * WAVE),
                      a->out + ((size_t)(t->g.row0 + row) * a->n_heads + head) * t->n);
    }
}

#endif
