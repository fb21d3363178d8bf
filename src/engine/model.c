/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/session.h"
#include "offload/device.h"

const char *weir_version(void)
{
    return PACKAGE_VERSION;
}

static int take_generation(const json_t *root, const char *what,
                           struct weir_config *config,
                           struct weir_sampling *sampling, struct weir_err *err)
{
    int rc;

    if (!json_is_object(root))
        return weir_err_set(err, WEIR_EFORMAT, "%s: not a JSON object", what);
    rc = weir_config_add_eos(root, what, config, err);
    return rc ? rc : weir_sampling_read(root, what, sampling, err);
}

int weir_generation_parse(const char *json, size_t n_bytes, const char *what,
                          struct weir_config *config,
                          struct weir_sampling *sampling, struct weir_err *err)
{
    json_t *root;
    int rc = weir_json_parse(json, n_bytes, what, &root, err);

    if (rc)
        return rc;
    rc = take_generation(root, what, config, sampling, err);
    json_decref(root);
    return rc;
}

static int read_generation_config(struct weir_model *model,
                                  struct weir_err *err)
{
    static const char what[] = "generation_config.json";
    size_t n_bytes;
    char *json;
    int rc =
        weir_file_read_blob(model->jamba->file, what, &json, &n_bytes, err);

    if (!rc && json)
        rc = weir_generation_parse(json, n_bytes, what, &model->jamba->config,
                                   &model->sampling, err);
    free(json);
    return rc;
}

int weir_model_find_device(enum weir_device_choice choice,
                           const struct weir_device_table **table,
                           struct weir_err *err)
{
    *table = choice == WEIR_ON_HOST ? &weir_device_host : NULL;
    if (choice == WEIR_ON_HOST || choice == WEIR_ON_CPU)
        return 0;
    return weir_device_load("cuda", table, err);
}

int weir_model_open(const char *path, const struct weir_model_options *options,
                    weir_model **out, struct weir_err *err)
{
    struct weir_jamba_options jamba = {0};
    enum weir_device_choice choice = options ? options->device : WEIR_ON_CPU;
    int rc;

    if (options)
        jamba =
            (struct weir_jamba_options){.n_threads = options->n_threads,
                                        .io = options->io,
                                        .ram_bytes = options->ram_bytes,
                                        .scratch = options->scratch,
                                        .cache = options->cache,
                                        .vram_bytes = options->vram_bytes,
                                        .only_device = options->only_device};
    rc = weir_model_find_device(choice, &jamba.device, err);
    if (!rc)
        rc = weir_model_open_with(path, &jamba, out, err);
    if (!rc)
        (*out)->may_leave_device = choice == WEIR_ON_AUTO;
    if (choice != WEIR_ON_AUTO || !rc || !weir_is_of_device(rc))
        return rc;
    jamba.device = NULL;
    return weir_model_open_with(path, &jamba, out, err);
}

int weir_model_open_with(const char *path,
                         const struct weir_jamba_options *options,
                         weir_model **out, struct weir_err *err)
{
    struct weir_model *model = calloc(1, sizeof(*model));
    int rc;

    *out = NULL;
    if (!model)
        return weir_err_nomem(err, sizeof(*model), "a model");
    model->sampling = (struct weir_sampling)WEIR_SAMPLING_NEUTRAL;
    rc = weir_jamba_open(path, options, &model->jamba, err);
    if (!rc)
        rc = read_generation_config(model, err);
    if (!rc)
        rc = weir_tokenizer_from_file(model->jamba->file, &model->tokenizer,
                                      err);
    if (rc) {
        weir_model_close(model);
        return rc;
    }
    *out = model;
    return 0;
}

void weir_model_close(weir_model *model)
{
    if (!model)
        return;
    weir_tokenizer_free(model->tokenizer);
    weir_jamba_close(model->jamba);
    free(model);
}

size_t weir_model_n_vocab(const weir_model *model)
{
    return model->jamba->config.n_vocab;
}

int weir_model_is_eos(const weir_model *model, int32_t id)
{
    const struct weir_config *config = &model->jamba->config;

    for (uint32_t i = 0; i < config->n_eos; i++)
        if (config->eos[i] == id)
            return 1;
    return 0;
}

/* A tokenizer of another model gives ids that this one has no weights for. */
static int check_ids(const struct weir_model *model, const int32_t *ids,
                     size_t n_ids, struct weir_err *err)
{
    size_t n_vocab = weir_model_n_vocab(model);

    for (size_t i = 0; i < n_ids; i++)
        if ((size_t)ids[i] >= n_vocab)
            return weir_err_set(err, WEIR_EFORMAT,
                                "%s: its tokenizer makes id %d where the model "
                                "has ids 0 to %zu; pack the model again with "
                                "its own tokenizer",
                                model->jamba->file->path, ids[i], n_vocab - 1);
    return 0;
}

int weir_model_encode(const weir_model *model, const char *text, size_t n_bytes,
                      int special, int bos, int32_t **ids, size_t *n_ids,
                      struct weir_err *err)
{
    int rc;

    *ids = NULL;
    if (!model->tokenizer)
        return weir_err_set(err, WEIR_ENOTSUP,
                            "%s: was packed without a tokenizer, so that it "
                            "takes token ids only",
                            model->jamba->file->path);
    rc = weir_tokenizer_encode(model->tokenizer, text, n_bytes, special, bos,
                               ids, n_ids, err);
    if (!rc)
        rc = check_ids(model, *ids, *n_ids, err);
    if (rc) {
        free(*ids);
        *ids = NULL;
    }
    return rc;
}
