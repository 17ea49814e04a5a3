/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/held.h"

#include <stdlib.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/mem.h"

struct held {
    struct held *next;
    struct held_list *list;
    struct peer *gateway;
    uint64_t req;
    uint64_t since_ms;
    bool has_deadline; /* within HELD_MS */
    struct buf frame; /* encoded */
    struct loop_timer timer;
};

void held_init(struct held_list *l, struct loop *loop,
               void (*expired)(struct peer *gateway, uint64_t req, enum err why))
{
    *l = (struct held_list){.loop = loop, .expired = expired};
    l->last = &l->first;
}

static void held_free(struct held *h)
{
    loop_timer_cancel(h->list->loop, &h->timer);
    h->list->n_bytes -= h->frame.len;
    buf_fini(&h->frame);
    free(h);
}

static void take_out(struct held_list *l, struct held **at)
{
    struct held *h = *at;
    *at = h->next;
    if (h->next == NULL)
        l->last = at;
    held_free(h);
}

void held_fini(struct held_list *l)
{
    while (l->first != NULL)
        take_out(l, &l->first);
}

static void on_timer(struct loop_timer *t)
{
    struct held *h = (struct held *)(void *)((char *)t - offsetof(struct held, timer));
    struct held_list *l = h->list;
    struct peer *gateway = h->gateway;
    uint64_t req = h->req;
    enum err why = h->has_deadline ? ERR_TIMEOUT : ERR_NO_ENGINE;
    (void)held_drop(l, gateway, req);
    l->expired(gateway, req, why);
}

enum err held_add(struct held_list *l, struct peer *gateway, const struct frame_generate *f)
{
    if (l->n_bytes >= HELD_MAX_BYTES)
        return ERR_FULL;
    struct held *h = mem_zalloc(1, sizeof *h);
    enum err e = frame_encode(&h->frame, FRAME_generate, 0, f);
    if (e != ERR_OK) {
        buf_fini(&h->frame);
        free(h);
        return e;
    }
    h->list = l;
    h->gateway = gateway;
    h->req = f->req;
    h->since_ms = clock_now_ms();
    h->has_deadline = f->deadline_ms > 0 && f->deadline_ms < HELD_MS;
    h->timer.fire = on_timer;
    l->n_bytes += h->frame.len;
    loop_timer_set(l->loop, &h->timer, h->has_deadline ? f->deadline_ms : HELD_MS);
    *l->last = h;
    l->last = &h->next;
    return ERR_OK;
}

static struct held **find(struct held_list *l, const struct peer *gateway, uint64_t req)
{
    struct held **at = &l->first;
    while (*at != NULL && ((*at)->gateway != gateway || (*at)->req != req))
        at = &(*at)->next;
    return at;
}

bool held_has(const struct held_list *l, const struct peer *gateway, uint64_t req)
{
    const struct held *h = l->first;
    while (h != NULL && (h->gateway != gateway || h->req != req))
        h = h->next;
    return h != NULL;
}

bool held_drop(struct held_list *l, const struct peer *gateway, uint64_t req)
{
    struct held **at = find(l, gateway, req);
    if (*at == NULL)
        return false;
    take_out(l, at);
    return true;
}

size_t held_drop_all(struct held_list *l, const struct peer *gateway)
{
    size_t n = 0;
    for (struct held **at = &l->first; *at != NULL;) {
        if ((*at)->gateway == gateway) {
            take_out(l, at);
            n++;
        } else {
            at = &(*at)->next;
        }
    }
    return n;
}

static void give_back(struct held *h,
                      void (*again)(struct peer *gateway, const struct frame_generate *f))
{
    struct arena arena = {0};
    struct frame f;
    uint64_t waited_ms = clock_now_ms() - h->since_ms;
    enum err e = frame_decode(h->frame.ptr, h->frame.len, &arena, &f);
    if (e == ERR_OK) {
        struct frame_generate g = *(const struct frame_generate *)f.body;
        if (g.deadline_ms > 0)
            g.deadline_ms = g.deadline_ms > waited_ms ? (uint32_t)(g.deadline_ms - waited_ms) : 1;
        again(h->gateway, &g);
    } else {
        h->list->expired(h->gateway, h->req, e);
    }
    arena_fini(&arena);
}

void held_release(struct held_list *l,
                  void (*again)(struct peer *gateway, const struct frame_generate *f))
{
    struct held *next;
    struct held *all = l->first;
    l->first = NULL;
    l->last = &l->first;
    for (struct held *h = all; h != NULL; h = next) {
        next = h->next;
        give_back(h, again);
        held_free(h);
    }
}
