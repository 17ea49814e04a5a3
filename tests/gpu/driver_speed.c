/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "kernels/attention/attention.h"
#include "services/engine/backend_hip.h"
#include "services/engine/bench_model.h"
#include "tests/gpu/driver.h"

enum {
    MAX_SEQS = 64,
    CONTEXT = 192, /* positions before the first decoded token, as in the table of floors */
    PREFILL = 2048,
    MODEL_CONTEXT = 8192,
    DECODE_STEPS = 64,
    TINY_STEPS = 3,
    GRAPH_RUNS = 5,
};

struct speed {
    struct hip_device *device;
    const struct model *model;
    struct hip_weights *weights;
    bool is_tiny;
    const char *only; /* case to measure, or NULL */
    uint32_t n_seqs; /* at most, at once */
    uint32_t context, prefill;
    struct backend *backend;
    uint32_t *tokens, *blocks;
    uint32_t blocks_per_seq;
    double code_bytes, head_bytes;
};

/* ---- steps ---- */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The median time in ns of a step of n_seqs sequences with n_tokens each from pos0 on; 0 on failure. */
static uint64_t time_steps(struct speed *s, uint32_t n_seqs, uint32_t pos0, uint32_t n_tokens,
                           uint32_t n_steps)
{
    uint64_t ns[DECODE_STEPS];
    struct backend_item items[MAX_SEQS];
    for (uint32_t k = 0; k < n_steps + 2; k++) { /* the first two make the graph and warm up */
        for (uint32_t i = 0; i < n_seqs; i++)
            items[i] = (struct backend_item){
                .tokens = s->tokens + i,
                .n_tokens = n_tokens,
                .pos0 = pos0,
                .blocks = s->blocks + (size_t)i * s->blocks_per_seq,
                .n_logits = 1,
                .want = {.kind = WANT_TOP, .n_top = 1},
            };
        uint64_t t0 = clock_now_ns();
        if (backend_step(s->backend, items, n_seqs))
            return 0;
        if (k >= 2)
            ns[k - 2] = clock_now_ns() - t0;
    }
    qsort(ns, n_steps, sizeof ns[0], compare_u64);
    return ns[n_steps / 2];
}

static bool report_decode(struct speed *s, uint32_t n_seqs, const char *floor)
{
    uint64_t ns =
        time_steps(s, n_seqs, s->context, 1, s->is_tiny ? TINY_STEPS : (uint32_t)DECODE_STEPS);
    if (ns == 0)
        return false;
    double kv = (double)s->backend->kv_bytes / KV_BLOCK * s->context * n_seqs;
    double bytes = s->code_bytes + s->head_bytes + kv;
    (void)printf("| decode, batch %u, context %u | %.1f us | %.0f | %.0f GB/s | %s |\n", n_seqs,
                 s->context, (double)ns * 1e-3, n_seqs * 1e9 / (double)ns, bytes / (double)ns,
                 floor);
    (void)fflush(stdout);
    return true;
}

static bool report_prefill(struct speed *s)
{
    uint64_t ns = time_steps(s, 1, 0, s->prefill, s->is_tiny ? 1 : 5);
    if (ns == 0)
        return false;
    double n = (double)bench_model_n_weights(s->model) * s->prefill;
    (void)printf("| prefill %u | %.1f us | %.0f | %.1f T multiply-adds/s | 327 k int8, 175 k bf16 "
                 "|\n",
                 s->prefill, (double)ns * 1e-3, s->prefill * 1e9 / (double)ns,
                 n / (double)ns * 1e-3);
    (void)fflush(stdout);
    return true;
}

/* ---- kernels ---- */

struct plan {
    struct hip_buffers buffers;
    uint64_t memory, cache;
    struct hip_launch *launches;
    size_t n;
};

/* A step of n_seqs sequences with n_tokens each from pos0 on, in memory of its own. Attention is split as
 * the engine splits it. */
