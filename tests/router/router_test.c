/* SPDX-License-Identifier: MIT */
/* The real halo-router between fake ends: requests, placement, queue, limits, status. What happens when
 * engines are lost is in replay_test.c. */
#include "tests/router/ends.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/check.h"

static void ids_come_back_under_the_tokenizers_number(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 77, 5, 3);
    UNTIL(w, e->n_seqs == 1);
    for (int i = 0; i < 3; i++)
        engine_step(e);
    UNTIL(w, t->n_ended == 1);
    assert_whole(t, 77);
    assert_int_equal(reply(t, 77)->cached_tokens, 7);
    world_free(w);
}

static void one_step_is_one_frame_for_each_tokenizer(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 8);
    struct fake_tokenizer *a = tokenizer_new(w, "a");
    struct fake_tokenizer *b = tokenizer_new(w, "b");
    for (uint64_t req = 1; req <= 4; req++) { /* the same numbers at both */
        ask(a, req, 10, 5);
        ask(b, req, 20, 5);
    }
    UNTIL(w, e->n_seqs == 8);
    for (int i = 0; i < 5; i++)
        engine_step(e);
    UNTIL(w, a->n_ended == 4 && b->n_ended == 4);
    for (uint64_t req = 1; req <= 4; req++) {
        assert_whole(a, req);
        assert_whole(b, req);
    }
    assert_int_equal(a->n_frames, 5);
    assert_int_equal(b->n_frames, 5);
    world_free(w);
}

static void the_least_loaded_engine_gets_the_next_request(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *big = engine_new(w, "b", 6);
    struct fake_engine *small = engine_new(w, "a", 2);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 9);
    UNTIL(w, small->n_seqs + big->n_seqs == 1);
    assert_int_equal(small->n_seqs, 1); /* both idle: the first by name */
    for (uint64_t req = 2; req <= 8; req++)
        ask(t, req, 1, 9);
    UNTIL(w, small->n_seqs + big->n_seqs == 8);
    assert_int_equal(small->n_seqs, 2);
    assert_int_equal(big->n_seqs, 6);
    world_free(w);
}

static void every_field_of_a_request_reaches_the_engine(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 1);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    uint32_t prompt[] = {9, 8, 7};
    uint32_t resume[] = {fake_id(9, 3, 0), fake_id(9, 3, 1)};
    uint32_t stops[] = {50, 51};
    struct rec_bias bias[] = {{.id = 4, .bias = -100.0F}, {.id = 5, .bias = 1.5F}};
    struct frame_submit f = {
        .req = 1,
        .prompt = prompt,
        .n_prompt = ARRAY_LEN(prompt),
        .resume = resume,
        .n_resume = ARRAY_LEN(resume),
        .sampling = {.max_tokens = 40,
                     .min_tokens = 2,
                     .temperature = 0.5F,
                     .seed = 3,
                     .stop_ids = stops,
                     .n_stop_ids = ARRAY_LEN(stops),
                     .logit_bias = bias,
                     .n_logit_bias = ARRAY_LEN(bias)},
        .deadline_ms = 60000,
        .tenant = 99,
        .model_hash = STR_LIT(HASH_A),
    };
    struct buf want = {0};
    f.req = 0;
    f.deadline_ms = 0;
    assert_int_equal(frame_encode(&want, FRAME_submit, 0, &f), ERR_OK);
    f.req = 1;
    f.deadline_ms = 60000;
    ask_as(t, &f);
    UNTIL(w, e->n_submits == 1);
    /* Equal in bytes but for the number and the time left. */
    assert_int_equal(e->last_submit.len, want.len);
    assert_memory_equal(e->last_submit.ptr, want.ptr, want.len);
    assert_in_range(e->seqs[0].deadline_ms, 50000, 60000);
    buf_fini(&want);
    world_free(w);
}

static void an_engine_gets_little_more_than_it_can_run(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    for (uint64_t req = 1; req <= 20; req++)
        ask(t, req, 1, 2);
    size_t most = 0;
    while (t->n_ended < 20) {
        size_t n = t->n_ended;
        UNTIL(w, e->n_seqs >= 5 || e->n_submits == 20);
        most = e->n_seqs > most ? e->n_seqs : most;
        engine_step(e);
        engine_step(e);
        UNTIL(w, t->n_ended > n);
    }
    assert_int_equal(most, 5);
    for (uint64_t req = 1; req <= 20; req++)
        assert_whole(t, req);
    world_free(w);
}

