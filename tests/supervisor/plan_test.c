/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buf.h"
#include "services/supervisor/plan.h"

static char bin[] = "/tmp/halo-plan-XXXXXX";

static const char *const BINARIES[] = {"halo-router", "halo-tokenizer", "halo-engine",
                                       "halo-gateway"};

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(bin));
    for (size_t i = 0; i < sizeof BINARIES / sizeof BINARIES[0]; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", bin, BINARIES[i]);
        int fd = open(path, O_WRONLY | O_CREAT, 0700);
        assert_true(fd >= 0);
        (void)close(fd);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof BINARIES / sizeof BINARIES[0]; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", bin, BINARIES[i]);
        (void)unlink(path);
    }
    return rmdir(bin);
}

static const struct plan_values VALUES = {.bin = bin,
                                          .run = "/run/h h",
                                          .log_level = "warn",
                                          .sandbox = "on",
                                          .model = "/m.h1b",
                                          .http = "127.0.0.1:1",
                                          .engine_args = "",
                                          .gateway_args = "",
                                          .router_args = "--queue-limit 9",
                                          .candidate_args = "",
                                          .n_engines = 1};

static const struct child_spec *find(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->n_specs; i++) {
        if (strcmp(p->specs[i].name, name) == 0)
            return &p->specs[i];
    }
    fail_msg("no %s", name);
    return NULL;
}

static void check_words(const struct child_spec *s, const char *joined)
{
    struct buf b = {0};
    for (char **a = s->argv; *a != NULL; a++)
        buf_printf(&b, "%s%s", a == s->argv ? "" : "|", *a);
    assert_string_equal(b.ptr, joined);
    buf_fini(&b);
}

static void each_engine_has_its_name_and_all_share_a_stage(void **state)
{
    (void)state;
    struct plan_values v = VALUES;
    struct plan p;
    char why[256];
    v.n_engines = 3;
    assert_int_equal(plan_init(&v, why, sizeof why, &p), ERR_OK);
    assert_int_equal(p.n_specs, 6);
    for (size_t i = 1; i < p.n_specs; i++)
        assert_true(p.specs[i - 1].stage <= p.specs[i].stage);
    unsigned stage = find(&p, "engine.1")->stage;
    assert_int_equal(find(&p, "engine.3")->stage, stage);
    assert_true(find(&p, "gateway")->stage > stage);
    assert_true(find(&p, "router")->stage < stage);
    plan_fini(&p);
}

static void values_replace_whole_words_and_keep_their_blanks(void **state)
{
    (void)state;
    struct plan_values v = VALUES;
    struct plan p;
    char why[256];
    v.n_engines = 2;
    v.gateway_args = "--keys /k";
    v.engine_args = "  --threads\t4 --isa=avx2 ";
    assert_int_equal(plan_init(&v, why, sizeof why, &p), ERR_OK);
    check_words(find(&p, "engine.2"),
                "halo-engine|--run|/run/h h|--log-level|warn|--sandbox|on|--model|/m.h1b|"
                "--name|2|--threads|4|--isa=avx2");
    check_words(find(&p, "gateway"),
                "halo-gateway|--run|/run/h "
                "h|--log-level|warn|--sandbox|on|--listen|127.0.0.1:1|--unix|/run/h "
                "h/gateway.http|--keys|/k");
    check_words(find(&p, "router"),
                "halo-router|--run|/run/h h|--log-level|warn|--sandbox|on|--queue-limit|9");
    assert_int_equal(find(&p, "gateway")->socket, SOCKET_HTTP);
    assert_int_equal(find(&p, "router")->socket, SOCKET_NONE);
    plan_fini(&p);
}

static void too_many_arguments_are_refused(void **state)
{
    (void)state;
    struct plan_values v = VALUES;
    struct plan p = {0};
    struct buf words = {0};
    char why[256] = "";
    for (int i = 0; i < PLAN_MAX_ARGS; i++)
        buf_add_cstr(&words, "x ");
    v.engine_args = words.ptr;
    assert_int_equal(plan_init(&v, why, sizeof why, &p), ERR_TOO_LARGE);
    assert_non_null(strstr(why, "--engine-args"));
    assert_null(p.specs);
    buf_fini(&words);
}

static void a_missing_binary_is_named(void **state)
{
    (void)state;
    struct plan_values v = VALUES;
    struct plan p = {0};
    char why[256] = "";
    v.bin = "/nonexistent";
    assert_int_equal(plan_init(&v, why, sizeof why, &p), ERR_NOT_FOUND);
    assert_non_null(strstr(why, "halo-router is not in /nonexistent"));
}

static void a_newcomer_differs_in_what_is_asked_and_inherits_the_place(void **state)
{
    (void)state;
    struct plan p;
    struct child_spec *s;
    char why[256];
    char engine[128];
    assert_int_equal(plan_init(&VALUES, why, sizeof why, &p), ERR_OK);
    const struct child_spec *old = find(&p, "engine.1");
    (void)snprintf(engine, sizeof engine, "%s/halo-router", bin);
    const struct plan_change change = {
        .model = "/dev/null", .backend = "cpu", .build = engine, .args = "--threads  2"};
    assert_int_equal(plan_newcomer(old, &change, why, sizeof why, &s), ERR_OK);
    assert_string_equal(s->name, "engine.1.new");
    assert_string_equal(s->log, "engine.1");
    assert_string_equal(s->program, engine);
    assert_int_equal(s->stage, old->stage);
    check_words(s,
                "halo-engine|--run|/run/h h|--log-level|warn|--sandbox|on|--model|/m.h1b|--name|1|"
                "--model|/dev/null|--backend|cpu|--threads|2|--standby");
    plan_put_in_service(s);
    plan_inherit_name(s, old);
    assert_string_equal(s->name, "engine.1");
    check_words(s,
                "halo-engine|--run|/run/h h|--log-level|warn|--sandbox|on|--model|/m.h1b|--name|1|"
                "--model|/dev/null|--backend|cpu|--threads|2");
    /* Beside one that was a newcomer itself; a directory is a build, too. */
    struct child_spec *next;
    const struct plan_change directory = {.build = bin};
    assert_int_equal(plan_newcomer(s, &directory, why, sizeof why, &next), ERR_OK);
    assert_string_equal(next->name, "engine.1.new");
    assert_non_null(strstr(next->program, "/halo-engine"));
    plan_spec_free(next);
    plan_spec_free(s);
    const struct plan_change wrong[] = {{.model = "/nonexistent"}, {.build = "/nonexistent"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(plan_newcomer(old, &wrong[i], why, sizeof why, &s), ERR_NOT_FOUND);
        assert_non_null(strstr(why, "/nonexistent"));
    }
    plan_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_engine_has_its_name_and_all_share_a_stage),
        cmocka_unit_test(values_replace_whole_words_and_keep_their_blanks),
        cmocka_unit_test(too_many_arguments_are_refused),
        cmocka_unit_test(a_missing_binary_is_named),
        cmocka_unit_test(a_newcomer_differs_in_what_is_asked_and_inherits_the_place),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
