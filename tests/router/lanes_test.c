/* SPDX-License-Identifier: MIT */
/* Which engines answer which lane, over real links to the real halo-router: cutover, rollback, and what
 * the router keeps of it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/router/operator.h"

struct scene {
    struct world *w;
    struct fake_engine *stable;
    struct fake_engine *candidate; /* NULL: none */
    struct fake_tokenizer *t;
    struct operator op;
};

static void open_scene(struct scene *s, bool has_candidate)
{
    *s = (struct scene){.w = world_new(NULL)};
    s->stable = engine_new(s->w, "1", 4);
    if (has_candidate)
        s->candidate = engine_new_candidate(s->w, "2", 4);
    s->t = tokenizer_new(s->w, "1");
    operator_open(&s->op, s->w);
}

static void close_scene(struct scene *s)
{
    operator_close(&s->op);
    world_free(s->w);
}

static int64_t lanes_number(struct scene *s, const char *key)
{
    assert_int_equal(operator_ask(&s->op, "lanes", "", ""), ERR_OK);
    return json_integer_value(json_object_get(s->op.data, key));
}

static void ask_candidate(struct scene *s, uint64_t req, uint32_t n)
{
    uint32_t prompt[] = {5, 1, 2, 3};
    struct frame_submit f = {.req = req,
                             .prompt = prompt,
                             .n_prompt = 4,
                             .sampling = {.max_tokens = n, .seed = req},
                             .lane = 1};
    ask_as(s->t, &f);
}

static void a_cutover_exchanges_the_engines_of_the_lanes(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, true);
    assert_int_equal(lanes_number(&s, "stable_group"), 0);
    assert_int_equal(operator_ask(&s.op, "cutover", "", ""), ERR_OK);
    assert_int_equal(lanes_number(&s, "stable_group"), 1);
    assert_int_equal(lanes_number(&s, "candidate_group"), 0);
    ask(s.t, 1, 5, 2);
    ask_candidate(&s, 2, 2);
    UNTIL(s.w, s.candidate->n_seqs == 1 && s.stable->n_seqs == 1);
    assert_int_equal(s.candidate->seqs[0].seed, 1);
    assert_int_equal(s.stable->seqs[0].seed, 2);
    close_scene(&s);
}

static void replies_in_flight_end_where_they_began(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, true);
    ask(s.t, 1, 5, 6);
    UNTIL(s.w, s.stable->n_seqs == 1);
    engine_step(s.stable);
    UNTIL(s.w, engine_is_proven(s.stable));
    assert_int_equal(operator_ask(&s.op, "cutover", "", ""), ERR_OK);
    engine_step(s.stable);
    engine_die(s.stable);
    engine_return(s.stable); /* it goes on in the group where it began */
    UNTIL(s.w, s.stable->n_seqs == 1);
    while (s.stable->n_seqs > 0)
        engine_step(s.stable);
    UNTIL(s.w, s.t->n_ended == 1);
    assert_whole(s.t, 1);
    assert_int_equal(s.candidate->n_submits, 0);
    close_scene(&s);
}

static void what_waits_goes_to_the_new_engines(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, true);
    for (uint64_t req = 1; req <= 8; req++)
        ask(s.t, req, 5, 2);
    UNTIL(s.w, s.stable->n_seqs == 5); /* four and one to follow */
    assert_int_equal(operator_ask(&s.op, "cutover", "", ""), ERR_OK);
    UNTIL(s.w, s.candidate->n_seqs == 3);
    close_scene(&s);
}

static void a_rollback_undoes_one_cutover(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, true);
    assert_int_equal(operator_ask(&s.op, "rollback", "", ""), ERR_INVALID);
    assert_non_null(strstr(s.op.detail, "no cutover to undo"));
    assert_int_equal(operator_ask(&s.op, "cutover", "", ""), ERR_OK);
    assert_int_equal(operator_ask(&s.op, "rollback", "", ""), ERR_OK);
    assert_int_equal(lanes_number(&s, "stable_group"), 0);
    assert_int_equal(operator_ask(&s.op, "rollback", "", ""), ERR_INVALID);
    close_scene(&s);
}