/* What the engine has started so far, by the first id of the prompt. */
static size_t count_first(const struct fake_engine *e, uint32_t first)
{
    size_t n = 0;
    for (size_t i = 0; i < e->n_seqs; i++)
        n += e->seqs[i].first == first;
    return n;
}

static void tokenizers_take_turns(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_tokenizer *a = tokenizer_new(w, "a");
    struct fake_tokenizer *b = tokenizer_new(w, "b");
    for (uint64_t req = 1; req <= 20; req++)
        ask(a, req, 100, 1);
    UNTIL(w, a->load.waiting == 20);
    for (uint64_t req = 1; req <= 3; req++)
        ask(b, req, 200, 1);
    UNTIL(w, a->load.waiting == 23);
    struct fake_engine *e = engine_new(w, "1", 6); /* 7 with its margin */
    UNTIL(w, e->n_seqs == 7);
    assert_int_equal(count_first(e, 200), 3);
    assert_int_equal(count_first(e, 100), 4);
    for (size_t i = 0; i < 5; i++) /* in turn, whoever is first */
        assert_int_equal(e->seqs[i].first + e->seqs[i + 1].first, 300);
    world_free(w);
}

static void one_tokenizers_requests_keep_their_order(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    for (uint64_t req = 1; req <= 8; req++)
        ask(t, req, 1, 1);
    struct fake_engine *e = engine_new(w, "1", 16);
    UNTIL(w, e->n_seqs == 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(e->seqs[i].seed, i + 1);
    world_free(w);
}

/* A request of one share for a reply of a token. */
static void ask_for(struct fake_tokenizer *t, uint64_t req, uint64_t share, bool again)
{
    uint32_t prompt[] = {(uint32_t)share, 1};
    struct frame_submit f = {.req = req,
                             .prompt = prompt,
                             .n_prompt = 2,
                             .sampling = {.max_tokens = 1, .seed = req},
                             .share = share,
                             .again = again};
    ask_as(t, &f);
}

static void a_share_with_one_request_is_next_whichever_tokenizer_brings_it(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_tokenizer *a = tokenizer_new(w, "a");
    struct fake_tokenizer *b = tokenizer_new(w, "b");
    for (uint64_t req = 1; req <= 20; req++)
        ask_for(req % 2 ? a : b, req, 100, false); /* one flood by way of both */
    UNTIL(w, a->load.waiting == 20);
    struct fake_engine *e = engine_new(w, "1", 1);
    UNTIL(w, e->n_seqs == 2 && a->load.waiting == 18);
    ask_for(b, 21, 200, false);
    UNTIL(w, a->load.waiting == 19);
    engine_step(e);
    UNTIL(w, e->n_submits == 3);
    assert_int_equal(e->seqs[e->n_seqs - 1].first, 200);
    world_free(w);
}

static void what_was_accepted_before_is_not_refused(void **state)
{
    (void)state;
    struct world *w = world_new((const char *const[]){"--queue-limit", "1", NULL});
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask_for(t, 1, 7, false);
    ask_for(t, 2, 7, true);
    ask_for(t, 3, 7, true);
    ask_for(t, 4, 7, false);
    UNTIL(w, t->n_ended == 1);
    assert_failed(t, 4, ERR_FULL, "--queue-limit 1");
    assert_true(reply(t, 4)->retry_ms > 0);
    UNTIL(w, t->load.waiting == 3);
    world_free(w);
}

static void who_waits_is_told_where_and_again_when_it_changes(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    for (uint64_t req = 1; req <= 5; req++)
        ask_for(t, req, 100, false);
    ask_for(t, 6, 200, false);
    UNTIL(w, t->n_queued == 1);
    /* The second share comes after the first one's first request. */
    static const uint32_t PLACES[] = {1, 3, 4, 5, 6, 2};
    for (uint64_t req = 1; req <= 6; req++)
        assert_int_equal(reply(t, req)->position, PLACES[req - 1]);
    struct fake_engine *e = engine_new(w, "1", 1);
    UNTIL(w, e->n_seqs == 2);
    UNTIL(w, t->n_queued == 2);
    for (uint64_t req = 2; req <= 5; req++)
        assert_int_equal(reply(t, req)->position, PLACES[req - 1] - 2);
    world_free(w);
}

static void a_full_queue_refuses_in_words(void **state)
{
    (void)state;
    struct world *w = world_new((const char *const[]){"--queue-limit", "3", NULL});
    struct fake_engine *e = engine_new(w, "1", 1); /* and one more waits there */
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    for (uint64_t req = 1; req <= 6; req++)
        ask(t, req, 1, 1);
    UNTIL(w, t->n_ended == 1);
    assert_failed(t, 6, ERR_FULL, "--queue-limit 3");
    UNTIL(w, t->load.waiting == 3);
    assert_int_equal(t->load.queue_limit, 3);
    for (size_t i = 0; i < 5; i++) {
        UNTIL(w, e->n_seqs > 0);
        engine_step(e);
        UNTIL(w, t->n_ended == i + 2);
    }
    for (uint64_t req = 1; req <= 5; req++)
        assert_whole(t, req);
    world_free(w);
}

/* The queue may be full of requests for a model whose engine is away. */
static void a_full_queue_does_not_stop_what_needs_no_waiting(void **state)
{
    (void)state;
    struct world *w = world_new((const char *const[]){"--queue-limit", "1", NULL});
    struct fake_engine *e = engine_new(w, "1", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    UNTIL(w, t->load.engines == 1);
    uint32_t prompt[] = {1};
    struct frame_submit f = {.req = 1,
                             .prompt = prompt,
                             .n_prompt = 1,
                             .sampling = {.max_tokens = 1},
                             .model_hash = STR_LIT(HASH_B)};
    ask_as(t, &f);
    f.req = 2;
    ask_as(t, &f);
    UNTIL(w, t->n_ended == 1);
    assert_failed(t, 2, ERR_FULL, "1 requests wait");
    ask(t, 3, 1, 1);
    UNTIL(w, e->n_seqs == 1);
    engine_step(e);
    UNTIL(w, t->n_ended == 2);
    assert_whole(t, 3);
    world_free(w);
}

static void a_cancelled_request_is_stopped_wherever_it_is(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 1);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    for (uint64_t req = 1; req <= 4; req++)
        ask(t, req, 1, 2);
    UNTIL(w, e->n_seqs == 2);
    engine_step(e);
    UNTIL(w, reply(t, 1)->n_ids == 1);
    uint64_t running = e->seqs[0].id;
    cancel(t, 3); /* waits in the queue */
    cancel(t, 1);
    cancel(t, 12345); /* never was */
    UNTIL(w, e->n_cancels == 1 && e->n_seqs == 2);
    assert_true(e->seqs[0].id != running);
    assert_int_equal(e->seqs[0].seed, 2);
    assert_int_equal(e->seqs[1].seed, 4);
    for (int i = 0; i < 4; i++)
        engine_step(e);
    UNTIL(w, t->n_ended == 2);
    assert_whole(t, 2);
    assert_whole(t, 4);
    assert_int_equal(reply(t, 1)->n_ids, 1);
    assert_int_equal(e->n_submits, 3);
    world_free(w);
}

static void tokens_of_a_cancelled_request_go_nowhere(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 9);
    ask(t, 2, 1, 9);
    UNTIL(w, e->n_seqs == 2);
    uint64_t gone = e->seqs[0].id;
    cancel(t, 1);
    UNTIL(w, e->n_cancels == 1);
    struct rec_token items[] = {
        {.req = gone, .has_id = true, .id = 1},
        {.req = 424242, .has_id = true, .id = 1},
        {.req = e->seqs[0].id, .has_id = true, .id = fake_id(1, 2, 0)},
        {.req = gone, .finish = FINISH_LENGTH},
    };
    struct frame_tokens f = {.items = items, .n_items = ARRAY_LEN(items)};
    assert_int_equal(link_send(e->link, FRAME_tokens, &f), ERR_OK);
    UNTIL(w, reply(t, 2)->n_ids == 1);
    assert_int_equal(reply(t, 1)->n_ids, 0);
    assert_int_equal(t->n_frames, 1);
    assert_int_equal(e->n_downs, 0);
    world_free(w);
}

