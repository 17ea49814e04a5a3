/* SPDX-License-Identifier: MIT */
#include "services/engine/backend_hip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/log.h"
#include "common/mem.h"
#include "kernels/attention/attention.h"
#include "services/engine/hip_watch.h"

_Static_assert((int)KV_BLOCK == (int)ATTENTION_BLOCK, "kv blocks are attention's tiles");

enum {
    MAX_GRAPHS = 64,
    SUMS_ROWS = 64, /* rows whose attention may be split into segments in one step */
    MIN_SEGMENTS = 2, /* attention of fewer is not split */
    /* A GPU that is not full takes as long for few tokens as for one. */
    BASE_ROWS = 32,
};

struct graph {
    struct hip_shape shape;
    void *exec; /* NULL: this place is free */
    uint64_t used_at; /* the step that used it last */
};

/* What becomes of one wanted row's logits. */
struct row {
    enum row_kind {
        ROW_TOP,
        ROW_NEAR,
        ROW_WHOLE,
        ROW_LATE
    } kind; /* late: whole, in a second copy */
    float reach; /* of ROW_NEAR */
    float values[HIP_MAX_TOP];
    uint32_t ids[HIP_MAX_TOP];
};

struct hip {
    struct backend base;
    struct hip_device *device;
    struct hip_model model;
    uint32_t n_vocab;
    uint64_t buffer_address, cache;
    struct hip_buffers buffers; /* device addresses */
    struct hip_watch *watch; /* NULL: none */
    uint32_t tag; /* of the latest step */

    uint8_t *step; /* pinned: what is copied in, from buffers.step on */
    uint8_t *result; /* pinned: struct hip_result and the tops */
    float *logits; /* pinned [max_logits][vocab]: whole rows */
    struct backend_logits *got; /* [max_logits] */
    struct row *rows; /* [max_logits] */

    struct graph graphs[MAX_GRAPHS];
    uint64_t n_steps;
    uint64_t n_made;
    struct hip_launch *launches; /* scratch, of one plan */
};

/* ---- where things lie in the step's pinned copy ---- */

static void *in_step(const struct hip *h, const void *device_pointer)
{
    return h->step + ((uintptr_t)device_pointer - (uintptr_t)h->buffers.step);
}

static struct hip_step *step_of(const struct hip *h)
{
    return in_step(h, h->buffers.step);
}

static struct hip_wanted *wanted_of(const struct hip *h)
{
    return in_step(h, h->buffers.wanted);
}

/* ---- the rows of a step ---- */

/* Whether what is near the largest logit is enough. */
static bool is_near(const struct backend_want *want)
{
    return want->kind == WANT_NEAR || (want->kind == WANT_PICK && isfinite(want->reach));
}

/* How many largest logits are to be sorted out on the device; 0: the whole row is wanted. What is near
 * the largest is mostly among the HIP_MAX_TOP first. */
static uint32_t top_of(const struct hip *h, const struct backend_want *want)
{
    uint32_t n = 0;
    if (want->kind == WANT_TOP)
        n = want->n_top;
    else if (want->kind == WANT_DRAW)
        n = 1;
    else if (is_near(want))
        n = HIP_MAX_TOP;
    return want->n_changes == 0 && n <= HIP_MAX_TOP && n < h->n_vocab ? n : 0;
}

/* Logits of row `row`, the i-th wanted of the item. */
static void add_wanted(struct hip *h, const struct backend_item *item, uint32_t i, uint32_t row)
{
    const struct backend_want *want = &item->want;
    uint32_t at = step_of(h)->n_wanted++;
    uint32_t n_top = top_of(h, want);
    wanted_of(h)[at] = (struct hip_wanted){
        .row = row,
        .n_top = n_top,
        .is_drawn = want->kind == WANT_DRAW && n_top > 0,
        .noise_index = want->noise.index + i,
        .noise_seed = want->noise.seed,
        .noise_scale = want->noise.scale,
    };
    h->rows[at].reach = want->reach;
    h->rows[at].kind = n_top == 0 ? ROW_WHOLE : is_near(want) ? ROW_NEAR : ROW_TOP;
}

