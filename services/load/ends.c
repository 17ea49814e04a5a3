/* SPDX-License-Identifier: MIT */
#include "services/load/ends.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/map.h"
#include "common/mem.h"
#include "proto/link.h"

struct ends {
    struct target target; /* first */
    struct ends_config config;
    struct link *link; /* dialed, or the engine that called */
    struct link_server *server; /* ENDS_ROUTER */
    struct map requests; /* struct request by id */
    struct buf text; /* scratch */
    bool is_ready;
    char model[128];
};

static void finish(struct ends *e, struct request *q, enum failure f, const char *detail)
{
    (void)map_remove(&e->requests, q->id);
    run_end(q, f, detail);
}

/* ---- answers ----------------------------------------------------------------------------------- */

/* What pieces and tokens have in common. */
struct item {
    uint64_t req;
    bool has_id;
    uint32_t id;
    struct str text;
    uint32_t finish;
    uint32_t code;
    struct str detail;
    uint32_t cached_tokens;
};

static void on_item(struct ends *e, const struct item *i)
{
    struct request *q = map_get(&e->requests, i->req);
    if (q == NULL)
        return; /* given up */
    if (i->cached_tokens > 0)
        q->record.n_cached += i->cached_tokens;
    if (i->has_id) {
        buf_reset(&e->text);
        if (q->prompt.talk != NULL && i->text.len > 0)
            buf_add_json(&e->text, i->text);
        struct str quoted = buf_str(&e->text);
        struct str inner = {quoted.ptr + 1, quoted.len > 2 ? quoted.len - 2 : 0};
        run_output(q, quoted.len > 2 ? inner : STR_LIT(""), &i->id);
    }
    if (i->finish == FINISH_STOP || i->finish == FINISH_LENGTH) {
        finish(e, q, FAILURE_none, "");
    } else if (i->finish != FINISH_NONE) {
        char text[160];
        int n = i->detail.len < 100 ? (int)i->detail.len : 100;
        (void)snprintf(text, sizeof text, "%s %.*s", err_name(err_from_number(i->code)), n,
                       i->detail.ptr != NULL ? i->detail.ptr : "");
        finish(e, q, FAILURE_error, text);
    }
}

static void on_pieces(struct ends *e, const struct frame_pieces *f)
{
    for (size_t i = 0; i < f->n_items; i++) {
        const struct rec_piece *p = &f->items[i];
        on_item(e, &(struct item){p->req, p->has_id, p->id, p->text, p->finish, p->code, p->detail,
                                  p->cached_tokens});
    }
}

static void on_tokens(struct ends *e, const struct frame_tokens *f)
{
    for (size_t i = 0; i < f->n_items; i++) {
        const struct rec_token *t = &f->items[i];
        on_item(e, &(struct item){.req = t->req,
                                  .has_id = t->has_id,
                                  .id = t->id,
                                  .finish = t->finish,
                                  .code = t->code,
                                  .detail = t->detail,
                                  .cached_tokens = t->cached_tokens});
    }
}

static void set_model(struct ends *e, struct str name)
{
    int n = name.len < sizeof e->model ? (int)name.len : (int)sizeof e->model - 1;
    (void)snprintf(e->model, sizeof e->model, "%.*s", n, name.ptr != NULL ? name.ptr : "");
}

static void on_status(struct ends *e, const struct frame_status *f)
{
    e->is_ready = f->n_models > 0;
    if (f->n_models > 0)
        set_model(e, f->models[0].name);
}

static void on_accepted(struct ends *e, const struct frame_accepted *f)
{
    struct request *q = map_get(&e->requests, f->req);
    if (q != NULL)
        q->record.n_in = f->prompt_tokens;
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct ends *e = ctx;
    if (l != e->link)
        return;
    if (f->type == FRAME_tokens && e->config.kind != ENDS_GATEWAY) {
        on_tokens(e, f->body);
    } else if (f->type == FRAME_pieces && e->config.kind == ENDS_GATEWAY) {
        on_pieces(e, f->body);
    } else if (f->type == FRAME_accepted && e->config.kind == ENDS_GATEWAY) {
        on_accepted(e, f->body);
    } else if (f->type == FRAME_status && e->config.kind != ENDS_ROUTER) {
        on_status(e, f->body);
    } else if (f->type == FRAME_engine && e->config.kind == ENDS_ROUTER) {
        e->is_ready = true;
        set_model(e, ((const struct frame_engine *)f->body)->model_name);
    }
}

