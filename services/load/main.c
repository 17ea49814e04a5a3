/* SPDX-License-Identifier: MIT */
/* halo-load: how much load a stack, or one process of it, takes, and how long replies then need. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/log.h"
#include "common/timeslice.h"
#include "proto/link.h"
#include "services/load/compare.h"
#include "services/load/footprint.h"
#include "services/load/measure.h"
#include "services/load/options.h"
#include "services/load/plot.h"
#include "services/load/report.h"
#include "services/load/stage.h"

enum { LINK_DRAIN_MS = 500 };

/* A stream is a descriptor. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* The exit status: whether all that was asked for succeeded. */
static int tell(const struct options *o, const struct stage_world *w, const struct stats *s)
{
    const struct report r = {
        .options = o,
        .stats = s,
        .processes = &w->processes,
        .model = w->model,
        .n_connections = w->http != NULL ? http_n_connections(w->http) : 0,
        .n_stale = w->http != NULL ? http_n_stale(w->http) : 0,
    };
    bool ok = stats_n_failed(s) == 0;
    report_text(stdout, &r);
    if (o->json != NULL)
        ok &= report_json(o->json, &r);
    if (o->histogram != NULL)
        ok &= report_histogram(o->histogram, &r);
    if (o->svg != NULL) {
        char title[300];
        (void)snprintf(title, sizeof title, "halo-load: stage %s, %s", o->stage_name, w->model);
        ok &= plot_write(o->svg, title, s);
    }
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int load(struct measure *m, const struct options *o)
{
    struct stage_world w;
    struct stats *s = stats_new();
    int status = EXIT_FAILURE;
    if (stage_open(&w, m->loop, o) && measure_run(m, o, &w, s))
        status = tell(o, &w, s);
    stage_close(&w);
    stats_free(s);
    return status;
}

int main(int argc, char **argv)
{
    static struct options o;
    struct loop *loop;
    struct measure m;
    int status = 0;
    if (children_is_stub(argc, argv))
        return children_stub(argv);
    if (!options_parse(&o, argc, argv, &status)) {
        options_fini(&o);
        return status;
    }
    log_init("load", LOG_ERROR);
    timeslice_shorten();
    raise_descriptor_limit();
    (void)signal(SIGPIPE, SIG_IGN);
    if (loop_new(&loop) != ERR_OK || measure_init(&m, loop) != ERR_OK) {
        (void)fprintf(stderr, "halo-load: cannot make an event loop: no descriptors left\n");
        return EXIT_FAILURE;
    }
    status = o.does_compare     ? compare_run(&m, &o)
             : o.does_footprint ? footprint_run(&m, &o)
                                : load(&m, &o);
    loop_free(loop);
    (void)link_drain(LINK_DRAIN_MS);
    options_fini(&o);
    return status;
}
