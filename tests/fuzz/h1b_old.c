/* SPDX-License-Identifier: MIT */
/* A .h1b file of versions 1 to 4; its tokenizer is a GGUF file that never changes. */
#include <unistd.h>

#include "services/model/gguf.h"
#include "tests/fuzz/fuzz.h"

static void put(struct buf *b, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_add_char(b, (char)(value >> 8 * i & 0xff));
}

static void put_str(struct buf *b, const char *s)
{
    put(b, strlen(s), 8);
    buf_add_cstr(b, s);
}

static void put_key(struct buf *b, const char *key, enum gguf_kind kind)
{
    put_str(b, key);
    put(b, kind, 4);
}

static void make_tokenizer(char path[32])
{
    struct buf b = {0};
    buf_add_cstr(&b, "GGUF");
    put(&b, 3, 4);
    put(&b, 0, 8);
    put(&b, 5, 8);
    put_key(&b, "tokenizer.ggml.model", GGUF_STRING);
    put_str(&b, "gpt2");
    put_key(&b, "tokenizer.ggml.pre", GGUF_STRING);
    put_str(&b, "gpt-2");
    put_key(&b, "tokenizer.ggml.tokens", GGUF_ARRAY);
    put(&b, GGUF_STRING, 4);
    put(&b, 2, 8);
    put_str(&b, "a");
    put_str(&b, "b");
    put_key(&b, "tokenizer.ggml.merges", GGUF_ARRAY);
    put(&b, GGUF_STRING, 4);
    put(&b, 0, 8);
    put_key(&b, "tokenizer.ggml.eos_token_id", GGUF_U32);
    put(&b, 1, 4);
    int fd = -1; /* stays open */
    fuzz_file((const uint8_t *)b.ptr, b.len, path, &fd);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char tokenizer[32];
    if (tokenizer[0] == '\0')
        make_tokenizer(tokenizer);
    char path[32];
    int fd = -1;
    fuzz_file(data, size, path, &fd);
    struct source_options options = {.tokenizer = tokenizer};
    struct source s;
    struct why why;
    if (source_open(&s, path, &options, &why) == ERR_OK) {
        fuzz_read_all(&s);
        source_close(&s);
    }
    (void)close(fd);
    return 0;
}
