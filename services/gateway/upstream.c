/* SPDX-License-Identifier: MIT */
#include "services/gateway/upstream.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/link.h"

/* A request id is slot + generation << 32, so that a late frame of an ended job meets nothing. */
struct slot {
    struct job *job; /* NULL: free */
    uint32_t generation;
    uint32_t next_free; /* plus one; 0 ends the list */
};

struct upstream {
    struct loop *loop;
    struct link *link;
    struct upstream_handler handler;
    uint32_t resume_ms;

    struct slot *slots;
    size_t n_slots;
    uint32_t first_free; /* plus one */
    size_t n_jobs;
    size_t n_unsent;
    struct loop_timer flush;

    struct loop_timer lost; /* runs while the link is down and jobs wait */
    bool was_up;
    uint64_t down_ms; /* when the link went */
    struct catalog catalog;
    struct rec_load load;
    uint64_t n_resumes;
    uint64_t n_started;
};

#define UPSTREAM_OF(p, member)                                                                     \
    ((struct upstream *)(void *)((char *)(p)-offsetof(struct upstream, member)))

/* ---- jobs ---------------------------------------------------------------------------------------- */

static uint64_t claim_slot(struct upstream *u, struct job *j)
{
    if (u->first_free == 0) {
        size_t n = u->n_slots > 0 ? u->n_slots * 2 : 64;
        u->slots = mem_resize(u->slots, n, sizeof *u->slots);
        for (size_t i = n; i-- > u->n_slots;) {
            u->slots[i] = (struct slot){.generation = 1, .next_free = u->first_free};
            u->first_free = (uint32_t)i + 1;
        }
        u->n_slots = n;
    }
    uint32_t i = u->first_free - 1;
    u->first_free = u->slots[i].next_free;
    u->slots[i].job = j;
    return (uint64_t)u->slots[i].generation << 32 | i;
}

static struct job *find_job(const struct upstream *u, uint64_t req)
{
    uint64_t i = req & UINT32_MAX;
    if (i >= u->n_slots || u->slots[i].generation != req >> 32)
        return NULL;
    return u->slots[i].job;
}

/* Afterwards the job is idle and knows nothing of us. */
static void release(struct upstream *u, struct job *j)
{
    uint32_t i = (uint32_t)(j->generate.req & UINT32_MAX);
    struct slot *s = &u->slots[i];
    s->job = NULL;
    s->generation++;
    s->next_free = u->first_free;
    u->first_free = i + 1;
    u->n_jobs--;
    if (!j->is_sent)
        u->n_unsent--;
    free(j->ids);
    j->ids = NULL;
    j->n_ids = 0;
    j->cap_ids = 0;
    j->is_active = false;
    if (u->n_jobs == 0)
        loop_timer_cancel(u->loop, &u->lost);
}

static void fail(struct upstream *u, struct job *j, enum err why, struct str detail)
{
    release(u, j);
    j->events->failed(j, why, detail, 0);
}

static void send_job(struct upstream *u, struct job *j)
{
    j->generate.resume = j->ids;
    j->generate.n_resume = j->n_ids;
    j->generate.again = j->was_sent;
    j->generate.deadline_ms = 0;
    if (j->due_ms > 0) {
        uint64_t now = clock_now_ms();
        if (now >= j->due_ms) {
            fail(u, j, ERR_TIMEOUT, STR_LIT(""));
            return;
        }
        j->generate.deadline_ms = (uint32_t)(j->due_ms - now);
    }
    uint64_t sent_ns = clock_now_ns();
    enum err e = link_send(u->link, FRAME_generate, &j->generate);
    if (e == ERR_CLOSED)
        return; /* `down` follows, and after it another `up` */
    if (e != ERR_OK) {
        fail(u, j, e, STR_LIT("the request does not fit into one frame"));
        return;
    }
    j->sent_ns = sent_ns;
    if (j->was_sent)
        u->n_resumes++;
    j->is_sent = true;
    j->was_sent = true;
    u->n_unsent--;
}

struct unsent {
    uint64_t order;
    uint64_t req;
};

static int compare_unsent(const void *a, const void *b)
{
    const struct unsent *x = a;
    const struct unsent *y = b;
    return (x->order > y->order) - (x->order < y->order);
}

