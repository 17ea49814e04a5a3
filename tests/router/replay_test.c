/* SPDX-License-Identifier: MIT */
/* Engines and routers that are lost in the middle: every reply goes on exactly. */
#include "tests/router/ends.h"

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/mem.h"

extern char **environ;

static void a_reply_goes_on_at_another_engine(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *a = engine_new(w, "a", 4);
    struct fake_engine *b = engine_new(w, "b", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 5, 10);
    UNTIL(w, a->n_seqs == 1);
    for (int i = 0; i < 4; i++)
        engine_step(a);
    UNTIL(w, reply(t, 1)->n_ids == 4);
    engine_die(a);
    UNTIL(w, b->n_seqs == 1);
    assert_int_equal(b->seqs[0].n_resumed, 4);
    for (int i = 0; i < 6; i++)
        engine_step(b);
    UNTIL(w, t->n_ended == 1);
    assert_whole(t, 1);
    assert_int_equal(reply(t, 1)->cached_tokens, 7); /* reported once */
    world_free(w);
}

static void run_to_the_end(struct world *w, struct fake_engine *e, struct fake_tokenizer *t,
                           size_t n_ended)
{
    while (t->n_ended < n_ended) {
        UNTIL(w, e->n_seqs > 0 || t->n_ended >= n_ended);
        engine_step(e);
        loop_turn(w->loop, 1);
    }
}

static void a_reply_goes_on_at_the_same_engine_when_it_returns(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "a", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 5, 10);
    ask(t, 2, 6, 10);
    UNTIL(w, e->n_seqs == 2);
    engine_step(e);
    engine_step(e);
    uint64_t old_id = e->seqs[0].id;
    UNTIL(w, reply(t, 2)->n_ids == 2);
    engine_die(e);
    UNTIL(w, t->load.replays == 2 && t->load.waiting == 2);
    engine_return(e);
    UNTIL(w, e->n_seqs == 2);
    assert_int_equal(e->seqs[0].n_resumed, 2);
    assert_int_equal(e->seqs[0].seed, 1); /* in their order */
    /* An engine that did not forget speaks of the old placement: nobody hears it. */
    assert_true(e->seqs[0].id != old_id);
    struct rec_token stale = {.req = old_id, .has_id = true, .id = 1};
    struct frame_tokens f = {.items = &stale, .n_items = 1};
    assert_int_equal(link_send(e->link, FRAME_tokens, &f), ERR_OK);
    run_to_the_end(w, e, t, 2);
    assert_whole(t, 1);
    assert_whole(t, 2);
    world_free(w);
}

static void what_lost_its_engine_comes_before_what_is_new(void **state)
{
    (void)state;
    struct world *w = world_new((const char *const[]){"--queue-limit", "2", NULL});
    struct fake_engine *e = engine_new(w, "a", 2);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    for (uint64_t req = 1; req <= 5; req++)
        ask(t, req, 1, 3);
    UNTIL(w, e->n_seqs == 3);
    UNTIL(w, t->load.waiting == 2); /* the queue is full */
    engine_step(e);
    UNTIL(w, reply(t, 2)->n_ids == 1);
    engine_die(e);
    UNTIL(w, t->load.waiting == 5); /* and yet takes what comes back */
    engine_return(e);
    UNTIL(w, e->n_seqs == 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(e->seqs[i].seed, i + 1);
    run_to_the_end(w, e, t, 5);
    for (uint64_t req = 1; req <= 5; req++)
        assert_whole(t, req);
    world_free(w);
}

static void a_replay_has_the_time_that_is_left(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "a", 2);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    uint32_t prompt[] = {1};
    struct frame_submit f = {.req = 1,
                             .prompt = prompt,
                             .n_prompt = 1,
                             .sampling = {.max_tokens = 5},
                             .deadline_ms = 20000};
    ask_as(t, &f);
    UNTIL(w, e->n_seqs == 1);
    uint32_t first = e->seqs[0].deadline_ms;
    for (uint64_t start = clock_now_ms(); clock_now_ms() - start < 200;)
        loop_turn(w->loop, 50);
    engine_die(e);
    engine_return(e);
    UNTIL(w, e->n_seqs == 1);
    assert_in_range(e->seqs[0].deadline_ms, 1, first - 200);
    world_free(w);
}