static void an_engine_speaks_only_for_what_it_was_given(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *a = engine_new(w, "a", 4);
    struct fake_engine *b = engine_new(w, "b", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 2);
    ask(t, 2, 2, 2);
    UNTIL(w, a->n_seqs == 1 && b->n_seqs == 1);
    struct rec_token foreign = {.req = a->seqs[0].id, .has_id = true, .id = 1, .finish = 1};
    struct frame_tokens f = {.items = &foreign, .n_items = 1};
    assert_int_equal(link_send(b->link, FRAME_tokens, &f), ERR_OK);
    engine_step(b);
    engine_step(b);
    UNTIL(w, t->n_ended == 1);
    assert_whole(t, 2);
    engine_step(a);
    engine_step(a);
    UNTIL(w, t->n_ended == 2);
    assert_whole(t, 1);
    assert_whole(t, 2);
    world_free(w);
}

static void a_deadline_ends_a_reply_at_the_engine_and_in_the_queue(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 1);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    uint32_t prompt[] = {1};
    struct frame_submit f = {
        .prompt = prompt, .n_prompt = 1, .sampling = {.max_tokens = 5}, .deadline_ms = 150};
    f.req = 1;
    ask_as(t, &f);
    ask(t, 2, 1, 1);
    f.req = 3;
    f.deadline_ms = 50; /* before there is room */
    ask_as(t, &f);
    UNTIL(w, e->n_seqs == 2);
    UNTIL(w, t->n_ended == 2 && e->n_cancels == 1);
    assert_failed(t, 1, ERR_TIMEOUT, "deadline");
    assert_failed(t, 3, ERR_TIMEOUT, "no engine had room");
    engine_step(e);
    UNTIL(w, t->n_ended == 3);
    assert_whole(t, 2);
    world_free(w);
}