/* The oldest first: the router serves in the order in which requests come, and were it that of our slots,
 * processes that die again and again would let the last slots starve. */
static void send_unsent(struct upstream *u)
{
    size_t n = 0;
    struct unsent *list = mem_zalloc(u->n_unsent + 1, sizeof *list);
    for (size_t i = 0; i < u->n_slots && n < u->n_unsent; i++) {
        const struct job *j = u->slots[i].job;
        if (j != NULL && !j->is_sent)
            list[n++] = (struct unsent){j->order, j->generate.req};
    }
    qsort(list, n, sizeof *list, compare_unsent);
    for (size_t i = 0; i < n && link_is_up(u->link); i++) {
        struct job *j = find_job(u, list[i].req); /* one that fails may take others along */
        if (j != NULL && !j->is_sent)
            send_job(u, j);
    }
    free(list);
}

static void on_flush(struct loop_timer *t)
{
    send_unsent(UPSTREAM_OF(t, flush));
}

void upstream_start(struct upstream *u, struct job *j)
{
    ASSERT(!j->is_active);
    j->generate.req = claim_slot(u, j);
    j->is_active = true;
    j->order = u->n_started++;
    j->is_sent = false;
    j->was_sent = false;
    u->n_jobs++;
    u->n_unsent++;
    if (!link_is_up(u->link)) {
        if (u->lost.slot == 0)
            loop_timer_set(u->loop, &u->lost, u->resume_ms);
        return;
    }
    if (u->flush.slot == 0)
        loop_timer_set(u->loop, &u->flush, 0);
}

void upstream_cancel(struct upstream *u, struct job *j)
{
    if (!j->is_active)
        return;
    if (j->is_sent && link_is_up(u->link)) {
        struct frame_cancel cancel = {.req = j->generate.req};
        enum err e = link_send(u->link, FRAME_cancel, &cancel);
        (void)e; /* a link that is lost has nothing to cancel */
    }
    release(u, j);
}

/* ---- what the tokenizer says --------------------------------------------------------------------- */

static void on_piece(struct upstream *u, const struct rec_piece *p)
{
    struct job *j = find_job(u, p->req);
    if (j == NULL)
        return;
    if (p->n_spans > 0 && j->events->spans != NULL)
        j->events->spans(j, p->spans, p->n_spans);
    if (p->finish == FINISH_ERROR) {
        enum err why = err_from_number(p->code);
        release(u, j);
        j->events->failed(j, why != ERR_OK ? why : ERR_INTERNAL, p->detail, p->retry_ms);
        return;
    }
    if (p->finish == FINISH_CANCELLED) {
        fail(u, j, ERR_CANCELLED, p->detail);
        return;
    }
    if (p->has_id) {
        if (j->n_ids == j->cap_ids) {
            j->cap_ids = j->cap_ids > 0 ? j->cap_ids * 2 : 64;
            j->ids = mem_resize(j->ids, j->cap_ids, sizeof *j->ids);
        }
        j->ids[j->n_ids++] = p->id;
    }
    if (p->numbers != 0)
        j->generate.numbers = p->numbers;
    const struct job_events *events = j->events;
    if (p->finish != FINISH_NONE)
        release(u, j);
    events->piece(j, p);
}

static void on_status(struct upstream *u, const struct frame_status *f)
{
    u->load = f->load;
    catalog_update(&u->catalog, f);
    u->handler.changed(u->handler.ctx);
}

static void on_accepted(struct upstream *u, const struct frame_accepted *f)
{
    struct job *j = find_job(u, f->req);
    if (j != NULL)
        j->events->accepted(j, f->prompt_tokens);
}

static void on_queued(struct upstream *u, const struct frame_queued *f)
{
    for (size_t i = 0; i < f->n_items; i++) {
        struct job *j = find_job(u, f->items[i].req);
        if (j != NULL)
            j->events->queued(j, f->items[i].position);
    }
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct upstream *u = ctx;
    const struct frame_pieces *pieces;
    if (f->type == FRAME_pieces) {
        pieces = f->body;
        u->handler.hold(u->handler.ctx, true);
        for (size_t i = 0; i < pieces->n_items; i++)
            on_piece(u, &pieces->items[i]);
        u->handler.hold(u->handler.ctx, false);
    } else if (f->type == FRAME_accepted) {
        on_accepted(u, f->body);
    } else if (f->type == FRAME_status) {
        on_status(u, f->body);
    } else if (f->type == FRAME_queued) {
        on_queued(u, f->body);
    } else {
        log_warn("unexpected-frame", S("type", frame_name(f->type)));
        link_break(l, ERR_PROTOCOL);
    }
}