static bool make_plan(struct speed *s, uint32_t n_seqs, uint32_t n_tokens, uint32_t pos0,
                      bool is_int8, struct plan *p)
{
    struct hip_model m = s->weights->model;
    m.is_kv_int8 = is_int8;
    uint32_t n_rows = n_seqs * n_tokens;
    uint32_t n_blocks = (pos0 + n_tokens + KV_BLOCK - 1) / KV_BLOCK;
    uint32_t per_seq = (n_tokens + HIP_GROUP_ROWS - 1) / HIP_GROUP_ROWS;
    uint32_t n_segments = (uint32_t)attention_n_segments(pos0 + n_tokens);
    bool has_sums = n_segments > 1 && n_seqs * per_seq * m.n_kv_heads < 2 * s->device->n_processors;
    const struct hip_limits limits = {.rows = n_rows,
                                      .wanted = n_seqs,
                                      .table = n_seqs * n_blocks,
                                      .sums_rows = has_sums ? n_rows : 0,
                                      .segments = n_segments,
                                      .processors = s->device->n_processors,
                                      .shared_bytes = s->device->shared_bytes,
                                      .has_warpgroups = s->device->has_warpgroups};
    const struct hip_shape shape = {.rows = n_rows,
                                    .groups = n_seqs * per_seq,
                                    .wanted = n_seqs,
                                    .top = 1,
                                    .segments = has_sums ? n_segments : 0,
                                    .has_rows = n_tokens == 1,
                                    .has_chunks = n_tokens > 1,
                                    .is_sparse = true};
    hip_buffers_layout(&m, &limits, 0, &p->buffers);
    if (hip_device_alloc(s->device, p->buffers.bytes, &p->memory) ||
        hip_device_alloc(s->device, n_seqs * n_blocks * hip_block_bytes(&m), &p->cache))
        return false;
    hip_buffers_layout(&m, &limits, p->memory, &p->buffers);
    uint8_t *step = calloc(1, p->buffers.step_bytes);
    if (step == NULL)
        return false;
    uintptr_t base = (uintptr_t)p->buffers.step;
    struct hip_step *head = (void *)step;
    struct hip_row *rows = (void *)(step + ((uintptr_t)p->buffers.rows - base));
    struct hip_group *groups = (void *)(step + ((uintptr_t)p->buffers.groups - base));
    struct hip_wanted *wanted = (void *)(step + ((uintptr_t)p->buffers.wanted - base));
    uint32_t *table = (void *)(step + ((uintptr_t)p->buffers.table - base));
    for (uint32_t i = 0; i < n_seqs; i++) {
        for (uint32_t k = 0; k < n_blocks; k++)
            table[i * n_blocks + k] = i * n_blocks + k;
        for (uint32_t k = 0; k < n_tokens; k += HIP_GROUP_ROWS)
            groups[head->n_groups++] = (struct hip_group){
                .row0 = head->n_rows + k,
                .n_rows = n_tokens - k < HIP_GROUP_ROWS ? n_tokens - k : HIP_GROUP_ROWS,
                .pos0 = pos0 + k,
                .first_block = i * n_blocks,
                .sums_row = has_sums ? (int32_t)(head->n_rows + k) : HIP_NO_SUMS,
            };
        for (uint32_t k = 0; k < n_tokens; k++)
            rows[head->n_rows++] = (struct hip_row){.token = (i * 31 + k * 7) % m.n_vocab,
                                                    .pos = pos0 + k,
                                                    .block = i * n_blocks + (pos0 + k) / KV_BLOCK};
        wanted[head->n_wanted++] = (struct hip_wanted){.row = head->n_rows - 1, .n_top = 1};
    }
    /* All of it zeroed: counters must be, and what kernels read before others write is then no NaN. */
    bool ok = hip_runtime_fill(&s->device->runtime, p->memory, 0, p->buffers.bytes,
                               s->device->stream) == 0 &&
              hip_runtime_fill(&s->device->runtime, p->cache, 0,
                               n_seqs * n_blocks * hip_block_bytes(&m), s->device->stream) == 0 &&
              !hip_device_write(s->device, p->memory, step, p->buffers.step_bytes);
    free(step);
    p->launches = calloc(hip_plan_max(&m), sizeof *p->launches);
    if (!ok || p->launches == NULL)
        return false;
    p->n = hip_plan(&m, &p->buffers, (uint8_t *)(uintptr_t)p->cache, &shape, p->launches);
    return true;
}

static void free_plan(struct speed *s, struct plan *p)
{
    hip_device_release(s->device, p->memory);
    hip_device_release(s->device, p->cache);
    free(p->launches);
}

