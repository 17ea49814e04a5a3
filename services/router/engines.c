/* SPDX-License-Identifier: MIT */
#include "services/router/engines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "services/router/remote.h"

void engines_init(struct engines *s)
{
    *s = (struct engines){0};
    TAILQ_INIT(&s->list);
}

struct engine *engines_add(struct engines *s, struct link *l)
{
    struct engine *e = mem_zalloc(1, sizeof *e);
    e->peer.kind = PEER_ENGINE;
    e->peer.link = l;
    TAILQ_INIT(&e->in_flight);
    TAILQ_INSERT_TAIL(&s->list, e, entry);
    return e;
}

void engines_settle(struct engines *s, struct engine *e)
{
    TAILQ_REMOVE(&s->list, e, entry);
    struct engine *at = TAILQ_FIRST(&s->list);
    while (at != NULL && strcmp(at->peer.name, e->peer.name) <= 0)
        at = TAILQ_NEXT(at, entry);
    if (at != NULL)
        TAILQ_INSERT_BEFORE(at, e, entry);
    else
        TAILQ_INSERT_TAIL(&s->list, e, entry);
}

void engines_remove(struct engines *s, struct engine *take_engine)
{
    struct engine *e = take_engine;
    ASSERT(e->n_in_flight == 0 && e->n_unproven == 0 && e->n_suspects == 0);
    s->gone.preemptions += e->load.preemptions;
    s->gone.prefix_queries += e->load.prefix_queries;
    s->gone.prefix_hits += e->load.prefix_hits;
    s->gone.draft_tokens += e->load.draft_tokens;
    s->gone.accepted_tokens += e->load.accepted_tokens;
    TAILQ_REMOVE(&s->list, e, entry);
    free(e->model_file);
    free(e);
}

static bool copy_name(char *to, size_t cap, struct str from)
{
    if (from.len == 0 || from.len >= cap || memchr(from.ptr, '\0', from.len) != NULL)
        return false;
    memcpy(to, from.ptr, from.len);
    to[from.len] = '\0';
    return true;
}

enum err engine_register(struct engine *e, const struct frame_engine *f)
{
    if (e->is_ready || e->is_unfit || f->context < 2 || f->max_seqs < 1 ||
        f->max_seqs > ENGINE_SEQS_MAX || f->lane >= LANES)
        return ERR_PROTOCOL;
    if (!copy_name(e->model_name, sizeof e->model_name, f->model_name) ||
        !copy_name(e->model_hash, sizeof e->model_hash, f->model_hash))
        return ERR_PROTOCOL;
    e->context = f->context;
    e->max_seqs = f->max_seqs;
    e->kv_blocks = f->kv_blocks;
    e->numbers = f->numbers;
    e->has_vocabulary = f->has_vocabulary;
    e->group = f->lane;
    (void)snprintf(e->build, sizeof e->build, "%s", link_peer_build(e->peer.link));
    (void)snprintf(e->backend, sizeof e->backend, "%.*s", (int)f->backend.len, f->backend.ptr);
    (void)snprintf(e->numerics, sizeof e->numerics, "%.*s", (int)f->numerics.len, f->numerics.ptr);
    free(e->model_file);
    e->model_file = mem_strndup(f->model_file.ptr, f->model_file.len);
    e->since_ns = clock_now_ns();
    e->is_standby = e->is_out = f->standby;
    e->is_ready = true;
    return ERR_OK;
}

bool engines_has_twin(const struct engines *s, const struct engine *e)
{
    for (const struct engine *o = TAILQ_FIRST(&s->list); o != NULL; o = TAILQ_NEXT(o, entry)) {
        if (o != e && o->is_ready && !o->is_out && o->group == e->group &&
            strcmp(o->model_hash, e->model_hash) == 0)
            return true;
    }
    return false;
}

/* ---- placement --------------------------------------------------------------------------------- */

/* Whether it goes on with what has come as the engine would that began it. */
static bool continues(const struct engine *e, const struct request *q)
{
    uint64_t numbers = q->submit.numbers;
    return q->n_ids == 0 || numbers == 0 || numbers == e->numbers;
}

/* A retired engine goes on with what names its model: a gateway took it before it knew, or it was with a
 * tokenizer that was lost. */
static bool is_open(const struct engine *e, const struct request *q)
{
    return !e->is_out || (e->is_retired && q->submit.model_hash.len > 0);
}

static bool serves(const struct engine *e, const struct request *q)
{
    const struct frame_submit *s = &q->submit;
    return e->is_ready && is_open(e, q) && link_is_up(e->peer.link) && e->group == q->group &&
           (s->model_hash.len == 0 || str_is(s->model_hash, e->model_hash)) && continues(e, q);
}

static bool has_context(const struct engine *e, const struct request *q)
{
    const struct frame_submit *s = &q->submit;
    if (s->n_prompt >= e->context)
        return false;
    /* Once it was placed, its end is fixed and must lie within. */
    size_t n_reply = q->was_placed ? s->sampling.max_tokens : q->n_ids;
    return n_reply <= e->context - s->n_prompt;
}

bool engine_suits(const struct engine *e, const struct request *q)
{
    return serves(e, q) && has_context(e, q);
}

enum engines_fit engines_fit(const struct engines *s, const struct request *q)
{
    enum engines_fit fit = FIT_NONE;
    for (const struct engine *e = TAILQ_FIRST(&s->list); e != NULL; e = TAILQ_NEXT(e, entry)) {
        if (!serves(e, q))
            continue;
        if (has_context(e, q))
            return FIT_YES;
        fit = FIT_TOO_LONG;
    }
    return fit;
}

