/* SPDX-License-Identifier: MIT */
#include "services/router/handover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/router/control.h"
#include "services/router/drain.h"
#include "services/router/remote.h"
#include "services/router/router_internal.h"
#include "services/router/vocabularies.h"

enum {
    ARRIVAL_MS = 15000, /* for a newcomer that is ready to register */
    KV_PROTOCOL = 2, /* the first that has frames for blocks */
    CHECK_MS = 10000, /* for both to answer */
    CHECK_PROMPT = 16,
    CHECK_REPLY = 8,
    LEARN_MS = 60000, /* for tokenizers to have a vocabulary */
    LINGER_MS =
        2000, /* from the gateway to us a request takes far less, a tokenizer's return not much */
};

static const char FILE_NAME[] = "handover.kv";

enum step {
    STEP_ARRIVAL,
    STEP_CHECK,
    STEP_LEARN,
    STEP_COPY_OUT,
    STEP_COPY_IN,
    STEP_REST_OUT,
    STEP_REST_IN,
    STEP_EMPTY
};

struct check_answer {
    bool is_here;
    uint32_t finish;
    size_t n_ids;
    uint32_t ids[CHECK_REPLY];
};

struct handover {
    struct router *router;
    uint64_t serial; /* tells its requests from those of an earlier one */
    struct check_answer answers[2]; /* of `from` and `to` */
    struct link *link; /* to be answered; NULL when it is gone */
    struct engine *from; /* NULL when it is lost */
    struct engine *to; /* NULL until it has registered */
    uint32_t to_pid; /* what is known of it; 0: nothing */
    char to_name[PEER_NAME_MAX + 1]; /* "" if its pid is given */
    enum step step;
    bool does_copy;
    bool does_migrate;
    bool may_differ; /* in the model */
    bool does_differ;
    bool is_early; /* answered at the switch */
    char from_name[PEER_NAME_MAX + 1]; /* when models differ, either may be lost and come back */
    char from_hash[ENGINE_HASH_MAX + 1];
    char newcomer_name[PEER_NAME_MAX + 1];
    char newcomer_hash[ENGINE_HASH_MAX + 1];
    uint64_t from_lost_ns;
    struct loop_timer timer; /* of the arrival, the check, what is learnt; then the limit */
    struct loop_timer linger;
    uint32_t limit_ms;
    struct loop_task task; /* looks whether `from` is empty */
    bool is_posted;
    bool has_waiting; /* scratch of linger_ms */
    uint64_t mark; /* of the first export */
    uint64_t began_ns;
    uint64_t switched_ns;
    uint64_t pause_us;
    uint64_t n_blocks, n_bytes, out_us, in_us; /* of both copies */
    size_t n_migrated;
};

/* ---- the end ----------------------------------------------------------------------------------- */

static json_t *report(const struct handover *h)
{
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"blocks", h->n_blocks},
        {"bytes", h->n_bytes},
        {"export_us", h->out_us},
        {"import_us", h->in_us},
        {"pause_us", h->pause_us},
        {"migrated", h->n_migrated},
        {"us", (clock_now_ns() - h->began_ns) / 1000},
    };
    json_t *o =
        json_pack("{s:b}", "is_unfinished", h->is_early && h->does_differ && h->step == STEP_EMPTY);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        (void)json_object_set_new(o, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    return o;
}

static void remove_file(const struct router *r)
{
    struct buf path = {0};
    buf_printf(&path, "%s/%s", r->config.run, FILE_NAME);
    (void)unlink(path.ptr);
    buf_fini(&path);
}

static void handover_free(struct router *r, struct handover *h)
{
    r->handover = NULL;
    loop_timer_cancel(r->config.loop, &h->timer);
    loop_timer_cancel(r->config.loop, &h->linger);
    if (h->does_copy)
        remove_file(r);
    if (h->is_posted)
        h->router = NULL; /* the task frees it */
    else
        free(h);
}

