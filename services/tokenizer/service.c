/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/link.h"
#include "services/tokenizer/held.h"
#include "services/tokenizer/models.h"
#include "services/tokenizer/prompt.h"
#include "services/tokenizer/reply.h"
#include "services/tokenizer/trace.h"
#include "services/tokenizer/worker.h"

enum {
    /* The router ends a reply at its deadline; this is how much later it is ended here, when the router is
     * not there to do it. */
    LATE_MS = 500,
    WHY_BYTES = 512,
};

/* A gateway that is connected, and what the frame at hand brings for it. */
struct peer {
    struct peer *next;
    struct service *service;
    struct link *link;
    struct rec_piece *pieces;
    size_t n_pieces;
};

struct service {
    struct loop *loop;
    struct models models;
    struct held_list held;
    struct link_server *server;
    struct link *router;
    struct peer *gateways;
    struct reply_table *replies;
    struct arena arena; /* of the frame at hand */
    struct buf text; /* scratch */
    struct rec_load load;
    bool has_told; /* the router which models are known */
    bool is_leaving;
};

/* ---- sending ------------------------------------------------------------------------------------ */

/* A frame that cannot be sent is dropped: the link is down or about to break, and who is behind it asks
 * again. */
static void send_frame(struct link *l, enum frame_type type, const void *body)
{
    enum err e = link_send(l, type, body);
    if (e != ERR_OK && e != ERR_CLOSED)
        log_error("send-failed", S("frame", frame_name(type)), S("err", err_name(e)));
}

static void send_error(struct link *l, uint64_t req, enum err code, const char *why)
{
    const struct rec_piece p = {
        .req = req, .finish = FINISH_ERROR, .code = (uint32_t)code, .detail = str_from(why)};
    send_frame(l, FRAME_pieces, &(struct frame_pieces){.items = &p, .n_items = 1});
}

static void send_cancel(const struct service *s, const struct reply *r)
{
    if (!r->job && link_is_up(s->router))
        send_frame(s->router, FRAME_cancel, &(struct frame_cancel){.req = r->id});
}

static void send_submit(const struct service *s, struct reply *r)
{
    uint64_t now = clock_now_ms();
    struct frame_submit f = {
        .req = r->id,
        .prompt = r->prompt.v,
        .n_prompt = r->prompt.n,
        .resume = r->stream.ids.v,
        .n_resume = r->stream.ids.n,
        .sampling = r->sampling,
        .tenant = r->tenant,
        .model_hash = str_from(r->served->hash),
        .lane = r->lane,
        .share = r->share,
        .again = r->was_sent,
        .numbers = r->numbers,
        .trace = str_from(r->trace),
    };
    r->was_sent = true;
    trace_submitted(r);
    if (r->deadline_ms > 0)
        f.deadline_ms = r->deadline_ms > now ? (uint32_t)(r->deadline_ms - now) : 1;
    send_frame(s->router, FRAME_submit, &f);
}

static void send_status(const struct service *s, struct link *to)
{
    struct rec_model models[MODELS_MAX];
    struct rec_model others[MODELS_MAX];
    struct frame_status f = {.load = s->load};
    models_describe(&s->models, models, others, &f);
    send_frame(to, FRAME_status, &f);
}

static void tell_gateways(const struct service *s)
{
    for (const struct peer *p = s->gateways; p; p = p->next)
        send_status(s, p->link);
}

static void end_reply(struct service *s, struct reply *r)
{
    loop_timer_cancel(s->loop, &r->timer);
    worker_drop(r->job);
    r->served->n_replies--;
    reply_free(r);
}

/* ---- from gateways ------------------------------------------------------------------------------ */

static void on_deadline(struct loop_timer *t)
{
    struct reply *r = (struct reply *)((char *)t - offsetof(struct reply, timer));
    struct service *s = r->gateway->service;
    send_error(r->gateway->link, r->gateway_req, ERR_TIMEOUT, err_text(ERR_TIMEOUT));
    send_cancel(s, r);
    end_reply(s, r);
}

