/* SPDX-License-Identifier: MIT */
/* Headers of .safetensors files: a whole one is read, every cut of it is refused. */
#include "services/model/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct file {
    uint8_t bytes[4096];
    size_t size;
    char path[32];
    int fd;
};

static struct file *make_file(void)
{
    static const char HEADER[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}}";
    struct file *f = calloc(1, sizeof *f);
    assert_non_null(f);
    size_t n = sizeof HEADER - 1;
    f->bytes[0] = (uint8_t)n;
    f->bytes[1] = (uint8_t)(n >> 8);
    memcpy(f->bytes + 8, HEADER, n);
    f->size = 8 + n + 11;
    f->fd = memfd_create("safetensors", MFD_CLOEXEC);
    assert_true(f->fd >= 0);
    assert_int_equal(write(f->fd, f->bytes, f->size), f->size);
    (void)snprintf(f->path, sizeof f->path, "/proc/self/fd/%d", f->fd);
    return f;
}

static void drop_file(struct file *f)
{
    (void)close(f->fd);
    free(f);
}

static void test_tensors_are_listed_in_the_order_of_their_data(void **state)
{
    (void)state;
    struct file *f = make_file();
    struct safetensors st;
    struct why why;
    int fd = -1;
    assert_int_equal(safetensors_open(f->path, &why, &st, &fd), ERR_OK);
    assert_int_equal(st.n_tensors, 2);
    assert_string_equal(st.tensors[0].name, "a");
    assert_string_equal(st.tensors[0].type->name, "F32");
    assert_int_equal(st.tensors[0].n_dims, 2);
    assert_int_equal(st.tensors[0].dims[0], 2);
    assert_int_equal(st.tensors[0].offset, f->size - 11);
    assert_int_equal(st.tensors[0].n_bytes, 8);
    assert_string_equal(st.tensors[1].name, "b");
    assert_int_equal(st.tensors[1].offset, f->size - 3);
    (void)close(fd);
    safetensors_fini(&st);
    drop_file(f);
}

static void test_every_cut_is_refused_with_its_place(void **state)
{
    (void)state;
    struct file *f = make_file();
    for (size_t size = f->size; size-- > 0;) {
        struct safetensors st;
        struct why why = {""};
        int fd = -1;
        assert_int_equal(ftruncate(f->fd, (off_t)size), 0);
        assert_int_equal(safetensors_open(f->path, &why, &st, &fd), ERR_MODEL_FORMAT);
        assert_non_null(strstr(why.text, f->path));
        assert_non_null(strstr(why.text, "at offset"));
        assert_non_null(strstr(why.text, "expected"));
    }
    drop_file(f);
}

static void test_bytes_beyond_the_tensors_are_refused(void **state)
{
    (void)state;
    struct file *f = make_file();
    struct safetensors st;
    struct why why = {""};
    int fd = -1;
    assert_int_equal(ftruncate(f->fd, (off_t)f->size + 1), 0);
    assert_int_equal(safetensors_open(f->path, &why, &st, &fd), ERR_MODEL_FORMAT);
    assert_non_null(strstr(why.text, "1 more bytes"));
    drop_file(f);
}

static void test_holes_and_overlaps_are_refused(void **state)
{
    (void)state;
    static const char *const OFFSETS[] = {"[9,12]", "[7,10]", "[0,3]"};
    for (size_t i = 0; i < sizeof OFFSETS / sizeof OFFSETS[0]; i++) {
        char text[256];
        int n = snprintf(text, sizeof text,
                         "........{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                         "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":%s}}",
                         OFFSETS[i]);
        assert_true(n > 8 && n < (int)sizeof text);
        uint64_t length = (uint64_t)n - 8;
        memcpy(text, &length, sizeof length); /* the tests run on little-endian machines only */
        struct safetensors st;
        struct why why = {""};
        enum err e = safetensors_parse("file", (const uint8_t *)text, (size_t)n, (uint64_t)n + 12,
                                       &why, &st);
        assert_int_equal(e, ERR_MODEL_FORMAT);
        assert_non_null(strstr(why.text, "file: tensor "));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors_are_listed_in_the_order_of_their_data),
        cmocka_unit_test(test_every_cut_is_refused_with_its_place),
        cmocka_unit_test(test_bytes_beyond_the_tensors_are_refused),
        cmocka_unit_test(test_holes_and_overlaps_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
