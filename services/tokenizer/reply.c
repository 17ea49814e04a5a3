/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"

enum { BUCKETS = 4096 };

/* An id is serial << 16 | slot. */
struct reply_table {
    struct reply *slots[REPLY_MAX];
    uint32_t free_slots[REPLY_MAX];
    size_t n_free;
    uint64_t serial;
    struct reply *by_gateway[BUCKETS];
};

struct reply_table *reply_table_new(void)
{
    struct reply_table *t = mem_zalloc(1, sizeof *t);
    for (uint32_t i = 0; i < REPLY_MAX; i++)
        t->free_slots[i] = REPLY_MAX - 1 - i;
    t->n_free = REPLY_MAX;
    return t;
}

void reply_table_free(struct reply_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < REPLY_MAX; i++)
        reply_free(t->slots[i]);
    free(t);
}

size_t reply_table_count(const struct reply_table *t)
{
    return REPLY_MAX - t->n_free;
}

static size_t slot_of(uint64_t id)
{
    return (size_t)(id & (REPLY_MAX - 1));
}

static struct reply **bucket_of(struct reply_table *t, uint64_t gateway_req)
{
    return &t->by_gateway[gateway_req % BUCKETS];
}

static void *copy(const void *p, size_t n, size_t size)
{
    void *made = malloc(n > 0 ? n * size : 1);
    if (made && n > 0)
        memcpy(made, p, n * size);
    return made;
}

static enum err copy_request(struct reply *r, const struct frame_generate *f)
{
    r->gateway_req = f->req;
    r->arrived_ns = clock_now_ns();
    r->deadline_ms = f->deadline_ms > 0 ? clock_now_ms() + f->deadline_ms : 0;
    if (f->trace.len > 0 && f->trace.len < sizeof r->trace)
        memcpy(r->trace, f->trace.ptr, f->trace.len);
    r->tenant = f->tenant;
    r->share = f->share;
    r->numbers = f->numbers;
    r->was_sent = f->again;
    r->lane = f->lane;
    r->sampling = f->sampling;
    r->sampling.stop_ids =
        copy(f->sampling.stop_ids, f->sampling.n_stop_ids, sizeof *f->sampling.stop_ids);
    r->sampling.logit_bias =
        copy(f->sampling.logit_bias, f->sampling.n_logit_bias, sizeof *f->sampling.logit_bias);
    return r->sampling.stop_ids && r->sampling.logit_bias ? ERR_OK : ERR_NOMEM;
}

enum err reply_new(struct reply_table *t, const struct vocab *vocab, const struct frame_generate *f,
                   char *why, size_t cap_why, struct reply **ret_reply)
{
    if (t->n_free == 0) {
        (void)snprintf(why, cap_why, "there are %d replies in flight", REPLY_MAX);
        return ERR_FULL;
    }
    struct reply *r = mem_zalloc(1, sizeof *r);
    enum err e = copy_request(r, f);
    if (e == ERR_OK) {
        bool is_new_text = f->kind == PROMPT_CHAT && !f->continue_final;
        e = stream_init(&r->stream, vocab, is_new_text && vocab_is_spm(vocab), f->stops, f->n_stops,
                        f->include_stop);
        (void)snprintf(why, cap_why, "stop: %s", err_text(e));
    }
    if (e != ERR_OK)
        goto fail;
    size_t slot = t->free_slots[--t->n_free];
    r->id = ++t->serial * REPLY_MAX + slot;
    r->table = t;
    t->slots[slot] = r;
    struct reply **bucket = bucket_of(t, r->gateway_req);
    r->next_of_gateway = *bucket;
    *bucket = r;
    *ret_reply = r;
    return ERR_OK;
fail:
    reply_free(r);
    return e;
}

static void leave_table(struct reply *r)
{
    struct reply_table *t = r->table;
    struct reply **at = bucket_of(t, r->gateway_req);
    while (*at != r)
        at = &(*at)->next_of_gateway;
    *at = r->next_of_gateway;
    t->slots[slot_of(r->id)] = NULL;
    t->free_slots[t->n_free++] = (uint32_t)slot_of(r->id);
}

void reply_free(struct reply *r)
{
    if (!r)
        return;
    if (r->table)
        leave_table(r);
    mem_free_const(r->sampling.stop_ids);
    mem_free_const(r->sampling.logit_bias);
    ids_fini(&r->prompt);
    stream_fini(&r->stream);
    free(r);
}

struct reply *reply_find(const struct reply_table *t, uint64_t id)
{
    struct reply *r = t->slots[slot_of(id)];
    return r && r->id == id ? r : NULL;
}

struct reply *reply_find_of(const struct reply_table *t, const struct peer *gateway,
                            uint64_t gateway_req)
{
    struct reply *r = t->by_gateway[gateway_req % BUCKETS];
    while (r && (r->gateway != gateway || r->gateway_req != gateway_req))
        r = r->next_of_gateway;
    return r;
}

struct reply *reply_next(const struct reply_table *t, size_t *at)
{
    while (*at < REPLY_MAX && !t->slots[*at])
        (*at)++;
    return *at < REPLY_MAX ? t->slots[*at] : NULL;
}
