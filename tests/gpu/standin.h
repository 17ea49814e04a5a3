/* SPDX-License-Identifier: MIT */
/* standin: a GPU's runtime library without a GPU, for tests. Device memory is the heap with a guard on
 * both sides; copies, launches and graphs queue in their stream and run when it is waited for, so that a
 * host which reads or refills a buffer too early computes nonsense; kernels run in the CPU harness of
 * kernels/hip. What a real library would answer with undefined behaviour (a copy outside of an
 * allocation or from memory that is not pinned, use after free) ends the process with a line that says so.
 *
 * standin_hip.c and standin_cuda.c give it the names of libamdhip64 and of the CUDA driver. Numbers of
 * errors are those of both.
 *
 * The environment variable HALO_STANDIN has words that change its behaviour; the N-th counts from 1:
 *   arch=gfx1100     the device (gfx1151; sm_90 as CUDA)       devices=0  how many there are (1)
 *   memory=64        megabytes (1024)                          bad-module  loading a module fails
 *   fail-malloc=N    the N-th allocation in device memory      fail-launch=N  the N-th kernel launch
 *   fail-copy=N      the N-th copy                             fail-graph=N  the N-th launch of a graph
 *   lose=N           the device is lost in the N-th graph      hang=N  the N-th graph never finishes
 *   skip=N           the N-th graph does nothing and reports success
 *   armed-by=FILE    faults are counted from when the file exists */
#ifndef HALO_TESTS_GPU_STANDIN_H
#define HALO_TESTS_GPU_STANDIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STANDIN_OK = 0,
    STANDIN_INVALID = 1,
    STANDIN_NOMEM = 2,
    STANDIN_NO_DEVICE = 100,
    STANDIN_INVALID_DEVICE = 101,
    STANDIN_INVALID_IMAGE = 200,
    STANDIN_NOT_FOUND = 500,
    STANDIN_LOST = 719,
    STANDIN_CAPTURE_UNSUPPORTED = 900,
};

enum standin_copy { STANDIN_IN, STANDIN_OUT };

struct standin_dim {
    unsigned x, y, z;
};

/* The word's value in HALO_STANDIN, or `otherwise`; a word without a value is 1. */
uint64_t standin_number(const char *word, uint64_t otherwise);

/* The value of arch=, or `otherwise`. */
const char *standin_arch(const char *otherwise);

int standin_count(int *ret_n);
const char *standin_error_name(int error);

int standin_mem_info(size_t *ret_free, size_t *ret_all);
int standin_malloc(uint64_t *ret_address, size_t bytes);
int standin_free(uint64_t address);
int standin_host_malloc(void **ret_p, size_t bytes);
int standin_host_free(void *p);

int standin_module_load(void **ret_module, const void *image);
int standin_module_unload(void *module);
int standin_get_function(void **ret_function, void *module, const char *name);

int standin_stream_create(void **ret_stream);
int standin_stream_destroy(void *stream);
int standin_synchronize(void *stream);
int standin_begin_capture(void *stream);
int standin_end_capture(void *stream, void **ret_graph);
int standin_graph_instantiate(void **ret_exec, void *graph);
int standin_graph_launch(void *exec, void *stream);
int standin_graph_destroy(void *graph);
int standin_exec_destroy(void *exec);

int standin_copy(enum standin_copy way, uint64_t device, void *host, size_t bytes, void *stream);
int standin_fill(uint64_t to, uint8_t value, size_t bytes, void *stream);
int standin_launch(void *function, struct standin_dim grid, struct standin_dim block,
                   unsigned shared_bytes, void *stream, void **args);

int standin_event_create(void **ret_event);
int standin_event_record(void *event, void *stream);
int standin_event_elapsed(float *ret_ms, void *begin, void *end);
int standin_event_destroy(void *event);

/* What was not given back: allocations, streams, graphs, modules, events. Exported for tests. */
__attribute__((visibility("default"))) size_t standin_n_live(void);

/* All counts from 0 again, and the device is back. Exported for tests. */
__attribute__((visibility("default"))) void standin_reset(void);

/* Kernels that ran, and graphs that were launched. Exported for tests. */
__attribute__((visibility("default"))) uint64_t standin_n_launches(void);
__attribute__((visibility("default"))) uint64_t standin_n_graphs(void);

#endif
