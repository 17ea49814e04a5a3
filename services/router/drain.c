/* SPDX-License-Identifier: MIT */
#include "services/router/drain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/router/control.h"
#include "services/router/router_internal.h"

/* A command that is answered when the engine is empty. */
struct drain_wait {
    struct drain_wait *next;
    struct router *router;
    struct engine *engine;
    struct link *link;
    struct loop_timer limit;
    uint64_t began_ms;
    size_t n_migrated;
    bool was_out; /* before the command */
};

/* ---- names ------------------------------------------------------------------------------------- */

static char *find_name(struct drain *d, const char *name)
{
    for (size_t i = 0; i < d->n_names; i++) {
        if (strcmp(d->names[i], name) == 0)
            return d->names[i];
    }
    return NULL;
}

static void remember_name(struct drain *d, const char *name, bool is_out)
{
    char *known = find_name(d, name);
    if (is_out && known == NULL && d->n_names < DRAIN_NAMES_MAX)
        memcpy(d->names[d->n_names++], name, strlen(name) + 1);
    if (!is_out && known != NULL)
        memmove(known, d->names[--d->n_names], sizeof d->names[0]);
}

void drain_forget(struct router *r, const struct engine *e)
{
    remember_name(&r->drain, e->peer.name, false);
}

/* ---- out of service, and back ------------------------------------------------------------------ */

void drain_set(struct router *r, struct engine *e, bool is_out)
{
    struct frame_standby f = {.on = is_out};
    e->is_out = is_out;
    e->is_retired = false;
    if (e->is_standby != is_out && link_peer_protocol(e->peer.link) >= 2 &&
        link_send(e->peer.link, FRAME_standby, &f) != ERR_OK)
        log_debug("standby-not-sent", S("to", e->peer.name)); /* its link is going down */
    e->is_standby = is_out;
    router_touch_status(r);
}

static bool has_other(const struct router *r, const struct request *q)
{
    return engines_fit(&r->engines, q) == FIT_YES; /* those out of service do not count */
}

size_t drain_migrate(struct router *r, struct engine *e)
{
    struct request *next;
    for (struct request *q = TAILQ_FIRST(&e->in_flight); q != NULL; q = next) {
        next = TAILQ_NEXT(q, place);
        if (!q->is_probe && has_other(r, q)) /* a probe is one token */
            router_withdraw(r, q);
    }
    return e->n_in_flight;
}

/* ---- waiting until an engine is empty ---------------------------------------------------------- */

static void forget(struct router *r, struct drain_wait *w)
{
    struct drain_wait **p = &r->drain.waits;
    while (*p != w)
        p = &(*p)->next;
    *p = w->next;
    loop_timer_cancel(r->config.loop, &w->limit);
    free(w);
}

static void answer(struct router *r, struct drain_wait *w, enum err code, const char *detail)
{
    struct link *l = w->link;
    json_t *data = json_pack("{s:b, s:I, s:I, s:I}", "was_out", w->was_out, "migrated",
                             (json_int_t)w->n_migrated, "left", (json_int_t)w->engine->n_in_flight,
                             "ms", (json_int_t)(clock_now_ms() - w->began_ms));
    forget(r, w);
    control_answer(l, code, detail, data);
}

static void on_task(struct loop_task *t)
{
    struct router *r = (struct router *)(void *)((char *)t - offsetof(struct router, drain.task));
    struct drain_wait *w = r->drain.waits;
    r->drain.is_posted = false;
    while (w != NULL) {
        if (w->engine->n_in_flight > 0) {
            w = w->next;
            continue;
        }
        answer(r, w, ERR_OK, "");
        w = r->drain.waits; /* to answer may have broken a link */
    }
}

void drain_touch(struct router *r)
{
    handover_touch(r);
    if (r->drain.waits == NULL || r->drain.is_posted)
        return;
    r->drain.is_posted = true;
    loop_post(r->config.loop, &r->drain.task);
}

static void on_limit(struct loop_timer *t)
{
    struct drain_wait *w =
        (struct drain_wait *)(void *)((char *)t - offsetof(struct drain_wait, limit));
    struct router *r = w->router;
    char detail[CONTROL_DETAIL_CAP];
    size_t before = w->engine->n_in_flight;
    size_t left = drain_migrate(r, w->engine);
    w->n_migrated += before - left;
    router_review(r);
    if (left == 0)
        return; /* drain_touch was called */
    (void)snprintf(detail, sizeof detail,
                   "%zu replies still run on %s, and no other engine can take them; it gets no new "
                   "ones",
                   left, w->engine->peer.name);
    answer(r, w, ERR_TIMEOUT, detail);
}

