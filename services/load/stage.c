/* SPDX-License-Identifier: MIT */
#include "services/load/stage.h"

#include <stdio.h>

#include "services/load/probe.h"

static bool fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "halo-load: %s: %s\n", what, why);
    return false;
}

/* The model that the requests name. */
static bool choose_model(struct stage_world *w, const struct options *o, const char *where)
{
    char why[300];
    if (o->model != NULL) {
        (void)snprintf(w->model, sizeof w->model, "%s", o->model);
        return true;
    }
    return probe_model(w->loop, &w->url, o->headers.len > 0 ? o->headers.ptr : "", w->model,
                       sizeof w->model, why, sizeof why) ||
           fail(where, why);
}

static bool open_http(struct stage_world *w, const struct options *o)
{
    w->ask = (struct ask_config){
        .model = w->model,
        .base = w->url.base,
        .host = w->url.host,
        .headers = o->headers.len > 0 ? o->headers.ptr : "",
        .members = o->members.len > 0 ? o->members.ptr : "",
        .does_keep_alive = o->does_keep_alive,
    };
    enum err e = http_new(w->loop, &w->url, &w->ask, &w->http);
    if (e != ERR_OK)
        return fail("cannot make an epoll set", err_text(e));
    w->target = http_target(w->http);
    return true;
}

static bool open_stack(struct stage_world *w, const struct options *o)
{
    char why[300];
    if (!url_resolve(o->url, &w->url, why, sizeof why))
        return fail("--url", why);
    if (o->run != NULL && !processes_add_stack(&w->processes, w->loop, o->run))
        return fail(o->run, "no supervisor answers there; leave --run out, or start one: halo up");
    return choose_model(w, o, o->url) && open_http(w, o);
}

bool stage_open(struct stage_world *w, struct loop *loop, const struct options *o)
{
    *w = (struct stage_world){.loop = loop};
    return open_stack(w, o);
}

void stage_close(struct stage_world *w)
{
    http_free(w->http);
}
