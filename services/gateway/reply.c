/* SPDX-License-Identifier: MIT */
#include "services/gateway/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/gateway/receipt.h"
#include "services/gateway/reply_log.h"
#include "services/gateway/shape.h"
#include "services/gateway/stages.h"
#include "services/gateway/stream.h"

enum {
    DEADLINE_GRACE_MS = 1000, /* the processes behind us end a late reply themselves */
    COMMENT_CAP = 64,
};

/* One candidate: a prompt continued with one seed. */
struct choice {
    struct job job;
    struct reply *reply;
    uint32_t index; /* what the client sees */
    uint32_t number; /* among all candidates */
    uint32_t n_prompt_tokens;
    uint32_t n_cached_tokens;
    uint32_t n_tokens;
    enum finish finish;
    double sum_logprob;
    uint64_t token_ns; /* when the last token came */
    uint32_t position; /* in the router's queue, as last told; 0 is not known */
    struct buf text;
    struct buf ids; /* as receipts hash them */
    struct logprobs logprobs;
};

struct reply {
    struct gateway *gateway;
    struct reply *next;
    struct reply **link; /* what points to us */
    struct exchange *exchange; /* NULL: the stream has it, if a client reads at all */
    struct stream *stream; /* NULL: the client cannot come back for more */
    uint64_t n_events;
    struct request request;
    const struct shape *shape;
    struct metrics_model *metrics;
    struct key *key; /* whose it is, or NULL */
    struct str model; /* the served name */
    char fingerprint[16];
    char model_hash[72];
    char numerics[24];
    char *body; /* as the client sent it; NULL: replies are not logged */
    bool wants_receipt; /* in the next chunk */
    char id[80]; /* of the answer: the exchange's with another prefix */
    uint64_t created_s;
    uint64_t start_ns;
    uint64_t first_ns; /* of the first token; 0 before */
    struct trace *trace; /* ours until we end; NULL: there are too many */
    char traceparent[TRACE_HEADER_LEN + 1];
    struct loop_timer deadline;
    bool is_open; /* the stream has begun */
    uint32_t position; /* as last told to the client */
    struct buf head; /* chunks up to the choice */
    struct buf out; /* scratch */
    struct choice *choices;
    size_t n_choices;
    size_t n_over;
};

#define CHOICE_OF(j) ((struct choice *)(void *)((char *)(j)-offsetof(struct choice, job)))
#define REPLY_OF(t) ((struct reply *)(void *)((char *)(t)-offsetof(struct reply, deadline)))

/* ---- the trace ----------------------------------------------------------------------------------- */

static void trace_begin(struct reply *r)
{
    struct trace *t = traces_begin(r->gateway->traces);
    trace_context_write(exchange_context(r->exchange), r->traceparent);
    r->trace = t;
    if (t == NULL)
        return;
    t->context = *exchange_context(r->exchange);
    (void)snprintf(t->id, sizeof t->id, "%s", exchange_id(r->exchange));
    (void)snprintf(t->model, sizeof t->model, "%.*s", (int)r->model.len, r->model.ptr);
    t->metrics = r->metrics;
    t->unix_ms = clock_unix_ms();
    t->start_ns = r->start_ns;
    t->n_choices = (uint32_t)r->n_choices;
    struct rec_span s = span_of(SPAN_read, r->start_ns, clock_now_ns());
    trace_add(t, &s, 0);
    exchange_set_trace(r->exchange, t->serial);
}

/* The tokenizer that had the choice has no longer. */
static void trace_left(struct choice *c, enum span_end how)
{
    if (c->job.sent_ns == 0)
        return;
    struct rec_span s = span_of(SPAN_tokenizer, c->job.sent_ns, clock_now_ns());
    s.how = (uint32_t)how;
    trace_add(c->reply->trace, &s, c->number);
    c->job.sent_ns = 0;
}

static void trace_end(struct reply *r, const char *how, uint32_t n_prompt, uint32_t n_cached,
                      uint32_t n_tokens)
{
    struct trace *t = r->trace;
    if (t == NULL)
        return;
    (void)snprintf(t->end, sizeof t->end, "%s", how);
    for (size_t i = 0; i < r->n_choices; i++)
        trace_left(&r->choices[i], SPAN_CANCELLED);
    t->first_ns = r->first_ns;
    t->n_prompt = n_prompt;
    t->n_cached = n_cached;
    t->n_tokens = n_tokens;
    t->end_ns = clock_now_ns();
}