/* ---- what router.c says ------------------------------------------------------------------------ */

void drain_init(struct router *r)
{
    r->drain = (struct drain){.task = {.run = on_task}};
}

void drain_fini(struct router *r)
{
    handover_fini(r);
    while (r->drain.waits != NULL)
        forget(r, r->drain.waits);
}

void drain_on_engine_up(struct router *r, struct engine *e)
{
    if (!e->is_out && find_name(&r->drain, e->peer.name) != NULL)
        drain_set(r, e, true);
    if (e->is_out)
        log_info("engine-out", S("name", e->peer.name), U("pid", link_peer_pid(e->peer.link)));
    handover_on_engine_up(r, e);
}

void drain_on_engine_down(struct router *r, struct engine *e)
{
    handover_on_engine_down(r, e);
    struct drain_wait *w = r->drain.waits;
    while (w != NULL) {
        if (w->engine == e) {
            answer(r, w, ERR_OK, "");
            w = r->drain.waits;
        } else {
            w = w->next;
        }
    }
}

void drain_on_operator_down(struct router *r, const struct link *l)
{
    handover_on_operator_down(r, l);
    struct drain_wait *next;
    for (struct drain_wait *w = r->drain.waits; w != NULL; w = next) {
        next = w->next;
        if (w->link == l)
            forget(r, w);
    }
}

/* ---- verbs ------------------------------------------------------------------------------------- */

static enum err refuse_only(struct control_call *call, const struct engine *e)
{
    (void)snprintf(
        call->detail, sizeof call->detail,
        "%s is the only engine of the %s lane that serves %s: new requests would wait for "
        "another one, and fail after %.0f s; --force drains it all the same",
        e->peer.name,
        e->group == call->router->lanes.group_of[LANE_STABLE] ? "stable" : "candidate",
        e->model_name, (double)call->router->config.engine_wait_ms / 1000.0);
    return ERR_UNSUPPORTED;
}

static void wait_until_empty(struct control_call *call, struct engine *e, size_t n_migrated,
                             bool was_out)
{
    struct router *r = call->router;
    struct drain_wait *w = mem_zalloc(1, sizeof *w);
    uint32_t limit_ms = control_number(call, "limit_ms");
    *w = (struct drain_wait){.next = r->drain.waits,
                             .router = r,
                             .engine = e,
                             .link = call->link,
                             .limit = {.fire = on_limit},
                             .began_ms = clock_now_ms(),
                             .n_migrated = n_migrated,
                             .was_out = was_out};
    r->drain.waits = w;
    if (limit_ms > 0)
        loop_timer_set(r->config.loop, &w->limit, limit_ms);
    call->is_deferred = true;
    drain_touch(r);
}

enum err drain_verb_drain(struct control_call *call)
{
    struct router *r = call->router;
    struct engine *e;
    enum err err = control_find_engine(call, &e);
    if (err != ERR_OK)
        return err;
    if (!e->is_out && !engines_has_twin(&r->engines, e) && !control_flag(call, "force"))
        return refuse_only(call, e);
    log_info("drain-asked", S("name", e->peer.name), U("pid", link_peer_pid(e->peer.link)),
             U("replies", e->n_in_flight), U("migrate", control_flag(call, "migrate")));
    bool was_out = e->is_out;
    remember_name(&r->drain, e->peer.name, true);
    drain_set(r, e, true);
    size_t before = e->n_in_flight;
    if (control_flag(call, "migrate"))
        (void)drain_migrate(r, e);
    if (!control_flag(call, "no_wait"))
        wait_until_empty(call, e, before - e->n_in_flight, was_out);
    router_review(r);
    return ERR_OK;
}

/* An engine that is being started again shall not be out when it comes. */
static bool forget_absent(struct drain *d, struct str name)
{
    for (size_t i = 0; i < d->n_names; i++) {
        if (str_is(name, d->names[i])) {
            remember_name(d, d->names[i], false);
            return true;
        }
    }
    return false;
}

enum err drain_verb_undrain(struct control_call *call)
{
    struct router *r = call->router;
    struct engine *e;
    enum err err = control_find_engine(call, &e);
    if (err == ERR_NOT_FOUND && forget_absent(&r->drain, call->target))
        return ERR_OK;
    if (err != ERR_OK)
        return err;
    log_info("undrain-asked", S("name", e->peer.name), U("pid", link_peer_pid(e->peer.link)));
    remember_name(&r->drain, e->peer.name, false);
    drain_set(r, e, false);
    router_review(r);
    return ERR_OK;
}
