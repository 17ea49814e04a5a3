/* SPDX-License-Identifier: MIT */
/* tokenizer.json of a Hugging Face directory, used as tokenizer_config.json too. */
#include "services/model/hf_tokenizer.h"

#include "services/model/hf_special.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL)
        return 0;
    struct source s = {.path = "fuzz"};
    struct why why;
    if (hf_tokenizer_read(json, NULL, &s, &why) == ERR_OK) {
        hf_special_read(json, json, &s);
        for (uint32_t i = 0; i < s.tokenizer.n_tokens; i++)
            (void)source_token(&s.tokenizer, i);
    }
    json_decref(json);
    source_close(&s);
    return 0;
}