static bool is_few(const struct hip_launch *l)
{
    return HIP_KERNELS[l->kernel].args_bytes == sizeof l->args.few;
}

/* Whether two launches do the same for different layers. */
static bool is_alike(const struct hip_launch *a, const struct hip_launch *b)
{
    const struct hip_linear_args *la = &a->args.linear;
    const struct hip_linear_args *lb = &b->args.linear;
    const struct hip_norm_args *na = &a->args.norm;
    const struct hip_norm_args *nb = &b->args.norm;
    if (a->kernel != b->kernel || memcmp(a->grid, b->grid, sizeof a->grid) != 0)
        return false;
    if (HIP_KERNELS[a->kernel].args_bytes == sizeof *la)
        return la->n_cols == lb->n_cols;
    if (HIP_KERNELS[a->kernel].args_bytes == sizeof *na)
        return na->n == nb->n && (na->add != NULL) == (nb->add != NULL);
    if (is_few(a))
        return a->args.few.n == b->args.few.n && a->args.few.n_rows == b->args.few.n_rows &&
               a->args.few.is_added == b->args.few.is_added;
    return true;
}

/* Time in us of all launches that are like one (or of all, NULL) as one graph; below 0 on failure. */
static double time_launches(struct hip_device *d, const struct plan *p,
                            const struct hip_launch *like, uint32_t *ret_n)
{
    const struct hip_runtime *r = &d->runtime;
    void *graph = NULL;
    void *exec = NULL;
    void *events[2] = {NULL, NULL};
    double best = -1;
    bool ok = r->stream_begin_capture(d->stream, HIP_CAPTURE_THREAD_LOCAL) == 0;
    *ret_n = 0;
    for (size_t i = 0; i < p->n && ok; i++) {
        if (like != NULL && !is_alike(like, &p->launches[i]))
            continue;
        struct hip_launch launch = p->launches[i];
        if (like != NULL && is_few(&launch))
            launch.args.few.awaited = NULL; /* the launch whose blocks it awaits is not there */
        ok = !hip_device_launch(d, &launch);
        *ret_n += 1;
    }
    ok = r->stream_end_capture(d->stream, &graph) == 0 && ok &&
         hip_runtime_graph_instantiate(r, graph, &exec) == 0 &&
         r->event_create(&events[0], 0) == 0 && r->event_create(&events[1], 0) == 0;
    for (int i = 0; i < GRAPH_RUNS && ok; i++) {
        float ms = 0;
        ok = r->event_record(events[0], d->stream) == 0 && r->graph_launch(exec, d->stream) == 0 &&
             r->event_record(events[1], d->stream) == 0 && r->stream_synchronize(d->stream) == 0 &&
             r->event_elapsed_ms(&ms, events[0], events[1]) == 0;
        if (ok && (best < 0 || ms * 1e3 < best))
            best = ms * 1e3;
    }
    for (int i = 0; i < 2; i++) {
        if (events[i] != NULL)
            (void)r->event_destroy(events[i]);
    }
    if (exec != NULL)
        (void)r->graph_exec_destroy(exec);
    if (graph != NULL)
        (void)r->graph_destroy(graph);
    return ok ? best : -1;
}

static bool report_kernels(struct speed *s, uint32_t n_seqs, uint32_t n_tokens, uint32_t pos0)
{
    struct plan p = {0};
    bool ok = make_plan(s, n_seqs, n_tokens, pos0, false, &p);
    (void)printf("\nkernels of a step: %u sequences, %u tokens each from %u on\n"
                 "| kernel | launches | all of them | each |\n|---|---|---|---|\n",
                 n_seqs, n_tokens, pos0);
    /* First the whole step, whose bounds and lists the parts then work on. */
    uint32_t n_all = 0;
    double all = ok ? time_launches(s->device, &p, NULL, &n_all) : -1;
    ok = ok && all >= 0;
    (void)printf("| the whole step | %u | %.1f us | %.2f us |\n", n_all, all, all / n_all);
    uint32_t n_pairs = 0;
    if (ok && p.buffers.n_pairs != NULL && n_seqs > 1)
        ok = !hip_device_read(s->device, &n_pairs, (uint64_t)(uintptr_t)p.buffers.n_pairs,
                              sizeof n_pairs);
    for (size_t k = 0; k < p.n && ok; k++) {
        const struct hip_launch *l = &p.launches[k];
        size_t first = 0;
        uint32_t n = 0;
        while (!is_alike(l, &p.launches[first]))
            first++;
        if (first < k)
            continue;
        double us = time_launches(s->device, &p, l, &n);
        ok = us >= 0;
        (void)printf("| %s, %u x %u x %u | %u | %.1f us | %.2f us |\n",
                     HIP_KERNELS[l->kernel].symbol, l->grid[0], l->grid[1], l->grid[2], n, us,
                     us / n);
    }
    (void)printf("logits of %u rows in question: %u\n", n_seqs, n_pairs);
    (void)fflush(stdout);
    free_plan(s, &p);
    return ok;
}

