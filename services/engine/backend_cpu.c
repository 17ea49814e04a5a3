/* SPDX-License-Identifier: MIT */
/* The graph of BitNet b1.58 2B-4T (data: transformers' modeling_bitnet, arXiv 2504.12285):
 *
 *   x = embedding[token]
 *   per layer:  h = q8(norm(x));        q, k, v = W h;  rope(q, k);  a = attention(q; K, V)
 *               x += W_o q8(norm(a))
 *               h = q8(norm(x));        x += W_down q8(norm(relu(W_gate h)^2 * (W_up h)))
 *   logits = head * norm(x)
 *
 * A step is a list of rows (tokens of any sequences). Each operation runs over all rows before the
 * next one starts, shared among the pool's threads by rows, by output rows of a matrix, or by KV
 * heads; each output value is computed by one thread in the kernel's own order, so the split does not
 * show in the bits.
 *
 * A KV block holds for each layer and KV head K[head_dim][32] and V[32][head_dim] in f16. */
#include "services/engine/backend_cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/check.h"
#include "common/notify.h"
#include "services/engine/fast_head.h"
#include "services/engine/kv.h"
#include "services/engine/pool.h"

_Static_assert((int)KV_BLOCK == (int)ATTENTION_BLOCK, "kv blocks are attention's tiles");

enum {
    ROWS_PER_TASK = 4, /* of the operations that go row by row */
    ATTENTION_TOKENS = 16, /* of one sequence per task: each reads the cache once */
    OUT_ALIGN = 16, /* matrix rows: where the kernels run fastest */
    TASKS_PER_THREAD = 4, /* so that a thread that starts late costs a quarter of its share */
    MIN_TASK_BYTES = 16384, /* of weights; less is not worth handing to another thread */
    BIG_MODEL_BYTES = 64 << 20, /* read for each token: does not stay in the last level cache */
    /* Of AVX-512, from halo-bench --threads 1 --pp 16 --batch 1,2,4,8: 700m 6.5, 8.3, 8.8, 18 ms a
     * step; demo, which is in cache, 0.56, 0.75, 1.4, 2.9 ms. */
    BASE_ROWS_BIG = 3,
    BASE_ROWS_SMALL = 1,
};

struct row {
    uint32_t token;
    uint32_t pos;
    uint16_t *block; /* of its own position */
};

/* Consecutive rows of one item: one task of attention for each KV head. */
struct group {
    const uint16_t *const *blocks;
    uint32_t row0;
    uint32_t n_rows;
    uint32_t pos0;
};

struct cpu {
    struct backend base;
    const struct model *model;
    const struct kernels *k;
    struct pool *pool;
    uint16_t *cache;
    size_t cache_bytes;
    size_t block_elements;

    struct row *rows;
    uint32_t n_rows;
    struct group *groups;
    uint32_t n_groups;
    const uint16_t **block_ptrs; /* all items' blocks, one list after the other */
    size_t cap_block_ptrs;

    size_t n_q, n_kv; /* values per row of queries, of keys */
    float *x; /* [rows][hidden] residual stream */
    float *proj; /* [rows][hidden] output of o and down */
    float *normed; /* [rows][widest] */
    float *q, *key, *value, *attn;
    float *gate, *up;
    float *last; /* [max_logits][hidden] normed rows that go to the head */
    float *logits; /* [max_logits][vocab] */
    struct quantized act;
    struct fast_head *fast_head; /* NULL: none */
    uint32_t *wanted; /* rows whose logits are wanted */
    uint32_t *n_top; /* and how many of them */
    uint32_t n_wanted;

    uint32_t layer; /* being computed */
};

/* ---- sharing work ---- */

struct row_job {
    struct cpu *c;
    void (*one)(struct cpu *c, uint32_t row);
    uint32_t n_rows;
};

static void row_task(void *ctx, uint32_t i)
{
    const struct row_job *job = ctx;
    uint32_t end = (i + 1) * ROWS_PER_TASK < job->n_rows ? (i + 1) * ROWS_PER_TASK : job->n_rows;
    for (uint32_t row = i * ROWS_PER_TASK; row < end; row++)
        job->one(job->c, row);
}

