/* SPDX-License-Identifier: MIT */
/* One engine takes the place of another, step by step, and either is lost in each of the steps. */
#include <string.h>

#include "tests/router/operator.h"

enum { CHECK_REPLY = 8 };

struct scene {
    struct world *w;
    struct fake_engine *old;
    struct fake_engine *newcomer;
    struct fake_tokenizer *t;
    struct operator op;
};

static struct fake_engine *newcomer_of(struct world *w, const char *hash)
{
    struct frame_engine says = {.model_hash = str_from(hash),
                                .model_name = STR_LIT("a"),
                                .context = 4096,
                                .max_seqs = 4,
                                .kv_blocks = 100,
                                .block_tokens = 32,
                                .backend = STR_LIT("fake")};
    struct fake_engine *e = engine_new_as(w, "2", &says);
    return e;
}

/* An engine with one reply of n tokens, which has had some of them, and a newcomer out of service. */
static void open_scene(struct scene *s, const char *newcomers_hash, uint32_t n)
{
    *s = (struct scene){.w = world_new(NULL)};
    s->old = engine_new(s->w, "1", 4);
    s->t = tokenizer_new(s->w, "1");
    s->newcomer = newcomer_of(s->w, newcomers_hash);
    operator_open(&s->op, s->w); /* last: ends.h tells connections apart in order */
    assert_int_equal(operator_ask(&s->op, "drain", "engine.2", "{\"force\":true}"), ERR_OK);
    s->op.n_answers = 0;
    ask(s->t, 1, 5, n);
    UNTIL(s->w, s->old->n_seqs == 1);
    engine_step(s->old);
    engine_step(s->old);
    UNTIL(s->w, reply(s->t, 1)->n_ids == 2);
}

static void close_scene(struct scene *s)
{
    operator_close(&s->op);
    world_free(s->w);
}

static bool is_checked(const struct fake_engine *e)
{
    return e->n_seqs > 0 && e->seqs[e->n_seqs - 1].max_tokens == CHECK_REPLY;
}

/* Both are asked for the known answer and give it. */
static void answer_check(struct scene *s)
{
    UNTIL(s->w, is_checked(s->old) && is_checked(s->newcomer));
    engine_finish_last(s->old);
    engine_finish_last(s->newcomer);
}

static void hand_over(struct scene *s, const char *args)
{
    operator_send(&s->op, "handover", "engine.1", args);
    answer_check(s);
}

static uint64_t number(struct scene *s, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(s->op.data, key));
}

static void run(struct scene *s, struct fake_engine *e, size_t n_ended)
{
    while (s->t->n_ended < n_ended) {
        engine_step(e);
        loop_turn(s->w->loop, 1);
    }
}

/* The copy while the old one serves. */
static void copy(struct scene *s)
{
    UNTIL(s->w, s->old->n_exports == 1);
    assert_int_equal(s->old->export_after, 0);
    engine_kv_done(s->old, ERR_OK, 7, 70);
    UNTIL(s->w, s->newcomer->n_imports == 1);
    assert_string_equal(s->newcomer->kv_file, s->old->kv_file);
}

static void blocks_then_replies_then_the_place_go_over(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_A, 10);
    hand_over(&s, "{\"to\":\"engine@2\"}");
    copy(&s);
    engine_step(s.old); /* it still serves */
    UNTIL(s.w, reply(s.t, 1)->n_ids == 3);
    engine_kv_done(s.newcomer, ERR_OK, 7, 0);
    UNTIL(s.w, s.old->n_exports == 2 && s.old->n_cancels == 1);
    assert_int_equal(s.old->export_after, 70);
    ask(s.t, 2, 6, 4); /* a new one waits for the newcomer */
    engine_kv_done(s.old, ERR_OK, 2, 90);
    UNTIL(s.w, s.newcomer->n_imports == 2);
    assert_int_equal(s.newcomer->n_submits, 1); /* the check */
    engine_kv_done(s.newcomer, ERR_OK, 2, 0);
    UNTIL(s.w, s.newcomer->n_seqs == 2 && s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_OK);
    assert_int_equal(number(&s, "blocks"), 9);
    assert_int_equal(number(&s, "migrated"), 1);
    assert_int_equal(s.newcomer->seqs[0].n_resumed, 3);
    UNTIL(s.w, !s.newcomer->is_standby && s.old->is_standby && s.old->is_replaced);
    run(&s, s.newcomer, 2);
    assert_whole(s.t, 1);
    assert_whole(s.t, 2);
    assert_int_equal(s.old->n_submits, 2);
    close_scene(&s);
}

