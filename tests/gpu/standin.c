/* SPDX-License-Identifier: MIT */
#include "tests/gpu/standin.h"

#include <elf.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/gpu/standin_kernels.h"
#include "tests/gpu/standin_memory.h"

enum { MAX_ARGS = 4096, MB = 1 << 20, MAX_BLOCK = 1024, EM_AMD_GPU = 224 };

enum op_kind { OP_IN, OP_OUT, OP_FILL, OP_LAUNCH, OP_GRAPH, OP_EVENT };

struct function {
    struct function *next;
    char name[64];
    uint32_t args_bytes;
};

struct module {
    const void *image;
    struct function *functions;
};

struct event {
    uint64_t ns;
};

struct list;

struct op {
    enum op_kind kind;
    uint64_t device;
    void *host;
    size_t bytes;
    uint8_t value;
    const struct function *function;
    struct standin_dim grid, block;
    unsigned shared_bytes;
    void *args; /* a copy, owned */
    struct list *graph;
    struct event *event;
};

/* A stream, a graph, or a graph made ready. */
struct list {
    struct op *ops;
    size_t n, cap;
    struct list *captured; /* of a stream: where its calls go */
    bool is_queued; /* of a graph: in a stream */
};

static size_t n_objects; /* live streams, graphs, modules, events */
/* Calls since faults are wanted, and what was run. */
static uint64_t n_mallocs, n_copies, n_launches, n_graphs, n_hangs, n_losses, n_skips;
static uint64_t n_graphs_run, n_kernels_run;
static bool is_lost;

/* ---- HALO_STANDIN ---- */

/* What follows `word`, to the next blank; NULL if it is not there. */
static const char *find_word(const char *word)
{
    const char *all = getenv("HALO_STANDIN");
    size_t n = strlen(word);
    for (const char *at = all; at != NULL && *at != '\0'; at++) {
        if (strncmp(at, word, n) == 0 && (at[n] == '=' || at[n] == ' ' || at[n] == '\0') &&
            (at == all || at[-1] == ' '))
            return at + n;
    }
    return NULL;
}

uint64_t standin_number(const char *word, uint64_t otherwise)
{
    const char *value = find_word(word);
    if (value == NULL)
        return otherwise;
    return *value == '=' ? strtoull(value + 1, NULL, 10) : 1;
}

const char *standin_arch(const char *otherwise)
{
    static char arch[64];
    const char *value = find_word("arch");
    if (value == NULL || *value != '=')
        return otherwise;
    (void)snprintf(arch, sizeof arch, "%.*s", (int)strcspn(value + 1, " "), value + 1);
    return arch;
}

/* Whether faults are wanted already. */
static bool is_armed(void)
{
    char path[256];
    const char *value = find_word("armed-by");
    if (value == NULL || *value != '=')
        return true;
    (void)snprintf(path, sizeof path, "%.*s", (int)strcspn(value + 1, " "), value + 1);
    return faccessat(AT_FDCWD, path, F_OK, 0) == 0;
}

/* Counts a call; whether it is the one that shall fail. */
static bool is_due(const char *word, uint64_t *n)
{
    return is_armed() && ++*n == standin_number(word, 0);
}

int standin_count(int *ret_n)
{
    *ret_n = (int)standin_number("devices", 1);
    return *ret_n > 0 ? STANDIN_OK : STANDIN_NO_DEVICE;
}

const char *standin_error_name(int error)
{
    switch (error) {
    case STANDIN_OK:
        return "Success";
    case STANDIN_INVALID:
        return "ErrorInvalidValue";
    case STANDIN_NOMEM:
        return "ErrorOutOfMemory";
    case STANDIN_NO_DEVICE:
        return "ErrorNoDevice";
    case STANDIN_INVALID_DEVICE:
        return "ErrorInvalidDevice";
    case STANDIN_INVALID_IMAGE:
        return "ErrorInvalidImage";
    case STANDIN_NOT_FOUND:
        return "ErrorNotFound";
    case STANDIN_LOST:
        return "ErrorLaunchFailure";
    default:
        return "ErrorUnknown";
    }
}

/* ---- memory ---- */