static void each_row(struct cpu *c, uint32_t n_rows, void (*one)(struct cpu *c, uint32_t row))
{
    struct row_job job = {.c = c, .one = one, .n_rows = n_rows};
    pool_run(c->pool, (n_rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK, row_task, &job);
}

/* Rows of a matrix per task. */
static uint32_t rows_per_task(const struct cpu *c, uint64_t n_rows, uint64_t row_bytes)
{
    uint64_t n_tasks = (uint64_t)pool_n_threads(c->pool) * TASKS_PER_THREAD;
    uint64_t most = n_rows * row_bytes / MIN_TASK_BYTES;
    n_tasks = most < n_tasks ? most : n_tasks;
    n_tasks = n_tasks > 0 ? n_tasks : 1;
    uint64_t per_task = (n_rows + n_tasks - 1) / n_tasks;
    return (uint32_t)((per_task + OUT_ALIGN - 1) / OUT_ALIGN * OUT_ALIGN);
}

struct linear {
    const struct ternary_weights *w;
    float *y; /* [rows][w->n_rows] */
    uint32_t per_task;
    uint32_t n_tasks;
};

struct linear_job {
    struct cpu *c;
    struct linear parts[3];
};

static void linear_task(void *ctx, uint32_t i)
{
    const struct linear_job *job = ctx;
    const struct linear *part = job->parts;
    while (i >= part->n_tasks) {
        i -= part->n_tasks;
        part++;
    }
    size_t row0 = (size_t)i * part->per_task;
    size_t row1 = row0 + part->per_task < part->w->n_rows ? row0 + part->per_task : part->w->n_rows;
    job->c->k->ternary_matmul(part->w, &job->c->act, row0, row1, part->y, part->w->n_rows);
}

/* Multiplies the quantised activations by up to three matrices at once. */
static void linears(struct cpu *c, uint32_t n, const struct ternary_weights *const *w,
                    float *const *y)
{
    struct linear_job job = {.c = c};
    uint32_t n_tasks = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t per_task = rows_per_task(c, w[i]->n_rows, ternary_row_bytes(w[i]->n_cols));
        job.parts[i] = (struct linear){.w = w[i],
                                       .y = y[i],
                                       .per_task = per_task,
                                       .n_tasks = (w[i]->n_rows + per_task - 1) / per_task};
        n_tasks += job.parts[i].n_tasks;
    }
    pool_run(c->pool, n_tasks, linear_task, &job);
}

/* ---- operations on one row ---- */

static const struct model_layer *layer_of(const struct cpu *c)
{
    return &c->model->layers[c->layer];
}

static void norm_quantize(struct cpu *c, uint32_t row, const float *x, const float *w, uint32_t n)
{
    float *y = c->normed + (size_t)row * n;
    c->k->rmsnorm_row(x, w, n, c->model->config.rms_eps, y);
    c->k->quantize_row(y, &c->act, row);
}

/* Shape of c->act for the next matrices; its rows are filled afterwards. */
static void set_act(struct cpu *c, uint32_t n_cols)
{
    c->act.n_cols = n_cols;
    c->act.stride = quantize_stride(n_cols);
    c->act.n_tokens = c->n_rows;
}

static void embed_row(struct cpu *c, uint32_t row)
{
    size_t n = c->model->config.n_hidden;
    c->k->f16_decode(c->model->embedding + c->rows[row].token * n, n, c->x + row * n);
}

static void add_row(struct cpu *c, uint32_t row)
{
    size_t n = c->model->config.n_hidden;
    c->k->residual_add(c->proj + row * n, n, c->x + row * n);
}

static void attn_input_row(struct cpu *c, uint32_t row)
{
    uint32_t n = c->model->config.n_hidden;
    if (c->layer > 0)
        add_row(c, row); /* what the layer before ended with */
    norm_quantize(c, row, c->x + (size_t)row * n, layer_of(c)->input_norm, n);
}

static size_t head_offset(const struct cpu *c, uint32_t kv_head)
{
    const struct model_config *cfg = &c->model->config;
    size_t n = attention_block_elements(cfg->head_dim);
    return ((size_t)c->layer * cfg->n_kv_heads + kv_head) * 2 * n;
}

static void rope_store_row(struct cpu *c, uint32_t row)
{
    const struct model_config *cfg = &c->model->config;
    const struct row *r = &c->rows[row];
    const float *cos = c->model->rope_cos + (size_t)r->pos * (cfg->head_dim / 2);
    const float *sin = c->model->rope_sin + (size_t)r->pos * (cfg->head_dim / 2);
    float *key = c->key + row * c->n_kv;
    const float *value = c->value + row * c->n_kv;
    c->k->rope_rotate(c->q + row * c->n_q, cfg->n_heads, cfg->head_dim, cos, sin);
    c->k->rope_rotate(key, cfg->n_kv_heads, cfg->head_dim, cos, sin);
    for (uint32_t h = 0; h < cfg->n_kv_heads; h++) {
        uint16_t *k_block = r->block + head_offset(c, h);
        size_t at = (size_t)h * cfg->head_dim;
        c->k->attention_store(key + at, value + at, cfg->head_dim, r->pos % KV_BLOCK, k_block,
                              k_block + attention_block_elements(cfg->head_dim));
    }
}

