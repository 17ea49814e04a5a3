/* SPDX-License-Identifier: MIT */
/* The GPU's logits are the CPU's, bit for bit, for every kind of model and whatever the way they are
 * computed; and what the GPU did not compute is never taken for an answer. The kernels run in the CPU
 * harness, the library that drives the GPU is the stand-in of tests/gpu. */
#include "services/engine/backend_hip.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "services/engine/backend_cpu.h"
#include "services/engine/core.h"
#include "services/engine/fast_head.h"
#include "services/engine/hip_core.h"
#include "services/engine/selfcheck.h"
#include "tests/engine/testmodel_kinds.h"

enum { N_BLOCKS = 40, MAX_ROWS = 70, MAX_LOGITS = 70, MAX_ITEMS = 8, N_TOKENS = 101 };

/* ---- a GPU ---- */

struct gpu {
    struct hip_core core;
    struct backend *b;
};

static void (*symbol(struct hip_core *core, const char *name))(void)
{
    void (*f)(void) = NULL;
    *(void **)&f = dlsym(core->device->runtime.library, name);
    assert_non_null(f);
    return f;
}

/* Opens the device of a stand-in that behaves as `words` say, and copies the weights to it. */
static struct hip_core open_core(const char *library, const char *words, const struct model *m)
{
    struct hip_core core;
    const struct hip_wish wish = {.backend = "hip", .gpu = "0", .library = library};
    assert_int_equal(setenv("HALO_STANDIN", "", 1), 0);
    assert_true(hip_core_find(&core, &wish));
    symbol(&core, "standin_reset")();
    assert_int_equal(setenv("HALO_STANDIN", words, 1), 0);
    if (m != NULL)
        assert_true(hip_core_load(&core, &wish, m));
    return core;
}

static enum err try_backend(const struct hip_core *core, const struct model *m,
                            enum kv_type kv_type, struct backend **ret_backend)
{
    const struct backend_hip_config config = {
        .model = m,
        .kv_type = kv_type,
        .n_blocks = N_BLOCKS,
        .max_items = MAX_ITEMS,
        .max_rows = MAX_ROWS,
        .max_logits = MAX_LOGITS,
    };
    return hip_core_backend(core, config, ret_backend);
}

static struct gpu open_gpu(const char *words, const struct model *m, enum kv_type kv_type)
{
    struct gpu g = {.core = open_core(STANDIN_HIP, words, m)};
    assert_int_equal(try_backend(&g.core, m, kv_type, &g.b), ERR_OK);
    return g;
}

/* Nothing may be left behind. */
static void close_gpu(struct gpu *g)
{
    size_t (*n_live)(void) = (size_t(*)(void))symbol(&g->core, "standin_n_live");
    void (*reset)(void) = symbol(&g->core, "standin_reset");
    backend_free(g->b);
    hip_core_close(&g->core);
    assert_int_equal(n_live(), 0);
    reset();
}

static struct backend *open_cpu(const struct model *m, enum kv_type kv_type)
{
    const struct backend_cpu_config config = {
        .model = m,
        .kernels = kernels_get(kernels_best()),
        .n_threads = 1,
        .kv_type = kv_type,
        .n_blocks = N_BLOCKS,
        .max_rows = 2 * N_TOKENS,
        .max_logits = N_TOKENS,
    };
    struct backend *b = NULL;
    assert_int_equal(backend_cpu_new(&config, &b), ERR_OK);
    return b;
}

/* ---- what is expected ---- */

static const uint32_t BLOCKS[4][8] = {
    {3, 17, 9, 30}, {0, 39, 1, 2}, {10, 11, 12, 13}, {20, 5, 6, 7}};

struct bench {
    struct model *model;
    enum kv_type kv_type;
    uint32_t tokens[4][N_TOKENS];
    float *expected[4]; /* [N_TOKENS][vocab], by the CPU */
};