/* ---- the end ------------------------------------------------------------------------------------- */

static uint32_t count_tokens(const struct reply *r)
{
    uint32_t n = 0;
    for (size_t i = 0; i < r->n_choices; i++)
        n += r->choices[i].n_tokens;
    return n;
}

/* Each prompt counts once, whatever the number of its choices. */
static void count_prompt(const struct reply *r, uint32_t *ret_n, uint32_t *ret_cached)
{
    *ret_n = 0;
    *ret_cached = 0;
    for (size_t i = 0; i < r->n_choices; i += r->request.best_of) {
        *ret_n += r->choices[i].n_prompt_tokens;
        *ret_cached += r->choices[i].n_cached_tokens;
    }
}

static double seconds(uint64_t from_ns, uint64_t to_ns)
{
    return (double)(to_ns - from_ns) / 1e9;
}

static void note_end(struct reply *r, const char *how)
{
    uint64_t now = clock_now_ns();
    uint32_t n_prompt;
    uint32_t n_cached;
    uint32_t n_tokens = count_tokens(r);
    count_prompt(r, &n_prompt, &n_cached);
    trace_end(r, how, n_prompt, n_cached, n_tokens);
    metrics_add(r->metrics, MODEL_COUNT_prompt_tokens, n_prompt);
    if (r->key != NULL)
        key_spend(r->key, (uint64_t)n_prompt + n_tokens);
    if (r->n_over == r->n_choices) {
        metrics_observe(r->metrics, HISTOGRAM_e2e, seconds(r->start_ns, now));
        metrics_observe(r->metrics, HISTOGRAM_prompt_length, n_prompt);
        metrics_observe(r->metrics, HISTOGRAM_reply_length, n_tokens);
        if (r->first_ns > 0)
            metrics_observe(r->metrics, HISTOGRAM_decode, seconds(r->first_ns, now));
    }
    /* Requests that are reset before anything came of them must not flood the log. */
    enum log_level level = n_prompt > 0 || r->n_over > 0 ? LOG_INFO : LOG_DEBUG;
    LOG_(level, "reply", S("req", r->id), SN("trace", r->traceparent + 3, 32),
         S("key", r->key != NULL ? key_name(r->key) : ""), S("end", how),
         U("prompt_tokens", n_prompt), U("cached", n_cached), U("tokens", n_tokens),
         U("choices", r->n_choices), F("s", seconds(r->start_ns, now)),
         F("ttft_s", r->first_ns > 0 ? seconds(r->start_ns, r->first_ns) : 0));
}

/* The exchange has been given away or is gone. */
static void reply_free(struct reply *r)
{
    struct gateway *g = r->gateway;
    loop_timer_cancel(g->loop, &r->deadline);
    for (size_t i = 0; i < r->n_choices; i++) {
        upstream_cancel(g->upstream, &r->choices[i].job);
        buf_fini(&r->choices[i].text);
        buf_fini(&r->choices[i].ids);
        logprobs_fini(&r->choices[i].logprobs);
    }
    free(r->choices);
    buf_fini(&r->head);
    buf_fini(&r->out);
    request_fini(&r->request);
    free(r->body);
    key_unref(r->key);
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
    g->n_replies--;
    outflow_count(&g->outflow, clock_now_ns());
    outflow_set_full(&g->outflow, false, 0);
    free(r);
    gateway_reply_ended(g);
}

static void count_unfinished(const struct reply *r, enum metric_model_count which)
{
    metrics_add(r->metrics, which, r->n_choices - r->n_over);
}

/* Appends what an event begins with. Its number counts once it is written. */
static void begin_event(struct reply *r)
{
    if (r->stream == NULL)
        return;
    buf_add_cstr(&r->out, "id: ");
    buf_add_u64(&r->out, r->n_events + 1);
    buf_add_char(&r->out, '\n');
}

/* Sends the events in `out`. */
static void emit(struct reply *r)
{
    if (r->stream != NULL)
        stream_write(r->stream, buf_str(&r->out), r->n_events);
    else
        exchange_write(r->exchange, buf_str(&r->out));
}

