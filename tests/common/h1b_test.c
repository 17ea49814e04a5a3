/* SPDX-License-Identifier: MIT */
#include "common/h1b.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/common/h1b_write.h"

static const uint8_t CODES[] = {
    0x55, 0x15, 0x51, 0x45, 0x54, 0x01, 0x02, 0x09, 0x21, 0x55, 0x15, 0x51, 0x45, 0x54, 0x01, 0x02,
    0x55, 0x15, 0x51, 0x45, 0x54, 0x01, 0x02, 0x09, 0x21, 0x55, 0x15, 0x51, 0x45, 0x54, 0x01, 0x02,
    0x55, 0x15, 0x51, 0x45, 0x54, 0x01, 0x02, 0x09, 0x21, 0x55, 0x15, 0x51, 0x45, 0x54, 0x01, 0x02,
    0x55, 0x15, 0x51, 0x45, 0x54, 0x01, 0x02, 0x09, 0x21, 0x55, 0x15, 0x51, 0x45, 0x54, 0x01, 0x02,
};
static const float NORM[] = {1.0F, 0.5F, 2.0F};

static const struct h1b_item ITEMS[] = {
    {"config", H1B_U8, 1, {2, 1, 1, 1}, "{}", 2},
    {"norm", H1B_F32, 1, {3, 1, 1, 1}, NORM, sizeof NORM},
    {"weight", H1B_T2, 2, {2, 100, 1, 1}, CODES, 64},
    {"none", H1B_U32, 2, {0, 2, 1, 1}, NULL, 0},
};
enum {
    N_ITEMS = sizeof ITEMS / sizeof ITEMS[0],
    ENTRY = 64, /* the table starts after the header */
    ENTRY_SIZE = 192,
    TABLE_END = ENTRY + N_ITEMS * ENTRY_SIZE,
};

/* The file lives in memory: the tests below write it some ten thousand times. */
struct file {
    int fd;
    char path[64];
    uint8_t *bytes;
    size_t size;
    char why[256];
};

static int setup(void **state)
{
    struct file *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->fd = memfd_create("h1b", 0);
    assert_true(f->fd >= 0);
    (void)snprintf(f->path, sizeof f->path, "/proc/self/fd/%d", f->fd);
    f->size = h1b_write_bytes(ITEMS, N_ITEMS, &f->bytes);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct file *f = *state;
    (void)close(f->fd);
    free(f->bytes);
    free(f);
    return 0;
}

/* Opens the first `size` bytes; closes again when that worked. */
static enum err try_open(struct file *f, size_t size, enum h1b_verify verify)
{
    h1b_write_file(f->path, f->bytes, size);
    struct h1b *h = NULL;
    f->why[0] = '\0';
    enum err e = h1b_open(f->path, verify, f->why, sizeof f->why, &h);
    if (!e)
        h1b_close(h);
    else
        assert_null(h);
    return e;
}

static void expect_refused(struct file *f, const char *part)
{
    assert_int_equal(try_open(f, f->size, H1B_VERIFY_TABLE), ERR_MODEL_FORMAT);
    if (!strstr(f->why, part) || !strstr(f->why, f->path) || strchr(f->why, '\n'))
        fail_msg("\"%s\" lacks \"%s\"", f->why, part);
}

static void a_good_file_gives_its_sections(void **state)
{
    struct file *f = *state;
    h1b_write_file(f->path, f->bytes, f->size);
    struct h1b *h = NULL;
    assert_int_equal(h1b_open(f->path, H1B_VERIFY_ALL, f->why, sizeof f->why, &h), ERR_OK);
    assert_int_equal(h1b_file_size(h), f->size);
    assert_int_equal(strlen(h1b_hash(h)), 64);
    size_t n = 0;
    const struct h1b_section *all = h1b_sections(h, &n);
    assert_int_equal(n, N_ITEMS);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(all[i].name, ITEMS[i].name);
        assert_ptr_equal(h1b_find(h, ITEMS[i].name), &all[i]);
        assert_int_equal(all[i].size, ITEMS[i].size);
        assert_int_equal((uintptr_t)all[i].data % 64, 0);
        if (ITEMS[i].size > 0)
            assert_memory_equal(all[i].data, ITEMS[i].data, ITEMS[i].size);
    }
    assert_null(h1b_find(h, "weigh"));
    assert_null(h1b_find(h, ""));
    assert_null(h1b_find(h, "zzz"));
    h1b_close(h);
    h1b_close(NULL);
}

