/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/trace.h"
#include "engine/chooser.h"
#include "tools/chat.h"
#include "tools/chat_interrupt.h"

/* An answer that is being made */
struct answer {
    struct chat *chat;
    struct weir_chooser chooser;
    struct weir_stop stop;
    struct weir_buf text;
    int32_t *ids; /* of what is read before it */
    size_t n_ids;
    int thinking; /* it begins in a thought */
    int at_end;   /* of its form */
    int is_stuck; /* no token goes on with that */
};

static int make_chooser(struct answer *answer, struct weir_err *err)
{
    const struct chat *chat = answer->chat;
    struct weir_sampling sampling = chat->sampling->values;
    uint32_t n_eos;
    const int32_t *eos = sampling_eos(chat->sampling, chat->model, &n_eos);
    int rc;

    sampling.seed += chat->n_answers;
    answer->stop = chat->sampling->stop;
    rc = weir_sampler_init(&answer->chooser.sampler, &sampling,
                           weir_model_n_vocab(chat->model), err);
    return rc ? rc
              : answer_form_begin(chat->form, chat->model, eos, n_eos,
                                  &answer->chooser.mask, err);
}

static int read_messages(struct answer *answer, struct weir_err *err)
{
    struct chat *chat = answer->chat;
    double start = progress_seconds();
    int rc = chat_text_encode(&chat->text, &answer->ids, &answer->n_ids,
                              &answer->thinking, err);

    if (rc)
        return rc;
    if (answer->n_ids >= chat->n_ctx)
        return weir_err_set(err, WEIR_ELIMIT,
                            "the chat has %zu tokens with this message, and "
                            "there is room for %zu; shorten it, or take /undo, "
                            "/clear or a larger --ctx",
                            answer->n_ids, chat->n_ctx);
    rc = weir_session_prefix(chat->session, answer->ids, answer->n_ids,
                             chat->logits, &chat->took.n_kept, err);
    progress_end(chat->progress);
    chat->took.prompt_s = progress_seconds() - start;
    chat->took.n_prompt = answer->n_ids;
    return rc;
}

/*
 * White space that an answer begins with is left out: templates put their own
 * there, and what the model then reads is what it wrote.
 */
static int put(struct answer *answer, const char *text, size_t n_bytes,
               struct weir_err *err)
{
    while (answer->chat->text.template && !answer->text.n_bytes && n_bytes &&
           (*text == ' ' || *text == '\n')) {
        text++;
        n_bytes--;
    }
    if (n_bytes)
        chat_show_text(&answer->chat->show, text, n_bytes);
    return weir_buf_add(&answer->text, text, n_bytes, err);
}

static int put_both(struct answer *answer, const struct weir_stop_out *out,
                    struct weir_err *err)
{
    int rc = put(answer, out->text[0], out->n_bytes[0], err);

    return rc ? rc : put(answer, out->text[1], out->n_bytes[1], err);
}

/* The next token, or with id < 0 the end */
static int put_token(struct answer *answer, int32_t id, struct weir_err *err)
{
    struct weir_stop_out out;
    const char *text;
    size_t n_bytes;
    int rc =
        weir_session_decode(answer->chat->session, id, &text, &n_bytes, err);

    if (rc)
        return rc;
    weir_stop_push(&answer->stop, text, n_bytes, &out);
    rc = put_both(answer, &out, err);
    if (rc || id >= 0)
        return rc;
    weir_stop_finish(&answer->stop, &out);
    return put_both(answer, &out, err);
}

static size_t most_tokens(const struct answer *answer)
{
    const struct chat *chat = answer->chat;
    size_t room = chat->n_ctx - answer->n_ids;

    return chat->n_tokens && chat->n_tokens < room ? chat->n_tokens : room;
}