/* The ids that the gateway has text for; *ret_is_stopped says whether they already end the reply. */
static enum err replay(struct reply *r, const struct frame_generate *f, bool *ret_is_stopped)
{
    size_t n_bytes;
    for (size_t i = 0; i < f->n_resume; i++) {
        if (f->resume[i] >= r->served->model->config.n_vocab)
            return ERR_RANGE;
    }
    enum err e = stream_replay(&r->stream, f->resume, f->n_resume, &n_bytes, ret_is_stopped);
    if (e == ERR_OK)
        log_debug("replayed", U("req", r->id), S("trace", r->trace), U("tokens", f->n_resume),
                  U("bytes", n_bytes));
    return e;
}

static void accept_reply(struct service *s, struct reply *r, bool is_stopped)
{
    const struct frame_accepted accepted = {.req = r->gateway_req,
                                            .prompt_tokens = (uint32_t)r->prompt.n};
    send_frame(r->gateway->link, FRAME_accepted, &accepted);
    if (is_stopped) {
        const struct rec_piece p = {.req = r->gateway_req, .finish = FINISH_STOP};
        send_frame(r->gateway->link, FRAME_pieces,
                   &(struct frame_pieces){.items = &p, .n_items = 1});
        end_reply(s, r);
        return;
    }
    if (link_is_up(s->router))
        send_submit(s, r);
}

static void refuse(struct service *s, struct reply *r, enum err e, const char *why)
{
    send_error(r->gateway->link, r->gateway_req, e, why[0] ? why : err_text(e));
    end_reply(s, r);
}

/* The prompt is there: what has come of the reply before is played again, and the router gets it. */
static void begin_reply(struct service *s, struct reply *r, const struct frame_generate *f)
{
    bool is_stopped = false;
    trace_encoded(r);
    enum err e = replay(r, f, &is_stopped);
    if (e == ERR_OK)
        accept_reply(s, r, is_stopped);
    else
        refuse(s, r, e, "");
}

static void on_encoded(void *ctx, struct worker_job *job)
{
    struct service *s = ctx;
    struct reply *r = job->user;
    r->job = NULL;
    r->prompt = job->prompt;
    job->prompt = (struct ids){0};
    if (job->err == ERR_OK)
        begin_reply(s, r, &job->frame);
    else
        refuse(s, r, job->err, job->why);
}

static void start_deadline(struct service *s, struct reply *r)
{
    if (r->deadline_ms == 0)
        return;
    uint64_t now = clock_now_ms();
    uint64_t left = r->deadline_ms > now ? r->deadline_ms - now : 0;
    r->timer.fire = on_deadline;
    loop_timer_set(s->loop, &r->timer, left + LATE_MS);
}

static void on_expired(struct peer *gateway, uint64_t req, enum err why)
{
    send_error(gateway->link, req, why, err_text(why));
}

/* The model of a request; NULL, and it waits or is refused, if that cannot be served now. */
static struct served *find_served(struct service *s, struct peer *p, const struct frame_generate *f)
{
    struct served *served = models_find(&s->models, f->model_hash, f->model);
    if (served && served->model)
        return served;
    enum err e = served ? served->refused : ERR_OK;
    const char *why = e != ERR_OK ? served->why : "";
    if (!served && f->model_hash.len == 0)
        e = ERR_MODEL_UNKNOWN;
    if (e == ERR_OK)
        e = held_add(&s->held, p, f);
    if (e != ERR_OK)
        send_error(p->link, f->req, e, why[0] ? why : err_text(e));
    return NULL;
}

static void on_generate(struct service *s, struct peer *p, const struct frame_generate *f)
{
    char why[WHY_BYTES] = "";
    struct reply *r = NULL;
    if (reply_find_of(s->replies, p, f->req) || held_has(&s->held, p, f->req)) {
        link_break(p->link, ERR_PROTOCOL);
        return;
    }
    struct served *served = find_served(s, p, f);
    if (!served)
        return;
    enum err e = reply_new(s->replies, served->model->vocab, f, why, sizeof why, &r);
    if (e != ERR_OK) {
        send_error(p->link, f->req, e, why[0] ? why : err_text(e));
        return;
    }
    r->gateway = p;
    r->served = served;
    served->n_replies++;
    start_deadline(s, r);
    why[0] = '\0';
    if (worker_is_for(f))
        e = worker_submit(served->worker, f, served->context, r, &r->job);
    else
        e = prompt_encode(served->model, served->model->encoder, f, served->context, why,
                          sizeof why, &r->prompt);
    if (e != ERR_OK)
        refuse(s, r, e, why);
    else if (!r->job)
        begin_reply(s, r, f);
}