static void add_groups(const struct hip *h, const struct backend_item *item, uint32_t row0,
                       uint32_t first_block)
{
    struct hip_step *s = step_of(h);
    struct hip_group *groups = in_step(h, h->buffers.groups);
    for (uint32_t i = 0; i < item->n_tokens; i += HIP_GROUP_ROWS) {
        uint32_t left = item->n_tokens - i;
        groups[s->n_groups++] = (struct hip_group){
            .row0 = row0 + i,
            .n_rows = left < HIP_GROUP_ROWS ? left : HIP_GROUP_ROWS,
            .pos0 = item->pos0 + i,
            .first_block = first_block,
            .sums_row = HIP_NO_SUMS,
        };
    }
}

/* Appends the item; returns the end of the block table. */
static uint32_t add_item(struct hip *h, struct backend_item *item, uint32_t n_table)
{
    struct hip_step *s = step_of(h);
    struct hip_row *rows = in_step(h, h->buffers.rows);
    uint32_t *table = in_step(h, h->buffers.table);
    uint32_t n_blocks = (item->pos0 + item->n_tokens + KV_BLOCK - 1) / KV_BLOCK;
    ASSERT(n_blocks <= h->buffers.limits.table - n_table);
    for (uint32_t i = 0; i < n_blocks; i++) {
        ASSERT(item->blocks[i] < h->base.n_blocks);
        table[n_table + i] = item->blocks[i];
    }
    add_groups(h, item, s->n_rows, n_table);
    for (uint32_t i = 0; i < item->n_tokens; i++) {
        uint32_t pos = item->pos0 + i;
        ASSERT(item->tokens[i] < h->n_vocab && pos < h->model.n_ctx);
        rows[s->n_rows++] = (struct hip_row){
            .token = item->tokens[i], .pos = pos, .block = item->blocks[pos / KV_BLOCK]};
    }
    item->got = h->got + s->n_wanted;
    for (uint32_t i = 0; i < item->n_logits; i++)
        add_wanted(h, item, i, s->n_rows - item->n_logits + i);
    return n_table + n_blocks;
}

/* Splits attention over long contexts where there are too few groups to fill the device. Returns the
 * segments of the longest that is split. */
static uint32_t split_attention(const struct hip *h)
{
    const struct hip_step *s = step_of(h);
    struct hip_group *groups = in_step(h, h->buffers.groups);
    uint32_t n_rows = 0;
    uint32_t most = 0;
    if ((uint64_t)s->n_groups * h->model.n_kv_heads >= (uint64_t)2 * h->device->n_processors)
        return 0;
    for (uint32_t i = 0; i < s->n_groups; i++) {
        struct hip_group *g = &groups[i];
        uint32_t n = (uint32_t)attention_n_segments(g->pos0 + g->n_rows);
        if (n < MIN_SEGMENTS || n_rows + g->n_rows > h->buffers.limits.sums_rows)
            continue;
        g->sums_row = (int32_t)n_rows;
        n_rows += g->n_rows;
        most = n > most ? n : most;
    }
    return most;
}

/* The next power of two, at most `most`; 0 stays 0. */
static uint32_t round_up(uint32_t n, uint32_t most)
{
    uint32_t p = 1;
    while (p < n)
        p *= 2;
    return n == 0 ? 0 : p < most ? p : most;
}

/* Fills the pinned copy of the step; returns its bytes and the shape of the graph that serves it. */
static size_t set_up_step(struct hip *h, struct backend_item *items, uint32_t n_items,
                          struct hip_shape *ret_shape)
{
    const struct hip_limits *l = &h->buffers.limits;
    struct hip_step *s = step_of(h);
    *s = (struct hip_step){.tag = ++h->tag};
    uint32_t n_rows = 0;
    uint32_t n_wanted = 0;
    for (uint32_t i = 0; i < n_items; i++) {
        n_rows += items[i].n_tokens;
        n_wanted += items[i].n_logits;
        ASSERT(items[i].n_logits <= items[i].n_tokens);
    }
    ASSERT(n_rows <= l->rows && n_wanted <= l->wanted);
    uint32_t n_table = 0;
    for (uint32_t i = 0; i < n_items; i++)
        n_table = add_item(h, &items[i], n_table);
    uint32_t top = 0;
    bool is_sparse = s->n_wanted > 0;
    for (uint32_t i = 0; i < s->n_wanted; i++) {
        top = wanted_of(h)[i].n_top > top ? wanted_of(h)[i].n_top : top;
        is_sparse = is_sparse && h->rows[i].kind == ROW_TOP;
    }
    const struct hip_group *groups = in_step(h, h->buffers.groups);
    bool has_rows = false;
    bool has_chunks = false;
    for (uint32_t i = 0; i < s->n_groups; i++) {
        has_rows = has_rows || groups[i].n_rows == 1;
        has_chunks = has_chunks || groups[i].n_rows > 1;
    }
    *ret_shape = (struct hip_shape){
        .rows = round_up(s->n_rows, l->rows),
        .groups = round_up(s->n_groups, l->rows),
        .wanted = round_up(s->n_wanted, l->wanted),
        .segments = round_up(split_attention(h), l->segments),
        .has_rows = has_rows,
        .has_chunks = has_chunks,
        .top = top <= 1 ? top : round_up(top, HIP_MAX_TOP),
        .is_sparse = is_sparse,
    };
    return (size_t)((uintptr_t)(h->buffers.table + n_table) - (uintptr_t)h->buffers.step);
}

