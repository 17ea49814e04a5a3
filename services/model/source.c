/* SPDX-License-Identifier: MIT */
#include "services/model/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/mem.h"

struct kind {
    const char *title;
    bool (*is_it)(const struct source_head *head);
    enum err (*open)(struct source *s, const struct source_options *options, struct why *why);
};

static const struct kind KINDS[] = {
#define KIND(module, title) {title, module##_is_it, module##_open},
#include "services/model/kinds.def"
#undef KIND
};

static enum err read_head(struct source_head *h, struct why *why)
{
    int fd = open(h->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return why_errno(why, h->path, "cannot open", errno);
    struct stat st;
    enum err e = ERR_OK;
    if (fstat(fd, &st) != 0) {
        e = why_errno(why, h->path, "cannot stat", errno);
    } else if (S_ISDIR(st.st_mode)) {
        h->is_dir = true;
    } else if (!S_ISREG(st.st_mode)) {
        e = why_set(why, ERR_INVALID, "%s: expected a file or a directory", h->path);
    } else {
        ssize_t n = pread(fd, h->bytes, sizeof h->bytes, 0);
        if (n < 0)
            e = why_errno(why, h->path, "cannot read", errno);
        else
            h->n_bytes = (size_t)n;
    }
    (void)close(fd);
    return e;
}

static enum err refuse_unknown(const struct source_head *h, struct why *why)
{
    struct buf list = {0};
    for (size_t i = 0; i < ARRAY_LEN(KINDS); i++)
        buf_printf(&list, "%s%s", i == 0 ? "" : ", ", KINDS[i].title);
    const char *hint = h->is_dir ? "; there is no config.json in it"
                                 : "; of a .safetensors file name the directory";
    enum err e = why_set(why, ERR_UNSUPPORTED, "%s: not a known kind of model; expected %s%s",
                         h->path, list.ptr, hint);
    buf_fini(&list);
    return e;
}

enum err source_open(struct source *s, const char *path, const struct source_options *options,
                     struct why *why)
{
    *s = (struct source){.path = path};
    struct source_head head = {.path = path};
    enum err e = read_head(&head, why);
    if (e)
        return e;
    for (size_t i = 0; i < ARRAY_LEN(KINDS); i++) {
        if (!KINDS[i].is_it(&head))
            continue;
        s->kind = KINDS[i].title;
        e = KINDS[i].open(s, options, why);
        if (e)
            source_close(s);
        return e;
    }
    return refuse_unknown(&head, why);
}

void source_close(struct source *s)
{
    if (s->ops != NULL)
        s->ops->close(s);
    json_decref(s->config.extra);
    buf_fini(&s->tokenizer.bytes);
    free(s->tokenizer.offsets);
    free(s->tokenizer.types);
    free(s->tokenizer.merges);
    free(s->tokenizer.scores);
    free(s->chat_template);
    free(s->tensors);
    buf_fini(&s->notes);
    *s = (struct source){0};
}

const struct source_tensor *source_find(const struct source *s, const char *name)
{
    for (size_t i = 0; i < s->n_tensors; i++) {
        if (strcmp(s->tensors[i].name, name) == 0)
            return &s->tensors[i];
    }
    return NULL;
}

void source_note(struct source *s, const char *fmt, ...)
{
    struct why line;
    char raw[sizeof line.text];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    (void)why_set(&line, ERR_OK, "%s", raw);
    buf_printf(&s->notes, "%s\n", line.text);
}

enum err source_add_token(struct source_tokenizer *t, struct str bytes, uint8_t type,
                          struct why *why)
{
    if (t->n_tokens >= SOURCE_VOCAB_MAX || bytes.len > SOURCE_TOKEN_MAX_BYTES)
        return why_set(
            why, ERR_MODEL_FORMAT,
            "tokenizer: token %u has %zu bytes; expected at most %d tokens of at most %d "
            "bytes",
            t->n_tokens, bytes.len, SOURCE_VOCAB_MAX, SOURCE_TOKEN_MAX_BYTES);
    if (t->bytes.len + bytes.len > UINT32_MAX)
        return why_set(why, ERR_MODEL_FORMAT, "tokenizer: the tokens are longer than 4 GiB");
    if (t->n_tokens == t->cap_tokens) {
        t->cap_tokens = t->cap_tokens == 0 ? 1024 : 2 * t->cap_tokens;
        t->offsets = mem_resize(t->offsets, (size_t)t->cap_tokens + 1, sizeof *t->offsets);
        t->types = mem_resize(t->types, t->cap_tokens, sizeof *t->types);
        t->offsets[0] = 0;
    }
    buf_add(&t->bytes, bytes.ptr, bytes.len);
    t->types[t->n_tokens] = type;
    t->offsets[++t->n_tokens] = (uint32_t)t->bytes.len;
    return ERR_OK;
}

struct str source_token(const struct source_tokenizer *t, uint32_t id)
{
    return (struct str){t->bytes.ptr + t->offsets[id], t->offsets[id + 1] - t->offsets[id]};
}

uint64_t source_n_scales(const struct source_tensor *t)
{
    return t->group > 0 ? t->rows * (t->cols / t->group) : t->n_scales;
}
