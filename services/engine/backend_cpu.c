/* SPDX-License-Identifier: MIT */
/* The memory of the pass, and the list of rows that a step is made into; cpu_graph computes it. */
#include "services/engine/backend_cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/check.h"
#include "services/engine/cpu_graph.h"
#include "services/engine/kv.h"

_Static_assert((int)KV_BLOCK == (int)ATTENTION_BLOCK, "kv blocks are attention's tiles");

enum {
    RELEASE_HEAD_BYTES = 64 << 20, /* a smaller head is not worth the page faults */
    BIG_MODEL_BYTES = 64 << 20, /* read for each token: does not stay in the last level cache */
    /* Of AVX-512, from halo-bench --threads 1 --pp 16 --batch 1,2,4,8: 700m 6.5, 8.3, 8.8, 18 ms a
     * step; demo, which is in cache, 0.56, 0.75, 1.4, 2.9 ms. */
    BASE_ROWS_BIG = 3,
    BASE_ROWS_SMALL = 1,
};

/* ---- the rows of a step ---- */

static void add_item(struct cpu *c, struct backend_item *item, const uint8_t **blocks)
{
    uint32_t n_blocks = (item->pos0 + item->n_tokens + KV_BLOCK - 1) / KV_BLOCK;
    for (uint32_t i = 0; i < n_blocks; i++)
        blocks[i] = c->cache + item->blocks[i] * c->block_bytes;
    for (uint32_t i = 0; i < item->n_tokens; i++) {
        uint32_t pos = item->pos0 + i;
        ASSERT(item->tokens[i] < c->model->config.n_vocab && pos < c->model->config.n_ctx);
        if (i % CPU_ATTENTION_TOKENS == 0)
            c->groups[c->n_groups++] =
                (struct cpu_group){.blocks = blocks, .row0 = c->n_rows, .pos0 = pos};
        c->groups[c->n_groups - 1].n_rows++;
        c->rows[c->n_rows++] = (struct cpu_row){
            .token = item->tokens[i],
            .pos = pos,
            .block = c->cache + item->blocks[pos / KV_BLOCK] * c->block_bytes,
        };
    }
    item->got = c->got + c->n_wanted;
    for (uint32_t i = item->n_logits; i > 0; i--) {
        c->wants[c->n_wanted] = item->want;
        c->wants[c->n_wanted].noise.index += item->n_logits - i;
        c->wanted[c->n_wanted++] = c->n_rows - i;
    }
}

static enum err set_up_rows(struct cpu *c, struct backend_item *items, uint32_t n_items)
{
    size_t n_blocks = 0;
    uint32_t n_rows = 0;
    uint32_t n_wanted = 0;
    for (uint32_t i = 0; i < n_items; i++) {
        n_blocks += (items[i].pos0 + items[i].n_tokens + KV_BLOCK - 1) / KV_BLOCK;
        n_rows += items[i].n_tokens;
        ASSERT(items[i].n_logits <= items[i].n_tokens);
        n_wanted += items[i].n_logits;
    }
    ASSERT(n_rows <= c->base.max_rows && n_wanted <= c->base.max_logits);
    if (n_blocks > c->cap_block_ptrs) {
        const uint8_t **p = realloc((void *)c->block_ptrs, n_blocks * 2 * sizeof *p);
        if (p == NULL)
            return ERR_NOMEM;
        c->block_ptrs = p;
        c->cap_block_ptrs = n_blocks * 2;
    }
    c->n_rows = 0;
    c->n_groups = 0;
    c->n_wanted = 0;
    const uint8_t **blocks = c->block_ptrs;
    for (uint32_t i = 0; i < n_items; i++) {
        add_item(c, &items[i], blocks);
        blocks += (items[i].pos0 + items[i].n_tokens + KV_BLOCK - 1) / KV_BLOCK;
    }
    return ERR_OK;
}

