/* SPDX-License-Identifier: MIT */
/* A .htok file. */
#include "services/model/htok.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source s = {.path = "fuzz"};
    struct why why;
    if (htok_read_bytes(data, size, "fuzz", "gpt-2", &s, &why) == ERR_OK) {
        for (uint32_t i = 0; i < s.tokenizer.n_tokens; i++)
            (void)source_token(&s.tokenizer, i);
    }
    source_close(&s);
    return 0;
}