static void what_cannot_be_copied_is_computed_again(void **state)
{
    (void)state;
    for (int failing = 0; failing < 4; failing++) {
        struct scene s;
        open_scene(&s, HASH_A, 10);
        hand_over(&s, "{\"to\":\"2\"}");
        UNTIL(s.w, s.old->n_exports == 1);
        engine_kv_done(s.old, failing == 0 ? ERR_FULL : ERR_OK, 7, 70);
        if (failing > 0) {
            UNTIL(s.w, s.newcomer->n_imports == 1);
            engine_kv_done(s.newcomer, failing == 1 ? ERR_UNSUPPORTED : ERR_OK, 0, 0);
        }
        UNTIL(s.w, s.old->n_exports == 2);
        engine_kv_done(s.old, failing == 2 ? ERR_IO : ERR_OK, 1, 80);
        if (failing != 2) {
            UNTIL(s.w, s.newcomer->n_imports == (failing == 0 ? 1 : 2));
            engine_kv_done(s.newcomer, failing == 3 ? ERR_INVALID : ERR_OK, 0, 0);
        }
        UNTIL(s.w, s.newcomer->n_seqs == 1 && s.op.n_answers == 1);
        assert_int_equal(s.op.code, ERR_OK);
        run(&s, s.newcomer, 1);
        assert_whole(s.t, 1);
        close_scene(&s);
    }
}

static void replies_may_end_at_the_old_engine(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_A, 10);
    hand_over(&s, "{\"to\":\"2\",\"keep\":true,\"no_copy\":true}");
    UNTIL(s.w, !s.newcomer->is_standby);
    ask(s.t, 2, 6, 4);
    UNTIL(s.w, s.newcomer->n_seqs == 1);
    assert_int_equal(s.op.n_answers, 0);
    run(&s, s.newcomer, 1);
    run(&s, s.old, 2);
    UNTIL(s.w, s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_OK);
    assert_int_equal(number(&s, "migrated"), 0);
    assert_int_equal(s.old->n_exports, 0);
    assert_whole(s.t, 1);
    assert_whole(s.t, 2);
    close_scene(&s);
}

/* To the newcomer with another model, up to the answer that it is in service. */
static void switch_models(struct scene *s)
{
    s->op.n_answers = 0;
    tokenizer_knows(s->t, HASH_A, ERR_OK, "");
    tokenizer_knows(s->t, HASH_B, ERR_OK, "");
    hand_over(s, "{\"to\":\"2\",\"other_model\":true,\"early\":true}");
    UNTIL(s->w, s->op.n_answers == 1);
    assert_int_equal(s->op.code, ERR_OK);
    assert_true(json_is_true(json_object_get(s->op.data, "is_unfinished")));
    UNTIL(s->w, !s->newcomer->is_standby);
    s->op.n_answers = 0;
}

static void ask_model(struct fake_tokenizer *t, uint64_t req, const char *hash)
{
    const uint32_t prompt[] = {9};
    struct frame_submit f = {.req = req,
                             .prompt = prompt,
                             .n_prompt = 1,
                             .sampling = {.max_tokens = 4},
                             .model_hash = str_from(hash)};
    ask_as(t, &f);
}

