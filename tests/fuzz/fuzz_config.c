/* SPDX-License-Identifier: Apache-2.0 */
/* config.json and, behind a NUL, generation_config.json. */
#include <string.h>

#include "model/config.h"
#include "tests/fuzz/fuzz.h"
#include "text/sampling.h"

static void check_numbers(const struct weir_config *c)
{
    FUZZ_CHECK(c->n_vocab && c->n_hidden && c->n_inter && c->n_inner);
    FUZZ_CHECK(c->n_layers && c->n_layers <= WEIR_MAX_LAYERS);
    FUZZ_CHECK(c->n_heads && c->n_heads * c->head_dim == c->n_hidden);
    FUZZ_CHECK(c->n_kv_heads && c->n_heads % c->n_kv_heads == 0);
    FUZZ_CHECK(c->n_experts && c->n_experts <= WEIR_MAX_EXPERTS);
    FUZZ_CHECK(c->n_top && (c->n_top <= c->n_experts || c->n_experts == 1));
    FUZZ_CHECK(c->n_state && c->d_conv && c->dt_rank && c->max_context);
    FUZZ_CHECK(c->rms_eps >= 0 && c->rms_eps <= 1);
    FUZZ_CHECK((c->conv_bias | c->proj_bias | c->tied) <= 1);
}

static void check_layers(const struct weir_config *c)
{
    uint32_t n_attention = 0, n_moe = 0;

    for (uint32_t i = 0; i < c->n_layers; i++) {
        n_attention += weir_config_is_attention(c, i) != 0;
        n_moe += weir_config_is_moe(c, i) != 0;
    }
    FUZZ_CHECK((n_attention > 0) == (c->attn_offset < c->n_layers));
    FUZZ_CHECK(c->n_experts > 1 || n_moe == 0);
}

static void check_tokens(const struct weir_config *c)
{
    int64_t n = c->n_vocab;

    FUZZ_CHECK(c->bos >= -1 && c->bos < n && c->pad >= -1 && c->pad < n);
    FUZZ_CHECK(c->n_eos <= WEIR_MAX_EOS);
    for (uint32_t i = 0; i < c->n_eos; i++) {
        FUZZ_CHECK(c->eos[i] >= 0 && c->eos[i] < n);
        for (uint32_t k = 0; k < i; k++)
            FUZZ_CHECK(c->eos[i] != c->eos[k]);
    }
}

static void add_generation_config(struct weir_config *config, const char *json,
                                  size_t n_bytes)
{
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;
    struct weir_err err = {0};
    json_t *root;
    int rc =
        weir_json_parse(json, n_bytes, "generation_config.json", &root, &err);

    if (!rc) {
        rc = weir_config_add_eos(root, "generation_config.json", config, &err);
        if (!rc)
            rc = weir_sampling_read(root, "generation_config.json", &sampling,
                                    &err);
        json_decref(root);
    }
    if (rc)
        fuzz_check_refused(rc, &err);
    check_tokens(config);
    FUZZ_CHECK(!weir_sampling_check(&sampling, config->n_vocab, &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const char *json = (const char *)data;
    const uint8_t *nul = n_bytes ? memchr(data, '\0', n_bytes) : NULL;
    size_t n = nul ? (size_t)(nul - data) : n_bytes;
    struct weir_config config;
    struct weir_err err = {0};
    int rc = weir_config_parse(json, n, "config.json", &config, &err);

    if (rc) {
        fuzz_check_refused(rc, &err);
        return 0;
    }
    check_numbers(&config);
    check_layers(&config);
    check_tokens(&config);
    if (nul)
        add_generation_config(&config, json + n + 1, n_bytes - n - 1);
    return 0;
}
