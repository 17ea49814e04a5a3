/* SPDX-License-Identifier: MIT */
#include "services/router/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "services/router/drain.h"
#include "services/router/lane_verbs.h"
#include "services/router/router_internal.h"

enum { NAME_SHOWN = 64 };

/* ---- what verbs use ---------------------------------------------------------------------------- */

bool control_flag(const struct control_call *call, const char *name)
{
    return json_is_true(json_object_get(call->args, name));
}

uint32_t control_number(const struct control_call *call, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(call->args, name));
    return n < 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* "engine.1" is called so, "engine@1" or "1". */
bool control_is_called(const struct engine *e, struct str word)
{
    static const char SERVICE[] = "engine";
    size_t n = sizeof SERVICE - 1;
    const char *name = e->peer.name;
    if (strncmp(name, SERVICE, n) != 0 || name[n] != '.')
        return str_is(word, name);
    if (word.len > n + 1 && memcmp(word.ptr, SERVICE, n) == 0 &&
        (word.ptr[n] == '.' || word.ptr[n] == '@')) {
        word.ptr += n + 1;
        word.len -= n + 1;
    }
    return str_is(word, name + n + 1);
}

enum err control_find_engine(struct control_call *call, struct engine **ret_engine)
{
    struct engine *found = NULL;
    uint32_t pid = control_number(call, "pid");
    int n_shown = (int)(call->target.len < NAME_SHOWN ? call->target.len : NAME_SHOWN);
    for (struct engine *e = TAILQ_FIRST(&call->router->engines.list); e != NULL;
         e = TAILQ_NEXT(e, entry)) {
        if (!e->is_ready || !control_is_called(e, call->target) ||
            (pid != 0 && pid != link_peer_pid(e->peer.link)))
            continue;
        if (found != NULL) {
            (void)snprintf(call->detail, sizeof call->detail,
                           "two engines are called %.*s (pids %u and %u); say which by its pid",
                           n_shown, call->target.ptr, link_peer_pid(found->peer.link),
                           link_peer_pid(e->peer.link));
            return ERR_INVALID;
        }
        found = e;
    }
    if (found == NULL) {
        (void)snprintf(call->detail, sizeof call->detail,
                       "the router has no engine %.*s; `halo status` lists them", n_shown,
                       call->target.ptr);
        return ERR_NOT_FOUND;
    }
    *ret_engine = found;
    return ERR_OK;
}

void control_answer(struct link *l, enum err code, const char *detail, json_t *take_data)
{
    char *text = take_data != NULL ? json_dumps(take_data, JSON_COMPACT) : NULL;
    struct frame_reply f = {.code = (uint32_t)code,
                            .detail = str_from(detail),
                            .data = str_from(text != NULL ? text : "")};
    enum err e = link_send(l, FRAME_reply, &f);
    if (e != ERR_OK && e != ERR_CLOSED)
        log_warn("reply-not-sent", S("err", err_name(e)));
    free(text);
    json_decref(take_data);
}

/* ---- engines ----------------------------------------------------------------------------------- */

static const char *state_of(const struct engine *e)
{
    if (!e->is_out)
        return "serving";
    return e->n_in_flight > 0 ? "draining" : "drained";
}

/* 0 is stable, 1 is the candidate. */
static uint32_t lane_of(const struct router *r, const struct engine *e)
{
    return e->group == r->lanes.group_of[LANE_STABLE] ? LANE_STABLE : LANE_CANDIDATE;
}

static json_t *describe(const struct router *r, const struct engine *e)
{
    const struct frame_engine_load *l = &e->load;
    uint32_t used = l->kv_blocks_used < e->kv_blocks ? l->kv_blocks_used : e->kv_blocks;
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "name", e->peer.name, "state",
                          state_of(e), "build", e->build, "backend", e->backend, "model",
                          e->model_name, "model_hash", e->model_hash, "model_file", e->model_file,
                          "address", link_peer_address(e->peer.link));
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"pid", link_peer_pid(e->peer.link)},
        {"lane", lane_of(r, e)},
        {"up_s", (clock_now_ns() - e->since_ns) / UINT64_C(1000000000)},
        {"group", e->group},
        {"replies", e->n_in_flight},
        {"taken_over", e->n_taken_over},
        {"running", l->running},
        {"waiting", l->waiting},
        {"max_seqs", e->max_seqs},
        {"context", e->context},
        {"prefix_hits", l->prefix_hits},
        {"kv_blocks", e->kv_blocks},
        {"kv_blocks_free", e->kv_blocks - used},
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        (void)json_object_set_new(o, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    return o;
}

static enum err verb_engines(struct control_call *call)
{
    json_t *list = json_array();
    for (const struct engine *e = TAILQ_FIRST(&call->router->engines.list); e != NULL;
         e = TAILQ_NEXT(e, entry)) {
        if (e->is_ready)
            (void)json_array_append_new(list, describe(call->router, e));
    }
    call->data = json_pack("{s:o}", "engines", list);
    const struct router *r = call->router;
    if (r->config.remote.url != NULL)
        (void)json_object_set_new(call->data, "remote",
                                  json_pack("{s:s, s:I}", "url", r->config.remote.url, "left_s",
                                            (json_int_t)link_remote_left_s(r->server)));
    return ERR_OK;
}

/* ---- the table --------------------------------------------------------------------------------- */

static const struct verb {
    const char *name;
    enum err (*run)(struct control_call *call);
} VERBS[] = {
    {"engines", verb_engines}, /* one a line */
    {"drain", drain_verb_drain},       {"undrain", drain_verb_undrain},
    {"handover", handover_verb},       {"lanes", lane_verbs_show},
    {"share", lane_verbs_share},       {"cutover", lane_verbs_cutover},
    {"rollback", lane_verbs_rollback},
};

static enum err run_verb(struct control_call *call, struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++) {
        if (str_is(name, VERBS[i].name))
            return VERBS[i].run(call);
    }
    (void)snprintf(call->detail, sizeof call->detail, "the router knows no command %.*s",
                   (int)(name.len < NAME_SHOWN ? name.len : NAME_SHOWN), name.ptr);
    return ERR_UNKNOWN;
}

enum err control_on_frame(struct router *r, struct link *l, const struct frame *f)
{
    const struct frame_command *m = f->body;
    if (f->type != FRAME_command)
        return ERR_PROTOCOL;
    json_t *args = m->args.len > 0
                       ? json_loadb(m->args.ptr, m->args.len, JSON_REJECT_DUPLICATES, NULL)
                       : json_object();
    if (!json_is_object(args)) {
        json_decref(args);
        return ERR_PROTOCOL;
    }
    struct control_call call = {.router = r, .link = l, .target = m->target, .args = args};
    enum err e = run_verb(&call, m->verb);
    if (!call.is_deferred)
        control_answer(l, e, call.detail, call.data);
    json_decref(args);
    return ERR_OK;
}
