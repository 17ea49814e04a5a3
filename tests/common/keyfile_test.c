/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/keyfile.h"

static char dir[64];
static char path[96];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/halo-keys-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/keys.json", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(dir);
}

static void write_text(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void keys_come_back_from_the_file(void **state)
{
    (void)state;
    char why[KEYFILE_WHY_CAP];
    char secret[2][KEYFILE_SECRET_LEN + 1];
    uint8_t hash[KEYFILE_HASH_BYTES];
    struct keyfile f = {0};
    struct keyfile back;
    struct keyfile_key a = {.name = "a@b.c", .created_s = 7, .requests_per_minute = 3};
    struct keyfile_key b = {.name = "b", .tokens_per_minute = UINT32_MAX};
    assert_int_equal(keyfile_add(&f, &a, secret[0]), ERR_OK);
    assert_int_equal(keyfile_add(&f, &b, secret[1]), ERR_OK);
    assert_int_equal(keyfile_add(&f, &b, secret[1]), ERR_EXISTS);
    assert_int_equal(keyfile_write(path, &f, why), ERR_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(keyfile_read(path, why, &back), ERR_OK);
    assert_int_equal(back.n_keys, 2);
    assert_memory_equal(&back.keys[0], &f.keys[0], sizeof back.keys[0]);
    assert_memory_equal(&back.keys[1], &f.keys[1], sizeof back.keys[1]);
    keyfile_hash((struct str){secret[0], strlen(secret[0])}, hash);
    assert_memory_equal(hash, back.keys[0].hash, sizeof hash);
    assert_int_equal(keyfile_remove(&back, "a@b.c"), ERR_OK);
    assert_int_equal(keyfile_remove(&back, "a@b.c"), ERR_NOT_FOUND);
    assert_string_equal(back.keys[0].name, "b");
    keyfile_fini(&f);
    keyfile_fini(&back);
}

static void secrets_are_long_and_never_the_same(void **state)
{
    (void)state;
    enum { N = 64 };
    char secret[N][KEYFILE_SECRET_LEN + 1];
    struct keyfile f = {0};
    for (int i = 0; i < N; i++) {
        struct keyfile_key k = {0};
        (void)snprintf(k.name, sizeof k.name, "k%d", i);
        assert_int_equal(keyfile_add(&f, &k, secret[i]), ERR_OK);
        assert_int_equal(strlen(secret[i]), KEYFILE_SECRET_LEN);
        assert_int_equal(strncmp(secret[i], "sk-halo-", 8), 0);
        assert_int_equal(strspn(secret[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                           "0123456789-_"),
                         KEYFILE_SECRET_LEN);
        for (int k2 = 0; k2 < i; k2++)
            assert_string_not_equal(secret[i], secret[k2]);
    }
    keyfile_fini(&f);
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    (void)state;
    char why[KEYFILE_WHY_CAP];
    struct keyfile f = {0};
    assert_int_equal(keyfile_read(path, why, &f), ERR_NOT_FOUND);
    write_text("{\"version\":1,\"keys\":[]}");
    assert_int_equal(keyfile_read(path, why, &f), ERR_OK);
    keyfile_fini(&f);
    static const mode_t MODES[] = {0644, 0604, 0660, 0602, 0620};
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++) {
        assert_int_equal(chmod(path, MODES[i]), 0);
        assert_int_equal(keyfile_read(path, why, &f), ERR_PERMISSION);
        assert_non_null(strstr(why, "chmod 600"));
        assert_non_null(strstr(why, path));
    }
}

static void what_is_no_file_is_said_to_be_none(void **state)
{
    (void)state;
    char why[KEYFILE_WHY_CAP];
    struct keyfile f = {0};
    assert_int_equal(keyfile_read("/tmp", why, &f), ERR_INVALID);
    assert_non_null(strstr(why, "/tmp is no file"));
}

static void damaged_files_are_refused_in_words(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",
        "{",
        "[]",
        "{\"version\":2,\"keys\":[]}",
        "{\"version\":1}",
        "{\"version\":1,\"keys\":[{}]}",
        "{\"version\":1,\"keys\":[{\"name\":\"a\",\"sha256\":\"00\"}]}",
        "{\"version\":1,\"keys\":[{\"name\":\"a b\",\"sha256\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\"}]}",
        "{\"version\":1,\"keys\":[{\"name\":\"a\",\"requests_per_minute\":-1,\"sha256\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\"}]}"};
    char why[KEYFILE_WHY_CAP];
    struct keyfile f = {0};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        write_text(BAD[i]);
        assert_int_equal(keyfile_read(path, why, &f), ERR_INVALID);
        assert_non_null(strstr(why, path));
    }
}

static void names_are_short_and_plain(void **state)
{
    (void)state;
    char secret[KEYFILE_SECRET_LEN + 1];
    struct keyfile f = {0};
    struct keyfile_key k = {0};
    assert_int_equal(keyfile_add(&f, &k, secret), ERR_INVALID);
    (void)snprintf(k.name, sizeof k.name, "a\"b");
    assert_int_equal(keyfile_add(&f, &k, secret), ERR_INVALID);
    memset(k.name, 'x', KEYFILE_NAME_MAX);
    k.name[KEYFILE_NAME_MAX] = '\0';
    assert_int_equal(keyfile_add(&f, &k, secret), ERR_OK);
    keyfile_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_come_back_from_the_file, setup, teardown),
        cmocka_unit_test(secrets_are_long_and_never_the_same),
        cmocka_unit_test_setup_teardown(a_file_that_others_may_read_is_refused, setup, teardown),
        cmocka_unit_test(what_is_no_file_is_said_to_be_none),
        cmocka_unit_test_setup_teardown(damaged_files_are_refused_in_words, setup, teardown),
        cmocka_unit_test(names_are_short_and_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