int standin_mem_info(size_t *ret_free, size_t *ret_all)
{
    *ret_all = standin_number("memory", 1024) * MB;
    *ret_free = *ret_all - standin_memory_used(STANDIN_DEVICE);
    return is_lost ? STANDIN_LOST : STANDIN_OK;
}

int standin_malloc(uint64_t *ret_address, size_t bytes)
{
    size_t free_bytes = 0;
    size_t all_bytes = 0;
    int e = standin_mem_info(&free_bytes, &all_bytes);
    if (e != STANDIN_OK)
        return e;
    if (is_due("fail-malloc", &n_mallocs) || bytes > free_bytes)
        return STANDIN_NOMEM;
    void *p = standin_memory_new(STANDIN_DEVICE, bytes);
    *ret_address = (uint64_t)(uintptr_t)p;
    return p != NULL ? STANDIN_OK : STANDIN_NOMEM;
}

int standin_free(uint64_t address)
{
    if (address != 0)
        standin_memory_free(STANDIN_DEVICE, (void *)(uintptr_t)address);
    return is_lost ? STANDIN_LOST : STANDIN_OK;
}

int standin_host_malloc(void **ret_p, size_t bytes)
{
    if (is_lost)
        return STANDIN_LOST;
    *ret_p = standin_memory_new(STANDIN_HOST, bytes);
    return *ret_p != NULL ? STANDIN_OK : STANDIN_NOMEM;
}

int standin_host_free(void *p)
{
    if (p != NULL)
        standin_memory_free(STANDIN_HOST, p);
    return STANDIN_OK;
}

/* ---- modules ---- */

/* Whether the image, an ELF file of an AMD GPU, has the symbol. */
static bool elf_has(const char *image, const char *symbol)
{
    const Elf64_Ehdr *h = (const void *)image;
    const Elf64_Shdr *sections = (const void *)(image + h->e_shoff);
    for (unsigned i = 0; i < h->e_shnum; i++) {
        if (sections[i].sh_type != SHT_DYNSYM)
            continue;
        const char *names = image + sections[sections[i].sh_link].sh_offset;
        const Elf64_Sym *symbols = (const void *)(image + sections[i].sh_offset);
        for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; k++) {
            if (strcmp(names + symbols[k].st_name, symbol) == 0)
                return true;
        }
    }
    return false;
}

static bool is_elf(const void *image)
{
    const Elf64_Ehdr *h = image;
    return memcmp(h->e_ident, ELFMAG, SELFMAG) == 0 && h->e_machine == EM_AMD_GPU;
}

static bool image_has(const void *image, const char *name)
{
    char text[128];
    if (is_elf(image)) {
        (void)snprintf(text, sizeof text, "%s.kd", name);
        return elf_has(image, text);
    }
    (void)snprintf(text, sizeof text, ".entry %s(", name);
    return strstr(image, text) != NULL;
}

int standin_module_load(void **ret_module, const void *image)
{
    if (is_lost)
        return STANDIN_LOST;
    if (standin_number("bad-module", 0) != 0 ||
        (!is_elf(image) && strstr(image, ".version") == NULL))
        return STANDIN_INVALID_IMAGE;
    struct module *m = calloc(1, sizeof *m);
    if (m == NULL)
        return STANDIN_NOMEM;
    m->image = image;
    n_objects++;
    *ret_module = m;
    return STANDIN_OK;
}

int standin_module_unload(void *module)
{
    struct module *m = module;
    while (m->functions != NULL) {
        struct function *next = m->functions->next;
        free(m->functions);
        m->functions = next;
    }
    free(m);
    n_objects--;
    return STANDIN_OK;
}

int standin_get_function(void **ret_function, void *module, const char *name)
{
    struct module *m = module;
    uint32_t args_bytes = 0;
    if (!image_has(m->image, name) || !standin_kernels_find(name, &args_bytes))
        return STANDIN_NOT_FOUND;
    struct function *f = calloc(1, sizeof *f);
    if (f == NULL || args_bytes > MAX_ARGS)
        standin_die("%s: %u bytes of arguments", name, args_bytes);
    (void)snprintf(f->name, sizeof f->name, "%s", name);
    f->args_bytes = args_bytes;
    f->next = m->functions;
    m->functions = f;
    *ret_function = f;
    return STANDIN_OK;
}

/* ---- lists of operations ---- */