static void a_request_waits_for_an_engine_to_appear(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 2);
    UNTIL(w, t->load.waiting == 1);
    struct fake_engine *e = engine_new(w, "1", 1);
    UNTIL(w, e->n_seqs == 1);
    engine_step(e);
    engine_step(e);
    UNTIL(w, t->n_ended == 1);
    assert_whole(t, 1);
    world_free(w);
}

static void the_wait_for_an_engine_ends(void **state)
{
    (void)state;
    struct world *w = world_new((const char *const[]){"--engine-wait-ms", "150", NULL});
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    uint64_t start = clock_now_ms();
    ask(t, 1, 1, 2);
    UNTIL(w, t->n_ended == 1);
    assert_true(clock_now_ms() - start >= 150);
    assert_failed(t, 1, ERR_NO_ENGINE, "150 ms");
    /* One that has an engine waits as long as it takes. */
    struct fake_engine *e = engine_new(w, "1", 1);
    for (uint64_t req = 2; req <= 5; req++)
        ask(t, req, 1, 1);
    UNTIL(w, e->n_seqs == 2);
    for (start = clock_now_ms(); clock_now_ms() - start < 400;)
        loop_turn(w->loop, 50);
    assert_int_equal(t->n_ended, 1);
    /* Until that engine goes and does not come back. */
    engine_die(e);
    UNTIL(w, t->n_ended == 5);
    assert_failed(t, 2, ERR_NO_ENGINE, "stable lane");
    assert_failed(t, 5, ERR_NO_ENGINE, "stable lane");
    world_free(w);
}

static struct frame_engine engine_of_b(uint32_t lane)
{
    return (struct frame_engine){.model_hash = STR_LIT(HASH_B),
                                 .model_name = STR_LIT("b"),
                                 .context = 64,
                                 .max_seqs = 4,
                                 .kv_blocks = 10,
                                 .block_tokens = 16,
                                 .backend = STR_LIT("fake"),
                                 .lane = lane};
}

