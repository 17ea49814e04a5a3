/* SPDX-License-Identifier: MIT */
/* Engines out of service, over real links to the real halo-router. */
#include <string.h>

#include "tests/router/operator.h"

struct scene {
    struct world *w;
    struct fake_engine *a;
    struct fake_engine *b; /* NULL when there is one engine */
    struct fake_tokenizer *t;
    struct operator op;
};

static void open_scene(struct scene *s, size_t n_engines)
{
    *s = (struct scene){.w = world_new(NULL)};
    s->a = engine_new(s->w, "1", 4);
    if (n_engines > 1)
        s->b = engine_new(s->w, "2", 4);
    s->t = tokenizer_new(s->w, "1");
    operator_open(&s->op, s->w);
}

static void close_scene(struct scene *s)
{
    operator_close(&s->op);
    world_free(s->w);
}

static void run(struct scene *s, struct fake_engine *e, size_t n_ended)
{
    while (s->t->n_ended < n_ended) {
        engine_step(e);
        loop_turn(s->w->loop, 1);
    }
}

static void a_drained_engine_gets_nothing_until_it_is_undrained(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 2);
    assert_int_equal(operator_ask(&s.op, "drain", "engine@1", ""), ERR_OK);
    assert_string_equal(operator_engine_text(&s.op, "engine.1", "state"), "drained");
    for (uint64_t req = 1; req <= 3; req++)
        ask(s.t, req, 5, 3);
    UNTIL(s.w, s.b->n_seqs == 3);
    assert_int_equal(s.a->n_submits, 0);
    assert_int_equal(operator_ask(&s.op, "undrain", "1", ""), ERR_OK);
    ask(s.t, 4, 5, 3);
    UNTIL(s.w, s.a->n_seqs == 1);
    close_scene(&s);
}

static void a_drain_is_answered_when_the_replies_have_ended(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 2);
    ask(s.t, 1, 5, 6);
    UNTIL(s.w, s.a->n_seqs == 1);
    operator_send(&s.op, "drain", "engine.1", "");
    assert_string_equal(operator_engine_text(&s.op, "engine.1", "state"), "draining");
    assert_int_equal(s.op.n_answers, 1);
    run(&s, s.a, 1);
    UNTIL(s.w, s.op.n_answers == 2);
    assert_whole(s.t, 1);
    assert_int_equal(s.op.code, ERR_OK);
    assert_int_equal(s.b->n_submits, 0);
    close_scene(&s);
}

static void migrated_replies_go_on_elsewhere_exactly(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 2);
    ask(s.t, 1, 5, 10);
    UNTIL(s.w, s.a->n_seqs == 1);
    for (int i = 0; i < 4; i++)
        engine_step(s.a);
    UNTIL(s.w, reply(s.t, 1)->n_ids == 4);
    assert_int_equal(operator_ask(&s.op, "drain", "engine.1", "{\"migrate\":true}"), ERR_OK);
    assert_int_equal(json_integer_value(json_object_get(s.op.data, "migrated")), 1);
    UNTIL(s.w, s.b->n_seqs == 1 && s.a->n_cancels == 1);
    assert_int_equal(s.b->seqs[0].n_resumed, 4);
    run(&s, s.b, 1);
    assert_whole(s.t, 1);
    close_scene(&s);
}

static void after_the_limit_replies_go_on_elsewhere(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 2);
    ask(s.t, 1, 5, 10);
    UNTIL(s.w, s.a->n_seqs == 1);
    engine_step(s.a);
    UNTIL(s.w, reply(s.t, 1)->n_ids == 1);
    assert_int_equal(operator_ask(&s.op, "drain", "engine.1", "{\"limit_ms\":50}"), ERR_OK);
    UNTIL(s.w, s.b->n_seqs == 1);
    run(&s, s.b, 1);
    assert_whole(s.t, 1);
    close_scene(&s);
}

