/* SPDX-License-Identifier: MIT */
#include "services/model/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buf.h"
#include "services/model/gguf_types.h"

/* A file under construction. */
struct file {
    struct buf b;
    size_t header_end; /* where the tensors' bytes begin */
    struct why why;
};

static void put(struct file *f, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_add_char(&f->b, (char)(value >> 8 * i & 0xff));
}

static void put_str(struct file *f, const char *s)
{
    put(f, strlen(s), 8);
    buf_add_cstr(&f->b, s);
}

static void put_start(struct file *f, uint32_t version, uint64_t n_tensors, uint64_t n_values)
{
    buf_reset(&f->b);
    buf_add_cstr(&f->b, "GGUF");
    put(f, version, 4);
    put(f, n_tensors, 8);
    put(f, n_values, 8);
}

static void put_value(struct file *f, const char *key, enum gguf_kind kind, uint64_t bits, size_t n)
{
    put_str(f, key);
    put(f, kind, 4);
    put(f, bits, n);
}

static void put_tensor(struct file *f, const char *name, uint64_t cols, uint64_t rows,
                       uint32_t type, uint64_t offset)
{
    put_str(f, name);
    put(f, 2, 4);
    put(f, cols, 8);
    put(f, rows, 8);
    put(f, type, 4);
    put(f, offset, 8);
}

static void put_padding(struct file *f, size_t alignment)
{
    while (f->b.len % alignment != 0)
        put(f, 0, 1);
}

/* Every kind of value, and two tensors of F32: [2][4] and [1][3]. */
static void put_all(struct file *f, uint32_t version)
{
    put_start(f, version, 2, 17);
    put_value(f, "u8", GGUF_U8, 200, 1);
    put_value(f, "i8", GGUF_I8, (uint64_t)-3, 1);
    put_value(f, "u16", GGUF_U16, 60000, 2);
    put_value(f, "i16", GGUF_I16, (uint64_t)-300, 2);
    put_value(f, "u32", GGUF_U32, 4000000000, 4);
    put_value(f, "i32", GGUF_I32, 70000, 4);
    put_value(f, "f32", GGUF_F32, 0x3fc00000, 4);
    put_value(f, "yes", GGUF_BOOL, 1, 1);
    put_value(f, "u64", GGUF_U64, UINT64_MAX, 8);
    put_value(f, "i64", GGUF_I64, (uint64_t)-5, 8);
    put_value(f, "f64", GGUF_F64, UINT64_C(0x4004000000000000), 8);
    put_value(f, "text", GGUF_STRING, 2, 8);
    buf_add_cstr(&f->b, "hi");
    put_value(f, "numbers", GGUF_ARRAY, GGUF_I16, 4);
    put(f, 2, 8);
    put(f, (uint64_t)-1, 2);
    put(f, 7, 2);
    put_value(f, "texts", GGUF_ARRAY, GGUF_STRING, 4);
    put(f, 3, 8);
    put_str(f, "a");
    put_str(f, "");
    put_str(f, "ccc");
    put_value(f, "nested", GGUF_ARRAY, GGUF_ARRAY, 4);
    put(f, 2, 8);
    put(f, GGUF_U8, 4);
    put(f, 1, 8);
    put(f, 9, 1);
    put(f, GGUF_STRING, 4);
    put(f, 1, 8);
    put_str(f, "x");
    put_value(f, "none", GGUF_ARRAY, GGUF_F32, 4);
    put(f, 0, 8);
    put_value(f, "general.alignment", GGUF_U32, 64, 4);
    put_tensor(f, "first", 4, 2, 0, 0);
    put_tensor(f, "second", 3, 1, 0, 64);
    put_padding(f, 64);
    f->header_end = f->b.len;
    for (uint32_t i = 0; i < 8; i++)
        put(f, 0x3f800000 + (i << 21), 4);
    put_padding(f, 64);
    for (uint32_t i = 0; i < 3; i++)
        put(f, 0x40000000, 4);
}

static enum err open_n(struct file *f, size_t n, struct gguf **ret)
{
    /* A copy of just that size, so that a sanitizer sees every read beyond it. */
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, f->b.ptr, n);
    struct gguf *g = NULL;
    f->why.text[0] = '\0';
    enum err e = gguf_open_bytes(copy, n, "x.gguf", &f->why, &g);
    if (e == ERR_OK && ret) {
        *ret = g;
        return e;
    }
    gguf_close(g);
    free(copy);
    return e;
}

static struct gguf *open_good(struct file *f)
{
    struct gguf *g = NULL;
    enum err e = gguf_open_bytes(f->b.ptr, f->b.len, "x.gguf", &f->why, &g);
    if (e)
        fail_msg("refused: %s", f->why.text);
    return g;
}

