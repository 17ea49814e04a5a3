/* SPDX-License-Identifier: MIT */
#include "services/gateway/stream.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/mem.h"

enum {
    FEED_BYTES = 64 * 1024, /* that wait in an exchange while the journal holds more */
    OVERHEAD_BYTES = 1024, /* what a stream without events counts for */
    MS_PER_S = 1000,
};

enum state {
    LIVE, /* its reply writes */
    ENDED,
    FAILED,
};

struct stream {
    struct streams *all;
    struct stream *next; /* younger */
    struct stream *previous;
    char id[STREAM_ID_LEN + 1];
    enum state state;
    struct key *key;
    uint32_t keep_s;
    stream_dropped *dropped;
    void *ctx;
    struct buf journal;
    uint64_t n_forgotten; /* events before the journal's first */
    uint64_t n_events;
    size_t sent; /* bytes of the journal that the exchange has */
    struct exchange *exchange; /* who reads; NULL: nobody */
    struct loop_timer keep;
};

struct streams {
    struct streams_config config;
    char tag[STREAM_TAG_LEN + 1];
    struct stream *oldest;
    struct stream *youngest;
    size_t n;
    uint64_t bytes;
    uint64_t n_continued;
    bool is_closed;
};

#define STREAM_OF(t) ((struct stream *)(void *)((char *)(t)-offsetof(struct stream, keep)))

/* ---- the end ------------------------------------------------------------------------------------- */

static void stream_free(struct streams *all, struct stream *s)
{
    loop_timer_cancel(all->config.loop, &s->keep);
    if (all->oldest == s)
        all->oldest = s->next;
    else
        s->previous->next = s->next;
    if (all->youngest == s)
        all->youngest = s->previous;
    else
        s->next->previous = s->previous;
    all->n--;
    all->bytes -= OVERHEAD_BYTES + s->journal.len;
    key_unref(s->key);
    buf_fini(&s->journal);
    free(s);
}

/* Nobody reads the stream, and nobody will. */
static void forget(struct streams *all, struct stream *s, enum stream_drop why)
{
    stream_dropped *dropped = s->state == LIVE ? s->dropped : NULL;
    void *ctx = s->ctx;
    stream_free(all, s);
    if (dropped != NULL)
        dropped(ctx, why);
    all->config.gone(all->config.ctx);
}

static void on_keep_over(struct loop_timer *t)
{
    forget(STREAM_OF(t)->all, STREAM_OF(t), STREAM_ABANDONED);
}

/* From now on its time runs. */
static void park(struct stream *s)
{
    uint64_t keep_ms = s->all->is_closed ? 0 : (uint64_t)s->keep_s * MS_PER_S;
    s->exchange = NULL;
    loop_timer_set(s->all->config.loop, &s->keep, keep_ms);
}

static void cut_reader(struct stream *s)
{
    struct exchange *x = s->exchange;
    s->exchange = NULL;
    exchange_reset(x);
}

/* ---- the journal --------------------------------------------------------------------------------- */

/* Where the event after the one that begins at `at` begins. */
static size_t skip_event(const struct stream *s, size_t at)
{
    const char *end = memmem(s->journal.ptr + at, s->journal.len - at, "\n\n", 2);
    return end != NULL ? (size_t)(end - s->journal.ptr) + 2 : s->journal.len;
}

static void trim(struct stream *s, uint64_t to_bytes)
{
    size_t at = 0;
    while (s->journal.len - at > to_bytes) {
        at = skip_event(s, at);
        s->n_forgotten++;
    }
    buf_drop(&s->journal, at);
    s->all->bytes -= at;
    if (s->exchange != NULL && s->sent < at) {
        cut_reader(s); /* too slow: what it has not taken is forgotten */
        park(s);
    }
    s->sent = s->sent > at ? s->sent - at : 0;
}

