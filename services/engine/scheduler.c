/* SPDX-License-Identifier: MIT */
#include "services/engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "proto/span.h"
#include "services/engine/pace.h"

struct scheduler {
    struct scheduler_config config;
    struct kv *kv;
    struct sampler_bench *bench;
    struct seq *waiting; /* by arrival */
    struct seq *running; /* by arrival */
    uint32_t n_waiting;
    uint32_t n_running;
    uint64_t n_arrivals;
    uint64_t n_preemptions;
    uint64_t n_prefix_queries;
    uint64_t n_prefix_hits;
    uint64_t n_drafted;
    uint64_t n_accepted;

    struct backend_item *items; /* the plan: [max_seqs] */
    struct seq **item_seqs;
    struct seq **prefills; /* those that get a part of the rest: [max_seqs] */
    uint32_t n_items;
    uint32_t budget; /* tokens that the plan may still take */
    uint32_t n_decodes; /* of the plan */
    uint32_t turn; /* who is first when the budget is less than a token for each prompt */
    struct pace pace;

    struct arena *arena; /* of the step in progress */
    struct rec_token *events;
    size_t n_events;
    size_t cap_events;
};

struct scheduler *scheduler_new(const struct scheduler_config *config)
{
    ASSERT(config->max_seqs >= 1 && config->max_seqs <= config->backend->max_logits);
    ASSERT(config->spec_tokens <= DRAFT_MAX_TOKENS);
    ASSERT(config->step_tokens >= config->max_seqs);
    ASSERT(config->step_tokens <= config->backend->max_rows);
    ASSERT(config->n_ctx <= (uint64_t)config->backend->n_blocks * KV_BLOCK);
    struct scheduler *s = mem_zalloc(1, sizeof *s);
    s->config = *config;
    pace_init(&s->pace, config->stretch_percent);
    s->kv = kv_new(config->backend->n_blocks);
    s->bench = sampler_bench_new(config->kernels, config->model->n_vocab);
    s->items = mem_zalloc(config->max_seqs, sizeof *s->items);
    s->item_seqs = mem_zalloc(config->max_seqs, sizeof(struct seq *));
    s->prefills = mem_zalloc(config->max_seqs, sizeof(struct seq *));
    return s;
}

void scheduler_free(struct scheduler *s)
{
    if (s == NULL)
        return;
    scheduler_cancel_all(s);
    kv_free(s->kv);
    sampler_bench_free(s->bench);
    free(s->items);
    free((void *)s->item_seqs);
    free((void *)s->prefills);
    free(s);
}

/* ---- the two lists ---- */

static void list_insert(struct seq **list, struct seq *seq)
{
    while (*list != NULL && (*list)->arrival < seq->arrival)
        list = &(*list)->next;
    seq->next = *list;
    *list = seq;
}

static void list_remove(struct seq **list, const struct seq *seq)
{
    while (*list != seq)
        list = &(*list)->next;
    *list = seq->next;
}

static struct seq *list_last(struct seq *list)
{
    while (list != NULL && list->next != NULL)
        list = list->next;
    return list;
}

static void drop(struct scheduler *s, struct seq *seq)
{
    kv_release(s->kv, &seq->kv);
    seq_free(seq);
}

static bool cancel_in(struct scheduler *s, struct seq **list, uint64_t req)
{
    for (; *list != NULL; list = &(*list)->next) {
        struct seq *seq = *list;
        if (seq->req != req)
            continue;
        *list = seq->next;
        drop(s, seq);
        return true;
    }
    return false;
}

void scheduler_add(struct scheduler *s, struct seq *take_seq)
{
    scheduler_cancel(s, take_seq->req);
    take_seq->arrival = s->n_arrivals++;
    take_seq->is_surplus = s->n_waiting >= s->config.max_waiting;
    list_insert(&s->waiting, take_seq);
    s->n_waiting++;
}

void scheduler_cancel(struct scheduler *s, uint64_t req)
{
    s->n_waiting -= cancel_in(s, &s->waiting, req);
    s->n_running -= cancel_in(s, &s->running, req);
}