static void refuse(struct file *f, enum err want, const char *word)
{
    assert_int_equal(open_n(f, f->b.len, NULL), want);
    if (!strstr(f->why.text, word) || strncmp(f->why.text, "x.gguf: at offset ", 18) != 0)
        fail_msg("\"%s\" is not in: %s", word, f->why.text);
}

static int setup(void **state)
{
    struct file *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct file *f = *state;
    buf_fini(&f->b);
    free(f);
    return 0;
}

static void every_kind_of_value_is_read(void **state)
{
    struct file *f = *state;
    for (uint32_t version = 2; version <= 3; version++) {
        put_all(f, version);
        struct gguf *g = open_good(f);
        uint64_t u = 0;
        double d = 0;
        bool b = false;
        struct str s = {"", 0};
        assert_int_equal(gguf_get_u64(g, "u8", &u), ERR_OK);
        assert_int_equal(u, 200);
        assert_int_equal(gguf_get_u64(g, "u32", &u), ERR_OK);
        assert_int_equal(u, 4000000000);
        assert_int_equal(gguf_get_u64(g, "i32", &u), ERR_OK);
        assert_int_equal(u, 70000);
        assert_int_equal(gguf_get_f64(g, "i8", &d), ERR_OK);
        assert_true(d == -3);
        assert_int_equal(gguf_get_f64(g, "i16", &d), ERR_OK);
        assert_true(d == -300);
        assert_int_equal(gguf_get_f64(g, "f32", &d), ERR_OK);
        assert_true(d == 1.5);
        assert_int_equal(gguf_get_f64(g, "f64", &d), ERR_OK);
        assert_true(d == 2.5);
        assert_int_equal(gguf_get_bool(g, "yes", &b), ERR_OK);
        assert_true(b);
        assert_int_equal(gguf_get_str(g, "text", &s), ERR_OK);
        assert_true(str_is(s, "hi"));
        size_t n = 0;
        (void)gguf_values(g, &n);
        assert_int_equal(n, 17);
        gguf_close(g);
    }
}

static void a_value_of_another_kind_leaves_the_result_alone(void **state)
{
    struct file *f = *state;
    put_all(f, 3);
    struct gguf *g = open_good(f);
    uint64_t u = 1;
    double d = 1;
    bool b = true;
    struct str s = {"", 0};
    assert_int_equal(gguf_get_u64(g, "i64", &u), ERR_TYPE);
    assert_int_equal(gguf_get_u64(g, "u64", &u), ERR_TYPE);
    assert_int_equal(gguf_get_u64(g, "f32", &u), ERR_TYPE);
    assert_int_equal(gguf_get_u64(g, "absent", &u), ERR_MISSING);
    assert_int_equal(gguf_get_f64(g, "text", &d), ERR_TYPE);
    assert_int_equal(gguf_get_bool(g, "u8", &b), ERR_TYPE);
    assert_int_equal(gguf_get_str(g, "texts", &s), ERR_TYPE);
    assert_int_equal(u, 1);
    assert_true(d == 1 && b && s.len == 0);
    gguf_close(g);
}

static void arrays_give_their_items(void **state)
{
    struct file *f = *state;
    put_all(f, 3);
    struct gguf *g = open_good(f);
    struct gguf_items items;
    int64_t x = 0;
    assert_int_equal(gguf_get_items(g, "numbers", &items), ERR_OK);
    assert_true(gguf_next_i64(&items, &x) && x == -1);
    assert_true(gguf_next_i64(&items, &x) && x == 7);
    assert_false(gguf_next_i64(&items, &x));
    static const char *const WANT[] = {"a", "", "ccc"};
    struct str s;
    assert_int_equal(gguf_get_items(g, "texts", &items), ERR_OK);
    assert_false(gguf_next_i64(&items, &x));
    for (size_t i = 0; i < 3; i++)
        assert_true(gguf_next_str(&items, &s) && str_is(s, WANT[i]));
    assert_false(gguf_next_str(&items, &s));
    assert_int_equal(gguf_get_items(g, "nested", &items), ERR_OK);
    assert_false(gguf_next_str(&items, &s));
    assert_int_equal(gguf_get_items(g, "none", &items), ERR_OK);
    double d = 0;
    assert_false(gguf_next_f64(&items, &d));
    assert_int_equal(gguf_get_items(g, "text", &items), ERR_TYPE);
    gguf_close(g);
}

