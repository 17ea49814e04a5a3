/* SPDX-License-Identifier: MIT */
/* The real halo-router between fake ends: what it makes of two lanes, and the rows of the burn-in log. */
#include "tests/router/ends.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/check.h"

enum { ROWS_MAX = 64, LINE_CAP = 4096 };

static const char *const ALL[] = {"--shadow-share=100", NULL};

/* The rows of the log so far; the caller frees them. */
static size_t read_rows(const struct world *w, json_t **rows)
{
    char path[128];
    char line[LINE_CAP];
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/burnin.jsonl", w->run);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        assert_true(n < ROWS_MAX);
        assert_non_null(strchr(line, '\n'));
        rows[n] = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(rows[n]);
        n++;
    }
    if (f != NULL)
        (void)fclose(f);
    return n;
}

static size_t count_rows(const struct world *w)
{
    json_t *rows[ROWS_MAX];
    size_t n = read_rows(w, rows);
    for (size_t i = 0; i < n; i++)
        json_decref(rows[i]);
    return n;
}

/* The only row, when it is there. */
static json_t *only_row(struct world *w)
{
    json_t *rows[ROWS_MAX];
    UNTIL(w, count_rows(w) > 0);
    assert_int_equal(read_rows(w, rows), 1);
    return rows[0];
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    assert_non_null(s);
    return s;
}

static int64_t number_of(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

/* A stable engine, a candidate and a tokenizer. */
struct scene {
    struct world *w;
    struct fake_engine *stable;
    struct fake_engine *candidate;
    struct fake_tokenizer *t;
};

static struct scene scene_new(const char *const *args)
{
    struct scene s = {.w = world_new(args)};
    s.t = tokenizer_new(s.w, "1");
    s.stable = engine_new(s.w, "stable", 8);
    s.candidate = engine_new_candidate(s.w, "candidate", 8);
    return s;
}

/* Both engines compute all they have. */
static void finish_all(struct scene *s)
{
    while (s->stable->n_seqs > 0 || s->candidate->n_seqs > 0) {
        engine_step(s->stable);
        engine_step(s->candidate);
    }
}

/* One request of n tokens, computed by both. */
static void run_one(struct scene *s, uint64_t req, uint32_t n)
{
    ask(s->t, req, 5, n);
    UNTIL(s->w, s->stable->n_seqs == 1 && s->candidate->n_seqs == 1);
    finish_all(s);
    UNTIL(s->w, reply(s->t, req)->finish != FINISH_NONE);
}

static void equal_replies_are_exact(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    run_one(&s, 3, 6);
    assert_whole(s.t, 3);
    json_t *row = only_row(s.w);
    assert_string_equal(text_of(row, "verdict"), "exact");
    assert_true(json_is_null(json_object_get(row, "first_difference")));
    assert_int_equal(strlen(text_of(row, "prompt_sha256")), 64);
    assert_int_equal(number_of(row, "prompt_tokens"), 4);
    const char *const sides[] = {"stable", "candidate"};
    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        const json_t *side = json_object_get(row, sides[i]);
        char name[32];
        (void)snprintf(name, sizeof name, "engine.%s", sides[i]);
        assert_string_equal(text_of(side, "engine"), name);
        assert_string_equal(text_of(side, "model"), HASH_A);
        assert_string_equal(text_of(side, "backend"), "fake");
        assert_string_equal(text_of(side, "finish"), "length");
        assert_int_equal(number_of(side, "group"), i);
        assert_int_equal(number_of(side, "tokens"), 6);
        assert_true(json_is_real(json_object_get(side, "first_ms")));
        assert_true(json_real_value(json_object_get(side, "total_ms")) >=
                    json_real_value(json_object_get(side, "first_ms")));
    }
    json_decref(row);
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/burnin.jsonl", s.w->run);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    world_free(s.w);
}

