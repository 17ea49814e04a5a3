/* SPDX-License-Identifier: MIT */
/* A message of a peer. What is decoded encodes again, to something that decodes to the same. */
#include <stdint.h>

#include "common/check.h"
#include "proto/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {.cap_bytes = (size_t)64 << 20};
    struct frame f;
    struct frame again;
    struct buf out = {0};
    struct buf line = {0};
    struct buf line_again = {0};
    if (frame_decode(data, size, &arena, &f) == ERR_OK) {
        frame_trace(&line, &f);
        if (frame_encode(&out, f.type, f.epoch, f.body) == ERR_OK) {
            ASSERT(frame_decode(out.ptr, out.len, &arena, &again) == ERR_OK);
            frame_trace(&line_again, &again);
            ASSERT(again.epoch == f.epoch && str_eq(buf_str(&line), buf_str(&line_again)));
        }
    }
    buf_fini(&out);
    buf_fini(&line);
    buf_fini(&line_again);
    arena_fini(&arena);
    return 0;
}
