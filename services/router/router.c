/* SPDX-License-Identifier: MIT */
#include "services/router/router.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/notify.h"
#include "proto/link.h"
#include "services/router/control.h"
#include "services/router/places.h"
#include "services/router/remote.h"
#include "services/router/router_internal.h"
#include "services/router/trace.h"
#include "services/router/vocabularies.h"

enum {
    STATUS_MS = 500, /* least time between two reports of load */
    PLACES_MS = 1000, /* between two reports of places in the queue */
    LEAVE_MS = 700,
    DETAIL_CAP = 200,
};

/* ---- status ------------------------------------------------------------------------------------ */

static void send_status(struct router *r, struct tokenizer *t)
{
    enum err e = link_send(t->peer.link, FRAME_status, &r->status.frame);
    if (e != ERR_OK && e != ERR_CLOSED)
        log_error("status-not-sent", S("to", t->peer.name), S("err", err_name(e)));
}

/* Sends the status to all tokenizers if it differs from the last one. */
void router_publish_status(struct router *r)
{
    const struct rec_load *l = &r->status.frame.load;
    char words[DETAIL_CAP];
    status_fill(&r->status, &r->engines, &r->queue, &r->lanes);
    buf_reset(&r->scratch);
    if (frame_encode(&r->scratch, FRAME_status, 0, &r->status.frame) != ERR_OK)
        return; /* texts are capped: not reached */
    if (str_eq(buf_str(&r->scratch), buf_str(&r->status_sent)))
        return;
    struct buf sent = r->scratch;
    r->scratch = r->status_sent;
    r->status_sent = sent;
    for (struct tokenizer *t = TAILQ_FIRST(&r->queue.tokenizers); t != NULL;
         t = TAILQ_NEXT(t, entry)) {
        send_status(r, t);
    }
    (void)snprintf(words, sizeof words,
                   "%u engines, %zu models, %u running, %u waiting, %" PRIu64 " ended, %" PRIu64
                   " replayed, %" PRIu64 " refused",
                   l->engines, r->status.frame.n_models, l->running, l->waiting, r->n_ended,
                   l->replays, r->n_refused);
    notify_status(words);
}

static void on_status_timer(struct loop_timer *timer)
{
    router_publish_status(
        (struct router *)(void *)((char *)timer - offsetof(struct router, status_timer)));
}

void router_touch_status(struct router *r)
{
    if (r->status_timer.slot == 0)
        loop_timer_set(r->config.loop, &r->status_timer, STATUS_MS);
}

/* ---- the end of a request ---------------------------------------------------------------------- */

/* Tells the engine, if one has it, that the reply is no longer wanted. */
static void cancel_at_engine(struct router *r, struct request *q)
{
    struct frame_cancel cancel = {.req = q->id};
    if (q->engine == NULL || r->is_leaving)
        return;
    enum err e = link_send(q->engine->peer.link, FRAME_cancel, &cancel);
    if (e != ERR_OK) /* its link is going down, and all its sequences with it */
        log_debug("cancel-not-sent", S("to", q->engine->peer.name), S("err", err_name(e)));
}

static void leave_pair(struct router *r, struct request *q);

/* Forgets a request wherever it is. */
static void drop(struct router *r, struct request *q)
{
    if (q->pair != NULL)
        leave_pair(r, q);
    if (q->engine != NULL) {
        admission_note_end(&r->admission, q, clock_now_ns());
        engine_detach(q->engine, q);
        (void)map_remove(&r->by_id, q->id);
        drain_touch(r);
    } else {
        queue_remove(&r->queue, q);
    }
    loop_timer_cancel(r->config.loop, &q->deadline);
    loop_timer_cancel(r->config.loop, &q->engine_wait);
    if (q->owner != NULL) {
        queue_quit(&r->queue, q);
        tokenizer_disown(q);
        r->n_ended++;
    }
    request_free(q);
    router_touch_status(r);
}

static void send_event(struct tokenizer *t, const struct rec_token *item)
{
    struct frame_tokens f = {.items = item, .n_items = 1};
    enum err e = link_send(t->peer.link, FRAME_tokens, &f);
    if (e != ERR_OK) /* its link is going down, and all its requests with it */
        log_debug("error-not-sent", S("to", t->peer.name), S("err", err_name(e)));
}

