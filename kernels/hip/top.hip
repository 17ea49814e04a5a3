/* SPDX-License-Identifier: MIT */
/* top_chunk, top_one, top_merge: the largest logits of a row, the lowest id first among equals.
 *
 * A logit and its id are one 64-bit key that sorts in that order: the float's bits made monotonic (-0 as +0,
 * NaN lowest), then the complement of the id. A block finds the n_top largest keys of 1024 logits: their maximum
 * where one is wanted, else all sorted (bitonic, 55 steps). The second kernel does the same with what is left,
 * 1024 keys at a time. Where one is wanted of every row, top_one takes 8192 logits a block. A draw is the largest
 * logit with noise (kernels/gumbel).
 * H200, 2026-11, tests/gpu/run: 64 rows of 128256: top_chunk 33 us; top_one 14 us (bytes: 8); top_merge 3 us. */
#include "kernels/hip/noise.h"

enum { TOP_THREADS = HIP_TOP_CHUNK / 2 };

DEVICE uint64_t key_of(float logit, uint32_t id)
{
    uint32_t u = logit == 0.0f ? 0 : bits_of_f32(logit);
    u = u >> 31 ? ~u : u | 0x80000000U;
    u = logit != logit ? 0 : u;
    return (uint64_t)u << 32 | (uint32_t)~id;
}

DEVICE uint32_t id_of(uint64_t key)
{
    return ~(uint32_t)key;
}

/* Largest first. */
DEVICE void sort_keys(uint64_t *keys)
{
    for (uint32_t width = 2; width <= HIP_TOP_CHUNK; width *= 2) {
        for (uint32_t h = width / 2; h > 0; h /= 2) {
            barrier();
            uint32_t t = thread_id();
            uint32_t i = (t & ~(h - 1)) * 2 + (t & (h - 1));
            bool is_falling = (i & width) == 0;
            uint64_t u = keys[i];
            uint64_t v = keys[i + h];
            if ((u < v) == is_falling) {
                keys[i] = v;
                keys[i + h] = u;
            }
        }
    }
    barrier();
}

DEVICE uint64_t larger_key(uint64_t u, uint64_t v)
{
    return u > v ? u : v;
}

#define lane_xor_u64(v, mask)                                                                      \
    ((uint64_t)lane_xor_u32((uint32_t)((v) >> 32), mask) << 32 | lane_xor_u32((uint32_t)(v), mask))

/* The largest of all threads' keys, in `keys[0]` after a barrier. */
DEVICE void largest_key(uint64_t key, uint64_t *keys)
{
    key = larger_key(key, lane_xor_u64(key, 16));
    key = larger_key(key, lane_xor_u64(key, 8));
    key = larger_key(key, lane_xor_u64(key, 4));
    key = larger_key(key, lane_xor_u64(key, 2));
    key = larger_key(key, lane_xor_u64(key, 1));
    if (thread_id() % WAVE == 0) {
        keys[thread_id() / WAVE] = key;
    }
    barrier();
    if (thread_id() == 0) {
        for (uint32_t i = 1; i < TOP_THREADS / WAVE; i++) {
            key = larger_key(key, keys[i]);
        }
        keys[0] = key;
    }
    barrier();
}

KERNEL(top_chunk, top, TOP_THREADS)
{
    wait_previous();
    launch_next();
    uint32_t i = block_y();
    if (i >= a.step->n_wanted || a.wanted[i].n_top == 0) {
        return;
    }
    uint32_t n_top = least_u32(a.wanted[i].n_top, a.top);
    uint64_t *keys = (uint64_t *)SHARED_MEMORY;
    const float *logits = a.logits + (size_t)i * a.n_vocab;
    uint64_t own[2];
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t id = block_x() * HIP_TOP_CHUNK + k * TOP_THREADS + thread_id();
        own[k] = 0;
        if (id < a.n_vocab) {
            own[k] = key_of(compared(&a.wanted[i], logits[id], id), id);
        }
    }
    if (n_top == 1) {
        largest_key(larger_key(own[0], own[1]), keys);
    } else {
        keys[thread_id()] = own[0];
        keys[TOP_THREADS + thread_id()] = own[1];
        sort_keys(keys);
    }
    if (thread_id() < n_top) {
        a.keys[((size_t)i * a.n_chunks + block_x()) * a.top + thread_id()] = keys[thread_id()];
    }
}