static void a_difference_tells_its_place_and_margins(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    s.candidate->wrong_from = 4;
    run_one(&s, 3, 6);
    assert_whole(s.t, 3); /* the client's reply is the stable lane's */
    UNTIL(s.w, s.stable->n_seqs == 1 && s.candidate->n_seqs == 1);
    assert_int_equal(s.stable->seqs[0].n_resumed, 4);
    assert_int_equal(s.stable->seqs[0].max_tokens, 5);
    finish_all(&s);
    json_t *row = only_row(s.w);
    assert_string_equal(text_of(row, "verdict"), "different");
    assert_int_equal(number_of(row, "first_difference"), 4);
    const json_t *stable = json_object_get(row, "stable");
    const json_t *candidate = json_object_get(row, "candidate");
    assert_int_equal(number_of(stable, "token"), fake_id(5, 3, 4));
    assert_int_equal(number_of(candidate, "token"), fake_id(5, 3, 4) + 1);
    assert_true(json_real_value(json_object_get(stable, "margin")) == 0.75);
    assert_true(json_real_value(json_object_get(candidate, "margin")) == 0.75);
    assert_true(json_real_value(json_object_get(candidate, "logprob")) == -0.5);
    json_decref(row);
    world_free(s.w);
}

static void a_difference_is_logged_without_margins_when_engines_are_gone(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    s.candidate->wrong_from = 1;
    run_one(&s, 3, 6);
    UNTIL(s.w, s.stable->n_seqs == 1 && s.candidate->n_seqs == 1);
    engine_die(s.candidate);
    engine_step(s.stable);
    json_t *row = only_row(s.w);
    assert_string_equal(text_of(row, "verdict"), "different");
    assert_true(json_is_real(json_object_get(json_object_get(row, "stable"), "margin")));
    assert_true(json_is_null(json_object_get(json_object_get(row, "candidate"), "margin")));
    json_decref(row);
    world_free(s.w);
}

static void replies_without_tokens_are_no_match(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    s.stable->is_empty = true;
    s.candidate->is_empty = true;
    run_one(&s, 3, 6);
    json_t *row = only_row(s.w);
    assert_string_equal(text_of(row, "verdict"), "empty");
    json_decref(row);
    world_free(s.w);
}

static void a_failed_candidate_is_no_match(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    s.candidate->does_fail = true;
    run_one(&s, 3, 6);
    assert_whole(s.t, 3);
    json_t *row = only_row(s.w);
    assert_string_equal(text_of(row, "verdict"), "truncated");
    const json_t *candidate = json_object_get(row, "candidate");
    assert_string_equal(text_of(candidate, "finish"), "error");
    assert_string_equal(text_of(candidate, "error"), "ERR_INTERNAL");
    assert_int_equal(number_of(candidate, "tokens"), 5);
    json_decref(row);
    world_free(s.w);
}

static void a_candidate_that_stays_away_is_no_match(void **state)
{
    (void)state;
    const char *const args[] = {"--shadow-share=100", "--engine-wait-ms=100", NULL};
    struct scene s = scene_new(args);
    ask(s.t, 3, 5, 6);
    UNTIL(s.w, s.stable->n_seqs == 1 && s.candidate->n_seqs == 1);
    engine_step(s.candidate);
    engine_die(s.candidate);
    finish_all(&s);
    UNTIL(s.w, s.t->n_ended == 1);
    assert_whole(s.t, 3);
    json_t *row = only_row(s.w);
    assert_string_equal(text_of(row, "verdict"), "truncated");
    json_decref(row);
    world_free(s.w);
}

static void a_candidate_that_returns_goes_on(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    ask(s.t, 3, 5, 6);
    UNTIL(s.w, s.stable->n_seqs == 1 && s.candidate->n_seqs == 1);
    engine_step(s.stable);
    engine_step(s.candidate);
    UNTIL(s.w, engine_is_proven(s.stable));
    engine_die(s.candidate);
    engine_return(s.candidate);
    UNTIL(s.w, s.candidate->n_seqs == 1);
    finish_all(&s);
    UNTIL(s.w, s.t->n_ended == 1);
    json_t *row = only_row(s.w);
    assert_string_equal(text_of(row, "verdict"), "exact");
    json_decref(row);
    world_free(s.w);
}

static void a_cancelled_request_is_not_compared(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    ask(s.t, 3, 5, 6);
    UNTIL(s.w, s.stable->n_seqs == 1 && s.candidate->n_seqs == 1);
    cancel(s.t, 3);
    UNTIL(s.w, s.stable->n_cancels == 1 && s.candidate->n_cancels == 1);
    run_one(&s, 4, 2);
    json_t *row = only_row(s.w); /* that of the second */
    assert_int_equal(number_of(row, "max_tokens"), 2);
    json_decref(row);
    world_free(s.w);
}

