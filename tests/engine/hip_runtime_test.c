/* SPDX-License-Identifier: MIT */
/* One table for both makers' libraries, tried with the stand-ins of tests/gpu. */
#include "services/engine/hip_runtime.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const LIBRARIES[] = {STANDIN_HIP, STANDIN_HIP5, STANDIN_CUDA};
enum { N_LIBRARIES = sizeof LIBRARIES / sizeof LIBRARIES[0], N = 1000 };

/* Opens a stand-in that behaves as `words` say. */
static struct hip_runtime open_with(const char *library, const char *words)
{
    struct hip_runtime r;
    char why[600];
    assert_int_equal(setenv("HALO_STANDIN", words, 1), 0);
    if (hip_runtime_open(library, &r, why, sizeof why))
        fail_msg("%s", why);
    void (*reset)(void) = NULL;
    *(void **)&reset = dlsym(r.library, "standin_reset");
    reset();
    return r;
}

static void close_clean(struct hip_runtime *r)
{
    size_t (*n_live)(void) = NULL;
    *(void **)&n_live = dlsym(r->library, "standin_n_live");
    assert_int_equal(n_live(), 0);
    hip_runtime_close(r);
    assert_null(r->library);
}

static void both_makers_and_both_layouts_of_properties_are_understood(void **state)
{
    (void)state;
    static const char *const ARCHS[] = {"gfx1201", "gfx1201", "sm_86"};
    for (size_t i = 0; i < N_LIBRARIES; i++) {
        bool is_cuda = i == 2;
        struct hip_runtime r = open_with(LIBRARIES[i], is_cuda ? "arch=sm_86" : "arch=gfx1201");
        assert_int_equal(r.kind, is_cuda ? HIP_KIND_CUDA : HIP_KIND_AMD);
        assert_int_equal(r.amd_properties_r0600 != NULL, i == 0);
        assert_true(r.version > 0);
        assert_int_equal(hip_runtime_n_devices(&r), 1);
        char arch[HIP_ARCH_MAX];
        assert_true(hip_runtime_arch(&r, 0, arch));
        assert_string_equal(arch, ARCHS[i]); /* without ":sramecc-:xnack-" */
        assert_int_equal(hip_runtime_n_processors(&r, 0), is_cuda ? 132 : 20);
        assert_int_equal(hip_runtime_use(&r, 0), 0);
        assert_int_not_equal(hip_runtime_use(&r, 1), 0);
        assert_string_equal(hip_runtime_error_name(&r, 2), "ErrorOutOfMemory");
        close_clean(&r);
    }
}

/* Copies in, fills a part, copies out. */
static void enqueue(struct hip_runtime *r, uint64_t device, uint8_t *in, uint8_t *out, void *stream)
{
    assert_int_equal(hip_runtime_copy_in(r, device, in, N, stream), 0);
    assert_int_equal(hip_runtime_fill(r, device + 10, 7, 5, stream), 0);
    assert_int_equal(hip_runtime_copy_out(r, out, device, N, stream), 0);
}

static void expect_copied(const uint8_t *in, const uint8_t *out)
{
    for (size_t i = 0; i < N; i++)
        assert_int_equal(out[i], i >= 10 && i < 15 ? 7 : in[i]);
}

