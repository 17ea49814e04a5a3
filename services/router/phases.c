/* SPDX-License-Identifier: MIT */
#include "services/router/phases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/router/control.h"
#include "services/router/remote.h"
#include "services/router/router_internal.h"

enum {
    TRANSFERS_MAX = 64, /* at once: each is a file in memory */
    KV_PROTOCOL = 2,
};

/* The blocks of one request's prompt on their way. */
struct transfer {
    TAILQ_ENTRY(transfer) entry;
    uint64_t id; /* the request's, at `from` */
    struct engine *from;
    struct engine *to;
    bool is_written;
    char file[32];
};

static void forget(struct router *r, struct transfer *t)
{
    struct buf path = {0};
    buf_printf(&path, "%s/%s", r->config.run, t->file);
    (void)unlink(path.ptr); /* a reader has removed it */
    buf_fini(&path);
    TAILQ_REMOVE(&r->phases.transfers, t, entry);
    free(t);
}

void phases_init(struct router *r, const char *prefill)
{
    r->phases = (struct phases){.prefill = prefill};
    r->engines.has_phases = prefill[0] != '\0';
    TAILQ_INIT(&r->phases.transfers);
}

void phases_fini(struct router *r)
{
    struct transfer *next;
    for (struct transfer *t = TAILQ_FIRST(&r->phases.transfers); t != NULL; t = next) {
        next = TAILQ_NEXT(t, entry);
        forget(r, t);
    }
}

void phases_on_engine_up(struct router *r, struct engine *e)
{
    for (const char *s = r->phases.prefill; *s != '\0';) {
        size_t n = strcspn(s, ",");
        if (control_is_called(e, (struct str){s, n}))
            e->does_prefill = true;
        s += n + (s[n] == ',');
    }
}

/* ---- on the way -------------------------------------------------------------------------------- */

static size_t n_transfers(const struct router *r)
{
    size_t n = 0;
    for (const struct transfer *t = TAILQ_FIRST(&r->phases.transfers); t != NULL;
         t = TAILQ_NEXT(t, entry)) {
        n++;
    }
    return n;
}

static bool ask_for_blocks(struct router *r, const struct request *q, struct transfer *t)
{
    struct frame_kv_export f = {.file = str_from(t->file),
                                .tokens = q->submit.prompt,
                                .n_tokens = q->submit.n_prompt,
                                .tenant = q->submit.tenant};
    (void)snprintf(t->file, sizeof t->file, "phase-%llu.kv",
                   (unsigned long long)r->phases.serial++);
    f.file = str_from(t->file);
    return link_send(t->from->peer.link, FRAME_kv_export, &f) == ERR_OK;
}

void phases_on_token(struct router *r, struct request *q)
{
    struct engine *from = q->engine;
    if (!r->engines.has_phases || !from->does_prefill || q->moving_id == q->id ||
        request_is_suspect(q) || remote_is(from) ||
        link_peer_protocol(from->peer.link) < KV_PROTOCOL)
        return;
    struct engine *to = engines_pick_decoder(&r->engines, q);
    if (to == NULL || link_peer_protocol(to->peer.link) < KV_PROTOCOL ||
        n_transfers(r) == TRANSFERS_MAX)
        return; /* the next token asks again */
    struct transfer *t = mem_zalloc(1, sizeof *t);
    *t = (struct transfer){.id = q->id, .from = from, .to = to};
    q->moving_id = q->id;
    TAILQ_INSERT_TAIL(&r->phases.transfers, t, entry);
    if (!ask_for_blocks(r, q, t))
        forget(r, t);
}

static struct transfer *find(struct router *r, struct str file)
{
    struct transfer *t = TAILQ_FIRST(&r->phases.transfers);
    while (t != NULL && !str_is(file, t->file))
        t = TAILQ_NEXT(t, entry);
    return t;
}

void phases_on_kv_done(struct router *r, struct engine *e, const struct frame_kv_done *f)
{
    struct transfer *t = find(r, f->file);
    if (t == NULL || e != (t->is_written ? t->to : t->from))
        return;
    struct request *q = map_get(&r->by_id, t->id);
    bool is_wanted = q != NULL && q->engine == t->from && engine_suits(t->to, q);
    if (!is_wanted || f->code != ERR_OK) {
        forget(r, t); /* it has ended, was moved otherwise, or stays where it is */
        return;
    }
    struct engine *to = t->to;
    if (t->is_written) {
        forget(r, t);
        to->n_taken_over++;
        router_move(r, q, to);
        return;
    }
    struct frame_kv_import in = {.file = str_from(t->file)};
    t->is_written = true;
    if (link_send(to->peer.link, FRAME_kv_import, &in) != ERR_OK)
        forget(r, t);
}

void phases_on_engine_down(struct router *r, const struct engine *e)
{
    struct transfer *next;
    for (struct transfer *t = TAILQ_FIRST(&r->phases.transfers); t != NULL; t = next) {
        next = TAILQ_NEXT(t, entry);
        if (t->from == e || t->to == e)
            forget(r, t);
    }
}