static void a_replay_keeps_its_model_and_its_end(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct frame_engine says = {.model_hash = STR_LIT(HASH_A),
                                .model_name = STR_LIT("a"),
                                .context = 16,
                                .max_seqs = 2,
                                .kv_blocks = 4,
                                .block_tokens = 16,
                                .backend = STR_LIT("fake")};
    struct fake_engine *large = engine_new(w, "a", 2); /* 4096 positions */
    struct fake_engine *small = engine_new_as(w, "b", &says);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    UNTIL(w, t->load.engines == 2);
    assert_int_equal(t->n_models, 1);
    assert_int_equal(t->model_context, 16);
    ask(t, 1, 5, 100); /* of any model; ends at the shortest context's end: 12 ids */
    UNTIL(w, large->n_seqs == 1);
    assert_int_equal(large->seqs[0].max_tokens, 12);
    engine_step(large);
    UNTIL(w, reply(t, 1)->n_ids == 1);
    engine_die(small);
    says.model_hash = STR_LIT(HASH_B);
    struct fake_engine *other = engine_new_as(w, "c", &says);
    UNTIL(w, t->n_models == 2);
    engine_die(large);
    UNTIL(w, t->load.engines == 1 && t->load.waiting == 1);
    engine_return(small);
    UNTIL(w, small->n_seqs == 1);
    assert_int_equal(small->seqs[0].max_tokens, 12);
    run_to_the_end(w, small, t, 1);
    assert_int_equal(reply(t, 1)->finish, FINISH_LENGTH);
    assert_int_equal(reply(t, 1)->n_ids, 12);
    assert_int_equal(other->n_submits, 0);
    world_free(w);
}

static struct fake_engine *engine_of_numbers(struct world *w, const char *name, uint64_t numbers)
{
    const struct frame_engine says = {.model_hash = STR_LIT(HASH_A),
                                      .model_name = STR_LIT("a"),
                                      .context = 4096,
                                      .max_seqs = 1,
                                      .kv_blocks = 1000,
                                      .block_tokens = 16,
                                      .backend = STR_LIT("fake"),
                                      .numbers = numbers};
    return engine_new_as(w, name, &says);
}

static void a_reply_goes_on_only_where_the_numbers_are_the_same(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *a = engine_of_numbers(w, "a", 7);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 5, 10);
    ask(t, 2, 5, 10); /* the second one gets no token yet */
    UNTIL(w, a->n_seqs == 2);
    struct fake_engine *b = engine_of_numbers(w, "b", 8);
    UNTIL(w, t->load.engines == 2);
    engine_step(a);
    UNTIL(w, reply(t, 1)->n_ids == 1);
    engine_die(a);
    UNTIL(w, b->n_seqs == 1 && t->load.waiting == 1);
    assert_int_equal(b->seqs[0].seed, 2);
    run_to_the_end(w, b, t, 1);
    assert_whole(t, 2);
    assert_int_equal(b->n_submits, 1);
    struct fake_engine *c = engine_of_numbers(w, "c", 7);
    UNTIL(w, c->n_seqs == 1);
    assert_int_equal(c->seqs[0].n_resumed, 1);
    run_to_the_end(w, c, t, 2);
    assert_whole(t, 1);
    world_free(w);
}

/* The new router knows of the reply what the tokenizer tells. */
static void a_router_that_was_away_places_by_what_the_resume_says(void **state)
{
    (void)state;
    struct world *w = world_new((const char *const[]){"--engine-wait-ms", "200", NULL});
    struct fake_engine *b = engine_of_numbers(w, "b", 8);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    uint32_t prompt[] = {1};
    uint32_t came[] = {fake_id(1, 0, 0)};
    struct frame_submit f = {.req = 1,
                             .prompt = prompt,
                             .n_prompt = 1,
                             .resume = came,
                             .n_resume = 1,
                             .sampling = {.max_tokens = 3},
                             .numbers = 7};
    ask_as(t, &f);
    UNTIL(w, t->n_ended == 1);
    assert_failed(t, 1, ERR_NO_ENGINE, "can go on with the reply as it began");
    assert_int_equal(b->n_submits, 0);
    f.req = 2;
    f.numbers = 8;
    ask_as(t, &f);
    UNTIL(w, b->n_seqs == 1);
    assert_int_equal(b->seqs[0].n_resumed, 1);
    world_free(w);
}

