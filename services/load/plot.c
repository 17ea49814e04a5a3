/* SPDX-License-Identifier: MIT */
#include "services/load/plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"

enum {
    WIDTH = 900,
    HEIGHT = 860,
    LEFT = 80,
    RIGHT = 870, /* of the plots; legends stand inside */
    PANEL_HEIGHT = 190,
    POINTS_MAX = 120, /* windows of time */
    WINDOW_REQUESTS = 10,
    TICKS_MAX = 12,
};

/* Told apart also by the colour-blind (Paul Tol's bright scheme). */
static const char *const COLOURS[] = {"#4477aa", "#ee6677", "#228833", "#aa3377"};

/* A rectangle and what its edges mean. */
struct panel {
    FILE *f;
    double top;
    double x_least, x_most;
    double y_least, y_most;
    bool is_log; /* the y axis */
};

/* ---- axes -------------------------------------------------------------------------------------- */

static double at_x(const struct panel *p, double v)
{
    double share = (v - p->x_least) / (p->x_most - p->x_least);
    return LEFT + (share < 1 ? share : 1) * (RIGHT - LEFT);
}

static double at_y(const struct panel *p, double v)
{
    double share = p->is_log ? log(v / p->y_least) / log(p->y_most / p->y_least)
                             : (v - p->y_least) / (p->y_most - p->y_least);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    return p->top + PANEL_HEIGHT * (1 - share);
}

/* 1, 2 or 5 times a power of ten, so that about n steps make up the range. */
static double nice_step(double range, int n)
{
    double power = pow(10, floor(log10(range / n)));
    double m = range / n / power;
    return power * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
}

static void print_number(FILE *f, double v)
{
    if (v >= 1e6)
        (void)fprintf(f, "%gM", v / 1e6);
    else if (v >= 1e4)
        (void)fprintf(f, "%gk", v / 1e3);
    else
        (void)fprintf(f, "%g", v);
}

static void y_tick(const struct panel *p, double v)
{
    double y = at_y(p, v);
    (void)fprintf(p->f,
                  "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class='grid'/>"
                  "<text x='%d' y='%.1f' class='y'>",
                  LEFT, RIGHT, y, y, LEFT - 8, y + 4);
    print_number(p->f, v);
    (void)fprintf(p->f, "</text>\n");
}

static void x_tick(const struct panel *p, double v, const char *text)
{
    double x = at_x(p, v);
    (void)fprintf(p->f,
                  "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' class='grid'/>"
                  "<text x='%.1f' y='%.1f' class='x'>%s</text>\n",
                  x, x, p->top, p->top + PANEL_HEIGHT, x, p->top + PANEL_HEIGHT + 18, text);
}

static void y_axis(const struct panel *p)
{
    if (p->is_log) {
        int n = (int)(log10(p->y_most / p->y_least) + 0.5);
        for (int i = 0; i <= n; i++)
            y_tick(p, p->y_least * pow(10, i));
        return;
    }
    double step = nice_step(p->y_most, 5);
    for (int i = 0; i * step <= p->y_most * 1.001; i++)
        y_tick(p, i * step);
}

static void time_axis(const struct panel *p)
{
    double step = nice_step(p->x_most, TICKS_MAX - 2);
    for (int i = 0; i * step <= p->x_most * 1.001; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "%g s", i * step);
        x_tick(p, i * step, text);
    }
}

static void frame(const struct panel *p, const char *title)
{
    (void)fprintf(p->f,
                  "<text x='%d' y='%.1f' class='title'>%s</text>\n"
                  "<rect x='%d' y='%.1f' width='%d' height='%d' class='frame'/>\n",
                  LEFT, p->top - 10, title, LEFT, p->top, RIGHT - LEFT, PANEL_HEIGHT);
}

static void legend(const struct panel *p, size_t n, const char *const *names)
{
    for (size_t i = 0; i < n; i++) {
        double x = RIGHT - 90.0 * (double)(n - i) + 10;
        (void)fprintf(p->f,
                      "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='%s' stroke-width='3'/>"
                      "<text x='%.1f' y='%.1f'>%s</text>\n",
                      x, x + 18, p->top - 14, p->top - 14, COLOURS[i], x + 24, p->top - 10,
                      names[i]);
    }
}

/* ---- lines ------------------------------------------------------------------------------------- */

