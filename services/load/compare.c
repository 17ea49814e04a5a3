/* SPDX-License-Identifier: MIT */
#include "services/load/compare.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"

enum {
    ROUNDS_MAX = 100,
    IDLE_REQUESTS = 40, /* one by one, for the first token's time */
    IDLE_TOKENS = 2,
    /* While throughput is measured: longer than a step's tokens take through the gateway, and shorter
     * than a step by far. */
    GATHER_US = 200,
};

static const double GOAL_THROUGHPUT = 0.02; /* less of it */
static const double GOAL_TTFT_MS = 1.5; /* more of it */
/* Rounds that are further apart tell nothing about the goals. */
static const double SPREAD_MAX = 0.03;
static const double TTFT_RANGE_MAX_MS = 1;

enum { ALONE, STACK, SIDES };

struct round {
    double tokens_per_s[SIDES];
    double ttft_ms[SIDES];
};

struct comparison {
    struct stage_world worlds[SIDES];
    struct round rounds[ROUNDS_MAX];
    uint32_t n_rounds;
    uint64_t n_failed;
    uint64_t n_tokens[SIDES];
    /* Processor time while throughput was measured. */
    uint64_t engine_ns[SIDES];
    uint64_t load_ns[SIDES]; /* our own, as its clients */
    uint64_t gateway_ns;
    uint64_t tokenizer_ns;
    uint64_t router_ns;
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of values of all rounds, as `of` gives them. */
static double median(const struct comparison *c, double (*of)(const struct round *r))
{
    double values[ROUNDS_MAX] = {0};
    for (uint32_t i = 0; i < c->n_rounds; i++)
        values[i] = of(&c->rounds[i]);
    qsort(values, c->n_rounds, sizeof *values, compare_doubles);
    uint32_t half = c->n_rounds / 2;
    return c->n_rounds % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

static double alone_throughput(const struct round *r)
{
    return r->tokens_per_s[ALONE];
}

static double stack_throughput(const struct round *r)
{
    return r->tokens_per_s[STACK];
}

static double alone_ttft(const struct round *r)
{
    return r->ttft_ms[ALONE];
}

static double stack_ttft(const struct round *r)
{
    return r->ttft_ms[STACK];
}

static double lost_throughput(const struct round *r)
{
    return 1 - r->tokens_per_s[STACK] / r->tokens_per_s[ALONE];
}

static double added_ttft(const struct round *r)
{
    return r->ttft_ms[STACK] - r->ttft_ms[ALONE];
}

/* How far apart the rounds are. */
static double range(const struct comparison *c, double (*of)(const struct round *r))
{
    double least = of(&c->rounds[0]);
    double most = least;
    for (uint32_t i = 1; i < c->n_rounds; i++) {
        double v = of(&c->rounds[i]);
        least = v < least ? v : least;
        most = v > most ? v : most;
    }
    return most - least;
}

/* Of the engine alone, as a share: what the machine does beside. */
static double spread(const struct comparison *c)
{
    return range(c, alone_throughput) / median(c, alone_throughput);
}

/* ---- measuring --------------------------------------------------------------------------------- */

static uint64_t *time_of(struct comparison *c, int side, const char *process)
{
    return strcmp(process, "gateway") == 0     ? &c->gateway_ns
           : strcmp(process, "tokenizer") == 0 ? &c->tokenizer_ns
           : strcmp(process, "router") == 0    ? &c->router_ns
                                               : &c->engine_ns[side];
}

static bool measure_throughput(struct measure *m, const struct options *o, struct comparison *c,
                               int side, uint64_t seed, struct round *r)
{
    struct stage_world *w = &c->worlds[side];
    struct stats *s = stats_new();
    processes_begin(&w->processes);
    measure_gather(m, GATHER_US);
    bool ok = measure_closed(m, o, w->vocab, seed, o->concurrency, o->n_requests, o->max_tokens,
                             w->target, s);
    measure_gather(m, 0);
    processes_end(&w->processes);
    for (size_t i = 0; i < w->processes.n; i++)
        *time_of(c, side, w->processes.list[i].name) += w->processes.list[i].used_ns;
    c->load_ns[side] += s->own_cpu_ns;
    if (ok && s->duration_ns > 0)
        r->tokens_per_s[side] = (double)s->n_out / ((double)s->duration_ns / 1e9);
    c->n_tokens[side] += s->n_out;
    c->n_failed += stats_n_failed(s);
    stats_free(s);
    return ok && !m->is_interrupted;
}

/* One request here, the same one there, and so on: a first token takes a few milliseconds, and so do
 * the disturbances of a machine that is not quite idle. */
static bool measure_ttft(struct measure *m, const struct options *o, struct comparison *c,
                         uint64_t seed, struct round *r)
{
    struct stats *s[SIDES] = {stats_new(), stats_new()};
    bool ok = true;
    for (uint64_t i = 0; i < IDLE_REQUESTS * SIDES && ok; i++) {
        int side = (int)(i % SIDES);
        ok = measure_closed(m, o, c->worlds[side].vocab, seed + i / SIDES, 1, 1, IDLE_TOKENS,
                            c->worlds[side].target, s[side]) &&
             !m->is_interrupted;
    }
    for (int side = 0; side < SIDES; side++) {
        r->ttft_ms[side] = hist_quantile(&s[side]->ttft, 0.5) / 1e6;
        c->n_failed += stats_n_failed(s[side]);
        stats_free(s[side]);
    }
    return ok;
}

static bool measure_both(struct measure *m, const struct options *o, struct comparison *c,
                         uint64_t seed, struct round *r)
{
    int first = c->n_rounds % 2 == 0 ? ALONE : STACK;
    return measure_throughput(m, o, c, first, seed, r) &&
           measure_throughput(m, o, c, 1 - first, seed, r) && measure_ttft(m, o, c, ~seed, r);
}

static bool measure_round(struct measure *m, const struct options *o, struct comparison *c)
{
    struct round *r = &c->rounds[c->n_rounds];
    if (!measure_both(m, o, c, o->seed + UINT64_C(1000) * (c->n_rounds + 1), r))
        return false;
    c->n_rounds++;
    (void)printf("round %-3u %12.1f %12.1f %8.2f %% %11.2f %9.2f %+9.2f\n", c->n_rounds,
                 r->tokens_per_s[ALONE], r->tokens_per_s[STACK], -lost_throughput(r) * 100,
                 r->ttft_ms[ALONE], r->ttft_ms[STACK], added_ttft(r));
    (void)fflush(stdout);
    return true;
}

/* One that counts for nothing: pages, caches, connections. */
static bool warm_up(struct measure *m, const struct options *o, struct comparison *c)
{
    struct round unused;
    bool ok = measure_both(m, o, c, o->seed, &unused);
    memset(c->n_tokens, 0, sizeof c->n_tokens);
    memset(c->engine_ns, 0, sizeof c->engine_ns);
    memset(c->load_ns, 0, sizeof c->load_ns);
    c->gateway_ns = 0;
    c->tokenizer_ns = 0;
    c->router_ns = 0;
    return ok;
}

/* ---- telling ----------------------------------------------------------------------------------- */

static void print_head(const struct options *o, const struct comparison *c)
{
    (void)printf("%s, %" PRIu64
                 " requests of %u ids and %u tokens; first token: %d requests one by "
                 "one; seed %" PRIu64 "\n\n",
                 c->worlds[STACK].model, o->n_requests, o->input_len + o->prefix_len, o->max_tokens,
                 IDLE_REQUESTS, o->seed);
    (void)printf("%9s %36s %31s\n", "", "output tokens per second",
                 "median time to first token, ms");
    (void)printf("%-3u streams %11s %12s %10s %11s %9s %9s\n", o->concurrency, "engine", "stack",
                 "", "engine", "stack", "");
}

static void print_goal(const char *what, double value, const char *unit, double goal, bool is_known)
{
    (void)printf("%s: %.2f %s (goal: less than %.2g %s): %s\n", what, value, unit, goal, unit,
                 !is_known      ? "not conclusive"
                 : value < goal ? "kept"
                                : "missed");
}

static double per_token_us(const struct comparison *c, int side, uint64_t ns)
{
    return (double)ns / 1e3 / (double)c->n_tokens[side];
}

/* Of the stack. It says what a busy machine hides. */
static double others_us(const struct comparison *c)
{
    return per_token_us(c, STACK, c->gateway_ns + c->tokenizer_ns + c->router_ns);
}

/* What our HTTP clients take beyond what reading the engine's frames does. */
static double client_us(const struct comparison *c)
{
    return per_token_us(c, STACK, c->load_ns[STACK]) - per_token_us(c, ALONE, c->load_ns[ALONE]);
}

static void print_times(const struct comparison *c)
{
    double engine_us = per_token_us(c, STACK, c->engine_ns[STACK]);
    (void)printf("processor time, us a token: gateway %.2f, tokenizer %.2f, router %.2f, together "
                 "%.1f; HTTP clients of this tester %+.1f; engine %.1f, alone %.1f\n",
                 per_token_us(c, STACK, c->gateway_ns), per_token_us(c, STACK, c->tokenizer_ns),
                 per_token_us(c, STACK, c->router_ns), others_us(c), client_us(c), engine_us,
                 per_token_us(c, ALONE, c->engine_ns[ALONE]));
    (void)printf("of the engine's time that is %.1f %%, and with the clients %.1f %%\n",
                 others_us(c) / engine_us * 100, (others_us(c) + client_us(c)) / engine_us * 100);
}

static void print_end(const struct comparison *c)
{
    double lost = median(c, lost_throughput);
    double added = median(c, added_ttft);
    (void)printf("median    %12.1f %12.1f %8.2f %% %11.2f %9.2f %+9.2f\n\n",
                 median(c, alone_throughput), median(c, stack_throughput), -lost * 100,
                 median(c, alone_ttft), median(c, stack_ttft), added);
    print_goal("throughput that the stack costs", lost * 100, "%", GOAL_THROUGHPUT * 100,
               spread(c) <= SPREAD_MAX);
    print_goal("time to the first token that it adds", added, "ms", GOAL_TTFT_MS,
               range(c, added_ttft) <= TTFT_RANGE_MAX_MS);
    print_times(c);
    if (spread(c) > SPREAD_MAX)
        (void)printf(
            "NOTE: the engine alone differs by %.0f %% from round to round: this machine is "
            "not idle, or the rounds are too short (--requests)\n",
            spread(c) * 100);
    if (c->n_tokens[ALONE] != c->n_tokens[STACK])
        (void)printf("WARNING: the replies differ: %" PRIu64 " tokens from the engine, %" PRIu64
                     " from the stack\n",
                     c->n_tokens[ALONE], c->n_tokens[STACK]);
    if (c->n_failed > 0)
        (void)printf("WARNING: %" PRIu64 " requests failed\n", c->n_failed);
}

static bool write_json(const char *path, const struct options *o, const struct comparison *c)
{
    json_t *rounds = json_array();
    for (uint32_t i = 0; i < c->n_rounds; i++) {
        const struct round *r = &c->rounds[i];
        (void)json_array_append_new(
            rounds,
            json_pack("{s:f,s:f,s:f,s:f}", "engine_output_throughput", r->tokens_per_s[ALONE],
                      "stack_output_throughput", r->tokens_per_s[STACK], "engine_median_ttft_ms",
                      r->ttft_ms[ALONE], "stack_median_ttft_ms", r->ttft_ms[STACK]));
    }
    json_t *root = json_object();
    (void)json_object_set_new(root, "model_id", json_string(c->worlds[STACK].model));
    (void)json_object_set_new(root, "seed", json_integer((json_int_t)o->seed));
    (void)json_object_set_new(root, "max_concurrency", json_integer((json_int_t)o->concurrency));
    (void)json_object_set_new(root, "rounds", rounds);
    (void)json_object_set_new(root, "failed", json_integer((json_int_t)c->n_failed));
    const struct {
        const char *key;
        double value;
    } reals[] = {{"throughput_lost_percent", median(c, lost_throughput) * 100},
                 {"ttft_added_ms", median(c, added_ttft)},
                 {"spread_percent", spread(c) * 100},
                 {"engine_cpu_us_per_token", per_token_us(c, STACK, c->engine_ns[STACK])},
                 {"engine_alone_cpu_us_per_token", per_token_us(c, ALONE, c->engine_ns[ALONE])},
                 {"gateway_cpu_us_per_token", per_token_us(c, STACK, c->gateway_ns)},
                 {"tokenizer_cpu_us_per_token", per_token_us(c, STACK, c->tokenizer_ns)},
                 {"router_cpu_us_per_token", per_token_us(c, STACK, c->router_ns)},
                 {"other_cpu_us_per_token", others_us(c)},
                 {"client_cpu_us_per_token", client_us(c)}};
    for (size_t i = 0; i < ARRAY_LEN(reals); i++)
        (void)json_object_set_new(root, reals[i].key, json_real(reals[i].value));
    bool ok = json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0;
    if (!ok)
        (void)fprintf(stderr, "halo-load: cannot write %s: %s\n", path, strerrordesc_np(errno));
    json_decref(root);
    return ok;
}

int compare_run(struct measure *m, const struct options *o)
{
    static struct comparison c;
    struct options alone = *o;
    alone.stage = STAGE_ENGINE;
    bool ok = stage_open(&c.worlds[ALONE], m->loop, &alone);
    ok = stage_open_own_stack(&c.worlds[STACK], m->loop, o) && ok;
    if (ok && warm_up(m, o, &c)) {
        print_head(o, &c);
        while (c.n_rounds < o->rounds && measure_round(m, o, &c)) {
        }
    }
    if (c.n_rounds > 0)
        print_end(&c);
    ok = ok && c.n_rounds == o->rounds && c.n_failed == 0;
    if (c.n_rounds > 0 && o->json != NULL)
        ok = write_json(o->json, o, &c) && ok;
    stage_close(&c.worlds[STACK]);
    stage_close(&c.worlds[ALONE]);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