/* Steps until all that the router has placed there has got on, so that nothing is taken for what
 * kills the engine next. */
static void settle(struct world *w, struct fake_engine *e)
{
    for (size_t n_submits = 0; n_submits != e->n_submits || !engine_is_proven(e);) {
        n_submits = e->n_submits;
        if (e->n_seqs == 0)
            return;
        if (!engine_is_proven(e))
            engine_step(e);
        for (uint64_t start = clock_now_ms(); clock_now_ms() - start < 8;)
            loop_turn(w->loop, 2);
    }
}

static bool is_none_at_its_end(const struct fake_engine *e)
{
    for (size_t i = 0; i < e->n_seqs; i++) {
        if (e->seqs[i].n_ids + 1 >= e->seqs[i].max_tokens)
            return false;
    }
    return true;
}

/* Hundreds of requests of two tokenizers, three engines of which one dies every few steps, often with
 * tokens on the way. The fake ends compare every id. On a slow machine a death may hit a request three
 * times before its first token, whatever settle does: it is asked for again. */
static void random_deaths_change_no_reply(void **state)
{
    (void)state;
    enum { DEATHS = 60, ASKED_MAX = 2000 };
    struct world *w = world_new((const char *const[]){"--queue-limit", "10000", NULL});
    struct fake_engine *e[3] = {engine_new(w, "a", 7), engine_new(w, "b", 16),
                                engine_new(w, "c", 3)};
    struct fake_tokenizer *t[2] = {tokenizer_new(w, "1"), tokenizer_new(w, "2")};
    size_t n_asked = 0;
    size_t n_deaths = 0;
    size_t n_blamed = 0;
    srand(7);
    while (n_deaths < DEATHS || t[0]->n_ended < n_asked || t[1]->n_ended < n_asked) {
        if (n_deaths < DEATHS && n_asked < t[0]->n_ended + 30) {
            assert_true(n_asked < ASKED_MAX);
            uint32_t n = 1 + (uint32_t)rand() % 40;
            n_asked++;
            ask(t[0], n_asked, (uint32_t)rand() % 1000, n);
            ask(t[1], n_asked, (uint32_t)rand() % 1000, n);
        }
        struct fake_engine *one = e[rand() % 3];
        if (n_deaths < DEATHS && one->n_seqs > 0 && rand() % 10 == 0) {
            settle(w, one);
            if (is_none_at_its_end(one))
                engine_step(one); /* its tokens arrive or do not */
            engine_die(one);
            engine_return(one);
            n_deaths++;
        }
        for (int i = 0; i < 3; i++)
            engine_step(e[i]);
        loop_turn(w->loop, 2);
        n_blamed += ask_failed_again(t[0]) + ask_failed_again(t[1]);
    }
    assert_true(n_blamed <= DEATHS / 10);
    assert_true(n_asked >= 100);
    for (uint64_t req = 1; req <= n_asked; req++) {
        assert_whole(t[0], req);
        assert_whole(t[1], req);
    }
    UNTIL(w, t[0]->load.replays >= DEATHS);
    world_free(w);
}

static void a_request_that_kills_engines_ends_and_takes_nobody_along(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "a", 8);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    e->poison = 666;
    for (uint64_t req = 1; req <= 3; req++)
        ask(t, req, 1, 5);
    ask(t, 4, 666, 5);
    for (uint64_t req = 5; req <= 9; req++)
        ask(t, req, 1, 5);
    UNTIL(w, e->n_seqs == 9);
    while (t->n_ended < 9) {
        UNTIL(w, e->n_seqs > 0 || e->link == NULL || t->n_ended == 9);
        engine_step(e);
        if (e->link == NULL)
            engine_return(e);
        loop_turn(w->loop, 2);
    }
    assert_int_equal(e->n_poisoned, 3);
    assert_failed(t, 4, ERR_INTERNAL, "not tried again");
    for (uint64_t req = 1; req <= 9; req++) {
        if (req != 4)
            assert_whole(t, req);
    }
    world_free(w);
}

