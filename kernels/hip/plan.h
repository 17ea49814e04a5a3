/* SPDX-License-Identifier: MIT */
/* plan: the launches of a forward pass, for the host to run one after the other in one stream, or to
 * capture once per shape. Pure functions; no GPU library is called here.
 *
 *   1. hip_repack_row and copies bring the weights to the device: struct hip_model.
 *   2. hip_buffers_layout divides one allocation of device memory.
 *   3. hip_plan gives the launches for steps up to a shape. They are the same whenever the shape is.
 *   4. Per step: the host fills a struct hip_step and its arrays in pinned memory as hip_buffers says
 *      (offsets from `step`), copies step_bytes to the device, runs the launches, copies the result, and
 *      logits of rows that want all, back. It checks result.tag. */
#ifndef HALO_KERNELS_HIP_PLAN_H
#define HALO_KERNELS_HIP_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/hip/args.h"
#include "kernels/planes/planes.h"
#include "kernels/ternary/ternary.h"

enum hip_kernel {
#define HIP_KERNEL(name, args, threads, doc) HIP_KERNEL_##name,
#include "kernels/hip/kernels.def"
    HIP_N_KERNELS,
};

struct hip_kernel_info {
    const char *symbol; /* "halo_embed" */
    uint32_t args_bytes;
    uint32_t n_threads; /* of a block */
};

extern const struct hip_kernel_info HIP_KERNELS[HIP_N_KERNELS];

/* HIP_EARLY of kernels.def: it may start while the launch ahead of it runs. */
bool hip_kernel_is_early(enum hip_kernel kernel);

/* ---- the model in device memory ---- */

struct hip_matrix {
    const uint8_t *codes; /* T2, [n_rows][hip_row_bytes(n_cols)], 256-byte aligned */
    const float *scales; /* as struct ternary_weights has them */
    uint32_t n_rows, n_cols;
    uint32_t rows_per_scale;
    uint32_t group;
};

struct hip_layer {
    const float *input_norm, *q_norm, *k_norm, *attn_sub_norm, *post_attn_norm, *ffn_sub_norm;
    struct hip_matrix q, k, v, o, gate, up, down;
};

struct hip_model {
    uint32_t n_vocab, n_hidden, n_ffn, n_layers, n_heads, n_kv_heads, head_dim, n_ctx;
    float rms_eps;
    enum hip_act act;
    uint32_t hadamard; /* enum model_hadamard: bit 0 q, k, v; 1 o; 2 gate, up; 3 down */
    uint32_t hadamard_block;
    bool is_kv_int8;
    const uint16_t *embedding, *head; /* f16 [vocab][hidden]; 16-byte aligned */
    /* Copy of the head in 8 bits, by hip_pack_head_row, or NULL: no bounds. [vocab][hip_head8_stride] */
    const int8_t *head8;
    const float *head8_scale, *head8_err, *head8_norm; /* [vocab] */
    const float *final_norm;
    const float *rope_cos, *rope_sin; /* [n_ctx][head_dim / 2] */
    const struct hip_layer *layers; /* in host memory, its pointers are the device's */
};

/* Bytes of a T2 row. */
static inline size_t hip_row_bytes(size_t n_cols)
{
    return (n_cols + 127) / 128 * 32;
}

/* T2 of one row of codes in another packing (or of T2 itself); to[hip_row_bytes(n_cols)]. */
void hip_repack_row(enum ternary_packing packing, uint32_t n_cols, const uint8_t *codes,
                    uint8_t *to);

/* Bytes of a row of the copy of the head. */
static inline size_t hip_head8_stride(size_t n_hidden)
{
    return (n_hidden + 127) / 128 * 128;
}

/* One row of the head in 8 bits, to[hip_head8_stride(n)], and what bounds its error. n is at most
 * PLANES_MAX_COLS; pack is a variant of planes_pack. */
void hip_pack_head_row(const float *w, uint32_t n,
                       void (*pack)(const float *, const struct planes *, size_t), int8_t *to,
                       float *scale, float *err, float *norm);

