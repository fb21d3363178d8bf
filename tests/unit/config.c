/* SPDX-License-Identifier: Apache-2.0 */
/* config.json: what is taken, and what is refused by name. */
#include <stdio.h>
#include <string.h>

#include "model/config.h"
#include "tests/tap.h"

static struct weir_config config;
static struct weir_err err;

static int parse(const char *json)
{
    memset(&err, 0, sizeof(err));
    return weir_config_parse(json, strlen(json), "config.json", &config, &err);
}

static void test_defaults(void)
{
    tap_ok(!parse("{\"model_type\": \"jamba\"}"), "only a model_type");
    tap_ok(config.n_hidden == 4096 && config.n_layers == 32 &&
               config.n_experts == 16 && config.n_top == 2 &&
               config.n_kv_heads == 8 && config.n_inner == 8192,
           "defaults of transformers");
    tap_ok(config.dt_rank == 256 && config.head_dim == 128 && !config.tied &&
               config.conv_bias && !config.proj_bias,
           "widths that follow");
    tap_ok(config.n_eos == 1 && config.eos[0] == 2, "eos is 2");
    tap_ok(weir_config_is_attention(&config, 4) &&
               !weir_config_is_attention(&config, 8) &&
               weir_config_is_moe(&config, 1) &&
               !weir_config_is_moe(&config, 0),
           "attention at 4 of 8, experts at 1 of 2");
}

/* Jamba 1.5 Large, Reasoning 3B, and a rank that does not follow from H. */
static void test_published(void)
{
    tap_ok(!parse("{\"model_type\": \"jamba\", \"hidden_size\": 8192,"
                  "\"intermediate_size\": 24576, \"num_hidden_layers\": 72,"
                  "\"num_attention_heads\": 64, \"num_key_value_heads\": 8,"
                  "\"mamba_dt_rank\": \"auto\", \"eos_token_id\": [2, 518],"
                  "\"sliding_window\": null, \"n_ctx\": 262144}"),
           "Large");
    tap_ok(config.dt_rank == 512 && config.n_kv_heads == 8 &&
               config.n_eos == 2 && config.eos[1] == 518,
           "Large: rank, heads, two eos");
    tap_ok(!parse("{\"model_type\": \"jamba\", \"hidden_size\": 2560,"
                  "\"intermediate_size\": 8192, \"num_hidden_layers\": 28,"
                  "\"num_attention_heads\": 20, \"num_key_value_heads\": 1,"
                  "\"attn_layer_offset\": 7, \"attn_layer_period\": 14,"
                  "\"num_experts\": 1, \"tie_word_embeddings\": true,"
                  "\"expert_layer_offset\": 5, \"expert_layer_period\": 2,"
                  "\"eos_token_id\": [2, 519]}"),
           "3B, whose expert offset does not matter");
    tap_ok(config.tied && config.dt_rank == 160 &&
               !weir_config_is_moe(&config, 1),
           "3B: tied, no experts");
    tap_ok(!parse("{\"model_type\": \"jamba\", \"hidden_size\": 1024,"
                  "\"num_attention_heads\": 8, \"mamba_dt_rank\": 256}") &&
               config.dt_rank == 256,
           "a rank that is not hidden_size / 16");
    tap_ok(!parse("{\"model_type\": \"jamba\", \"num_key_value_heads\": null,"
                  "\"eos_token_id\": null}") &&
               config.n_kv_heads == 32 && config.n_eos == 0,
           "null heads, null eos");
}

/* What is refused, and the key that the message must name. */
static const struct {
    const char *json, *named;
} refused[] = {
    {"", "config.json"},
    {"[]", "object"},
    {"{\"model_type\": \"llama\"}", "model_type"},
    {"{}", "model_type"},
    {"{\"model_type\": \"jamba\", \"model_type\": \"jamba\"}", "model_type"},
    {"{\"model_type\": \"jamba\", \"hidden_act\": \"gelu\"}", "hidden_act"},
    {"{\"model_type\": \"jamba\", \"sliding_window\": 4096}", "sliding_window"},
    {"{\"model_type\": \"jamba\", \"quantization_config\": {}}",
     "quantization_config"},
    {"{\"model_type\": \"jamba\", \"hidden_size\": 0}", "hidden_size"},
    {"{\"model_type\": \"jamba\", \"hidden_size\": -1}", "hidden_size"},
    {"{\"model_type\": \"jamba\", \"hidden_size\": 4096.5}", "hidden_size"},
    {"{\"model_type\": \"jamba\", \"hidden_size\": 1e30}", "hidden_size"},
    {"{\"model_type\": \"jamba\", \"hidden_size\": \"big\"}", "hidden_size"},
    {"{\"model_type\": \"jamba\", \"hidden_size\": 100}",
     "num_attention_heads"},
    {"{\"model_type\": \"jamba\", \"num_hidden_layers\": 999999999}",
     "num_hidden_layers"},
    {"{\"model_type\": \"jamba\", \"num_key_value_heads\": 5}",
     "num_key_value_heads"},
    {"{\"model_type\": \"jamba\", \"mamba_dt_rank\": \"many\"}",
     "mamba_dt_rank"},
    {"{\"model_type\": \"jamba\", \"attn_layer_offset\": 8}",
     "attn_layer_offset"},
    {"{\"model_type\": \"jamba\", \"expert_layer_offset\": 2}",
     "expert_layer_offset"},
    {"{\"model_type\": \"jamba\", \"num_experts_per_tok\": 17}",
     "num_experts_per_tok"},
    {"{\"model_type\": \"jamba\", \"eos_token_id\": \"2\"}", "eos_token_id"},
    {"{\"model_type\": \"jamba\", \"eos_token_id\": [2, 65536]}",
     "eos_token_id"},
    {"{\"model_type\": \"jamba\", \"rms_norm_eps\": \"small\"}",
     "rms_norm_eps"},
    {"{\"model_type\": \"jamba\", \"tie_word_embeddings\": 1}",
     "tie_word_embeddings"},
    {"{\"model_type\": \"jamba\", \"mamba_expand\": 1000000}", "mamba_expand"},
    {"{\"model_type\": \"jamba\", \"num_hidden_layers\": 1,"
     "\"layers_block_type\": [\"attention\"]}",
     "layers_block_type"},
};

static void test_refused(void)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        int rc = parse(refused[i].json);

        tap_ok(rc < 0 && strstr(err.message, refused[i].named) &&
                   !strchr(err.message, '\n'),
               "refused, naming %s: %.60s", refused[i].named, refused[i].json);
    }
}

static void test_depth(void)
{
    char deep[400];
    int n = snprintf(deep, sizeof(deep), "{\"model_type\": \"jamba\", \"a\":");

    memset(deep + n, '[', 300);
    deep[n + 300] = '\0';
    tap_ok(parse(deep) == WEIR_ELIMIT, "300 levels of nesting");
}

int main(void)
{
    test_defaults();
    test_published();
    test_refused();
    test_depth();
    return tap_done();
}