void scheduler_cancel_all(struct scheduler *s)
{
    while (s->waiting != NULL)
        scheduler_cancel(s, s->waiting->req);
    while (s->running != NULL)
        scheduler_cancel(s, s->running->req);
}

bool scheduler_has_work(const struct scheduler *s)
{
    return s->waiting != NULL || s->running != NULL;
}

/* ---- events ---- */

static struct rec_token *add_event(struct scheduler *s, uint64_t req)
{
    if (s->n_events == s->cap_events) {
        size_t cap = s->cap_events * 2 + 16;
        struct rec_token *events = arena_zalloc(s->arena, cap, sizeof *events);
        ASSERT(events != NULL);
        for (size_t i = 0; i < s->n_events; i++)
            events[i] = s->events[i];
        s->events = events;
        s->cap_events = cap;
    }
    struct rec_token *t = &s->events[s->n_events++];
    t->req = req;
    return t;
}

/* Ends a reply that is in `list`. */
static void finish(struct scheduler *s, struct seq **list, struct seq *seq)
{
    list_remove(list, seq);
    if (list == &s->running)
        s->n_running--;
    else
        s->n_waiting--;
    drop(s, seq);
}

static void end_with_error(struct scheduler *s, struct seq **list, struct seq *seq, enum err code)
{
    struct rec_token *t = add_event(s, seq->req);
    t->finish = FINISH_ERROR;
    t->code = (uint32_t)code;
    t->detail = str_from(err_text(code));
    finish(s, list, seq);
}

static void finish_late(struct scheduler *s, struct seq **list, uint64_t now_ns)
{
    struct seq *next = NULL;
    for (struct seq *seq = *list; seq != NULL; seq = next) {
        next = seq->next;
        if (seq->deadline_ns != 0 && now_ns >= seq->deadline_ns)
            end_with_error(s, list, seq, ERR_TIMEOUT);
    }
}

/* New arrivals that need no step: resumed replies which have had their last token, and those for
 * whom there is no room. */
static void finish_new(struct scheduler *s)
{
    struct seq *next = NULL;
    for (struct seq *seq = s->waiting; seq != NULL; seq = next) {
        next = seq->next;
        if (seq->was_admitted)
            continue;
        enum finish how = seq_finish(seq, s->config.n_ctx);
        if (how != FINISH_NONE) {
            add_event(s, seq->req)->finish = how;
            finish(s, &s->waiting, seq);
        } else if (seq->is_surplus) {
            end_with_error(s, &s->waiting, seq, ERR_FULL);
        }
    }
}

/* ---- the plan ---- */

static uint32_t n_pending(const struct seq *seq)
{
    return seq->n_tokens - seq->n_computed;
}

static void plan(struct scheduler *s, struct seq *seq, uint32_t n_tokens)
{
    bool is_last = n_tokens == n_pending(seq);
    s->budget -= n_tokens;
    seq->is_planned = true;
    s->item_seqs[s->n_items] = seq;
    s->items[s->n_items++] = (struct backend_item){
        .tokens = seq->tokens + seq->n_computed,
        .n_tokens = n_tokens,
        .pos0 = seq->n_computed,
        .blocks = seq->kv.blocks,
        .n_logits = is_last,
        .want = sampler_want(seq->sampler, seq_n_reply(seq), NULL, 0),
    };
}

/* Puts the latest arrival back into the queue. */
static struct seq *preempt_latest(struct scheduler *s)
{
    struct seq *seq = list_last(s->running);
    list_remove(&s->running, seq);
    s->n_running--;
    kv_release(s->kv, &seq->kv);
    seq->n_computed = 0;
    list_insert(&s->waiting, seq);
    s->n_waiting++;
    s->n_preemptions++;
    return seq;
}

/* One token of each sequence that decodes. Those after `seq` in the list are later arrivals and not
 * planned yet, so any of them can be put back. */
static void plan_decodes(struct scheduler *s)
{
    struct seq *next = NULL;
    for (struct seq *seq = s->running; seq != NULL; seq = next) {
        bool is_here = true;
        while (is_here && !kv_grow(s->kv, &seq->kv, seq->n_tokens))
            is_here = preempt_latest(s) != seq;
        next = is_here ? seq->next : NULL;
        if (is_here && n_pending(seq) == 1)
            plan(s, seq, 1);
    }
}

