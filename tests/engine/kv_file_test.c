/* SPDX-License-Identifier: MIT */
#include "services/engine/kv_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_BLOCKS = 24, BLOCK_BYTES = 200, LONGEST = 8 * KV_BLOCK };

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* An engine's cache whose backend is plain memory. */
struct fake {
    struct backend base; /* first */
    uint8_t bytes[N_BLOCKS][BLOCK_BYTES];
    bool does_fail;
    struct kv *kv;
    struct kv_file_cache cache;
};

static char path[64];

static enum err fake_read(struct backend *b, uint32_t block, uint8_t *bytes)
{
    struct fake *f = (struct fake *)b;
    memcpy(bytes, f->bytes[block], BLOCK_BYTES);
    return f->does_fail ? ERR_IO : ERR_OK;
}

static enum err fake_write(struct backend *b, uint32_t block, const uint8_t *bytes)
{
    struct fake *f = (struct fake *)b;
    memcpy(f->bytes[block], bytes, BLOCK_BYTES);
    return f->does_fail ? ERR_IO : ERR_OK;
}

static struct fake *fake_new(uint32_t n_blocks)
{
    static const struct backend_ops OPS = {.kv_read = fake_read, .kv_write = fake_write};
    struct fake *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->base = (struct backend){.ops = &OPS, .n_blocks = n_blocks, .kv_bytes = BLOCK_BYTES};
    f->kv = kv_new(n_blocks);
    f->cache = (struct kv_file_cache){f->kv, &f->base, {HASH, KV_F16, 77}};
    return f;
}

static void fake_free(struct fake *f)
{
    kv_check(f->kv);
    kv_free(f->kv);
    free(f);
}

static void fill(uint32_t *tokens, uint32_t n, uint32_t first)
{
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = first + i;
}

/* A sequence that computes its tokens; block i of it is filled with its first token. */
static void compute(struct fake *f, struct kv_seq *seq, uint64_t tenant, const uint32_t *tokens,
                    uint32_t n)
{
    (void)kv_match(f->kv, seq, tenant, tokens, n);
    assert_true(kv_grow(f->kv, seq, n));
    for (uint32_t i = seq->n_published; i < seq->n_blocks; i++)
        memset(f->bytes[seq->blocks[i]], (int)(tokens[i * KV_BLOCK] & 0xff), BLOCK_BYTES);
    kv_publish(f->kv, seq, tokens, n);
}

static void pass_through(struct fake *f, uint64_t tenant, const uint32_t *tokens, uint32_t n)
{
    struct kv_seq seq = {0};
    compute(f, &seq, tenant, tokens, n);
    kv_release(f->kv, &seq);
}

/* Positions that the cache has; their bytes must be right. */
static uint32_t hit(struct fake *f, uint64_t tenant, const uint32_t *tokens, uint32_t n)
{
    struct kv_seq seq = {0};
    uint32_t found = kv_match(f->kv, &seq, tenant, tokens, n);
    for (uint32_t i = 0; i < seq.n_blocks; i++) {
        for (size_t k = 0; k < BLOCK_BYTES; k++)
            assert_int_equal(f->bytes[seq.blocks[i]][k], tokens[i * KV_BLOCK] & 0xff);
    }
    kv_release(f->kv, &seq);
    return found;
}

static const struct kv_file_choice ALL = {.cap_bytes = UINT64_MAX};

static void write_all(struct fake *f)
{
    struct kv_file_result r;
    assert_int_equal(kv_file_write(path, &f->cache, &ALL, &r), ERR_OK);
}

static enum err read_back(struct fake *f, struct kv_file_result *r)
{
    enum err e = kv_file_read(path, &f->cache, r);
    kv_check(f->kv);
    return e;
}