static struct list *list_new(void)
{
    struct list *l = calloc(1, sizeof *l);
    if (l == NULL)
        standin_die("no memory");
    n_objects++;
    return l;
}

static void list_clear(struct list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->ops[i].args);
        if (l->ops[i].graph != NULL)
            l->ops[i].graph->is_queued = false;
    }
    l->n = 0;
}

static void list_free(struct list *l)
{
    if (l->is_queued)
        standin_die("a graph was destroyed that a stream has not run yet");
    list_clear(l);
    free(l->ops);
    free(l);
    n_objects--;
}

static void add(struct list *l, struct op op)
{
    if (l->n == l->cap) {
        l->cap = l->cap * 2 + 64;
        l->ops = realloc(l->ops, l->cap * sizeof *l->ops);
        if (l->ops == NULL)
            standin_die("no memory");
    }
    l->ops[l->n++] = op;
}

/* To the stream, or to what it captures. */
static int enqueue(void *stream, struct op op)
{
    struct list *s = stream;
    if (s == NULL)
        standin_die("the default stream is not to be used: it waits for all others");
    if (is_lost) {
        free(op.args);
        return STANDIN_LOST;
    }
    add(s->captured != NULL ? s->captured : s, op);
    return STANDIN_OK;
}

int standin_stream_create(void **ret_stream)
{
    *ret_stream = list_new();
    return is_lost ? STANDIN_LOST : STANDIN_OK;
}

int standin_stream_destroy(void *stream)
{
    struct list *s = stream;
    if (s->captured != NULL)
        list_free(s->captured);
    list_free(s);
    return STANDIN_OK;
}

int standin_copy(enum standin_copy way, uint64_t device, void *host, size_t bytes, void *stream)
{
    const char *what = way == STANDIN_IN ? "copy to the device" : "copy from the device";
    standin_memory_check(STANDIN_DEVICE, (void *)(uintptr_t)device, bytes, what);
    standin_memory_check(STANDIN_HOST, host, bytes, what);
    if (is_due("fail-copy", &n_copies))
        return STANDIN_INVALID;
    return enqueue(stream, (struct op){.kind = way == STANDIN_IN ? OP_IN : OP_OUT,
                                       .device = device,
                                       .host = host,
                                       .bytes = bytes});
}

int standin_fill(uint64_t to, uint8_t value, size_t bytes, void *stream)
{
    standin_memory_check(STANDIN_DEVICE, (void *)(uintptr_t)to, bytes, "fill");
    return enqueue(stream,
                   (struct op){.kind = OP_FILL, .device = to, .value = value, .bytes = bytes});
}

int standin_launch(void *function, struct standin_dim grid, struct standin_dim block,
                   unsigned shared_bytes, void *stream, void **args)
{
    const struct function *f = function;
    uint64_t n_threads = (uint64_t)block.x * block.y * block.z;
    if (is_due("fail-launch", &n_launches) || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
        grid.y > 65535 || grid.z > 65535 || n_threads == 0 || n_threads > MAX_BLOCK)
        return STANDIN_INVALID;
    void *copy = malloc(f->args_bytes);
    if (copy == NULL)
        standin_die("no memory");
    memcpy(copy, args[0], f->args_bytes);
    return enqueue(stream, (struct op){.kind = OP_LAUNCH,
                                       .function = f,
                                       .grid = grid,
                                       .block = block,
                                       .shared_bytes = shared_bytes,
                                       .args = copy});
}

