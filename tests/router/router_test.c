/* SPDX-License-Identifier: MIT */
/* The real halo-router between fake ends: requests, placement, queue, limits, status. What happens when
 * engines are lost is in replay_test.c. */
#include "tests/router/ends.h"

#include <string.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_come_back_under_the_tokenizers_number),
        cmocka_unit_test(one_step_is_one_frame_for_each_tokenizer),
        cmocka_unit_test(the_least_loaded_engine_gets_the_next_request),
    };
    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
