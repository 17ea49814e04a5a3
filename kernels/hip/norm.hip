/* SPDX-License-Identifier: MIT */
/* embed, norm, finish: what goes row by row.
 *
 * norm, one block of 512 threads a row. The sum of squares is 32 chains of n/32 fma by definition, so one
 * wave does it, out of shared memory that all threads fill: 80 steps at n = 2560. Everything else is done by
 * all threads, each with the same elements in every pass, so that only the rotation and the sums need
 * barriers. Bytes of a row (2560, after the residual): 10 KB x, 10 KB add in, 10 KB x and 2.5 KB q out.
 * An H200 takes 6 us, all latency, with four trips to L2 and 80 chained fma: few.hip and rows.hip do what is usual. */
#include "kernels/hip/device.h"

enum {
    NORM_THREADS = 512,
    NORM_WAVES = NORM_THREADS / WAVE,
    NORM_STAGE = 8192, /* floats of a row in shared memory at once; plan.c has the same */
};

KERNEL(embed, embed, 256)
{
    uint32_t row = block_x();
    for (uint32_t i = thread_id(); row == 0 && i < a.n_counts; i += 256) {
        a.counts[i] = 0;
    }
    if (row >= a.step->n_rows) {
        return;
    }
    const uint16_t *from = a.embedding + (size_t)a.rows[row].token * a.n;
    float *to = a.x + (size_t)row * a.n;
    for (uint32_t i = thread_id(); i < a.n; i += 256) {
        to[i] = f32_of_f16(from[i]);
    }
}

KERNEL(finish, finish, 32)
{
    wait_previous();
    launch_next();
    if (thread_id() == 0) {
        a.result->tag = a.step->tag;
        a.result->n_wanted = a.step->n_wanted;
    }
}

/* Of the block's threads' values; `of_waves` is shared memory of NORM_WAVES. */
DEVICE float block_max(float v, float *of_waves)
{
    v = wave_max_f32(v);
    if (thread_id() % WAVE == 0) {
        of_waves[thread_id() / WAVE] = v;
    }
    barrier();
    v = of_waves[0];
    for (uint32_t i = 1; i < NORM_WAVES; i++) {
        v = larger_f32(v, of_waves[i]);
    }
    return v;
}

/* glu.h */
DEVICE float gated(uint32_t act, float gate, float up)
{
    if (act == HIP_ACT_RELU2) {
        float s = gate > 0.0f ? gate * gate : 0.0f;
        return s * up;
    }
    float s = gate / (1.0f + exp_f32(-gate));
    return s * up;
}

/* x as it enters the norm, written back where it changed; the same thread reads it again later. Returns
 * the root's reciprocal, or 1. */
DEVICE float enter_row(const struct hip_norm_args *a, float *x, const float *add, const float *up,
                       float *stage, float *shared_r)
{
    float p = 0.0f;
    for (uint32_t base = 0; base < a->n; base += NORM_STAGE) {
        uint32_t end = least_u32(a->n - base, NORM_STAGE);
        for (uint32_t i = thread_id(); i < end; i += NORM_THREADS) {
            float v = x[base + i];
            if (add != NULL) {
                v += add[base + i];
            }
            if (a->act != HIP_ACT_NONE) {
                v = gated(a->act, v, up[base + i]);
            }
            if (add != NULL || a->act != HIP_ACT_NONE) {
                x[base + i] = v;
            }
            stage[i] = v;
        }
        if (a->weight == NULL) {
            continue;
        }
        barrier();
        if (thread_id() < WAVE) {
            uint32_t i = thread_id();
            for (; i + 7 * WAVE < end; i += 8 * WAVE) {
                float v[8];
                UNROLL for (uint32_t k = 0; k < 8; k++)
                {
                    v[k] = stage[i + k * WAVE];
                }
                UNROLL for (uint32_t k = 0; k < 8; k++)
                {
                    p = fma_f32(v[k], v[k], p);
                }
            }
            for (; i < end; i += WAVE) {
                p = fma_f32(stage[i], stage[i], p);
            }
        }
        barrier();
    }
    if (a->weight == NULL) {
        return 1.0f;
    }
    if (thread_id() < WAVE) {
        p = wave_add_f32(p);
        if (thread_id() == 0) {
            *shared_r = 1.0f / sqrt_f32(p / (float)a->n + a->eps);
        }
    }
    barrier();
    return *shared_r;
}

