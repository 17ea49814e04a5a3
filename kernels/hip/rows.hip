/* SPDX-License-Identifier: MIT */
/* norm_rows: what norm.hip's norm does, for many rows of the usual kind: with a weight, one scale a row, no rotation,
 * a multiple of 4 values, 8192 at most. A block of 256 threads has a row, which lies in shared memory from the first
 * load to the int8 result; the gated unit's is not written back. Only the 32 chains of the sum of squares are
 * one wave's work; the other blocks of a processor fill that time.
 * H200, 2026-11, tests/gpu/run: 64 rows of 2560 3.4 to 3.9 us, of 6912 6.3 (norm: 6.9 on average); 2048 rows 13 us,
 * 21 with the residual (bytes: 16), 46 of 6912 with the gate (bytes: 30; norm: 54 on average). */
#include "kernels/hip/device.h"

enum { ROWS_THREADS = 256, ROWS_WAVES = ROWS_THREADS / WAVE, ROWS_CHAIN = 8 };

struct four {
    float f[4];
} __attribute__((aligned(16)));

/* The row into shared memory, and x where there is something to add. */
DEVICE void rows_enter(const struct hip_norm_args *a, uint32_t row, struct four *stage)
{
    struct four *x = (struct four *)(void *)(a->x + (size_t)row * a->n);
    const struct four *other = NULL;
    if (a->add != NULL) {
        other = (const struct four *)(const void *)(a->add + (size_t)row * a->n);
    } else if (a->act != HIP_ACT_NONE) {
        other = (const struct four *)(const void *)(a->up + (size_t)row * a->n);
    }
    for (uint32_t i = thread_id(); i < a->n / 4; i += ROWS_THREADS) {
        struct four v = x[i];
        if (other != NULL) {
            const struct four u = other[i];
            UNROLL for (uint32_t k = 0; k < 4; k++)
            {
                v.f[k] = a->act != HIP_ACT_NONE ? gated(a->act, v.f[k], u.f[k]) : v.f[k] + u.f[k];
            }
            if (a->act == HIP_ACT_NONE) {
                x[i] = v;
            }
        }
        stage[i] = v;
    }
}

/* The root's reciprocal, by the first wave. */
DEVICE float rows_root(const struct hip_norm_args *a, const float *stage)
{
    float p = 0.0f;
    uint32_t i = thread_id();
    for (; i + (ROWS_CHAIN - 1) * WAVE < a->n; i += ROWS_CHAIN * WAVE) {
        float v[ROWS_CHAIN];
        UNROLL for (uint32_t k = 0; k < ROWS_CHAIN; k++)
        {
            v[k] = stage[i + k * WAVE];
        }
        UNROLL for (uint32_t k = 0; k < ROWS_CHAIN; k++)
        {
            p = fma_f32(v[k], v[k], p);
        }
    }
    for (; i < a->n; i += WAVE) {
        p = fma_f32(stage[i], stage[i], p);
    }
    p = wave_add_f32(p);
    return 1.0f / sqrt_f32(p / (float)a->n + a->eps);
}

KERNEL(norm_rows, norm, ROWS_THREADS)
{
    wait_previous();
    launch_next();
    uint32_t row = block_x();
    if (row >= a.step->n_rows) {
        return;
    }
    struct four *stage = (struct four *)SHARED_MEMORY;
    float *of_waves = (float *)(stage + a.n / 4); /* one more for the root */
    int32_t *sums = (int32_t *)(void *)(of_waves + ROWS_WAVES + 1);
    uint32_t wave = thread_id() / WAVE;
    rows_enter(&a, row, stage);
    barrier();
    if (wave == 0) {
        float r = rows_root(&a, (const float *)stage);
        if (thread_id() == 0) {
            of_waves[ROWS_WAVES] = r;
        }
    }
    barrier();
    float r = of_waves[ROWS_WAVES];
    float most = QUANTIZE_LEAST;
    const struct four *weight = (const struct four *)(const void *)a.weight;
    for (uint32_t i = thread_id(); i < a.n / 4; i += ROWS_THREADS) {
        struct four y = stage[i];
        const struct four w = weight[i];
        UNROLL for (uint32_t k = 0; k < 4; k++)
        {
            y.f[k] = (y.f[k] * r) * w.f[k];
            most = larger_f32(most, magnitude_f32(y.f[k]));
        }
        stage[i] = y;
    }
    most = wave_max_f32(most);
    if (thread_id() % WAVE == 0) {
        of_waves[wave] = most;
    }
    barrier();
    UNROLL for (uint32_t i = 0; i < ROWS_WAVES; i++)
    {
        most = larger_f32(most, of_waves[i]);
    }
    float inv = 127.0f / most;
    int32_t sum = 0;
    uint32_t *q = (uint32_t *)(void *)(a.q + (size_t)row * a.q_stride);
    for (uint32_t i = thread_id(); i < a.q_stride / 4; i += ROWS_THREADS) {
        uint32_t bytes = 0;
        if (i < a.n / 4) {
            const struct four y = stage[i]; /* the thread's own */
            UNROLL for (uint32_t k = 0; k < 4; k++)
            {
                int32_t v = int8_of_f32(y.f[k], inv);
                sum += v;
                bytes |= (uint32_t)(v & 255) << 8 * k;
            }
        }
        q[i] = bytes;
    }
    sum = wave_add_i32(sum);
    if (thread_id() % WAVE == 0) {
        sums[wave] = sum;
    }
    barrier();
    if (thread_id() == 0) {
        for (uint32_t i = 1; i < ROWS_WAVES; i++) {
            sum += sums[i];
        }
        a.sum[row] = sum;
        a.scale[row] = most / 127.0f;
    }
}
