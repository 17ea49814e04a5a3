/* SPDX-License-Identifier: MIT */
#include "services/engine/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/notify.h"
#include "proto/link.h"
#include "services/engine/kv.h"
#include "services/engine/worker.h"

enum { LOAD_MS = 1000, SECTIONS_MAX = 16, NS_PER_MS = 1000000, KEPT_MAX = 2048 };

struct service {
    struct service_config config;
    struct link *link;
    struct worker *worker;
    struct loop_timer load_timer;
    struct frame_engine_load load; /* the latest */
    struct rec_token *kept; /* tokens that wait for the next frame */
    size_t n_kept;
    size_t cap_kept;
    struct loop_timer kept_timer; /* set while there are any */
    uint64_t sent_ns; /* the last frame of tokens */
    uint64_t epoch; /* counts connections, see worker.h */
    bool is_standby; /* out of service: the router says, and we say it to the next one */
    bool is_replaced; /* another engine has our KV blocks */
    bool is_leaving;
    bool has_failed;
};

static struct service *service_of_timer(struct loop_timer *t)
{
    return (struct service *)((char *)t - offsetof(struct service, load_timer));
}

/* ---- to the router ---- */

/* A frame that cannot be sent is dropped: either the link is down, and the router asks again, or it
 * is about to break. */
static void send_frame(struct service *s, enum frame_type type, const void *body)
{
    enum err e = link_send(s->link, type, body);
    if (e != ERR_OK && e != ERR_CLOSED)
        log_error("send-failed", S("frame", frame_name(type)), S("err", err_name(e)));
}

static void send_load(struct service *s)
{
    if (!link_is_up(s->link))
        return;
    send_frame(s, FRAME_engine_load, &s->load);
    loop_timer_set(s->config.loop, &s->load_timer, LOAD_MS);
}

static void on_load_timer(struct loop_timer *t)
{
    send_load(service_of_timer(t));
}

static void send_tokens(struct service *s, const struct rec_token *items, size_t n)
{
    send_frame(s, FRAME_tokens, &(struct frame_tokens){.items = items, .n_items = n});
    s->sent_ns = clock_now_ns();
}

static void forget_kept(struct service *s)
{
    s->n_kept = 0;
    loop_timer_cancel(s->config.loop, &s->kept_timer);
}

static void send_kept(struct service *s)
{
    if (s->n_kept > 0)
        send_tokens(s, s->kept, s->n_kept);
    forget_kept(s);
}

static void on_kept_timer(struct loop_timer *t)
{
    send_kept((struct service *)((char *)t - offsetof(struct service, kept_timer)));
}

/* Whether all of a step's tokens may wait. What they point to does not live so long. */
static bool may_wait(const struct service *s, const struct worker_result *r)
{
    uint64_t frame_ns = (uint64_t)s->config.frame_ms * NS_PER_MS;
    if (frame_ns == 0 || s->n_kept + r->n_items > KEPT_MAX ||
        clock_now_ns() - s->sent_ns >= frame_ns)
        return false;
    for (size_t i = 0; i < r->n_items; i++) {
        const struct rec_token *t = &r->items[i];
        if (t->finish != FINISH_NONE || t->n_spans > 0 || t->n_top > 0)
            return false;
    }
    return true;
}

static void keep_tokens(struct service *s, const struct worker_result *r)
{
    if (s->n_kept + r->n_items > s->cap_kept) {
        s->cap_kept = 2 * (s->n_kept + r->n_items);
        s->kept = mem_resize(s->kept, s->cap_kept, sizeof *s->kept);
    }
    memcpy(s->kept + s->n_kept, r->items, r->n_items * sizeof *s->kept);
    s->n_kept += r->n_items;
}

static void take_tokens(struct service *s, const struct worker_result *r)
{
    bool waits = may_wait(s, r);
    if (!waits && s->n_kept == 0) {
        send_tokens(s, r->items, r->n_items);
        return;
    }
    keep_tokens(s, r);
    if (!waits)
        send_kept(s);
    else if (s->kept_timer.slot == 0)
        loop_timer_set(s->config.loop, &s->kept_timer, s->config.frame_ms);
}