static void a_router_that_returns_remembers(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, true);
    assert_int_equal(operator_ask(&s.op, "cutover", "", ""), ERR_OK);
    operator_close(&s.op);
    router_kill(s.w);
    UNTIL(s.w, !s.stable->is_up && !s.candidate->is_up && !s.t->is_up);
    s.t->load.engines = 0;
    router_start(s.w, NULL);
    UNTIL(s.w, s.stable->is_up && s.candidate->is_up && s.t->is_up && s.t->load.engines == 2);
    operator_open(&s.op, s.w);
    assert_int_equal(lanes_number(&s, "stable_group"), 1);
    ask(s.t, 1, 5, 2);
    UNTIL(s.w, s.candidate->n_seqs == 1);
    assert_int_equal(operator_ask(&s.op, "rollback", "", ""), ERR_OK);
    close_scene(&s);
}

static void without_a_candidate_nothing_changes(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, false);
    assert_int_equal(operator_ask(&s.op, "cutover", "", ""), ERR_NO_ENGINE);
    assert_non_null(strstr(s.op.detail, "--lane 1"));
    assert_int_equal(lanes_number(&s, "stable_group"), 0);
    close_scene(&s);
}

static void a_drained_candidate_is_none(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, true);
    assert_int_equal(operator_ask(&s.op, "drain", "2", "{\"force\":true}"), ERR_OK);
    assert_int_equal(operator_ask(&s.op, "cutover", "", ""), ERR_NO_ENGINE);
    close_scene(&s);
}

static void another_model_cannot_answer_v1(void **state)
{
    (void)state;
    struct scene s;
    struct frame_engine says = {
        .model_hash = STR_LIT(HASH_B),
        .model_name = STR_LIT("b"),
        .context = 4096,
        .max_seqs = 4,
        .kv_blocks = 100,
        .block_tokens = 16,
        .backend = STR_LIT("fake"),
        .lane = 1,
    };
    open_scene(&s, false);
    s.candidate = engine_new_as(s.w, "2", &says);
    assert_int_equal(operator_ask(&s.op, "cutover", "", ""), ERR_MODEL_UNKNOWN);
    assert_non_null(strstr(s.op.detail, "no burn-in can compare"));
    s.op.n_answers = 0;
    assert_int_equal(operator_ask(&s.op, "share", "", "{\"percent\":10}"), ERR_MODEL_UNKNOWN);
    assert_non_null(strstr(s.op.detail, "are not compared"));
    close_scene(&s);
}

static void the_share_can_be_changed(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, true);
    assert_int_equal(operator_ask(&s.op, "share", "", "{\"percent\":101}"), ERR_RANGE);
    assert_int_equal(operator_ask(&s.op, "share", "", "{\"percent\":100}"), ERR_OK);
    ask(s.t, 1, 5, 2);
    UNTIL(s.w, s.stable->n_seqs == 1 && s.candidate->n_seqs == 1);
    assert_int_equal(operator_ask(&s.op, "share", "", "{\"percent\":0}"), ERR_OK);
    ask(s.t, 2, 5, 2);
    UNTIL(s.w, s.stable->n_seqs == 2);
    assert_int_equal(s.candidate->n_submits, 1);
    close_scene(&s);
}

static void a_damaged_lanes_file_is_no_start(void **state)
{
    (void)state;
    struct world *w = world_new(NULL);
    char path[128];
    int status;
    (void)snprintf(path, sizeof path, "%s/lanes.json", w->run);
    UNTIL(w, access(path, F_OK) != 0);
    struct fake_tokenizer *t = tokenizer_new(w, "1"); /* it is up */
    router_kill(w);
    UNTIL(w, !t->is_up);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "{\"v1_group\":7}", 14), 14);
    assert_int_equal(close(fd), 0);
    router_start(w, NULL);
    assert_int_equal(waitpid(w->router_pid, &status, 0), w->router_pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_int_equal(unlink(path), 0);
    router_start(w, NULL);
    UNTIL(w, t->is_up);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cutover_exchanges_the_engines_of_the_lanes),
        cmocka_unit_test(replies_in_flight_end_where_they_began),
        cmocka_unit_test(what_waits_goes_to_the_new_engines),
        cmocka_unit_test(a_rollback_undoes_one_cutover),
        cmocka_unit_test(a_router_that_returns_remembers),
        cmocka_unit_test(without_a_candidate_nothing_changes),
        cmocka_unit_test(a_drained_candidate_is_none),
        cmocka_unit_test(another_model_cannot_answer_v1),
        cmocka_unit_test(the_share_can_be_changed),
        cmocka_unit_test(a_damaged_lanes_file_is_no_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
