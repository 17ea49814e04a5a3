/* SPDX-License-Identifier: MIT */
/* What the attention kernels share: 15-bit numbers, the factors with which partial sums are merged, and
 * the end of a group that several blocks have computed. */
#ifndef HALO_KERNELS_HIP_ATTENTION_H
#define HALO_KERNELS_HIP_ATTENTION_H

#include "kernels/hip/device.h"

enum {
    SEGMENT_TILES = 8, /* ATTENTION_SEGMENT */
    SUMS_ACC = 8, /* ATTENTION_SUMS_ACC */
};

#define X15_TINY 0x1p-100f
#define X15_TOP 16256.0f
#define MINUS_INF f32_of_bits(0xff800000)

DEVICE int32_t x15(float x, float inv, float low)
{
    float v = x * inv;
    v = v > low ? v : low;
    v = v < X15_TOP ? v : X15_TOP;
    return (int32_t)((v + 0x1.8p+23f) - 0x1.8p+23f);
}

/* Merging takes the sums before times e plus the next times e2. A lane has the m of one of `most` partial sums in
 * order, 8 or 16, and lanes from `most` on have them again; `before` is the largest of those ahead of lane 0.
 * The largest up to lane i does not depend on the order in which it is found, so all factors of a wave are
 * there at once. Returns the largest of all. */
struct factors {
    float e, e2;
};

DEVICE float merge_factors(float m, float before, uint32_t most, struct factors *f)
{
    uint32_t lane = thread_id() % WAVE;
    float all = m;
    float ahead = before;
    float o = lane_xor_f32(all, 1);
    ahead = (lane & 1) != 0 ? larger_f32(ahead, o) : ahead;
    all = larger_f32(all, o);
    o = lane_xor_f32(all, 2);
    ahead = (lane & 2) != 0 ? larger_f32(ahead, o) : ahead;
    all = larger_f32(all, o);
    o = lane_xor_f32(all, 4);
    ahead = (lane & 4) != 0 ? larger_f32(ahead, o) : ahead;
    all = larger_f32(all, o);
    if (most > 8) {
        o = lane_xor_f32(all, 8);
        ahead = (lane & 8) != 0 ? larger_f32(ahead, o) : ahead;
        all = larger_f32(all, o);
    }
    float upto = larger_f32(ahead, m);
    f->e = exp_f32(ahead - upto);
    f->e2 = exp_f32(m - upto);
    return larger_f32(before, all);
}

DEVICE float *sums_at(const struct hip_attention_args *a, uint32_t sums_row, uint32_t head,
                      uint32_t segment)
{
    size_t stride = SUMS_ACC + (a->head_dim + 7) / 8 * 8;
    return a->sums + (((size_t)sums_row * a->n_heads + head) * a->max_segments + segment) * stride;
}

/* True for the last of n blocks of 'which' to come here with its sums stored; all threads come. `word` is in
 * shared memory. */
DEVICE bool is_last_block(const struct hip_attention_args *a, uint32_t which, uint32_t n,
                          uint32_t *word)
{
    fence_release();
    barrier();
    if (thread_id() == 0) {
        uint32_t was = add_global(a->arrivals + which, 1);
        *word = was;
        if (was == n - 1) {
            a->arrivals[which] = 0; /* for the next launch */
        }
    }
    barrier();
    bool is_last = *word == n - 1;
    if (is_last) {
        fence_acquire();
    }
    return is_last;
}

enum { JOIN_DIMS = 64 }; /* that a wave joins */

/* Merges the n segments of a query into out, JOIN_DIMS dimensions from d0 on, by one wave; 64 floats of shared
 * memory are its own. */
DEVICE void join_segments(const float *sums, uint32_t n, uint32_t head_dim, uint32_t d0,
                          float *shared, float *out)
{
    enum { AT_ONCE = 16, LOADS = 8, OWN = JOIN_DIMS / WAVE };
    uint32_t lane = thread_id() % WAVE;
    uint32_t mine = lane % AT_ONCE;
    size_t stride = SUMS_ACC + (head_dim + 7) / 8 * 8;
    struct factors *factors = (struct factors *)(void *)shared;
    float acc[OWN] = {0};
    float l = 0.0f;
    float m = MINUS_INF;
    for (uint32_t s0 = 0; s0 < n; s0 += AT_ONCE) {
        struct factors f;
        const float *first = sums + s0 * stride;
        bool is_mine = s0 + mine < n;
        m = merge_factors(is_mine ? first[mine * stride] : MINUS_INF, m, AT_ONCE, &f);
        factors[lane] = f;
        lane_sync();
        NO_UNROLL for (uint32_t i0 = 0; i0 < AT_ONCE && s0 + i0 < n; i0 += LOADS)
        {
            float next[LOADS][OWN + 1];
            UNROLL for (uint32_t i = 0; i < LOADS; i++)
            {
                const float *from = first + least_u32(i0 + i, n - 1 - s0) * stride;
                next[i][OWN] = from[1];
                UNROLL for (uint32_t o = 0; o < OWN; o++)
                {
                    uint32_t d = d0 + lane + o * WAVE;
                    next[i][o] = d < head_dim ? from[SUMS_ACC + d] : 0.0f;
                }
            }
            UNROLL for (uint32_t i = 0; i < LOADS; i++)
            {
                bool is_first = s0 + i0 + i == 0;
                bool is_there = s0 + i0 + i < n;
                f = factors[i0 + i];
                float sum = is_first ? next[i][OWN] : fma_f32(l, f.e, next[i][OWN] * f.e2);
                l = is_there ? sum : l;
                UNROLL for (uint32_t o = 0; o < OWN; o++)
                {
                    sum = is_first ? next[i][o] : fma_f32(acc[o], f.e, next[i][o] * f.e2);
                    acc[o] = is_there ? sum : acc[o];
                }
            }
        }
        lane_sync();
    }
    UNROLL for (uint32_t o = 0; o < OWN; o++)
    {
        uint32_t d = d0 + lane + o * WAVE;
        if (d < head_dim) {
            out[d] = acc[o] / l;
        }
    }
}

#endif
