/* SPDX-License-Identifier: MIT */
#include "services/load/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { TERMINAL_MS = 1000, OTHER_MS = 10000 };

static void show(struct progress *p)
{
    const struct stats *s = p->stats;
    uint64_t now = run_age_ns(p->run);
    double t = (double)(now - p->at_ns) / 1e9;
    (void)fprintf(stderr,
                  "%s%5.0f s  %" PRIu64 " done, %" PRIu64 " failed, %u in flight, %.0f events/s, "
                  "TTFT %.1f ms, ITL %.2f ms%s",
                  p->is_terminal ? "\r" : "", (double)now / 1e9, s->n_failed[FAILURE_none],
                  stats_n_failed(s), run_n_in_flight(p->run),
                  (double)(s->n_chunks - p->n_chunks) / t, hist_quantile(&s->ttft, 0.5) / 1e6,
                  hist_quantile(&s->itl, 0.5) / 1e6, p->is_terminal ? "   " : "\n");
    p->n_chunks = s->n_chunks;
    p->at_ns = now;
}

static void on_timer(struct loop_timer *t)
{
    struct progress *p = (struct progress *)(void *)t;
    show(p);
    loop_timer_set(p->loop, t, p->is_terminal ? TERMINAL_MS : OTHER_MS);
}

void progress_start(struct progress *p, struct loop *loop, const struct run *run,
                    const struct stats *stats)
{
    *p = (struct progress){.timer = {.fire = on_timer}, .loop = loop, .run = run, .stats = stats};
    p->is_terminal = isatty(STDERR_FILENO) == 1;
    loop_timer_set(loop, &p->timer, p->is_terminal ? TERMINAL_MS : OTHER_MS);
}

void progress_stop(struct progress *p)
{
    loop_timer_cancel(p->loop, &p->timer);
    if (p->is_terminal && p->at_ns > 0)
        (void)fputs("\r\x1b[K", stderr);
}