static void send_error(struct tokenizer *t, uint64_t req, enum err code, uint32_t retry_ms,
                       const char *detail)
{
    struct rec_token item = {
        .req = req,
        .finish = FINISH_ERROR,
        .code = (uint32_t)code,
        .detail = str_from(detail),
        .retry_ms = retry_ms,
    };
    send_event(t, &item);
}

static void end_side(struct router *r, struct request *q, uint32_t finish, uint32_t code);

static void end_with_error(struct router *r, struct request *q, enum err code, const char *detail)
{
    struct rec_token item = {
        .req = q->req, .finish = FINISH_ERROR, .code = (uint32_t)code, .detail = str_from(detail)};
    struct arena spans = {0}; /* not the others': this may come while they are being sent */
    cancel_at_engine(r, q);
    if (q->owner != NULL) {
        trace_fill(q, &spans, &item);
        send_event(q->owner, &item);
        arena_fini(&spans);
    }
    end_side(r, q, FINISH_ERROR, (uint32_t)code);
    drop(r, q);
}

/* Whose request it is, for logs. */
static const char *owner_of(const struct request *q)
{
    return q->owner != NULL ? q->owner->peer.name : "burn-in";
}

/* ---- placement --------------------------------------------------------------------------------- */

static enum err send_to(struct router *r, struct request *q, struct engine *e)
{
    q->id = r->next_id++;
    map_put(&r->by_id, q->id, q);
    engine_attach(e, q);
    trace_placed(q);
    if (q->pair != NULL && !q->is_probe)
        burnin_started(q->pair, q->pair_lane, q, e);
    struct frame_submit f = request_to_submit(q);
    enum err err = link_send(e->peer.link, FRAME_submit, &f);
    return err == ERR_CLOSED ? ERR_OK : err; /* closed: it is placed again when the link is down */
}

static void start_shadow(struct router *r, struct request *q, const struct engine *e);

static bool place(void *ctx, struct request *q)
{
    struct router *r = ctx;
    struct engine *e = engines_pick(&r->engines, q);
    if (e == NULL) {
        if (request_is_suspect(q))
            engines_reserve(&r->engines, q);
        return false;
    }
    queue_take(&r->queue, q);
    loop_timer_cancel(r->config.loop, &q->engine_wait);
    bool is_new = !q->was_placed && q->n_ids == 0;
    if (q->placed_ns == 0)
        q->placed_ns = clock_now_ns();
    request_fix(q, e->model_hash, e->numbers, engines_least_context(&r->engines, q));
    enum err err = send_to(r, q, e);
    if (err != ERR_OK)
        end_with_error(r, q, err, "the request cannot be sent to an engine");
    else if (is_new && q->submit.lane == LANE_STABLE && burnin_takes_next(&r->burnin))
        start_shadow(r, q, e);
    return true;
}

static void note_full(struct router *r)
{
    uint64_t now = clock_now_ns();
    for (uint32_t group = 0; group < LANES; group++)
        admission_note_full(&r->admission, group, engines_group_is_full(&r->engines, group), now);
}

static void offer(struct router *r)
{
    if (r->is_leaving || queue_is_empty(&r->queue) || !engines_have_room(&r->engines))
        return;
    engines_release(&r->engines);
    queue_offer_replays(&r->queue, place, r);
    while (engines_have_room(&r->engines) && queue_offer_next(&r->queue, place, r)) {
    }
    if (r->queue.n_waiting < r->queue.limit / 2)
        r->is_full_logged = false;
    router_touch_status(r);
}

/* Gives engines what waits and has room there. Afterwards who still waits gets to know where. */
void router_dispatch(struct router *r)
{
    offer(r);
    note_full(r);
    if (r->queue.n_waiting > 0 && r->places_timer.slot == 0)
        loop_timer_set(r->config.loop, &r->places_timer, PLACES_MS);
}

static void on_places_timer(struct loop_timer *timer)
{
    struct router *r =
        (struct router *)(void *)((char *)timer - offsetof(struct router, places_timer));
    places_tell(&r->queue, &r->admission, clock_now_ns());
    if (r->queue.n_waiting > 0)
        loop_timer_set(r->config.loop, timer, PLACES_MS);
}