/* Bytes of a KV block. */
uint64_t hip_block_bytes(const struct hip_model *m);

/* A line that says why the kernels cannot run the model, or NULL if they can. */
const char *hip_refuses(const struct hip_model *m);

/* ---- buffers ---- */

/* The most that any step may have. */
struct hip_limits {
    uint32_t rows; /* tokens */
    uint32_t wanted; /* rows whose logits are wanted */
    uint32_t table; /* KV blocks of all sequences of a step together */
    uint32_t sums_rows; /* rows of groups with sums; 64 does well */
    uint32_t segments; /* of such a group: attention_n_segments of its last position + 1 */
    /* Of the device; 0: as a small GPU has them. Multiprocessors, and shared memory of a block. */
    uint32_t processors, shared_bytes;
    bool has_warpgroups; /* the kernels are those of sm_90a */
};

struct hip_buffers {
    /* One allocation; these are device addresses in it. The step: */
    struct hip_step *step;
    struct hip_row *rows; /* [limits.rows] */
    struct hip_group *groups; /* [limits.rows] */
    struct hip_wanted *wanted; /* [limits.wanted] */
    uint32_t *table; /* [limits.table] */
    /* The result: */
    struct hip_result *result;
    struct hip_top *tops; /* behind it; [wanted][the shape's top] */
    float *logits; /* [limits.wanted][vocab] */
    /* Between kernels: */
    float *x, *proj, *normed, *qkv_q, *qkv_k, *qkv_v, *attn, *gate, *up, *last, *sums;
    uint32_t *counts; /* of few.hip's blocks, [layers][FEW_COUNTS] */
    uint32_t *arrivals; /* the host sets arrivals_bytes of them to zero, once */
    size_t arrivals_bytes;
    int8_t *act_q;
    float *act_scale;
    int32_t *act_sum;
    uint64_t *keys;
    float *lower, *upper; /* bounds, and what they are made of; NULL without head8 */
    int8_t *last_high, *last_low;
    struct hip_head_input *last_input;
    struct hip_top *least;
    uint32_t *n_pairs;
    /* Bytes from `step` to the end of the table: what is copied in. */
    size_t step_bytes;
    size_t bytes; /* of the allocation */
    struct hip_limits limits;
};

/* base: device address of an allocation of ret->bytes, 256-byte aligned. Call it with 0 first, for the
 * bytes. Only `table` and what lies before it belong to the step; a host may copy less of the table. */
void hip_buffers_layout(const struct hip_model *m, const struct hip_limits *limits, uint64_t base,
                        struct hip_buffers *ret_buffers);

/* ---- launches ---- */

/* Upper bounds of the steps that a plan serves, none above the limits; all but rows and groups may be
 * 0. Rounding them up (powers of two) makes few shapes. */
struct hip_shape {
    uint32_t rows, groups, wanted;
    uint32_t segments; /* of groups with sums; 0: no group has any */
    bool has_rows, has_chunks; /* groups of one row, of more */
    uint32_t top; /* of n_top; up to HIP_MAX_TOP. Also the stride of tops */
    /* All wanted rows have an n_top, and no other logits are needed: with head8 they may be -inf. */
    bool is_sparse;
};

struct hip_launch {
    enum hip_kernel kernel;
    uint32_t grid[3];
    uint32_t shared_bytes;
    union hip_args args; /* HIP_KERNELS[kernel].args_bytes of it */
};

/* Most launches of any plan. */
size_t hip_plan_max(const struct hip_model *m);

/* Fills launches[hip_plan_max(m)], returns their number. The cache is the KV cache, block i at
 * i * hip_block_bytes(m). */
size_t hip_plan(const struct hip_model *m, const struct hip_buffers *b, uint8_t *cache,
                const struct hip_shape *shape, struct hip_launch *launches);

/* Bytes of the result for a shape: struct hip_result and the tops. */
static inline size_t hip_result_bytes(const struct hip_shape *shape)
{
    return sizeof(struct hip_result) + (size_t)shape->wanted * shape->top * sizeof(struct hip_top);
}

#endif