static void bench_init(struct bench *t, const struct testmodel *shape, enum kv_type kv_type,
                       uint32_t n_seqs)
{
    *t = (struct bench){.model = testmodel_open(shape), .kv_type = kv_type};
    uint64_t rng = 7;
    size_t bytes = (size_t)N_TOKENS * shape->n_vocab * sizeof(float);
    struct backend *b = open_cpu(t->model, kv_type);
    for (uint32_t s = 0; s < n_seqs; s++) {
        for (uint32_t i = 0; i < N_TOKENS; i++)
            t->tokens[s][i] = (uint32_t)(testmodel_random(&rng) % shape->n_vocab);
        struct backend_item item = {.tokens = t->tokens[s],
                                    .n_tokens = N_TOKENS,
                                    .blocks = BLOCKS[s],
                                    .n_logits = N_TOKENS};
        assert_int_equal(backend_step(b, &item, 1), ERR_OK);
        t->expected[s] = malloc(bytes);
        assert_non_null(t->expected[s]);
        memcpy(t->expected[s], item.got->values, bytes);
    }
    backend_free(b);
}

static void bench_fini(struct bench *t)
{
    for (uint32_t s = 0; s < 4; s++)
        free(t->expected[s]);
    model_close(t->model);
}

static struct backend_item item_of(const struct bench *t, uint32_t seq, uint32_t pos0, uint32_t n,
                                   uint32_t n_logits)
{
    return (struct backend_item){.tokens = t->tokens[seq] + pos0,
                                 .n_tokens = n,
                                 .pos0 = pos0,
                                 .blocks = BLOCKS[seq],
                                 .n_logits = n_logits};
}

static void expect_logits(const struct bench *t, const char *what, uint32_t seq,
                          const struct backend_item *item)
{
    size_t n_vocab = t->model->config.n_vocab;
    for (uint32_t i = 0; i < item->n_logits; i++) {
        uint32_t pos = item->pos0 + item->n_tokens - item->n_logits + i;
        const float *expected = t->expected[seq] + pos * n_vocab;
        if (memcmp(item->got[i].values, expected, n_vocab * sizeof *expected) != 0)
            fail_msg("%s, cache in %s: other logits at position %u", what, kv_type_name(t->kv_type),
                     pos);
    }
}

/* One item of a sequence, all or the last of its logits compared. */
static void step_one(const struct bench *t, const char *what, struct backend *b, uint32_t pos0,
                     uint32_t n, uint32_t n_logits)
{
    struct backend_item item = item_of(t, 0, pos0, n, n_logits);
    assert_int_equal(backend_step(b, &item, 1), ERR_OK);
    expect_logits(t, what, 0, &item);
}

/* ---- equal bits ---- */

static void every_kind_of_model_has_the_bits_of_the_cpu(void **state)
{
    (void)state;
    for (size_t i = 0; i < TESTMODEL_N_KINDS; i++) {
        for (enum kv_type kv_type = KV_F16; kv_type <= KV_INT8; kv_type++) {
            struct bench t;
            bench_init(&t, &TESTMODEL_KINDS[i].shape, kv_type, 1);
            struct gpu g = open_gpu("", t.model, kv_type);
            step_one(&t, TESTMODEL_KINDS[i].what, g.b, 0, 9, 9);
            step_one(&t, TESTMODEL_KINDS[i].what, g.b, 9, 1, 1);
            step_one(&t, TESTMODEL_KINDS[i].what, g.b, 10, 3, 2);
            close_gpu(&g);
            bench_fini(&t);
        }
    }
}

static void the_other_library_gives_the_same(void **state)
{
    (void)state;
    static const char *const LIBRARIES[] = {STANDIN_HIP5, STANDIN_CUDA};
    struct bench t;
    bench_init(&t, &TESTMODEL_TINY, KV_F16, 1);
    for (size_t i = 0; i < 2; i++) {
        struct gpu g = {.core = open_core(LIBRARIES[i], "", t.model)};
        assert_int_equal(try_backend(&g.core, t.model, KV_F16, &g.b), ERR_OK);
        assert_string_equal(g.b->name, i == 0 ? "hip/gfx1151" : "cuda/sm_90");
        step_one(&t, g.b->name, g.b, 0, 20, 1);
        close_gpu(&g);
    }
    bench_fini(&t);
}