static void on_up(void *ctx, struct link *l)
{
    struct ends *e = ctx;
    if (e->config.kind == ENDS_ROUTER && e->link == NULL)
        e->link = l;
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct ends *e = ctx;
    if (l != e->link)
        return;
    e->is_ready = false;
    if (e->config.kind == ENDS_ROUTER)
        e->link = NULL;
    size_t cursor = 0;
    uint64_t id;
    for (void *q; map_next(&e->requests, &cursor, &id, &q); cursor = 0)
        finish(e, q, FAILURE_reset, err_name(why));
}

/* ---- questions --------------------------------------------------------------------------------- */

static enum err send_question(struct ends *e, const struct request *q)
{
    const struct prompt *p = &q->prompt;
    const struct rec_sampling sampling = {
        .max_tokens = p->max_tokens,
        .temperature = e->config.temperature,
        .seed = p->seed,
        .ignore_eos = e->config.does_ignore_eos,
    };
    if (e->config.kind != ENDS_GATEWAY) {
        const struct frame_submit submit = {
            .req = q->id, .prompt = p->ids, .n_prompt = p->n_ids, .sampling = sampling};
        return link_send(e->link, FRAME_submit, &submit);
    }
    const struct frame_generate generate = {
        .req = q->id,
        .kind = p->kind,
        .messages = p->kind == PROMPT_CHAT ? buf_str(&p->text) : STR_LIT(""),
        .prompt = p->kind == PROMPT_TEXT ? buf_str(&p->text) : STR_LIT(""),
        .prompt_ids = p->ids,
        .n_prompt_ids = p->n_ids,
        .sampling = sampling,
    };
    return link_send(e->link, FRAME_generate, &generate);
}

static void start(struct target *t, struct request *q)
{
    struct ends *e = (struct ends *)(void *)t;
    enum err err = e->is_ready ? send_question(e, q) : ERR_CLOSED;
    if (err != ERR_OK) {
        run_end(q, FAILURE_refused, err_name(err));
        return;
    }
    map_put(&e->requests, q->id, q);
    run_sent(q);
}

static void cancel(struct target *t, struct request *q)
{
    struct ends *e = (struct ends *)(void *)t;
    const struct frame_cancel frame = {.req = q->id};
    (void)map_remove(&e->requests, q->id);
    if (e->link != NULL && link_is_up(e->link)) {
        enum err err = link_send(e->link, FRAME_cancel, &frame);
        (void)err; /* it goes down: all is cancelled there */
    }
}

/* ---- life -------------------------------------------------------------------------------------- */

enum err ends_new(const struct ends_config *config, struct ends **ret_ends)
{
    struct ends *e = mem_zalloc(1, sizeof *e);
    e->target = (struct target){start, cancel};
    e->config = *config;
    const struct link_handler handler = {on_up, on_frame, on_down, e};
    const struct link_config link = {
        .loop = config->loop,
        .run = config->run,
        .service = config->kind == ENDS_GATEWAY     ? "gateway"
                   : config->kind == ENDS_TOKENIZER ? "tokenizer"
                                                    : "router",
        .instance = "",
        .epoch = clock_random_u64(),
    };
    enum err err = config->kind == ENDS_ROUTER ? link_listen(&link, &handler, &e->server)
                   : config->kind == ENDS_GATEWAY
                       ? link_dial(&link, "tokenizer", &handler, &e->link)
                       : link_dial(&link, "router", &handler, &e->link);
    if (err != ERR_OK) {
        free(e);
        return err;
    }
    *ret_ends = e;
    return ERR_OK;
}

void ends_free(struct ends *e)
{
    if (e == NULL)
        return;
    if (e->server != NULL)
        link_server_close(e->server);
    else
        link_close(e->link);
    ASSERT(e->requests.n == 0);
    map_fini(&e->requests);
    buf_fini(&e->text);
    free(e);
}

struct target *ends_target(struct ends *e)
{
    return &e->target;
}

bool ends_is_ready(const struct ends *e)
{
    return e->is_ready;
}

const char *ends_model(const struct ends *e)
{
    return e->model;
}