static void what_one_engine_computed_the_next_one_finds(void **state)
{
    (void)state;
    struct fake *a = fake_new(N_BLOCKS);
    struct fake *b = fake_new(N_BLOCKS);
    uint32_t t[LONGEST];
    uint32_t u[LONGEST];
    fill(t, LONGEST, 0);
    fill(u, LONGEST, 500);
    memcpy(u, t, 2 * KV_BLOCK * sizeof *u); /* a common beginning */
    pass_through(a, 0, t, 5 * KV_BLOCK + 3);
    pass_through(a, 0, u, 4 * KV_BLOCK + 1);
    pass_through(a, 9, t, 2 * KV_BLOCK + 1);
    struct kv_seq held = {0};
    uint32_t v[LONGEST];
    fill(v, LONGEST, 900);
    compute(a, &held, 0, v, 3 * KV_BLOCK + 7); /* still runs */
    struct kv_file_result r;
    assert_int_equal(kv_file_write(path, &a->cache, &ALL, &r), ERR_OK);
    assert_int_equal(r.n_blocks, 5 + 2 + 2 + 3);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(read_back(b, &r), ERR_OK);
    assert_int_equal(r.n_blocks, 12);
    assert_int_equal(r.n_bytes, 12 * BLOCK_BYTES);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(hit(b, 0, t, LONGEST), 5 * KV_BLOCK);
    assert_int_equal(hit(b, 0, u, LONGEST), 4 * KV_BLOCK);
    assert_int_equal(hit(b, 9, t, LONGEST), 2 * KV_BLOCK);
    assert_int_equal(hit(b, 0, v, LONGEST), 3 * KV_BLOCK);
    assert_int_equal(hit(b, 9, v, LONGEST), 0);
    kv_release(a->kv, &held);
    fake_free(a);
    fake_free(b);
}

static void a_second_file_brings_only_what_came_since_the_first(void **state)
{
    (void)state;
    struct fake *a = fake_new(N_BLOCKS);
    struct fake *b = fake_new(N_BLOCKS);
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    struct kv_file_result r;
    pass_through(a, 0, t, 3 * KV_BLOCK + 1);
    assert_int_equal(kv_file_write(path, &a->cache, &ALL, &r), ERR_OK);
    struct kv_file_choice since = ALL;
    since.after = r.mark;
    assert_int_equal(read_back(b, &r), ERR_OK);
    pass_through(a, 0, t, 7 * KV_BLOCK + 1);
    assert_int_equal(kv_file_write(path, &a->cache, &since, &r), ERR_OK);
    assert_int_equal(r.n_blocks, 4);
    assert_int_equal(read_back(b, &r), ERR_OK);
    assert_int_equal(r.n_blocks, 4);
    assert_int_equal(hit(b, 0, t, LONGEST), 7 * KV_BLOCK);
    /* One that never had the first cannot use the second, and says nothing wrong. */
    struct fake *c = fake_new(N_BLOCKS);
    assert_int_equal(kv_file_write(path, &a->cache, &since, &r), ERR_OK);
    assert_int_equal(read_back(c, &r), ERR_OK);
    assert_int_equal(r.n_blocks, 0);
    fake_free(a);
    fake_free(b);
    fake_free(c);
}

static void the_blocks_of_one_prompt_travel_alone(void **state)
{
    (void)state;
    struct fake *a = fake_new(N_BLOCKS);
    struct fake *b = fake_new(N_BLOCKS);
    uint32_t t[LONGEST];
    uint32_t u[LONGEST];
    fill(t, LONGEST, 0);
    fill(u, LONGEST, 500);
    pass_through(a, 3, t, 5 * KV_BLOCK + 3);
    pass_through(a, 3, u, 4 * KV_BLOCK + 1);
    struct kv_file_choice one = ALL;
    one.tokens = t;
    one.n_tokens = 4 * KV_BLOCK + 30;
    one.tenant = 3;
    struct kv_file_result r;
    assert_int_equal(kv_file_write(path, &a->cache, &one, &r), ERR_OK);
    assert_int_equal(read_back(b, &r), ERR_OK);
    assert_int_equal(hit(b, 3, t, LONGEST), 4 * KV_BLOCK);
    assert_int_equal(hit(b, 3, u, LONGEST), 0);
    fake_free(a);
    fake_free(b);
}

static void the_most_recent_stay_when_there_is_less_room(void **state)
{
    (void)state;
    struct fake *a = fake_new(N_BLOCKS);
    struct fake *small = fake_new(5);
    uint32_t t[LONGEST];
    uint32_t u[LONGEST];
    fill(t, LONGEST, 0);
    fill(u, LONGEST, 500);
    pass_through(a, 0, t, 4 * KV_BLOCK + 1);
    pass_through(a, 0, u, 4 * KV_BLOCK + 1);
    write_all(a);
    struct kv_file_result r;
    assert_int_equal(read_back(small, &r), ERR_OK);
    assert_int_equal(r.n_blocks, 5);
    assert_int_equal(hit(small, 0, u, LONGEST), 4 * KV_BLOCK);
    assert_int_equal(hit(small, 0, t, LONGEST), KV_BLOCK);
    /* What came from elsewhere is evicted as all else is. */
    pass_through(small, 0, t, 5 * KV_BLOCK);
    struct kv_file_choice capped = {.cap_bytes = 3 * BLOCK_BYTES};
    assert_int_equal(kv_file_write(path, &a->cache, &capped, &r), ERR_OK);
    assert_int_equal(r.n_blocks, 3);
    struct fake *b = fake_new(N_BLOCKS);
    assert_int_equal(read_back(b, &r), ERR_OK);
    assert_int_equal(hit(b, 0, u, LONGEST), 3 * KV_BLOCK);
    fake_free(a);
    fake_free(b);
    fake_free(small);
}