static void end(struct handover *h, enum err code, const char *detail)
{
    struct router *r = h->router;
    struct link *l = h->link;
    json_t *data = report(h);
    log_info("handover-ended", S("err", err_name(code)), U("blocks", h->n_blocks),
             U("pause_us", h->pause_us), U("migrated", h->n_migrated));
    handover_free(r, h);
    if (l != NULL)
        control_answer(l, code, detail, data);
    else
        json_decref(data);
}

/* ---- the steps --------------------------------------------------------------------------------- */

static bool send_export(struct handover *h, uint64_t after)
{
    struct frame_kv_export f = {.file = str_from(FILE_NAME), .after = after};
    return link_send(h->from->peer.link, FRAME_kv_export, &f) == ERR_OK;
}

static bool send_import(struct handover *h)
{
    struct frame_kv_import f = {.file = str_from(FILE_NAME)};
    return link_send(h->to->peer.link, FRAME_kv_import, &f) == ERR_OK;
}

/* Whether another engine has its place. */
static void tell_replaced(struct engine *e, bool is_replaced)
{
    struct frame_standby f = {.on = is_replaced, .replaced = is_replaced};
    e->is_standby = is_replaced;
    if (link_peer_protocol(e->peer.link) >= KV_PROTOCOL &&
        link_send(e->peer.link, FRAME_standby, &f) != ERR_OK)
        log_debug("standby-not-sent", S("to", e->peer.name)); /* its link is going down */
}

static void find_waiting(void *ctx, struct request *q)
{
    struct handover *h = ctx;
    if (str_is(q->submit.model_hash, h->from_hash))
        h->has_waiting = true;
}

/* How long the old engine of another model must wait yet for what may come back to it; 0: no longer. */
static uint64_t linger_ms(struct handover *h)
{
    const struct router *r = h->router;
    uint64_t idle_ns = h->from != NULL ? h->from->idle_since_ns : h->from_lost_ns;
    uint64_t quiet_ns = idle_ns > h->switched_ns ? idle_ns : h->switched_ns;
    const char *why;
    /* A tokenizer that does not know the old model yet, but will, may hold requests for it. */
    h->has_waiting = TAILQ_EMPTY(&r->queue.tokenizers) ||
                     (h->from != NULL && h->from->has_vocabulary &&
                      vocabularies_state(r, h->from_hash, &why) == ERR_AGAIN);
    queue_each(&h->router->queue, find_waiting, h);
    if (h->has_waiting)
        return LINGER_MS;
    for (const struct tokenizer *t = TAILQ_FIRST(&r->queue.tokenizers); t != NULL;
         t = TAILQ_NEXT(t, entry))
        quiet_ns = t->since_ns > quiet_ns ? t->since_ns : quiet_ns;
    uint64_t quiet_ms = (clock_now_ns() - quiet_ns) / 1000000;
    return quiet_ms < LINGER_MS ? LINGER_MS - quiet_ms : 0;
}

static void look_if_empty(struct handover *h)
{
    if (h->step != STEP_EMPTY || (h->from != NULL && h->from->n_in_flight > 0))
        return;
    if (h->to == NULL)
        return; /* lost; the old one serves until it is back */
    uint64_t left_ms = h->does_differ ? linger_ms(h) : 0;
    if (left_ms > 0) {
        loop_timer_set(h->router->config.loop, &h->linger, left_ms);
        return;
    }
    if (h->from != NULL)
        tell_replaced(h->from, true);
    end(h, ERR_OK, "");
}

/* Another model's place is taken: from here on there is no way back, and the operator may prepare for
 * that before the old engine's replies are done. */
static void answer_early(struct handover *h)
{
    struct link *l = h->link;
    if (!h->is_early || !h->does_differ || l == NULL)
        return;
    h->link = NULL;
    control_answer(l, ERR_OK, "", report(h));
    h->is_early = false;
}