static void chunks_of_a_prompt_do_not_show(void **state)
{
    (void)state;
    static const uint32_t CHUNKS[] = {64, 33, 7};
    struct bench t;
    bench_init(&t, &TESTMODEL_TINY, KV_F16, 1);
    struct gpu g = open_gpu("", t.model, KV_F16);
    for (size_t c = 0; c < sizeof CHUNKS / sizeof CHUNKS[0]; c++) {
        for (uint32_t pos = 0; pos < N_TOKENS; pos += CHUNKS[c]) {
            uint32_t left = N_TOKENS - pos;
            step_one(&t, "a chunk", g.b, pos, left < CHUNKS[c] ? left : CHUNKS[c], 1);
        }
    }
    close_gpu(&g);
    bench_fini(&t);
}

/* Four sequences in random chunks together, prompts beside single tokens, with and without logits. */
static void compute_together(enum kv_type kv_type)
{
    struct testmodel shape = TESTMODEL_TINY;
    shape.n_layers = 2;
    struct bench t;
    bench_init(&t, &shape, kv_type, 4);
    struct gpu g = open_gpu("", t.model, kv_type);
    uint32_t pos[4] = {0};
    uint64_t rng = 11;
    while (pos[0] + pos[1] + pos[2] + pos[3] < 4 * N_TOKENS) {
        struct backend_item items[4];
        uint32_t seqs[4];
        uint32_t n = 0;
        for (uint32_t s = 0; s < 4; s++) {
            uint32_t left = N_TOKENS - pos[s];
            uint32_t take = testmodel_random(&rng) % 3 == 0
                                ? 1
                                : (uint32_t)(testmodel_random(&rng) % (MAX_ROWS / 4));
            take = take < left ? take : left;
            if (take == 0)
                continue;
            uint32_t n_logits = (uint32_t)testmodel_random(&rng) % 3;
            seqs[n] = s;
            items[n++] = item_of(&t, s, pos[s], take, n_logits < take ? n_logits : take);
            pos[s] += take;
        }
        if (n == 0)
            continue;
        assert_int_equal(backend_step(g.b, items, n), ERR_OK);
        for (uint32_t i = 0; i < n; i++)
            expect_logits(&t, "together", seqs[i], &items[i]);
    }
    assert_true(backend_hip_n_graphs(g.b) <= backend_hip_n_graphs_made(g.b));
    close_gpu(&g);
    bench_fini(&t);
}

static void other_sequences_in_the_step_do_not_show(void **state)
{
    (void)state;
    compute_together(KV_F16);
    compute_together(KV_INT8);
}

/* Blocks go from the CPU to the GPU and back. */
static void move_blocks(enum kv_type kv_type)
{
    struct bench t;
    bench_init(&t, &TESTMODEL_TINY, kv_type, 1);
    struct gpu g = open_gpu("", t.model, kv_type);
    struct backend *cpu = open_cpu(t.model, kv_type);
    assert_int_equal(g.b->kv_bytes, cpu->kv_bytes);
    uint8_t *bytes = malloc(cpu->kv_bytes);
    assert_non_null(bytes);
    step_one(&t, "CPU", cpu, 0, 70, 1); /* the third block is not full */
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(backend_kv_read(cpu, BLOCKS[0][i], bytes), ERR_OK);
        assert_int_equal(backend_kv_write(g.b, BLOCKS[0][i], bytes), ERR_OK);
    }
    step_one(&t, "after the CPU", g.b, 70, 20, 1);
    backend_free(cpu);
    cpu = open_cpu(t.model, kv_type);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(backend_kv_read(g.b, BLOCKS[0][i], bytes), ERR_OK);
        assert_int_equal(backend_kv_write(cpu, BLOCKS[0][i], bytes), ERR_OK);
    }
    step_one(&t, "after the GPU", cpu, 90, 11, 1);
    free(bytes);
    backend_free(cpu);
    close_gpu(&g);
    bench_fini(&t);
}

static void blocks_move_between_cpu_and_gpu(void **state)
{
    (void)state;
    move_blocks(KV_F16);
    move_blocks(KV_INT8);
}

