/* SPDX-License-Identifier: MIT */
#include "tests/engine/scheduler_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/arena.h"
#include "services/engine/backend_cpu.h"
#include "tests/engine/testmodel.h"

const struct rig_setting RIG_PLAIN = {100, 8, 256, RIG_N_CTX, false, 0};
const struct rig_setting RIG_WIDE = {100, 8, 256, RIG_N_CTX, false, 8};

struct rig rig_new(const struct model *m, const struct rig_setting *set)
{
    struct rig r = {.limits = {&m->config, "cafe", set->n_ctx, 0}};
    const struct backend_cpu_config config = {
        .model = m,
        .kernels = kernels_get(kernels_best()),
        .n_threads = 1,
        .n_blocks = set->n_blocks,
        .max_rows = set->step_tokens,
        .max_logits = set->max_seqs + 2 * set->n_spec,
        .has_fast_head = set->has_fast_head,
    };
    assert_int_equal(backend_cpu_new(&config, &r.backend), ERR_OK);
    r.backend->base_rows = 30; /* many drafts, right and wrong ones */
    r.sched = scheduler_new(&(struct scheduler_config){
        .model = &m->config,
        .kernels = config.kernels,
        .backend = r.backend,
        .n_ctx = set->n_ctx,
        .max_seqs = set->max_seqs,
        .spec_tokens = set->n_spec,
        .step_tokens = set->step_tokens,
        .max_waiting = 100,
    });
    return r;
}

void rig_free(struct rig *r)
{
    scheduler_free(r->sched);
    backend_free(r->backend);
}

void rig_submit(struct rig *r, const struct frame_submit *f)
{
    char why[200];
    struct seq *seq = NULL;
    assert_int_equal(seq_new(f, &r->limits, why, sizeof why, &seq), ERR_OK);
    scheduler_add(r->sched, seq);
}

static uint64_t hash_top(const struct rec_token *t)
{
    uint64_t h = t->n_top;
    for (size_t i = 0; i < t->n_top; i++) {
        h = h * 0x100000001b3U ^ t->top[i].id;
        h = h * 0x100000001b3U ^ testmodel_hash(&t->top[i].logprob, sizeof(float));
    }
    return h;
}

size_t rig_step(struct rig *r, struct rig_reply *replies)
{
    struct arena arena = {0};
    struct rec_token *items = NULL;
    size_t n = 0;
    assert_int_equal(scheduler_step(r->sched, &arena, &items, &n), ERR_OK);
    for (size_t i = 0; i < n; i++) {
        struct rig_reply *to = &replies[items[i].req];
        assert_int_equal(to->finish, FINISH_NONE);
        to->cached += items[i].cached_tokens;
        to->finish = items[i].finish;
        to->code = items[i].code;
        if (!items[i].has_id)
            continue;
        to->ids[to->n] = items[i].id;
        to->tops[to->n] = hash_top(&items[i]);
        to->logprobs[to->n++] = items[i].logprob;
    }
    arena_fini(&arena);
    return n;
}

void rig_run_out(struct rig *r, struct rig_reply *replies)
{
    for (uint32_t i = 0; scheduler_has_work(r->sched); i++) {
        assert_true(i < 5000);
        (void)rig_step(r, replies);
    }
    assert_int_equal(scheduler_load(r->sched).kv_blocks_used, 0);
}

void rig_expect_same_from(const struct rig_reply *got, const struct rig_reply *want, uint32_t from)
{
    assert_int_equal(got->finish, want->finish);
    assert_int_equal(got->n, want->n - from);
    assert_memory_equal(got->ids, want->ids + from, got->n * sizeof *got->ids);
    assert_memory_equal(got->logprobs, want->logprobs + from, got->n * sizeof *got->logprobs);
    assert_memory_equal(got->tops, want->tops + from, got->n * sizeof *got->tops);
}