static void attention_task(void *ctx, uint32_t i)
{
    struct cpu *c = ctx;
    const struct model_config *cfg = &c->model->config;
    const struct group *g = &c->groups[i / cfg->n_kv_heads];
    uint32_t kv_head = i % cfg->n_kv_heads;
    size_t n_shared = cfg->n_heads / cfg->n_kv_heads;
    size_t at = g->row0 * c->n_q + kv_head * n_shared * cfg->head_dim;
    size_t k_offset = head_offset(c, kv_head);
    c->k->attention_run(&(struct attention){
        .blocks = g->blocks,
        .k_offset = k_offset,
        .v_offset = k_offset + attention_block_elements(cfg->head_dim),
        .head_dim = cfg->head_dim,
        .n_heads = n_shared,
        .n_tokens = g->n_rows,
        .pos0 = g->pos0,
        .q = c->q + at,
        .q_stride = c->n_q,
        .out = c->attn + at,
        .out_stride = c->n_q,
    });
}

static void attn_output_row(struct cpu *c, uint32_t row)
{
    norm_quantize(c, row, c->attn + row * c->n_q, layer_of(c)->attn_sub_norm, (uint32_t)c->n_q);
}

static void ffn_input_row(struct cpu *c, uint32_t row)
{
    uint32_t n = c->model->config.n_hidden;
    add_row(c, row);
    norm_quantize(c, row, c->x + (size_t)row * n, layer_of(c)->post_attn_norm, n);
}

static void ffn_inner_row(struct cpu *c, uint32_t row)
{
    uint32_t n = c->model->config.n_ffn;
    float *gate = c->gate + (size_t)row * n;
    c->k->glu_relu2(gate, c->up + (size_t)row * n, n, gate);
    norm_quantize(c, row, gate, layer_of(c)->ffn_sub_norm, n);
}

static void head_input_row(struct cpu *c, uint32_t i)
{
    size_t n = c->model->config.n_hidden;
    add_row(c, c->wanted[i]);
    c->k->rmsnorm_row(c->x + c->wanted[i] * n, c->model->final_norm, n, c->model->config.rms_eps,
                      c->last + i * n);
}

/* ---- the pass ---- */

static void run_layer(struct cpu *c)
{
    const struct model_config *cfg = &c->model->config;
    const struct model_layer *l = layer_of(c);
    set_act(c, cfg->n_hidden);
    each_row(c, c->n_rows, attn_input_row);
    linears(c, 3, (const struct ternary_weights *const[]){&l->q, &l->k, &l->v},
            (float *const[]){c->q, c->key, c->value});
    each_row(c, c->n_rows, rope_store_row);
    pool_run(c->pool, c->n_groups * cfg->n_kv_heads, attention_task, c);
    set_act(c, (uint32_t)c->n_q);
    each_row(c, c->n_rows, attn_output_row);
    linears(c, 1, (const struct ternary_weights *const[]){&l->o}, (float *const[]){c->proj});
    set_act(c, cfg->n_hidden);
    each_row(c, c->n_rows, ffn_input_row);
    linears(c, 2, (const struct ternary_weights *const[]){&l->gate, &l->up},
            (float *const[]){c->gate, c->up});
    set_act(c, cfg->n_ffn);
    each_row(c, c->n_rows, ffn_inner_row);
    linears(c, 1, (const struct ternary_weights *const[]){&l->down}, (float *const[]){c->proj});
}

struct head_job {
    struct cpu *c;
    uint32_t per_task;
};

static void head_task(void *ctx, uint32_t i)
{
    const struct head_job *job = ctx;
    struct cpu *c = job->c;
    const struct model_config *cfg = &c->model->config;
    size_t row0 = (size_t)i * job->per_task;
    size_t row1 = row0 + job->per_task < cfg->n_vocab ? row0 + job->per_task : cfg->n_vocab;
    struct head_input in = {.h = c->last, .stride = cfg->n_hidden, .n_tokens = c->n_wanted};
    c->k->head_logits(c->model->head, cfg->n_hidden, &in, row0, row1, c->logits, cfg->n_vocab);
}