/* The oldest stream that has ended, read by nobody if there is one; never `but`. */
static struct stream *find_ended(const struct streams *all, const struct stream *but)
{
    struct stream *found = NULL;
    for (struct stream *s = all->oldest; s != NULL; s = s->next) {
        /* What was freed is out of the list: NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        if (s == but || s->state == LIVE)
            continue;
        if (s->exchange == NULL)
            return s;
        if (found == NULL)
            found = s;
    }
    return found;
}

/* Half of what is allowed stays, so that the cost of moving it is shared by many events. */
static void keep_bounds(struct stream *s)
{
    struct streams *all = s->all;
    if (s->journal.len > all->config.stream_bytes)
        trim(s, all->config.stream_bytes / 2);
    while (all->bytes > all->config.all_bytes) {
        struct stream *victim = find_ended(all, s);
        if (victim == NULL) {
            trim(s, s->journal.len / 2);
            return;
        }
        if (victim->exchange != NULL)
            cut_reader(victim);
        forget(all, victim, STREAM_ABANDONED);
    }
}

/* ---- who reads ----------------------------------------------------------------------------------- */

/* Gives the exchange what it has room for. */
static void feed(struct stream *s)
{
    while (s->exchange != NULL && s->sent < s->journal.len &&
           exchange_n_pending(s->exchange) < FEED_BYTES) {
        size_t n = s->journal.len - s->sent;
        n = n < FEED_BYTES ? n : FEED_BYTES;
        struct str piece = {s->journal.ptr + s->sent, n};
        s->sent += n;
        exchange_write(s->exchange, piece);
    }
    if (s->exchange == NULL || s->sent < s->journal.len || s->state == LIVE)
        return;
    struct exchange *x = s->exchange;
    park(s);
    if (s->state == ENDED)
        exchange_end(x);
    else
        exchange_reset(x);
}

static void on_more(void *ctx)
{
    feed(ctx);
}

static void on_ping(void *ctx)
{
    stream_comment(ctx, STR_LIT(": ping\n\n"));
}

static void on_closed(void *ctx, enum exchange_end why)
{
    (void)why;
    park(ctx);
}

void stream_attach(struct stream *s, struct exchange *take_x, uint64_t from)
{
    if (s->exchange != NULL)
        cut_reader(s);
    loop_timer_cancel(s->all->config.loop, &s->keep);
    s->exchange = take_x;
    s->sent = 0;
    for (uint64_t n = s->n_forgotten; n < from; n++)
        s->sent = skip_event(s, s->sent);
    exchange_own(take_x, on_closed, s);
    exchange_ping(take_x, on_ping);
    exchange_feed(take_x, on_more);
    feed(s);
}

void stream_continue(struct stream *s, struct exchange *take_x, uint64_t from)
{
    s->all->n_continued++;
    stream_attach(s, take_x, from);
}

enum stream_from stream_check(const struct stream *s, uint64_t from)
{
    if (from < s->n_forgotten)
        return STREAM_FROM_LOST;
    if (from > s->n_events)
        return STREAM_FROM_BEYOND;
    return s->state == ENDED && from == s->n_events ? STREAM_FROM_END : STREAM_FROM_OK;
}

uint64_t stream_first(const struct stream *s)
{
    return s->n_forgotten;
}

/* ---- who writes ---------------------------------------------------------------------------------- */

struct stream *stream_new(struct streams *all, struct key *key, uint32_t keep_s,
                          stream_dropped *dropped, void *ctx)
{
    struct stream *s = mem_zalloc(1, sizeof *s);
    uint64_t random[2];
    s->all = all;
    s->key = key != NULL ? key_ref(key) : NULL;
    s->keep_s = keep_s;
    s->dropped = dropped;
    s->ctx = ctx;
    s->keep.fire = on_keep_over;
    clock_random(random, sizeof random);
    (void)snprintf(s->id, sizeof s->id, "%s%016llx%016llx", all->tag, (unsigned long long)random[0],
                   (unsigned long long)random[1]);
    s->previous = all->youngest;
    if (s->previous != NULL)
        s->previous->next = s;
    else
        all->oldest = s;
    all->youngest = s;
    all->n++;
    all->bytes += OVERHEAD_BYTES;
    return s;
}

const char *stream_id(const struct stream *s)
{
    return s->id;
}

void stream_write(struct stream *s, struct str events, uint64_t last)
{
    buf_add_str(&s->journal, events);
    s->all->bytes += events.len;
    s->n_events = last;
    feed(s);
    keep_bounds(s);
}

void stream_comment(struct stream *s, struct str comment)
{
    /* Between events only: what waits in the journal may begin in the middle of one. */
    if (s->exchange != NULL && s->sent == s->journal.len)
        exchange_write(s->exchange, comment);
}

static void end(struct stream *s, enum state how)
{
    s->state = how;
    if (s->exchange != NULL)
        feed(s);
    else
        park(s);
}

void stream_end(struct stream *s)
{
    end(s, ENDED);
}

void stream_fail(struct stream *s)
{
    end(s, FAILED);
}

/* ---- all ----------------------------------------------------------------------------------------- */

struct streams *streams_new(const struct streams_config *config)
{
    struct streams *all = mem_zalloc(1, sizeof *all);
    all->config = *config;
    (void)snprintf(all->tag, sizeof all->tag, "%08x", (unsigned)clock_random_u64());
    return all;
}

void streams_free(struct streams *all)
{
    if (all == NULL)
        return;
    struct stream *next;
    for (struct stream *s = all->oldest; s != NULL; s = next) {
        next = s->next;
        stream_free(all, s);
    }
    free(all);
}

const char *streams_tag(const struct streams *all)
{
    return all->tag;
}

size_t streams_n(const struct streams *all)
{
    return all->n;
}

size_t streams_n_parked(const struct streams *all)
{
    size_t n = 0;
    for (const struct stream *s = all->oldest; s != NULL; s = s->next)
        n += s->state == LIVE && s->exchange == NULL;
    return n;
}

uint64_t streams_bytes(const struct streams *all)
{
    return all->bytes;
}

uint64_t streams_n_continued(const struct streams *all)
{
    return all->n_continued;
}

void streams_close(struct streams *all)
{
    all->is_closed = true;
    for (struct stream *s = all->oldest; s != NULL; s = s->next) {
        if (s->exchange == NULL)
            park(s); /* from the loop: a reply that is told may end others */
    }
}

struct stream *streams_find(const struct streams *all, struct str id, const struct key *key)
{
    struct stream *found = NULL;
    if (id.len != STREAM_ID_LEN)
        return NULL;
    for (struct stream *s = all->oldest; s != NULL; s = s->next) {
        bool is_same = CRYPTO_memcmp(id.ptr, s->id, STREAM_ID_LEN) == 0;
        found = (int)is_same & (int)(s->key == key) ? s : found;
    }
    return found;
}

void streams_cancel(struct stream *s)
{
    struct buf out = {0};
    struct api_error e;
    struct exchange *x = s->exchange;
    s->exchange = NULL;
    if (x != NULL) {
        error_from_err(&e, ERR_CANCELLED, STR_LIT("the stream was deleted"));
        buf_add_cstr(&out, "data: ");
        error_write(&e, &out);
        buf_add_cstr(&out, "\n\n");
        /* Only between events; else the reset alone says it. */
        if (s->sent == s->journal.len)
            exchange_write(x, buf_str(&out));
        exchange_reset(x);
        buf_fini(&out);
    }
    forget(s->all, s, STREAM_CANCELLED);
}