static void count_cached(struct scheduler *s, struct seq *seq, uint32_t n_found)
{
    if (seq->was_reported)
        return;
    uint32_t left = seq->n_prompt - seq->n_cached;
    uint32_t n = n_found < left ? n_found : left;
    seq->n_cached += n;
    s->n_prefix_hits += n;
}

static bool admit(struct scheduler *s, struct seq *seq)
{
    uint32_t n_found = kv_match(s->kv, &seq->kv, seq->tenant, seq->tokens, seq->n_tokens);
    /* A block more for each running one, or it would be put back at once. */
    if (!kv_grow(s->kv, &seq->kv, seq->n_tokens) ||
        (s->n_running > 0 && kv_n_available(s->kv) < s->n_running)) {
        kv_release(s->kv, &seq->kv);
        return false;
    }
    list_remove(&s->waiting, seq);
    s->n_waiting--;
    list_insert(&s->running, seq);
    s->n_running++;
    seq->n_computed = n_found;
    if (!seq->was_admitted) {
        seq->was_admitted = true;
        seq->admitted_ns = clock_now_ns();
        s->n_prefix_queries += seq->n_prompt;
        count_cached(s, seq, n_found);
    }
    return true;
}

/* Whether an earlier sequence is about to compute the block that this one needs next. Requests for
 * several replies to one prompt come together: the first one computes it, the others wait. */
static bool is_computed_by_another(const struct scheduler *s, const struct seq *seq)
{
    uint32_t end = seq->n_computed + KV_BLOCK;
    if (seq->n_computed % KV_BLOCK != 0 || end >= seq->n_tokens)
        return false;
    for (const struct seq *e = s->running; e != seq; e = e->next) {
        if (e->tenant == seq->tenant && e->n_computed < end && e->n_tokens >= end &&
            memcmp(e->tokens, seq->tokens, end * sizeof *e->tokens) == 0)
            return true;
    }
    return false;
}

/* Fills s->prefills with the sequences that have a prompt to compute; returns how many. */
static uint32_t find_prefills(struct scheduler *s)
{
    uint32_t n = 0;
    for (struct seq *seq = s->running; seq != NULL; seq = seq->next) {
        if (seq->is_planned)
            continue;
        if (seq->n_computed == seq->kv.n_published * KV_BLOCK) {
            uint32_t n_before = seq->n_computed;
            seq->n_computed =
                kv_adopt(s->kv, &seq->kv, seq->tokens, seq->n_tokens, seq->n_computed);
            count_cached(s, seq, seq->n_computed - n_before);
        }
        if (!is_computed_by_another(s, seq))
            s->prefills[n++] = seq;
    }
    return n;
}

/* Divides the budget among the n prefills. */
static void share_out(struct scheduler *s, uint32_t n)
{
    uint32_t share = s->budget / n;
    uint32_t first = share == 0 ? s->turn++ % n : 0;
    share = share > 0 ? share : 1;
    /* What those with little left do not take of their shares goes to the oldest. */
    uint64_t needed = 0;
    for (uint32_t i = 0; i < n; i++)
        needed += n_pending(s->prefills[i]) < share ? n_pending(s->prefills[i]) : share;
    uint32_t spare = needed < s->budget ? s->budget - (uint32_t)needed : 0;
    for (uint32_t i = 0; i < n && s->budget > 0; i++) {
        struct seq *seq = s->prefills[(first + i) % n];
        uint32_t most = share + spare < s->budget ? share + spare : s->budget;
        uint32_t n_tokens = n_pending(seq) < most ? n_pending(seq) : most;
        spare -= n_tokens > share ? n_tokens - share : 0;
        plan(s, seq, n_tokens);
    }
}