static void lane_and_model_choose_the_engine(void **state)
{
    (void)state;
    struct world *w = world_new((const char *const[]){"--engine-wait-ms", "100", NULL});
    struct fake_engine *a = engine_new(w, "1", 4);
    struct frame_engine says = engine_of_b(1);
    struct fake_engine *b = engine_new_as(w, "2", &says);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    UNTIL(w, t->n_models == 2);
    uint32_t prompt[] = {1};
    struct frame_submit f = {.prompt = prompt, .n_prompt = 1, .sampling = {.max_tokens = 1}};
    f.req = 1;
    f.model_hash = str_from(HASH_A);
    ask_as(t, &f);
    f.req = 2;
    f.lane = 1;
    f.model_hash = str_from(HASH_B);
    ask_as(t, &f);
    f.req = 3;
    f.model_hash = str_from(""); /* any */
    ask_as(t, &f);
    UNTIL(w, a->n_seqs == 1 && b->n_seqs == 2);
    assert_int_equal(b->seqs[1].seed, 0);
    f.req = 4;
    f.model_hash = str_from(HASH_A);
    ask_as(t, &f);
    f.req = 5;
    f.lane = 2;
    ask_as(t, &f);
    UNTIL(w, t->n_ended == 2);
    assert_failed(t, 4, ERR_NO_ENGINE, "candidate lane");
    assert_failed(t, 5, ERR_INVALID, "no such lane");
    world_free(w);
}

static void a_prompt_beyond_the_context_is_refused(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct frame_engine says = engine_of_b(0);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    uint32_t prompt[64] = {1};
    struct frame_submit f = {.prompt = prompt, .sampling = {.max_tokens = 100}};
    f.req = 1;
    f.n_prompt = 64;
    ask_as(t, &f); /* waits: another engine might have room */
    struct fake_engine *e = engine_new_as(w, "1", &says);
    UNTIL(w, t->n_ended == 1);
    assert_failed(t, 1, ERR_CONTEXT, "64 tokens");
    f.req = 2;
    f.n_prompt = 63;
    ask_as(t, &f);
    UNTIL(w, e->n_seqs == 1);
    assert_int_equal(e->seqs[0].max_tokens, 1); /* where the context ends */
    f.req = 3;
    f.n_prompt = 0;
    ask_as(t, &f);
    f.req = 4;
    f.n_prompt = 1;
    f.sampling.max_tokens = 0;
    ask_as(t, &f);
    UNTIL(w, t->n_ended == 3);
    assert_failed(t, 3, ERR_INVALID, "no tokens");
    assert_failed(t, 4, ERR_INVALID, "max_tokens");
    world_free(w);
}

static void what_a_lost_tokenizer_asked_for_is_cancelled(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 4);
    struct fake_tokenizer *a = tokenizer_new(w, "a");
    struct fake_tokenizer *b = tokenizer_new(w, "b");
    for (uint64_t req = 1; req <= 3; req++)
        ask(a, req, 1, 3);
    UNTIL(w, e->n_seqs == 3);
    for (uint64_t req = 1; req <= 3; req++)
        ask(b, req, 2, 3);
    UNTIL(w, e->n_seqs == 5);
    tokenizer_die(a);
    UNTIL(w, e->n_cancels == 3 && e->n_seqs == 3);
    for (int i = 0; i < 3; i++)
        engine_step(e);
    UNTIL(w, b->n_ended == 3);
    for (uint64_t req = 1; req <= 3; req++)
        assert_whole(b, req);
    world_free(w);
}

static void an_engines_own_error_reaches_the_client(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 3);
    UNTIL(w, e->n_seqs == 1);
    struct rec_token item = {.req = e->seqs[0].id,
                             .finish = FINISH_ERROR,
                             .code = ERR_RANGE,
                             .detail = STR_LIT("token id 7 is beyond")};
    struct frame_tokens f = {.items = &item, .n_items = 1};
    assert_int_equal(link_send(e->link, FRAME_tokens, &f), ERR_OK);
    UNTIL(w, t->n_ended == 1);
    assert_failed(t, 1, ERR_RANGE, "beyond");
    world_free(w);
}

/* ---- hostile peers ----------------------------------------------------------------------------- */

