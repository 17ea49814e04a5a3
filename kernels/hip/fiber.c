/* SPDX-License-Identifier: MIT */
/* A fiber runs until it waits for its wave or its block, then the next ready one does. Where all that
 * are left wait and nobody can come any more, threads have parted: the launch ends with a message.
 * Switching costs about 5 ns with the assembly for x86-64 below; elsewhere swapcontext does it. */
#include "kernels/hip/fiber.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifndef HAS_ASAN
#define HAS_ASAN 0
#endif
#if HAS_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

enum {
    LANES = 32,
    MAX_LANES = 64, /* of a meeting: the matrix instructions of some GPUs take so many */
    STACK_BYTES = HAS_ASAN ? 256 * 1024 : 64 * 1024,
    PAGE_BYTES = 4096,
    CANARY_BYTES = HAS_ASAN ? 0 : 256, /* the sanitizer sees more */
    POISON = 0xfe, /* a large negative number as float and as integer */
};

enum wait { READY, AT_BARRIER, AT_LANES, DONE };

struct fiber {
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
    void *fake_stack; /* the sanitizer's */
    enum wait wait;
    const char *file; /* where it waits */
    int line;
    bool has_waited; /* for the launch ahead */
};

struct wave {
    uint32_t n_waiting;
    uint32_t turn; /* which of the values: lanes may be one meeting apart */
    uint32_t what; /* the exchange's mask, or another sign of what it is */
    const char *file; /* where the first of them came to */
    int line;
    uint32_t values[2][MAX_LANES * FIBER_GATHER];
};

struct fiber_place fiber_here;

static struct {
    struct fiber fibers[FIBER_MAX_THREADS];
    struct fiber main;
    struct wave waves[2][FIBER_MAX_THREADS / LANES]; /* meetings of 32, of 64 */
    uint8_t *stacks;
    const void *main_stack;
    size_t main_stack_bytes;
    void (*run)(const void *args);
    const void *args;
    uint32_t n_threads, n_at_barrier, n_done;
    const char *barrier_file; /* where the first thread at it came to */
    int barrier_line;
    uint32_t ready[FIBER_MAX_THREADS]; /* a stack; shuffled when filled */
    uint32_t n_ready;
    uint64_t random;
    bool must_wait; /* all threads, for the launch ahead */
    bool is_wrong;
} g = {.random = 1};

/* ---- switching ---- */

#if defined(__x86_64__)
/* Saves what a call must keep, changes stacks, and returns into the other fiber. */
void fiber_switch(void **save_sp, void *load_sp);
__asm__(".text\n"
        ".globl fiber_switch\n"
        ".type fiber_switch, @function\n"
        "fiber_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size fiber_switch, .-fiber_switch\n");
#endif

static uint8_t *stack_of(uint32_t thread)
{
    return g.stacks + (size_t)thread * (STACK_BYTES + PAGE_BYTES) + PAGE_BYTES;
}

static void change(struct fiber *from, struct fiber *to)
{
#if HAS_ASAN
    bool is_main = to == &g.main;
    uint32_t thread = is_main ? 0 : (uint32_t)(to - g.fibers);
    __sanitizer_start_switch_fiber(from->wait == DONE ? NULL : &from->fake_stack,
                                   is_main ? g.main_stack : stack_of(thread),
                                   is_main ? g.main_stack_bytes : STACK_BYTES);
#endif
#if defined(__x86_64__)
    fiber_switch(&from->sp, to->sp);
#else
    (void)swapcontext(&from->context, &to->context);
#endif
#if HAS_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

static void enter(void)
{
#if HAS_ASAN
    __sanitizer_finish_switch_fiber(NULL, &g.main_stack, &g.main_stack_bytes);
#endif
    g.run(g.args);
    struct fiber *f = &g.fibers[fiber_here.thread];
    if (g.must_wait && !f->has_waited && !g.is_wrong) {
        (void)fprintf(
            stderr, "harness: block %u,%u,%u: thread %u never waits for the launch ahead\n",
            fiber_here.block[0], fiber_here.block[1], fiber_here.block[2], fiber_here.thread);
        g.is_wrong = true;
    }
    f->wait = DONE;
    g.n_done++;
    change(f, &g.main);
    abort();
}

static void prepare(uint32_t thread)
{
    struct fiber *f = &g.fibers[thread];
    *f = (struct fiber){.wait = READY};
#if defined(__x86_64__)
    /* Not all at one place of a page, or they would share a few sets of the cache. */
    void **top = (void **)(void *)(stack_of(thread) + STACK_BYTES - thread * 320 % PAGE_BYTES);
    *--top = NULL; /* so that enter finds the stack as after a call */
    void (*start)(void) = enter;
    memcpy(--top, &start, sizeof start);
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    f->sp = top;
#else
    (void)getcontext(&f->context);
    f->context.uc_stack.ss_sp = stack_of(thread);
    f->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->context, enter, 0);
#endif
}

