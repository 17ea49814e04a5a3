/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/opt.h"
#include "tests/common/capture.h"

struct values {
    const char *name;
    const char *color;
    uint32_t count;
    uint64_t bytes;
    bool is_fast;
    bool is_safe;
};

static const struct opt OPTS[] = {
    OPT_STR_ROW(struct values, name, "name", NULL, "TEXT", "A name."),
    OPT_CHOICE_ROW(struct values, color, "color", "red", "red|green", "A colour."),
    OPT_U32_ROW(struct values, count, "count", "3", 1, 10, "N", "How many; never more than ten."),
    OPT_U64_ROW(struct values, bytes, "bytes", "2k", 0, UINT64_MAX, "BYTES", "A size."),
    OPT_BOOL_ROW(struct values, is_fast, "fast", "false", "Go fast."),
    OPT_BOOL_ROW(
        struct values, is_safe, "safe", "true",
        "Stay safe; this text is longer than one line of the help, so that it is wrapped there "
        "and in the configuration file."),
};

static struct values v;
static int operands;
static int status;
static struct capture out;

/* Parses NULL-terminated words; what is printed to stdout and stderr is left in out.text. */
static bool parse(const char *wants_operands, const char *const *words)
{
    static char *argv[32];
    static char copies[32][128];
    struct opt_program p = {.name = "prog",
                            .summary = "Does things.",
                            .operands = wants_operands,
                            .example = "prog --fast",
                            .opts = OPTS,
                            .n_opts = ARRAY_LEN(OPTS),
                            .values = &v};
    int argc = 0;
    argv[argc++] = strcpy(copies[31], "prog");
    for (; *words != NULL; words++, argc++)
        argv[argc] = strcpy(copies[argc], *words);
    v = (struct values){0};
    status = -1;
    struct capture err;
    capture_start(&out, 1);
    capture_start(&err, 2);
    bool goes_on = opt_parse(&p, argc, argv, &operands, &status);
    (void)capture_stop(&err);
    (void)capture_stop(&out);
    strncat(out.text, err.text, sizeof out.text - strlen(out.text) - 1);
    operands = argc - operands; /* their number */
    return goes_on;
}

#define PARSE(...) parse(NULL, (const char *const[]){__VA_ARGS__, NULL})

static void defaults_come_from_the_table(void **state)
{
    (void)state;
    assert_true(parse(NULL, (const char *const[]){NULL}));
    assert_null(v.name);
    assert_string_equal(v.color, "red");
    assert_int_equal(v.count, 3);
    assert_int_equal(v.bytes, 2048);
    assert_false(v.is_fast);
    assert_true(v.is_safe);
}

static void both_spellings_and_the_last_one_count(void **state)
{
    (void)state;
    assert_true(PARSE("--name", "a b", "--count=4", "--count", "5", "--fast", "--no-safe",
                      "--bytes=3G", "--color=green"));
    assert_string_equal(v.name, "a b");
    assert_int_equal(v.count, 5);
    assert_true(v.is_fast);
    assert_false(v.is_safe);
    assert_true(v.bytes == UINT64_C(3) << 30);
    assert_string_equal(v.color, "green");
}

static void mistakes_stop_the_start_and_name_the_remedy(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        const char *says;
    } CASES[] = {
        {"--cuont=1", "unknown option --cuont=1"},
        {"--count=11", "count: bad value 11 (expected a whole number from 1 to 10)"},
        {"--count=-1", "bad value -1"},
        {"--count=", "bad value"},
        {"--count=1x", "bad value 1x"},
        {"--count", "--count needs a value N"},
        {"--bytes=99999999999999999999", "bad value"},
        {"--bytes=99999999999G", "bad value"},
        {"--color=blue", "expected one of red|green"},
        {"--color=re", "expected one of red|green"},
        {"--fast=yes", "expected true or false"},
        {"--no-count", "unknown option"},
        {"stray", "unexpected argument stray"},
        {"--config=/nonexistent/f", "cannot read the configuration file /nonexistent/f"},
        {"--config=/nonexistent/f", "`prog --print-defaults` prints one"},
        {"--config=/tmp", "/tmp: Is a directory"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        assert_false(PARSE(CASES[i].word));
        assert_int_equal(status, 2);
        assert_has(out.text, "prog: ");
        assert_has(out.text, CASES[i].says);
    }
}

static void operands_are_gathered_at_the_end(void **state)
{
    (void)state;
    assert_true(
        parse("[TEXT]", (const char *const[]){"one", "--fast", "two", "--", "--count", NULL}));
    assert_int_equal(operands, 3);
    assert_true(v.is_fast);
    assert_int_equal(v.count, 3);
}

static char path[] = "/tmp/halo-opt-XXXXXX";

static const char *config_with(const char *text)
{
    static char arg[64];
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    (void)snprintf(arg, sizeof arg, "--config=%s", path);
    return arg;
}