/* ---- attention alone ---- */

/* One launch (or two, where rope is another) of a layer: both caches, several depths, beside the time that
 * reading the cache takes at 4.3 TB/s, as an H200 reads. */
static bool report_attention(struct speed *s)
{
    static const struct {
        uint32_t n_seqs, n_tokens, pos0;
    } CASES[] = {{1, 1, 191},  {1, 1, 1023},  {1, 1, 2047},  {1, 1, 8191}, {8, 1, 1023},
                 {64, 1, 191}, {64, 1, 2047}, {1, 16, 2032}, {1, 2048, 0}};
    (void)printf("\nattention of one layer, us\n"
                 "| sequences | tokens | from | cache | attention | rope | bytes at 4.3 TB/s |\n"
                 "|---|---|---|---|---|---|---|\n");
    bool ok = true;
    for (size_t i = 0; i < 2 * ARRAY_LEN(CASES) && ok; i++) {
        bool is_int8 = i % 2 != 0;
        uint32_t n_seqs = CASES[i / 2].n_seqs;
        uint32_t n_tokens = CASES[i / 2].n_tokens;
        uint32_t pos0 = CASES[i / 2].pos0;
        struct plan p = {0};
        double us[2] = {0, 0};
        ok = make_plan(s, n_seqs, n_tokens, pos0, is_int8, &p);
        /* Those of the first layer, each with its likes of the others. */
        bool is_first_layer = true;
        for (size_t k = 0; k < p.n && ok && is_first_layer; k++) {
            const char *symbol = HIP_KERNELS[p.launches[k].kernel].symbol;
            bool is_rope = p.launches[k].kernel == HIP_KERNEL_rope;
            bool is_attention = strncmp(symbol, "halo_attention", strlen("halo_attention")) == 0;
            uint32_t n = 0;
            if (is_rope || is_attention) {
                double all = time_launches(s->device, &p, &p.launches[k], &n);
                ok = all >= 0;
                us[is_rope] += all / s->weights->model.n_layers;
            }
            is_first_layer = us[0] <= 0 || is_attention;
        }
        struct hip_model m = s->weights->model;
        m.is_kv_int8 = is_int8;
        uint32_t n_blocks = (pos0 + n_tokens + KV_BLOCK - 1) / KV_BLOCK;
        double bytes = (double)hip_block_bytes(&m) / m.n_layers * n_blocks * n_seqs;
        (void)printf("| %u | %u | %u | %s | %.2f | %.2f | %.2f |\n", n_seqs, n_tokens, pos0,
                     is_int8 ? "int8" : "f16", us[0], us[1], bytes / 4.3e6);
        (void)fflush(stdout);
        free_plan(s, &p);
    }
    return ok;
}

/* ---- setting up ---- */