static void deaths_between_which_it_goes_on_do_not_end_a_reply(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "a", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 10);
    for (size_t i = 0; i < 9; i++) {
        UNTIL(w, e->n_seqs == 1);
        engine_step(e);
        UNTIL(w, reply(t, 1)->n_ids == i + 1);
        engine_die(e);
        engine_return(e);
    }
    run_to_the_end(w, e, t, 1);
    assert_whole(t, 1);
    world_free(w);
}

static void a_suspect_gets_its_turn_and_has_it_alone(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *a = engine_new(w, "a", 4);
    struct fake_engine *b = engine_new(w, "b", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 9);
    ask(t, 2, 2, 9);
    UNTIL(w, a->n_seqs == 1 && b->n_seqs == 1);
    engine_die(a);
    UNTIL(w, t->load.engines == 1);
    ask(t, 3, 3, 9);
    UNTIL(w, t->load.waiting == 2); /* 2 has not got on yet, and 3 must not delay 1 */
    assert_int_equal(b->n_seqs, 1);
    engine_step(b);
    UNTIL(w, b->n_seqs == 2);
    assert_int_equal(b->seqs[1].seed, 1);
    UNTIL(w, t->load.waiting == 1);
    assert_int_equal(b->n_seqs, 2);
    engine_step(b);
    UNTIL(w, b->n_seqs == 3);
    run_to_the_end(w, b, t, 3);
    for (uint64_t req = 1; req <= 3; req++)
        assert_whole(t, req);
    world_free(w);
}

static void deaths_count_only_in_a_row(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "a", 4);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 3);
    for (size_t i = 0; i < 6; i++) {
        UNTIL(w, e->n_seqs == 1);
        if (i % 3 == 2) {
            engine_step(e);
            UNTIL(w, reply(t, 1)->n_ids == i / 3 + 1);
        }
        engine_die(e);
        engine_return(e);
    }
    run_to_the_end(w, e, t, 1);
    assert_whole(t, 1);
    world_free(w);
}

static void those_that_only_waited_there_have_no_part_in_a_death(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "a", 1);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 2);
    ask(t, 2, 2, 2);
    UNTIL(w, e->n_seqs == 2);
    engine_die(e);
    engine_return(e);
    UNTIL(w, e->n_seqs == 1);
    assert_int_equal(e->seqs[0].seed, 1); /* suspect: alone */
    engine_die(e);
    engine_return(e);
    UNTIL(w, e->n_seqs == 1);
    assert_int_equal(e->seqs[0].seed, 2); /* its turn; the suspect waits until it has got on */
    engine_step(e);
    UNTIL(w, e->n_seqs == 2);
    assert_int_equal(e->seqs[1].seed, 1);
    engine_die(e); /* 1 waited there */
    engine_return(e);
    UNTIL(w, e->n_seqs == 1);
    assert_int_equal(e->seqs[0].seed, 2);
    engine_step(e);
    UNTIL(w, t->n_ended == 1 && e->n_seqs == 1);
    assert_whole(t, 2);
    assert_int_equal(e->seqs[0].seed, 1);
    engine_die(e);
    engine_return(e);
    UNTIL(w, t->n_ended == 2);
    assert_failed(t, 1, ERR_INTERNAL, "not tried again");
    world_free(w);
}

static void an_orderly_leave_is_no_death(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "a", 1);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    ask(t, 1, 1, 2);
    for (size_t i = 0; i < 5; i++) {
        UNTIL(w, e->n_seqs == 1);
        size_t n = e->n_downs;
        link_bye(e->link);
        UNTIL(w, e->n_downs == n + 1);
        assert_int_equal(e->why, ERR_OK);
        engine_die(e);
        engine_return(e);
    }
    run_to_the_end(w, e, t, 1);
    assert_whole(t, 1);
    world_free(w);
}

static pid_t start_stuck_engine(struct world *w)
{
    const char *path = getenv("STUCK_ENGINE");
    assert_non_null(path);
    char *argv[] = {mem_strndup(path, strlen(path)), w->run, NULL};
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, path, NULL, NULL, argv, environ), 0);
    free(argv[0]);
    return pid;
}

