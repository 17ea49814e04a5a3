/* SPDX-License-Identifier: MIT */
#include "services/engine/cpu_graph.h"

#include <stdlib.h>
#include <string.h>

#include "common/notify.h"
#include "services/engine/kv.h"

enum {
    ROWS_PER_TASK = 4, /* of the operations that go row by row */
    RELEASE_ROWS = 16, /* of the embedding or the head, read from the file's pages */
    STREAM_ROWS = 256, /* of a head in the file's pages, which are there while they are read */
    OUT_ALIGN = 16, /* matrix rows: where the kernels run fastest */
    TASKS_PER_THREAD = 4, /* so that a thread that starts late costs a quarter of its share */
    ATTENTION_TASKS_PER_THREAD = 8, /* of few groups: a context of some thousands is long */
    MIN_TASK_BYTES = 16384, /* of weights; less is not worth handing to another thread */
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
        uint32_t per_task =
            rows_per_task(c, w[i]->n_rows, ternary_row_bytes(w[i]->packing, w[i]->n_cols));
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

/* The input of the next matrices: x, normalised if there are weights w for it, rotated if the model
 * does so, quantised. Without w the row x itself is rotated. */
static void quantize_input(struct cpu *c, uint32_t row, float *x, const float *w, uint32_t n,
                           enum model_hadamard input)
{
    const struct model_config *cfg = &c->model->config;
    if (w != NULL) {
        float *y = c->normed + (size_t)row * n;
        c->k->rmsnorm_row(x, w, n, cfg->rms_eps, y);
        x = y;
    }
    if (cfg->hadamard & input)
        c->k->hadamard_rotate(x, n, cfg->hadamard_block);
    c->k->quantize_row(x, &c->act, row);
}

/* Shape of c->act for the next matrices, of which w is one; its rows are filled afterwards. */
static void set_act(struct cpu *c, const struct ternary_weights *w)
{
    c->act.n_cols = w->n_cols;
    c->act.stride = quantize_stride(w->n_cols);
    c->act.group = w->group;
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
    quantize_input(c, row, c->x + (size_t)row * n, layer_of(c)->input_norm, n, MODEL_HADAMARD_QKV);
}

static size_t part_offset(const struct cpu *c, uint32_t kv_head)
{
    return ((size_t)c->layer * c->model->config.n_kv_heads + kv_head) * c->part_bytes;
}

/* Each head of q or k for itself. */
static void norm_heads(struct cpu *c, float *x, uint32_t n_heads, const float *w)
{
    const struct model_config *cfg = &c->model->config;
    for (uint32_t h = 0; h < n_heads; h++) {
        float *head = x + (size_t)h * cfg->head_dim;
        c->k->rmsnorm_row(head, w, cfg->head_dim, cfg->rms_eps, head);
    }
}

static void rope_store_row(struct cpu *c, uint32_t row)
{
    const struct model_config *cfg = &c->model->config;
    const struct cpu_row *r = &c->rows[row];
    const float *cos = c->model->rope_cos + (size_t)r->pos * (cfg->head_dim / 2);
    const float *sin = c->model->rope_sin + (size_t)r->pos * (cfg->head_dim / 2);
    float *key = c->key + row * c->n_kv;
    const float *value = c->value + row * c->n_kv;
    float *q = c->q + row * c->n_q;
    if (layer_of(c)->q_norm != NULL) {
        norm_heads(c, q, cfg->n_heads, layer_of(c)->q_norm);
        norm_heads(c, key, cfg->n_kv_heads, layer_of(c)->k_norm);
    }
    c->k->rope_rotate(q, cfg->n_heads, cfg->head_dim, cos, sin);
    c->k->rope_rotate(key, cfg->n_kv_heads, cfg->head_dim, cos, sin);
    for (uint32_t h = 0; h < cfg->n_kv_heads; h++) {
        size_t at = (size_t)h * cfg->head_dim;
        uint8_t *part = r->block + part_offset(c, h);
        if (c->kv_type == KV_INT8)
            c->k->attention8_store(key + at, value + at, cfg->head_dim, r->pos % KV_BLOCK, part);
        else
            c->k->attention_store(key + at, value + at, cfg->head_dim, r->pos % KV_BLOCK, part);
    }
}

/* ---- attention ---- */

static uint32_t n_segments(const struct cpu_group *g)
{
    return (uint32_t)attention_n_segments(g->pos0 + g->n_rows);
}

/* Floats of the sums of all KV heads of a group. */
static size_t group_sums(const struct cpu *c, const struct cpu_group *g)
{
    const struct model_config *cfg = &c->model->config;
    return (size_t)n_segments(g) * g->n_rows * cfg->n_heads * attention_sums_stride(cfg->head_dim);
}

enum err cpu_graph_plan(struct cpu *c)
{
    uint32_t n_kv_heads = c->model->config.n_kv_heads;
    uint32_t wanted = pool_n_threads(c->pool) * ATTENTION_TASKS_PER_THREAD;
    uint32_t n = c->n_groups * n_kv_heads;
    size_t n_sums = 0;
    c->n_attention_tasks = 0;
    c->is_split = false;
    for (uint32_t i = 0; i < c->n_groups; i++) {
        struct cpu_group *g = &c->groups[i];
        uint32_t most = n_segments(g);
        uint32_t n_splits = pool_n_threads(c->pool) > 1 ? (wanted + n - 1) / n : 1;
        g->n_splits = n_splits < most ? n_splits : most;
        g->first_task = c->n_attention_tasks;
        g->sums_at = n_sums;
        c->n_attention_tasks += g->n_splits * n_kv_heads;
        if (g->n_splits > 1) {
            n_sums += group_sums(c, g);
            c->is_split = true;
        }
    }
    if (n_sums <= c->cap_sums)
        return ERR_OK;
    free(c->sums);
    c->sums = malloc(n_sums * 2 * sizeof *c->sums);
    c->cap_sums = c->sums != NULL ? n_sums * 2 : 0;
    return c->sums != NULL ? ERR_OK : ERR_NOMEM;
}

static struct attention attention_of(const struct cpu *c, const struct cpu_group *g,
                                     uint32_t kv_head)
{
    const struct model_config *cfg = &c->model->config;
    size_t n_shared = cfg->n_heads / cfg->n_kv_heads;
    size_t at = g->row0 * c->n_q + kv_head * n_shared * cfg->head_dim;
    return (struct attention){
        .blocks = g->blocks,
        .offset = part_offset(c, kv_head),
        .head_dim = cfg->head_dim,
        .n_heads = n_shared,
        .n_tokens = g->n_rows,
        .pos0 = g->pos0,
        .q = c->q + at,
        .q_stride = c->n_q,
        .out = c->attn + at,
        .out_stride = c->n_q,
    };
}

static float *sums_of(const struct cpu *c, const struct cpu_group *g, uint32_t kv_head)
{
    return c->sums + g->sums_at + group_sums(c, g) / c->model->config.n_kv_heads * kv_head;
}

static const struct cpu_group *group_of_task(const struct cpu *c, uint32_t i)
{
    uint32_t low = 0;
    uint32_t high = c->n_groups;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (c->groups[middle].first_task <= i)
            low = middle;
        else
            high = middle;
    }
    return &c->groups[low];
}