/* hadamard.h, in global memory: widths differ, and few models rotate. */
DEVICE void rotate_row(float *y, uint32_t n, uint32_t block)
{
    for (uint32_t h = 1; h < block; h *= 2) {
        barrier();
        for (uint32_t k = thread_id(); k < n / 2; k += NORM_THREADS) {
            uint32_t i = (k & ~(h - 1)) * 2 + (k & (h - 1));
            float u = y[i];
            float v = y[i + h];
            y[i] = u + v;
            y[i + h] = u - v;
        }
    }
    barrier();
    float s = 1.0f / sqrt_f32((float)block);
    for (uint32_t i = thread_id(); i < n; i += NORM_THREADS) {
        y[i] *= s;
    }
}

/* One scale for the row. Threads take four elements that follow each other. */
DEVICE void quantize_whole(const struct hip_norm_args *a, uint32_t row, const float *y,
                           float *of_waves, int32_t *sums)
{
    float most = QUANTIZE_LEAST;
    for (uint32_t i = thread_id(); i < a->n; i += NORM_THREADS) {
        most = larger_f32(most, magnitude_f32(y[i]));
    }
    most = block_max(most, of_waves); /* its barrier makes y visible, too */
    float inv = 127.0f / most;
    int32_t sum = 0;
    uint32_t *q = (uint32_t *)(void *)(a->q + (size_t)row * a->q_stride);
    for (uint32_t i = thread_id(); i < a->q_stride / 4; i += NORM_THREADS) {
        uint32_t four = 0;
        for (uint32_t k = 0; k < 4 && 4 * i + k < a->n; k++) {
            int32_t v = int8_of_f32(y[4 * i + k], inv);
            sum += v;
            four |= (uint32_t)(v & 255) << 8 * k;
        }
        q[i] = four;
    }
    sum = wave_add_i32(sum);
    if (thread_id() % WAVE == 0) {
        sums[thread_id() / WAVE] = sum;
    }
    barrier();
    if (thread_id() == 0) {
        for (uint32_t i = 1; i < NORM_WAVES; i++) {
            sum += sums[i];
        }
        a->sum[row] = sum;
        a->scale[row] = most / 127.0f;
    }
}

/* A scale for each 64 or 128 elements: a wave each. */
DEVICE void quantize_groups(const struct hip_norm_args *a, uint32_t row, const float *y)
{
    uint32_t lane = thread_id() % WAVE;
    uint32_t n_groups = a->n / a->group;
    int8_t *q = a->q + (size_t)row * a->q_stride;
    barrier();
    for (uint32_t g = thread_id() / WAVE; g < n_groups; g += NORM_WAVES) {
        const float *from = y + g * a->group;
        float most = QUANTIZE_LEAST;
        for (uint32_t i = lane; i < a->group; i += WAVE) {
            most = larger_f32(most, magnitude_f32(from[i]));
        }
        most = wave_max_f32(most);
        float inv = 127.0f / most;
        for (uint32_t i = lane; i < a->group; i += WAVE) {
            q[g * a->group + i] = (int8_t)int8_of_f32(from[i], inv);
        }
        if (lane == 0) {
            a->scale[(size_t)row * n_groups + g] = most / 127.0f;
        }
    }
    for (uint32_t i = a->n + thread_id(); i < a->q_stride; i += NORM_THREADS) {
        q[i] = 0;
    }
}

KERNEL(norm, norm, NORM_THREADS)
{
    wait_previous();
    launch_next();
    uint32_t i_row = block_x();
    if (i_row >= (a.wanted != NULL ? a.step->n_wanted : a.step->n_rows)) {
        return;
    }
    size_t row = a.wanted != NULL ? a.wanted[i_row].row : i_row;
    float *stage = (float *)SHARED_MEMORY;
    float *of_waves = stage + least_u32(a.n, NORM_STAGE);
    float *x = a.x + row * a.n;
    const float *add = a.add != NULL ? a.add + row * a.n : NULL;
    const float *up = a.up != NULL ? a.up + row * a.n : NULL;
    float *y = a.y + (size_t)i_row * a.n;
    float r = enter_row(&a, x, add, up, stage, of_waves);
    barrier(); /* of_waves is used again */
    if (a.weight == NULL && a.hadamard == 0) {
        y = x;
    } else if (a.n <= NORM_STAGE) {
        for (uint32_t i = thread_id(); i < a.n; i += NORM_THREADS) {
            y[i] = a.weight != NULL ? (stage[i] * r) * a.weight[i] : stage[i];
        }
    } else {
        for (uint32_t i = thread_id(); i < a.n; i += NORM_THREADS) {
            y[i] = a.weight != NULL ? (x[i] * r) * a.weight[i] : x[i];
        }
    }
    if (a.hadamard != 0) {
        rotate_row(y, a.n, a.hadamard);
    }
    if (a.q == NULL) {
        return;
    }
    if (a.group == 0) {
        quantize_whole(&a, i_row, y, of_waves, (int32_t *)(void *)(of_waves + NORM_WAVES));
    } else {
        quantize_groups(&a, i_row, y);
    }
}