/* ---- graphs ---- */

/* The launches of a step of that shape as a graph, which the caller destroys. */
static enum err capture(struct hip *h, const struct hip_shape *shape, void **ret_graph)
{
    struct hip_device *d = h->device;
    void *graph = NULL;
    size_t n = hip_plan(&h->model, &h->buffers, (uint8_t *)(uintptr_t)h->cache, shape, h->launches);
    enum err e = hip_device_check(
        d, d->runtime.stream_begin_capture(d->stream, HIP_CAPTURE_THREAD_LOCAL), "begin capture");
    if (e)
        return e;
    for (size_t i = 0; i < n && !e; i++)
        e = hip_device_launch(d, &h->launches[i]);
    int error = d->runtime.stream_end_capture(d->stream, &graph); /* also after a failure */
    if (!e)
        e = hip_device_check(d, error, "end capture");
    if (!e)
        *ret_graph = graph;
    else if (graph != NULL)
        (void)d->runtime.graph_destroy(graph);
    return e;
}

static struct graph *oldest(struct hip *h)
{
    struct graph *g = &h->graphs[0];
    for (size_t i = 1; i < MAX_GRAPHS; i++) {
        if (h->graphs[i].used_at < g->used_at)
            g = &h->graphs[i];
    }
    return g;
}

static enum err make_graph(struct hip *h, const struct hip_shape *shape, struct graph **ret_graph)
{
    struct hip_device *d = h->device;
    struct graph *g = oldest(h);
    if (g->exec != NULL)
        (void)d->runtime.graph_exec_destroy(g->exec);
    *g = (struct graph){.shape = *shape};
    void *captured = NULL;
    enum err e = capture(h, shape, &captured);
    if (e)
        return e;
    e = hip_device_check(d, hip_runtime_graph_instantiate(&d->runtime, captured, &g->exec),
                         "a graph");
    (void)d->runtime.graph_destroy(captured);
    if (e) {
        g->exec = NULL;
        return e;
    }
    h->n_made++;
    *ret_graph = g;
    return ERR_OK;
}

static bool is_same(const struct hip_shape *a, const struct hip_shape *b)
{
    return a->rows == b->rows && a->groups == b->groups && a->wanted == b->wanted &&
           a->segments == b->segments && a->has_rows == b->has_rows &&
           a->has_chunks == b->has_chunks && a->top == b->top && a->is_sparse == b->is_sparse;
}

static enum err graph_for(struct hip *h, const struct hip_shape *shape, struct graph **ret_graph)
{
    for (size_t i = 0; i < MAX_GRAPHS; i++) {
        struct graph *g = &h->graphs[i];
        if (g->exec != NULL && is_same(&g->shape, shape)) {
            *ret_graph = g;
            return ERR_OK;
        }
    }
    return make_graph(h, shape, ret_graph);
}

/* ---- results ---- */

/* Brings the rows of that kind, neighbours in one copy. */
static enum err copy_rows(struct hip *h, enum row_kind kind)
{
    struct hip_device *d = h->device;
    uint32_t n = step_of(h)->n_wanted;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < n && !e;) {
        uint32_t end = i;
        while (end < n && h->rows[end].kind == kind)
            end++;
        size_t at = (size_t)i * h->n_vocab;
        size_t bytes = (size_t)(end - i) * h->n_vocab * sizeof *h->logits;
        uint64_t from = (uint64_t)(uintptr_t)(h->buffers.logits + at);
        if (end > i)
            e = hip_device_check(
                d, hip_runtime_copy_out(&d->runtime, h->logits + at, from, bytes, d->stream),
                "a copy from the GPU");
        i = end + 1;
    }
    return e;
}

