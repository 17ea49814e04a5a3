/* SPDX-License-Identifier: MIT */
/* rope: the norm of each head of q and k where the model has one, RoPE, and the KV store. A wave has one
 * head of a row in shared memory: q goes back to its place, k and v into the cache.
 *
 * Bytes of a row (2B-4T): 10 KB q in and out, 5 KB k and v in, 2.5 KB out: latency alone. Never run. */
#include "kernels/hip/device.h"

enum { ROPE_THREADS = 256, ROPE_WAVES = ROPE_THREADS / WAVE };

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

DEVICE void rotate_head(float *x, uint32_t head_dim, const float *cos, const float *sin)
{
    uint32_t h = head_dim / 2;
    for (uint32_t i = thread_id() % WAVE; i < h; i += WAVE) {
        float x0 = x[i];
        float x1 = x[i + h];
        x[i] = fma_f32(x0, cos[i], -(x1 * sin[i]));
        x[i + h] = fma_f32(x1, cos[i], x0 * sin[i]);
    }
}

/* attention.h's part; is_value: V, else K. */
DEVICE void store_f16(const float *x, uint32_t n, uint32_t slot, uint8_t *part, bool is_value)
{
    uint16_t *to = (uint16_t *)(void *)part + (is_value ? WAVE * n : 0);
    for (uint32_t d = thread_id() % WAVE; d < n; d += WAVE) {
        to[is_value ? slot * n + d : d * WAVE + slot] = f16_of_f32(x[d]);
    }
}

DEVICE void store_int8(const float *x, uint32_t n, uint32_t slot, uint8_t *part, bool is_value)
{
    uint32_t lane = thread_id() % WAVE;
    float most = QUANTIZE_LEAST;
    for (uint32_t d = lane; d < n; d += WAVE) {
        most = larger_f32(most, magnitude_f32(x[d]));
    }
    most = wave_max_f32(most);
    float inv = 127.0f / most;
    int8_t *to = (int8_t *)part + (is_value ? WAVE * n : 0);
    for (uint32_t d = lane; d < n; d += WAVE) {
        uint32_t at = is_value ? (slot / 4 * n + d) * 4 + slot % 4 : (d / 4 * WAVE + slot) * 4 + d % 4;
        to[at] = (int8_t)int8_of_f32(x[d], inv);
    }
    if (lane == 0) {
        float *scales = (float *)(void *)(part + 2 * WAVE * n);
        scales[(is_value ? WAVE : 0) + slot] = most / 127.0f;
    }
}

KERNEL(rope, rope, ROPE_THREADS)
{
    launch_next();
    wait_previous();
    uint32_t i_row = block_x();
    uint32_t wave = thread_id() / WAVE;
    uint32_t lane = thread_id() % WAVE;
    uint32_t head = block_y() * ROPE_WAVES + wave;
    if (i_row >= a.step->n_rows || head >= a.n_heads + 2 * a.n_kv_heads) {
        return; /* whole waves */
    }
    const struct hip_row row = a.rows[i_row];
    uint32_t n = a.head_dim;
    bool is_query = head < a.n_heads;
    bool is_value = head >= a.n_heads + a.n_kv_heads;
    uint32_t kv_head = is_query ? 0 : is_value ? head - a.n_heads - a.n_kv_heads : head - a.n_heads;
    size_t kv_at = ((size_t)i_row * a.n_kv_heads + kv_head) * n;
    float *q = a.q + ((size_t)i_row * a.n_heads + (is_query ? head : 0)) * n;
    const float *from = is_query ? q : is_value ? a.v + kv_at : a.k + kv_at;
    float *x = (float *)SHARED_MEMORY + wave * n;
    for (uint32_t i = lane; i < n; i += WAVE) {
        x[i] = from[i];
    }
    if (!is_value) {
        const float *norm = is_query ? a.q_norm : a.k_norm;
        if (norm != NULL) {
            norm_head(x, n, norm, a.eps);
        }
        lane_sync();
        size_t at = (size_t)row.pos * (n / 2);
        rotate_head(x, n, a.cos + at, a.sin + at);
        lane_sync();
    }
    if (is_query) {
        for (uint32_t i = lane; i < n; i += WAVE) {
            q[i] = x[i];
        }
        return;
    }
    uint8_t *part =
        a.cache + row.block * a.block_bytes + a.layer_offset + (size_t)kv_head * a.part_bytes;
    if (a.is_int8) {
        store_int8(x, n, row.pos % WAVE, part, is_value);
    } else {
        store_f16(x, n, row.pos % WAVE, part, is_value);
    }
}