static void clients_do_not_wait_for_the_candidate(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    for (uint64_t req = 1; req <= 8; req++)
        ask(s.t, req, 5, 4);
    UNTIL(s.w, s.stable->n_seqs == 8);
    while (s.stable->n_seqs > 0)
        engine_step(s.stable); /* the candidate does nothing */
    UNTIL(s.w, s.t->n_ended == 8);
    for (uint64_t req = 1; req <= 8; req++)
        assert_whole(s.t, req);
    assert_int_equal(s.candidate->n_seqs, 4); /* half of its places are for those who ask for it */
    finish_all(&s);
    UNTIL(s.w, count_rows(s.w) == 4);
    world_free(s.w);
}

static void the_share_is_exact(void **state)
{
    (void)state;
    const char *const args[] = {"--shadow-share=25", NULL};
    struct scene s = scene_new(args);
    for (uint64_t req = 1; req <= 8; req++) {
        ask(s.t, req, 5, 1);
        UNTIL(s.w, s.stable->n_seqs == 1);
        engine_step(s.stable);
        UNTIL(s.w, s.t->n_ended == req);
    }
    UNTIL(s.w, s.candidate->n_seqs == 2);
    engine_step(s.candidate);
    UNTIL(s.w, count_rows(s.w) == 2);
    assert_int_equal(s.candidate->n_submits, 2);
    world_free(s.w);
}

static void the_candidate_lane_itself_is_not_compared(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    uint32_t prompt[] = {5};
    struct frame_submit f = {.req = 3,
                             .prompt = prompt,
                             .n_prompt = 1,
                             .sampling = {.max_tokens = 2, .seed = 3},
                             .lane = 1};
    ask_as(s.t, &f);
    UNTIL(s.w, s.candidate->n_seqs == 1);
    finish_all(&s);
    UNTIL(s.w, s.t->n_ended == 1);
    run_one(&s, 4, 1);
    json_t *row = only_row(s.w);
    assert_int_equal(number_of(row, "seed"), 4);
    json_decref(row);
    world_free(s.w);
}

static void a_full_log_is_moved_away(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/burnin.jsonl", s.w->run);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fseek(f, 64000000, SEEK_SET), 0); /* a hole */
    assert_int_equal(fputs("\n", f), 1);
    assert_int_equal(fclose(f), 0);
    run_one(&s, 3, 2);
    (void)snprintf(path, sizeof path, "%s/burnin.jsonl.1", s.w->run);
    UNTIL(s.w, stat(path, &st) == 0);
    run_one(&s, 4, 2);
    json_t *row = only_row(s.w);
    assert_int_equal(number_of(row, "seed"), 4);
    json_decref(row);
    world_free(s.w);
}

static void a_log_that_cannot_be_written_harms_no_client(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/burnin.jsonl", s.w->run);
    assert_int_equal(mkdir(path, 0700), 0);
    run_one(&s, 3, 2);
    assert_whole(s.t, 3);
    world_free(s.w);
}

static void the_router_stops_amid_comparisons(void **state)
{
    (void)state;
    struct scene s = scene_new(ALL);
    s.candidate->wrong_from = 1;
    for (uint64_t req = 1; req <= 3; req++)
        ask(s.t, req, 5, 4);
    UNTIL(s.w, s.stable->n_seqs == 3 && s.candidate->n_seqs == 3);
    while (s.stable->n_seqs > 0)
        engine_step(s.stable);
    UNTIL(s.w, s.t->n_ended == 3);
    router_stop(s.w);
    assert_int_equal(count_rows(s.w), 0); /* a stop is no difference and no failure */
    world_free(s.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_replies_are_exact),
        cmocka_unit_test(a_difference_tells_its_place_and_margins),
        cmocka_unit_test(a_difference_is_logged_without_margins_when_engines_are_gone),
        cmocka_unit_test(replies_without_tokens_are_no_match),
        cmocka_unit_test(a_failed_candidate_is_no_match),
        cmocka_unit_test(a_candidate_that_stays_away_is_no_match),
        cmocka_unit_test(a_candidate_that_returns_goes_on),
        cmocka_unit_test(a_cancelled_request_is_not_compared),
        cmocka_unit_test(clients_do_not_wait_for_the_candidate),
        cmocka_unit_test(the_share_is_exact),
        cmocka_unit_test(the_candidate_lane_itself_is_not_compared),
        cmocka_unit_test(a_full_log_is_moved_away),
        cmocka_unit_test(a_log_that_cannot_be_written_harms_no_client),
        cmocka_unit_test(the_router_stops_amid_comparisons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