static void attention_task(void *ctx, uint32_t i)
{
    struct cpu *c = ctx;
    const struct cpu_group *g = group_of_task(c, i);
    uint32_t kv_head = (i - g->first_task) / g->n_splits;
    uint32_t split = (i - g->first_task) % g->n_splits;
    struct attention a = attention_of(c, g, kv_head);
    bool is_int8 = c->kv_type == KV_INT8;
    if (g->n_splits == 1) {
        (is_int8 ? c->k->attention8_run : c->k->attention_run)(&a);
        return;
    }
    uint32_t first = n_segments(g) * split / g->n_splits;
    uint32_t end = n_segments(g) * (split + 1) / g->n_splits;
    float *sums = sums_of(c, g, kv_head);
    (is_int8 ? c->k->attention8_split : c->k->attention_split)(&a, first, end - first, sums);
}

static void join_task(void *ctx, uint32_t i)
{
    struct cpu *c = ctx;
    const struct cpu_group *g = &c->groups[i / c->model->config.n_kv_heads];
    uint32_t kv_head = i % c->model->config.n_kv_heads;
    if (g->n_splits == 1)
        return;
    struct attention a = attention_of(c, g, kv_head);
    c->k->attention_join(&a, sums_of(c, g, kv_head));
}

static void run_attention(struct cpu *c)
{
    pool_run(c->pool, c->n_attention_tasks, attention_task, c);
    if (c->is_split)
        pool_run(c->pool, c->n_groups * c->model->config.n_kv_heads, join_task, c);
}