static void the_hash_follows_the_content(void **state)
{
    struct file *f = *state;
    char first[65];
    h1b_write_file(f->path, f->bytes, f->size);
    struct h1b *h = NULL;
    assert_int_equal(h1b_open(f->path, H1B_VERIFY_ALL, f->why, sizeof f->why, &h), ERR_OK);
    memcpy(first, h1b_hash(h), sizeof first);
    h1b_close(h);
    struct h1b_item items[N_ITEMS];
    memcpy(items, ITEMS, sizeof items);
    items[0].data = "[]";
    free(f->bytes);
    f->size = h1b_write_bytes(items, N_ITEMS, &f->bytes);
    h1b_write_file(f->path, f->bytes, f->size);
    assert_int_equal(h1b_open(f->path, H1B_VERIFY_ALL, f->why, sizeof f->why, &h), ERR_OK);
    assert_string_not_equal(first, h1b_hash(h));
    h1b_close(h);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    struct file *f = *state;
    for (size_t size = 0; size < f->size; size++)
        assert_int_equal(try_open(f, size, H1B_VERIFY_TABLE), ERR_MODEL_FORMAT);
}

/* A cut file whose header claims the cut size must fail by the bounds of table and sections. */
static void a_cut_file_with_a_matching_size_field_is_refused(void **state)
{
    struct file *f = *state;
    for (size_t size = 64; size < f->size; size++) {
        for (size_t i = 0; i < 8; i++)
            f->bytes[8 + i] = (uint8_t)((uint64_t)size >> 8 * i);
        assert_int_equal(try_open(f, size, H1B_VERIFY_ALL), ERR_MODEL_FORMAT);
    }
}

