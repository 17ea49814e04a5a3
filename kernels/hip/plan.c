/* SPDX-License-Identifier: MIT */
/* A layer is nine launches: norm, q k v, attention (with rope where all groups have one row), norm, o, norm,
 * gate up, norm, down; two more where there are groups of more rows. A node of a graph costs 0.5 to 0.7 us on an H200 by itself.
 * For few rows norm and linear are one launch, and so is what follows: five a layer, few.hip. */
#include "kernels/hip/plan.h"

#include <math.h>
#include <string.h>

#include "kernels/attention/attention.h"

enum {
    ALIGN = 256,
    TOKEN_TILE = 128, /* kernels read activations of whole tiles of tokens */
    WANTED_TILE = 64, /* and so of what head_split makes */
    FEW_ROWS = 32, /* of weights, that a block of linear_N does */
    MANY_BLOCKS = 60, /* about half of the processors that GPUs have */
    MATMUL_SHARED = 2 * 128 * (128 + 32), /* bytes of two stages, as in matmul.h */
    HEAD_ROWS = 64,
    BOUND_ROWS = 32,
    BOUND_STRIDE = 64 + 32, /* bytes of a row in shared memory in head_bounds_16 and up */
    ASK_ROWS = 256,
    ASK_TOKENS = 32,
    PAIR_BLOCKS = 1024, /* each takes 32 logits at once */
    MANY_ROWS = 5, /* from which on norm_rows does better than norm */
    ROWS_WAVES = 8, /* of norm_rows */
    NORM_STAGE = 8192, /* as in norm.hip */
    NORM_WAVES = 16,
    WAVES = 8, /* of the other kernels' blocks */
    ATTENTION_QUERIES = 4, /* of attention_row_4 */
    CHUNK_QUERIES = 64, /* as in attention8.hip */
    WIDE = 128, /* heads that have kernels of their own */
    FEW_COUNTS = 3, /* launches of a layer that count their blocks: o, gate up, down */
    FEW_MAX_ROWS =
        4, /* of a step, for few.hip: more do better by matrix units. What follows is as there */
    FEW_MAX_COLS = 8192, /* with one token */
    FEW_WAVES = 16,
    FEW_THREADS = FEW_WAVES * 32,
    FEW_SLICE = 512, /* columns */
    FEW_ROWS_AT_ONCE = 4, /* of a wave */
    FEW_FIXED = 28, /* words of shared memory */
    FEW_COPIED_MAX = 112 << 10, /* bytes of a block with copied codes: another fits beside it */
    SMALL_PROCESSORS = 20,
    SMALL_SHARED = 64 << 10,
    LAUNCHES_PER_LAYER = 11,
    LAUNCHES_AROUND = 11,
};