/* ---- order ---- */

static uint32_t below(uint32_t n)
{
    g.random ^= g.random << 13;
    g.random ^= g.random >> 7;
    g.random ^= g.random << 17;
    return (uint32_t)((g.random >> 32) * n >> 32);
}

void fiber_seed(uint64_t seed)
{
    g.random = seed * 2 + 1;
}

/* Makes n threads from `first` ready, in any order. */
static void release(uint32_t first, uint32_t n)
{
    uint32_t *to = g.ready + g.n_ready;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = below(i + 1);
        to[i] = to[j];
        to[j] = first + i;
        g.fibers[first + i].wait = READY;
    }
    g.n_ready += n;
}

/* ---- waiting ---- */

static void wait_here(enum wait wait, const char *file, int line)
{
    struct fiber *f = &g.fibers[fiber_here.thread];
    f->wait = wait;
    f->file = file;
    f->line = line;
    change(f, &g.main);
}

static void report_two(const char *what, const char *file, int line, const char *file2, int line2)
{
    if (!g.is_wrong)
        (void)fprintf(stderr, "harness: %s at %s:%d and %s:%d\n", what, file, line, file2, line2);
    g.is_wrong = true;
}

void fiber_barrier(const char *file, int line)
{
    if (g.n_at_barrier == 0) {
        g.barrier_file = file;
        g.barrier_line = line;
    } else if (g.barrier_line != line || g.barrier_file != file) {
        report_two("threads of a block", file, line, g.barrier_file, g.barrier_line);
    }
    bool is_last = ++g.n_at_barrier == g.n_threads;
    if (is_last) {
        g.n_at_barrier = 0;
        release(0, g.n_threads);
    }
    wait_here(is_last ? READY : AT_BARRIER, file, line);
}

void fiber_wait_previous(void)
{
    g.fibers[fiber_here.thread].has_waited = true;
}

void fiber_must_wait(bool must)
{
    g.must_wait = must;
}

static const uint32_t *meet(const uint32_t *values, uint32_t n, uint32_t n_lanes, uint32_t what,
                            const char *file, int line)
{
    struct wave *w = &g.waves[n_lanes == LANES ? 0 : 1][fiber_here.thread / n_lanes];
    uint32_t lane = fiber_here.thread % n_lanes;
    uint32_t first = fiber_here.thread - lane;
    uint32_t turn = w->turn;
    for (uint32_t i = 0; i < n; i++)
        w->values[turn][lane * FIBER_GATHER + i] = values[i];
    if (w->n_waiting == 0) {
        w->file = file;
        w->line = line;
        w->what = what;
    } else if (w->line != line || w->file != file || w->what != what) {
        report_two("lanes of a wave", file, line, w->file, w->line);
    }
    if (++w->n_waiting < n_lanes) {
        wait_here(AT_LANES, file, line);
        return w->values[turn];
    }
    w->n_waiting = 0;
    w->turn = 1 - turn;
    release(first, n_lanes);
    wait_here(READY, file, line);
    return w->values[turn];
}

void fiber_lane_sync(const char *file, int line)
{
    (void)meet(NULL, 0, LANES, 0, file, line);
}