/* What the device says is that it did not compute this step. */
static enum err nonsense(struct hip *h, const char *what, uint64_t got, uint64_t expected)
{
    log_error("gpu-nonsense", S("gpu", h->device->name), S("what", what), U("got", got),
              U("expected", expected),
              S("do", "restart the engine; if it comes back use --backend cpu"));
    h->device->has_failed = true;
    return ERR_INTERNAL;
}

/* By rising ids. */
static enum err take_top(struct hip *h, struct row *row, const struct hip_top *tops, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        if (tops[k].id >= h->n_vocab)
            return nonsense(h, "id", tops[k].id, h->n_vocab - 1);
        uint32_t at = k;
        for (; at > 0 && row->ids[at - 1] > tops[k].id; at--) {
            row->ids[at] = row->ids[at - 1];
            row->values[at] = row->values[at - 1];
        }
        row->ids[at] = tops[k].id;
        row->values[at] = tops[k].logit;
    }
    return ERR_OK;
}

/* Whether all within reach are among the tops: the least of them is not. */
static bool is_enough(const struct row *row, const struct hip_top *tops, uint32_t n)
{
    return tops[n - 1].logit < tops[0].logit - row->reach;
}

/* Checks that this is the step's result and takes the tops. *ret_has_late: some rows are to be copied. */
static enum err take_result(struct hip *h, const struct hip_shape *shape, bool *ret_has_late)
{
    const struct hip_step *s = step_of(h);
    const struct hip_result *r = (const void *)h->result;
    const struct hip_top *tops = (const void *)(h->result + sizeof *r);
    if (r->tag != s->tag)
        return nonsense(h, "step", r->tag, s->tag);
    if (r->n_wanted != s->n_wanted)
        return nonsense(h, "wanted", r->n_wanted, s->n_wanted);
    enum err e = ERR_OK;
    *ret_has_late = false;
    for (uint32_t i = 0; i < s->n_wanted && !e; i++, tops += shape->top) {
        struct row *row = &h->rows[i];
        uint32_t n = wanted_of(h)[i].n_top;
        if (row->kind == ROW_NEAR && !is_enough(row, tops, n))
            row->kind = ROW_LATE;
        *ret_has_late = *ret_has_late || row->kind == ROW_LATE;
        bool is_whole = row->kind == ROW_WHOLE || row->kind == ROW_LATE;
        h->got[i] = is_whole ? (struct backend_logits){.values = h->logits + (size_t)i * h->n_vocab,
                                                       .n = h->n_vocab}
                             : (struct backend_logits){row->values, row->ids, n};
        if (!is_whole)
            e = take_top(h, row, tops, n);
    }
    return e;
}

/* ---- the step ---- */

static enum err run(struct hip *h, const struct hip_shape *shape, size_t step_bytes,
                    struct graph *g)
{
    struct hip_device *d = h->device;
    const struct hip_runtime *r = &d->runtime;
    uint64_t step = (uint64_t)(uintptr_t)h->buffers.step;
    uint64_t result = (uint64_t)(uintptr_t)h->buffers.result;
    enum err e = hip_device_check(d, hip_runtime_copy_in(r, step, h->step, step_bytes, d->stream),
                                  "a copy to the GPU");
    if (!e)
        e = hip_device_check(d, r->graph_launch(g->exec, d->stream), "a graph's launch");
    if (!e)
        e = hip_device_check(
            d, hip_runtime_copy_out(r, h->result, result, hip_result_bytes(shape), d->stream),
            "a copy from the GPU");
    if (!e)
        e = copy_rows(h, ROW_WHOLE);
    if (!e)
        e = hip_device_check(d, r->stream_synchronize(d->stream), "a step");
    bool has_late = false;
    if (!e)
        e = take_result(h, shape, &has_late);
    if (!e && has_late)
        e = copy_rows(h, ROW_LATE);
    if (!e && has_late)
        e = hip_device_check(d, r->stream_synchronize(d->stream), "a copy from the GPU");
    return e;
}