static void replies_of_another_model_end_where_they_began(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_B, 10);
    assert_int_equal(operator_ask(&s.op, "handover", "engine.1", "{\"to\":\"2\"}"),
                     ERR_MODEL_UNKNOWN);
    s.op.n_answers = 0;
    switch_models(&s);
    ask_model(s.t, 2, HASH_B);
    UNTIL(s.w, s.newcomer->n_seqs == 1);
    run(&s, s.newcomer, 1);
    operator_send(&s.op, "handover", "engine.1", "{\"to\":\"2\",\"other_model\":true}");
    ask_model(s.t, 3, HASH_A); /* was on its way */
    UNTIL(s.w, s.old->n_seqs == 2);
    assert_int_equal(s.op.n_answers, 0);
    run(&s, s.old, 3);
    UNTIL(s.w, s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_OK);
    assert_false(json_is_true(json_object_get(s.op.data, "is_unfinished")));
    for (uint64_t req = 1; req <= 3; req++)
        assert_whole(s.t, req);
    assert_int_equal(s.old->n_exports, 0);
    close_scene(&s);
}

static void another_model_waits_for_its_vocabulary_and_goes_without_one(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_B, 10);
    hand_over(&s, "{\"to\":\"2\",\"other_model\":true}");
    tokenizer_knows(s.t, HASH_A, ERR_OK, "");
    engine_step(s.old);
    UNTIL(s.w, reply(s.t, 1)->n_ids == 3);
    assert_int_equal(s.op.n_answers, 0);
    tokenizer_knows(s.t, HASH_B, ERR_MODEL_FORMAT, "section tokenizer.types is missing");
    UNTIL(s.w, s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_MODEL_FORMAT);
    assert_non_null(strstr(s.op.detail, "tokenizer.types is missing"));
    assert_true(s.newcomer->is_standby);
    run(&s, s.old, 1);
    assert_whole(s.t, 1);
    close_scene(&s);
}

static void another_model_that_gives_no_answer_changes_nothing(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_B, 10);
    s.newcomer->does_fail = true;
    tokenizer_knows(s.t, HASH_B, ERR_OK, "");
    hand_over(&s, "{\"to\":\"2\",\"other_model\":true}");
    UNTIL(s.w, s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_INTERNAL);
    assert_non_null(strstr(s.op.detail, "does not answer"));
    assert_true(s.newcomer->is_standby);
    run(&s, s.old, 1);
    close_scene(&s);
}

static void after_the_switch_to_another_model_each_engine_is_waited_for(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_B, 10);
    switch_models(&s);
    ask_model(s.t, 2, HASH_B);
    UNTIL(s.w, s.newcomer->n_seqs == 1);
    engine_die(s.old);
    engine_die(s.newcomer);
    operator_send(&s.op, "handover", "engine.1", "{\"to\":\"2\",\"other_model\":true}");
    engine_return(s.newcomer);
    engine_return(s.old);
    UNTIL(s.w, s.old->n_seqs == 1 && s.newcomer->n_seqs == 1);
    assert_int_equal(s.op.n_answers, 0);
    run(&s, s.newcomer, 1);
    run(&s, s.old, 2);
    UNTIL(s.w, s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_OK);
    assert_whole(s.t, 1);
    assert_whole(s.t, 2);
    close_scene(&s);
}

static void an_old_model_stays_for_what_a_lost_tokenizer_had(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_B, 10);
    switch_models(&s);
    operator_send(&s.op, "handover", "engine.1", "{\"to\":\"2\",\"other_model\":true}");
    tokenizer_die(s.t);
    UNTIL(s.w, s.old->n_seqs == 0);
    tokenizer_return(s.t);
    tokenizer_knows(s.t, HASH_B, ERR_OK, "");
    /* What it has for the old model, it holds until it knows that again. */
    uint64_t end_ms = clock_now_ms() + 3000;
    UNTIL(s.w, clock_now_ms() > end_ms);
    assert_int_equal(s.op.n_answers, 0);
    tokenizer_knows(s.t, HASH_A, ERR_OK, "");
    ask_model(s.t, 2, HASH_A);
    UNTIL(s.w, s.old->n_seqs == 1);
    assert_int_equal(s.op.n_answers, 0);
    run(&s, s.old, 1);
    UNTIL(s.w, s.op.n_answers == 1);
    assert_whole(s.t, 2);
    close_scene(&s);
}

