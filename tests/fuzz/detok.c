/* SPDX-License-Identifier: MIT */
/* The way back: ids to text with stop strings. The text is whole characters and is the same wherever the
 * reply is cut and resumed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/utf8.h"
#include "services/tokenizer/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The 256 bytes, then these. */
static const char *const TEXTS[] = {"ab", "abab",    " a", "\xc3\xa9", "\xf0\x9f", "\xe2\x82",
                                    "  ", "<|end|>", "b ", "\xbf\xbd", "ba",       "\xef"};
enum { N_TEXTS = 12, N_TOKENS = 256 + N_TEXTS, CONTROL = 256 + 7, MAX_IDS = 256 };

static struct vocab *make_vocab(void)
{
    static uint32_t offsets[N_TOKENS + 1];
    static uint8_t bytes[1024];
    static uint8_t types[N_TOKENS];
    static const uint32_t NO_MERGES[2];
    struct vocab_data d = {.offsets = offsets, .bytes = bytes, .types = types, .merges = NO_MERGES};
    for (uint32_t id = 0; id < N_TOKENS; id++) {
        char byte = (char)id;
        struct str text = id < 256 ? (struct str){&byte, 1} : str_from(TEXTS[id - 256]);
        memcpy(bytes + d.n_bytes, text.ptr, text.len);
        d.n_bytes += text.len;
        types[id] = id == CONTROL ? VOCAB_CONTROL : VOCAB_NORMAL;
        offsets[id + 1] = (uint32_t)d.n_bytes;
    }
    d.n_tokens = N_TOKENS;
    char why[200];
    struct vocab *v = NULL;
    ASSERT(vocab_new(&d, why, sizeof why, &v) == ERR_OK);
    return v;
}

struct way {
    const struct vocab *vocab;
    const struct str *stops;
    size_t n_stops;
    bool drops_space;
    bool keeps_stop;
};

/* The text of the ids from `from` on, those before replayed. Returns how many ids it took, or 0 when
 * the stop strings are refused. */
static size_t run(const struct way *w, const uint32_t *ids, size_t n, size_t from, struct buf *out,
                  size_t *ret_n_before)
{
    struct stream s;
    bool is_stopped = false;
    if (stream_init(&s, w->vocab, w->drops_space, w->stops, w->n_stops, w->keeps_stop) != ERR_OK)
        return 0;
    ASSERT(stream_replay(&s, ids, from, ret_n_before, &is_stopped) == ERR_OK);
    size_t i = from;
    for (; i < n && !is_stopped; i++) {
        ASSERT(stream_push(&s, ids[i], out, &is_stopped) == ERR_OK);
        ASSERT(utf8_is_valid(buf_str(out).ptr, out->len));
    }
    if (!is_stopped)
        (void)stream_finish(&s, out);
    stream_fini(&s);
    return i;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vocab *vocab;
    if (!vocab)
        vocab = make_vocab();
    if (size < 4)
        return 0;
    /* head: flags, cut, length of the stop string; then the stop string; then ids */
    size_t n_stop = data[2] % 8U < size - 3 ? data[2] % 8U : size - 3;
    const struct str stops[] = {{(const char *)data + 3, n_stop}, STR_LIT("abba")};
    const struct way w = {vocab, stops + (data[0] & 1), data[0] & 1 ? 1 : 2, data[0] & 2,
                          data[0] & 4};
    uint32_t ids[MAX_IDS];
    size_t n = 0;
    for (const uint8_t *p = data + 3 + n_stop; p < data + size && n < MAX_IDS; p++)
        ids[n++] = *p >= 0xe0 && p[0] < 0xf0 ? 256U + *p % (N_TEXTS + 1U) : *p;
    struct buf whole = {0};
    struct buf rest = {0};
    size_t none = 0;
    size_t before = 0;
    size_t n_used = run(&w, ids, n, 0, &whole, &none);
    if (n_used > 0) {
        size_t cut = data[1] % n_used; /* the last id is not replayed: it may end the reply */
        ASSERT(run(&w, ids, n, cut, &rest, &before) == n_used);
        ASSERT(before + rest.len == whole.len);
        ASSERT(rest.len == 0 || memcmp(rest.ptr, whole.ptr + before, rest.len) == 0);
    }
    buf_fini(&whole);
    buf_fini(&rest);
    return 0;
}