/* Points without a value (NaN) interrupt it. */
static void line(const struct panel *p, const double *x, const double *y, size_t n,
                 const char *colour)
{
    bool is_open = false;
    (void)fprintf(p->f, "<path fill='none' stroke='%s' stroke-width='2' d='", colour);
    for (size_t i = 0; i < n; i++) {
        if (!isnan(y[i]))
            (void)fprintf(p->f, "%c%.1f %.1f ", is_open ? 'L' : 'M', at_x(p, x[i]), at_y(p, y[i]));
        is_open = !isnan(y[i]);
    }
    (void)fprintf(p->f, "'/>\n");
    for (size_t i = 0; i < n; i++) { /* a point between two gaps would be no line */
        bool is_alone = (i == 0 || isnan(y[i - 1])) && (i + 1 == n || isnan(y[i + 1]));
        if (!isnan(y[i]) && is_alone)
            (void)fprintf(p->f, "<circle cx='%.1f' cy='%.1f' r='2.5' fill='%s'/>\n", at_x(p, x[i]),
                          at_y(p, y[i]), colour);
    }
}

static double most_of(const double *y, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = y[i] > most ? y[i] : most;
    return most > 0 ? most : 1;
}

/* Windows of time: their middle in seconds. */
struct windows {
    size_t n;
    size_t tenths; /* of each */
    double x[POINTS_MAX];
};

/* At most `most` of them. */
static struct windows make_windows(const struct stats *s, size_t most)
{
    struct windows w = {0};
    size_t n = (size_t)(s->duration_ns / 100000000U) + 1;
    w.tenths = (n + most - 1) / most;
    w.n = (n + w.tenths - 1) / w.tenths;
    for (size_t i = 0; i < w.n; i++)
        w.x[i] = ((double)i + 0.5) * (double)w.tenths / 10;
    return w;
}

static struct panel time_panel(FILE *f, double top, const struct stats *s)
{
    double t = (double)s->duration_ns / 1e9;
    return (struct panel){.f = f, .top = top, .x_most = t > 0.1 ? t : 0.1, .y_most = 1};
}

/* ---- throughput -------------------------------------------------------------------------------- */

static void plot_throughput(FILE *f, double top, const struct stats *s)
{
    const struct windows windows = make_windows(s, POINTS_MAX);
    const struct windows *w = &windows;
    struct panel p = time_panel(f, top, s);
    double y[POINTS_MAX] = {0};
    for (size_t i = 0; i < w->n; i++) {
        for (size_t k = i * w->tenths; k < (i + 1) * w->tenths && k < s->n_tenths; k++)
            y[i] += s->per_tenth[k];
        y[i] *= 10 / (double)w->tenths;
    }
    p.y_most = most_of(y, w->n) * 1.08;
    frame(&p, "Output tokens per second");
    y_axis(&p);
    time_axis(&p);
    line(&p, w->x, y, w->n, COLOURS[0]);
}

/* ---- time to first token ----------------------------------------------------------------------- */

struct sample {
    size_t window; /* in which the request was to be sent */
    double ms;
};

static int compare_samples(const void *a, const void *b)
{
    const struct sample *x = a;
    const struct sample *y = b;
    if (x->window != y->window)
        return x->window < y->window ? -1 : 1;
    return (x->ms > y->ms) - (x->ms < y->ms);
}

static size_t list_samples(const struct stats *s, const struct windows *w, struct sample *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_records; i++) {
        const struct record *r = &s->records[i];
        size_t window = (size_t)(r->intended_ns / 100000000U) / w->tenths;
        if (r->first_ns > 0 && window < w->n)
            ret[n++] = (struct sample){window, (double)(r->first_ns - r->intended_ns) / 1e6};
    }
    qsort(ret, n, sizeof *ret, compare_samples);
    return n;
}

/* Windows are so long that percentiles of the requests in them mean something. */
static void plot_ttft(FILE *f, double top, const struct stats *s)
{
    size_t most = s->n_records / WINDOW_REQUESTS + 1;
    const struct windows windows = make_windows(s, most < POINTS_MAX ? most : POINTS_MAX);
    const struct windows *w = &windows;
    static const char *const NAMES[] = {"median", "P90", "P99"};
    static const double Q[] = {0.5, 0.9, 0.99};
    struct panel p = time_panel(f, top, s);
    double y[ARRAY_LEN(Q)][POINTS_MAX];
    struct sample *all = mem_zalloc(s->n_records + 1, sizeof *all);
    size_t n = list_samples(s, w, all);
    size_t from = 0;
    for (size_t i = 0; i < w->n; i++) {
        size_t to = from;
        while (to < n && all[to].window == i)
            to++;
        for (size_t k = 0; k < ARRAY_LEN(Q); k++) {
            size_t rank = (size_t)ceil(Q[k] * (double)(to - from));
            y[k][i] = to > from ? all[from + (rank > 0 ? rank - 1 : 0)].ms : (double)NAN;
        }
        from = to;
    }
    free(all);
    p.y_most = most_of(y[2], w->n) * 1.08;
    frame(&p, "Time to first token, ms, by when the request was due");
    y_axis(&p);
    time_axis(&p);
    for (size_t k = ARRAY_LEN(Q); k > 0; k--)
        line(&p, w->x, y[k - 1], w->n, COLOURS[k - 1]);
    legend(&p, ARRAY_LEN(NAMES), NAMES);
}