static bool set_up(struct speed *s, char *why, size_t cap_why)
{
    s->context = s->is_tiny ? 3 : CONTEXT;
    s->prefill = s->is_tiny ? 20 : PREFILL;
    s->n_seqs = s->is_tiny ? 2 : MAX_SEQS;
    uint32_t most = s->prefill > s->context + DECODE_STEPS ? s->prefill : s->context + DECODE_STEPS;
    s->blocks_per_seq = (s->context + KV_BLOCK) / KV_BLOCK;
    uint32_t n_prefill = (most + KV_BLOCK - 1) / KV_BLOCK;
    uint32_t n_blocks = s->n_seqs * s->blocks_per_seq;
    n_blocks = n_blocks > n_prefill ? n_blocks : n_prefill;
    s->tokens = calloc(s->prefill + s->n_seqs, sizeof *s->tokens);
    s->blocks = calloc(n_blocks, sizeof *s->blocks);
    if (s->tokens == NULL || s->blocks == NULL)
        return false;
    for (uint32_t i = 0; i < s->prefill + s->n_seqs; i++)
        s->tokens[i] = (i * 7919 + 13) % s->model->config.n_vocab;
    for (uint32_t i = 0; i < n_blocks; i++)
        s->blocks[i] = i;
    s->code_bytes = (double)bench_model_code_bytes(s->model);
    s->head_bytes = 1.0 * s->model->config.n_vocab * s->model->config.n_hidden;
    const struct backend_hip_config config = {
        .weights = s->weights,
        .model = s->model,
        .n_blocks = n_blocks,
        .max_items = s->n_seqs,
        .max_rows = s->prefill,
        .max_logits = s->n_seqs,
    };
    if (backend_hip_new(&config, why, cap_why, &s->backend))
        return false;
    /* Keys and values of any kind, but no NaN: they decide no branch but the maximum. */
    for (uint32_t pos = 0; pos < s->context; pos += s->prefill) {
        uint32_t n = s->context - pos < s->prefill ? s->context - pos : s->prefill;
        for (uint32_t i = 0; i < s->n_seqs; i++) {
            struct backend_item item = {.tokens = s->tokens + i,
                                        .n_tokens = n,
                                        .pos0 = pos,
                                        .blocks = s->blocks + (size_t)i * s->blocks_per_seq};
            if (backend_step(s->backend, &item, 1))
                return false;
        }
    }
    return true;
}

static bool is_wanted(const struct speed *s, const char *name)
{
    return s->only == NULL || strcmp(s->only, name) == 0;
}

static bool report(struct speed *s)
{
    (void)printf("\n%s, f16 cache, int8 head; floors of an H200 with these\n"
                 "| case | time | tokens/s | rate | floor, tokens/s |\n|---|---|---|---|---|\n",
                 s->model->config.name);
    static const struct {
        const char *name;
        uint32_t n_seqs;
        bool is_long; /* too much for the tiny model */
        const char *floor;
    } DECODES[] = {{"decode1", 1, false, "4973"},
                   {"decode8", 8, true, "-"},
                   {"decode64", 64, true, "104-153 k"}};
    bool ok = true;
    for (size_t i = 0; i < ARRAY_LEN(DECODES) && ok; i++) {
        if (is_wanted(s, DECODES[i].name) && (!s->is_tiny || !DECODES[i].is_long))
            ok = report_decode(s, DECODES[i].n_seqs, DECODES[i].floor);
    }
    ok = ok && (!is_wanted(s, "prefill") || report_prefill(s));
    for (size_t i = 0; i < ARRAY_LEN(DECODES) && ok; i++) {
        if (is_wanted(s, DECODES[i].name) && (!s->is_tiny || !DECODES[i].is_long))
            ok = report_kernels(s, DECODES[i].n_seqs, 1, s->context);
    }
    ok = ok && (!is_wanted(s, "prefill") || report_kernels(s, 1, s->prefill, 0));
    return ok && (s->is_tiny || !is_wanted(s, "attention") || report_attention(s));
}

bool driver_measure(struct hip_device *d, bool is_tiny, const char *only)
{
    char why[400] = "out of memory";
    struct bench_model m = {0};
    struct speed s = {.device = d, .is_tiny = is_tiny, .only = only};
    bool ok =
        !bench_model_make(&m, is_tiny ? "tiny" : "2b4t", "t2", MODEL_CONTEXT, why, sizeof why) &&
        !hip_weights_new(d, m.model, why, sizeof why, &s.weights);
    s.model = m.model;
    ok = ok && set_up(&s, why, sizeof why);
    if (!ok)
        (void)printf("speed: FAILED: %s\n", why);
    ok = ok && report(&s);
    backend_free(s.backend);
    hip_weights_free(s.weights);
    bench_model_fini(&m);
    free(s.tokens);
    free(s.blocks);
    return ok;
}