static void on_result(void *ctx, const struct worker_result *r)
{
    struct service *s = ctx;
    if (r->error != ERR_OK) {
        log_error("backend-failed", S("backend", s->config.backend), S("err", err_name(r->error)));
        s->has_failed = true;
        loop_stop(s->config.loop);
        return;
    }
    bool is_news = r->load.running != s->load.running || r->load.waiting != s->load.waiting;
    s->load = r->load;
    if (r->epoch != s->epoch || !link_is_up(s->link) || s->is_leaving)
        return;
    if (r->job != NULL) {
        send_kept(s); /* they came before it */
        const struct frame_kv_done done = carry_done(r->job);
        send_frame(s, FRAME_kv_done, &done);
    }
    if (r->n_items > 0)
        take_tokens(s, r);
    if (is_news)
        send_load(s);
}

static void refuse(struct service *s, uint64_t req, enum err code, const char *why)
{
    const struct rec_token t = {
        .req = req, .finish = FINISH_ERROR, .code = (uint32_t)code, .detail = {why, strlen(why)}};
    send_frame(s, FRAME_tokens, &(struct frame_tokens){.items = &t, .n_items = 1});
}

/* For whoever looks at this machine, where no router tells. */
static void say_status(const struct service *s)
{
    const struct service_config *c = &s->config;
    char words[256];
    if (c->router.url == NULL)
        return;
    if (link_is_up(s->link))
        (void)snprintf(words, sizeof words, "serving %.60s on %.30s at %.120s",
                       c->limits.config->name, c->backend, c->router.url);
    else
        (void)snprintf(words, sizeof words, "calling %.120s", c->router.url);
    notify_status(words);
}

/* ---- from the router ---- */

static void on_up(void *ctx, struct link *l)
{
    struct service *s = ctx;
    const struct service_config *c = &s->config;
    log_info("router-up", U("pid", link_peer_pid(l)), S("at", link_peer_address(l)));
    const struct frame_engine f = {
        .model_hash = {c->limits.model_hash, strlen(c->limits.model_hash)},
        .model_name = str_from(c->served_name),
        .context = c->limits.n_ctx,
        .max_seqs = c->max_seqs,
        .kv_blocks = c->n_blocks,
        .block_tokens = KV_BLOCK,
        .backend = {c->backend, strlen(c->backend)},
        .lane = c->lane,
        .numerics = str_from(c->numerics),
        .standby = s->is_standby,
        .numbers = c->limits.numbers,
        .model_file = str_from(c->model_file),
        .has_vocabulary = true,
    };
    send_frame(s, FRAME_engine, &f);
    send_load(s);
    say_status(s);
}

static void on_submit(struct service *s, const struct frame_submit *f)
{
    char why[160];
    struct seq *seq = NULL;
    enum err e = seq_new(f, &s->config.limits, why, sizeof why, &seq);
    if (e)
        refuse(s, f->req, e, why);
    else
        worker_submit(s->worker, seq);
}

/* What a tokenizer needs of a model file. */
static bool is_of_texts(const struct h1b_section *s)
{
    static const char VOCABULARY[] = "tokenizer.";
    return strncmp(s->name, VOCABULARY, sizeof VOCABULARY - 1) == 0 ||
           strcmp(s->name, "config") == 0 || strcmp(s->name, "chat_template") == 0;
}

static void on_vocabulary_ask(struct service *s, const struct frame_vocabulary_ask *f)
{
    struct rec_section found[SECTIONS_MAX];
    struct frame_vocabulary out = {.model_hash = f->model_hash, .sections = found};
    size_t n;
    const struct h1b_section *all = h1b_sections(s->config.file, &n);
    if (!str_is(f->model_hash, s->config.limits.model_hash))
        return; /* meant for our predecessor of the same name */
    for (size_t i = 0; i < n && out.n_sections < SECTIONS_MAX; i++) {
        if (is_of_texts(&all[i]))
            found[out.n_sections++] =
                (struct rec_section){.name = str_from(all[i].name),
                                     .dtype = (uint32_t)all[i].dtype,
                                     .rows = all[i].dims[0],
                                     .columns = all[i].n_dims > 1 ? all[i].dims[1] : 0,
                                     .data = {all[i].data, all[i].size}};
    }
    send_frame(s, FRAME_vocabulary, &out);
}

