/* SPDX-License-Identifier: MIT */
#include "services/router/lane_verbs.h"

#include <stdio.h>
#include <string.h>

#include "common/check.h"
#include "common/log.h"
#include "services/router/control.h"
#include "services/router/router_internal.h"

enum { PERCENT = 100 };

/* ---- lanes ------------------------------------------------------------------------------------- */

static void set_number(json_t *o, const char *key, uint64_t value)
{
    ASSERT(json_object_set_new(o, key, json_integer((json_int_t)value)) == 0);
}

static json_t *burnin_json(const struct burnin *b)
{
    const struct burnin_counts *c = &b->counts;
    json_t *o = json_pack("{s:s}", "log", b->path);
    set_number(o, "share", b->share);
    set_number(o, "running", b->n_pairs);
    for (int i = 0; i < VERDICTS; i++)
        set_number(o, burnin_verdict_name((enum verdict)i), c->verdicts[i]);
    set_number(o, "skipped", c->skipped);
    set_number(o, "cancelled", c->cancelled);
    set_number(o, "unlogged", c->unlogged);
    return o;
}

static json_t *gates_json(const struct router_config *c)
{
    json_t *o = json_pack("{s:s?}", "ppl_text", c->gate_ppl_text);
    set_number(o, "rounds", c->gate_rounds);
    set_number(o, "exact", c->gate_exact);
    set_number(o, "latency", c->gate_latency);
    set_number(o, "uptime_s", c->gate_uptime_s);
    set_number(o, "ppl", c->gate_ppl);
    return o;
}

/* An engine of the lane that takes work, or NULL. */
static const struct engine *serving(const struct router *r, uint32_t lane)
{
    const struct engine *e = TAILQ_FIRST(&r->engines.list);
    while (e != NULL && (!e->is_ready || e->is_out || e->group != r->lanes.group_of[lane]))
        e = TAILQ_NEXT(e, entry);
    return e;
}

/* Whether both lanes have engines and no model in common: then there is nothing to compare. */
static bool are_strangers(const struct router *r)
{
    if (serving(r, LANE_STABLE) == NULL || serving(r, LANE_CANDIDATE) == NULL)
        return false;
    for (const struct engine *a = TAILQ_FIRST(&r->engines.list); a != NULL;
         a = TAILQ_NEXT(a, entry)) {
        for (const struct engine *b = TAILQ_FIRST(&r->engines.list); b != NULL;
             b = TAILQ_NEXT(b, entry)) {
            if (a->is_ready && b->is_ready && !a->is_out && !b->is_out && a->group != b->group &&
                strcmp(a->model_hash, b->model_hash) == 0)
                return false;
        }
    }
    return true;
}

enum err lane_verbs_show(struct control_call *call)
{
    const struct router *r = call->router;
    json_t *o = json_pack("{s:o, s:o, s:b, s:b}", "burnin", burnin_json(&r->burnin), "gates",
                          gates_json(&r->config), "was_rollback", r->lanes.was_rollback,
                          "are_strangers", are_strangers(r));
    set_number(o, "stable_group", r->lanes.group_of[LANE_STABLE]);
    set_number(o, "candidate_group", r->lanes.group_of[LANE_CANDIDATE]);
    set_number(o, "changed_ms", r->lanes.changed_ms);
    call->data = o;
    return ERR_OK;
}

enum err lane_verbs_share(struct control_call *call)
{
    struct burnin *b = &call->router->burnin;
    const json_t *percent = json_object_get(call->args, "percent");
    if (!json_is_integer(percent) || json_integer_value(percent) < 0 ||
        json_integer_value(percent) > PERCENT) {
        (void)snprintf(call->detail, sizeof call->detail, "expected a percentage from 0 to 100");
        return ERR_RANGE;
    }
    if (json_integer_value(percent) > 0 && are_strangers(call->router)) {
        (void)snprintf(
            call->detail, sizeof call->detail,
            "the engines of /v2 serve %s, those of /v1 %s: replies of two models are not "
            "compared",
            serving(call->router, LANE_CANDIDATE)->model_name,
            serving(call->router, LANE_STABLE)->model_name);
        return ERR_MODEL_UNKNOWN;
    }
    b->share = (uint32_t)json_integer_value(percent);
    log_info("shadow-share", U("percent", b->share));
    return ERR_OK;
}

/* ---- cutover and rollback ---------------------------------------------------------------------- */

/* What waits and was never placed goes where its lane leads now. */
static void move(void *ctx, struct request *q)
{
    const struct router *r = ctx;
    if (!q->was_placed)
        q->group = r->lanes.group_of[q->submit.lane];
}

static enum err exchange(struct control_call *call, bool is_rollback)
{
    struct router *r = call->router;
    const struct engine *now = serving(r, LANE_STABLE);
    const struct engine *next = serving(r, LANE_CANDIDATE);
    if (next == NULL) {
        (void)snprintf(call->detail, sizeof call->detail,
                       "no engine of the lane /v2 is in service: /v1 would have none; start one "
                       "with --lane %u",
                       r->lanes.group_of[LANE_CANDIDATE]);
        return ERR_NO_ENGINE;
    }
    if (now != NULL && strcmp(now->model_hash, next->model_hash) != 0) {
        (void)snprintf(call->detail, sizeof call->detail,
                       "the engines of /v2 serve another model file (%.12s, not %.12s), which no "
                       "burn-in can compare; `halo swap ENGINE --model FILE` brings it to /v1",
                       next->model_hash, now->model_hash);
        return ERR_MODEL_UNKNOWN;
    }
    if (lanes_exchange(&r->lanes, is_rollback) != ERR_OK) {
        (void)snprintf(call->detail, sizeof call->detail,
                       "%s cannot be written, so nothing was changed", r->lanes.path);
        return ERR_IO;
    }
    log_info(is_rollback ? "rollback" : "cutover", U("v1_group", r->lanes.group_of[LANE_STABLE]),
             S("v1_build", next->build), S("v1_backend", next->backend));
    queue_each(&r->queue, move, r);
    router_review(r);
    router_publish_status(r);
    return ERR_OK;
}

enum err lane_verbs_cutover(struct control_call *call)
{
    return exchange(call, false);
}

enum err lane_verbs_rollback(struct control_call *call)
{
    const struct lanes *l = &call->router->lanes;
    if (l->changed_ms == 0 || l->was_rollback) {
        (void)snprintf(call->detail, sizeof call->detail,
                       "there is no cutover to undo; `halo lanes` shows who answers /v1");
        return ERR_INVALID;
    }
    return exchange(call, true);
}
