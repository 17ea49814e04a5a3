/* SPDX-License-Identifier: MIT */
/* The header of a .safetensors file, whole or cut. */
#include "services/model/safetensors.h"

#include <unistd.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct why why;
    struct safetensors f;
    char path[32];
    int fd = -1;
    int data_fd = -1;
    fuzz_file(data, size, path, &fd);
    if (safetensors_open(path, &why, &f, &data_fd) == ERR_OK) {
        safetensors_fini(&f);
        (void)close(data_fd);
    }
    (void)close(fd);
    return 0;
}