static enum err cpu_step(struct backend *b, struct backend_item *items, uint32_t n_items)
{
    struct cpu *c = (struct cpu *)b;
    enum err e = set_up_rows(c, items, n_items);
    if (e)
        return e;
    e = cpu_graph_plan(c);
    if (e)
        return e;
    cpu_graph_run(c);
    return ERR_OK;
}

/* ---- blocks in and out ---- */

static enum err cpu_kv_read(struct backend *b, uint32_t block, uint8_t *bytes)
{
    const struct cpu *c = (const struct cpu *)b;
    ASSERT(block < c->base.n_blocks);
    memcpy(bytes, c->cache + block * c->block_bytes, c->block_bytes);
    return ERR_OK;
}

static enum err cpu_kv_write(struct backend *b, uint32_t block, const uint8_t *bytes)
{
    struct cpu *c = (struct cpu *)b;
    ASSERT(block < c->base.n_blocks);
    memcpy(c->cache + block * c->block_bytes, bytes, c->block_bytes);
    return ERR_OK;
}

/* ---- memory ---- */

static size_t part_bytes(const struct model_config *c, enum kv_type type)
{
    return type == KV_INT8 ? attention8_part_bytes(c->head_dim) : attention_part_bytes(c->head_dim);
}

uint64_t backend_cpu_block_bytes(const struct model *m, enum kv_type type)
{
    const struct model_config *c = &m->config;
    return (uint64_t)c->n_layers * c->n_kv_heads * part_bytes(c, type);
}

uint64_t backend_cpu_head_bytes(const struct backend *b)
{
    const struct cpu *c = (const struct cpu *)b;
    return c->head_bytes + (c->fast_head != NULL ? fast_head_bytes_read(c->fast_head) : 0);
}

static void cpu_free(struct backend *b)
{
    struct cpu *c = (struct cpu *)b;
    fast_head_free(c->fast_head);
    pool_free(c->pool);
    if (c->cache != NULL)
        (void)munmap(c->cache, c->cache_bytes);
    void *const parts[] = {c->rows,      c->groups,  (void *)c->block_ptrs,
                           c->x,         c->proj,    c->normed,
                           c->q,         c->key,     c->value,
                           c->attn,      c->gate,    c->up,
                           c->last,      c->logits,  c->act.q,
                           c->act.scale, c->act.sum, c->wanted,
                           c->wants,     c->got,     c->sums};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        free(parts[i]);
    free(c);
}

/* n * size bytes on a cache line; false, and *ret untouched, when memory runs out. */
static bool take(void *ret_pointer, size_t n, size_t size)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - 64)
        return false;
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (p == NULL)
        return false;
    memcpy(ret_pointer, &p, sizeof p);
    return true;
}

static bool take_all(struct cpu *c)
{
    const struct model_config *m = &c->model->config;
    size_t rows = c->base.max_rows;
    size_t widest = m->n_ffn;
    widest = m->n_hidden > widest ? m->n_hidden : widest;
    widest = c->n_q > widest ? c->n_q : widest;
    size_t max_logits = c->base.max_logits;
    return take(&c->rows, rows, sizeof *c->rows) && take(&c->groups, rows, sizeof *c->groups) &&
           take(&c->x, rows * m->n_hidden, sizeof(float)) &&
           take(&c->proj, rows * m->n_hidden, sizeof(float)) &&
           take(&c->normed, rows * widest, sizeof(float)) &&
           take(&c->q, rows * c->n_q, sizeof(float)) &&
           take(&c->key, rows * c->n_kv, sizeof(float)) &&
           take(&c->value, rows * c->n_kv, sizeof(float)) &&
           take(&c->attn, rows * c->n_q, sizeof(float)) &&
           take(&c->gate, rows * m->n_ffn, sizeof(float)) &&
           take(&c->up, rows * m->n_ffn, sizeof(float)) &&
           take(&c->act.q, rows, quantize_stride(widest)) &&
           take(&c->act.scale, rows * (widest / 64 + 1), sizeof *c->act.scale) &&
           take(&c->act.sum, rows, sizeof *c->act.sum) &&
           take(&c->last, max_logits * m->n_hidden, sizeof(float)) &&
           take(&c->logits, max_logits * m->n_vocab, sizeof(float)) &&
           take(&c->wanted, max_logits, sizeof *c->wanted) &&
           take(&c->wants, max_logits, sizeof *c->wants) &&
           take(&c->got, max_logits, sizeof *c->got);
}

