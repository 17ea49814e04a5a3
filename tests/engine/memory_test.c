/* SPDX-License-Identifier: MIT */
/* An engine with a full KV cache must not need much more memory than the model file and the cache, also
 * while it starts. Each case runs in a process of its own, for the peak counts from its start.
 *
 *   memory_test          shapes that take a second each
 *   memory_test --2b4t   once the shape of BitNet b1.58 2B-4T: 1.2 GB in /tmp, half a minute */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/h1b.h"
#include "services/engine/backend_cpu.h"
#include "services/engine/model.h"
#include "tests/engine/testmodel.h"

enum {
    N_POSITIONS = 4096,
    STEP = 256,
    LET_GO_LATER = 64 << 20, /* pages of 2 MB for each row read since, see cpu_graph.c */
};

/* A head of 131 MB, for a vocabulary of the usual size, and a KV cache of 84 MB. */
static const struct testmodel SMALL = {.seed = 1,
                                       .n_vocab = 128256,
                                       .n_hidden = 512,
                                       .n_ffn = 2048,
                                       .n_layers = 16,
                                       .n_heads = 20,
                                       .n_kv_heads = 5,
                                       .head_dim = 64,
                                       .n_ctx = N_POSITIONS,
                                       .n_scales = 1,
                                       .is_tied = true};
static const struct testmodel SHAPE_2B4T = {.seed = 1,
                                            .n_vocab = 128256,
                                            .n_hidden = 2560,
                                            .n_ffn = 6912,
                                            .n_layers = 30,
                                            .n_heads = 20,
                                            .n_kv_heads = 5,
                                            .head_dim = 128,
                                            .n_ctx = N_POSITIONS,
                                            .n_scales = 1,
                                            .is_tied = true};

struct use {
    uint64_t file, kv, peak, now; /* bytes */
};

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %llu", &pages), 1);
    (void)fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void step(struct backend *b, const struct model *m, uint32_t pos, uint32_t n,
                 uint32_t n_logits, const struct backend_want *want)
{
    uint32_t tokens[STEP];
    uint32_t blocks[N_POSITIONS / KV_BLOCK];
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (pos + i) * 7919 % m->config.n_vocab;
    for (uint32_t i = 0; i < N_POSITIONS / KV_BLOCK; i++)
        blocks[i] = i;
    struct backend_item item = {.tokens = tokens,
                                .n_tokens = n,
                                .pos0 = pos,
                                .blocks = blocks,
                                .n_logits = n_logits,
                                .want = *want};
    assert_int_equal(backend_step(b, &item, 1), ERR_OK);
}

/* Starts as halo-engine does, fills the cache, and chooses tokens at many positions. */
static struct use serve(const char *path, const struct backend_want *want)
{
    char why[300];
    struct model *m = NULL;
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    if (model_open(path, H1B_VERIFY_ALL, why, sizeof why, &m))
        fail_msg("%s", why);
    assert_int_equal(model_copy_weights(m, false), ERR_OK);
    const struct backend_cpu_config config = {.model = m,
                                              .kernels = kernels_get(kernels_best()),
                                              .n_threads = 2,
                                              .n_blocks = N_POSITIONS / KV_BLOCK,
                                              .max_rows = STEP,
                                              .max_logits = 4,
                                              .has_fast_head = true};
    struct backend *b = NULL;
    assert_int_equal(backend_cpu_new(&config, &b), ERR_OK);
    struct use u = {.file = (uint64_t)st.st_size,
                    .kv = config.n_blocks * backend_cpu_block_bytes(m, KV_F16)};
    backend_cpu_fill_cache(b);
    step(b, m, 0, STEP, 1, want);
    for (uint32_t i = 0; i < 64; i++)
        step(b, m, STEP + i, 1, 1, want);
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    u.peak = (uint64_t)usage.ru_maxrss * 1024;
    u.now = resident_bytes();
    backend_free(b);
    model_close(m);
    return u;
}

/* Serves in a child. */
static struct use measure(const char *path, const struct backend_want *want)
{
    struct use *u =
        mmap(NULL, sizeof *u, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(u != MAP_FAILED);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        *u = serve(path, want);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    struct use result = *u;
    (void)munmap(u, sizeof *u);
    (void)printf(
        "# file %.0f MB, KV %.0f MB: resident %.0f MB (%.2f times), at most %.0f MB (%.2f)\n",
        (double)result.file * 1e-6, (double)result.kv * 1e-6, (double)result.now * 1e-6,
        (double)result.now / (double)(result.file + result.kv), (double)result.peak * 1e-6,
        (double)result.peak / (double)(result.file + result.kv));
    return result;
}

static const struct testmodel *shape = &SMALL;

static int write_model(void **state)
{
    static char path[] = "/tmp/halo-memory-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    /* In a child, too: what writing takes is not ours. */
    pid_t pid = fork();
    if (pid == 0) {
        testmodel_write(shape, path, NULL, NULL);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    *state = path;
    return 0;
}

static int remove_model(void **state)
{
    return unlink(*state);
}

static void expect_a_tenth_more(void **state, const struct backend_want *want)
{
    struct use u = measure(*state, want);
    assert_true((double)u.now < 1.1 * (double)(u.file + u.kv));
    assert_true((double)u.peak < 1.1 * (double)(u.file + u.kv) + LET_GO_LATER);
}

static void greedy_replies_take_a_tenth_more_than_weights_and_cache(void **state)
{
    expect_a_tenth_more(state, &(struct backend_want){.kind = WANT_TOP, .n_top = 1});
}

static void sampled_replies_take_no_more(void **state)
{
    struct backend_change changes[1000];
    for (uint32_t i = 0; i < ARRAY_LEN(changes); i++)
        changes[i] = (struct backend_change){
            .id = i * 31, .kind = i % 50 == 0 ? CHANGE_ANY : CHANGE_ADD, .value = -0.5F};
    expect_a_tenth_more(state, &(struct backend_want){.kind = WANT_DRAW,
                                                      .noise = {.seed = 1, .scale = 1.0F},
                                                      .changes = changes,
                                                      .n_changes = ARRAY_LEN(changes)});
    expect_a_tenth_more(state, &(struct backend_want){.kind = WANT_NEAR, .reach = 3.0F});
    expect_a_tenth_more(state, &(struct backend_want){.kind = WANT_PICK,
                                                      .top_p = 0.9F,
                                                      .noise = {.seed = 1, .scale = 1.0F}});
}

/* Log probabilities, or top_p of a flat distribution. */
static void replies_that_need_all_logits_take_no_more(void **state)
{
    expect_a_tenth_more(state, &(struct backend_want){.kind = WANT_ALL});
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--2b4t") == 0)
        shape = &SHAPE_2B4T;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_replies_take_a_tenth_more_than_weights_and_cache),
        cmocka_unit_test(sampled_replies_take_no_more),
        cmocka_unit_test(replies_that_need_all_logits_take_no_more),
    };
    return cmocka_run_group_tests(tests, write_model, remove_model);
}