static enum err hip_step(struct backend *b, struct backend_item *items, uint32_t n_items)
{
    struct hip *h = (struct hip *)b;
    if (h->device->has_failed)
        return ERR_IO;
    struct hip_shape shape;
    struct graph *g = NULL;
    size_t step_bytes = set_up_step(h, items, n_items, &shape);
    enum err e = hip_device_check(h->device, hip_runtime_use_here(&h->device->runtime), "the GPU");
    if (e)
        return e;
    hip_watch_begin(h->watch);
    e = graph_for(h, &shape, &g);
    if (!e) {
        g->used_at = ++h->n_steps;
        e = run(h, &shape, step_bytes, g);
    }
    hip_watch_end(h->watch);
    return e;
}

/* ---- blocks in and out ---- */

static enum err hip_kv_read(struct backend *b, uint32_t block, uint8_t *bytes)
{
    struct hip *h = (struct hip *)b;
    ASSERT(block < b->n_blocks);
    return hip_device_read(h->device, bytes, h->cache + block * b->kv_bytes, b->kv_bytes);
}

static enum err hip_kv_write(struct backend *b, uint32_t block, const uint8_t *bytes)
{
    struct hip *h = (struct hip *)b;
    ASSERT(block < b->n_blocks);
    return hip_device_write(h->device, h->cache + block * b->kv_bytes, bytes, b->kv_bytes);
}

/* ---- life ---- */

static struct hip_limits limits_of(const struct backend_hip_config *c)
{
    const struct model_config *m = &c->model->config;
    uint64_t per_item = (m->n_ctx + KV_BLOCK - 1) / KV_BLOCK;
    uint64_t table = per_item * c->max_items;
    ASSERT(table <= UINT32_MAX);
    return (struct hip_limits){
        .rows = c->max_rows,
        .wanted = c->max_logits,
        .table = (uint32_t)table,
        .sums_rows = SUMS_ROWS,
        .segments = (uint32_t)attention_n_segments(m->n_ctx),
        .processors = c->weights->device->n_processors,
        .shared_bytes = c->weights->device->shared_bytes,
        .has_warpgroups = c->weights->device->has_warpgroups,
    };
}

/* Of the config's model, with the addresses of the weights. */
static struct hip_model model_of(const struct backend_hip_config *c)
{
    struct hip_model m = c->weights->model;
    m.n_layers = c->model->config.n_layers;
    m.is_kv_int8 = c->kv_type == KV_INT8;
    return m;
}

uint64_t backend_hip_buffer_bytes(const struct backend_hip_config *config)
{
    struct hip_model m = model_of(config);
    struct hip_limits limits = limits_of(config);
    struct hip_buffers buffers;
    hip_buffers_layout(&m, &limits, 0, &buffers);
    return buffers.bytes;
}

static void hip_free(struct backend *b)
{
    struct hip *h = (struct hip *)b;
    struct hip_device *d = h->device;
    hip_watch_free(h->watch);
    (void)hip_runtime_use_here(&d->runtime);
    (void)d->runtime.stream_synchronize(d->stream); /* what a failed step left behind */
    for (size_t i = 0; i < MAX_GRAPHS; i++) {
        if (h->graphs[i].exec != NULL)
            (void)d->runtime.graph_exec_destroy(h->graphs[i].exec);
    }
    hip_device_release(d, h->cache);
    hip_device_release(d, h->buffer_address);
    hip_device_host_release(d, h->step);
    hip_device_host_release(d, h->result);
    hip_device_host_release(d, h->logits);
    free(h->got);
    free(h->rows);
    free(h->launches);
    free(h);
}

static enum err check_room(const struct backend_hip_config *c, uint64_t bytes, char *why,
                           size_t cap_why)
{
    uint64_t room = hip_device_free_bytes(c->weights->device);
    if (bytes <= room)
        return ERR_OK;
    (void)snprintf(
        why, cap_why,
        "%u KV blocks and the memory of a step take %llu MB, %llu MB are free on the GPU; "
        "give fewer --kv-tokens, --max-seqs or --step-tokens",
        c->n_blocks, (unsigned long long)bytes >> 20, (unsigned long long)room >> 20);
    return ERR_NOMEM;
}