static void the_only_engine_is_drained_by_force_alone(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 1);
    ask(s.t, 1, 5, 3);
    UNTIL(s.w, s.a->n_seqs == 1);
    assert_int_equal(operator_ask(&s.op, "drain", "engine.1", ""), ERR_UNSUPPORTED);
    assert_non_null(strstr(s.op.detail, "the only engine of the stable lane"));
    assert_string_equal(operator_engine_text(&s.op, "engine.1", "state"), "serving");
    /* By force its reply stays, nobody else can have it; a new one waits for the undrain. */
    assert_int_equal(
        operator_ask(&s.op, "drain", "1", "{\"force\":true,\"migrate\":true,\"limit_ms\":50}"),
        ERR_TIMEOUT);
    assert_non_null(strstr(s.op.detail, "1 replies still run"));
    ask(s.t, 2, 6, 3);
    run(&s, s.a, 1);
    assert_int_equal(s.a->n_submits, 1);
    assert_int_equal(operator_ask(&s.op, "undrain", "1", ""), ERR_OK);
    UNTIL(s.w, s.a->n_seqs == 1);
    run(&s, s.a, 2);
    assert_whole(s.t, 1);
    assert_whole(s.t, 2);
    close_scene(&s);
}

static void an_engine_stays_out_when_it_or_the_router_is_started_again(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 2);
    assert_int_equal(operator_ask(&s.op, "drain", "engine.1", ""), ERR_OK);
    UNTIL(s.w, s.a->is_standby);
    engine_die(s.a);
    s.a->is_standby = false; /* a new process knows nothing */
    engine_return(s.a);
    UNTIL(s.w, s.a->is_standby);
    assert_string_equal(operator_engine_text(&s.op, "engine.1", "state"), "drained");
    operator_close(&s.op);
    router_kill(s.w);
    router_start(s.w, NULL);
    UNTIL(s.w, s.a->is_up && s.b->is_up && s.t->is_up && s.t->load.engines == 2);
    operator_open(&s.op, s.w);
    while (*operator_engine_text(&s.op, "engine.1", "state") == '\0')
        loop_turn(s.w->loop, 10);
    assert_string_equal(operator_engine_text(&s.op, "engine.1", "state"), "drained");
    close_scene(&s);
}

static void a_drain_whose_engine_dies_is_answered(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 2);
    ask(s.t, 1, 5, 6);
    UNTIL(s.w, s.a->n_seqs == 1);
    operator_send(&s.op, "drain", "engine.1", "");
    assert_string_equal(operator_engine_text(&s.op, "engine.1", "state"), "draining");
    engine_die(s.a);
    UNTIL(s.w, s.op.n_answers == 2);
    assert_int_equal(s.op.code, ERR_OK);
    UNTIL(s.w, s.b->n_seqs == 1);
    run(&s, s.b, 1);
    assert_whole(s.t, 1);
    close_scene(&s);
}

static void an_operator_that_leaves_during_a_drain_leaves_nothing_behind(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 2);
    ask(s.t, 1, 5, 6);
    UNTIL(s.w, s.a->n_seqs == 1);
    operator_send(&s.op, "drain", "engine.1", "{\"limit_ms\":60000}");
    assert_string_equal(operator_engine_text(&s.op, "engine.1", "state"), "draining");
    operator_close(&s.op);
    run(&s, s.a, 1);
    operator_open(&s.op, s.w);
    assert_string_equal(operator_engine_text(&s.op, "engine.1", "state"), "drained");
    close_scene(&s);
}

static void bad_commands_are_answered_in_words_or_end_the_link(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, 1);
    struct fake_engine *twin = engine_new(s.w, "1", 4);
    assert_int_equal(operator_ask(&s.op, "drain", "engine.7", ""), ERR_NOT_FOUND);
    assert_non_null(strstr(s.op.detail, "no engine engine.7"));
    assert_int_equal(operator_ask(&s.op, "drain", "engine.1", ""), ERR_INVALID);
    assert_non_null(strstr(s.op.detail, "two engines are called engine.1"));
    assert_int_equal(operator_ask(&s.op, "dance", "", ""), ERR_UNKNOWN);
    operator_send(&s.op, "engines", "", "[1,");
    UNTIL(s.w, !s.op.is_up);
    UNTIL(s.w, s.op.is_up); /* it dials again */
    assert_true(twin->is_up);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drained_engine_gets_nothing_until_it_is_undrained),
        cmocka_unit_test(a_drain_is_answered_when_the_replies_have_ended),
        cmocka_unit_test(migrated_replies_go_on_elsewhere_exactly),
        cmocka_unit_test(after_the_limit_replies_go_on_elsewhere),
        cmocka_unit_test(the_only_engine_is_drained_by_force_alone),
        cmocka_unit_test(an_engine_stays_out_when_it_or_the_router_is_started_again),
        cmocka_unit_test(a_drain_whose_engine_dies_is_answered),
        cmocka_unit_test(an_operator_that_leaves_during_a_drain_leaves_nothing_behind),
        cmocka_unit_test(bad_commands_are_answered_in_words_or_end_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
