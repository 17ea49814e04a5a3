/* SPDX-License-Identifier: MIT */
/* Engines and routers that are lost in the middle: every reply goes on exactly. */
#include "tests/router/ends.h"

#include <stdlib.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_goes_on_at_another_engine),
    };
    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