/* Looks whether a waiting request has an engine to wait for: if none, only for so long. */
static void check_wait(void *ctx, struct request *q)
{
    struct router *r = ctx;
    char detail[DETAIL_CAP];
    enum engines_fit fit = engines_fit(&r->engines, q);
    if (fit == FIT_YES) {
        loop_timer_cancel(r->config.loop, &q->engine_wait);
    } else if (fit == FIT_TOO_LONG && !q->was_placed) {
        (void)snprintf(detail, sizeof detail,
                       "the prompt has %zu tokens and leaves no room for a reply",
                       q->submit.n_prompt);
        end_with_error(r, q, ERR_CONTEXT, detail);
    } else if (q->engine_wait.slot == 0) {
        loop_timer_set(r->config.loop, &q->engine_wait, r->config.engine_wait_ms);
    }
}

void router_review(struct router *r)
{
    queue_each(&r->queue, check_wait, r);
    router_dispatch(r);
    router_publish_status(r);
}

static void on_engine_wait(struct loop_timer *timer)
{
    struct request *q =
        (struct request *)(void *)((char *)timer - offsetof(struct request, engine_wait));
    struct router *r = q->router;
    char detail[DETAIL_CAP];
    (void)snprintf(detail, sizeof detail, "no engine of the %s lane %s; waited %u ms for one",
                   q->submit.lane == LANE_STABLE ? "stable" : "candidate",
                   q->n_ids == 0 ? "serves the model" : "can go on with the reply as it began",
                   r->config.engine_wait_ms);
    log_warn("no-engine", S("tokenizer", owner_of(q)), U("req", q->req),
             SN("trace", q->submit.trace.ptr, q->submit.trace.len),
             U("waited_ms", r->config.engine_wait_ms));
    end_with_error(r, q, ERR_NO_ENGINE, detail);
}

static void on_deadline(struct loop_timer *timer)
{
    struct request *q =
        (struct request *)(void *)((char *)timer - offsetof(struct request, deadline));
    struct router *r = q->router;
    end_with_error(r, q, ERR_TIMEOUT,
                   q->engine != NULL ? "the reply was not finished before its deadline"
                                     : "no engine had room before the deadline");
    router_dispatch(r);
}

/* ---- burn-in: shadows and probes, which no client sees ------------------------------------------ */

/* Sends it to an engine with places to spare. False, and it is freed, if there is none: nobody waits
 * for it, and it waits for nobody. */
static bool send_spare(struct router *r, struct request *q)
{
    struct engine *e = engines_pick_spare(&r->engines, q);
    q->router = r;
    q->engine_wait.fire = on_engine_wait;
    if (e == NULL) {
        q->pair = NULL;
        request_free(q);
        return false;
    }
    if (send_to(r, q, e) != ERR_OK)
        end_with_error(r, q, ERR_INTERNAL, "");
    return true;
}

void router_send_probe(struct router *r, struct request *take_q, struct engine *e)
{
    take_q->router = r;
    take_q->group = e->group;
    take_q->engine_wait.fire = on_engine_wait;
    if (send_to(r, take_q, e) != ERR_OK)
        end_with_error(r, take_q, ERR_INTERNAL, "");
}

/* The candidate lane computes the request, too, that was just sent to e. */
static void start_shadow(struct router *r, struct request *q, const struct engine *e)
{
    struct pair *p = burnin_pair_new(&r->burnin, q, e);
    struct request *s = p != NULL ? burnin_shadow(p) : NULL;
    if (s == NULL)
        return;
    s->group = r->lanes.group_of[LANE_CANDIDATE];
    if (!send_spare(r, s))
        burnin_skip(p);
}

static void send_probe(struct router *r, struct pair *p, uint32_t lane)
{
    struct request *q = burnin_probe(p, lane);
    if (q == NULL || !send_spare(r, q))
        burnin_probed(p, lane, NULL);
}