/* Several segments of attention, which the device splits when it has little else to do. */
static void a_long_context_has_the_bits_of_the_cpu(void **state)
{
    (void)state;
    enum { LONG = 1000, CHUNK = 200, LAST = 6 };
    struct testmodel shape = TESTMODEL_TINY;
    shape.n_ctx = LONG;
    shape.n_layers = 2;
    struct model *m = testmodel_open(&shape);
    uint32_t tokens[LONG];
    uint32_t blocks[(LONG + KV_BLOCK - 1) / KV_BLOCK];
    uint64_t rng = 3;
    for (uint32_t i = 0; i < LONG; i++)
        tokens[i] = (uint32_t)(testmodel_random(&rng) % shape.n_vocab);
    for (uint32_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        blocks[i] = N_BLOCKS - 1 - i;
    for (enum kv_type kv_type = KV_F16; kv_type <= KV_INT8; kv_type++) {
        struct backend *cpu = open_cpu(m, kv_type);
        struct gpu g = open_gpu("", m, kv_type);
        uint8_t *bytes = malloc(cpu->kv_bytes);
        assert_non_null(bytes);
        for (uint32_t pos = 0; pos < LONG - LAST; pos += CHUNK) {
            uint32_t left = LONG - LAST - pos;
            struct backend_item item = {.tokens = tokens + pos,
                                        .n_tokens = left < CHUNK ? left : CHUNK,
                                        .pos0 = pos,
                                        .blocks = blocks};
            assert_int_equal(backend_step(cpu, &item, 1), ERR_OK);
        }
        for (uint32_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
            assert_int_equal(backend_kv_read(cpu, blocks[i], bytes), ERR_OK);
            assert_int_equal(backend_kv_write(g.b, blocks[i], bytes), ERR_OK);
        }
        for (uint32_t pos = LONG - LAST; pos < LONG;) {
            uint32_t n = pos == LONG - LAST ? 1 : LAST - 1;
            struct backend_item a = {.tokens = tokens + pos,
                                     .n_tokens = n,
                                     .pos0 = pos,
                                     .blocks = blocks,
                                     .n_logits = n};
            struct backend_item b = a;
            assert_int_equal(backend_step(cpu, &a, 1), ERR_OK);
            assert_int_equal(backend_step(g.b, &b, 1), ERR_OK);
            assert_memory_equal(a.got->values, b.got->values, n * shape.n_vocab * sizeof(float));
            pos += n;
        }
        free(bytes);
        backend_free(cpu);
        close_gpu(&g);
    }
    model_close(m);
}

static void the_largest_logits_are_sorted_out_on_the_device(void **state)
{
    (void)state;
    static const uint32_t TOPS[] = {1, 2, 40, HIP_MAX_TOP, HIP_MAX_TOP + 1, 5000};
    struct bench t;
    bench_init(&t, &TESTMODEL_TINY, KV_F16, 1);
    struct gpu g = open_gpu("", t.model, KV_F16);
    uint32_t n_vocab = t.model->config.n_vocab;
    for (size_t k = 0; k < sizeof TOPS / sizeof TOPS[0]; k++) {
        struct backend_item item = item_of(&t, 0, 0, 9, 3);
        item.want = (struct backend_want){.kind = WANT_TOP, .n_top = TOPS[k]};
        assert_int_equal(backend_step(g.b, &item, 1), ERR_OK);
        for (uint32_t i = 0; i < 3; i++) {
            const float *full = t.expected[0] + (size_t)(6 + i) * n_vocab;
            assert_true(fast_head_agrees(full, &item.got[i], n_vocab, &item.want));
            assert_int_equal(item.got[i].n, TOPS[k] <= HIP_MAX_TOP ? TOPS[k] : n_vocab);
        }
    }
    close_gpu(&g);
    bench_fini(&t);
}

/* Few of them come as a list, more than the device sorts out as a whole row. */
static void logits_near_the_largest_come_all(void **state)
{
    (void)state;
    static const float REACHES[] = {0, 1, 3, 1000, INFINITY};
    struct bench t;
    bench_init(&t, &TESTMODEL_TINY, KV_F16, 1);
    struct gpu g = open_gpu("", t.model, KV_F16);
    uint32_t n_vocab = t.model->config.n_vocab;
    for (size_t k = 0; k < sizeof REACHES / sizeof REACHES[0]; k++) {
        struct backend_item item = item_of(&t, 0, 0, 9, 3);
        const struct backend_want near = {.kind = WANT_NEAR, .reach = REACHES[k]};
        item.want = near;
        if (k % 2 == 0) /* what min_p asks for, and in the end top_p */
            item.want.kind = WANT_PICK;
        assert_int_equal(backend_step(g.b, &item, 1), ERR_OK);
        for (uint32_t i = 0; i < 3; i++) {
            const float *full = t.expected[0] + (size_t)(6 + i) * n_vocab;
            assert_true(fast_head_agrees(full, &item.got[i], n_vocab, &near));
            if (k == 0)
                assert_int_equal(item.got[i].n, HIP_MAX_TOP);
        }
        if (k >= 3)
            expect_logits(&t, "near", 0, &item);
    }
    close_gpu(&g);
    bench_fini(&t);
}

/* Each token of a reply has its own noise. */
static void a_draw_is_found_on_the_device(void **state)
{
    (void)state;
    struct bench t;
    bench_init(&t, &TESTMODEL_TINY, KV_F16, 1);
    struct gpu g = open_gpu("", t.model, KV_F16);
    uint32_t n_vocab = t.model->config.n_vocab;
    for (uint32_t seed = 0; seed < 5; seed++) {
        struct backend_item item = item_of(&t, 0, 0, 9, 3);
        item.want = (struct backend_want){
            .kind = WANT_DRAW,
            .noise = {.seed = 0x123456789abcdefU * seed, .index = 1000 * seed, .scale = 3.0F}};
        assert_int_equal(backend_step(g.b, &item, 1), ERR_OK);
        for (uint32_t i = 0; i < 3; i++) {
            const float *full = t.expected[0] + (size_t)(6 + i) * n_vocab;
            struct backend_want want = item.want;
            want.noise.index += i;
            assert_int_equal(item.got[i].n, 1);
            assert_true(fast_head_agrees(full, &item.got[i], n_vocab, &want));
        }
    }
    close_gpu(&g);
    bench_fini(&t);
}

/* ---- graphs ---- */

static void steps_of_one_shape_share_a_graph(void **state)
{
    (void)state;
    struct bench t;
    bench_init(&t, &TESTMODEL_TINY, KV_F16, 1);
    struct gpu g = open_gpu("", t.model, KV_F16);
    step_one(&t, "prompt", g.b, 0, 64, 1);
    uint64_t n_made = backend_hip_n_graphs_made(g.b);
    for (uint32_t pos = 64; pos < 80; pos++)
        step_one(&t, "decode", g.b, pos, 1, 1);
    assert_int_equal(backend_hip_n_graphs_made(g.b), n_made + 1);
    close_gpu(&g);
    bench_fini(&t);
}

/* As many shapes as there are, twice: tokens, logits, largest logits. */
static void graphs_that_are_not_used_go(void **state)
{
    (void)state;
    struct testmodel shape = TESTMODEL_TINY;
    shape.n_layers = 1;
    shape.n_vocab = 40;
    struct bench t;
    bench_init(&t, &shape, KV_F16, 1);
    struct gpu g = open_gpu("", t.model, KV_F16);
    for (uint32_t n = 1; n <= 16; n *= 2) {
        for (uint32_t n_logits = 0; n_logits <= n; n_logits = n_logits * 2 + (n_logits == 0)) {
            for (uint32_t n_top = 0; n_top <= 16; n_top = n_top * 2 + (n_top == 0)) {
                struct backend_item item = item_of(&t, 0, 0, n, n_logits);
                if (n_top > 0)
                    item.want = (struct backend_want){.kind = WANT_TOP, .n_top = n_top};
                assert_int_equal(backend_step(g.b, &item, 1), ERR_OK);
                if (n_top == 0)
                    expect_logits(&t, "a shape", 0, &item);
            }
        }
    }
    assert_int_equal(backend_hip_n_graphs(g.b), 64);
    assert_true(backend_hip_n_graphs_made(g.b) > 64);
    close_gpu(&g);
    bench_fini(&t);
}

/* ---- what goes wrong ---- */

/* Steps until one fails; returns its error. None of those before may differ from the CPU's. */
static enum err run_until_failure(const char *words, uint32_t *ret_n_steps)
{
    struct bench t;
    bench_init(&t, &TESTMODEL_TINY, KV_F16, 1);
    struct gpu g = open_gpu(words, t.model, KV_F16);
    enum err e = ERR_OK;
    uint32_t pos = 0;
    for (; pos < 10 && !e; pos++) {
        struct backend_item item = item_of(&t, 0, pos, 1, 1);
        e = backend_step(g.b, &item, 1);
        if (!e)
            expect_logits(&t, words, 0, &item);
    }
    *ret_n_steps = pos;
    struct backend_item item = item_of(&t, 0, 0, 1, 1);
    if (e)
        assert_int_not_equal(backend_step(g.b, &item, 1), ERR_OK); /* it does not come back */
    close_gpu(&g);
    bench_fini(&t);
    return e;
}

static void a_failure_is_an_error_and_never_an_answer(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        uint32_t n_steps;
        enum err err;
    } CASES[] = {
        {"fail-graph=4", 4, ERR_IO}, {"lose=3", 3, ERR_IO},        {"skip=5", 5, ERR_INTERNAL},
        {"skip=1", 1, ERR_INTERNAL}, {"fail-launch=2", 1, ERR_IO}, {"", 10, ERR_OK},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        uint32_t n_steps = 0;
        assert_int_equal(run_until_failure(CASES[i].words, &n_steps), CASES[i].err);
        assert_int_equal(n_steps, CASES[i].n_steps);
    }
}

