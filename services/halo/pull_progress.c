/* SPDX-License-Identifier: MIT */
#include "services/halo/pull_progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "services/halo/print.h"

enum {
    TERMINAL_MS = 250,
    PLAIN_MS = 5000,
};

void progress_bytes(uint64_t n, char *text, unsigned cap)
{
    if (n < 1000)
        (void)snprintf(text, cap, "%llu B", (unsigned long long)n);
    else if (n < 1000000)
        (void)snprintf(text, cap, "%.1f kB", (double)n / 1e3);
    else if (n < 1000000000)
        (void)snprintf(text, cap, "%.1f MB", (double)n / 1e6);
    else
        (void)snprintf(text, cap, "%.2f GB", (double)n / 1e9);
}

void progress_start(struct progress *p)
{
    *p = (struct progress){.is_terminal = isatty(STDOUT_FILENO) != 0};
    p->start_ms = clock_now_ms();
    p->shown_ms = p->start_ms;
    p->last_ms = p->start_ms;
}

void progress_skip(struct progress *p, uint64_t n_bytes)
{
    p->n_skipped += n_bytes;
    p->last_bytes += n_bytes;
}

static void clear_line(struct progress *p)
{
    if (p->has_line)
        (void)printf("\r\033[K");
    p->has_line = false;
}

/* Half of the rate is that of the last two seconds or so. */
static void measure(struct progress *p, uint64_t now, uint64_t n_bytes)
{
    double seconds = (double)(now - p->last_ms) / 1e3;
    if (seconds <= 0)
        return;
    double rate = n_bytes > p->last_bytes ? (double)(n_bytes - p->last_bytes) / seconds : 0;
    double share = p->rate > 0 ? seconds / (seconds + 2) : 1;
    p->rate += share * (rate - p->rate);
    p->last_bytes = n_bytes;
    p->last_ms = now;
}

void progress_show(struct progress *p, uint64_t n_bytes, uint64_t n_in_all)
{
    uint64_t now = clock_now_ms();
    char here[24];
    char all[24];
    char rate[24];
    char left[32] = "";
    if (now - p->shown_ms < (p->is_terminal ? TERMINAL_MS : PLAIN_MS))
        return;
    p->shown_ms = now;
    measure(p, now, n_bytes);
    progress_bytes(n_bytes, here, sizeof here);
    progress_bytes(n_in_all, all, sizeof all);
    progress_bytes((uint64_t)p->rate, rate, sizeof rate);
    if (p->rate >= 1 && n_in_all > n_bytes)
        print_duration((uint64_t)((double)(n_in_all - n_bytes) / p->rate) + 1, left, sizeof left);
    clear_line(p);
    (void)printf("%s of %s, %s/s%s%s", here, all, rate, left[0] != '\0' ? ", left " : "", left);
    if (!p->is_terminal)
        (void)putchar('\n');
    p->has_line = p->is_terminal;
    (void)fflush(stdout);
}

void progress_file(struct progress *p, const char *path)
{
    clear_line(p);
    (void)printf("%s: done\n", path);
    (void)fflush(stdout);
}

void progress_note(struct progress *p, const char *fmt, ...)
{
    va_list ap;
    clear_line(p);
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)putchar('\n');
    (void)fflush(stdout);
}

void progress_end(struct progress *p)
{
    clear_line(p);
    (void)fflush(stdout);
}
