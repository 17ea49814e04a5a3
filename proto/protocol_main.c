/* SPDX-License-Identifier: MIT */
/* Prints PROTOCOL.md: build/proto/halo-protocol > proto/PROTOCOL.md */
#include <stdio.h>

#include "proto/frames.h"

int main(void)
{
    struct buf out = {0};
    frame_document(&out);
    size_t n = fwrite(out.ptr, 1, out.len, stdout);
    int rc = n == out.len && fflush(stdout) == 0 ? 0 : 1;
    buf_fini(&out);
    return rc;
}