/* ---- the rest of a row ---- */

static void attn_output_row(struct cpu *c, uint32_t row)
{
    quantize_input(c, row, c->attn + row * c->n_q, layer_of(c)->attn_sub_norm, (uint32_t)c->n_q,
                   MODEL_HADAMARD_O);
}

static void ffn_input_row(struct cpu *c, uint32_t row)
{
    uint32_t n = c->model->config.n_hidden;
    add_row(c, row);
    quantize_input(c, row, c->x + (size_t)row * n, layer_of(c)->post_attn_norm, n,
                   MODEL_HADAMARD_GATE_UP);
}

static void ffn_inner_row(struct cpu *c, uint32_t row)
{
    uint32_t n = c->model->config.n_ffn;
    float *gate = c->gate + (size_t)row * n;
    const float *up = c->up + (size_t)row * n;
    if (c->model->config.act == MODEL_RELU2)
        c->k->glu_relu2(gate, up, n, gate);
    else
        c->k->glu_silu(gate, up, n, gate);
    quantize_input(c, row, gate, layer_of(c)->ffn_sub_norm, n, MODEL_HADAMARD_DOWN);
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
    const struct model_layer *l = layer_of(c);
    set_act(c, &l->q);
    each_row(c, c->n_rows, attn_input_row);
    linears(c, 3, (const struct ternary_weights *const[]){&l->q, &l->k, &l->v},
            (float *const[]){c->q, c->key, c->value});
    each_row(c, c->n_rows, rope_store_row);
    run_attention(c);
    set_act(c, &l->o);
    each_row(c, c->n_rows, attn_output_row);
    linears(c, 1, (const struct ternary_weights *const[]){&l->o}, (float *const[]){c->proj});
    set_act(c, &l->gate);
    each_row(c, c->n_rows, ffn_input_row);
    linears(c, 2, (const struct ternary_weights *const[]){&l->gate, &l->up},
            (float *const[]){c->gate, c->up});
    set_act(c, &l->down);
    each_row(c, c->n_rows, ffn_inner_row);
    linears(c, 1, (const struct ternary_weights *const[]){&l->down}, (float *const[]){c->proj});
}

struct head_job {
    struct cpu *c;
    uint32_t n_tokens; /* first ones of c->last */
    float *logits; /* [n_tokens][vocab] */
    uint32_t per_task;
};

static void head_task(void *ctx, uint32_t i)
{
    const struct head_job *job = ctx;
    struct cpu *c = job->c;
    const struct model_config *cfg = &c->model->config;
    size_t row0 = (size_t)i * job->per_task;
    size_t row1 = row0 + job->per_task < cfg->n_vocab ? row0 + job->per_task : cfg->n_vocab;
    struct head_input in = {.h = c->last, .stride = cfg->n_hidden, .n_tokens = job->n_tokens};
    size_t at_once = c->does_release ? STREAM_ROWS : row1 - row0;
    for (size_t r = row0, end; r < row1; r = end) {
        end = row1 - r < at_once ? row1 : r + at_once;
        if (c->does_release)
            model_fetch_head(c->model, (uint32_t)r, (uint32_t)end);
        c->k->head_logits(c->model->head, cfg->n_hidden, &in, r, end, job->logits, cfg->n_vocab);
        if (c->does_release)
            model_release_head(c->model, (uint32_t)r, (uint32_t)end);
    }
}