/* Each copy of the setting up and of the first steps fails once. */
static void any_copy_may_fail(void **state)
{
    (void)state;
    struct testmodel shape = TESTMODEL_TINY;
    shape.n_layers = 1;
    struct model *m = testmodel_open(&shape);
    uint32_t n_failed = 0;
    bool has_failed = true;
    for (uint32_t n = 1; has_failed; n++) {
        char words[32];
        char why[400];
        (void)snprintf(words, sizeof words, "fail-copy=%u", n);
        assert_int_equal(setenv("HALO_STANDIN", words, 1), 0);
        struct hip_core core = {0};
        const struct hip_device_config device = {.library = STANDIN_HIP};
        assert_int_equal(hip_device_open(&device, why, sizeof why, &core.device), ERR_OK);
        symbol(&core, "standin_reset")();
        struct backend *b = NULL;
        enum err e = hip_weights_new(core.device, m, why, sizeof why, &core.weights);
        if (!e)
            e = try_backend(&core, m, KV_F16, &b);
        const uint32_t token = 1;
        struct backend_item item = {
            .tokens = &token, .n_tokens = 1, .blocks = BLOCKS[0], .n_logits = 1};
        for (uint32_t i = 0; i < 2 && !e; i++)
            e = backend_step(b, &item, 1);
        has_failed = e != ERR_OK;
        n_failed += has_failed;
        size_t (*n_live)(void) = (size_t(*)(void))symbol(&core, "standin_n_live");
        backend_free(b);
        hip_core_close(&core);
        assert_int_equal(n_live(), 0);
    }
    assert_true(n_failed > 20);
    model_close(m);
}

