/* SPDX-License-Identifier: MIT */
#include "services/load/prompts.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct prompts *make(const struct prompts_config *c)
{
    char why[200] = "";
    struct prompts *p = NULL;
    if (prompts_new(c, why, sizeof why, &p) != ERR_OK)
        fail_msg("%s", why);
    return p;
}

static void questions_are_as_long_as_asked_and_share_their_beginning(void **state)
{
    const struct prompts_config c = {.kind = PROMPT_IDS,
                                     .input_len = 20,
                                     .prefix_len = 50,
                                     .n_prefixes = 1,
                                     .n_turns = 1,
                                     .vocab = 1000,
                                     .max_tokens = 9,
                                     .seed = 5};
    struct prompt a;
    struct prompt b;
    (void)state;
    struct prompts *p = make(&c);
    prompts_next(p, &a);
    prompts_next(p, &b);
    assert_int_equal(a.n_ids, 70);
    assert_int_equal(b.n_ids, 70);
    assert_int_equal(a.max_tokens, 9);
    assert_memory_equal(a.ids, b.ids, 50 * sizeof *a.ids);
    assert_memory_not_equal(a.ids + 50, b.ids + 50, 20 * sizeof *a.ids);
    assert_true(a.seed != b.seed && a.talk == NULL);
    for (size_t i = 0; i < a.n_ids; i++)
        assert_true(a.ids[i] < 1000);
    prompt_fini(&a);
    prompt_fini(&b);
    prompts_free(p);
}

static void the_seed_decides_everything(void **state)
{
    struct prompts_config c = {.kind = PROMPT_TEXT,
                               .input_len = 20,
                               .range = 0.5,
                               .n_prefixes = 3,
                               .prefix_len = 4,
                               .n_turns = 1,
                               .seed = 5};
    (void)state;
    struct prompts *p = make(&c);
    struct prompts *same = make(&c);
    c.seed = 6;
    struct prompts *other = make(&c);
    for (int i = 0; i < 50; i++) {
        struct prompt a;
        struct prompt b;
        struct prompt d;
        prompts_next(p, &a);
        prompts_next(same, &b);
        prompts_next(other, &d);
        assert_true(str_eq(buf_str(&a.text), buf_str(&b.text)) && a.seed == b.seed);
        assert_false(str_eq(buf_str(&a.text), buf_str(&d.text)));
        prompt_fini(&a);
        prompt_fini(&b);
        prompt_fini(&d);
    }
    prompts_free(p);
    prompts_free(same);
    prompts_free(other);
}

static size_t count_messages(const struct prompt *q)
{
    json_t *list = json_loadb(q->text.ptr, q->text.len, 0, NULL);
    size_t n = json_array_size(list);
    json_decref(list);
    return n;
}

static void a_conversation_grows_by_question_and_answer(void **state)
{
    const struct prompts_config c = {
        .kind = PROMPT_CHAT, .input_len = 5, .n_prefixes = 1, .n_turns = 3, .seed = 5};
    struct prompt q;
    (void)state;
    struct prompts *p = make(&c);
    for (size_t turn = 0; turn < 3; turn++) {
        prompts_next(p, &q);
        assert_int_equal(count_messages(&q), 2 * turn + 1);
        assert_true((q.talk != NULL) == (turn < 2));
        prompts_answer(p, &q, STR_LIT("yes \\\"indeed\\\" \\u00e9"), NULL, 0, true);
        if (turn == 1)
            assert_non_null(strstr(q.text.ptr, "yes \\\"indeed\\\" \\u00e9"));
        prompt_fini(&q);
    }
    prompts_next(p, &q); /* a new one */
    assert_int_equal(count_messages(&q), 1);
    struct prompt second; /* beside the first, whose answer has not come */
    prompts_next(p, &second);
    assert_int_equal(count_messages(&second), 1);
    prompts_answer(p, &second, STR_LIT(""), NULL, 0, false); /* failed: it does not go on */
    prompt_fini(&second);
    prompts_answer(p, &q, STR_LIT("a"), NULL, 0, true);
    prompt_fini(&q);
    prompts_next(p, &q);
    assert_int_equal(count_messages(&q), 3);
    prompt_fini(&q);
    prompts_free(p);
}

static void a_conversation_in_plain_text_has_the_answer_unescaped(void **state)
{
    const struct prompts_config c = {
        .kind = PROMPT_TEXT, .input_len = 2, .n_prefixes = 1, .n_turns = 2, .seed = 5};
    struct prompt q;
    (void)state;
    struct prompts *p = make(&c);
    prompts_next(p, &q);
    prompts_answer(p, &q, STR_LIT("\\n\\\"!"), NULL, 0, true);
    prompt_fini(&q);
    prompts_next(p, &q);
    assert_non_null(strstr(q.text.ptr, "\n\"! "));
    prompt_fini(&q);
    prompts_free(p);
}

static struct prompts *from_text(const char *text, char *why, size_t cap)
{
    char path[] = "/tmp/halo-prompts-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
    const struct prompts_config c = {
        .kind = PROMPT_CHAT, .n_prefixes = 1, .n_turns = 1, .max_tokens = 4, .file = path};
    struct prompts *p = NULL;
    enum err e = prompts_new(&c, why, cap, &p);
    (void)unlink(path);
    assert_true((e == ERR_OK) == (p != NULL));
    return p;
}

static void a_file_is_asked_line_by_line_and_again(void **state)
{
    char why[200];
    struct prompt q;
    (void)state;
    struct prompts *p = from_text("{\"prompt\":\"a b\",\"max_tokens\":7}\n\n"
                                  "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
                                  why, sizeof why);
    assert_non_null(p);
    for (int i = 0; i < 4; i++) {
        prompts_next(p, &q);
        assert_int_equal(q.kind, i % 2 == 0 ? PROMPT_TEXT : PROMPT_CHAT);
        assert_int_equal(q.max_tokens, i % 2 == 0 ? 7 : 4);
        assert_true(str_is(buf_str(&q.text),
                           i % 2 == 0 ? "a b" : "[{\"role\":\"user\",\"content\":\"x\"}]"));
        prompt_fini(&q);
    }
    prompts_free(p);
}

static void a_bad_file_is_refused_with_the_line(void **state)
{
    char why[200] = "";
    (void)state;
    assert_null(from_text("{\"prompt\":\"a\"}\n{\"prompt\":3}\n", why, sizeof why));
    assert_non_null(strstr(why, ":2: expected"));
    assert_null(from_text("\n", why, sizeof why));
    assert_non_null(strstr(why, "no prompts"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_are_as_long_as_asked_and_share_their_beginning),
        cmocka_unit_test(the_seed_decides_everything),
        cmocka_unit_test(a_conversation_grows_by_question_and_answer),
        cmocka_unit_test(a_conversation_in_plain_text_has_the_answer_unescaped),
        cmocka_unit_test(a_file_is_asked_line_by_line_and_again),
        cmocka_unit_test(a_bad_file_is_refused_with_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