static void a_newcomer_that_answers_otherwise_never_gets_a_request(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_A, 10);
    operator_send(&s.op, "handover", "engine.1", "{\"to\":\"2\"}");
    UNTIL(s.w, is_checked(s.old) && is_checked(s.newcomer));
    s.newcomer->seqs[0].seed = 1; /* its kernels are wrong: another reply */
    engine_finish_last(s.old);
    engine_finish_last(s.newcomer);
    UNTIL(s.w, s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_INTERNAL);
    assert_non_null(strstr(s.op.detail, "another reply"));
    ask(s.t, 2, 6, 4);
    UNTIL(s.w, s.old->n_seqs == 2);
    run(&s, s.old, 2);
    assert_whole(s.t, 1);
    assert_whole(s.t, 2);
    assert_int_equal(s.newcomer->n_submits, 1);
    assert_int_equal(s.old->n_exports, 0);
    close_scene(&s);
}

static void a_newcomer_lost_in_the_check_changes_nothing(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_A, 10);
    operator_send(&s.op, "handover", "engine.1", "{\"to\":\"2\"}");
    UNTIL(s.w, is_checked(s.old) && is_checked(s.newcomer));
    engine_die(s.newcomer);
    UNTIL(s.w, s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_CLOSED);
    engine_finish_last(s.old); /* nobody asks any more */
    run(&s, s.old, 1);
    assert_whole(s.t, 1);
    close_scene(&s);
}

static void an_old_engine_lost_in_the_check_leaves_it_to_the_newcomer(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_A, 10);
    operator_send(&s.op, "handover", "engine.1", "{\"to\":\"2\"}");
    UNTIL(s.w, is_checked(s.old) && is_checked(s.newcomer));
    engine_die(s.old);
    engine_finish_last(s.newcomer);
    UNTIL(s.w, s.op.n_answers == 1);
    assert_int_equal(s.op.code, ERR_OK);
    UNTIL(s.w, s.newcomer->n_seqs == 1);
    run(&s, s.newcomer, 1);
    assert_whole(s.t, 1);
    close_scene(&s);
}

enum moment { COPY_OUT, COPY_IN, REST_OUT, REST_IN, MOMENTS };

static void go_on_until(struct scene *s, enum moment m)
{
    UNTIL(s->w, s->old->n_exports == 1);
    if (m > COPY_OUT) {
        engine_kv_done(s->old, ERR_OK, 7, 70);
        UNTIL(s->w, s->newcomer->n_imports == 1);
    }
    if (m > COPY_IN) {
        engine_kv_done(s->newcomer, ERR_OK, 7, 0);
        UNTIL(s->w, s->old->n_exports == 2);
    }
    if (m > REST_OUT) {
        engine_kv_done(s->old, ERR_OK, 2, 90);
        UNTIL(s->w, s->newcomer->n_imports == 2);
    }
}

static void a_newcomer_lost_at_any_moment_leaves_the_old_engine_in_service(void **state)
{
    (void)state;
    for (int m = COPY_OUT; m < MOMENTS; m++) {
        struct scene s;
        open_scene(&s, HASH_A, 10);
        hand_over(&s, "{\"to\":\"2\"}");
        go_on_until(&s, (enum moment)m);
        engine_die(s.newcomer);
        UNTIL(s.w, s.op.n_answers == 1);
        assert_int_equal(s.op.code, ERR_CLOSED);
        assert_non_null(strstr(s.op.detail, "the old engine is in service"));
        ask(s.t, 2, 6, 4);
        UNTIL(s.w, s.old->n_seqs == 2);
        run(&s, s.old, 2);
        assert_whole(s.t, 1);
        assert_whole(s.t, 2);
        /* A late word about blocks is no harm, and another handover can begin. */
        engine_kv_done(s.old, ERR_OK, 1, 1);
        assert_string_equal(operator_engine_text(&s.op, "engine.1", "state"), "serving");
        close_scene(&s);
    }
}