static void too_little_memory_says_what_helps(void **state)
{
    (void)state;
    struct testmodel shape = TESTMODEL_TINY;
    shape.n_vocab = 20000; /* 2.9 MB */
    struct model *m = testmodel_open(&shape);
    char why[400];
    struct hip_core core = {0};
    const struct hip_device_config device = {.library = STANDIN_HIP};
    assert_int_equal(setenv("HALO_STANDIN", "memory=1", 1), 0);
    assert_int_equal(hip_device_open(&device, why, sizeof why, &core.device), ERR_OK);
    assert_int_equal(hip_weights_new(core.device, m, why, sizeof why, &core.weights), ERR_NOMEM);
    assert_non_null(strstr(why, "--backend cpu"));

    assert_int_equal(setenv("HALO_STANDIN", "memory=16", 1), 0);
    assert_int_equal(hip_weights_new(core.device, m, why, sizeof why, &core.weights), ERR_OK);
    struct backend_hip_config config = {
        .weights = core.weights,
        .model = m,
        .n_blocks = 1000000,
        .max_items = 1,
        .max_rows = 4,
        .max_logits = 4,
    };
    struct backend *b = NULL;
    assert_int_equal(backend_hip_new(&config, why, sizeof why, &b), ERR_NOMEM);
    assert_non_null(strstr(why, "--kv-tokens"));
    assert_null(b);

    /* What is free is enough, and yet there is none. */
    symbol(&core, "standin_reset")();
    assert_int_equal(setenv("HALO_STANDIN", "memory=64 fail-malloc=2", 1), 0);
    config.n_blocks = 10;
    assert_int_equal(backend_hip_new(&config, why, sizeof why, &b), ERR_NOMEM);
    assert_null(b);
    size_t (*n_live)(void) = (size_t(*)(void))symbol(&core, "standin_n_live");
    hip_core_close(&core);
    assert_int_equal(n_live(), 0);
    model_close(m);
}

