/* SPDX-License-Identifier: MIT */
#include "services/model/tokenizer_file.h"

#include <sys/stat.h>

#include "services/model/gguf.h"
#include "services/model/gguf_tokenizer.h"
#include "services/model/hf_dir.h"
#include "services/model/htok.h"
#include "services/model/mapping.h"

enum err tokenizer_file_read(const char *path, const char *rule, struct source *s, struct why *why)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return hf_dir_read_tokenizer(s, path, rule, why);
    struct mapping map;
    enum err e = mapping_init(&map, path, why);
    if (e)
        return e;
    if (gguf_is_magic(map.bytes, map.size)) {
        struct gguf *g = NULL;
        e = gguf_open_bytes(map.bytes, map.size, path, why, &g);
        if (!e)
            e = gguf_tokenizer_read(g, rule, s, why);
        gguf_close(g);
    } else {
        e = htok_read_bytes(map.bytes, map.size, path, rule, s, why);
    }
    mapping_fini(&map);
    return e;
}