static void end_stuck_engine(pid_t pid)
{
    int status;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void an_engine_that_is_busy_without_progress_is_replaced(void **state)
{
    (void)state;
    struct world *w = world_new((const char *const[]){"--stall-ms", "1000", NULL});
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    pid_t stuck = start_stuck_engine(w);
    UNTIL(w, t->n_models == 1);
    ask(t, 1, 1, 3);
    struct fake_engine *e = engine_new(w, "b", 4);
    UNTIL(w, e->n_seqs == 1);
    run_to_the_end(w, e, t, 1);
    assert_whole(t, 1);
    UNTIL(w, t->load.engines == 2); /* the stuck one has come back, as a new one */
    end_stuck_engine(stuck);
    world_free(w);
}

static void an_engine_that_falls_silent_is_replaced(void **state)
{
    (void)state;
    struct world *w = world_new((const char *const[]){"--dead-ms=3000", NULL});
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    pid_t stuck = start_stuck_engine(w);
    UNTIL(w, t->n_models == 1);
    assert_int_equal(kill(stuck, SIGSTOP), 0);
    ask(t, 1, 1, 3);
    struct fake_engine *e = engine_new(w, "b", 4);
    UNTIL(w, e->n_seqs == 1);
    run_to_the_end(w, e, t, 1);
    assert_whole(t, 1);
    end_stuck_engine(stuck);
    world_free(w);
}

static void replies_outlive_the_router(void **state)
{
    (void)state;
    enum { N = 100 };
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "a", 8);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    for (uint64_t req = 1; req <= N; req++)
        ask(t, req, (uint32_t)req, 12);
    for (int life = 0; life < 3; life++) {
        size_t target = t->n_ended + 5;
        run_to_the_end(w, e, t, target);
        UNTIL(w, e->n_seqs > 0);
        engine_step(e);
        engine_step(e);
        size_t downs = t->n_downs;
        router_kill(w);
        UNTIL(w, t->n_downs == downs + 1 && e->n_seqs == 0);
        router_start(w, NULL);
        UNTIL(w, t->is_up && e->is_up);
        ask_all_again(t);
    }
    run_to_the_end(w, e, t, N);
    for (uint64_t req = 1; req <= N; req++)
        assert_whole(t, req);
    world_free(w);
}

/* The tokenizer dies and its successor asks again: the router must not mix up the two. */
static void a_returning_tokenizer_may_use_its_numbers_again(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    struct fake_engine *e = engine_new(w, "a", 8);
    struct fake_tokenizer *t = tokenizer_new(w, "1");
    for (uint64_t req = 1; req <= 6; req++)
        ask(t, req, (uint32_t)req, 8);
    UNTIL(w, e->n_seqs == 6);
    for (int life = 0; life < 4; life++) {
        engine_step(e);
        tokenizer_die(t);
        engine_step(e);
        tokenizer_return(t);
        ask_all_again(t);
        UNTIL(w, e->n_seqs == 6 && e->n_cancels == 6 * (size_t)(life + 1));
    }
    run_to_the_end(w, e, t, 6);
    for (uint64_t req = 1; req <= 6; req++)
        assert_whole(t, req);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_goes_on_at_another_engine),
        cmocka_unit_test(a_reply_goes_on_at_the_same_engine_when_it_returns),
        cmocka_unit_test(what_lost_its_engine_comes_before_what_is_new),
        cmocka_unit_test(a_replay_has_the_time_that_is_left),
        cmocka_unit_test(a_replay_keeps_its_model_and_its_end),
        cmocka_unit_test(a_reply_goes_on_only_where_the_numbers_are_the_same),
        cmocka_unit_test(a_router_that_was_away_places_by_what_the_resume_says),
        cmocka_unit_test(random_deaths_change_no_reply),
        cmocka_unit_test(a_request_that_kills_engines_ends_and_takes_nobody_along),
        cmocka_unit_test(deaths_between_which_it_goes_on_do_not_end_a_reply),
        cmocka_unit_test(a_suspect_gets_its_turn_and_has_it_alone),
        cmocka_unit_test(deaths_count_only_in_a_row),
        cmocka_unit_test(those_that_only_waited_there_have_no_part_in_a_death),
        cmocka_unit_test(an_orderly_leave_is_no_death),
        cmocka_unit_test(an_engine_that_is_busy_without_progress_is_replaced),
        cmocka_unit_test(an_engine_that_falls_silent_is_replaced),
        cmocka_unit_test(replies_outlive_the_router),
        cmocka_unit_test(a_returning_tokenizer_may_use_its_numbers_again),
    };
    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