/* The router is alive and serves. */
static void assert_serves(struct world *w)
{
    struct fake_engine *e = engine_new(w, "well", 1);
    struct fake_tokenizer *t = tokenizer_new(w, "well");
    ask(t, 1, 1, 1);
    UNTIL(w, e->n_seqs == 1);
    engine_step(e);
    UNTIL(w, t->n_ended == 1);
    assert_whole(t, 1);
}

static void a_tokenizers_wrong_frame_drops_it(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    struct rec_token item = {.req = 1, .has_id = true};
    struct frame_tokens tokens = {.items = &item, .n_items = 1};
    assert_int_equal(link_send(t->link, FRAME_tokens, &tokens), ERR_OK);
    UNTIL(w, t->n_downs == 1 && t->is_up);
    struct frame_status status = {0};
    assert_int_equal(link_send(t->link, FRAME_status, &status), ERR_OK);
    UNTIL(w, t->n_downs == 2 && t->is_up);
    ask(t, 5, 1, 1);
    ask_again(t, reply(t, 5)); /* a number that is in use */
    UNTIL(w, t->n_downs == 3 && t->is_up);
    tokenizer_die(t);
    assert_serves(w);
    world_free(w);
}

static void send_and_be_dropped(struct fake_engine *e, enum frame_type type, const void *body)
{
    size_t n = e->n_downs;
    assert_int_equal(link_send(e->link, type, body), ERR_OK);
    UNTIL(e->world, e->n_downs == n + 1 && e->is_up);
}

static void an_engines_wrong_frame_drops_it(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 4);
    struct frame_cancel c = {.req = 1};
    struct frame_tokens tokens = {0};
    struct frame_engine_load load = {.running = 1};
    struct rec_token item = {.req = 1, .finish = 99};
    send_and_be_dropped(e, FRAME_cancel, &c);
    send_and_be_dropped(e, FRAME_engine, &e->says); /* said twice */
    tokens.items = &item;
    tokens.n_items = 1;
    send_and_be_dropped(e, FRAME_tokens, &tokens); /* no such finish */
    e->is_mute = true;
    send_and_be_dropped(e, FRAME_cancel, &c);
    send_and_be_dropped(e, FRAME_engine_load, &load); /* before it said what it serves */
    struct frame_engine bad = e->says;
    bad.max_seqs = 0;
    send_and_be_dropped(e, FRAME_engine, &bad);
    bad = e->says;
    bad.lane = 7;
    send_and_be_dropped(e, FRAME_engine, &bad);
    bad = e->says;
    bad.model_name = STR_LIT("");
    send_and_be_dropped(e, FRAME_engine, &bad);
    bad = e->says;
    bad.model_hash = STR_LIT("a\0b");
    send_and_be_dropped(e, FRAME_engine, &bad);
    engine_die(e);
    assert_serves(w);
    world_free(w);
}

static void an_engine_that_never_stops_is_dropped(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 2);
    UNTIL(w, e->n_seqs == 1);
    struct rec_token items[3] = {{0}};
    for (size_t i = 0; i < 3; i++)
        items[i] = (struct rec_token){.req = e->seqs[0].id, .has_id = true, .id = fake_id(1, 1, i)};
    struct frame_tokens f = {.items = items, .n_items = 3};
    send_and_be_dropped(e, FRAME_tokens, &f);
    UNTIL(w, e->n_seqs == 1); /* it is back, and asked to end what has all its tokens */
    assert_int_equal(e->seqs[0].n_resumed, 2);
    engine_step(e);
    UNTIL(w, t->n_ended == 1);
    assert_whole(t, 1);
    world_free(w);
}

static void other_services_are_turned_away(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_tokenizer side = {.world = w};
    struct link_handler h = tokenizer_handler(&side);
    struct link_config c = {
        .loop = w->loop, .run = w->run, .service = "gateway", .instance = "", .epoch = 5};
    struct link *l;
    assert_int_equal(link_dial(&c, "router", &h, &l), ERR_OK);
    UNTIL(w, side.n_downs > 0);
    assert_int_equal(side.n_status, 0);
    link_close(l);
    assert_serves(w);
    world_free(w);
}

/* ---- status ------------------------------------------------------------------------------------ */