static void a_file_is_weaker_than_the_command_line_wherever_it_stands(void **state)
{
    (void)state;
    const char *arg = config_with("# comment\n[other]\nnonsense\n[prog]\n count =  7 \nname = x y\n"
                                  "fast = true\n[other]\ncount = 99\n");
    assert_true(PARSE("--name=z", arg));
    assert_int_equal(v.count, 7);
    assert_string_equal(v.name, "z");
    assert_true(v.is_fast);
}

static void mistakes_in_a_file_are_named_with_their_line(void **state)
{
    (void)state;
    assert_false(PARSE(config_with("[prog]\n\ncuont = 7\n")));
    assert_int_equal(status, 2);
    assert_has(out.text, path);
    assert_has(out.text, ":3: unknown option cuont");
    assert_false(PARSE(config_with("[prog]\ncount 7\n")));
    assert_has(out.text, ":2: expected \"name = value\", found count 7");
    assert_false(PARSE(config_with("[prog]\nfast = maybe\n")));
    assert_has(out.text, "expected true or false");
    assert_false(PARSE(config_with("# all for nothing\n[porg]\ncount = 7\n")));
    assert_has(out.text, ":2: unknown section [porg]; is it [prog]?");
}

static void printed_configuration_reads_back(void **state)
{
    (void)state;
    static char printed[sizeof out.text];
    assert_false(PARSE("--print-config", "--count=9", "--name=hello", "--no-safe", "--bytes=5M"));
    assert_int_equal(status, 0);
    (void)snprintf(printed, sizeof printed, "%s", out.text);
    assert_true(PARSE(config_with(printed)));
    assert_int_equal(v.count, 9);
    assert_string_equal(v.name, "hello");
    assert_int_equal(v.bytes, 5 << 20);
    assert_false(v.is_safe);
    assert_string_equal(v.color, "red");
}

static void printed_defaults_are_comments_that_name_every_option(void **state)
{
    (void)state;
    static char printed[sizeof out.text];
    assert_false(PARSE("--print-defaults", "--count=9"));
    assert_int_equal(status, 0);
    (void)snprintf(printed, sizeof printed, "%s", out.text);
    assert_has(printed, "[prog]\n# ");
    assert_has(printed, "\n# count = 3\n");
    assert_has(printed, "\n# safe = true\n");
    for (char *line = strchr(printed, '\n') + 1; *line != '\0'; line = strchr(line, '\n') + 1)
        assert_int_equal(*line, '#');
    assert_true(PARSE(config_with(printed)));
    assert_int_equal(v.count, 3);
}

static void help_and_version_end_with_success(void **state)
{
    (void)state;
    assert_false(PARSE("--help", "--count=77"));
    assert_int_equal(status, 0);
    assert_has(out.text, "Usage: prog [OPTION]...");
    assert_has(out.text, "--count N  (default: 3)\n      How many; never more than ten.");
    assert_has(out.text, "--[no-]safe  (default: true)");
    assert_has(out.text, "--color red|green");
    assert_has(out.text, "Example:\n  prog --fast");
    assert_false(PARSE("--version"));
    assert_int_equal(status, 0);
    assert_has(out.text, "prog 0.");
}

static void the_run_directory_must_be_ours_alone(void **state)
{
    (void)state;
    char dir[] = "/tmp/halo-opt-XXXXXX";
    const char *run = dir;
    assert_non_null(mkdtemp(dir));
    assert_true(opt_common_setup("test", &run, "warn"));
    assert_int_equal(chmod(dir, 0770), 0);
    capture_start(&out, 2);
    assert_false(opt_common_setup("test", &run, "warn"));
    assert_has(capture_stop(&out), "can be written by others (mode 770");
    assert_int_equal(rmdir(dir), 0);
    capture_start(&out, 2);
    assert_false(opt_common_setup("test", &run, "warn"));
    assert_has(capture_stop(&out), "does not exist");
    assert_int_equal(setenv("HALO_RUN", "/somewhere", 1), 0);
    assert_string_equal(opt_default_run_dir(), "/somewhere");
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(both_spellings_and_the_last_one_count),
        cmocka_unit_test(mistakes_stop_the_start_and_name_the_remedy),
        cmocka_unit_test(operands_are_gathered_at_the_end),
        cmocka_unit_test(a_file_is_weaker_than_the_command_line_wherever_it_stands),
        cmocka_unit_test(mistakes_in_a_file_are_named_with_their_line),
        cmocka_unit_test(printed_configuration_reads_back),
        cmocka_unit_test(printed_defaults_are_comments_that_name_every_option),
        cmocka_unit_test(help_and_version_end_with_success),
        cmocka_unit_test(the_run_directory_must_be_ours_alone),
    };
    return cmocka_run_group_tests_name("opt", tests, make_file, remove_file);
}