static void tensors_lie_where_the_file_says(void **state)
{
    struct file *f = *state;
    put_all(f, 3);
    struct gguf *g = open_good(f);
    assert_int_equal(gguf_alignment(g), 64);
    const struct gguf_tensor *first = gguf_find_tensor(g, "first");
    const struct gguf_tensor *second = gguf_find_tensor(g, "second");
    assert_null(gguf_find_tensor(g, "third"));
    assert_int_equal(first->offset, f->header_end);
    assert_int_equal(first->room, 64);
    assert_int_equal(second->room, 12);
    struct gguf_matrix m;
    assert_int_equal(gguf_matrix_init(&m, g, first, GGUF_I2S_128, &f->why), ERR_OK);
    float row[4];
    gguf_matrix_floats(&m, 1, row);
    assert_true(m.rows == 2 && m.cols == 4);
    assert_true(row[0] == 2.0F && row[3] == 3.5F);
    gguf_close(g);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    struct file *f = *state;
    put_all(f, 3);
    for (size_t n = 0; n < f->header_end + 64; n++) {
        if (open_n(f, n, NULL) == ERR_OK)
            fail_msg("%zu of %zu bytes were taken for a whole header", n, f->b.len);
        assert_non_null(strstr(f->why.text, "x.gguf: at offset "));
    }
    for (size_t n = f->header_end + 64; n < f->b.len; n++) {
        struct gguf *g = NULL;
        assert_int_equal(open_n(f, n, &g), ERR_OK);
        struct gguf_matrix m;
        const struct gguf_tensor *t = gguf_find_tensor(g, "second");
        void *copy = (void *)(uintptr_t)(t->data - t->offset);
        assert_int_equal(gguf_matrix_init(&m, g, t, GGUF_I2S_128, &f->why), ERR_MODEL_FORMAT);
        gguf_close(g);
        free(copy);
    }
}

static void any_changed_byte_of_the_header_is_survived(void **state)
{
    struct file *f = *state;
    put_all(f, 3);
    for (size_t i = 0; i < f->header_end; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            f->b.ptr[i] = (char)(f->b.ptr[i] ^ 1 << bit);
            enum err e = open_n(f, f->b.len, NULL);
            assert_true(e == ERR_OK || e == ERR_MODEL_FORMAT || e == ERR_UNSUPPORTED);
            f->b.ptr[i] = (char)(f->b.ptr[i] ^ 1 << bit);
        }
    }
}

static void other_versions_and_byte_orders_are_refused_with_the_reason(void **state)
{
    struct file *f = *state;
    put_start(f, 1, 0, 0);
    refuse(f, ERR_UNSUPPORTED, "expected version 2 or 3, found 1");
    put_start(f, 4, 0, 0);
    refuse(f, ERR_MODEL_FORMAT, "expected version 2 or 3, found 4");
    put_start(f, 0x03000000, 0, 0);
    refuse(f, ERR_UNSUPPORTED, "big-endian");
    put_start(f, 3, 0, 0);
    f->b.ptr[3] = 'X';
    refuse(f, ERR_MODEL_FORMAT, "magic");
}

static void counts_that_lie_are_refused_before_memory_is_taken(void **state)
{
    struct file *f = *state;
    put_start(f, 3, UINT64_MAX, 0);
    refuse(f, ERR_MODEL_FORMAT, "a number of tensors");
    put_start(f, 3, 0, UINT64_C(1) << 40);
    refuse(f, ERR_MODEL_FORMAT, "a number of keys");
    put_start(f, 3, 0, 1);
    put_value(f, "k", GGUF_ARRAY, GGUF_U64, 4);
    put(f, UINT64_MAX / 4, 8);
    refuse(f, ERR_MODEL_FORMAT, "array items");
    put_start(f, 3, 0, 1);
    put_value(f, "k", GGUF_ARRAY, GGUF_STRING, 4);
    put(f, UINT64_MAX, 8);
    refuse(f, ERR_MODEL_FORMAT, "a string");
    put_start(f, 3, 0, 1);
    put_value(f, "k", GGUF_STRING, UINT64_MAX - 3, 8);
    refuse(f, ERR_MODEL_FORMAT, "a string");
    put_start(f, 3, 0, 1);
    put(f, UINT64_MAX, 8);
    put(f, 0, 8);
    refuse(f, ERR_MODEL_FORMAT, "a key");
}

static void dims_that_overflow_are_refused(void **state)
{
    struct file *f = *state;
    put_start(f, 3, 1, 0);
    put_tensor(f, "t", UINT64_C(1) << 33, UINT64_C(1) << 33, 0, 0);
    refuse(f, ERR_MODEL_FORMAT, "a product that fits");
    put_start(f, 3, 1, 0);
    put_tensor(f, "t", 0, 4, 0, 0);
    refuse(f, ERR_MODEL_FORMAT, "at least 1");
    put_start(f, 3, 1, 0);
    put_tensor(f, "t", 4, 4, 0, 32);
    put_padding(f, 32);
    refuse(f, ERR_MODEL_FORMAT, "inside the file");
    put_start(f, 3, 1, 0);
    put_tensor(f, "t", 4, 4, 0, 8);
    put_padding(f, 32);
    put(f, 0, 8);
    refuse(f, ERR_MODEL_FORMAT, "multiple of 32");
}