static void an_old_engine_lost_at_any_moment_brings_the_newcomer_into_service(void **state)
{
    (void)state;
    for (int m = COPY_OUT; m < MOMENTS; m++) {
        struct scene s;
        open_scene(&s, HASH_A, 10);
        hand_over(&s, "{\"to\":\"2\"}");
        go_on_until(&s, (enum moment)m);
        engine_die(s.old);
        UNTIL(s.w, s.op.n_answers == 1);
        assert_int_equal(s.op.code, ERR_OK);
        UNTIL(s.w, s.newcomer->n_seqs == 1 && !s.newcomer->is_standby);
        run(&s, s.newcomer, 1);
        assert_whole(s.t, 1);
        close_scene(&s);
    }
}

static void a_newcomer_lost_after_the_end_still_gives_the_place_back(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_A, 10);
    hand_over(&s, "{\"to\":\"2\",\"no_copy\":true}");
    UNTIL(s.w, s.op.n_answers == 1);
    UNTIL(s.w, s.old->is_replaced && s.newcomer->n_seqs == 1);
    engine_die(s.newcomer);
    UNTIL(s.w, s.old->n_seqs == 1 && !s.old->is_replaced && !s.old->is_standby);
    run(&s, s.old, 1);
    assert_whole(s.t, 1);
    close_scene(&s);
}

static void an_operator_that_leaves_does_not_stop_it(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, HASH_A, 10);
    hand_over(&s, "{\"to\":\"2\"}");
    go_on_until(&s, REST_IN);
    operator_close(&s.op);
    engine_kv_done(s.newcomer, ERR_OK, 2, 0);
    UNTIL(s.w, s.newcomer->n_seqs == 1);
    run(&s, s.newcomer, 1);
    assert_whole(s.t, 1);
    operator_open(&s.op, s.w);
    close_scene(&s);
}

static void a_newcomer_may_come_after_the_command(void **state)
{
    (void)state;
    struct scene s = {.w = world_new(NULL)};
    s.old = engine_new(s.w, "1", 4);
    s.t = tokenizer_new(s.w, "1");
    operator_open(&s.op, s.w);
    operator_send(&s.op, "handover", "engine.1", "{\"to\":\"2\",\"no_copy\":true}");
    assert_int_equal(operator_ask(&s.op, "handover", "engine.1", "{\"to\":\"2\"}"), ERR_AGAIN);
    s.newcomer = newcomer_of(s.w, HASH_A);
    answer_check(&s);
    UNTIL(s.w, s.op.n_answers == 2);
    assert_int_equal(s.op.code, ERR_OK);
    assert_int_equal(operator_ask(&s.op, "handover", "engine.1", ""), ERR_INVALID);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_then_replies_then_the_place_go_over),
        cmocka_unit_test(what_cannot_be_copied_is_computed_again),
        cmocka_unit_test(replies_may_end_at_the_old_engine),
        cmocka_unit_test(a_newcomer_that_answers_otherwise_never_gets_a_request),
        cmocka_unit_test(a_newcomer_lost_in_the_check_changes_nothing),
        cmocka_unit_test(an_old_engine_lost_in_the_check_leaves_it_to_the_newcomer),
        cmocka_unit_test(replies_of_another_model_end_where_they_began),
        cmocka_unit_test(another_model_waits_for_its_vocabulary_and_goes_without_one),
        cmocka_unit_test(another_model_that_gives_no_answer_changes_nothing),
        cmocka_unit_test(after_the_switch_to_another_model_each_engine_is_waited_for),
        cmocka_unit_test(an_old_model_stays_for_what_a_lost_tokenizer_had),
        cmocka_unit_test(a_newcomer_lost_at_any_moment_leaves_the_old_engine_in_service),
        cmocka_unit_test(an_old_engine_lost_at_any_moment_brings_the_newcomer_into_service),
        cmocka_unit_test(a_newcomer_lost_after_the_end_still_gives_the_place_back),
        cmocka_unit_test(an_operator_that_leaves_does_not_stop_it),
        cmocka_unit_test(a_newcomer_may_come_after_the_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