static void a_gpu_without_kernels_or_without_a_driver_is_refused(void **state)
{
    (void)state;
    char why[600];
    struct hip_device *d = NULL;
    struct hip_device_config config = {.library = STANDIN_HIP, .index = -1};
    assert_int_equal(setenv("HALO_STANDIN", "arch=gfx803", 1), 0);
    assert_int_equal(hip_device_open(&config, why, sizeof why, &d), ERR_UNSUPPORTED);
    assert_non_null(strstr(why, "gfx803"));
    assert_non_null(strstr(why, "gfx1151")); /* what there would be */
    assert_int_equal(setenv("HALO_STANDIN", "bad-module", 1), 0);
    assert_int_equal(hip_device_open(&config, why, sizeof why, &d), ERR_IO);
    assert_int_equal(setenv("HALO_STANDIN", "devices=0", 1), 0);
    assert_int_equal(hip_device_open(&config, why, sizeof why, &d), ERR_NOT_FOUND);
    assert_int_equal(setenv("HALO_STANDIN", "", 1), 0);
    config.index = 3;
    assert_int_equal(hip_device_open(&config, why, sizeof why, &d), ERR_NOT_FOUND);
    assert_non_null(strstr(why, "--gpu 0"));
    assert_null(d);

    /* A later NVIDIA GPU takes the latest kernels there are, an earlier one has none. */
    config = (struct hip_device_config){.library = STANDIN_CUDA, .index = -1};
    assert_int_equal(setenv("HALO_STANDIN", "arch=sm_120", 1), 0);
    assert_int_equal(hip_device_open(&config, why, sizeof why, &d), ERR_OK);
    assert_string_equal(d->object_arch, "sm_90");
    assert_false(d->has_warpgroups);
    hip_device_free(d);
    /* And one that kernels were made for takes them, though they run on no other. */
    assert_int_equal(setenv("HALO_STANDIN", "arch=sm_90", 1), 0);
    assert_int_equal(hip_device_open(&config, why, sizeof why, &d), ERR_OK);
    assert_string_equal(d->object_arch, "sm_90a");
    assert_true(d->has_warpgroups);
    hip_device_free(d);
    assert_int_equal(setenv("HALO_STANDIN", "arch=sm_75", 1), 0);
    assert_int_equal(hip_device_open(&config, why, sizeof why, &d), ERR_UNSUPPORTED);
}

static void the_wish_for_a_backend_is_followed(void **state)
{
    (void)state;
    struct hip_core core;
    struct hip_wish wish = {.backend = "auto", .gpu = "auto", .library = STANDIN_HIP};
    assert_int_equal(setenv("HALO_STANDIN", "devices=0", 1), 0);
    assert_true(hip_core_find(&core, &wish)); /* and the CPU computes */
    assert_null(core.device);
    wish.backend = "hip";
    assert_false(hip_core_find(&core, &wish));
    wish.backend = "cpu";
    assert_true(hip_core_find(&core, &wish));
    wish.backend = "auto";
    assert_int_equal(setenv("HALO_STANDIN", "memory=1", 1), 0);
    struct testmodel shape = TESTMODEL_TINY;
    shape.n_vocab = 20000;
    struct model *m = testmodel_open(&shape);
    assert_true(hip_core_find(&core, &wish));
    assert_non_null(core.device);
    assert_true(hip_core_load(&core, &wish, m)); /* too large: the CPU computes */
    assert_null(core.device);
    wish.backend = "hip";
    assert_true(hip_core_find(&core, &wish));
    assert_false(hip_core_load(&core, &wish, m));
    hip_core_close(&core);
    model_close(m);
    assert_true(hip_core_is_gpu("auto") && hip_core_is_gpu("0") && hip_core_is_gpu("12"));
    assert_false(hip_core_is_gpu("") || hip_core_is_gpu("-1") || hip_core_is_gpu("1x"));
}