static void status_follows_the_set_of_models(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    UNTIL(w, t->n_status == 1);
    assert_int_equal(t->n_models, 0);
    struct fake_engine *a = engine_new(w, "1", 4);
    UNTIL(w, t->n_models == 1);
    assert_string_equal(t->model, "a");
    assert_string_equal(t->model_hash, HASH_A);
    assert_int_equal(t->model_context, 4096);
    struct fake_engine *same = engine_new(w, "2", 4);
    UNTIL(w, t->load.engines == 2);
    assert_int_equal(t->n_models, 1);
    struct frame_engine says = engine_of_b(1);
    says.model_name = STR_LIT("a"); /* a candidate of that name comes after the stable one */
    struct fake_engine *b = engine_new_as(w, "0", &says);
    UNTIL(w, t->load.engines == 3);
    assert_int_equal(t->n_models, 2);
    assert_string_equal(t->model_hash, HASH_A);
    struct fake_tokenizer *late = tokenizer_new(w, "2");
    UNTIL(w, late->n_status == 1);
    assert_int_equal(late->n_models, 2);
    engine_die(a);
    engine_die(same);
    UNTIL(w, t->load.engines == 1);
    assert_string_equal(t->model_hash, HASH_B);
    engine_die(b);
    UNTIL(w, t->n_models == 0);
    world_free(w);
}