static void on_cancel(struct service *s, struct peer *p, const struct frame_cancel *f)
{
    struct reply *r = reply_find_of(s->replies, p, f->req);
    if (!r) {
        (void)held_drop(&s->held, p, f->req);
        return;
    }
    send_cancel(s, r);
    end_reply(s, r);
}

static void on_gateway_up(void *ctx, struct link *l)
{
    struct service *s = ctx;
    struct peer *p = mem_zalloc(1, sizeof *p);
    p->service = s;
    p->link = l;
    p->next = s->gateways;
    s->gateways = p;
    link_set_user(l, p);
    log_info("gateway-up", S("instance", link_peer_instance(l)), U("pid", link_peer_pid(l)));
    send_status(s, l);
}

static void on_gateway_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct service *s = ctx;
    struct peer *p = link_user(l);
    if (f->type == FRAME_generate) {
        on_generate(s, p, f->body);
    } else if (f->type == FRAME_cancel) {
        on_cancel(s, p, f->body);
    } else {
        log_warn("unexpected-frame", S("frame", frame_name(f->type)));
        link_break(l, ERR_PROTOCOL);
    }
}

static void on_gateway_down(void *ctx, struct link *l, enum err why)
{
    struct service *s = ctx;
    struct peer *p = link_user(l);
    size_t n = held_drop_all(&s->held, p);
    size_t at = 0;
    for (struct reply *r; (r = reply_next(s->replies, &at)) != NULL; at++) {
        if (r->gateway != p)
            continue;
        send_cancel(s, r);
        end_reply(s, r);
        n++;
    }
    if (why == ERR_OK)
        log_info("gateway-down", U("cancelled", n));
    else
        log_warn("gateway-down", U("cancelled", n), S("err", err_name(why)));
    struct peer **at_peer = &s->gateways;
    while (*at_peer != p)
        at_peer = &(*at_peer)->next;
    *at_peer = p->next;
    free(p);
}

/* ---- from the router: tokens -------------------------------------------------------------------- */

/* A copy that lives as long as the frame at hand; empty when memory is short. */
static struct str keep(struct service *s, struct str text)
{
    const char *copy = text.len > 0 ? arena_strdup(&s->arena, text) : NULL;
    return copy ? (struct str){copy, text.len} : (struct str){"", 0};
}

static struct str token_bytes(const struct reply *r, uint32_t id)
{
    const struct vocab *v = r->served->model->vocab;
    return vocab_has(v, id) ? vocab_bytes(v, id) : (struct str){"", 0};
}

static void fill_top(struct service *s, const struct reply *r, const struct rec_token *t,
                     struct rec_piece *p)
{
    struct rec_top *top = arena_zalloc(&s->arena, t->n_top, sizeof *top);
    if (!top)
        return;
    for (size_t i = 0; i < t->n_top; i++) {
        top[i] = t->top[i];
        top[i].text = token_bytes(r, top[i].id);
    }
    p->top = top;
    p->n_top = t->n_top;
}

/* The text that an event adds, and whether it ends the reply with a stop string. */
static enum err advance(struct service *s, struct reply *r, const struct rec_token *t,
                        bool *ret_is_stopped)
{
    buf_reset(&s->text);
    *ret_is_stopped = false;
    if (t->has_id) {
        enum err e = stream_push(&r->stream, t->id, &s->text, ret_is_stopped);
        if (e != ERR_OK)
            return e;
    }
    bool is_whole = t->finish == FINISH_STOP || t->finish == FINISH_LENGTH;
    if (is_whole && !*ret_is_stopped)
        *ret_is_stopped = stream_finish(&r->stream, &s->text);
    return ERR_OK;
}

