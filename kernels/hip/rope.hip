/* SPDX-License-Identifier: MIT */
/* rope: the norm of each head of q and k where the model has one, RoPE, and the KV store. A wave has one
 * head of a row in shared memory: q goes back to its place, k and v into the cache. For rows that attention
 * does not take one by one; attention_row.hip does the same to a row of its own.
 *
 * Bytes of a row (2B-4T): 10 KB q in and out, 5 KB k and v in, 2.5 KB out: latency alone. */
#include "kernels/hip/device.h"

enum {
    ROPE_THREADS = 256,
    ROPE_WAVES = ROPE_THREADS / WAVE,
    ROPE_PAIRS = 4, /* of a lane, where heads have 256 values */
};

/* What a wave needs to rotate a head and no launch writes: it may be loaded ahead. */
struct rope_head {
    float cos[ROPE_PAIRS], sin[ROPE_PAIRS];
    const float *norm; /* NULL: none; none is used of values */
    bool is_value;
};

/* `head` counts those of q, then of k, then of v; n is head_dim. */
DEVICE struct rope_head rope_begin(const struct hip_rope_args *a, uint32_t n, uint32_t pos,
                                   uint32_t head)
{
    struct rope_head h = {{0}, {0}, a->k_norm, head >= a->n_heads + a->n_kv_heads};
    if (h.is_value) {
        return h;
    }
    h.norm = head < a->n_heads ? a->q_norm : h.norm;
    uint32_t half = n / 2;
    UNROLL for (uint32_t j = 0; j < ROPE_PAIRS; j++)
    {
        uint32_t i = thread_id() % WAVE + j * WAVE;
        if (i < half) {
            h.cos[j] = a->cos[(size_t)pos * half + i];
            h.sin[j] = a->sin[(size_t)pos * half + i];
        }
    }
    return h;
}

/* rmsnorm.h, on shared memory of the wave. */
DEVICE void norm_head(float *x, uint32_t n, const float *w, float eps)
{
    uint32_t lane = thread_id() % WAVE;
    float p = 0.0f;
    for (uint32_t i = lane; i < n; i += WAVE) {
        p = fma_f32(x[i], x[i], p);
    }
    p = wave_add_f32(p);
    float r = 1.0f / sqrt_f32(p / (float)n + eps);
    for (uint32_t i = lane; i < n; i += WAVE) {
        x[i] = (x[i] * r) * w[i];
    }
}

/* The head as attention sees it into x, shared memory of the wave. */
DEVICE void rope_end(const struct hip_rope_args *a, uint32_t n, const struct rope_head *h,
                     const float *from, float *x)
{
    uint32_t lane = thread_id() % WAVE;
    for (uint32_t i = lane; i < n; i += WAVE) {
        x[i] = from[i];
    }
    if (h->is_value) {
        lane_sync();
        return;
    }
    if (h->norm != NULL) {
        norm_head(x, n, h->norm, a->eps);
    }
    lane_sync();
    UNROLL for (uint32_t j = 0; j < ROPE_PAIRS; j++)
    {
        uint32_t i = lane + j * WAVE;
        if (i < n / 2) {
            float x0 = x[i];
            float x1 = x[i + n / 2];
            x[i] = fma_f32(x0, h->cos[j], -(x1 * h->sin[j]));
            x[i + n / 2] = fma_f32(x1, h->cos[j], x0 * h->sin[j]);
        }
    }
    lane_sync();
}

/* Where the head of row i lies that rope_begin counts so. */
DEVICE const float *rope_source(const struct hip_rope_args *a, uint32_t i_row, uint32_t head)
{
    if (head < a->n_heads) {
        return a->q + ((size_t)i_row * a->n_heads + head) * a->head_dim;
    }
    uint32_t kv_head = head - a->n_heads;
    const float *from = a->k;
    if (kv_head >= a->n_kv_heads) {
        kv_head -= a->n_kv_heads;
        from = a->v;
    }
    return from + ((size_t)i_row * a->n_kv_heads + kv_head) * a->head_dim;
}

/* attention.h's layouts: value d at to[d * step]. */
DEVICE void put_f16(const float *x, uint32_t n, uint32_t step, uint16_t *to)
{
    for (uint32_t d = thread_id() % WAVE; d < n; d += WAVE) {
        to[d * step] = f16_of_f32(x[d]);
    }
}

DEVICE float largest_of_head(const float *x, uint32_t n)
{
    float most = QUANTIZE_LEAST;
    for (uint32_t d = thread_id() % WAVE; d < n; d += WAVE) {
        most = larger_f32(most, magnitude_f32(x[d]));
    }
    return wave_max_f32(most);
}

/* n values as K or V has them, from the row of `slot` 0 or of dimension 0 on. */
DEVICE void put_int8(const float *x, uint32_t n, float most, uint32_t slot, int8_t *to,
                     bool is_value)
{
    float inv = 127.0f / most;
    for (uint32_t d = thread_id() % WAVE; d < n; d += WAVE) {
        uint32_t at =
            is_value ? (slot / 4 * n + d) * 4 + slot % 4 : (d / 4 * WAVE + slot) * 4 + d % 4;
        to[at] = (int8_t)int8_of_f32(x[d], inv);
    }
}

/* The whole wave stores its head as K or V of a position. */
DEVICE void store_head(const float *x, uint32_t n, uint32_t slot, uint8_t *part, bool is_value,
                       bool is_int8)
{
    if (is_int8) {
        int8_t *to = (int8_t *)part + (is_value ? WAVE * n : 0);
        float most = largest_of_head(x, n);
        put_int8(x, n, most, slot, to, is_value);
        if (thread_id() % WAVE == 0) {
            ((float *)(void *)(part + 2 * WAVE * n))[(is_value ? WAVE : 0) + slot] = most / 127.0f;
        }
    } else {
        uint16_t *to = (uint16_t *)(void *)part;
        put_f16(x, n, is_value ? 1 : WAVE, to + (is_value ? (WAVE + slot) * n : slot));
    }
}

KERNEL(rope, rope, ROPE_THREADS)
{
    launch_next();
    uint32_t i_row = block_x();
    uint32_t wave = thread_id() / WAVE;
    uint32_t head = block_y() * ROPE_WAVES + wave;
    if (i_row >= a.step->n_rows || head >= a.n_heads + 2 * a.n_kv_heads) {
        wait_previous();
        return; /* whole waves */
    }
    const struct hip_row row = a.rows[i_row];
    uint32_t n = a.head_dim;
    float *x = (float *)SHARED_MEMORY + wave * n;
    struct rope_head h = rope_begin(&a, n, row.pos, head);
    wait_previous();
    const float *from = rope_source(&a, i_row, head);
    rope_end(&a, n, &h, from, x);
    if (head < a.n_heads) {
        float *q = a.q + (from - a.q);
        for (uint32_t i = thread_id() % WAVE; i < n; i += WAVE) {
            q[i] = x[i];
        }
        return;
    }
    uint32_t kv_head = (head - a.n_heads) % a.n_kv_heads;
    uint8_t *part =
        a.cache + row.block * a.block_bytes + a.layer_offset + (size_t)kv_head * a.part_bytes;
    store_head(x, n, row.pos % WAVE, part, h.is_value, a.is_int8 != 0);
}