static void load_is_summed_and_counters_outlive_their_engine(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *a = engine_new(w, "1", 4);
    struct fake_engine *b = engine_new(w, "2", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    struct frame_engine_load load = {.running = 2,
                                     .waiting = 1,
                                     .kv_blocks_used = 30,
                                     .preemptions = 5,
                                     .prefix_queries = 100,
                                     .prefix_hits = 60,
                                     .draft_tokens = 9,
                                     .accepted_tokens = 7};
    assert_int_equal(link_send(a->link, FRAME_engine_load, &load), ERR_OK);
    assert_int_equal(link_send(b->link, FRAME_engine_load, &load), ERR_OK);
    UNTIL(w, t->load.running == 4);
    assert_int_equal(t->load.waiting, 2);
    assert_int_equal(t->load.kv_blocks, 200);
    assert_int_equal(t->load.kv_blocks_used, 60);
    assert_int_equal(t->load.prefix_hits, 120);
    assert_int_equal(t->load.draft_tokens, 18);
    assert_int_equal(t->load.accepted_tokens, 14);
    engine_die(a);
    UNTIL(w, t->load.engines == 1);
    assert_int_equal(t->load.running, 2);
    assert_int_equal(t->load.preemptions, 10);
    assert_int_equal(t->load.prefix_queries, 200);
    assert_int_equal(t->load.prefix_hits, 120);
    assert_int_equal(t->load.draft_tokens, 18);
    assert_int_equal(t->load.accepted_tokens, 14);
    world_free(w);
}

static void nothing_is_sent_when_nothing_changes(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    struct frame_engine_load load = {.running = 2};
    assert_int_equal(link_send(e->link, FRAME_engine_load, &load), ERR_OK);
    UNTIL(w, t->load.running == 2);
    size_t n = t->n_status;
    for (int i = 0; i < 8; i++) { /* as engines do while they wait */
        assert_int_equal(link_send(e->link, FRAME_engine_load, &load), ERR_OK);
        for (uint64_t start = clock_now_ms(); clock_now_ms() - start < 100;)
            loop_turn(w->loop, 20);
    }
    assert_int_equal(t->n_status, n);
    world_free(w);
}

/* ---- the process ------------------------------------------------------------------------------- */

static void sigterm_says_bye_and_ends_within_a_second(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "1", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    for (uint64_t req = 1; req <= 9; req++)
        ask(t, req, 1, 100);
    UNTIL(w, e->n_seqs == 5);
    engine_step(e);
    uint64_t start = clock_now_ms();
    router_stop(w);
    assert_true(clock_now_ms() - start < 1000);
    UNTIL(w, e->n_downs == 1 && t->n_downs == 1);
    assert_int_equal(t->n_ended, 0); /* they go on at the next router */
    world_free(w);
}

static void sigterm_does_not_wait_for_a_peer_that_does_not_answer(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    (void)engine_new(w, "1", 4);
    uint64_t start = clock_now_ms();
    router_stop_alone(w); /* our loop stands still */
    assert_true(clock_now_ms() - start < 1500);
    world_free(w);
}

static void a_second_router_in_the_run_directory_gives_up(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    int first = w->router_pid;
    int status;
    router_start(w, NULL);
    assert_int_equal(waitpid(w->router_pid, &status, 0), w->router_pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    w->router_pid = first;
    assert_true(t->is_up);
    assert_serves(w);
    world_free(w);
}

static void it_is_ready_when_it_listens(void **state)
{
    (void)state;
    char path[] = "/tmp/halo-notify-XXXXXX";
    assert_non_null(mkdtemp(path));
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s/s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&a, sizeof a), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", a.sun_path, 1), 0);
    struct world *w = world_new(NULL);
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    char text[256] = "";
    assert_true(recv(fd, text, sizeof text - 1, 0) > 0);
    assert_non_null(strstr(text, "READY=1"));
    char socket_path[128];
    (void)snprintf(socket_path, sizeof socket_path, "%s/router.sock", w->run);
    assert_int_equal(access(socket_path, F_OK), 0);
    (void)engine_new(w, "1", 4);
    do { /* numbers for the operator */
        ssize_t n = recv(fd, text, sizeof text - 1, 0);
        assert_true(n > 0);
        text[n] = '\0';
    } while (strstr(text, "STATUS=1 engines, 1 models") == NULL);
    world_free(w);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(a.sun_path), 0);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_come_back_under_the_tokenizers_number),
        cmocka_unit_test(one_step_is_one_frame_for_each_tokenizer),
        cmocka_unit_test(the_least_loaded_engine_gets_the_next_request),
        cmocka_unit_test(every_field_of_a_request_reaches_the_engine),
        cmocka_unit_test(an_engine_gets_little_more_than_it_can_run),
        cmocka_unit_test(tokenizers_take_turns),
        cmocka_unit_test(one_tokenizers_requests_keep_their_order),
        cmocka_unit_test(a_share_with_one_request_is_next_whichever_tokenizer_brings_it),
        cmocka_unit_test(what_was_accepted_before_is_not_refused),
        cmocka_unit_test(who_waits_is_told_where_and_again_when_it_changes),
        cmocka_unit_test(a_full_queue_refuses_in_words),
        cmocka_unit_test(a_full_queue_does_not_stop_what_needs_no_waiting),
        cmocka_unit_test(a_cancelled_request_is_stopped_wherever_it_is),
        cmocka_unit_test(tokens_of_a_cancelled_request_go_nowhere),
        cmocka_unit_test(an_engine_speaks_only_for_what_it_was_given),
        cmocka_unit_test(a_deadline_ends_a_reply_at_the_engine_and_in_the_queue),
        cmocka_unit_test(a_request_waits_for_an_engine_to_appear),
        cmocka_unit_test(the_wait_for_an_engine_ends),
        cmocka_unit_test(lane_and_model_choose_the_engine),
        cmocka_unit_test(a_prompt_beyond_the_context_is_refused),
        cmocka_unit_test(what_a_lost_tokenizer_asked_for_is_cancelled),
        cmocka_unit_test(an_engines_own_error_reaches_the_client),
        cmocka_unit_test(a_tokenizers_wrong_frame_drops_it),
        cmocka_unit_test(an_engines_wrong_frame_drops_it),
        cmocka_unit_test(an_engine_that_never_stops_is_dropped),
        cmocka_unit_test(other_services_are_turned_away),
        cmocka_unit_test(status_follows_the_set_of_models),
        cmocka_unit_test(load_is_summed_and_counters_outlive_their_engine),
        cmocka_unit_test(nothing_is_sent_when_nothing_changes),
        cmocka_unit_test(sigterm_says_bye_and_ends_within_a_second),
        cmocka_unit_test(sigterm_does_not_wait_for_a_peer_that_does_not_answer),
        cmocka_unit_test(a_second_router_in_the_run_directory_gives_up),
        cmocka_unit_test(it_is_ready_when_it_listens),
    };
    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