static enum err set_up(struct cpu *c, const struct backend_cpu_config *config)
{
    const struct model_config *m = &config->model->config;
    c->n_q = (size_t)m->n_heads * m->head_dim;
    c->n_kv = (size_t)m->n_kv_heads * m->head_dim;
    c->kv_type = config->kv_type;
    c->does_release = config->has_fast_head && model_has_head_in_file(c->model) &&
                      model_head_bytes(c->model) >= RELEASE_HEAD_BYTES;
    c->part_bytes = part_bytes(m, c->kv_type);
    c->block_bytes = (size_t)backend_cpu_block_bytes(config->model, c->kv_type);
    c->base.kv_bytes = c->block_bytes;
    if (__builtin_mul_overflow(config->n_blocks, c->block_bytes, &c->cache_bytes) || !take_all(c))
        return ERR_NOMEM;
    void *cache =
        mmap(NULL, c->cache_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (cache == MAP_FAILED)
        return ERR_NOMEM;
    c->cache = cache;
    (void)madvise(cache, c->cache_bytes, MADV_HUGEPAGE);
    enum err e = pool_new(config->n_threads, &c->pool);
    if (!e && config->has_fast_head)
        e = fast_head_new(c->model, c->k, c->pool, c->base.max_logits, &c->fast_head);
    return e;
}

void backend_cpu_fill_cache(struct backend *b)
{
    struct cpu *c = (struct cpu *)b;
    const struct model_config *m = &c->model->config;
    float key[ATTENTION_MAX_HEAD_DIM];
    float value[ATTENTION_MAX_HEAD_DIM];
    uint32_t state = 1;
    for (size_t at = 0; at < c->cache_bytes; at += c->part_bytes) {
        for (size_t slot = 0; slot < ATTENTION_BLOCK; slot++) {
            for (size_t d = 0; d < m->head_dim; d++) {
                state = state * 1664525U + 1013904223U;
                key[d] = (float)(state >> 16) * 0x1p-15F - 1.0F;
                value[d] = (float)(state >> 8 & 0xffff) * 0x1p-15F - 1.0F;
            }
            if (c->kv_type == KV_INT8)
                c->k->attention8_store(key, value, m->head_dim, slot, c->cache + at);
            else
                c->k->attention_store(key, value, m->head_dim, slot, c->cache + at);
        }
    }
}

enum err backend_cpu_new(const struct backend_cpu_config *config, struct backend **ret_backend)
{
    static const struct backend_ops OPS = {
        .step = cpu_step, .kv_read = cpu_kv_read, .kv_write = cpu_kv_write, .free = cpu_free};
    struct cpu *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_NOMEM;
    c->base = (struct backend){.ops = &OPS,
                               .n_blocks = config->n_blocks,
                               .max_rows = config->max_rows,
                               .max_logits = config->max_logits,
                               .base_rows = config->model->bytes_per_token > BIG_MODEL_BYTES
                                                ? BASE_ROWS_BIG
                                                : BASE_ROWS_SMALL};
    (void)snprintf(c->base.name, sizeof c->base.name, "cpu/%s%s", config->kernels->isa_name,
                   config->kv_type == KV_INT8 ? "/kv-int8" : "");
    c->model = config->model;
    c->k = config->kernels;
    enum err e = set_up(c, config);
    if (e) {
        cpu_free(&c->base);
        return e;
    }
    *ret_backend = &c->base;
    return ERR_OK;
}