/* One side of a pair has ended. When both have, they are compared. */
static void end_side(struct router *r, struct request *q, uint32_t finish, uint32_t code)
{
    struct pair *p = q->pair;
    if (p == NULL || q->is_probe || r->is_leaving)
        return;
    if (!burnin_ended(p, q->pair_lane, finish, code) || !burnin_compare(p))
        return;
    for (uint32_t lane = 0; lane < LANES; lane++)
        send_probe(r, p, lane);
}

/* A request goes without an end: of a pair nothing can be compared then. */
static void leave_pair(struct router *r, struct request *q)
{
    struct pair *p = q->pair;
    q->pair = NULL;
    if (q->is_probe) {
        burnin_probed(p, q->pair_lane, NULL);
        return;
    }
    struct request *shadow = q->owner != NULL ? p->sides[LANE_CANDIDATE].request : NULL;
    burnin_cancel(p);
    if (shadow == NULL)
        return;
    cancel_at_engine(r, shadow);
    drop(r, shadow);
}

/* One event of a shadow or a probe. */
static enum err apply_internal(struct router *r, struct request *q, const struct rec_token *item)
{
    if (item->has_id) {
        if (q->n_ids >= q->submit.sampling.max_tokens)
            return ERR_PROTOCOL;
        request_record(q, item->id);
        engine_prove(q->engine, q);
    }
    if (q->pair != NULL && q->is_probe && item->has_id) {
        struct pair *p = q->pair;
        q->pair = NULL;
        burnin_probed(p, q->pair_lane, item);
    } else if (q->pair != NULL && item->has_id) {
        burnin_token(q->pair, q->pair_lane);
    }
    if (item->finish == FINISH_NONE)
        return ERR_OK;
    end_side(r, q, item->finish, item->code);
    if (q->check != 0)
        handover_on_answer(r, q, item->finish);
    drop(r, q);
    return ERR_OK;
}

/* ---- frames of tokenizers ---------------------------------------------------------------------- */

/* Refuses what no engine could serve. */
static bool is_sound(struct tokenizer *t, const struct frame_submit *f)
{
    const char *detail = NULL;
    if (f->n_prompt == 0)
        detail = "the prompt has no tokens";
    else if (f->sampling.max_tokens == 0)
        detail = "max_tokens is 0";
    else if (f->n_resume > f->sampling.max_tokens)
        detail = "more tokens to resume than max_tokens";
    else if (f->lane >= LANES)
        detail = "no such lane; 0 is stable, 1 is the candidate";
    if (detail != NULL)
        send_error(t, f->req, ERR_INVALID, 0, detail);
    return detail == NULL;
}

static void say_why(const struct router *r, const struct request *q, const struct answer *a,
                    char *detail)
{
    double wait_s = (double)a->wait_ns / 1e9;
    switch (a->admit) {
    case ADMIT_FULL:
        if (r->queue.n_waiting >= r->queue.limit)
            (void)snprintf(detail, DETAIL_CAP, "%u requests wait already (--queue-limit %u)",
                           r->queue.n_waiting, r->queue.limit);
        else
            (void)snprintf(detail, DETAIL_CAP,
                           "%u requests of this key wait already; the rest of the queue is for "
                           "others",
                           q->share->n_waiting);
        break;
    case ADMIT_TOO_SLOW:
        (void)snprintf(detail, DETAIL_CAP, "it would wait about %.0f s (--queue-wait-ms %u)",
                       wait_s, r->config.queue_wait_ms);
        break;
    case ADMIT_TOO_LATE:
        (void)snprintf(detail, DETAIL_CAP,
                       "it would wait about %.1f s and not be finished before its deadline",
                       wait_s);
        break;
    case ADMIT_OTHERS_LATE:
        (void)snprintf(detail, DETAIL_CAP, "others that wait would miss their deadlines for it");
        break;
    case ADMIT_YES:
        ASSERT(false);
    }
}

/* Refuses a request that has joined and may not wait. */
static void refuse(struct router *r, struct request *q, const struct answer *a)
{
    char detail[DETAIL_CAP];
    say_why(r, q, a, detail);
    if (!r->is_full_logged)
        log_warn("queue-full", U("waiting", r->queue.n_waiting), U("limit", r->queue.limit),
                 U("retry_ms", a->retry_ms), U("refused", r->n_refused + 1), S("why", detail));
    r->is_full_logged = true;
    r->n_refused++;
    send_error(q->owner, q->req, ERR_FULL, a->retry_ms, detail);
    queue_quit(&r->queue, q);
    tokenizer_disown(q);
    request_free(q);
}