/* One row that wants all logits makes the full head be read, and then the others may have it, too. */
static bool can_run_fast_head(const struct cpu *c)
{
    bool can = c->fast_head != NULL;
    for (uint32_t i = 0; i < c->n_wanted; i++)
        can = can && fast_head_can(&c->wants[i]);
    return can;
}

static void run_full_head(struct cpu *c, uint32_t n_tokens, float *logits)
{
    const struct model_config *cfg = &c->model->config;
    c->head_bytes += model_head_bytes(c->model);
    struct head_job job = {.c = c,
                           .n_tokens = n_tokens,
                           .logits = logits,
                           .per_task = rows_per_task(c, cfg->n_vocab, 2ULL * cfg->n_hidden)};
    pool_run(c->pool, (cfg->n_vocab + job.per_task - 1) / job.per_task, head_task, &job);
}

/* What the fast head could not give. */
static void complete_head(struct cpu *c)
{
    const struct model_config *cfg = &c->model->config;
    float *logits = fast_head_spare(c->fast_head);
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_wanted; i++) {
        if (c->got[i].values != NULL)
            continue;
        memmove(c->last + (size_t)n * cfg->n_hidden, c->last + (size_t)i * cfg->n_hidden,
                cfg->n_hidden * sizeof *c->last);
        c->got[i] =
            (struct backend_logits){.values = logits + (size_t)n * cfg->n_vocab, .n = cfg->n_vocab};
        n++;
    }
    if (n > 0)
        run_full_head(c, n, logits);
}

static void run_head(struct cpu *c)
{
    if (c->n_wanted == 0)
        return;
    const struct model_config *cfg = &c->model->config;
    each_row(c, c->n_wanted, head_input_row);
    if (can_run_fast_head(c) &&
        fast_head_run(c->fast_head, c->last, c->wants, c->n_wanted, c->logits, c->got)) {
        complete_head(c);
        return;
    }
    for (uint32_t i = 0; i < c->n_wanted; i++)
        c->got[i] = (struct backend_logits){.values = c->logits + (size_t)i * cfg->n_vocab,
                                            .n = cfg->n_vocab};
    run_full_head(c, c->n_wanted, c->logits);
}

struct embed_job {
    struct cpu *c;
    uint32_t row0, n;
};

static void embed_task(void *ctx, uint32_t i)
{
    const struct embed_job *job = ctx;
    for (uint32_t row = i * ROWS_PER_TASK; row < job->n && row < (i + 1) * ROWS_PER_TASK; row++)
        embed_row(job->c, job->row0 + row);
}

/* Reading a row may bring 2 MB of the file to memory (since Linux 6.16; 64 KB before). */
static void embed_rows(struct cpu *c)
{
    for (uint32_t row = 0; row < c->n_rows; row += RELEASE_ROWS) {
        struct embed_job job = {c, row, c->n_rows - row};
        job.n = job.n < RELEASE_ROWS ? job.n : RELEASE_ROWS;
        pool_run(c->pool, (job.n + ROWS_PER_TASK - 1) / ROWS_PER_TASK, embed_task, &job);
        if (c->does_release && job.n == RELEASE_ROWS)
            model_release_embedding(c->model);
    }
}

/* Once in some steps, counting a row of the embedding for each. */
static void release_pages(struct cpu *c)
{
    uint64_t n = fast_head_n_rescored(c->fast_head) + ++c->n_steps;
    if (n - c->n_released < RELEASE_ROWS)
        return;
    c->n_released = n;
    model_release_embedding(c->model);
    if (c->model->head != c->model->embedding)
        model_release_head(c->model, 0, c->model->config.n_vocab);
}

void cpu_graph_run(struct cpu *c)
{
    embed_rows(c);
    for (c->layer = 0; c->layer < c->model->config.n_layers; c->layer++) {
        run_layer(c);
        notify_progress(); /* a step of a large model may outlast the patience of the peers */
    }
    run_head(c);
    if (c->does_release)
        release_pages(c);
}