static void open_newcomer(struct handover *h)
{
    struct router *r = h->router;
    h->step = STEP_EMPTY;
    h->pause_us = (clock_now_ns() - h->switched_ns) / 1000;
    if (h->limit_ms > 0 && !h->does_differ)
        loop_timer_set(r->config.loop, &h->timer, h->limit_ms);
    drain_forget(r, h->to);
    drain_set(r, h->to, false);
    router_review(r);
    answer_early(h);
    handover_touch(r);
}

/* What it still has, it finishes. */
static void retire(struct handover *h)
{
    struct engine *e = h->from;
    e->is_retired = h->does_differ && !engines_has_twin(&h->router->engines, e);
    e->is_out = true;
    e->heir = h->to;
}

/* Nothing new for the old one; its replies wait for the newcomer, or stay. */
static void switch_over(struct handover *h)
{
    struct router *r = h->router;
    struct request *next;
    h->switched_ns = clock_now_ns();
    if (h->from != NULL) {
        retire(h);
        for (struct request *q = TAILQ_FIRST(&h->from->in_flight); q != NULL && h->does_migrate;
             q = next) {
            next = TAILQ_NEXT(q, place);
            h->n_migrated += !q->is_probe;
            if (!q->is_probe)
                router_withdraw(r, q);
        }
    }
    h->step = STEP_REST_OUT;
    if (h->from == NULL || !h->does_copy || !h->does_migrate || !send_export(h, h->mark))
        open_newcomer(h);
}

static void begin_copy(struct handover *h)
{
    loop_timer_cancel(h->router->config.loop, &h->timer);
    h->step = STEP_COPY_OUT;
    if (h->from == NULL || !h->does_copy || !send_export(h, 0))
        switch_over(h);
}

/* What the tokenizers made of another model. */
static void look_if_learnt(struct handover *h)
{
    const char *why = "";
    char detail[CONTROL_DETAIL_CAP];
    enum err e = vocabularies_state(h->router, h->to->model_hash, &why);
    if (e == ERR_AGAIN)
        return;
    if (e == ERR_OK) {
        begin_copy(h);
        return;
    }
    (void)snprintf(detail, sizeof detail,
                   "the tokenizer cannot serve the newcomer's model: %s; nothing has changed", why);
    end(h, e, detail);
}

static void learn(struct handover *h)
{
    if (!h->does_differ) {
        begin_copy(h);
        return;
    }
    h->step = STEP_LEARN;
    loop_timer_set(h->router->config.loop, &h->timer, LEARN_MS);
    look_if_learnt(h);
}

void handover_on_known(struct router *r)
{
    struct handover *h = r->handover;
    if (h != NULL && h->step == STEP_LEARN)
        look_if_learnt(h);
    else
        handover_touch(r);
}

/* ---- the known answer -------------------------------------------------------------------------- */

static void ask(struct handover *h, struct engine *e)
{
    uint32_t prompt[CHECK_PROMPT];
    struct request *q;
    struct frame_submit f = {.prompt = prompt,
                             .n_prompt = CHECK_PROMPT,
                             .sampling = {.max_tokens = CHECK_REPLY, .ignore_eos = true},
                             .model_hash = str_from(e->model_hash)};
    for (uint32_t i = 0; i < CHECK_PROMPT; i++)
        prompt[i] = i + 1; /* every vocabulary has these */
    if (e->context < CHECK_PROMPT + CHECK_REPLY || request_new(&f, &q) != ERR_OK) {
        h->answers[e == h->to] = (struct check_answer){.is_here = true, .finish = FINISH_LENGTH};
        return;
    }
    q->is_probe = true;
    q->check = h->serial;
    router_send_probe(h->router, q, e);
}

/* Both answers are here, or the time is over. A busy old engine may be late: then the newcomer's own check
 * at its start must do. */