static enum err on_submit(struct router *r, struct tokenizer *t, const struct frame_submit *f)
{
    struct request *q;
    if (map_get(&t->by_req, f->req) != NULL)
        return ERR_EXISTS;
    if (!is_sound(t, f))
        return ERR_OK;
    if (request_new(f, &q) != ERR_OK) {
        send_error(t, f->req, ERR_NOMEM, 0, "the router is out of memory");
        return ERR_OK;
    }
    q->router = r;
    q->group = r->lanes.group_of[f->lane];
    q->deadline.fire = on_deadline;
    q->engine_wait.fire = on_engine_wait;
    tokenizer_own(t, q);
    queue_join(&r->queue, q, admission_guess_tokens(&r->admission, q));
    /* What can be placed at once does not wait, so no limit applies. */
    if (!f->again && engines_pick(&r->engines, q) == NULL) {
        struct answer a = admission_ask(&r->admission, &r->queue, q, clock_now_ns());
        if (a.admit != ADMIT_YES) {
            refuse(r, q, &a);
            return ERR_OK;
        }
    }
    queue_add(&r->queue, q);
    router_touch_status(r);
    if (f->deadline_ms > 0)
        loop_timer_set(r->config.loop, &q->deadline, f->deadline_ms);
    check_wait(r, q);
    router_dispatch(r);
    return ERR_OK;
}

static void on_cancel(struct router *r, struct tokenizer *t, uint64_t req)
{
    struct request *q = map_get(&t->by_req, req);
    if (q == NULL)
        return; /* it has just ended */
    cancel_at_engine(r, q);
    drop(r, q);
    router_dispatch(r);
}

static enum err on_tokenizer_frame(struct router *r, struct tokenizer *t, const struct frame *f)
{
    if (f->type == FRAME_submit)
        return on_submit(r, t, f->body);
    if (f->type == FRAME_known || f->type == FRAME_vocabulary_ask)
        return vocabularies_on_frame(r, t, f);
    if (f->type != FRAME_cancel)
        return ERR_PROTOCOL;
    on_cancel(r, t, ((const struct frame_cancel *)f->body)->req);
    return ERR_OK;
}

/* ---- frames of engines ------------------------------------------------------------------------- */

static enum err on_engine(struct router *r, struct engine *e, const struct frame_engine *f)
{
    enum err err = engine_register(e, f);
    if (err != ERR_OK)
        return err;
    if (remote_is(e) && !remote_admit(r, e))
        return ERR_OK;
    log_info("engine-up", S("name", e->peer.name), U("pid", link_peer_pid(e->peer.link)),
             S("from", link_peer_address(e->peer.link)), S("model", e->model_name),
             U("group", e->group), U("max_seqs", e->max_seqs), U("context", e->context),
             SN("backend", f->backend.ptr, f->backend.len));
    phases_on_engine_up(r, e);
    drain_on_engine_up(r, e);
    router_review(r);
    return ERR_OK;
}

/* One event of a request in flight: into the journal, then to its tokenizer. */
static enum err apply(struct router *r, struct request *q, const struct rec_token *item)
{
    struct tokenizer *t = q->owner;
    struct rec_token event = *item;
    if (t == NULL)
        return apply_internal(r, q, item);
    event.req = q->req;
    if (item->has_id) {
        if (q->n_ids >= q->submit.sampling.max_tokens)
            return ERR_PROTOCOL;
        request_record(q, item->id);
        engine_prove(q->engine, q);
        if (q->pair != NULL)
            burnin_token(q->pair, q->pair_lane);
        if (q->was_reported)
            event.cached_tokens = 0; /* of a replay: not the client's */
        q->was_reported = true;
    }
    if (trace_is_due(&event))
        trace_fill(q, &r->span_arena, &event);
    if (t->n_events == 0)
        SLIST_INSERT_HEAD(&r->to_flush, t, flush);
    tokenizer_add_event(t, &event);
    if (item->finish == FINISH_NONE) {
        if (item->has_id)
            phases_on_token(r, q);
        return ERR_OK;
    }
    q->is_whole = item->finish == FINISH_STOP || item->finish == FINISH_LENGTH;
    end_side(r, q, item->finish, item->code);
    drop(r, q);
    return ERR_OK;
}