static enum err take_memory(struct hip *h, const struct backend_hip_config *c)
{
    struct hip_device *d = h->device;
    size_t result_bytes =
        sizeof(struct hip_result) + (size_t)c->max_logits * HIP_MAX_TOP * sizeof(struct hip_top);
    size_t logits_bytes = (size_t)c->max_logits * h->n_vocab * sizeof(float);
    void *p = NULL;
    enum err e = hip_device_alloc(d, h->buffers.bytes, &h->buffer_address);
    if (!e)
        e = hip_device_alloc(d, c->n_blocks * h->base.kv_bytes, &h->cache);
    if (!e && !(e = hip_device_host_alloc(d, h->buffers.step_bytes, &p)))
        h->step = p;
    if (!e && !(e = hip_device_host_alloc(d, result_bytes, &p)))
        h->result = p;
    if (!e && !(e = hip_device_host_alloc(d, logits_bytes, &p)))
        h->logits = p;
    return e;
}

static enum err set_up(struct hip *h, const struct backend_hip_config *c, char *why, size_t cap_why)
{
    struct hip_limits limits = limits_of(c);
    hip_buffers_layout(&h->model, &limits, 0, &h->buffers);
    uint64_t cache_bytes = 0;
    uint64_t all_bytes = 0;
    if (__builtin_mul_overflow(c->n_blocks, h->base.kv_bytes, &cache_bytes) ||
        __builtin_add_overflow(cache_bytes, h->buffers.bytes, &all_bytes))
        all_bytes = UINT64_MAX;
    enum err e = check_room(c, all_bytes, why, cap_why);
    if (e)
        return e;
    (void)snprintf(why, cap_why, "taking the GPU's memory failed");
    e = take_memory(h, c);
    if (e)
        return e;
    hip_buffers_layout(&h->model, &limits, h->buffer_address, &h->buffers);
    /* Not to be taken for a step's: the memory may have been another backend's. */
    const struct hip_result none = {0};
    e = hip_device_write(h->device, (uint64_t)(uintptr_t)h->buffers.result, &none, sizeof none);
    struct hip_device *d = h->device;
    if (!e)
        e = hip_device_check(d,
                             hip_runtime_fill(&d->runtime, (uint64_t)(uintptr_t)h->buffers.arrivals,
                                              0, h->buffers.arrivals_bytes, d->stream),
                             "zeroing memory");
    if (e)
        return e;
    h->got = mem_zalloc(c->max_logits, sizeof *h->got);
    h->rows = mem_zalloc(c->max_logits, sizeof *h->rows);
    h->launches = mem_zalloc(hip_plan_max(&h->model), sizeof *h->launches);
    if (c->limit_ms > 0) {
        (void)snprintf(why, cap_why, "no thread for the watch of the GPU");
        e = hip_watch_new(c->limit_ms, c->on_hang, c->ctx, &h->watch);
    }
    return e;
}

enum err backend_hip_new(const struct backend_hip_config *config, char *why, size_t cap_why,
                         struct backend **ret_backend)
{
    static const struct backend_ops OPS = {
        .step = hip_step, .kv_read = hip_kv_read, .kv_write = hip_kv_write, .free = hip_free};
    struct hip *h = mem_zalloc(1, sizeof *h);
    h->device = config->weights->device;
    h->model = model_of(config);
    h->n_vocab = h->model.n_vocab;
    h->base = (struct backend){.ops = &OPS,
                               .n_blocks = config->n_blocks,
                               .kv_bytes = hip_block_bytes(&h->model),
                               .max_rows = config->max_rows,
                               .max_logits = config->max_logits,
                               .base_rows = BASE_ROWS};
    (void)snprintf(h->base.name, sizeof h->base.name, "%s/%.16s%s",
                   h->device->runtime.kind == HIP_KIND_AMD ? "hip" : "cuda", h->device->arch,
                   config->kv_type == KV_INT8 ? "/kv-int8" : "");
    enum err e = set_up(h, config, why, cap_why);
    if (e) {
        hip_free(&h->base);
        return e;
    }
    *ret_backend = &h->base;
    return ERR_OK;
}

uint64_t backend_hip_n_graphs_made(const struct backend *b)
{
    return ((const struct hip *)b)->n_made;
}

uint32_t backend_hip_n_graphs(const struct backend *b)
{
    const struct hip *h = (const struct hip *)b;
    uint32_t n = 0;
    for (size_t i = 0; i < MAX_GRAPHS; i++)
        n += h->graphs[i].exec != NULL;
    return n;
}