static void fail_stream(struct reply *r, const struct api_error *e)
{
    metrics_count(r->gateway->metrics, COUNT_failed_stream);
    buf_reset(&r->out);
    begin_event(r);
    r->n_events++;
    buf_add_cstr(&r->out, "data: ");
    error_write(e, &r->out);
    buf_add_cstr(&r->out, "\n\n");
    emit(r);
    if (r->stream != NULL)
        stream_fail(r->stream);
    else
        exchange_reset(r->exchange);
}

static void fail(struct reply *r, enum err why, struct str detail, uint32_t retry_ms)
{
    struct api_error e;
    error_from_err(&e, why, detail);
    if (e.retry_ms > 0 && retry_ms > 0)
        e.retry_ms = retry_ms;
    if (why == ERR_FULL)
        metrics_count(r->gateway->metrics, COUNT_refused_queue);
    count_unfinished(r, MODEL_COUNT_success_error);
    note_end(r, err_name(why));
    if (r->is_open) {
        fail_stream(r, &e);
    } else {
        if (r->key != NULL)
            key_add_headers(r->key, r->exchange);
        exchange_refuse(r->exchange, &e);
    }
    reply_free(r);
}

static void on_closed(void *ctx, enum exchange_end why)
{
    struct reply *r = ctx;
    bool has_left = why == EXCHANGE_LEFT;
    metrics_count(r->gateway->metrics, has_left ? COUNT_client_left : COUNT_client_stalled);
    count_unfinished(r, MODEL_COUNT_success_abort);
    note_end(r, has_left ? "client-left" : "client-stalled");
    reply_free(r);
}

static void on_dropped(void *ctx, enum stream_drop why)
{
    struct reply *r = ctx;
    bool has_left = why == STREAM_ABANDONED;
    r->stream = NULL;
    metrics_count(r->gateway->metrics, has_left ? COUNT_client_left : COUNT_cancelled);
    count_unfinished(r, MODEL_COUNT_success_abort);
    note_end(r, has_left ? "abandoned" : "cancelled");
    reply_free(r);
}

static void on_deadline(struct loop_timer *t)
{
    fail(REPLY_OF(t), ERR_TIMEOUT, STR_LIT("see option --request-timeout-ms of halo-gateway"), 0);
}

/* ---- writing ------------------------------------------------------------------------------------- */

static void add_usage(const struct reply *r, struct buf *out)
{
    uint32_t n_prompt;
    uint32_t n_cached;
    uint32_t n_tokens = count_tokens(r);
    count_prompt(r, &n_prompt, &n_cached);
    buf_printf(out,
               "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%u}}",
               n_prompt, n_tokens, n_prompt + n_tokens, n_cached);
}

static void add_identity(const struct reply *r, const char *object, struct buf *out)
{
    buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%llu,\"model\":", r->id, object,
               (unsigned long long)r->created_s);
    buf_add_json(out, r->model);
    buf_printf(out, ",\"system_fingerprint\":\"%s\"%s,\"choices\":[", r->fingerprint,
               r->request.has_service_tier ? ",\"service_tier\":\"default\"" : "");
}

/* Appends `"halo":` and the receipt. */
static void add_receipt(const struct reply *r, struct buf *out)
{
    const struct receipt receipt = {.id = r->id,
                                    .created_s = r->created_s,
                                    .model_hash = r->model_hash,
                                    .numerics = r->numerics,
                                    .request = &r->request};
    bool is_first = true;
    buf_add_cstr(out, "\"halo\":");
    receipt_begin(&receipt, out);
    for (size_t i = 0; i < r->n_choices; i++) {
        const struct choice *c = &r->choices[i];
        if (c->index == UINT32_MAX)
            continue;
        receipt_add_choice(out, is_first, c->index, c->finish, buf_str(&c->ids), buf_str(&c->text));
        is_first = false;
    }
    receipt_end(out);
}