static int generate(struct answer *answer, struct weir_err *err)
{
    struct chat *chat = answer->chat;
    size_t most = most_tokens(answer);
    int32_t id;
    int rc = 0;

    while (!rc && !chat_interrupt_seen()) {
        weir_trace_part("sampling", -1);
        id = weir_chooser_next(&answer->chooser);
        answer->is_stuck = id == WEIR_MASK_NO_TOKEN;
        if (answer->is_stuck)
            break;
        if (id < 0)
            return weir_err_set(err, WEIR_ECORRUPT,
                                "the scores after token %zu are not finite; "
                                "the model's weights are damaged or overflow",
                                weir_session_n_tok(chat->session));
        if (sampling_is_eos(chat->sampling, chat->model, id))
            break;
        rc = put_token(answer, id, err);
        answer->at_end = answer_form_ends(answer->chooser.mask, id);
        if (++chat->took.n_answer == most || answer->stop.met >= 0 ||
            answer->at_end)
            break;
        if (!rc)
            rc = weir_chooser_eval(&answer->chooser, chat->session, id, err);
    }
    return rc ? rc : put_token(answer, -1, err);
}

/* Why there is no more of it, where the model did not end it */
static void say_end(const struct answer *answer)
{
    size_t n = answer->chat->took.n_answer;

    if (chat_interrupt_seen())
        fputs("[stopped]\n", stderr);
    else if (n == most_tokens(answer) && !answer->at_end)
        fprintf(stderr, "[ended after %zu tokens: see -n and --ctx]\n", n);
    else if (answer->is_stuck)
        fputs("[ended: no token goes on with this form]\n", stderr);
}

static int answer_messages(struct answer *answer, struct weir_err *err)
{
    struct chat *chat = answer->chat;
    double start = progress_seconds();
    int rc;

    weir_sampler_see_prompt(&answer->chooser.sampler, answer->ids,
                            answer->n_ids);
    chat_show_begin(&chat->show, answer->thinking);
    rc = generate(answer, err);
    chat_show_end(&chat->show);
    chat->took.answer_s = progress_seconds() - start;
    chat->took.n_steps = weir_session_n_tok(chat->session) - answer->n_ids;
    if (rc)
        return rc;
    say_end(answer);
    chat->n_answers++;
    return chat_text_add(&chat->text, "assistant",
                         answer->text.data ? answer->text.data : "",
                         answer->text.n_bytes, err);
}

int chat_answer(struct chat *chat, struct weir_err *err)
{
    struct answer answer = {.chat = chat,
                            .chooser.logits = chat->logits,
                            .text = WEIR_BUF(CHAT_TEXT_BYTES)};
    int rc;

    chat_interrupt_clear();
    chat->took = (struct chat_took){0};
    rc = make_chooser(&answer, err);
    if (!rc)
        rc = read_messages(&answer, err);
    if (!rc)
        rc = answer_messages(&answer, err);
    if (rc && answer.n_ids) /* to where the session is of use */
        weir_session_rewind(chat->session, answer.ids, answer.n_ids, NULL);
    answer_form_end(answer.chooser.mask);
    weir_sampler_fini(&answer.chooser.sampler);
    weir_buf_fini(&answer.text);
    free(answer.ids);
    return rc;
}

static double per_second(size_t n, double s)
{
    return s > 0 ? (double)n / s : 0;
}

void chat_print_stats(const struct chat *chat)
{
    const struct chat_took *took = &chat->took;
    size_t n_read = took->n_prompt - took->n_kept;

    fprintf(stderr,
            "chat      %zu messages, %zu tokens, room for %zu\n"
            "prompt    %zu tokens, of which %zu were there, %.3f s, %.2f "
            "tok/s\n"
            "generated %zu tokens, %.3f s, %.2f tok/s\n",
            chat_text_count(&chat->text), weir_session_n_tok(chat->session),
            chat->n_ctx, took->n_prompt, took->n_kept, took->prompt_s,
            per_second(n_read, took->prompt_s), took->n_answer, took->answer_s,
            per_second(took->n_steps, took->answer_s));
}