/* Sends each tokenizer what the step brought for it, in one frame. */
static void flush(struct router *r)
{
    struct tokenizer *t;
    while ((t = SLIST_FIRST(&r->to_flush)) != NULL) {
        SLIST_REMOVE_HEAD(&r->to_flush, flush);
        struct frame_tokens f = {.items = t->events, .n_items = t->n_events};
        t->n_events = 0;
        enum err e = link_send(t->peer.link, FRAME_tokens, &f);
        if (e == ERR_OK || e == ERR_CLOSED)
            continue; /* closed: its requests end when the link is down */
        log_error("tokens-not-sent", S("to", t->peer.name), S("err", err_name(e)));
        link_break(t->peer.link, e);
    }
    arena_reset(&r->span_arena);
}

static enum err on_tokens(struct router *r, struct engine *e, const struct frame_tokens *f)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < f->n_items && err == ERR_OK; i++) {
        const struct rec_token *item = &f->items[i];
        struct request *q = map_get(&r->by_id, item->req);
        if (item->finish > FINISH_ERROR)
            err = ERR_RANGE;
        else if (q != NULL && q->engine == e)
            err = apply(r, q, item);
        else
            r->n_stale++;
    }
    flush(r);
    router_dispatch(r);
    return err;
}

static enum err on_engine_frame(struct router *r, struct engine *e, const struct frame *f)
{
    if (f->type == FRAME_engine)
        return on_engine(r, e, f->body);
    if (!e->is_ready)
        return e->is_unfit ? ERR_OK : ERR_PROTOCOL;
    if (f->type == FRAME_tokens)
        return on_tokens(r, e, f->body);
    if (f->type == FRAME_vocabulary)
        return vocabularies_answer(r, f->body);
    if (f->type == FRAME_kv_done) {
        handover_on_kv_done(r, e, f->body);
        phases_on_kv_done(r, e, f->body);
        return ERR_OK;
    }
    if (f->type != FRAME_engine_load)
        return ERR_PROTOCOL;
    e->load = *(const struct frame_engine_load *)f->body;
    router_touch_status(r);
    return ERR_OK;
}

/* ---- links ------------------------------------------------------------------------------------- */

static void name_peer(struct peer *p)
{
    const char *instance = link_peer_instance(p->link);
    (void)snprintf(p->name, sizeof p->name, "%s%s%s", link_peer_service(p->link),
                   instance[0] != '\0' ? "." : "", instance);
}

static struct peer *operator_new(struct link *l)
{
    struct peer *p = mem_zalloc(1, sizeof *p);
    p->kind = PEER_OPERATOR;
    p->link = l;
    return p;
}

static void on_up(void *ctx, struct link *l)
{
    struct router *r = ctx;
    const char *service = link_peer_service(l);
    struct peer *p;
    if (r->is_leaving) {
        link_break(l, ERR_CLOSED);
        return;
    }
    bool is_engine = strcmp(service, "engine") == 0;
    bool is_operator = strcmp(service, "halo") == 0;
    if ((!is_engine && !is_operator && strcmp(service, "tokenizer") != 0) ||
        r->n_peers >= PEERS_MAX) {
        log_warn("peer-unwanted", S("service", service), U("pid", link_peer_pid(l)),
                 U("peers", r->n_peers));
        link_break(l, is_engine ? ERR_FULL : ERR_UNSUPPORTED);
        return;
    }
    router_publish_status(r); /* so that what the newcomer gets is what the others have */
    if (is_engine)
        p = &engines_add(&r->engines, l)->peer;
    else if (is_operator)
        p = operator_new(l);
    else
        p = &queue_add_tokenizer(&r->queue, l)->peer;
    name_peer(p);
    if (is_engine)
        engines_settle(&r->engines, (struct engine *)(void *)p);
    link_set_user(l, p);
    TAILQ_INSERT_TAIL(&r->peers, p, peers);
    r->n_peers++;
    if (is_engine || is_operator)
        return;
    log_info("tokenizer-up", S("name", p->name), U("pid", link_peer_pid(l)));
    send_status(r, (struct tokenizer *)(void *)p);
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct router *r = ctx;
    struct peer *p = link_user(l);
    notify_progress();
    if (p == NULL || r->is_leaving)
        return;
    enum err e = p->kind == PEER_ENGINE ? on_engine_frame(r, (struct engine *)(void *)p, f)
                 : p->kind == PEER_OPERATOR
                     ? control_on_frame(r, l, f)
                     : on_tokenizer_frame(r, (struct tokenizer *)(void *)p, f);
    if (e == ERR_OK)
        return;
    log_warn("peer-broken", S("name", p->name), U("pid", link_peer_pid(l)),
             S("frame", frame_name(f->type)), S("err", err_name(e)));
    link_break(l, e);
}

