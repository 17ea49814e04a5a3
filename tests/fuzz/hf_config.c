/* SPDX-License-Identifier: MIT */
/* config.json of a Hugging Face directory, used as generation_config.json too. */
#include "services/model/hf_config.h"

#include <stdlib.h>

#include "services/model/config_json.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL)
        return 0;
    struct source s = {.path = "fuzz"};
    struct why why;
    struct hf_config hf;
    char *text = NULL;
    if (hf_config_read(json, json, &s, &why, &hf) == ERR_OK &&
        config_json_write(&s.config, &why, &text) == ERR_OK)
        free(text);
    json_decref(json);
    source_close(&s);
    return 0;
}