static void the_self_check_compares_the_gpu_with_the_definition(void **state)
{
    (void)state;
    struct bench t;
    bench_init(&t, &TESTMODEL_TINY, KV_F16, 1);
    uint64_t cpu_hash = 0;
    uint64_t gpu_hash = 0;
    struct selfcheck how = {.n_threads = 1};
    assert_int_equal(selfcheck_run(t.model, kernels_get(ISA_REF), &how, &cpu_hash), ERR_OK);
    struct hip_core core = open_core(STANDIN_HIP, "", t.model);
    struct hip_check check = {.core = &core};
    how.open = hip_core_open_check;
    how.ctx = &check;
    assert_int_equal(selfcheck_run(t.model, kernels_get(ISA_REF), &how, &gpu_hash), ERR_OK);
    assert_true(gpu_hash == cpu_hash);
    assert_int_equal(setenv("HALO_STANDIN", "skip=1", 1), 0);
    symbol(&core, "standin_reset")();
    assert_int_not_equal(selfcheck_run(t.model, kernels_get(ISA_REF), &how, &gpu_hash), ERR_OK);
    hip_core_close(&core);
    bench_fini(&t);
}

/* Of a whole engine: auto goes on with the CPU, hip does not start. */
static void a_gpu_that_computes_something_else_is_not_used(void **state)
{
    (void)state;
    char path[] = "/tmp/halo-gpu-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    testmodel_write(&TESTMODEL_TINY, path, NULL, NULL);
    struct options o = {.model = path,
                        .backend = "auto",
                        .gpu = "auto",
                        .gpu_library = STANDIN_HIP,
                        .isa = "auto",
                        .head = "fast",
                        .kv_type = "f16",
                        .threads = 1,
                        .max_seqs = 2,
                        .max_waiting = 10,
                        .step_tokens = 16};
    for (int k = 0; k < 3; k++) {
        struct hip_core core = open_core(STANDIN_HIP, "", NULL);
        symbol(&core, "standin_reset")();
        hip_core_close(&core);
        assert_int_equal(setenv("HALO_STANDIN", k > 0 ? "skip=1" : "", 1), 0);
        o.backend = k < 2 ? "auto" : "hip";
        struct core c = {0};
        assert_int_equal(core_open(&c, &o), k < 2);
        if (k < 2) {
            const char *expected = k == 0 ? "hip/gfx1151" : "cpu/";
            assert_int_equal(strncmp(c.backend->name, expected, strlen(expected)), 0);
        }
        core_close(&c);
    }
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_model_has_the_bits_of_the_cpu),
        cmocka_unit_test(the_other_library_gives_the_same),
        cmocka_unit_test(chunks_of_a_prompt_do_not_show),
        cmocka_unit_test(other_sequences_in_the_step_do_not_show),
        cmocka_unit_test(blocks_move_between_cpu_and_gpu),
        cmocka_unit_test(a_long_context_has_the_bits_of_the_cpu),
        cmocka_unit_test(the_largest_logits_are_sorted_out_on_the_device),
        cmocka_unit_test(logits_near_the_largest_come_all),
        cmocka_unit_test(a_draw_is_found_on_the_device),
        cmocka_unit_test(steps_of_one_shape_share_a_graph),
        cmocka_unit_test(graphs_that_are_not_used_go),
        cmocka_unit_test(a_failure_is_an_error_and_never_an_answer),
        cmocka_unit_test(any_copy_may_fail),
        cmocka_unit_test(too_little_memory_says_what_helps),
        cmocka_unit_test(a_gpu_without_kernels_or_without_a_driver_is_refused),
        cmocka_unit_test(the_wish_for_a_backend_is_followed),
        cmocka_unit_test(the_self_check_compares_the_gpu_with_the_definition),
        cmocka_unit_test(a_gpu_that_computes_something_else_is_not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