static void a_bit_flip_in_header_or_table_is_found(void **state)
{
    struct file *f = *state;
    for (size_t bit = 0; bit < (size_t)TABLE_END * 8; bit++) {
        f->bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(try_open(f, f->size, H1B_VERIFY_TABLE), ERR_MODEL_FORMAT);
        f->bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void a_bit_flip_in_a_section_is_found_when_all_is_verified(void **state)
{
    struct file *f = *state;
    size_t at = (TABLE_END + 63) / 64 * 64;
    for (size_t i = 0; i < 2; i++) {
        f->bytes[at + i] ^= 0x10;
        assert_int_equal(try_open(f, f->size, H1B_VERIFY_TABLE), ERR_OK);
        assert_int_equal(try_open(f, f->size, H1B_VERIFY_ALL), ERR_MODEL_FORMAT);
        assert_non_null(strstr(f->why, "config"));
        f->bytes[at + i] ^= 0x10;
    }
}

/* A damaged field of one table entry, with the table's hash made right again. */
struct damage {
    size_t entry;
    size_t at;
    uint64_t value;
    size_t n_bytes;
    const char *why;
};

static void an_entry_that_makes_no_sense_is_refused(void **state)
{
    static const struct damage CASES[] = {
        {0, 0x00, 0, 1, "section name"}, /* empty */
        {0, 0x00, 0xff, 1, "section name"}, /* not UTF-8 */
        {0, 0x00, '\n', 1, "section name"}, /* control character */
        {0, 0x08, 'x', 1, "section name"}, /* rubbish after the NUL */
        {0, 0x60, 4, 4, "dtype"}, /* unknown */
        {0, 0x64, 0, 4, "dims"}, /* too few */
        {0, 0x64, 5, 4, "dims"}, /* too many */
        {0, 0x70, 2, 8, "unused dim"}, /* dims[1] of a vector */
        {0, 0x68, 3, 8, "size"}, /* dims disagree with the size */
        {1, 0x68, UINT64_MAX, 8, "dims that fit"}, /* overflows by the element size */
        {2, 0x68, UINT64_MAX / 8, 8, "dims that fit"}, /* overflows by the product */
        {2, 0x70, UINT64_MAX, 8, "size"}, /* rounding up must not wrap */
        {1, 0x88, 1, 1, "aligned offset"}, /* unaligned */
        {1, 0x88, 64, 8, "aligned offset"}, /* inside the table */
        {1, 0x88, 1U << 20, 8, "aligned offset"}, /* past the end */
        {1, 0x88, UINT64_MAX - 63, 8, "aligned offset"}, /* end wraps around */
        {1, 0x90, 16, 8, "size"}, /* size disagrees with the dims */
        {0, 0xb8, 1, 1, "reserved"},
    };
    struct file *f = *state;
    uint8_t *whole = malloc(f->size);
    assert_non_null(whole);
    memcpy(whole, f->bytes, f->size);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        memcpy(f->bytes, whole, f->size);
        uint8_t *p = f->bytes + ENTRY + CASES[i].entry * ENTRY_SIZE + CASES[i].at;
        for (size_t b = 0; b < CASES[i].n_bytes; b++)
            p[b] = (uint8_t)(CASES[i].value >> 8 * b);
        h1b_write_rehash(f->bytes);
        expect_refused(f, CASES[i].why);
    }
    free(whole);
}

static void a_name_without_room_for_nul_is_refused(void **state)
{
    struct file *f = *state;
    memset(f->bytes + ENTRY, 'a', 96);
    h1b_write_rehash(f->bytes);
    expect_refused(f, "section name");
}

static void two_sections_of_one_name_are_refused(void **state)
{
    struct file *f = *state;
    memset(f->bytes + ENTRY + 2 * ENTRY_SIZE, 0, 96);
    memcpy(f->bytes + ENTRY + 2 * ENTRY_SIZE, "config", 6);
    h1b_write_rehash(f->bytes);
    expect_refused(f, "unique");
}

static void an_older_version_points_to_convert(void **state)
{
    struct file *f = *state;
    f->bytes[4] = 4;
    expect_refused(f, "halo convert");
    f->bytes[4] = 6;
    expect_refused(f, "version 5, found 6");
    assert_null(strstr(f->why, "halo convert"));
}

static void what_cannot_be_opened_is_an_io_error(void **state)
{
    struct file *f = *state;
    struct h1b *h = NULL;
    static const char NONE[] = "/proc/self/fd/none";
    assert_int_equal(h1b_open(NONE, H1B_VERIFY_TABLE, f->why, sizeof f->why, &h), ERR_IO);
    assert_non_null(strstr(f->why, NONE));
    assert_int_equal(h1b_open("/tmp", H1B_VERIFY_TABLE, f->why, sizeof f->why, &h), ERR_IO);
    assert_non_null(strstr(f->why, "regular"));
}

static void the_reason_is_terminated_in_a_short_buffer(void **state)
{
    struct file *f = *state;
    f->bytes[0] = 'X';
    h1b_write_file(f->path, f->bytes, f->size);
    for (size_t cap = 1; cap < 40; cap++) {
        char why[41];
        memset(why, 'z', sizeof why);
        struct h1b *h = NULL;
        assert_int_equal(h1b_open(f->path, H1B_VERIFY_TABLE, why, cap, &h), ERR_MODEL_FORMAT);
        assert_int_equal(strlen(why), cap - 1);
        assert_int_equal(why[cap], 'z');
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_good_file_gives_its_sections),
        CASE(the_hash_follows_the_content),
        CASE(a_file_cut_anywhere_is_refused),
        CASE(a_cut_file_with_a_matching_size_field_is_refused),
        CASE(a_bit_flip_in_header_or_table_is_found),
        CASE(a_bit_flip_in_a_section_is_found_when_all_is_verified),
        CASE(an_entry_that_makes_no_sense_is_refused),
        CASE(a_name_without_room_for_nul_is_refused),
        CASE(two_sections_of_one_name_are_refused),
        CASE(an_older_version_points_to_convert),
        CASE(what_cannot_be_opened_is_an_io_error),
        CASE(the_reason_is_terminated_in_a_short_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