const struct hip_kernel_info HIP_KERNELS[HIP_N_KERNELS] = {
#define HIP_KERNEL(name, args, threads, doc)                                                       \
    {"halo_" #name, (uint32_t)sizeof(struct hip_##args##_args), threads},
#include "kernels/hip/kernels.def"
};

bool hip_kernel_is_early(enum hip_kernel kernel)
{
    static const bool IS_EARLY[HIP_N_KERNELS] = {
#define HIP_EARLY(name) [HIP_KERNEL_##name] = true,
#include "kernels/hip/kernels.def"
    };
    return IS_EARLY[kernel];
}

static uint32_t div_up(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

static uint32_t stride_of(uint32_t n)
{
    return (n + 127) / 128 * 128;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* ---- model ---- */

static uint32_t part_bytes(const struct hip_model *m)
{
    return (uint32_t)(m->is_kv_int8 ? attention8_part_bytes(m->head_dim)
                                    : attention_part_bytes(m->head_dim));
}

uint64_t hip_block_bytes(const struct hip_model *m)
{
    return (uint64_t)m->n_layers * m->n_kv_heads * part_bytes(m);
}

const char *hip_refuses(const struct hip_model *m)
{
    if (m->head_dim > ATTENTION_MAX_HEAD_DIM || m->head_dim % 4 != 0)
        return "heads must have a multiple of 4 values, 256 at most";
    if (m->n_hidden % 8 != 0)
        return "the hidden size must be a multiple of 8";
    for (uint32_t i = 0; i < m->n_layers; i++) {
        const struct hip_layer *l = &m->layers[i];
        if (l->q.group != l->k.group || l->q.group != l->v.group || l->gate.group != l->up.group)
            return "matrices of one input must have groups of one size";
    }
    return NULL;
}

/* ---- buffers ---- */

/* The next n * size bytes of the allocation. */
static uint64_t take(uint64_t *at, uint64_t n, uint64_t size)
{
    uint64_t p = *at;
    *at += (n * size + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

static void *address(uint64_t at)
{
    return (void *)(uintptr_t)at;
}

static uint32_t n_chunks(const struct hip_model *m)
{
    return div_up(m->n_vocab, HIP_TOP_CHUNK);
}

void hip_buffers_layout(const struct hip_model *m, const struct hip_limits *limits, uint64_t base,
                        struct hip_buffers *ret_buffers)
{
    struct hip_buffers b = {.limits = *limits};
    uint64_t at = base;
    uint64_t rows = (uint64_t)div_up(limits->rows, TOKEN_TILE) * TOKEN_TILE;
    uint64_t wanted = (uint64_t)div_up(limits->wanted, WANTED_TILE) * WANTED_TILE;
    uint32_t n_q = m->n_heads * m->head_dim;
    uint32_t n_kv = m->n_kv_heads * m->head_dim;
    uint32_t widest = larger(larger(m->n_hidden, m->n_ffn), n_q);
    b.step = address(take(&at, 1, sizeof *b.step));
    b.rows = address(take(&at, limits->rows, sizeof *b.rows));
    b.groups = address(take(&at, limits->rows, sizeof *b.groups));
    b.wanted = address(take(&at, limits->wanted, sizeof *b.wanted));
    b.table = address(take(&at, limits->table, sizeof *b.table));
    b.step_bytes = (size_t)(at - base);
    b.result = address(
        take(&at, 1,
             sizeof *b.result + (uint64_t)limits->wanted * HIP_MAX_TOP * sizeof(struct hip_top)));
    b.tops = address((uint64_t)(uintptr_t)b.result + sizeof *b.result);
    b.logits = address(take(&at, limits->wanted, (uint64_t)m->n_vocab * sizeof(float)));
    b.x = address(take(&at, rows, (uint64_t)m->n_hidden * sizeof(float)));
    b.proj = address(take(&at, rows, (uint64_t)m->n_hidden * sizeof(float)));
    b.normed = address(take(&at, rows, (uint64_t)widest * sizeof(float)));
    b.qkv_q = address(take(&at, rows, (uint64_t)n_q * sizeof(float)));
    b.qkv_k = address(take(&at, rows, (uint64_t)n_kv * sizeof(float)));
    b.qkv_v = address(take(&at, rows, (uint64_t)n_kv * sizeof(float)));
    b.attn = address(take(&at, rows, (uint64_t)n_q * sizeof(float)));
    b.gate = address(take(&at, rows, (uint64_t)m->n_ffn * sizeof(float)));
    b.up = address(take(&at, rows, (uint64_t)m->n_ffn * sizeof(float)));
    b.last = address(take(&at, wanted, (uint64_t)m->n_hidden * sizeof(float)));
    b.sums = address(take(&at, (uint64_t)limits->sums_rows * m->n_heads * limits->segments,
                          attention_sums_stride(m->head_dim) * sizeof(float)));
    b.counts = address(take(&at, m->n_layers, FEW_COUNTS * sizeof *b.counts));
    b.arrivals_bytes = (size_t)limits->sums_rows * m->n_heads * sizeof *b.arrivals;
    b.arrivals = address(take(&at, 1, b.arrivals_bytes));
    b.act_q = address(take(&at, rows, stride_of(widest)));
    b.act_scale = address(take(&at, rows, (uint64_t)(widest / 64 + 1) * sizeof(float)));
    b.act_sum = address(take(&at, rows, sizeof *b.act_sum));
    b.keys =
        address(take(&at, limits->wanted, (uint64_t)n_chunks(m) * HIP_MAX_TOP * sizeof *b.keys));
    if (m->head8 != NULL) {
        uint64_t stride = hip_head8_stride(m->n_hidden);
        b.lower = address(take(&at, limits->wanted, (uint64_t)m->n_vocab * sizeof(float)));
        b.upper = address(take(&at, limits->wanted, (uint64_t)m->n_vocab * sizeof(float)));
        b.last_high = address(take(&at, wanted, stride));
        b.last_low = address(take(&at, wanted, stride));
        b.last_input = address(take(&at, wanted, sizeof *b.last_input));
        b.n_pairs = address(take(&at, 1, sizeof *b.n_pairs));
        b.least = address(take(&at, limits->wanted, HIP_MAX_TOP * sizeof *b.least));
    }
    b.bytes = (size_t)(at - base);
    *ret_buffers = b;
}

/* ---- launches ---- */

struct plan {
    const struct hip_model *m;
    const struct hip_buffers *b;
    const struct hip_shape *shape;
    uint8_t *cache;
    struct hip_launch *launches;
    size_t n;
    bool is_few; /* layers are few.hip's */
    const uint32_t *awaited; /* where the blocks of the latest launch count themselves, or NULL */
    uint32_t n_awaited; /* how many they are */
};

static struct hip_launch *add(struct plan *p, enum hip_kernel kernel, uint32_t x, uint32_t y,
                              uint32_t z)
{
    struct hip_launch *l = &p->launches[p->n++];
    memset(l, 0, sizeof *l);
    l->kernel = kernel;
    l->grid[0] = x;
    l->grid[1] = y;
    l->grid[2] = z;
    return l;
}

size_t hip_plan_max(const struct hip_model *m)
{
    return (size_t)m->n_layers * LAUNCHES_PER_LAYER + LAUNCHES_AROUND;
}

struct norm {
    float *x;
    const float *add, *up, *weight;
    uint32_t n;
    enum hip_act act;
    uint32_t input; /* bit of model.hadamard */
    uint32_t group;
    bool is_plain; /* y is wanted, not int8 */
};

/* With int8 in one scale a row, and of a size that norm_rows takes. */
static bool is_usual_norm(const struct hip_model *m, const struct norm *norm)
{
    return norm->weight != NULL && norm->group == 0 && !(m->hadamard & norm->input) &&
           norm->n % 4 == 0 && norm->n <= NORM_STAGE && !norm->is_plain;
}

static struct hip_norm_args *add_norm(struct plan *p, const struct norm *norm, uint32_t n_rows)
{
    bool is_many = n_rows >= MANY_ROWS && is_usual_norm(p->m, norm);
    struct hip_launch *l = add(p, is_many ? HIP_KERNEL_norm_rows : HIP_KERNEL_norm, n_rows, 1, 1);
    uint32_t stage = norm->n < NORM_STAGE ? norm->n : NORM_STAGE;
    uint32_t others = is_many ? 2 * ROWS_WAVES + 1 : 2 * NORM_WAVES;
    l->shared_bytes = (stage + others) * (uint32_t)sizeof(float);
    l->args.norm = (struct hip_norm_args){
        .step = p->b->step,
        .x = norm->x,
        .add = norm->add,
        .up = norm->up,
        .weight = norm->weight,
        .y = p->b->normed,
        .q = norm->is_plain ? NULL : p->b->act_q,
        .scale = p->b->act_scale,
        .sum = p->b->act_sum,
        .eps = p->m->rms_eps,
        .n = norm->n,
        .q_stride = stride_of(norm->n),
        .group = norm->group,
        .hadamard = p->m->hadamard & norm->input ? p->m->hadamard_block : 0,
        .act = norm->act,
    };
    return &l->args.norm;
}

/* A kernel of matrices, and the weights' rows and tokens of one of its blocks. */
struct linear_choice {
    enum hip_kernel kernel;
    uint32_t rows, tokens, shared_bytes;
    uint32_t n_stages, stage_bytes; /* of sm_90a's, as in matrix.hip and bounds.hip */
};

/* For batches, the kernel with the most tokens a block that still gives MANY_BLOCKS: fewer leave processors
 * idle, and what a row of weights costs a block does not depend on the tokens. */
static struct linear_choice pick_linear(uint32_t group, uint32_t n_tokens, uint32_t n_rows)
{
    static const struct linear_choice DOTS[] = {
        {HIP_KERNEL_linear_1, FEW_ROWS, 1, 0, 0, 0},
        {HIP_KERNEL_linear_2, FEW_ROWS, 2, 0, 0, 0},
        {HIP_KERNEL_linear_4, FEW_ROWS, 4, 0, 0, 0},
    };
    static const struct linear_choice MATRICES[] = {
        {HIP_KERNEL_linear_matrix, 128, 128, MATMUL_SHARED, 4, 128 * 128 + 128 * 32},
        {HIP_KERNEL_linear_split_64, 128, 64, MATMUL_SHARED, 2, 4 * (64 * 128 + 128 * 32)},
        {HIP_KERNEL_linear_split_32, 64, 32, MATMUL_SHARED, 2, 8 * (32 * 128 + 64 * 32)},
        {HIP_KERNEL_linear_split_16, 64, 16, MATMUL_SHARED, 2, 8 * (16 * 128 + 64 * 32)},
    };
    if (group != 0)
        return n_tokens == 1
                   ? (struct linear_choice){HIP_KERNEL_linear_group_1, FEW_ROWS, 1, 0, 0, 0}
                   : (struct linear_choice){HIP_KERNEL_linear_group_4, FEW_ROWS, 4, 0, 0, 0};
    if (n_tokens <= 4)
        return DOTS[n_tokens <= 1 ? 0 : n_tokens == 2 ? 1 : 2];
    const struct linear_choice *c = MATRICES;
    while (c->kernel != HIP_KERNEL_linear_split_16 &&
           (n_tokens <= c[1].tokens ||
            div_up(n_rows, c->rows) * div_up(n_tokens, c->tokens) < MANY_BLOCKS))
        c++;
    return *c;
}

/* Shared memory of a kernel on matmul.h's loop: with wgmma.h's it is aligned to 1024. */
static uint32_t stages_bytes(const struct plan *p, uint32_t bytes, uint32_t warpgroup_bytes)
{
    return p->b->limits.has_warpgroups && bytes > 0 ? warpgroup_bytes + 1024 : bytes;
}

static void add_linear(struct plan *p, uint32_t n, const struct hip_matrix *const *w,
                       float *const *y)
{
    uint32_t n_tokens = p->shape->rows;
    uint32_t n_rows = 0;
    for (uint32_t i = 0; i < n; i++)
        n_rows += w[i]->n_rows;
    struct linear_choice choice = pick_linear(w[0]->group, n_tokens, n_rows);
    struct hip_launch *l = add(p, choice.kernel, 0, div_up(n_tokens, choice.tokens), 1);
    l->shared_bytes = stages_bytes(p, choice.shared_bytes, choice.n_stages * choice.stage_bytes);
    struct hip_linear_args *a = &l->args.linear;
    *a = (struct hip_linear_args){
        .step = p->b->step,
        .q = p->b->act_q,
        .x_scale = p->b->act_scale,
        .x_sum = p->b->act_sum,
        .n_cols = w[0]->n_cols,
        .q_stride = stride_of(w[0]->n_cols),
        .group = w[0]->group,
        .n_parts = n,
    };
    for (uint32_t i = 0; i < n; i++) {
        a->parts[i] = (struct hip_linear_part){
            .codes = w[i]->codes,
            .scales = w[i]->scales,
            .y = y[i],
            .n_rows = w[i]->n_rows,
            .rows_per_scale = w[i]->rows_per_scale,
            .first_tile = l->grid[0],
        };
        l->grid[0] += div_up(w[i]->n_rows, choice.rows);
    }
}

static struct hip_rope_args rope_args(const struct plan *p, uint32_t layer)
{
    const struct hip_model *m = p->m;
    return (struct hip_rope_args){
        .step = p->b->step,
        .rows = p->b->rows,
        .q = p->b->qkv_q,
        .k = p->b->qkv_k,
        .v = p->b->qkv_v,
        .q_norm = m->layers[layer].q_norm,
        .k_norm = m->layers[layer].k_norm,
        .cos = m->rope_cos,
        .sin = m->rope_sin,
        .cache = p->cache,
        .block_bytes = hip_block_bytes(m),
        .layer_offset = (uint64_t)layer * m->n_kv_heads * part_bytes(m),
        .part_bytes = part_bytes(m),
        .n_heads = m->n_heads,
        .n_kv_heads = m->n_kv_heads,
        .head_dim = m->head_dim,
        .is_int8 = m->is_kv_int8,
        .eps = m->rms_eps,
    };
}

static struct hip_attention_args attention_args(const struct plan *p, uint32_t layer)
{
    const struct hip_model *m = p->m;
    return (struct hip_attention_args){
        .step = p->b->step,
        .groups = p->b->groups,
        .table = p->b->table,
        .q = p->b->qkv_q,
        .cache = p->cache,
        .sums = p->b->sums,
        .arrivals = p->b->arrivals,
        .out = p->b->attn,
        .block_bytes = hip_block_bytes(m),
        .layer_offset = (uint64_t)layer * m->n_kv_heads * part_bytes(m),
        .part_bytes = part_bytes(m),
        .n_heads = m->n_heads,
        .n_kv_heads = m->n_kv_heads,
        .head_dim = m->head_dim,
        .max_segments = p->b->limits.segments,
        .scale = 1.0F / sqrtf((float)m->head_dim),
        .n_shared = m->n_heads / m->n_kv_heads,
    };
}

static void add_rope(struct plan *p, uint32_t layer)
{
    const struct hip_model *m = p->m;
    struct hip_launch *l =
        add(p, HIP_KERNEL_rope, p->shape->rows, div_up(m->n_heads + 2 * m->n_kv_heads, WAVES), 1);
    l->shared_bytes = WAVES * m->head_dim * (uint32_t)sizeof(float);
    l->args.rope = rope_args(p, layer);
}

static uint32_t room_of(const struct plan *p)
{
    enum { SHARED_BYTES = 64 << 10 };
    return p->b->limits.shared_bytes > 0 ? p->b->limits.shared_bytes : SHARED_BYTES;
}

/* Shared memory of a block of attention_row. */
static uint32_t row_shared(const struct hip_model *m, uint32_t queries, uint32_t ring)
{
    uint32_t n = m->head_dim;
    uint32_t floats = (queries + 2) * n + WAVES * queries * ATTENTION_BLOCK + queries * WAVES * 2 +
                      WAVES * ATTENTION_BLOCK * 2 + queries * WAVES * n;
    uint32_t slot = m->is_kv_int8 ? div_up(n, 8) * 4 * ATTENTION_BLOCK + 2 * ATTENTION_BLOCK * 4
                                  : 16 * n; /* as in attention_row.hip */
    return floats * (uint32_t)sizeof(float) + WAVES * ring * slot;
}

/* Groups of one row. While blocks do not fill the device a block has fewer queries and more of its tiles
 * under way; when they are many, more of them fit a processor instead. */
static void add_attention_row(struct plan *p, uint32_t layer)
{
    enum { PROCESSORS = 20, PER_PROCESSOR = 4 };
    const struct hip_model *m = p->m;
    const struct hip_limits *limits = &p->b->limits;
    uint32_t processors = limits->processors > 0 ? limits->processors : PROCESSORS;
    uint32_t room = room_of(p);
    uint32_t z = larger(p->shape->segments, 1);
    uint32_t n_shared = m->n_heads / m->n_kv_heads;
    uint32_t n_blocks = p->shape->groups * m->n_kv_heads * z;
    uint32_t splits = 1;
    for (uint32_t s = 2; s <= n_shared && s * n_blocks <= processors; s++)
        splits = n_shared % s == 0 ? s : splits;
    bool is_single = splits == n_shared || m->head_dim > WIDE;
    uint32_t queries = is_single ? 1 : ATTENTION_QUERIES;
    uint32_t at_once = div_up(splits * n_blocks, processors);
    at_once = at_once < PER_PROCESSOR ? at_once : PER_PROCESSOR;
    uint32_t ring = m->is_kv_int8 ? 4 : 8;
    while (ring > 1 && row_shared(m, queries, ring) * at_once > room)
        ring /= 2;
    static const enum hip_kernel KERNELS[2][2][2] = {
        {{HIP_KERNEL_attention_row_4, HIP_KERNEL_attention_row_1},
         {HIP_KERNEL_attention_row128_4, HIP_KERNEL_attention_row128_1}},
        {{HIP_KERNEL_attention8_row_4, HIP_KERNEL_attention8_row_1},
         {HIP_KERNEL_attention8_row128_4, HIP_KERNEL_attention8_row128_1}},
    };
    struct hip_launch *l = add(p, KERNELS[m->is_kv_int8][m->head_dim == WIDE][is_single],
                               p->shape->groups, m->n_kv_heads * splits, z);
    l->shared_bytes = row_shared(m, queries, ring);
    struct hip_attention_row_args *a = &l->args.attention_row;
    a->attention = attention_args(p, layer);
    a->attention.splits = splits;
    a->attention.each = n_shared / splits;
    a->attention.ring = ring;
    a->rope = rope_args(p, layer);
    a->is_fused = !p->shape->has_chunks;
}

/* Shared memory of a block of attention8. */
static uint32_t chunk8_shared(const struct hip_model *m, uint32_t queries)
{
    enum { TILES = 4, ROW = 40, TOTALS = 5 };
    uint32_t q_words = div_up(m->head_dim, 32) * 8 + 8;
    return queries * (2 * q_words + TOTALS + TILES * ROW) * (uint32_t)sizeof(float);
}

/* Groups of more rows with an int8 cache, after rope. */
static void add_attention8_chunks(struct plan *p, uint32_t layer)
{
    const struct hip_model *m = p->m;
    uint32_t queries = CHUNK_QUERIES;
    while (chunk8_shared(m, queries) > room_of(p))
        queries /= 2;
    struct hip_launch *l =
        add(p, m->head_dim == WIDE ? HIP_KERNEL_attention8_128 : HIP_KERNEL_attention8,
            m->n_kv_heads, p->shape->groups, larger(p->shape->segments, 1));
    l->shared_bytes = chunk8_shared(m, queries);
    l->args.attention = attention_args(p, layer);
    l->args.attention.queries = queries;
}

/* Shared memory of a block of attention_32 or attention_64. */
static uint32_t chunk16_shared(const struct hip_model *m, uint32_t queries, uint32_t ring)
{
    enum { TILES = 4, META = 8, TOTALS = 4, CHUNK_WAVES = 4, PIECE = 32 * 32 * 2 };
    uint32_t floats = m->head_dim + TILES * ATTENTION_BLOCK + TILES * META + TOTALS;
    return queries * floats * (uint32_t)sizeof(float) + CHUNK_WAVES * ring * PIECE;
}

/* Groups of more rows with an f16 cache, after rope. */
static void add_attention_chunks(struct plan *p, uint32_t layer)
{
    const struct hip_model *m = p->m;
    uint32_t queries = CHUNK_QUERIES;
    uint32_t ring = 2;
    if (chunk16_shared(m, queries, ring) > room_of(p))
        queries /= 2;
    if (chunk16_shared(m, queries, ring) > room_of(p))
        ring = 1;
    struct hip_launch *l =
        add(p, queries == CHUNK_QUERIES ? HIP_KERNEL_attention_64 : HIP_KERNEL_attention_32,
            m->n_kv_heads, p->shape->groups, larger(p->shape->segments, 1));
    l->shared_bytes = chunk16_shared(m, queries, ring);
    l->args.attention = attention_args(p, layer);
    l->args.attention.queries = queries;
    l->args.attention.ring = ring;
}

/* q, k and v to attn: one launch where all groups have one row. */
static void add_attention(struct plan *p, uint32_t layer)
{
    if (p->shape->has_chunks)
        add_rope(p, layer);
    if (p->shape->has_rows)
        add_attention_row(p, layer);
    if (p->shape->has_chunks && p->m->is_kv_int8)
        add_attention8_chunks(p, layer);
    else if (p->shape->has_chunks)
        add_attention_chunks(p, layer);
}

/* ---- few rows ---- */

struct few {
    const float *x, *weight;
    const struct hip_matrix *w[3];
    float *y[3];
    uint32_t n_parts;
    enum hip_act act;
    bool is_added;
    uint32_t *arrived; /* NULL: blocks are not counted */
};

/* Words of shared memory of a block besides the codes. */
static uint32_t few_words(uint32_t tokens, uint32_t n_cols, uint32_t row_waves, uint32_t n_rows)
{
    uint32_t q = tokens * div_up(n_cols, FEW_SLICE) * FEW_SLICE / (uint32_t)sizeof(uint32_t);
    return FEW_FIXED + q + (tokens == 1 ? div_up(n_cols, FEW_SLICE) * FEW_SLICE : 0) +
           row_waves * tokens * n_rows;
}

/* How many waves share a row, so that the slowest has least to do. */
static uint32_t few_row_waves(uint32_t n_cols, uint32_t n_rows)
{
    uint32_t slices = div_up(n_cols, FEW_SLICE);
    uint32_t best = 1;
    uint32_t least = UINT32_MAX;
    for (uint32_t waves = 1; waves <= FEW_WAVES && waves <= slices; waves++) {
        uint32_t at_once = FEW_WAVES / waves * FEW_ROWS_AT_ONCE;
        uint32_t steps = div_up(n_rows, at_once) * (2 + div_up(slices, waves)); /* 2: the sums */
        if (steps < least)
            best = waves;
        least = steps < least ? steps : least;
    }
    return best;
}

/* How a launch is cut. */
struct few_cut {
    uint32_t tokens; /* of a block */
    uint32_t block_rows; /* or pairs of a gated unit */
    uint32_t row_waves;
    uint32_t shared_bytes;
    bool is_copied; /* codes to shared memory */
};

/* n_rows: or pairs. */
static struct few_cut few_cut(const struct plan *p, uint32_t n_rows, uint32_t n_cols, bool is_gated)
{
    const struct hip_limits *l = &p->b->limits;
    uint32_t processors = l->processors > 0 ? l->processors : SMALL_PROCESSORS;
    uint32_t room = l->shared_bytes > 0 ? l->shared_bytes : SMALL_SHARED;
    bool is_small = room <= SMALL_SHARED;
    uint32_t n = p->shape->rows;
    struct few_cut c = {.tokens = n <= (is_small ? 1U : 2U) ? n : 4};
    /* One block for each processor, or two small ones, if there is work for all waves. */
    uint32_t least = is_gated ? FEW_WAVES / 2 : FEW_WAVES;
    c.block_rows = larger(div_up(n_rows, is_small ? 2 * processors : processors), least);
    if (c.block_rows * c.tokens > FEW_THREADS)
        c.block_rows = FEW_THREADS / c.tokens;
    uint32_t in_shared = is_gated ? 2 * c.block_rows : c.block_rows;
    c.row_waves = few_row_waves(n_cols, in_shared);
    uint32_t codes = in_shared * stride_of(n_cols) / 4;
    uint32_t others =
        few_words(c.tokens, n_cols, c.row_waves, in_shared) * (uint32_t)sizeof(uint32_t);
    c.is_copied = !is_small && others + codes <= (room < FEW_COPIED_MAX ? room : FEW_COPIED_MAX);
    c.shared_bytes = others + (c.is_copied ? codes : 0);
    return c;
}

static bool is_few_matrix(const struct plan *p, const struct hip_matrix *w, uint32_t n_rows,
                          bool is_gated)
{
    uint32_t room = p->b->limits.shared_bytes > 0 ? p->b->limits.shared_bytes : SMALL_SHARED;
    return w->group == 0 && w->n_cols % 4 == 0 &&
           (p->shape->rows > 1 || w->n_cols <= FEW_MAX_COLS) &&
           few_cut(p, n_rows, w->n_cols, is_gated).shared_bytes <= room;
}

/* Whether few.hip does all layers of the plan. */
static bool is_few(const struct plan *p)
{
    const struct hip_model *m = p->m;
    bool is = p->shape->rows <= FEW_MAX_ROWS && m->hadamard == 0;
    for (uint32_t i = 0; i < m->n_layers && is; i++) {
        const struct hip_layer *l = &m->layers[i];
        is = is_few_matrix(p, &l->q, l->q.n_rows + l->k.n_rows + l->v.n_rows, false) &&
             is_few_matrix(p, &l->o, l->o.n_rows, false) &&
             is_few_matrix(p, &l->gate, l->gate.n_rows, true) &&
             is_few_matrix(p, &l->down, l->down.n_rows, false);
    }
    return is;
}

static enum hip_kernel few_kernel(const struct few_cut *c)
{
    if (!c->is_copied)
        return c->tokens == 1 ? HIP_KERNEL_few_direct_1 : HIP_KERNEL_few_direct_4;
    return c->tokens == 1 ? HIP_KERNEL_few_1 : c->tokens == 2 ? HIP_KERNEL_few_2 : HIP_KERNEL_few_4;
}

static void add_few(struct plan *p, const struct few *few)
{
    uint32_t n_cols = few->w[0]->n_cols;
    bool is_gated = few->act != HIP_ACT_NONE;
    struct hip_launch *l = add(p, HIP_KERNEL_few_1, 0, 0, 1);
    struct hip_few_args *a = &l->args.few;
    *a = (struct hip_few_args){
        .step = p->b->step,
        .x = few->x,
        .weight = few->weight,
        .eps = p->m->rms_eps,
        .n = n_cols,
        .q_stride = stride_of(n_cols),
        .is_added = few->is_added,
        .act = few->act,
        .awaited = p->awaited,
        .n_awaited = p->n_awaited,
        .arrived = few->arrived,
    };
    for (uint32_t i = 0; i < 3; i++) {
        a->parts[i].first_tile = UINT32_MAX;
        if (i >= few->n_parts)
            continue;
        a->parts[i] = (struct hip_linear_part){
            .codes = few->w[i]->codes,
            .scales = few->w[i]->scales,
            .y = few->y[i],
            .n_rows = few->w[i]->n_rows,
            .rows_per_scale = few->w[i]->rows_per_scale,
            .first_tile = a->n_rows,
        };
        a->n_rows += is_gated && i > 0 ? 0 : few->w[i]->n_rows;
    }
    struct few_cut c = few_cut(p, a->n_rows, n_cols, is_gated);
    a->block_rows = c.block_rows;
    a->row_waves = c.row_waves;
    l->kernel = few_kernel(&c);
    l->grid[0] = div_up(a->n_rows, c.block_rows);
    l->grid[1] = div_up(p->shape->rows, c.tokens);
    l->shared_bytes = c.shared_bytes;
    p->awaited = few->arrived;
    p->n_awaited = l->grid[0] * l->grid[1];
}

/* As add_layer; x has all that was added. */
static void add_few_layer(struct plan *p, uint32_t i)
{
    const struct hip_layer *l = &p->m->layers[i];
    const struct hip_buffers *b = p->b;
    add_few(p, &(struct few){.x = b->x,
                             .weight = l->input_norm,
                             .w = {&l->q, &l->k, &l->v},
                             .y = {b->qkv_q, b->qkv_k, b->qkv_v},
                             .n_parts = 3});
    add_attention(p, i);
    uint32_t *counts = b->counts + (size_t)i * FEW_COUNTS;
    add_few(p, &(struct few){.x = b->attn,
                             .weight = l->attn_sub_norm,
                             .w = {&l->o},
                             .y = {b->x},
                             .n_parts = 1,
                             .is_added = true,
                             .arrived = counts});
    add_few(p, &(struct few){.x = b->x,
                             .weight = l->post_attn_norm,
                             .w = {&l->gate, &l->up},
                             .y = {b->gate},
                             .n_parts = 2,
                             .act = p->m->act,
                             .arrived = counts + 1});
    add_few(p, &(struct few){.x = b->gate,
                             .weight = l->ffn_sub_norm,
                             .w = {&l->down},
                             .y = {b->x},
                             .n_parts = 1,
                             .is_added = true,
                             .arrived = counts + 2});
}

/* ---- a layer ---- */

static void add_layer(struct plan *p, uint32_t i)
{
    if (p->is_few) {
        add_few_layer(p, i);
        return;
    }
    const struct hip_model *m = p->m;
    const struct hip_layer *l = &m->layers[i];
    const struct hip_buffers *b = p->b;
    uint32_t rows = p->shape->rows;
    (void)add_norm(p,
                   &(struct norm){.x = b->x,
                                  .add = i > 0 ? b->proj : NULL,
                                  .weight = l->input_norm,
                                  .n = m->n_hidden,
                                  .input = 1,
                                  .group = l->q.group},
                   rows);
    add_linear(p, 3, (const struct hip_matrix *const[]){&l->q, &l->k, &l->v},
               (float *const[]){b->qkv_q, b->qkv_k, b->qkv_v});
    add_attention(p, i);
    (void)add_norm(p,
                   &(struct norm){.x = b->attn,
                                  .weight = l->attn_sub_norm,
                                  .n = m->n_heads * m->head_dim,
                                  .input = 2,
                                  .group = l->o.group},
                   rows);
    add_linear(p, 1, (const struct hip_matrix *const[]){&l->o}, (float *const[]){b->proj});
    (void)add_norm(p,
                   &(struct norm){.x = b->x,
                                  .add = b->proj,
                                  .weight = l->post_attn_norm,
                                  .n = m->n_hidden,
                                  .input = 4,
                                  .group = l->gate.group},
                   rows);
    add_linear(p, 2, (const struct hip_matrix *const[]){&l->gate, &l->up},
               (float *const[]){b->gate, b->up});
    (void)add_norm(p,
                   &(struct norm){.x = b->gate,
                                  .up = b->up,
                                  .act = m->act,
                                  .weight = l->ffn_sub_norm,
                                  .n = m->n_ffn,
                                  .input = 8,
                                  .group = l->down.group},
                   rows);
    add_linear(p, 1, (const struct hip_matrix *const[]){&l->down}, (float *const[]){b->proj});
}

/* The largest of [wanted][vocab] into tops. */
static void add_top(struct plan *p, const float *logits, struct hip_top *tops)
{
    const struct hip_model *m = p->m;
    bool is_one = p->shape->top == 1;
    uint32_t n = is_one ? div_up(m->n_vocab, HIP_TOP_ONE) : n_chunks(m);
    struct hip_launch *chunk =
        add(p, is_one ? HIP_KERNEL_top_one : HIP_KERNEL_top_chunk, n, p->shape->wanted, 1);
    chunk->shared_bytes = HIP_TOP_CHUNK * (uint32_t)sizeof(uint64_t);
    chunk->args.top = (struct hip_top_args){
        .step = p->b->step,
        .wanted = p->b->wanted,
        .logits = logits,
        .keys = p->b->keys,
        .tops = tops,
        .n_vocab = m->n_vocab,
        .n_chunks = n,
        .top = p->shape->top,
    };
    struct hip_launch *merge = add(p, HIP_KERNEL_top_merge, p->shape->wanted, 1, 1);
    merge->shared_bytes = chunk->shared_bytes;
    merge->args.top = chunk->args.top;
}

/* Bounds of all logits, and the largest lower ones. */
static void add_bounds(struct plan *p)
{
    const struct hip_model *m = p->m;
    uint32_t n = p->shape->wanted;
    struct hip_launch *split = add(p, HIP_KERNEL_head_split, n, 1, 1);
    split->shared_bytes = WAVES * (uint32_t)(2 * sizeof(double) + sizeof(float));
    split->args.bounds = (struct hip_bounds_args){
        .step = p->b->step,
        .h = p->b->last,
        .high = p->b->last_high,
        .low = p->b->last_low,
        .input = p->b->last_input,
        .n_pairs = p->b->n_pairs,
        .head8 = m->head8,
        .scale = m->head8_scale,
        .err = m->head8_err,
        .norm = m->head8_norm,
        .lower = p->b->lower,
        .upper = p->b->upper,
        .n = m->n_hidden,
        .stride = (uint32_t)hip_head8_stride(m->n_hidden),
        .n_vocab = m->n_vocab,
    };
    static const struct linear_choice BY_WANTED[] = {
        {HIP_KERNEL_head_bounds_1, BOUND_ROWS, 1, 0, 0, 0},
        {HIP_KERNEL_head_bounds_4, BOUND_ROWS, 4, 0, 0, 0},
        {HIP_KERNEL_head_bounds_16, 128, 16, 3 * (32 + 128) * BOUND_STRIDE, 4, (32 + 128) * 128},
        {HIP_KERNEL_head_bounds_32, 128, 32, 2 * (64 + 128) * BOUND_STRIDE, 4, (64 + 128) * 128},
        {HIP_KERNEL_head_bounds_64, 128, 64, 2 * (128 + 128) * BOUND_STRIDE, 3, (128 + 128) * 128},
    };
    const struct linear_choice *c = BY_WANTED;
    while (n > c->tokens && c->kernel != HIP_KERNEL_head_bounds_64)
        c++;
    struct hip_launch *bounds =
        add(p, c->kernel, div_up(m->n_vocab, c->rows), div_up(n, c->tokens), 1);
    bounds->shared_bytes = stages_bytes(p, c->shared_bytes, c->n_stages * c->stage_bytes);
    bounds->args.bounds = split->args.bounds;
    add_top(p, p->b->lower, p->b->least);
}

static void add_head(struct plan *p)
{
    const struct hip_model *m = p->m;
    uint32_t n = p->shape->wanted;
    bool has_bounds = p->shape->is_sparse && p->shape->top > 0 && m->head8 != NULL;
    struct hip_norm_args *norm = add_norm(p,
                                          &(struct norm){.x = p->b->x,
                                                         .add = p->is_few ? NULL : p->b->proj,
                                                         .weight = m->final_norm,
                                                         .n = m->n_hidden,
                                                         .is_plain = true},
                                          n);
    norm->wanted = p->b->wanted;
    norm->y = p->b->last;
    if (has_bounds)
        add_bounds(p);
    struct hip_head_args args = {
        .step = p->b->step,
        .wanted = p->b->wanted,
        .head = m->head,
        .h = p->b->last,
        .logits = p->b->logits,
        .upper = has_bounds ? p->b->upper : NULL,
        .least = p->b->least,
        .pairs = (void *)p->b->lower, /* which is not read again */
        .n_pairs = p->b->n_pairs,
        .n = m->n_hidden,
        .n_vocab = m->n_vocab,
        .top = p->shape->top,
        .n_blocks = PAIR_BLOCKS,
    };
    if (has_bounds && n > 1) {
        struct hip_launch *ask =
            add(p, HIP_KERNEL_head_ask, div_up(m->n_vocab, ASK_ROWS), div_up(n, ASK_TOKENS), 1);
        ask->shared_bytes = (1 + ASK_TOKENS) * (uint32_t)sizeof(float);
        ask->args.head = args;
        add(p, HIP_KERNEL_head_pairs, PAIR_BLOCKS, 1, 1)->args.head = args;
    } else {
        add(p, n == 1 ? HIP_KERNEL_head_1 : HIP_KERNEL_head_4, div_up(m->n_vocab, HEAD_ROWS),
            n == 1 ? 1 : div_up(n, 4), 1)
            ->args.head = args;
    }
    if (p->shape->top > 0)
        add_top(p, p->b->logits, p->b->tops);
}

size_t hip_plan(const struct hip_model *m, const struct hip_buffers *b, uint8_t *cache,
                const struct hip_shape *shape, struct hip_launch *launches)
{
    struct plan p = {.m = m, .b = b, .shape = shape, .cache = cache, .launches = launches};
    p.is_few = is_few(&p);
    struct hip_launch *l = add(&p, HIP_KERNEL_embed, shape->rows, 1, 1);
    l->args.embed = (struct hip_embed_args){
        .step = b->step,
        .rows = b->rows,
        .embedding = m->embedding,
        .x = b->x,
        .counts = b->counts,
        .n = m->n_hidden,
        .n_counts = p.is_few ? m->n_layers * FEW_COUNTS : 0,
    };
    for (uint32_t i = 0; i < m->n_layers; i++)
        add_layer(&p, i);
    if (shape->wanted > 0)
        add_head(&p);
    l = add(&p, HIP_KERNEL_finish, 1, 1, 1);
    l->args.finish = (struct hip_finish_args){.step = b->step, .result = b->result};
    return p.n;
}