static void judge(struct handover *h)
{
    const struct check_answer *old = &h->answers[0];
    const struct check_answer *new = &h->answers[1];
    bool is_equal =
        old->n_ids == new->n_ids &&memcmp(old->ids, new->ids, old->n_ids * sizeof old->ids[0]) == 0;
    if (!new->is_here || new->finish != FINISH_LENGTH)
        end(h, ERR_INTERNAL, "the newcomer does not answer; nothing has changed");
    else if (old->is_here && h->from != NULL && !h->does_differ && !is_equal)
        end(h, ERR_INTERNAL,
            "the newcomer computes another reply than the old engine to the same "
            "request; nothing has changed");
    else
        learn(h);
}

static void check(struct handover *h)
{
    h->step = STEP_CHECK;
    loop_timer_set(h->router->config.loop, &h->timer, CHECK_MS);
    h->answers[0].is_here = h->from == NULL;
    if (h->from != NULL)
        ask(h, h->from);
    ask(h, h->to);
    if (h->answers[0].is_here && h->answers[1].is_here)
        judge(h);
}

void handover_on_answer(struct router *r, struct request *q, uint32_t finish)
{
    struct handover *h = r->handover;
    if (h == NULL || h->step != STEP_CHECK || q->check != h->serial)
        return;
    struct check_answer *a = &h->answers[q->engine == h->to];
    a->is_here = true;
    a->finish = finish;
    a->n_ids = q->n_ids < CHECK_REPLY ? q->n_ids : CHECK_REPLY;
    memcpy(a->ids, q->ids, a->n_ids * sizeof a->ids[0]);
    handover_touch(r);
}

/* ---- the beginning ----------------------------------------------------------------------------- */

static void begin(struct handover *h)
{
    struct engine *from = h->from;
    struct engine *to = h->to;
    h->does_differ = from != NULL && strcmp(from->model_hash, to->model_hash) != 0;
    bool is_same =
        from != NULL && !h->does_differ && from->group == to->group && to->context >= from->context;
    loop_timer_cancel(h->router->config.loop, &h->timer);
    if (h->does_differ && !h->may_differ) {
        end(h, ERR_MODEL_UNKNOWN,
            "the newcomer serves another model, which was not asked for (its file has changed?); "
            "name it with --model; nothing has changed");
        return;
    }
    if (from != NULL) {
        (void)snprintf(h->from_name, sizeof h->from_name, "%s", from->peer.name);
        (void)snprintf(h->from_hash, sizeof h->from_hash, "%s", from->model_hash);
    }
    (void)snprintf(h->newcomer_name, sizeof h->newcomer_name, "%s", to->peer.name);
    (void)snprintf(h->newcomer_hash, sizeof h->newcomer_hash, "%s", to->model_hash);
    h->does_migrate = h->does_migrate && is_same;
    if (h->does_copy && is_same && !remote_shares_files(from, to)) {
        log_warn("blocks-not-copied", S("from", from->peer.name), S("to", to->peer.name),
                 S("why", "no file reaches another machine: they are computed again"));
        h->does_copy = false;
    }
    h->does_copy = h->does_copy && is_same && link_peer_protocol(from->peer.link) >= KV_PROTOCOL &&
                   link_peer_protocol(to->peer.link) >= KV_PROTOCOL;
    log_info("handover", S("name", to->peer.name),
             U("from", from != NULL ? link_peer_pid(from->peer.link) : 0),
             U("to", link_peer_pid(to->peer.link)), U("copy", h->does_copy),
             U("migrate", h->does_migrate));
    check(h);
}

void handover_on_kv_done(struct router *r, struct engine *e, const struct frame_kv_done *f)
{
    struct handover *h = r->handover;
    if (h == NULL || !str_is(f->file, FILE_NAME))
        return;
    bool is_out = h->step == STEP_COPY_OUT || h->step == STEP_REST_OUT;
    bool is_in = h->step == STEP_COPY_IN || h->step == STEP_REST_IN;
    if (!(is_out && e == h->from) && !(is_in && e == h->to))
        return;
    if (is_out) {
        h->out_us += f->us;
        h->mark = h->step == STEP_COPY_OUT ? f->mark : h->mark;
        h->step = h->step == STEP_COPY_OUT ? STEP_COPY_IN : STEP_REST_IN;
        if (f->code == ERR_OK && send_import(h))
            return;
    } else {
        h->in_us += f->us;
        h->n_blocks += f->blocks;
        h->n_bytes += f->bytes;
    }
    /* What failed is computed again. */
    if (h->step == STEP_COPY_IN)
        switch_over(h);
    else
        open_newcomer(h);
}