/* KV blocks to give or to take. */
static void on_carry(struct service *s, struct link *l, const struct frame *f)
{
    struct carry_job *job;
    enum err e = f->type == FRAME_kv_export ? carry_export_new(f->body, &job)
                                            : carry_import_new(f->body, &job);
    if (e == ERR_OK)
        worker_carry(s->worker, job);
    else
        link_break(l, e);
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct service *s = ctx;
    if (f->type == FRAME_submit) {
        on_submit(s, f->body);
    } else if (f->type == FRAME_cancel) {
        worker_cancel(s->worker, ((const struct frame_cancel *)f->body)->req);
    } else if (f->type == FRAME_kv_export || f->type == FRAME_kv_import) {
        on_carry(s, l, f);
    } else if (f->type == FRAME_vocabulary_ask) {
        on_vocabulary_ask(s, f->body);
    } else if (f->type == FRAME_standby) {
        s->is_standby = ((const struct frame_standby *)f->body)->on;
        s->is_replaced = ((const struct frame_standby *)f->body)->replaced;
        log_info("standby", U("on", s->is_standby));
    } else if (f->type == FRAME_unfit) {
        const struct frame_unfit *u = f->body;
        log_error("refused-by-router", SN("why", u->detail.ptr, u->detail.len));
        link_break(l, ERR_UNSUPPORTED);
    } else {
        log_warn("unexpected-frame", S("frame", frame_name(f->type)));
        link_break(l, ERR_PROTOCOL);
    }
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct service *s = ctx;
    (void)l;
    if (why == ERR_OK)
        log_info("router-down");
    else
        log_warn("router-down", S("err", err_name(why)));
    say_status(s);
    loop_timer_cancel(s->config.loop, &s->load_timer);
    forget_kept(s);
    worker_cancel_all(s->worker, ++s->epoch);
    if (s->is_leaving)
        loop_stop(s->config.loop);
}

/* ---- life ---- */

static enum err dial(struct service *s, const struct link_config *link)
{
    const struct link_handler handler = {on_up, on_frame, on_down, s};
    const struct link_remote *remote = &s->config.router;
    char why[TLS_WHY_CAP];
    if (remote->url == NULL)
        return link_dial(link, "router", &handler, &s->link);
    enum err e = link_dial_remote(link, remote, &handler, why, &s->link);
    if (e != ERR_OK)
        log_error("cannot-call", S("router", remote->url), S("why", why));
    return e;
}

enum err service_start(const struct service_config *config, struct service **ret_service)
{
    struct service *s = mem_zalloc(1, sizeof *s);
    s->config = *config;
    s->is_standby = config->is_standby;
    s->load_timer.fire = on_load_timer;
    s->kept_timer.fire = on_kept_timer;
    enum err e =
        worker_start(config->scheduler, config->carry, config->loop, on_result, s, &s->worker);
    if (!e) {
        const struct link_config link = {.loop = config->loop,
                                         .run = config->run,
                                         .service = "engine",
                                         .instance = config->name,
                                         .epoch = clock_random_u64()};
        e = dial(s, &link);
    }
    if (e) {
        service_stop(s);
        return e;
    }
    *ret_service = s;
    return ERR_OK;
}

void service_leave(struct service *s)
{
    s->is_leaving = true;
    send_kept(s);
    if (link_is_up(s->link))
        link_bye(s->link);
    else
        loop_stop(s->config.loop);
}

void service_stop(struct service *s)
{
    if (s == NULL)
        return;
    loop_timer_cancel(s->config.loop, &s->load_timer);
    loop_timer_cancel(s->config.loop, &s->kept_timer);
    link_close(s->link);
    worker_stop(s->worker);
    free(s->kept);
    free(s);
}

bool service_is_replaced(const struct service *s)
{
    return s != NULL && s->is_replaced;
}

bool service_has_failed(const struct service *s)
{
    return s->has_failed;
}