/* Takes back a request whose engine is gone. */
static void replay(struct router *r, struct request *q, bool counts_as_death)
{
    struct engine *e = q->engine;
    counts_as_death = counts_as_death && !q->has_progress;
    trace_left(q, e->peer.name, SPAN_LOST);
    engine_detach(e, q);
    (void)map_remove(&r->by_id, q->id);
    q->n_deaths += counts_as_death;
    queue_add_replay(&r->queue, q);
    if (q->n_deaths < REQUEST_DEATHS_MAX)
        return;
    log_error("request-kills-engines", S("tokenizer", owner_of(q)), U("req", q->req),
              SN("trace", q->submit.trace.ptr, q->submit.trace.len), U("deaths", q->n_deaths),
              U("prompt_tokens", q->submit.n_prompt), U("reply_tokens", q->n_ids));
    end_with_error(r, q, ERR_INTERNAL,
                   "three engines in a row were lost while they computed this request; it is not "
                   "tried again");
}

void router_move(struct router *r, struct request *q, struct engine *to)
{
    cancel_at_engine(r, q);
    trace_left(q, q->engine->peer.name, SPAN_LOST);
    engine_detach(q->engine, q);
    (void)map_remove(&r->by_id, q->id);
    enum err e = send_to(r, q, to);
    if (e != ERR_OK)
        end_with_error(r, q, e, "the request cannot be sent to an engine");
    drain_touch(r);
    router_dispatch(r);
}

void router_withdraw(struct router *r, struct request *q)
{
    cancel_at_engine(r, q);
    replay(r, q, false);
    drain_touch(r);
}

static void on_engine_down(struct router *r, struct engine *e, enum err why)
{
    uint32_t n = e->n_in_flight;
    uint32_t i = 0;
    log_info("engine-down", S("name", e->peer.name), S("why", err_name(why)), U("replays", n));
    for (struct request *q; (q = TAILQ_FIRST(&e->in_flight)) != NULL; i++) {
        /* It starts them in order: those beyond max_seqs only waited there. */
        if (q->owner == NULL && (q->is_probe || r->is_leaving))
            drop(r, q);
        else
            replay(r, q, why != ERR_OK && i < e->max_seqs);
    }
    phases_on_engine_down(r, e);
    drain_on_engine_down(r, e);
    engines_remove(&r->engines, e);
    if (!r->is_leaving)
        router_review(r);
}

static void on_tokenizer_down(struct router *r, struct tokenizer *t, enum err why)
{
    uint64_t n = 0;
    for (struct request *q; (q = TAILQ_FIRST(&t->owned)) != NULL; n++) {
        cancel_at_engine(r, q);
        drop(r, q);
    }
    log_info("tokenizer-down", S("name", t->peer.name), S("why", err_name(why)), U("cancelled", n));
    if (t->n_events > 0)
        SLIST_REMOVE(&r->to_flush, t, tokenizer, flush);
    queue_remove_tokenizer(&r->queue, t);
    handover_on_known(r);
    router_dispatch(r);
}

