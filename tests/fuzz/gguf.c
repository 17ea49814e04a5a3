/* SPDX-License-Identifier: MIT */
/* A whole GGUF file, in each of the layouts that I2_S may have. */
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const LAYOUTS[] = {"128", "64", "rows"};
    char path[32];
    int fd = -1;
    if (size < 4)
        return 0;
    fuzz_file(data, size, path, &fd);
    struct source_options options = {.layout = LAYOUTS[data[size - 1] % 3]};
    struct source s;
    struct why why;
    if (source_open(&s, path, &options, &why) == ERR_OK) {
        fuzz_read_all(&s);
        source_close(&s);
    }
    (void)close(fd);
    return 0;
}