static void plan_prefills(struct scheduler *s)
{
    uint32_t n = find_prefills(s);
    while (s->waiting != NULL && s->n_running < s->config.max_seqs &&
           (uint64_t)n * KV_BLOCK < s->budget && admit(s, s->waiting))
        n = find_prefills(s);
    uint32_t paced = pace_budget(&s->pace, s->n_decodes, s->budget);
    if (n == 0 || paced == 0)
        return;
    uint32_t held_back = s->budget - paced;
    s->budget = paced;
    share_out(s, n);
    s->budget += held_back;
}

/* Most drafts that may follow the last token of `seq`: the reply's end and the KV blocks. */
static uint32_t draft_room(struct scheduler *s, struct seq *seq, uint32_t most)
{
    uint32_t left = seq->max_tokens - seq_n_reply(seq) - 1;
    most = most < left ? most : left;
    left = s->config.n_ctx - seq->n_tokens - 1;
    most = most < left ? most : left;
    left = seq->kv.n_blocks * KV_BLOCK - seq->n_tokens;
    bool is_tight = kv_n_available(s->kv) < s->n_running + most / KV_BLOCK + 1;
    return most > left && is_tight ? left : most;
}

/* Drafts for the first n_decodes items, which are the sequences that decode. */
static void plan_drafts(struct scheduler *s, uint32_t n_decodes)
{
    uint32_t rest = s->config.backend->max_logits - s->config.max_seqs;
    rest = rest < s->budget ? rest : s->budget;
    for (uint32_t i = 0; i < n_decodes && rest > 0 && s->config.spec_tokens > 0; i++) {
        struct seq *seq = s->item_seqs[i];
        struct backend_item *item = &s->items[i];
        uint32_t share = (rest + n_decodes - i - 1) / (n_decodes - i);
        share = share < s->config.spec_tokens ? share : s->config.spec_tokens;
        share = draft_room(s, seq, share);
        seq_reserve(seq, seq->n_tokens + share);
        uint32_t n_rows = s->config.step_tokens - s->budget;
        uint32_t n = draft_propose(&seq->draft, seq->tokens, seq->n_tokens, share, n_rows,
                                   s->config.backend->base_rows);
        ASSERT(kv_grow(s->kv, &seq->kv, seq->n_tokens + n));
        item->tokens = seq->tokens + seq->n_computed;
        item->blocks = seq->kv.blocks;
        item->n_tokens += n;
        item->n_logits += n;
        item->want = sampler_want(seq->sampler, seq_n_reply(seq), seq->tokens + seq->n_tokens, n);
        rest -= n;
        s->budget -= n;
        s->n_drafted += n;
    }
}

/* ---- the results ---- */

static void report_choice(struct scheduler *s, const struct seq *seq,
                          const struct sampler_choice *c, struct rec_token *t)
{
    t->has_id = true;
    t->id = c->id;
    if (!seq->wants_logprobs)
        return;
    t->logprob = c->logprob;
    if (c->n_top == 0)
        return;
    struct rec_top *top = arena_zalloc(s->arena, c->n_top, sizeof *top);
    ASSERT(top != NULL);
    for (uint32_t i = 0; i < c->n_top; i++)
        top[i] = (struct rec_top){.id = c->top[i].id, .logprob = c->top[i].logprob};
    t->top = top;
    t->n_top = c->n_top;
}

/* With its first token goes how long it waited and how long the prompt took, with the end the rest. */
static void report_spans(struct scheduler *s, struct seq *seq, bool is_first, bool is_last,
                         struct rec_token *t)
{
    if (!is_first && !is_last)
        return;
    uint64_t now = clock_now_ns();
    struct rec_span *spans = arena_zalloc(s->arena, 3, sizeof *spans);
    ASSERT(spans != NULL);
    if (is_first) {
        seq->first_ns = now;
        spans[t->n_spans++] = span_of(SPAN_queue, seq->arrived_ns, seq->admitted_ns);
        spans[t->n_spans] = span_of(SPAN_prefill, seq->admitted_ns, now);
        spans[t->n_spans++].n = seq->n_asked - seq->n_cached;
    }
    if (is_last) {
        spans[t->n_spans] = span_of(SPAN_decode, seq->first_ns, now);
        spans[t->n_spans++].n = seq->n_tokens - seq->n_asked - 1;
    }
    t->spans = spans;
}