static void add_tail(const struct reply *r, struct buf *out)
{
    buf_add_char(out, ']');
    if (r->wants_receipt) {
        buf_add_char(out, ',');
        add_receipt(r, out);
    }
    buf_add_cstr(out, r->request.include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

static struct shape_choice shape_of(const struct choice *c, struct str text)
{
    const struct reply *r = c->reply;
    const struct prompt *p = &r->request.prompts[c->number / r->request.best_of];
    return (struct shape_choice){
        .index = c->index,
        .text = text,
        .logprobs = r->request.logprobs ? &c->logprobs : NULL,
        .prompt = r->request.echo ? p->text : STR_LIT(""),
    };
}

/* Appends a chunk with what `write` says of the choice; none if it says nothing. */
static void add_chunk(struct reply *r, const struct shape_choice *c,
                      void (*write)(const struct shape_choice *c, struct buf *out))
{
    size_t before = r->out.len;
    begin_event(r);
    buf_add_str(&r->out, buf_str(&r->head));
    size_t head = r->out.len;
    write(c, &r->out);
    if (r->out.len == head) {
        r->out.len = before;
        return;
    }
    add_tail(r, &r->out);
    r->n_events++;
}

static void add_headers(struct reply *r)
{
    char seed[32];
    /* Signed, as the field is, so that it can be sent back. */
    (void)snprintf(seed, sizeof seed, "%lld", (long long)r->request.sampling.seed);
    exchange_add_header(r->exchange, "x-halo-seed", str_from(seed));
    if (r->key != NULL)
        key_add_headers(r->key, r->exchange);
}

/* From now on a client that leaves may come back. */
static void keep_stream(struct reply *r)
{
    struct exchange *x = r->exchange;
    char seconds[16];
    if (r->request.keep_s == 0) {
        exchange_open(x, "text/event-stream");
        return;
    }
    (void)snprintf(seconds, sizeof seconds, "%u", r->request.keep_s);
    r->stream = stream_new(r->gateway->streams, r->key, r->request.keep_s, on_dropped, r);
    r->exchange = NULL;
    exchange_add_header(x, "x-halo-stream", str_from(stream_id(r->stream)));
    exchange_add_header(x, "x-halo-resume", str_from(seconds));
    exchange_open(x, "text/event-stream");
    stream_attach(r->stream, x, 0);
}

/* Appends the chunks that stand before all others. */
static void open_stream(struct reply *r)
{
    if (r->is_open)
        return;
    r->is_open = true;
    buf_add_cstr(&r->head, "data: ");
    add_identity(r, r->shape->chunk_object, &r->head);
    add_headers(r);
    exchange_add_header(r->exchange, "cache-control", STR_LIT("no-cache"));
    exchange_add_header(r->exchange, "x-accel-buffering", STR_LIT("no"));
    keep_stream(r);
    for (size_t i = 0; i < r->n_choices; i++) {
        struct shape_choice c = shape_of(&r->choices[i], STR_LIT(""));
        add_chunk(r, &c, r->shape->write_opening);
    }
}

/* What no client takes for data. */
static void comment(struct reply *r, const char *text)
{
    buf_reset(&r->out);
    open_stream(r);
    if (r->stream == NULL)
        buf_printf(&r->out, ": %s\n\n", text);
    emit(r);
    if (r->stream == NULL)
        return;
    char line[COMMENT_CAP];
    (void)snprintf(line, sizeof line, ": %s\n\n", text);
    stream_comment(r->stream, str_from(line));
}

static void on_ping(void *ctx)
{
    comment(ctx, "ping");
}

static void end_stream(struct reply *r)
{
    if (r->request.include_usage) {
        begin_event(r);
        r->n_events++;
        buf_add_str(&r->out, buf_str(&r->head));
        buf_add_cstr(&r->out, "],");
        add_usage(r, &r->out);
        buf_add_char(&r->out, ',');
        add_receipt(r, &r->out);
        buf_add_cstr(&r->out, "}\n\n");
    }
    begin_event(r);
    r->n_events++;
    buf_add_cstr(&r->out, "data: [DONE]\n\n");
    emit(r);
    if (r->stream != NULL)
        stream_end(r->stream);
    else
        exchange_end(r->exchange);
}

static void answer_whole(struct reply *r)
{
    buf_reset(&r->out);
    add_identity(r, r->shape->object, &r->out);
    bool is_first = true;
    for (size_t i = 0; i < r->n_choices; i++) {
        const struct choice *c = &r->choices[i];
        struct shape_choice sc = shape_of(c, buf_str(&c->text));
        if (c->index == UINT32_MAX)
            continue;
        sc.finish = c->finish;
        if (!is_first)
            buf_add_char(&r->out, ',');
        is_first = false;
        r->shape->write_whole(&sc, &r->out);
    }
    buf_add_cstr(&r->out, "],");
    add_usage(r, &r->out);
    buf_add_char(&r->out, ',');
    add_receipt(r, &r->out);
    buf_add_cstr(&r->out, "}\n");
    add_headers(r);
    exchange_answer(r->exchange, 200, "application/json", buf_str(&r->out));
}

/* ---- candidates ---------------------------------------------------------------------------------- */

static double rank(const struct choice *c)
{
    return c->n_tokens > 0 ? c->sum_logprob / c->n_tokens : 0;
}

/* Of each prompt's best_of candidates the n likeliest get indices, best first; the others none. */
static void pick_best(struct reply *r)
{
    const size_t n = r->request.n;
    const size_t of = r->request.best_of;
    if (of == n)
        return;
    for (size_t i = 0; i < r->n_choices; i++) {
        size_t group = i / of;
        size_t better = 0;
        for (size_t k = group * of; k < (group + 1) * of; k++) {
            double other = rank(&r->choices[k]);
            double mine = rank(&r->choices[i]);
            if (other > mine || (other >= mine && k < i))
                better++;
        }
        r->choices[i].index = better < n ? (uint32_t)(group * n + better) : UINT32_MAX;
    }
}

static int compare_index(const void *a, const void *b)
{
    const struct choice *x = a;
    const struct choice *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

/* {"time":…,"key":…,"request":"…","receipt":{…},"replies":["…"]} */
static void log_reply(struct reply *r)
{
    struct buf line = {0};
    bool is_first = true;
    if (r->body == NULL)
        return;
    buf_printf(&line, "{\"time\":%llu,\"key\":", (unsigned long long)(clock_unix_ms() / 1000));
    buf_add_json(&line, str_from(r->key != NULL ? key_name(r->key) : ""));
    buf_add_cstr(&line, ",\"request\":");
    buf_add_json(&line, str_from(r->body));
    buf_add_char(&line, ',');
    add_receipt(r, &line);
    buf_add_cstr(&line, ",\"replies\":[");
    for (size_t i = 0; i < r->n_choices; i++) {
        const struct choice *c = &r->choices[i];
        if (c->index == UINT32_MAX)
            continue;
        if (!is_first)
            buf_add_char(&line, ',');
        is_first = false;
        buf_add_json(&line, buf_str(&c->text));
    }
    buf_add_cstr(&line, "]}\n");
    reply_log_write(r->gateway->reply_log, buf_str(&line));
    buf_fini(&line);
}

static void complete(struct reply *r)
{
    note_end(r, r->choices[0].finish == FINISH_STOP ? "stop" : "length");
    if (!r->request.stream) {
        pick_best(r);
        if (r->request.best_of > r->request.n)
            qsort(r->choices, r->n_choices, sizeof *r->choices, compare_index);
    }
    log_reply(r); /* first: what a client has can be verified */
    if (r->request.stream)
        end_stream(r);
    else
        answer_whole(r);
    reply_free(r);
}

/* ---- pieces -------------------------------------------------------------------------------------- */

static void on_accepted(struct job *j, uint32_t n_prompt_tokens)
{
    CHOICE_OF(j)->n_prompt_tokens = n_prompt_tokens;
}

static void on_failed(struct job *j, enum err why, struct str detail, uint32_t retry_ms)
{
    trace_left(CHOICE_OF(j), SPAN_FAILED);
    fail(CHOICE_OF(j)->reply, why, detail, retry_ms);
}

/* The client hears of the choice that is nearest to its turn. The router bounds the pace. */
static void on_queued(struct job *j, uint32_t position)
{
    struct reply *r = CHOICE_OF(j)->reply;
    uint32_t least = UINT32_MAX;
    char text[40];
    CHOICE_OF(j)->position = position;
    if (!r->request.stream || r->first_ns > 0)
        return;
    for (size_t i = 0; i < r->n_choices; i++) {
        uint32_t other = r->choices[i].position;
        least = other > 0 && other < least ? other : least;
    }
    if (least == r->position)
        return;
    r->position = least;
    (void)snprintf(text, sizeof text, "queue position %u", least);
    comment(r, text);
}

static void on_lost(struct job *j)
{
    trace_left(CHOICE_OF(j), SPAN_LOST);
}

static void on_spans(struct job *j, const struct rec_span *spans, size_t n)
{
    const struct choice *c = CHOICE_OF(j);
    for (size_t i = 0; i < n; i++)
        trace_add(c->reply->trace, &spans[i], c->number);
    stages_observe(c->reply->metrics, spans, n);
}

static void note_token(struct choice *c, const struct rec_piece *p)
{
    struct reply *r = c->reply;
    uint64_t now = clock_now_ns();
    if (r->first_ns == 0) {
        r->first_ns = now;
        if (r->trace != NULL)
            r->trace->first_ns = now;
        metrics_observe(r->metrics, HISTOGRAM_ttft, seconds(r->start_ns, now));
    }
    if (c->n_tokens > 0)
        metrics_observe(r->metrics, HISTOGRAM_itl, seconds(c->token_ns, now));
    metrics_add(r->metrics, MODEL_COUNT_generation_tokens, 1);
    c->token_ns = now;
    c->n_tokens++;
    receipt_add_id(&c->ids, p->id);
    c->sum_logprob += (double)p->logprob;
    if (c->n_tokens == 1) /* after a resume a later one would count the reply as well */
        c->n_cached_tokens = p->cached_tokens;
    if (r->request.logprobs)
        r->shape->add_logprob(&c->logprobs, p);
}

/* A chunk stands for one token, so the chunks of a reply do not depend on when its tokens came. */
static void stream_piece(struct choice *c, const struct rec_piece *p)
{
    struct reply *r = c->reply;
    buf_reset(&r->out);
    open_stream(r);
    struct shape_choice sc = shape_of(c, p->text);
    if (p->text.len > 0 || (p->has_id && r->request.logprobs))
        add_chunk(r, &sc, r->shape->write_delta);
    logprobs_reset(&c->logprobs);
    if (p->finish != FINISH_NONE) {
        sc.finish = c->finish;
        r->wants_receipt = r->n_over == r->n_choices && !r->request.include_usage;
        add_chunk(r, &sc, r->shape->write_ending);
    }
}

static void on_piece(struct job *j, const struct rec_piece *p)
{
    struct choice *c = CHOICE_OF(j);
    struct reply *r = c->reply;
    if (p->has_id)
        note_token(c, p);
    if (p->finish != FINISH_NONE) {
        trace_left(c, SPAN_DONE);
        c->finish = p->finish == FINISH_LENGTH ? FINISH_LENGTH : FINISH_STOP;
        r->n_over++;
        metrics_add(
            r->metrics,
            c->finish == FINISH_STOP ? MODEL_COUNT_success_stop : MODEL_COUNT_success_length, 1);
    }
    buf_add_str(&c->text, p->text);
    if (r->request.stream)
        stream_piece(c, p);
    if (r->n_over == r->n_choices)
        complete(r);
    else if (r->request.stream)
        emit(r);
}

/* ---- the beginning ------------------------------------------------------------------------------- */

static const struct job_events JOB_EVENTS = {.accepted = on_accepted,
                                             .piece = on_piece,
                                             .failed = on_failed,
                                             .queued = on_queued,
                                             .lost = on_lost,
                                             .spans = on_spans};

static void start_choice(struct reply *r, size_t number)
{
    const struct request *q = &r->request;
    const struct prompt *p = &q->prompts[number / q->best_of];
    struct choice *c = &r->choices[number];
    c->reply = r;
    c->number = (uint32_t)number;
    c->index = (uint32_t)number;
    c->job.events = &JOB_EVENTS;
    c->job.due_ms = 0;
    if (r->gateway->options->request_timeout_ms > 0)
        c->job.due_ms = clock_now_ms() + r->gateway->options->request_timeout_ms;
    c->job.generate = (struct frame_generate){
        .kind = p->kind,
        .messages = p->kind == PROMPT_CHAT ? p->text : STR_LIT(""),
        .prompt = p->kind == PROMPT_TEXT ? p->text : STR_LIT(""),
        .prompt_ids = p->ids,
        .n_prompt_ids = p->n_ids,
        .sampling = q->sampling,
        .stops = q->stops,
        .n_stops = q->n_stops,
        .tenant = q->tenant,
        .model = r->model,
        .model_hash = str_from(r->model_hash),
        .template_args = q->template_args,
        .no_generation_prompt = !q->add_generation_prompt,
        .continue_final = q->continue_final,
        .include_stop = q->include_stop,
        .lane = q->lane,
        .share = r->key != NULL ? key_salt(r->key) : 0,
        .trace = str_from(r->traceparent),
    };
    c->job.generate.sampling.seed += number % q->best_of;
    upstream_start(r->gateway->upstream, &c->job);
}

static void identify(struct reply *r, const struct catalog_model *m)
{
    const char *id = exchange_id(r->exchange);
    const char *bare = strncmp(id, "req_", 4) == 0 ? id + 4 : id;
    (void)snprintf(r->id, sizeof r->id, "%s%s", r->shape->id_prefix, bare);
    (void)snprintf(r->model_hash, sizeof r->model_hash, "%s", m->hash);
    (void)snprintf(r->numerics, sizeof r->numerics, "%s", m->numerics);
    (void)snprintf(r->fingerprint, sizeof r->fingerprint, "fp_%.12s", m->hash);
    /* The request's copy of the name outlives the list of models. */
    r->model = r->request.model;
    r->created_s = clock_unix_ms() / 1000;
    r->metrics = metrics_of_model(r->gateway->metrics, m->name);
}

static void begin(struct gateway *g, struct exchange *x, const struct request *take_request,
                  const struct catalog_model *m, struct key *key)
{
    struct reply *r = mem_zalloc(1, sizeof *r);
    r->gateway = g;
    r->exchange = x;
    r->request = *take_request;
    if (key != NULL) {
        r->key = key_ref(key);
        r->request.tenant ^= key_salt(key);
    }
    r->shape = r->request.endpoint == ENDPOINT_CHAT ? &shape_chat : &shape_completions;
    r->start_ns = exchange_start_ns(x);
    r->next = g->replies;
    r->link = &g->replies;
    if (r->next != NULL)
        r->next->link = &r->next;
    g->replies = r;
    g->n_replies++;
    outflow_set_full(&g->outflow, g->n_replies >= g->options->max_streams, r->start_ns);
    if (r->request.id.len > 0)
        exchange_set_id(x, r->request.id);
    identify(r, m);
    if (g->reply_log != NULL) {
        struct str body = exchange_body(x);
        r->body = mem_strndup(body.ptr, body.len);
    }
    r->deadline.fire = on_deadline;
    if (g->options->request_timeout_ms > 0)
        loop_timer_set(g->loop, &r->deadline,
                       (uint64_t)g->options->request_timeout_ms + DEADLINE_GRACE_MS);
    metrics_observe(r->metrics, HISTOGRAM_params_n, r->request.n);
    metrics_observe(r->metrics, HISTOGRAM_params_max_tokens, r->request.sampling.max_tokens);
    exchange_own(x, on_closed, r);
    if (r->request.stream)
        exchange_ping(x, on_ping);
    r->n_choices = r->request.n_prompts * r->request.best_of;
    r->choices = mem_zalloc(r->n_choices, sizeof *r->choices);
    trace_begin(r);
    for (size_t i = 0; i < r->n_choices; i++)
        start_choice(r, i);
}

static bool is_json(struct str content_type)
{
    static const char JSON[] = "application/json";
    size_t n = sizeof JSON - 1;
    return content_type.len >= n && strncasecmp(content_type.ptr, JSON, n) == 0 &&
           (content_type.len == n || content_type.ptr[n] == ';' || content_type.ptr[n] == ' ');
}

static void set_model_unknown(const struct gateway *g, uint32_t lane, struct str name,
                              struct api_error *e)
{
    struct buf served = {0};
    const struct catalog_model *m;
    for (size_t i = 0; (m = catalog_at(upstream_catalog(g->upstream), lane, i)) != NULL; i++)
        buf_printf(&served, "%s%s", i > 0 ? ", " : "", m->name);
    error_set(e, PROBLEM_MODEL_UNKNOWN, "model",
              "The model '%.*s' is not served here. Served now: %s.",
              (int)(name.len < 100 ? name.len : 100), name.ptr, buf_str(&served).ptr);
    buf_fini(&served);
}

/* How long the stream is kept for a client that leaves: what it asks for, else what is usual here. */
static bool settle_resume(const struct gateway *g, const struct exchange *x, struct request *q,
                          struct api_error *e)
{
    struct str text = exchange_header(x, "x-halo-resume");
    uint32_t max_s = g->options->keep_max_s;
    uint64_t wanted_s = 0;
    q->keep_s = q->stream ? g->options->keep_s : 0;
    if (text.len == 0)
        return true;
    for (size_t i = 0; i < text.len; i++) {
        bool is_digit = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        wanted_s = is_digit && wanted_s <= max_s ? wanted_s * 10 + (uint64_t)(text.ptr[i] - '0')
                                                 : UINT64_MAX / 16;
    }
    if (wanted_s > max_s) {
        error_set(e, PROBLEM_FIELD_VALUE, "x-halo-resume",
                  "The header 'x-halo-resume' is not a whole number of seconds from 0 to %u, for "
                  "which this server keeps a stream whose client left (option --keep-max-s of "
                  "halo-gateway).",
                  max_s);
        return false;
    }
    if (wanted_s > 0 && !q->stream) {
        error_set(e, PROBLEM_FIELD_CONFLICT, "x-halo-resume",
                  "The header 'x-halo-resume' needs 'stream': true.");
        return false;
    }
    q->keep_s = (uint32_t)wanted_s;
    return true;
}

/* Whether the request can be begun; *ret_model is then its model. */
static bool admit(struct gateway *g, struct exchange *x, struct request *q, enum endpoint endpoint,
                  uint32_t lane, const struct catalog_model **ret_model, struct api_error *e)
{
    if (!is_json(exchange_header(x, "content-type"))) {
        /* Anything else could be sent by a foreign web page without asking us first. */
        error_set(e, PROBLEM_MEDIA_TYPE, NULL, "Send the header 'content-type: application/json'.");
        return false;
    }
    if (!request_parse(q, endpoint, exchange_body(x), g->options->max_body, e) ||
        !settle_resume(g, x, q, e))
        return false;
    q->lane = lane;
    const char *why_not = upstream_why_not(g->upstream, true);
    if (why_not != NULL) {
        metrics_count(g->metrics, COUNT_refused_not_ready);
        error_set(e, PROBLEM_NOT_READY, NULL, "Not ready: %s. Try again.", why_not);
        return false;
    }
    *ret_model = catalog_find(upstream_catalog(g->upstream), q->lane, q->model);
    if (*ret_model == NULL) {
        set_model_unknown(g, q->lane, q->model, e);
        return false;
    }
    return request_fit(q, *ret_model, e);
}

void reply_start(struct gateway *g, struct exchange *take_x, enum endpoint endpoint, uint32_t lane,
                 struct key *key)
{
    struct request q = {0};
    struct api_error e;
    const struct catalog_model *m;
    if (g->n_replies >= g->options->max_streams) {
        metrics_count(g->metrics, COUNT_refused_full);
        error_set(&e, PROBLEM_OVERLOADED, NULL,
                  "%u replies are in flight, which is the most (option --max-streams of "
                  "halo-gateway). Try again.",
                  g->options->max_streams);
        e.retry_ms = outflow_retry_ms(&g->outflow, 1, clock_now_ns());
        exchange_refuse(take_x, &e);
        return;
    }
    if (!admit(g, take_x, &q, endpoint, lane, &m, &e) || (key != NULL && !key_admit(key, &e))) {
        request_fini(&q);
        if (key != NULL)
            key_add_headers(key, take_x);
        exchange_refuse(take_x, &e);
        return;
    }
    begin(g, take_x, &q, m, key);
}

void reply_fail_all(struct gateway *g, enum err why, const char *detail)
{
    struct reply *next;
    for (struct reply *r = g->replies; r != NULL; r = next) {
        next = r->next;
        fail(r, why, str_from(detail), 0);
    }
}