/* ---- the link ------------------------------------------------------------------------------------ */

static void on_up(void *ctx, struct link *l)
{
    struct upstream *u = ctx;
    (void)l;
    log_info("tokenizer-up", U("pid", link_peer_pid(u->link)), U("resumed", u->n_unsent));
    u->was_up = true;
    loop_timer_cancel(u->loop, &u->lost);
    send_unsent(u);
    u->handler.changed(u->handler.ctx);
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct upstream *u = ctx;
    (void)l;
    log_warn("tokenizer-down", S("why", err_name(why)), U("waiting", u->n_jobs));
    u->down_ms = clock_now_ms();
    u->n_unsent = u->n_jobs;
    for (size_t i = 0; i < u->n_slots; i++) {
        struct job *j = u->slots[i].job;
        if (j == NULL)
            continue;
        if (j->is_sent && j->events->lost != NULL)
            j->events->lost(j);
        j->is_sent = false;
    }
    if (u->n_jobs > 0)
        loop_timer_set(u->loop, &u->lost, u->resume_ms);
    u->handler.changed(u->handler.ctx);
}

static void on_lost(struct loop_timer *t)
{
    struct upstream *u = UPSTREAM_OF(t, lost);
    log_error("resume-gave-up", U("replies", u->n_jobs), U("after_ms", u->resume_ms));
    for (size_t i = 0; i < u->n_slots; i++) {
        struct job *j = u->slots[i].job;
        if (j != NULL)
            fail(u, j, ERR_CLOSED, STR_LIT("the tokenizer did not come back"));
    }
}

enum err upstream_new(struct loop *loop, const char *run, uint32_t resume_ms,
                      const struct upstream_handler *handler, struct upstream **ret_upstream)
{
    struct upstream *u = mem_zalloc(1, sizeof *u);
    struct link_config config = {
        .loop = loop,
        .run = run,
        .service = "gateway",
        .instance = "",
        .epoch = clock_random_u64(),
    };
    struct link_handler events = {.up = on_up, .frame = on_frame, .down = on_down, .ctx = u};
    u->loop = loop;
    u->handler = *handler;
    u->resume_ms = resume_ms;
    catalog_init(&u->catalog, resume_ms);
    u->flush.fire = on_flush;
    u->lost.fire = on_lost;
    enum err e = link_dial(&config, "tokenizer", &events, &u->link);
    if (e != ERR_OK) {
        free(u);
        return e;
    }
    *ret_upstream = u;
    return ERR_OK;
}

void upstream_free(struct upstream *u)
{
    if (u == NULL)
        return;
    ASSERT(u->n_jobs == 0);
    loop_timer_cancel(u->loop, &u->lost);
    loop_timer_cancel(u->loop, &u->flush);
    link_close(u->link);
    catalog_fini(&u->catalog);
    free(u->slots);
    free(u);
}

/* ---- questions ----------------------------------------------------------------------------------- */

bool upstream_is_up(const struct upstream *u)
{
    return link_is_up(u->link);
}

const char *upstream_why_not(const struct upstream *u, bool is_patient)
{
    uint64_t now = clock_now_ms();
    if (!link_is_up(u->link)) {
        if (!u->was_up)
            return "the tokenizer is not connected yet";
        if (!is_patient || now - u->down_ms >= u->resume_ms)
            return "the tokenizer is gone";
    }
    return catalog_why_not(&u->catalog, is_patient);
}

const struct catalog *upstream_catalog(const struct upstream *u)
{
    return &u->catalog;
}

const struct rec_load *upstream_load(const struct upstream *u)
{
    return &u->load;
}

size_t upstream_n_jobs(const struct upstream *u)
{
    return u->n_jobs;
}

uint64_t upstream_n_resumes(const struct upstream *u)
{
    return u->n_resumes;
}