/* Appends the next token, unless there is none; returns how the reply stands. */
static enum finish take_token(struct scheduler *s, struct seq *seq,
                              const struct backend_logits *logits)
{
    struct rec_token *t = add_event(s, seq->req);
    bool is_first = !seq->was_reported;
    if (is_first) {
        t->cached_tokens = seq->n_cached;
        t->numbers = s->config.numbers;
    }
    seq->was_reported = true;
    struct sampler_choice choice;
    enum err e = sampler_choose(s->bench, seq->sampler, logits, seq_n_reply(seq), &choice);
    if (e) {
        t->finish = FINISH_ERROR;
        t->code = (uint32_t)e;
        t->detail = STR_LIT("the model gives no token a probability");
        return FINISH_ERROR;
    }
    report_choice(s, seq, &choice, t);
    seq_add(seq, choice.id);
    enum finish how = seq_finish(seq, s->config.n_ctx);
    t->finish = (uint32_t)how;
    report_spans(s, seq, is_first, how != FINISH_NONE, t);
    return how;
}

/* What an item brought: the token after the last known one, and those after drafts that were right. */
static void take_item(struct scheduler *s, struct seq *seq, const struct backend_item *item)
{
    uint32_t n_drafts = seq->draft.n_tokens;
    uint32_t n_kept = 0;
    enum finish how = FINISH_NONE;
    for (uint32_t i = 0; i < item->n_logits && how == FINISH_NONE && n_kept == i; i++) {
        uint32_t at = seq->n_tokens;
        uint32_t draft = i < n_drafts ? seq->tokens[at] : UINT32_MAX;
        how = take_token(s, seq, &item->got[i]);
        n_kept += how != FINISH_ERROR && seq->tokens[at] == draft;
    }
    seq->is_planned = false;
    seq->n_computed += item->n_tokens - n_drafts + n_kept;
    kv_publish(s->kv, &seq->kv, seq->tokens, seq->n_computed);
    if (n_drafts > 0)
        draft_settle(&seq->draft, n_kept);
    s->n_accepted += n_kept;
    if (how != FINISH_NONE)
        finish(s, &s->running, seq);
}

static enum err compute(struct scheduler *s)
{
    uint32_t n_prompt = 0;
    for (uint32_t i = s->n_decodes; i < s->n_items; i++)
        n_prompt += s->items[i].n_tokens;
    uint64_t began_ns = clock_now_ns();
    enum err e = backend_step(s->config.backend, s->items, s->n_items);
    pace_note(&s->pace, s->n_decodes, n_prompt, clock_now_ns() - began_ns);
    return e;
}

enum err scheduler_step(struct scheduler *s, struct arena *arena, struct rec_token **ret_items,
                        size_t *ret_n)
{
    s->arena = arena;
    s->events = NULL;
    s->n_events = 0;
    s->cap_events = 0;
    s->n_items = 0;
    s->budget = s->config.step_tokens;
    uint64_t now_ns = clock_now_ns();
    finish_late(s, &s->waiting, now_ns);
    finish_late(s, &s->running, now_ns);
    finish_new(s);
    plan_decodes(s);
    s->n_decodes = s->n_items;
    plan_prefills(s);
    plan_drafts(s, s->n_decodes);
    if (s->n_items > 0) {
        enum err e = compute(s);
        if (e)
            return e;
    }
    for (uint32_t i = 0; i < s->n_items; i++)
        take_item(s, s->item_seqs[i], &s->items[i]);
    *ret_items = s->events;
    *ret_n = s->n_events;
    return ERR_OK;
}

struct kv *scheduler_kv(struct scheduler *s)
{
    return s->kv;
}

struct frame_engine_load scheduler_load(const struct scheduler *s)
{
    return (struct frame_engine_load){
        .running = s->n_running,
        .waiting = s->n_waiting,
        .kv_blocks_used = kv_stats(s->kv).n_held,
        .preemptions = s->n_preemptions,
        .prefix_queries = s->n_prefix_queries,
        .prefix_hits = s->n_prefix_hits,
        .draft_tokens = s->n_drafted,
        .accepted_tokens = s->n_accepted,
    };
}