uint32_t fiber_exchange(uint32_t value, uint32_t mask, const char *file, int line)
{
    uint32_t lane = fiber_here.thread % LANES;
    return meet(&value, 1, LANES, mask, file, line)[(lane ^ mask) * FIBER_GATHER];
}

const uint32_t *fiber_gather(const uint32_t *values, uint32_t n, uint32_t n_lanes, const char *file,
                             int line)
{
    return meet(values, n, n_lanes, n_lanes, file, line);
}

/* ---- launches ---- */

static bool take_stacks(void)
{
    if (g.stacks != NULL)
        return true;
    size_t each = STACK_BYTES + PAGE_BYTES;
    void *p = mmap(NULL, each * FIBER_MAX_THREADS, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return false;
    g.stacks = p;
    for (size_t i = 0; i < FIBER_MAX_THREADS; i++)
        (void)mprotect(g.stacks + i * each, PAGE_BYTES, PROT_NONE);
    return true;
}

static void report_parted(void)
{
    (void)fprintf(stderr, "harness: block %u,%u,%u: %u of %u threads have ended",
                  fiber_here.block[0], fiber_here.block[1], fiber_here.block[2], g.n_done,
                  g.n_threads);
    for (uint32_t i = 0; i < g.n_threads; i++) {
        const struct fiber *f = &g.fibers[i];
        if (f->wait != DONE) {
            (void)fprintf(stderr, ", thread %u waits for %s at %s:%d", i,
                          f->wait == AT_BARRIER ? "the block" : "its wave", f->file, f->line);
            break;
        }
    }
    (void)fprintf(stderr, "\n");
}

static bool run_block(uint8_t *shared, uint32_t shared_bytes)
{
    if (shared != NULL)
        memset(shared, POISON, (size_t)shared_bytes + CANARY_BYTES);
    for (uint32_t i = 0; i < g.n_threads / LANES; i++) {
        g.waves[0][i].n_waiting = 0;
        g.waves[1][i].n_waiting = 0;
    }
    g.n_at_barrier = 0;
    g.n_done = 0;
    g.n_ready = 0;
    for (uint32_t i = 0; i < g.n_threads; i++)
        prepare(i);
    release(0, g.n_threads);
    while (g.n_ready > 0 && !g.is_wrong) {
        fiber_here.thread = g.ready[--g.n_ready];
        change(&g.main, &g.fibers[fiber_here.thread]);
    }
    if (!g.is_wrong && g.n_done < g.n_threads) {
        report_parted();
        g.is_wrong = true;
    }
    for (size_t i = shared_bytes; shared != NULL && i < (size_t)shared_bytes + CANARY_BYTES; i++) {
        if (shared[i] != POISON && !g.is_wrong) {
            (void)fprintf(stderr, "harness: written %zu bytes behind shared memory of %u\n",
                          i - shared_bytes, shared_bytes);
            g.is_wrong = true;
        }
    }
    return !g.is_wrong;
}

int fiber_launch(void (*run)(const void *args), const void *args, const uint32_t grid[3],
                 uint32_t n_threads, uint32_t shared_bytes)
{
    if (n_threads == 0 || n_threads > FIBER_MAX_THREADS || n_threads % LANES != 0 ||
        !take_stacks()) {
        (void)fprintf(stderr, "harness: blocks of %u threads cannot run\n", n_threads);
        return -1;
    }
    size_t bytes = (size_t)shared_bytes + CANARY_BYTES;
    uint8_t *shared = bytes > 0 ? malloc(bytes) : NULL;
    fiber_here.shared = shared;
    g.run = run;
    g.args = args;
    g.n_threads = n_threads;
    g.is_wrong = bytes > 0 && shared == NULL;
    uint64_t n_blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    for (uint64_t i = 0; i < n_blocks && !g.is_wrong; i++) {
        fiber_here.block[0] = (uint32_t)(i % grid[0]);
        fiber_here.block[1] = (uint32_t)(i / grid[0] % grid[1]);
        fiber_here.block[2] = (uint32_t)(i / grid[0] / grid[1]);
        (void)run_block(shared, shared_bytes);
    }
    free(shared);
    return g.is_wrong ? -1 : 0;
}
