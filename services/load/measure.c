/* SPDX-License-Identifier: MIT */
#include "services/load/measure.h"

#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "services/load/progress.h"

enum { DEFAULT_VOCAB = 1000 };

static void on_terminate(void *ctx)
{
    struct measure *m = ctx;
    m->is_interrupted = true;
    if (m->run != NULL)
        run_stop(m->run);
    else
        loop_stop(m->loop);
}

enum err measure_init(struct measure *m, struct loop *loop)
{
    *m = (struct measure){.loop = loop};
    return loop_on_terminate(loop, on_terminate, m);
}

static struct prompts *make_prompts(const struct options *o, uint32_t vocab, uint64_t seed,
                                    uint32_t max_tokens)
{
    const struct prompts_config config = {
        .kind = o->kind,
        .input_len = o->input_len,
        .range = o->range,
        .prefix_len = o->prefix_len,
        .n_prefixes = o->n_prefixes,
        .n_turns = o->n_turns,
        .vocab = o->vocab > 0 ? o->vocab
                 : vocab > 0  ? vocab
                              : DEFAULT_VOCAB,
        .max_tokens = max_tokens,
        .seed = seed,
        .file = o->prompts_file,
    };
    char why[300] = "";
    struct prompts *p = NULL;
    if (prompts_new(&config, why, sizeof why, &p) != ERR_OK)
        (void)fprintf(stderr, "halo-load: %s\n", why);
    return p;
}

void measure_gather(struct measure *m, uint32_t gather_us)
{
    m->gather_us = gather_us;
}

/* One look at what has come. */
static void look(const struct measure *m)
{
    const struct timespec pause = {.tv_nsec = (long)m->gather_us * 1000};
    struct pollfd first = {.fd = loop_fd(m->loop), .events = POLLIN};
    if (m->gather_us > 0 && poll(&first, 1, -1) > 0)
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    loop_turn(m->loop, m->gather_us > 0 ? 0 : -1);
}

static bool go(struct measure *m, const struct run_config *config, bool shows_progress)
{
    struct progress progress;
    if (m->is_interrupted)
        return true;
    if (run_new(config, &m->run) != ERR_OK) {
        (void)fprintf(stderr, "halo-load: no descriptor left for a timer\n");
        return false;
    }
    run_start(m->run);
    if (shows_progress)
        progress_start(&progress, m->loop, m->run, config->stats);
    while (!run_is_over(m->run))
        look(m);
    if (shows_progress)
        progress_stop(&progress);
    run_free(m->run);
    m->run = NULL;
    return true;
}

static bool warm_up(struct measure *m, const struct run_config *config, uint32_t n)
{
    struct stats *unused = stats_new();
    struct run_config c = *config;
    c.stats = unused;
    c.rate = 0;
    c.ramp_s = 0;
    c.concurrency = 1;
    c.n_requests = n;
    c.duration_ns = 0;
    bool ok = go(m, &c, false);
    stats_free(unused);
    return ok;
}

bool measure_run(struct measure *m, const struct options *o, struct stage_world *w,
                 struct stats *stats)
{
    struct prompts *prompts = make_prompts(o, w->vocab, o->seed, o->max_tokens);
    if (prompts == NULL)
        return false;
    const struct run_config config = {
        .loop = m->loop,
        .target = w->target,
        .prompts = prompts,
        .stats = stats,
        .rate = o->rate,
        .burstiness = o->burstiness,
        .ramp_s = o->ramp_s,
        .seed = o->seed ^ UINT64_C(0x6172726976616c73),
        .concurrency = o->concurrency,
        .n_requests = o->n_requests,
        .duration_ns = (uint64_t)(o->duration_s * 1e9),
        .drain_ns = (uint64_t)(o->drain_s * 1e9),
        .timeout_ns = (uint64_t)(o->timeout_s * 1e9),
        .goodput = o->goodput,
        .received = w->fake != NULL ? fake_received : NULL,
        .received_ctx = w->fake,
    };
    bool ok = o->warmup == 0 || warm_up(m, &config, o->warmup);
    if (ok) {
        processes_begin(&w->processes);
        ok = go(m, &config, true);
        processes_end(&w->processes);
    }
    prompts_free(prompts);
    return ok;
}

bool measure_closed(struct measure *m, const struct options *o, uint32_t vocab, uint64_t seed,
                    uint32_t concurrency, uint64_t n_requests, uint32_t max_tokens,
                    struct target *target, struct stats *stats)
{
    struct prompts *prompts = make_prompts(o, vocab, seed, max_tokens);
    if (prompts == NULL)
        return false;
    const struct run_config config = {
        .loop = m->loop,
        .target = target,
        .prompts = prompts,
        .stats = stats,
        .concurrency = concurrency,
        .n_requests = n_requests,
        .timeout_ns = (uint64_t)(o->timeout_s * 1e9),
    };
    bool ok = go(m, &config, false);
    prompts_free(prompts);
    return ok;
}