static void on_operator_down(struct router *r, struct peer *take_peer)
{
    drain_on_operator_down(r, take_peer->link);
    free(take_peer);
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct router *r = ctx;
    struct peer *p = link_user(l);
    if (p == NULL)
        return; /* was refused */
    TAILQ_REMOVE(&r->peers, p, peers);
    r->n_peers--;
    if (p->kind == PEER_ENGINE)
        on_engine_down(r, (struct engine *)(void *)p, why);
    else if (p->kind == PEER_OPERATOR)
        on_operator_down(r, p);
    else
        on_tokenizer_down(r, (struct tokenizer *)(void *)p, why);
    if (r->is_leaving && r->n_peers == 0)
        loop_stop(r->config.loop);
}

/* ---- life -------------------------------------------------------------------------------------- */

enum err router_new(const struct router_config *config, char *why, size_t cap_why,
                    struct router **ret_router)
{
    struct router *r = mem_zalloc(1, sizeof *r);
    struct buf log = {0};
    enum err e = lanes_init(&r->lanes, config->state, why, cap_why);
    if (e != ERR_OK) {
        lanes_fini(&r->lanes);
        free(r);
        return e;
    }
    r->config = *config;
    buf_printf(&log, "%s/burnin.jsonl", config->state);
    burnin_init(&r->burnin, log.ptr, config->shadow_share, config->burnin_log_bytes);
    buf_fini(&log);
    engines_init(&r->engines);
    queue_init(&r->queue, config->queue_limit);
    drain_init(r);
    phases_init(r, config->prefill);
    admission_init(&r->admission, config->queue_wait_ms);
    r->places_timer.fire = on_places_timer;
    TAILQ_INIT(&r->peers);
    SLIST_INIT(&r->to_flush);
    /* Not from 1: an engine that outlives us must not take our ids for our predecessor's. */
    r->next_id = clock_random_u64() & UINT32_MAX;
    r->status_timer.fire = on_status_timer;
    struct link_config link = {
        .loop = config->loop,
        .run = config->run,
        .service = "router",
        .instance = "",
        .epoch = clock_random_u64(),
        .dead_ms = config->dead_ms,
        .stall_ms = config->stall_ms,
    };
    struct link_handler handler = {on_up, on_frame, on_down, r};
    e = link_listen(&link, &handler, &r->server);
    if (e == ERR_IN_USE)
        (void)snprintf(why, cap_why, "another halo-router serves this run directory");
    else if (e != ERR_OK)
        (void)snprintf(why, cap_why, "%s", err_text(e));
    if (e == ERR_OK && config->remote.url != NULL)
        e = remote_listen(r, why, cap_why);
    if (e != ERR_OK) {
        router_free(r);
        return e;
    }
    *ret_router = r;
    return ERR_OK;
}

static void on_leave_timer(struct loop_timer *timer)
{
    struct router *r =
        (struct router *)(void *)((char *)timer - offsetof(struct router, leave_timer));
    log_warn("peers-did-not-answer-bye", U("n", r->n_peers));
    loop_stop(r->config.loop);
}

static void drop_internal(void *ctx, struct request *q)
{
    if (q->owner == NULL)
        drop(ctx, q);
}

void router_leave(struct router *r)
{
    struct peer *next;
    if (r->is_leaving)
        return;
    r->is_leaving = true;
    r->leave_timer.fire = on_leave_timer;
    loop_timer_set(r->config.loop, &r->leave_timer, LEAVE_MS);
    queue_each(&r->queue, drop_internal, r);
    for (struct peer *p = TAILQ_FIRST(&r->peers); p != NULL; p = next) {
        next = TAILQ_NEXT(p, peers);
        link_bye(p->link);
    }
    if (r->n_peers == 0)
        loop_stop(r->config.loop);
}

void router_free(struct router *r)
{
    if (r == NULL)
        return;
    r->is_leaving = true;
    link_server_close(r->server);
    phases_fini(r);
    drain_fini(r);
    queue_fini(&r->queue);
    loop_timer_cancel(r->config.loop, &r->status_timer);
    loop_timer_cancel(r->config.loop, &r->places_timer);
    loop_timer_cancel(r->config.loop, &r->leave_timer);
    map_fini(&r->by_id);
    lanes_fini(&r->lanes);
    burnin_fini(&r->burnin);
    buf_fini(&r->status_sent);
    buf_fini(&r->scratch);
    arena_fini(&r->span_arena);
    free(r);
}