static void copies_run_in_order_and_graphs_repeat_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_LIBRARIES; i++) {
        struct hip_runtime r = open_with(LIBRARIES[i], "");
        uint64_t device = 0;
        void *in = NULL;
        void *out = NULL;
        void *stream = NULL;
        void *graph = NULL;
        void *exec = NULL;
        assert_int_equal(hip_runtime_use(&r, 0), 0);
        assert_int_equal(hip_runtime_use_here(&r), 0);
        assert_int_equal(r.mem_alloc(&device, N), 0);
        assert_int_equal(r.host_alloc(&in, N, 0), 0);
        assert_int_equal(r.host_alloc(&out, N, 0), 0);
        assert_int_equal(r.stream_create(&stream, HIP_STREAM_NON_BLOCKING), 0);
        memset(in, 1, N);
        memset(out, 0, N);
        enqueue(&r, device, in, out, stream);
        assert_int_equal(((uint8_t *)out)[0], 0); /* not before somebody waits */
        assert_int_equal(r.stream_synchronize(stream), 0);
        expect_copied(in, out);

        assert_int_equal(r.stream_begin_capture(stream, HIP_CAPTURE_THREAD_LOCAL), 0);
        enqueue(&r, device, in, out, stream);
        assert_int_equal(r.stream_end_capture(stream, &graph), 0);
        assert_int_equal(hip_runtime_graph_instantiate(&r, graph, &exec), 0);
        assert_int_equal(r.graph_destroy(graph), 0);
        for (int value = 2; value < 4; value++) {
            memset(in, value, N);
            assert_int_equal(r.graph_launch(exec, stream), 0);
            assert_int_equal(r.stream_synchronize(stream), 0);
            expect_copied(in, out);
        }
        assert_int_equal(r.graph_exec_destroy(exec), 0);
        assert_int_equal(r.stream_destroy(stream), 0);
        assert_int_equal(r.host_free(in), 0);
        assert_int_equal(r.host_free(out), 0);
        assert_int_equal(r.mem_free(device), 0);
        close_clean(&r);
    }
}

static void errors_keep_their_meaning(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_LIBRARIES; i++) {
        struct hip_runtime r = open_with(LIBRARIES[i], "memory=1 fail-malloc=2");
        uint64_t address[3] = {0};
        size_t free_bytes = 0;
        size_t all_bytes = 0;
        assert_int_equal(hip_runtime_use(&r, 0), 0);
        assert_int_equal(hip_runtime_err(r.mem_alloc(&address[0], 1000)), ERR_OK);
        assert_int_equal(hip_runtime_err(r.mem_alloc(&address[1], 1000)), ERR_NOMEM);
        assert_int_equal(hip_runtime_err(r.mem_alloc(&address[2], 1 << 20)), ERR_NOMEM);
        assert_int_equal(r.mem_get_info(&free_bytes, &all_bytes), 0);
        assert_int_equal(all_bytes, 1 << 20);
        assert_int_equal(free_bytes, all_bytes - 1000);
        assert_int_equal(hip_runtime_err(719), ERR_IO);
        assert_int_equal(r.mem_free(address[0]), 0);
        close_clean(&r);
    }
}

static void expect_refused(const char *library, const char *reason)
{
    struct hip_runtime r;
    char why[600];
    assert_int_equal(hip_runtime_open(library, &r, why, sizeof why), ERR_NOT_FOUND);
    if (strstr(why, reason) == NULL)
        fail_msg("%s: %s, expected: %s", library, why, reason);
    assert_null(r.library);
}

static void a_library_that_does_not_do_is_refused_with_the_reason(void **state)
{
    (void)state;
    expect_refused("/nowhere/libamdhip64.so.6", "No such file");
    expect_refused("libm.so.6", "has no hipInit");
    assert_int_equal(setenv("HALO_STANDIN", "devices=0", 1), 0);
    for (size_t i = 0; i < N_LIBRARIES; i++)
        expect_refused(LIBRARIES[i], "no device (ErrorNoDevice)");
}

/* Where a GPU is, there is nothing to see. */
static void without_a_gpu_all_known_libraries_are_named(void **state)
{
    (void)state;
    struct hip_runtime r;
    char why[600];
    if (hip_runtime_open(NULL, &r, why, sizeof why) == ERR_OK) {
        assert_true(hip_runtime_n_devices(&r) > 0);
        hip_runtime_close(&r);
        return;
    }
    assert_non_null(strstr(why, "libamdhip64.so.7: "));
    assert_non_null(strstr(why, "libcuda.so.1: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_makers_and_both_layouts_of_properties_are_understood),
        cmocka_unit_test(copies_run_in_order_and_graphs_repeat_them),
        cmocka_unit_test(errors_keep_their_meaning),
        cmocka_unit_test(a_library_that_does_not_do_is_refused_with_the_reason),
        cmocka_unit_test(without_a_gpu_all_known_libraries_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