static void arrays_nest_only_so_deep(void **state)
{
    struct file *f = *state;
    put_start(f, 3, 0, 1);
    put_str(f, "k");
    put(f, GGUF_ARRAY, 4);
    for (int i = 0; i < 1000; i++) {
        put(f, GGUF_ARRAY, 4);
        put(f, 1, 8);
    }
    refuse(f, ERR_MODEL_FORMAT, "nested");
}

static void a_name_that_comes_twice_is_refused(void **state)
{
    struct file *f = *state;
    put_start(f, 3, 0, 3);
    put_value(f, "same", GGUF_U8, 1, 1);
    put_value(f, "other", GGUF_U8, 1, 1);
    put_value(f, "same", GGUF_U8, 1, 1);
    refuse(f, ERR_MODEL_FORMAT, "same: expected each key once");
    put_start(f, 3, 2, 0);
    put_tensor(f, "t", 1, 1, 0, 0);
    put_tensor(f, "t", 1, 1, 0, 32);
    put_padding(f, 32);
    put(f, 0, 8);
    put_padding(f, 32);
    put(f, 0, 8);
    refuse(f, ERR_MODEL_FORMAT, "t: expected each tensor once");
}

static void odd_alignments_are_refused(void **state)
{
    struct file *f = *state;
    static const uint32_t ODD[] = {0, 3, 48, 1U << 31};
    for (size_t i = 0; i < sizeof ODD / sizeof ODD[0]; i++) {
        put_start(f, 3, 0, 1);
        put_value(f, "general.alignment", GGUF_U32, ODD[i], 4);
        refuse(f, ERR_MODEL_FORMAT, "power of two");
    }
}

/* Small tensors of Q2_0 have, with padding, one size in both groups. */
static void a_file_of_small_q2_0_tensors_is_refused_and_a_large_one_decides(void **state)
{
    struct file *f = *state;
    struct gguf_matrix m;
    put_start(f, 3, 1, 0);
    put_tensor(f, "small", 128, 1, 42, 0);
    put_padding(f, 32);
    for (int i = 0; i < 64; i++)
        put(f, 0, 1);
    struct gguf *g = open_good(f);
    assert_int_equal(gguf_matrix_init(&m, g, gguf_find_tensor(g, "small"), GGUF_I2S_128, &f->why),
                     ERR_UNSUPPORTED);
    assert_non_null(strstr(f->why.text, "PQ2_0"));
    gguf_close(g);
    static const unsigned SIZES[][2] = {{18, 64}, {34, 128}};
    for (size_t k = 0; k < 2; k++) {
        put_start(f, 3, 2, 0);
        put_tensor(f, "small", 128, 1, 42, 0);
        put_tensor(f, "large", 1280, 8, 42, 64);
        put_padding(f, 32);
        for (unsigned i = 0; i < 64 + 10240 / SIZES[k][1] * SIZES[k][0]; i++)
            put(f, 0, 1);
        g = open_good(f);
        const struct gguf_tensor *small = gguf_find_tensor(g, "small");
        assert_int_equal(gguf_matrix_init(&m, g, small, GGUF_I2S_128, &f->why), ERR_OK);
        assert_int_equal(gguf_matrix_group(&m), SIZES[k][1]);
        gguf_close(g);
    }
}

static void what_cannot_be_opened_is_an_io_error(void **state)
{
    struct file *f = *state;
    struct gguf *g = NULL;
    assert_int_equal(gguf_open("/nonexistent/x.gguf", &f->why, &g), ERR_NOT_FOUND);
    assert_int_equal(gguf_open("/", &f->why, &g), ERR_IO);
    assert_non_null(strstr(f->why.text, "regular file"));
    assert_int_equal(gguf_open("/dev/null", &f->why, &g), ERR_IO);
    assert_null(g);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_kind_of_value_is_read),
        CASE(a_value_of_another_kind_leaves_the_result_alone),
        CASE(arrays_give_their_items),
        CASE(tensors_lie_where_the_file_says),
        CASE(a_file_cut_anywhere_is_refused),
        CASE(any_changed_byte_of_the_header_is_survived),
        CASE(other_versions_and_byte_orders_are_refused_with_the_reason),
        CASE(counts_that_lie_are_refused_before_memory_is_taken),
        CASE(dims_that_overflow_are_refused),
        CASE(arrays_nest_only_so_deep),
        CASE(a_name_that_comes_twice_is_refused),
        CASE(odd_alignments_are_refused),
        CASE(a_file_of_small_q2_0_tensors_is_refused_and_a_large_one_decides),
        CASE(what_cannot_be_opened_is_an_io_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
