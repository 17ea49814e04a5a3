/* SPDX-License-Identifier: MIT */
#include "services/model/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"

#define TERMINAL_NS UINT64_C(100000000) /* between two drawings */
#define PLAIN_NS UINT64_C(5000000000)

enum { BAR_WIDTH = 24 };

void progress_start(struct progress *p, size_t n_items, bool is_silent)
{
    uint64_t now = clock_now_ns();
    *p = (struct progress){
        .is_silent = is_silent,
        .is_terminal = isatty(STDERR_FILENO) == 1,
        .n_items = n_items,
        .start_ns = now,
        .shown_ns = now,
    };
}

static void show(struct progress *p, const char *name)
{
    uint64_t now = clock_now_ns();
    bool is_last = p->n_done == p->n_items;
    uint64_t wait = p->is_terminal ? TERMINAL_NS : PLAIN_NS;
    if (p->is_silent || (now - p->shown_ns < wait && !is_last))
        return;
    p->shown_ns = now;
    double seconds = (double)(now - p->start_ns + 1) / 1e9;
    double speed = (double)p->n_bytes / 1e6 / seconds;
    if (!p->is_terminal) {
        (void)fprintf(stderr, "%zu of %zu tensors, %.0f MB/s: %s\n", p->n_done, p->n_items, speed,
                      name);
        return;
    }
    char bar[BAR_WIDTH + 1];
    size_t full = p->n_items > 0 ? p->n_done * BAR_WIDTH / p->n_items : BAR_WIDTH;
    for (size_t i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    (void)fprintf(stderr, "\r\033[K[%s] %zu/%zu  %.0f MB/s  %.48s", bar, p->n_done, p->n_items,
                  speed, name);
}

void progress_add(struct progress *p, const char *name, uint64_t bytes)
{
    p->n_bytes += bytes;
    show(p, name);
}

void progress_item(struct progress *p, const char *name)
{
    p->n_done++;
    show(p, name);
}

void progress_end(struct progress *p)
{
    if (p->is_terminal && !p->is_silent)
        (void)fprintf(stderr, "\r\033[K");
}