/* ---- distributions ----------------------------------------------------------------------------- */

/* The x axis: how many nines a percentile has, from none to 99.99 %. */
static double nines(double q)
{
    return -log10(1 - q);
}

static void plot_distributions(FILE *f, double top, const struct stats *s)
{
    static const char *const NAMES[] = {"TTFT", "TPOT", "ITL", "E2EL"};
    static const struct {
        double q;
        const char *text;
    } ticks[] = {{0, "0 %"},     {0.5, "50 %"},     {0.9, "90 %"},
                 {0.99, "99 %"}, {0.999, "99.9 %"}, {0.9999, "99.99 %"}};
    const struct hist *const hists[] = {&s->ttft, &s->tpot, &s->itl, &s->e2el};
    struct panel p = {.f = f, .top = top, .x_most = 4, .y_least = 1e9, .y_most = 1, .is_log = true};
    for (size_t i = 0; i < ARRAY_LEN(hists); i++) {
        double least = hist_quantile(hists[i], 0.1) / 1e6;
        double most = (double)hists[i]->most / 1e6;
        if (hists[i]->n > 0 && least > 0 && least < p.y_least)
            p.y_least = least;
        p.y_most = most > p.y_most ? most : p.y_most;
    }
    p.y_least = pow(10, floor(log10(p.y_least < p.y_most ? p.y_least : p.y_most / 10)));
    p.y_most = pow(10, ceil(log10(p.y_most)));
    frame(&p, "Latency percentiles, ms");
    y_axis(&p);
    for (size_t i = 0; i < ARRAY_LEN(ticks); i++)
        x_tick(&p, nines(ticks[i].q), ticks[i].text);
    for (size_t i = 0; i < ARRAY_LEN(hists); i++) {
        double x[POINTS_MAX];
        double y[POINTS_MAX];
        for (size_t k = 0; k < POINTS_MAX; k++) {
            x[k] = 4.0 * (double)k / (POINTS_MAX - 1);
            double q = 1 - pow(10, -x[k]);
            /* Where a percentile lies beyond the last value but one, there is nothing to draw. */
            bool is_known = (double)hists[i]->n * (1 - q) >= 1 || k == 0;
            y[k] = is_known && hists[i]->n > 0 ? hist_quantile(hists[i], q) / 1e6 : (double)NAN;
        }
        line(&p, x, y, POINTS_MAX, COLOURS[i]);
    }
    legend(&p, ARRAY_LEN(NAMES), NAMES);
}

/* ---- all --------------------------------------------------------------------------------------- */

static void print_escaped(FILE *f, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            (void)fputs("&lt;", f);
        else if (*text == '&')
            (void)fputs("&amp;", f);
        else
            (void)fputc(*text, f);
    }
}

static void plot(FILE *f, const char *title, const struct stats *s)
{
    double t = s->duration_ns > 0 ? (double)s->duration_ns / 1e9 : 1e-9;
    (void)fprintf(f,
                  "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
                  "viewBox='0 0 %d %d'>\n"
                  "<style>text{font:12px sans-serif;fill:#333}.head{font:bold 16px sans-serif}"
                  ".title{font:bold 13px sans-serif}.y{text-anchor:end}.x{text-anchor:middle}"
                  ".grid{stroke:#e4e4e4}.frame{fill:none;stroke:#999}</style>\n"
                  "<rect width='100%%' height='100%%' fill='#fff'/>\n"
                  "<text x='%d' y='32' class='head'>",
                  WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT);
    print_escaped(f, title);
    (void)fprintf(f,
                  "</text>\n<text x='%d' y='54'>%llu requests, %llu failed, in %.1f s: %.1f "
                  "requests/s, %.0f output tokens/s, at most %u in flight</text>\n",
                  LEFT, (unsigned long long)s->n_records, (unsigned long long)stats_n_failed(s), t,
                  (double)s->n_failed[FAILURE_none] / t, (double)s->n_out / t, s->peak);
    plot_throughput(f, 100, s);
    plot_ttft(f, 360, s);
    plot_distributions(f, 620, s);
    (void)fprintf(f, "</svg>\n");
}

bool plot_write(const char *path, const char *title, const struct stats *s)
{
    FILE *f = fopen(path, "we");
    bool ok = f != NULL;
    if (ok) {
        plot(f, title, s);
        ok = ferror(f) == 0;
        ok = fclose(f) == 0 && ok;
    }
    if (!ok)
        (void)fprintf(stderr, "halo-load: cannot write %s: %s\n", path, strerrordesc_np(errno));
    return ok;
}