static void a_file_of_another_engine_is_refused_and_removed(void **state)
{
    (void)state;
    static const struct {
        struct kv_file_key key;
        const char *words;
    } CASES[] = {
        {{"00", KV_F16, 77}, "another model"},
        {{HASH, KV_INT8, 77}, "another layout"},
        {{HASH, KV_F16, 78}, "other numbers"},
    };
    struct fake *a = fake_new(N_BLOCKS);
    struct kv_file_result r;
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    pass_through(a, 0, t, LONGEST);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct fake *b = fake_new(N_BLOCKS);
        b->cache.key = CASES[i].key;
        write_all(a);
        assert_int_equal(read_back(b, &r), ERR_UNSUPPORTED);
        assert_non_null(strstr(r.why, CASES[i].words));
        assert_int_equal(hit(b, 0, t, LONGEST), 0);
        assert_int_equal(read_back(b, &r), ERR_NOT_FOUND);
        fake_free(b);
    }
    write_all(a);
    assert_int_equal(chmod(path, 0644), 0);
    struct fake *b = fake_new(N_BLOCKS);
    assert_int_equal(read_back(b, &r), ERR_PERMISSION);
    fake_free(a);
    fake_free(b);
}

/* Changes one byte of the file, or cuts it off there. */
static void damage(long at, bool does_cut)
{
    if (does_cut) {
        assert_int_equal(truncate(path, at), 0);
        return;
    }
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_not_equal(fputc(c ^ 0x40, f), EOF);
    assert_int_equal(fclose(f), 0);
}

static void damage_anywhere_is_seen_and_no_wrong_block_is_taken(void **state)
{
    (void)state;
    struct fake *a = fake_new(N_BLOCKS);
    struct stat st;
    struct kv_file_result r;
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    pass_through(a, 0, t, 4 * KV_BLOCK + 1);
    write_all(a);
    assert_int_equal(stat(path, &st), 0);
    for (long at = 0; at < st.st_size; at += 7) {
        for (int does_cut = 0; does_cut < 2; does_cut++) {
            struct fake *b = fake_new(N_BLOCKS);
            write_all(a);
            damage(at, does_cut != 0);
            assert_int_not_equal(read_back(b, &r), ERR_OK);
            assert_true(r.why[0] != '\0');
            assert_in_range(hit(b, 0, t, LONGEST), 0, 3 * KV_BLOCK); /* checks their bytes */
            fake_free(b);
        }
    }
    fake_free(a);
}

static void a_backend_that_fails_leaves_no_file_and_no_block(void **state)
{
    (void)state;
    struct fake *a = fake_new(N_BLOCKS);
    struct fake *b = fake_new(N_BLOCKS);
    struct kv_file_result r;
    uint32_t t[LONGEST];
    fill(t, LONGEST, 0);
    pass_through(a, 0, t, 4 * KV_BLOCK + 1);
    a->does_fail = true;
    assert_int_equal(kv_file_write(path, &a->cache, &ALL, &r), ERR_IO);
    assert_int_equal(read_back(b, &r), ERR_NOT_FOUND);
    a->does_fail = false;
    write_all(a);
    b->does_fail = true;
    assert_int_equal(read_back(b, &r), ERR_IO);
    assert_int_equal(hit(b, 0, t, LONGEST), 0);
    assert_int_equal(kv_n_available(b->kv), N_BLOCKS);
    fake_free(a);
    fake_free(b);
}

int main(void)
{
    char directory[] = "/tmp/halo-kv-XXXXXX";
    if (mkdtemp(directory) == NULL)
        return 1;
    (void)snprintf(path, sizeof path, "%s/engine.1.kv", directory);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_engine_computed_the_next_one_finds),
        cmocka_unit_test(a_second_file_brings_only_what_came_since_the_first),
        cmocka_unit_test(the_blocks_of_one_prompt_travel_alone),
        cmocka_unit_test(the_most_recent_stay_when_there_is_less_room),
        cmocka_unit_test(a_file_of_another_engine_is_refused_and_removed),
        cmocka_unit_test(damage_anywhere_is_seen_and_no_wrong_block_is_taken),
        cmocka_unit_test(a_backend_that_fails_leaves_no_file_and_no_block),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    (void)rmdir(directory);
    return failed;
}