/* One event of the router as one of the gateway's; ends the reply if it is the last. *now_ns is the time
 * when work at it begins. */
static void on_token(struct service *s, const struct rec_token *t, uint64_t *now_ns)
{
    struct reply *r = reply_find(s->replies, t->req);
    if (!r)
        return; /* cancelled in the meantime */
    struct peer *g = r->gateway;
    struct rec_piece *p = &g->pieces[g->n_pieces++];
    r->numbers = t->numbers != 0 ? t->numbers : r->numbers;
    bool is_stopped = false;
    enum err e = advance(s, r, t, &is_stopped);
    *now_ns = trace_text(r, *now_ns);
    *p = (struct rec_piece){
        .req = r->gateway_req,
        .has_id = t->has_id,
        .id = t->id,
        .text = keep(s, buf_str(&s->text)),
        .finish = t->finish,
        .code = t->code,
        .detail = t->detail,
        .cached_tokens = t->cached_tokens,
        .numbers = t->numbers,
        .retry_ms = t->retry_ms,
    };
    if (e != ERR_OK) {
        p->finish = FINISH_ERROR;
        p->code = (uint32_t)e;
    } else if (is_stopped) {
        p->finish = FINISH_STOP;
    }
    if (t->has_id && r->sampling.logprobs) {
        p->token_text = token_bytes(r, t->id);
        p->logprob = t->logprob;
        fill_top(s, r, t, p);
    }
    trace_fill(r, t, &s->arena, p);
    if (p->finish == FINISH_NONE)
        return;
    if (t->finish == FINISH_NONE)
        send_cancel(s, r);
    end_reply(s, r);
}

/* Text that cannot be sent would be missing from the replies: the gateway has to ask for them again. */
static void send_pieces(struct peer *p)
{
    const struct frame_pieces f = {.items = p->pieces, .n_items = p->n_pieces};
    enum err e = p->n_pieces > 0 ? link_send(p->link, FRAME_pieces, &f) : ERR_OK;
    if (e != ERR_OK && e != ERR_CLOSED) {
        log_error("send-failed", S("frame", "pieces"), S("err", err_name(e)));
        link_break(p->link, e);
    }
}

static void on_tokens(struct service *s, const struct frame_tokens *f)
{
    arena_reset(&s->arena);
    for (struct peer *p = s->gateways; p; p = p->next) {
        p->n_pieces = 0;
        p->pieces = arena_zalloc(&s->arena, f->n_items, sizeof *p->pieces);
        if (!p->pieces) {
            link_break(s->router, ERR_NOMEM);
            return;
        }
    }
    uint64_t now_ns = clock_now_ns();
    for (size_t i = 0; i < f->n_items; i++)
        on_token(s, &f->items[i], &now_ns);
    struct peer *next;
    for (struct peer *p = s->gateways; p; p = next) {
        next = p->next;
        send_pieces(p);
    }
}

/* Where replies wait, told to the gateways under their own numbers. */
static void on_queued(struct service *s, const struct frame_queued *f)
{
    arena_reset(&s->arena);
    struct rec_place *items = arena_zalloc(&s->arena, f->n_items, sizeof *items);
    if (!items)
        return; /* nobody fails for want of a position */
    for (const struct peer *p = s->gateways; p; p = p->next) {
        size_t n = 0;
        for (size_t i = 0; i < f->n_items; i++) {
            const struct reply *r = reply_find(s->replies, f->items[i].req);
            if (!r || r->gateway != p)
                continue;
            items[n] = f->items[i];
            items[n++].req = r->gateway_req;
        }
        if (n > 0 && link_peer_protocol(p->link) >= 2)
            send_frame(p->link, FRAME_queued, &(struct frame_queued){.items = items, .n_items = n});
    }
}

/* ---- from the router: status, life -------------------------------------------------------------- */

static void on_status(struct service *s, const struct frame_status *f)
{
    if (f->has_vocabularies && !s->has_told) {
        s->has_told = true;
        models_tell(&s->models);
    }
    models_update(&s->models, f);
    s->load = f->load;
    tell_gateways(s);
}