/* The largest of HIP_TOP_ONE logits of rows of which one is wanted. */
KERNEL(top_one, top, TOP_THREADS)
{
    wait_previous();
    launch_next();
    uint32_t i = block_y();
    if (i >= a.step->n_wanted || a.wanted[i].n_top == 0) {
        return;
    }
    const float *logits = a.logits + (size_t)i * a.n_vocab;
    uint32_t id0 = block_x() * HIP_TOP_ONE + thread_id();
    float infinity = f32_of_bits(0x7f800000);
    uint64_t key = 0;
    if (a.wanted[i].is_drawn) { /* little code at a time: it is fetched once per wave */
        NO_UNROLL for (uint32_t k = 0; k < HIP_TOP_ONE / TOP_THREADS; k++)
        {
            uint32_t id = id0 + k * TOP_THREADS;
            float x = id < a.n_vocab ? logits[id] : -infinity;
            if (x != -infinity) { /* which no noise lifts */
                key = larger_key(key, key_of(x + gumbel_of(&a.wanted[i], id), id));
            } else if (id < a.n_vocab) {
                key = larger_key(key, key_of(x, id));
            }
        }
    } else {
        float x[HIP_TOP_ONE / TOP_THREADS];
        UNROLL for (uint32_t k = 0; k < HIP_TOP_ONE / TOP_THREADS; k++)
        {
            uint32_t id = id0 + k * TOP_THREADS;
            x[k] = id < a.n_vocab ? logits[id] : 0.0f;
        }
        UNROLL for (uint32_t k = 0; k < HIP_TOP_ONE / TOP_THREADS; k++)
        {
            uint32_t id = id0 + k * TOP_THREADS;
            key = id < a.n_vocab ? larger_key(key, key_of(x[k], id)) : key;
        }
    }
    uint64_t *keys = (uint64_t *)SHARED_MEMORY;
    largest_key(key, keys);
    if (thread_id() == 0) {
        a.keys[(size_t)i * a.n_chunks + block_x()] = keys[0];
    }
}

KERNEL(top_merge, top, TOP_THREADS)
{
    wait_previous();
    launch_next();
    uint32_t i = block_x();
    if (i >= a.step->n_wanted || a.wanted[i].n_top == 0) {
        return;
    }
    uint32_t n_top = least_u32(a.wanted[i].n_top, a.top);
    uint64_t *keys = (uint64_t *)SHARED_MEMORY;
    const uint64_t *from = a.keys + (size_t)i * a.n_chunks * a.top;
    uint32_t n = a.n_chunks * n_top; /* candidates */
    if (n_top == 1) {
        uint64_t key = 0;
        for (uint32_t c = thread_id(); c < n; c += TOP_THREADS) {
            key = larger_key(key, from[(size_t)c * a.top]);
        }
        largest_key(key, keys);
    } else {
        uint32_t n_kept = 0;
        for (uint32_t c = 0; c < n; c += HIP_TOP_CHUNK - n_kept, n_kept = n_top) {
            for (uint32_t k = n_kept + thread_id(); k < HIP_TOP_CHUNK; k += TOP_THREADS) {
                uint32_t at = c + k - n_kept;
                keys[k] = at < n ? from[(size_t)(at / n_top) * a.top + at % n_top] : 0;
            }
            sort_keys(keys);
        }
    }
    if (thread_id() < n_top) {
        uint32_t id = id_of(keys[thread_id()]);
        struct hip_top *to = a.tops + (size_t)i * a.top + thread_id();
        to->id = id;
        to->logit = a.logits[(size_t)i * a.n_vocab + id];
    }
}
