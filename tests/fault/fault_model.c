/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/fault_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MARK "\xe2\x96\x81" /* the metaspace */

/* Small, and with every component that weir takes. */
static const char json_tokenizer[] =
    "{\"version\": \"1.0\", \"added_tokens\": ["
    "{\"id\": 0, \"content\": \"<unk>\", \"special\": true},"
    "{\"id\": 1, \"content\": \"<|startoftext|>\", \"special\": true},"
    "{\"id\": 9, \"content\": \"a a\", \"normalized\": true}],"
    "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": ["
    "{\"type\": \"Prepend\", \"prepend\": \"" MARK "\"},"
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"},"
    " \"content\": \"" MARK "\"}]},"
    "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"" MARK
    "\", \"prepend_scheme\": \"never\", \"split\": false},"
    "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": ["
    "{\"SpecialToken\": {\"id\": \"<|startoftext|>\", \"type_id\": 0}},"
    "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}],"
    "\"special_tokens\": {\"<|startoftext|>\": {\"ids\": [1]}}},"
    "\"decoder\": {\"type\": \"Sequence\", \"decoders\": ["
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \"" MARK "\"},"
    " \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"},"
    "{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]},"
    "\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", "
    "\"fuse_unk\": true, \"vocab\": {\"<unk>\": 0, \"" MARK "\": 2, "
    "\"a\": 3, \"b\": 4, \"ab\": 5, \"" MARK "a\": 6, "
    "\"a rather long piece\": 7, \"\\u00e9\\ud83d\\ude00\": 8}, "
    "\"merges\": [\"a b\", [\"" MARK "\", \"a\"]]}}";

/* The same in SentencePiece's form: pieces, the trainer, the normalizer. */
#define PIECE(n, m, text, type)                                                \
    "\x0a" n "\x0a" m text "\x15\0\0\x80\xbf\x18" type
static const char spm_tokenizer[] = PIECE("\x0e", "\x05", "<unk>", "\x02")
    PIECE("\x0c", "\x03", "<s>", "\x03") PIECE("\x0c", "\x03", MARK, "\x01")
        PIECE("\x0a", "\x01", "a", "\x01") PIECE("\x0a", "\x01", "b", "\x01")
            PIECE("\x0b", "\x02", "ab", "\x01")
                PIECE("\x0d", "\x04", MARK "a", "\x01")
                    PIECE("\x0c", "\x03", "aba", "\x05")
                        PIECE("\x0a", "\x01", ",",
                              "\x04") "\x12\x02\x18\x02\x1a\x02\x18\x01";

#define INT8                                                                   \
    {                                                                          \
        .experts_int8 = 1, .dense_mlp_int8 = 1                                 \
    }
#define JSON "tokenizer.json", json_tokenizer, sizeof(json_tokenizer) - 1
#define SPM  "tokenizer.model", spm_tokenizer, sizeof(spm_tokenizer) - 1

const struct fault_model fault_models[N_FAULT_MODELS] = {
    {"int8", {.quant = INT8, .tile_ceiling = 4096}, NULL, NULL, 0},
    {"zstd",
     {.quant = INT8, .policy = WEIR_POLICY_ZSTD, .tile_ceiling = 4096},
     JSON},
    {"planes", {.tile_ceiling = WEIR_TILE_BYTES}, SPM},
    {"raw", {.policy = WEIR_POLICY_RAW, .tile_ceiling = 4096}, NULL, NULL, 0},
};

static char room[] = "fault.XXXXXX";
static char sources[4096]; /* tests/golden */

int fault_room_make(void)
{
    const char *srcdir = getenv("srcdir");
    char golden[4096];

    snprintf(golden, sizeof(golden), "%s/tests/golden", srcdir ? srcdir : ".");
    if (realpath(golden, sources) && mkdtemp(room))
        return 0;
    perror(golden);
    return -1;
}

void fault_room_remove(void)
{
    static const char *const made[] = {"config.json",
                                       "generation_config.json",
                                       "model.safetensors",
                                       "tokenizer.json",
                                       "tokenizer.model",
                                       "model.weir",
                                       "model.weir.part",
                                       "packed.part",
                                       "session"};

    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
        unlink(fault_at(made[i]));
    rmdir(room);
}

const char *fault_at(const char *name)
{
    static char paths[4][sizeof(room) + 48];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", room, name);
    return path;
}

const char *fault_golden(const char *name)
{
    static char path[sizeof(sources) + 64];

    snprintf(path, sizeof(path), "%s/%s", sources, name);
    return path;
}

static int write_file(const char *path, const void *data, size_t n_bytes)
{
    FILE *file = fopen(path, "wb");
    int ok = file && fwrite(data, 1, n_bytes, file) == n_bytes;

    return file && !fclose(file) && ok ? 0 : -1;
}

int fault_lay(const struct fault_model *model, const char *golden)
{
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors"};
    char name[64];
    int rc = 0;

    for (size_t i = 0; i < 3 && !rc; i++) {
        unlink(fault_at(names[i]));
        snprintf(name, sizeof(name), "%s/%s", golden, names[i]);
        rc = symlink(fault_golden(name), fault_at(names[i]));
    }
    unlink(fault_at("tokenizer.json"));
    unlink(fault_at("tokenizer.model"));
    if (!rc && model->tokenizer)
        rc =
            write_file(fault_at(model->tokenizer), model->data, model->n_bytes);
    return rc;
}

int fault_pack(const struct fault_model *model, const char *name,
               struct weir_err *err)
{
    return weir_import_folder(&model->import, room, fault_at(name), err);
}