static void generate_again(struct peer *gateway, const struct frame_generate *f)
{
    on_generate(gateway->service, gateway, f);
}

static void on_vocabulary(struct service *s, const struct frame_vocabulary *f)
{
    if (!models_learn(&s->models, f))
        return;
    tell_gateways(s);
    models_tell(&s->models);
    held_release(&s->held, generate_again);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The oldest first, as the router would have served them. */
static void on_router_up(void *ctx, struct link *l)
{
    struct service *s = ctx;
    size_t n = reply_table_count(s->replies);
    log_info("router-up", U("pid", link_peer_pid(l)), U("submitted_again", n));
    uint64_t *ids = mem_zalloc(n + 1, sizeof *ids);
    size_t n_ids = 0;
    size_t at = 0;
    for (struct reply *r; n_ids < n && (r = reply_next(s->replies, &at)) != NULL; at++)
        ids[n_ids++] = r->id;
    qsort(ids, n_ids, sizeof *ids, compare_ids); /* they rise */
    for (size_t i = 0; i < n_ids; i++) {
        struct reply *r = reply_find(s->replies, ids[i]);
        if (r != NULL && !r->job)
            send_submit(s, r);
    }
    free(ids);
}

static void on_router_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct service *s = ctx;
    if (f->type == FRAME_tokens) {
        on_tokens(s, f->body);
    } else if (f->type == FRAME_status) {
        on_status(s, f->body);
    } else if (f->type == FRAME_vocabulary) {
        on_vocabulary(s, f->body);
    } else if (f->type == FRAME_queued) {
        on_queued(s, f->body);
    } else {
        log_warn("unexpected-frame", S("frame", frame_name(f->type)));
        link_break(l, ERR_PROTOCOL);
    }
}

static void on_router_down(void *ctx, struct link *l, enum err why)
{
    struct service *s = ctx;
    (void)l;
    if (s->is_leaving) {
        loop_stop(s->loop);
        return;
    }
    log_warn("router-down", S("err", err_name(why)), U("waiting", reply_table_count(s->replies)));
    size_t at = 0;
    for (struct reply *r; (r = reply_next(s->replies, &at)) != NULL; at++)
        trace_lost(r);
    s->load = (struct rec_load){0};
    s->has_told = false;
    models_lose(&s->models);
    tell_gateways(s);
}

enum err service_start(struct loop *loop, const char *run, const struct model *model,
                       struct service **ret_service)
{
    struct service *s = mem_zalloc(1, sizeof *s);
    s->loop = loop;
    s->replies = reply_table_new();
    const struct link_config config = {.loop = loop,
                                       .run = run,
                                       .service = "tokenizer",
                                       .instance = "",
                                       .epoch = clock_random_u64()};
    const struct link_handler gateways = {on_gateway_up, on_gateway_frame, on_gateway_down, s};
    const struct link_handler router = {on_router_up, on_router_frame, on_router_down, s};
    models_init(&s->models, loop, on_encoded, s);
    held_init(&s->held, loop, on_expired);
    enum err e = model ? models_add(&s->models, model) : ERR_OK;
    if (e == ERR_OK)
        e = link_listen(&config, &gateways, &s->server);
    if (e == ERR_OK)
        e = link_dial(&config, "router", &router, &s->router);
    s->models.router = s->router;
    if (e != ERR_OK) {
        service_stop(s);
        return e;
    }
    *ret_service = s;
    return ERR_OK;
}

void service_leave(struct service *s)
{
    s->is_leaving = true;
    link_server_close(s->server);
    s->server = NULL;
    if (link_is_up(s->router))
        link_bye(s->router);
    else
        loop_stop(s->loop);
}

void service_stop(struct service *s)
{
    if (!s)
        return;
    if (s->server)
        link_server_close(s->server);
    link_close(s->router);
    held_fini(&s->held);
    models_fini(&s->models);
    reply_table_free(s->replies);
    arena_fini(&s->arena);
    buf_fini(&s->text);
    free(s);
}
