/* SPDX-License-Identifier: MIT */
/* router_bench: what halo-router costs between fake ends. Run by hand:
 *
 *   HALO_ROUTER=build/services/router/halo-router build/tests/router/router_bench
 *
 * Throughput: engines of 64 sequences step as fast as the frames come through; the ends share one
 * thread, so the router's own CPU time is the figure to look at. Latency: one sequence, a step each
 * 5 ms, from the engine's send to the tokenizer's receipt, beside the same frame over one direct link:
 * the difference is what the router adds. */
#include "tests/router/ends.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SEQS = 64, STEPS = 4000, WINDOW = 4, SAMPLES = 1000, PACE_MS = 5 };

/* CPU seconds that a process has used. */
static double cpu_s(int pid)
{
    char path[64];
    unsigned long user = 0;
    unsigned long sys = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    int n = fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
    assert_int_equal(n, 2);
    (void)fclose(f);
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static void throughput(size_t n_engines)
{
    struct world *w = world_new(NULL);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    struct fake_engine *e[ENDS_MAX];
    char names[ENDS_MAX][2];
    for (size_t i = 0; i < n_engines; i++) {
        (void)snprintf(names[i], sizeof names[i], "%zu", i);
        e[i] = engine_new(w, names[i], SEQS);
    }
    for (uint64_t req = 1; req <= SEQS * n_engines; req++)
        ask(t, req, (uint32_t)req, STEPS + 1);
    for (size_t i = 0; i < n_engines; i++)
        UNTIL(w, e[i]->n_seqs == SEQS);
    size_t n_sent = 0;
    double cpu = cpu_s(w->router_pid);
    uint64_t start = clock_now_ns();
    while (t->n_frames < STEPS * n_engines) {
        while (n_sent < STEPS * n_engines && n_sent < t->n_frames + WINDOW * n_engines)
            engine_step(e[n_sent++ % n_engines]);
        loop_turn(w->loop, 100);
    }
    double s = (double)(clock_now_ns() - start) / 1e9;
    cpu = cpu_s(w->router_pid) - cpu;
    double frames = (double)t->n_frames;
    printf(
        "%zu engines of %d sequences: %.0f frames/s, %.0f tokens/s; router's CPU %.1f us a frame, "
        "%.2f us a token\n",
        n_engines, (int)SEQS, frames / s, frames * SEQS / s, cpu / frames * 1e6,
        cpu / frames / SEQS * 1e6);
    world_free(w);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_latency(const char *what, double *us)
{
    qsort(us, SAMPLES, sizeof *us, compare);
    printf("%s: p50 %.0f us, p99 %.0f us\n", what, us[SAMPLES / 2], us[SAMPLES * 99 / 100]);
}

static void rest(struct world *w)
{
    for (uint64_t start = clock_now_ms(); clock_now_ms() - start < PACE_MS;)
        loop_turn(w->loop, 1);
}

static void latency_through_the_router(struct world *w, struct fake_engine *e,
                                       struct fake_tokenizer *t)
{
    static double us[SAMPLES];
    ask(t, 1, 1, SAMPLES + 1);
    UNTIL(w, e->n_seqs == 1);
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t n = t->n_frames;
        uint64_t start = clock_now_ns();
        engine_step(e);
        while (t->n_frames == n)
            loop_turn(w->loop, 100);
        us[i] = (double)(clock_now_ns() - start) / 1e3;
        rest(w);
    }
    print_latency("engine to tokenizer through the router", us);
}

static void ignore_up(void *ctx, struct link *l)
{
    (void)ctx;
    (void)l;
}

static void count_frame(void *ctx, struct link *l, const struct frame *f)
{
    (void)l;
    (void)f;
    ++*(size_t *)ctx;
}

static void ignore_down(void *ctx, struct link *l, enum err why)
{
    (void)ctx;
    (void)l;
    (void)why;
}

static void latency_of_one_link(struct world *w)
{
    static double us[SAMPLES];
    size_t n_frames = 0;
    struct link_config c = {
        .loop = w->loop, .run = w->run, .service = "bench", .instance = "", .epoch = 1};
    struct link_handler h = {ignore_up, count_frame, ignore_down, &n_frames};
    struct link_server *server;
    struct link *l;
    assert_int_equal(link_listen(&c, &h, &server), ERR_OK);
    assert_int_equal(link_dial(&c, "bench", &h, &l), ERR_OK);
    UNTIL(w, link_is_up(l));
    struct rec_token item = {.req = 1, .has_id = true, .id = 12345, .logprob = -0.5F};
    struct frame_tokens f = {.items = &item, .n_items = 1};
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t n = n_frames;
        uint64_t start = clock_now_ns();
        assert_int_equal(link_send(l, FRAME_tokens, &f), ERR_OK);
        while (n_frames == n)
            loop_turn(w->loop, 100);
        us[i] = (double)(clock_now_ns() - start) / 1e3;
        rest(w);
    }
    print_latency("one direct link", us);
    link_close(l);
    link_server_close(server);
}

int main(void)
{
    throughput(1);
    throughput(4);
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 1);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    latency_through_the_router(w, e, t);
    latency_of_one_link(w);
    world_free(w);
    return 0;
}
