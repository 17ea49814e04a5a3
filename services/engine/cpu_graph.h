/* SPDX-License-Identifier: MIT */
/* cpu_graph: the forward pass of one step over the memory of backend_cpu.
 *
 *   x = embedding[token]
 *   per layer:  h = q8(norm(x));        q, k, v = W h;  rope(q, k);  a = attention(q; K, V)
 *               x += W_o q8(a')
 *               h = q8(norm(x));        x += W_down q8(g'),  g = act(W_gate h) * (W_up h)
 *   logits = head * norm(x)
 *
 * BitNet (arXiv 2504.12285) normalises a and g into a' and g'; Llama and Qwen3 take them as they are,
 * and Qwen3 normalises each head of q and k before RoPE. A Hadamard rotation may precede any q8. The
 * pointers in struct model_layer and the model's config say which of these there are.
 *
 * A step is a list of rows (tokens of any sequences). Each operation runs over all rows before the
 * next one starts, shared among the pool's threads by rows, by output rows of a matrix, or by KV
 * heads; each output value is computed by one thread in the kernel's own order, so the split does not
 * show in the bits. Where that makes few tasks of attention, segments of the sequence make more.
 *
 * A KV block holds for each layer and KV head its part, in f16 or int8, as kernels/attention lays it
 * out. */
#ifndef HALO_ENGINE_CPU_GRAPH_H
#define HALO_ENGINE_CPU_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "services/engine/backend.h"
#include "services/engine/fast_head.h"
#include "services/engine/kv.h"
#include "services/engine/model.h"
#include "services/engine/pool.h"

enum { CPU_ATTENTION_TOKENS = 16 }; /* most rows of a group: each task reads the cache once */

struct cpu_row {
    uint32_t token;
    uint32_t pos;
    uint8_t *block; /* of its own position */
};

/* Consecutive rows of one item: one task of attention for each KV head, or for each KV head and a part
 * of the segments. */
struct cpu_group {
    const uint8_t *const *blocks;
    uint32_t row0;
    uint32_t n_rows;
    uint32_t pos0;
    uint32_t n_splits; /* tasks of a KV head; 1: not split */
    uint32_t first_task; /* of the group's */
    size_t sums_at; /* floats from cpu.sums on; of the group's first KV head */
};

struct cpu {
    struct backend base;
    const struct model *model;
    const struct kernels *k;
    struct pool *pool;
    enum kv_type kv_type;
    uint8_t *cache;
    size_t cache_bytes;
    size_t block_bytes, part_bytes; /* a part is what one KV head has of a block in one layer */

    struct cpu_row *rows;
    uint32_t n_rows;
    struct cpu_group *groups;
    uint32_t n_groups;
    const uint8_t **block_ptrs; /* all items' blocks, one list after the other */
    size_t cap_block_ptrs;

    size_t n_q, n_kv; /* values per row of queries, of keys */
    float *x; /* [rows][hidden] residual stream */
    float *proj; /* [rows][hidden] output of o and down */
    float *normed; /* [rows][widest] */
    float *q, *key, *value, *attn;
    float *gate, *up;
    float *sums; /* of segments, where attention is split */
    size_t cap_sums;
    uint32_t n_attention_tasks;
    bool is_split; /* one group at least */
    float *last; /* [max_logits][hidden] normed rows that go to the head */
    float *logits; /* [max_logits][vocab] */
    struct quantized act;
    struct fast_head *fast_head; /* NULL: none */
    bool does_release; /* pages of embedding and head, for they lie in the file */
    uint64_t head_bytes; /* that full heads have read so far */
    uint64_t n_steps;
    uint64_t n_released; /* rows read when pages were let go last */
    uint32_t *wanted; /* rows whose logits are wanted */
    struct backend_want *wants; /* and which of them */
    struct backend_logits *got; /* the answers */
    uint32_t n_wanted;

    uint32_t layer; /* being computed */
};

/* Divides attention of the groups into tasks. Before cpu_graph_run. ERR_NOMEM. */
MUST_CHECK enum err cpu_graph_plan(struct cpu *c);

/* Computes the rows, groups and wanted logits that were set up. */
void cpu_graph_run(struct cpu *c);

#endif