/* One row that wants all logits makes the full head be read, and then the others may have it, too. */
static bool can_run_fast_head(const struct cpu *c)
{
    bool can = c->fast_head != NULL;
    for (uint32_t i = 0; i < c->n_wanted; i++)
        can = can && c->n_top[i] >= 1 && c->n_top[i] <= FAST_HEAD_MAX_TOP;
    return can;
}

static void run_head(struct cpu *c)
{
    if (c->n_wanted == 0)
        return;
    const struct model_config *cfg = &c->model->config;
    each_row(c, c->n_wanted, head_input_row);
    if (can_run_fast_head(c) &&
        fast_head_run(c->fast_head, c->last, c->n_top, c->n_wanted, c->logits))
        return;
    struct head_job job = {.c = c,
                           .per_task = rows_per_task(c, cfg->n_vocab, 2ULL * cfg->n_hidden)};
    pool_run(c->pool, (cfg->n_vocab + job.per_task - 1) / job.per_task, head_task, &job);
}

static void add_item(struct cpu *c, struct backend_item *item, const uint16_t **blocks)
{
    uint32_t n_blocks = (item->pos0 + item->n_tokens + KV_BLOCK - 1) / KV_BLOCK;
    for (uint32_t i = 0; i < n_blocks; i++)
        blocks[i] = c->cache + item->blocks[i] * c->block_elements;
    for (uint32_t i = 0; i < item->n_tokens; i++) {
        uint32_t pos = item->pos0 + i;
        ASSERT(item->tokens[i] < c->model->config.n_vocab && pos < c->model->config.n_ctx);
        if (i % ATTENTION_TOKENS == 0)
            c->groups[c->n_groups++] =
                (struct group){.blocks = blocks, .row0 = c->n_rows, .pos0 = pos};
        c->groups[c->n_groups - 1].n_rows++;
        c->rows[c->n_rows++] = (struct row){
            .token = item->tokens[i],
            .pos = pos,
            .block = c->cache + item->blocks[pos / KV_BLOCK] * c->block_elements,
        };
    }
    item->logits = c->logits + (size_t)c->n_wanted * c->model->config.n_vocab;
    for (uint32_t i = item->n_logits; i > 0; i--) {
        c->n_top[c->n_wanted] = item->n_top;
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
        const uint16_t **p = realloc((void *)c->block_ptrs, n_blocks * 2 * sizeof(uint16_t *));
        if (p == NULL)
            return ERR_NOMEM;
        c->block_ptrs = p;
        c->cap_block_ptrs = n_blocks * 2;
    }
    c->n_rows = 0;
    c->n_groups = 0;
    c->n_wanted = 0;
    const uint16_t **blocks = c->block_ptrs;
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
    each_row(c, c->n_rows, embed_row);
    for (c->layer = 0; c->layer < c->model->config.n_layers; c->layer++) {
        run_layer(c);
        notify_progress(); /* a step of a large model may outlast the patience of the peers */
    }
    run_head(c);
    return ERR_OK;
}

/* ---- memory ---- */

uint64_t backend_cpu_block_bytes(const struct model *m)
{
    const struct model_config *c = &m->config;
    return (uint64_t)c->n_layers * c->n_kv_heads * 2 * attention_block_elements(c->head_dim) *
           sizeof(uint16_t);
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
                           c->n_top};
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
           take(&c->act.scale, rows, sizeof *c->act.scale) &&
           take(&c->act.sum, rows, sizeof *c->act.sum) &&
           take(&c->last, max_logits * m->n_hidden, sizeof(float)) &&
           take(&c->logits, max_logits * m->n_vocab, sizeof(float)) &&
           take(&c->wanted, max_logits, sizeof *c->wanted) &&
           take(&c->n_top, max_logits, sizeof *c->n_top);
}

static enum err set_up(struct cpu *c, const struct backend_cpu_config *config)
{
    const struct model_config *m = &config->model->config;
    c->n_q = (size_t)m->n_heads * m->head_dim;
    c->n_kv = (size_t)m->n_kv_heads * m->head_dim;
    uint64_t block_bytes = backend_cpu_block_bytes(config->model);
    c->block_elements = (size_t)(block_bytes / sizeof(uint16_t));
    if (__builtin_mul_overflow(config->n_blocks, block_bytes, &c->cache_bytes) || !take_all(c))
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

enum err backend_cpu_new(const struct backend_cpu_config *config, struct backend **ret_backend)
{
    static const struct backend_ops OPS = {.step = cpu_step, .free = cpu_free};
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
    (void)snprintf(c->base.name, sizeof c->base.name, "cpu/%s", config->kernels->isa_name);
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