/* ---- what happens ------------------------------------------------------------------------------ */

static void on_task(struct loop_task *t)
{
    struct handover *h = (struct handover *)(void *)((char *)t - offsetof(struct handover, task));
    h->is_posted = false;
    if (h->router == NULL)
        free(h);
    else if (h->step != STEP_CHECK)
        look_if_empty(h);
    else if (h->answers[0].is_here && h->answers[1].is_here)
        judge(h);
}

void handover_touch(struct router *r)
{
    struct handover *h = r->handover;
    if (h == NULL || (h->step != STEP_EMPTY && h->step != STEP_CHECK) || h->is_posted)
        return;
    h->is_posted = true;
    loop_post(r->config.loop, &h->task);
}

static void on_timer(struct loop_timer *t)
{
    struct handover *h = (struct handover *)(void *)((char *)t - offsetof(struct handover, timer));
    struct router *r = h->router;
    if (h->step == STEP_ARRIVAL) {
        end(h, ERR_TIMEOUT, "the newcomer did not come to the router; nothing has changed");
        return;
    }
    if (h->step == STEP_CHECK) {
        judge(h);
        return;
    }
    if (h->step == STEP_LEARN) {
        end(h, ERR_TIMEOUT,
            "no tokenizer has taken the vocabulary of the newcomer's model; nothing has changed");
        return;
    }
    if (h->from == NULL)
        return; /* handover_touch was called */
    size_t before = h->from->n_in_flight;
    h->n_migrated += before - drain_migrate(r, h->from);
    router_review(r);
    if (h->from->n_in_flight == 0)
        handover_touch(r);
    else
        end(h, ERR_TIMEOUT,
            "some replies still run on the old engine: longer than the newcomer's context");
}

static void on_linger(struct loop_timer *t)
{
    look_if_empty((struct handover *)(void *)((char *)t - offsetof(struct handover, linger)));
}

static bool is_newcomer(const struct handover *h, const struct engine *e)
{
    return e != h->from && (h->to_name[0] != '\0' ? control_is_called(e, str_from(h->to_name))
                                                  : link_peer_pid(e->peer.link) == h->to_pid);
}

static bool is_again(const struct engine *e, const char *name, const char *hash)
{
    return strcmp(e->peer.name, name) == 0 && strcmp(e->model_hash, hash) == 0;
}

/* One of the two of different models was lost and is back: the replies of each go on nowhere else. */
static void take_back(struct handover *h, struct engine *e)
{
    struct router *r = h->router;
    if (h->from == NULL && e != h->to && is_again(e, h->from_name, h->from_hash)) {
        h->from = e;
        if (h->step != STEP_EMPTY)
            return;
        drain_forget(r, e);
        retire(h);
    } else if (h->to == NULL && e != h->from && is_again(e, h->newcomer_name, h->newcomer_hash)) {
        h->to = e;
        drain_forget(r, e);
        drain_set(r, e, false);
        if (h->from != NULL)
            retire(h);
    }
    handover_touch(r);
}

void handover_on_engine_up(struct router *r, struct engine *e)
{
    struct handover *h = r->handover;
    if (h == NULL)
        return;
    if (h->step == STEP_ARRIVAL && is_newcomer(h, e)) {
        h->to = e;
        begin(h);
    } else if (h->step != STEP_ARRIVAL && h->does_differ) {
        take_back(h, e);
    }
}

