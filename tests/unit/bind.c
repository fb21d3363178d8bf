/* SPDX-License-Identifier: Apache-2.0 */
/* A file whose tensors are not what its configuration calls for is refused. */
#include "model/bind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/import.h"
#include "tests/tap.h"

static struct weir_file *file;
static struct weir_residency *residency;
static struct weir_config config;

static struct weir_tensor *tensor(const char *name)
{
    return &file->tensors[weir_file_find(file, name)];
}

/* Binding fails with `code` and names what is wrong. */
static void refused(int code, const char *part, const char *what)
{
    struct weir_bind bind;
    struct weir_err err = {.message = ""};
    int rc = weir_bind_init(&bind, &config, file, residency, &err);

    tap_ok(rc == code && strstr(err.message, part), "%s is refused: %s", what,
           err.message);
    if (!rc)
        weir_bind_fini(&bind);
}

static int open_model(const char *path, struct weir_err *err)
{
    size_t n_bytes;
    char *json = NULL;
    int rc = weir_file_open(path, &file, err);

    if (!rc)
        rc = weir_residency_new(file, NULL, &residency, err);
    if (!rc)
        rc = weir_file_read_blob(file, "config.json", &json, &n_bytes, err);
    if (!rc)
        rc = weir_config_parse(json, n_bytes, "config.json", &config, err);
    free(json);
    return rc;
}

static void test_good(void)
{
    struct weir_bind bind;
    struct weir_err err;
    int rc = weir_bind_init(&bind, &config, file, residency, &err);

    tap_ok(!rc, "a sound file binds");
    if (rc)
        return;
    tap_ok(bind.layers[4].attention.q.tensor != WEIR_NO_TENSOR &&
               bind.layers[1].mlps[3].up.scale ==
                   bind.layers[1].mlps[3].gate.scale + config.n_inter,
           "experts have their scales one behind the other");
    tap_ok(bind.layers[0].mamba.a[0] < 0, "A is negative");
    weir_bind_fini(&bind);
}

static void test_config(void)
{
    const struct weir_config sound = config;

    config.n_layers = 9;
    refused(WEIR_EFORMAT, "layers.8", "a layer that is not there");
    config = sound;
    config.n_experts = 5;
    refused(WEIR_EFORMAT, "model.layers.1.feed_forward.router.weight",
            "an expert that is not there");
    config = sound;
    config.n_inter += 8;
    refused(WEIR_EFORMAT, "model.layers.0.feed_forward.gate_proj.weight",
            "another width of the MLP");
    config = sound;
    config.d_conv = 3;
    refused(WEIR_EFORMAT, "model.layers.0.mamba.conv1d.weight is [128, 1, 4]",
            "another width of the convolution");
    config = sound;
    config.proj_bias = 1;
    refused(WEIR_EFORMAT, "model.layers.0.mamba.in_proj.bias",
            "a bias that is not there");
    config = sound;
    config.attn_offset = 3;
    refused(WEIR_EFORMAT, "model.layers.3.self_attn.q_proj.weight",
            "attention at another layer");
    config = sound;
}

static void test_types(void)
{
    static const char matrix[] = "model.layers.0.mamba.in_proj.weight";
    static const char vector[] = "model.layers.0.mamba.D";

    tensor(matrix)->dtype = WEIR_I8;
    refused(WEIR_ENOTSUP, matrix, "int8 in a mixer");
    tensor(matrix)->dtype = WEIR_BF16;
    tensor(vector)->dtype = WEIR_I8;
    refused(WEIR_ENOTSUP, vector, "int8 in a vector");
    tensor(vector)->dtype = WEIR_BF16;
}

static void test_scales(void)
{
    static const char name[] =
        "model.layers.1.feed_forward.experts.2.down_proj.weight";
    static const char scales[] = "model.layers.1.feed_forward.experts.2.scales";
    struct weir_tensor *down = tensor(name), sound = *down;

    down->scale_first++;
    refused(WEIR_EFORMAT, name, "scales beyond their tensor");
    *down = sound;
    down->scale_tensor = WEIR_NO_TENSOR;
    refused(WEIR_EFORMAT, name, "int8 without scales");
    down->scale_tensor = sound.scale_tensor - 1;
    refused(WEIR_EFORMAT, name, "int8 with the scales of another");
    *down = sound;
    tensor(scales)->dtype = WEIR_BF16;
    refused(WEIR_EFORMAT, scales, "scales in bf16");
    tensor(scales)->dtype = WEIR_F32;
}

int main(void)
{
    struct weir_import import = {.quant = {1, 1},
                                 .tile_ceiling = WEIR_TILE_BYTES};
    const char *srcdir = getenv("srcdir");
    char folder[4096], path[] = "bind.XXXXXX";
    struct weir_err err;
    int fd = mkstemp(path);

    snprintf(folder, sizeof(folder), "%s/tests/golden/moe-8l",
             srcdir ? srcdir : ".");
    if (fd < 0 || weir_import_folder(&import, folder, path, &err) ||
        open_model(path, &err)) {
        tap_ok(0, "a model to bind: %s", err.message);
        return tap_done();
    }
    test_good();
    test_config();
    test_types();
    test_scales();
    test_good();
    weir_residency_free(residency);
    weir_file_close(file);
    close(fd);
    unlink(path);
    return tap_done();
}