uint32_t engines_least_context(const struct engines *s, const struct request *q)
{
    uint32_t least = UINT32_MAX;
    for (const struct engine *e = TAILQ_FIRST(&s->list); e != NULL; e = TAILQ_NEXT(e, entry)) {
        if (engine_suits(e, q) && e->context < least)
            least = e->context;
    }
    ASSERT(least != UINT32_MAX);
    return least;
}

static bool has_room(const struct engine *e)
{
    return e->is_ready && (!e->is_out || e->is_retired) &&
           e->n_in_flight < e->max_seqs + 1 + e->max_seqs / 8;
}

/* Sequences per place. What we sent is exact; what the engine reports is late, but counts also what
 * was cancelled and is not gone yet. */
static bool is_less_loaded(const struct engine *a, const struct engine *b)
{
    uint64_t seen_a = (uint64_t)a->load.running + a->load.waiting;
    uint64_t seen_b = (uint64_t)b->load.running + b->load.waiting;
    uint64_t load_a = (seen_a > a->n_in_flight ? seen_a : a->n_in_flight) * b->max_seqs;
    uint64_t load_b = (seen_b > b->n_in_flight ? seen_b : b->n_in_flight) * a->max_seqs;
    if (a->is_retired != b->is_retired)
        return b->is_retired; /* it shall become empty */
    if (load_a != load_b)
        return load_a < load_b;
    return strcmp(a->peer.name, b->peer.name) < 0;
}

/* With phases, a request goes to an engine that does prefill, if one serves it at all. */
static bool must_prefill(const struct engines *s, const struct request *q)
{
    if (!s->has_phases)
        return false;
    const struct engine *e = TAILQ_FIRST(&s->list);
    while (e != NULL && !(e->does_prefill && engine_suits(e, q)))
        e = TAILQ_NEXT(e, entry);
    return e != NULL;
}

struct engine *engines_pick_decoder(const struct engines *s, const struct request *q)
{
    struct engine *best = NULL;
    for (struct engine *e = TAILQ_FIRST(&s->list); e != NULL; e = TAILQ_NEXT(e, entry)) {
        if (e->does_prefill || remote_is(e) || e->n_in_flight >= e->max_seqs || !has_room(e) ||
            !engine_suits(e, q) || e->n_suspects > 0 || e->is_reserved)
            continue;
        if (best == NULL || is_less_loaded(e, best))
            best = e;
    }
    return best;
}

struct engine *engines_pick(const struct engines *s, const struct request *q)
{
    struct engine *best = NULL;
    bool is_prefill = must_prefill(s, q);
    for (struct engine *e = TAILQ_FIRST(&s->list); e != NULL; e = TAILQ_NEXT(e, entry)) {
        if (!has_room(e) || !engine_suits(e, q) || e->n_suspects > 0)
            continue;
        if (is_prefill && !e->does_prefill && !remote_is(e))
            continue; /* those of other machines do both: see remote.h */
        if (request_is_suspect(q) ? e->n_unproven > 0 : e->is_reserved)
            continue;
        if (best == NULL || is_less_loaded(e, best))
            best = e;
    }
    return best;
}

struct engine *engines_pick_spare(const struct engines *s, const struct request *q)
{
    struct engine *e = engines_pick(s, q);
    return e != NULL && e->n_in_flight < (e->max_seqs + 1) / 2 ? e : NULL;
}

void engines_reserve(struct engines *s, const struct request *suspect)
{
    struct engine *best = NULL;
    for (struct engine *e = TAILQ_FIRST(&s->list); e != NULL; e = TAILQ_NEXT(e, entry)) {
        if (!engine_suits(e, suspect))
            continue;
        if (e->is_reserved)
            return; /* suspects take turns */
        if (best == NULL || e->n_unproven < best->n_unproven)
            best = e;
    }
    if (best != NULL)
        best->is_reserved = true;
}

void engines_release(struct engines *s)
{
    for (struct engine *e = TAILQ_FIRST(&s->list); e != NULL; e = TAILQ_NEXT(e, entry)) {
        e->is_reserved = false;
    }
}

bool engines_have_room(const struct engines *s)
{
    for (const struct engine *e = TAILQ_FIRST(&s->list); e != NULL; e = TAILQ_NEXT(e, entry)) {
        if (has_room(e))
            return true;
    }
    return false;
}

bool engines_group_is_full(const struct engines *s, uint32_t group)
{
    bool is_full = false;
    for (const struct engine *e = TAILQ_FIRST(&s->list); e != NULL; e = TAILQ_NEXT(e, entry)) {
        if (!e->is_ready || e->is_out || e->group != group)
            continue;
        if (has_room(e))
            return false;
        is_full = true;
    }
    return is_full;
}

/* ---- requests in flight ------------------------------------------------------------------------ */

void engine_attach(struct engine *e, struct request *q)
{
    q->engine = e;
    q->has_progress = false;
    TAILQ_INSERT_TAIL(&e->in_flight, q, place);
    e->n_in_flight++;
    e->n_unproven++;
    e->n_suspects += request_is_suspect(q);
}

void engine_prove(struct engine *e, struct request *q)
{
    if (q->has_progress)
        return;
    e->n_unproven--;
    e->n_suspects -= request_is_suspect(q);
    q->has_progress = true;
    q->n_deaths = 0;
}

void engine_detach(struct engine *e, struct request *q)
{
    if (!q->has_progress) {
        e->n_unproven--;
        e->n_suspects -= request_is_suspect(q);
    }
    TAILQ_REMOVE(&e->in_flight, q, place);
    e->idle_since_ns = clock_now_ns();
    e->n_in_flight--;
    q->engine = NULL;
}