static void put_back(struct router *r, const struct engine *lost)
{
    for (struct engine *e = TAILQ_FIRST(&r->engines.list); e != NULL; e = TAILQ_NEXT(e, entry)) {
        if (e->heir != lost)
            continue;
        log_warn("newcomer-lost", S("back-in-service", e->peer.name),
                 U("pid", link_peer_pid(e->peer.link)));
        e->heir = NULL;
        e->is_out = false;
        e->is_retired = false;
        tell_replaced(e, false);
    }
}

void handover_on_engine_down(struct router *r, struct engine *e)
{
    struct handover *h = r->handover;
    put_back(r, e);
    if (h == NULL || (e != h->from && e != h->to))
        return;
    if (e == h->to && h->step == STEP_EMPTY && h->does_differ) {
        h->to = NULL;
        return;
    }
    if (e == h->to) {
        h->to = NULL;
        end(h, ERR_CLOSED, "the newcomer was lost; the old engine is in service");
        return;
    }
    h->from = NULL;
    h->from_lost_ns = clock_now_ns();
    h->answers[0] = (struct check_answer){.is_here = true};
    if (h->step == STEP_EMPTY || h->step == STEP_CHECK)
        handover_touch(r);
    else if (h->step != STEP_ARRIVAL && h->step != STEP_LEARN)
        switch_over(h);
}

void handover_on_operator_down(struct router *r, const struct link *l)
{
    if (r->handover != NULL && r->handover->link == l)
        r->handover->link = NULL;
}

void handover_fini(struct router *r)
{
    if (r->handover != NULL)
        handover_free(r, r->handover);
}

/* ---- the verb ---------------------------------------------------------------------------------- */

static struct engine *find_newcomer(const struct handover *h)
{
    struct engine *e = TAILQ_FIRST(&h->router->engines.list);
    while (e != NULL && (!e->is_ready || !is_newcomer(h, e)))
        e = TAILQ_NEXT(e, entry);
    return e;
}

/* Whether the call is for the end of the handover whose switch was answered. */
static bool goes_on(struct control_call *call)
{
    struct handover *h = call->router->handover;
    if (h == NULL || h->step != STEP_EMPTY || !h->does_differ || h->link != NULL ||
        !str_is(call->target, h->from_name))
        return false;
    h->link = call->link;
    h->is_early = false;
    call->is_deferred = true;
    handover_touch(call->router);
    return true;
}

enum err handover_verb(struct control_call *call)
{
    struct router *r = call->router;
    struct engine *from;
    if (goes_on(call))
        return ERR_OK;
    if (r->handover != NULL) {
        (void)snprintf(call->detail, sizeof call->detail, "another handover is on its way");
        return ERR_AGAIN;
    }
    enum err e = control_find_engine(call, &from);
    if (e != ERR_OK)
        return e;
    struct handover *h = mem_zalloc(1, sizeof *h);
    *h = (struct handover){.router = r,
                           .link = call->link,
                           .from = from,
                           .to_pid = control_number(call, "to_pid"),
                           .does_copy = !control_flag(call, "no_copy"),
                           .does_migrate = !control_flag(call, "keep"),
                           .may_differ = control_flag(call, "other_model"),
                           .is_early = control_flag(call, "early"),
                           .timer = {.fire = on_timer},
                           .linger = {.fire = on_linger},
                           .limit_ms = control_number(call, "limit_ms"),
                           .task = {.run = on_task},
                           .began_ns = clock_now_ns()};
    const char *to = json_string_value(json_object_get(call->args, "to"));
    (void)snprintf(h->to_name, sizeof h->to_name, "%s", to != NULL ? to : "");
    if (h->to_pid == 0 && h->to_name[0] == '\0') {
        free(h);
        (void)snprintf(call->detail, sizeof call->detail, "say which engine takes over");
        return ERR_INVALID;
    }
    h->serial = h->began_ns;
    h->to = find_newcomer(h);
    r->handover = h;
    call->is_deferred = true;
    if (h->to != NULL)
        begin(h);
    else
        loop_timer_set(r->config.loop, &h->timer, ARRIVAL_MS);
    return ERR_OK;
}
