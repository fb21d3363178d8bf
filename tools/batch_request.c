/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/batch_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* Settles how long the answer may be. */
static int fit(const struct batch_args *args,
               struct weir_completion *completion, struct weir_fault *fault)
{
    size_t n_ctx = args->n_ctx, n_ids = completion->n_ids;
    size_t left = n_ids < n_ctx ? n_ctx - n_ids : 0;

    if (completion->max_tokens == 0)
        completion->max_tokens =
            left && left < args->n_tokens ? left : args->n_tokens;
    if (completion->max_tokens <= left)
        return 0;
    return weir_fault_set(fault, WEIR_EARG, "prompt", "context_length_exceeded",
                          "a prompt of %zu tokens and an answer of up to %zu "
                          "are longer than the context of %zu; --ctx allows "
                          "more",
                          n_ids, completion->max_tokens, n_ctx);
}

static int encode(const weir_model *model, struct weir_completion *completion,
                  struct weir_fault *fault)
{
    int rc = 0;

    snprintf(fault->param, sizeof(fault->param), "prompt");
    fault->code = "invalid_value";
    if (completion->text)
        rc = weir_model_encode(model, completion->text, completion->n_text, 1,
                               1, &completion->ids, &completion->n_ids,
                               &fault->err);
    if (!rc && completion->n_ids == 0)
        rc = weir_err_set(&fault->err, WEIR_EARG, "the prompt is empty");
    if (!rc && completion->stop.n_strings && !model->tokenizer)
        rc = weir_fault_set(fault, WEIR_EARG, "stop", "unsupported_value",
                            "stop strings need a tokenizer, which the model "
                            "was packed without");
    return rc;
}

static void fill(struct weir_request *request, const struct batch_args *args,
                 const struct weir_config *config,
                 const struct weir_completion *completion)
{
    const struct sampling *sampling = &args->sampling;

    request->ids = completion->ids;
    request->n_ids = completion->n_ids;
    request->n_tokens = completion->max_tokens;
    request->sampling = completion->sampling;
    request->stop = completion->stop;
    if (completion->ignore_eos)
        return;
    if (sampling->n_eos) {
        request->n_eos = (uint32_t)sampling->n_eos;
        memcpy(request->eos, sampling->eos, sizeof(request->eos));
    } else {
        request->n_eos = config->n_eos;
        memcpy(request->eos, config->eos, sizeof(request->eos));
    }
}

/* Neither the order of the lines nor a resume changes the seed of an id. */
static uint64_t seed_of(const struct batch_args *args, uint64_t number,
                        const char *id)
{
    char line[32];

    snprintf(line, sizeof(line), "line %" PRIu64, number);
    if (!*id)
        id = line;
    return XXH3_64bits_withSeed(id, strlen(id), args->sampling.values.seed);
}

int batch_request_init(struct batch_request *request,
                       const struct batch_args *args, const weir_model *model,
                       const json_t *body, uint64_t number, const char *id,
                       struct weir_fault *fault)
{
    struct weir_completion *completion = &request->completion;
    int rc;

    memset(request, 0, sizeof(*request));
    completion->sampling = args->sampling.values;
    completion->stop = args->sampling.stop;
    completion->ignore_eos = args->sampling.ignores_eos;
    completion->sampling.seed = seed_of(args, number, id);
    rc = weir_openai_read_completion(body, completion, fault);
    if (!rc)
        rc = encode(model, completion, fault);
    if (!rc)
        rc = fit(args, completion, fault);
    if (!rc)
        fill(&request->request, args, &model->jamba->config, completion);
    return rc;
}

void batch_request_fini(struct batch_request *request)
{
    weir_completion_fini(&request->completion);
}
