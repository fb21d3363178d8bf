/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/completion.h"

#include <stdio.h>
#include <string.h>

#include "serve/tools.h"

void weir_completion_init(struct weir_completion *completion,
                          const struct weir_completion_defaults *defaults)
{
    memset(completion, 0, sizeof(*completion));
    completion->sampling = defaults->sampling;
    completion->stop = defaults->stop;
    completion->ignore_eos = defaults->ignore_eos;
    completion->n = 1;
}

static const char *prompt_key(const struct weir_completion *completion)
{
    return completion->is_chat ? "messages" : "prompt";
}

/* Scores of a token, in all choices */
static size_t n_scores(const struct weir_completion *completion)
{
    return completion->logprobs ? completion->n * (1 + completion->n_best) : 0;
}

/* An answer whose length was not said is as long as its scores have room. */
static int fit_scores(const struct weir_completion_defaults *defaults,
                      struct weir_completion *completion, int was_said,
                      struct weir_fault *fault)
{
    size_t n = n_scores(completion);
    size_t most = weir_schedule_most_scores(defaults->n_ctx);

    if (n == 0 || completion->max_tokens <= most / n)
        return 0;
    if (!was_said && most >= n) {
        completion->max_tokens = most / n;
        return 0;
    }
    return weir_fault_set(fault, WEIR_EARG, "logprobs", "too_many_logprobs",
                          "%zu log-probabilities for each of up to %zu tokens "
                          "are more than the %zu that an answer may have; ask "
                          "for max_tokens of %zu, or fewer of each",
                          n, completion->max_tokens, most, most / n);
}

/* Settles how long the answer may be. */
static int fit(const struct weir_completion_defaults *defaults,
               struct weir_completion *completion, struct weir_fault *fault)
{
    size_t n_ctx = defaults->n_ctx, n_ids = completion->n_ids;
    size_t left = n_ids < n_ctx ? n_ctx - n_ids : 0, most;
    int was_said = completion->max_tokens != 0;

    most = completion->is_chat && !defaults->n_tokens_is_chosen
               ? n_ctx
               : defaults->n_tokens;

    if (completion->max_tokens == 0 && left == 0)
        return weir_fault_set(fault, WEIR_EARG, prompt_key(completion),
                              "context_length_exceeded",
                              "a prompt of %zu tokens leaves no room for an "
                              "answer in the context of %zu; --ctx allows more",
                              n_ids, n_ctx);
    if (completion->max_tokens == 0)
        completion->max_tokens = left < most ? left : most;
    if (completion->max_tokens <= left)
        return fit_scores(defaults, completion, was_said, fault);
    return weir_fault_set(fault, WEIR_EARG, prompt_key(completion),
                          "context_length_exceeded",
                          "a prompt of %zu tokens and an answer of up to %zu "
                          "are longer than the context of %zu; --ctx allows "
                          "more",
                          n_ids, completion->max_tokens, n_ctx);
}

static int encode_chat(const struct weir_completion_defaults *defaults,
                       const weir_model *model,
                       struct weir_completion *completion,
                       struct weir_fault *fault)
{
    struct weir_buf text = WEIR_BUF(WEIR_JINJA_TEXT_BYTES);
    int rc = weir_messages_render(completion, defaults->chat, model->tokenizer,
                                  &text, fault);

    if (!rc)
        rc = weir_model_encode(model, text.data ? text.data : "", text.n_bytes,
                               WEIR_SPECIAL_GUARDED, 1, &completion->ids,
                               &completion->n_ids, &fault->err);
    weir_buf_fini(&text);
    return rc;
}

static int encode(const struct weir_completion_defaults *defaults,
                  const weir_model *model, struct weir_completion *completion,
                  struct weir_fault *fault)
{
    int rc = 0;

    snprintf(fault->param, sizeof(fault->param), "%s", prompt_key(completion));
    fault->code = "invalid_value";
    if (completion->is_chat)
        rc = encode_chat(defaults, model, completion, fault);
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
    if (!rc && completion->logprobs && !model->tokenizer)
        rc = weir_fault_set(fault, WEIR_EARG, "logprobs", "unsupported_value",
                            "log-probabilities need a tokenizer, which the "
                            "model was packed without");
    return rc;
}

/* What the model does not have, while the key at fault is still known. */
static int check_ids(const weir_model *model,
                     const struct weir_completion *completion,
                     struct weir_fault *fault)
{
    size_t n_vocab = weir_model_n_vocab(model);
    int rc;

    for (size_t i = 0; i < completion->n_ids; i++)
        if ((size_t)completion->ids[i] >= n_vocab)
            return weir_fault_set(fault, WEIR_EARG, prompt_key(completion),
                                  "invalid_value",
                                  "token %zu of the prompt is id %ld; the "
                                  "model has ids 0 to %zu",
                                  i, (long)completion->ids[i], n_vocab - 1);
    rc = weir_sampling_check(&completion->sampling, n_vocab, &fault->err);
    if (rc)
        snprintf(fault->param, sizeof(fault->param), "logit_bias");
    return rc;
}

static void fill(struct weir_request *request,
                 const struct weir_completion_defaults *defaults,
                 const struct weir_config *config,
                 const struct weir_completion *completion)
{
    memset(request, 0, sizeof(*request));
    request->ids = completion->ids;
    request->n_ids = completion->n_ids;
    request->n_tokens = completion->max_tokens;
    request->sampling = completion->sampling;
    request->stop = completion->stop;
    request->grammar = completion->grammar;
    request->n_scores = completion->logprobs ? 1 + completion->n_best : 0;
    if (completion->ignore_eos)
        return;
    if (defaults->n_eos) {
        request->n_eos = defaults->n_eos;
        memcpy(request->eos, defaults->eos, sizeof(request->eos));
    } else {
        request->n_eos = config->n_eos;
        memcpy(request->eos, config->eos, sizeof(request->eos));
    }
}

int weir_completion_settle(struct weir_completion *completion,
                           const struct weir_completion_defaults *defaults,
                           const weir_model *model,
                           struct weir_request *request,
                           struct weir_fault *fault)
{
    int rc = weir_tools_settle(completion, defaults->chat, fault);

    if (!rc)
        rc = encode(defaults, model, completion, fault);
    if (!rc && completion->grammar && !model->tokenizer)
        rc = weir_fault_set(fault, WEIR_EARG, "response_format",
                            "unsupported_value",
                            "the form of an answer needs a tokenizer, which "
                            "the model was packed without");
    if (!rc)
        rc = check_ids(model, completion, fault);
    if (!rc)
        rc = fit(defaults, completion, fault);
    if (!rc)
        fill(request, defaults, &model->jamba->config, completion);
    return rc;
}