/* ---- running them ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static void run_launch(const struct op *op)
{
    const uint32_t grid[3] = {op->grid.x, op->grid.y, op->grid.z};
    const uint32_t block[3] = {op->block.x, op->block.y, op->block.z};
    n_kernels_run++;
    if (!standin_kernels_run(op->function->name, grid, block, op->shared_bytes, op->args))
        standin_die("%s: the harness refused the launch", op->function->name);
}

static void run_op(const struct op *op);

static void run_graph(const struct list *graph)
{
    n_graphs_run++;
    if (is_due("hang", &n_hangs)) {
        sem_t never;
        (void)sem_init(&never, 0, 0);
        for (;;)
            (void)sem_wait(&never);
    }
    if (is_due("lose", &n_losses))
        is_lost = true;
    if (is_due("skip", &n_skips))
        return;
    for (size_t i = 0; i < graph->n && !is_lost; i++)
        run_op(&graph->ops[i]);
}

static void run_op(const struct op *op)
{
    void *device = (void *)(uintptr_t)op->device;
    switch (op->kind) {
    case OP_IN:
    case OP_OUT:
        standin_memory_check(STANDIN_DEVICE, device, op->bytes, "queued copy");
        standin_memory_check(STANDIN_HOST, op->host, op->bytes, "queued copy");
        if (op->kind == OP_IN)
            memcpy(device, op->host, op->bytes);
        else
            memcpy(op->host, device, op->bytes);
        break;
    case OP_FILL:
        standin_memory_check(STANDIN_DEVICE, device, op->bytes, "queued fill");
        memset(device, op->value, op->bytes);
        break;
    case OP_LAUNCH:
        run_launch(op);
        break;
    case OP_GRAPH:
        run_graph(op->graph);
        break;
    case OP_EVENT:
        op->event->ns = now_ns();
        break;
    }
}

int standin_synchronize(void *stream)
{
    struct list *s = stream;
    if (s->captured != NULL)
        return STANDIN_CAPTURE_UNSUPPORTED;
    for (size_t i = 0; i < s->n && !is_lost; i++)
        run_op(&s->ops[i]);
    list_clear(s);
    standin_memory_check_guards("kernels");
    return is_lost ? STANDIN_LOST : STANDIN_OK;
}

/* ---- graphs ---- */

int standin_begin_capture(void *stream)
{
    struct list *s = stream;
    if (s->captured != NULL)
        return STANDIN_INVALID;
    s->captured = list_new();
    return STANDIN_OK;
}

int standin_end_capture(void *stream, void **ret_graph)
{
    struct list *s = stream;
    *ret_graph = s->captured;
    s->captured = NULL;
    return *ret_graph != NULL ? STANDIN_OK : STANDIN_INVALID;
}

int standin_graph_instantiate(void **ret_exec, void *graph)
{
    const struct list *g = graph;
    struct list *exec = list_new();
    for (size_t i = 0; i < g->n; i++) {
        struct op op = g->ops[i];
        if (op.args != NULL) {
            op.args = malloc(op.function->args_bytes);
            if (op.args == NULL)
                standin_die("no memory");
            memcpy(op.args, g->ops[i].args, op.function->args_bytes);
        }
        add(exec, op);
    }
    *ret_exec = exec;
    return STANDIN_OK;
}

int standin_graph_launch(void *exec, void *stream)
{
    struct list *g = exec;
    if (is_due("fail-graph", &n_graphs))
        return STANDIN_INVALID;
    if (is_lost)
        return STANDIN_LOST;
    g->is_queued = true;
    return enqueue(stream, (struct op){.kind = OP_GRAPH, .graph = g});
}

int standin_graph_destroy(void *graph)
{
    list_free(graph);
    return STANDIN_OK;
}

int standin_exec_destroy(void *exec)
{
    list_free(exec);
    return STANDIN_OK;
}

/* ---- events ---- */

int standin_event_create(void **ret_event)
{
    *ret_event = calloc(1, sizeof(struct event));
    n_objects++;
    return *ret_event != NULL ? STANDIN_OK : STANDIN_NOMEM;
}

int standin_event_record(void *event, void *stream)
{
    return enqueue(stream, (struct op){.kind = OP_EVENT, .event = event});
}

int standin_event_elapsed(float *ret_ms, void *begin, void *end)
{
    const struct event *a = begin;
    const struct event *b = end;
    *ret_ms = (float)((double)(b->ns - a->ns) * 1e-6);
    return STANDIN_OK;
}

int standin_event_destroy(void *event)
{
    free(event);
    n_objects--;
    return STANDIN_OK;
}

/* ---- for tests ---- */

size_t standin_n_live(void)
{
    return n_objects + standin_memory_n_live();
}

void standin_reset(void)
{
    n_mallocs = n_copies = n_launches = n_graphs = n_hangs = n_losses = n_skips = 0;
    n_graphs_run = n_kernels_run = 0;
    is_lost = false;
}

uint64_t standin_n_launches(void)
{
    return n_kernels_run;
}

uint64_t standin_n_graphs(void)
{
    return n_graphs_run;
}
