/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/chooser.h"

#include "engine/session_parts.h"

void weir_chooser_want(struct weir_chooser *chooser, int scores,
                       struct weir_eval *eval, struct weir_next *next)
{
    chooser->by_device =
        eval->session->state.on_device && !chooser->mask &&
        weir_sampler_tell_draw(&chooser->sampler, &chooser->draw);
    *next = (struct weir_next){NULL, NULL};
    if (chooser->by_device)
        *next = (struct weir_next){&chooser->draw, &chooser->id};
    if (!chooser->by_device || scores)
        eval->logits = chooser->logits;
}

int weir_chooser_eval(struct weir_chooser *chooser, weir_session *session,
                      int32_t id, struct weir_err *err)
{
    struct weir_eval eval = {.session = session, .ids = &id, .n_ids = 1};
    struct weir_next next;

    weir_chooser_want(chooser, 0, &eval, &next);
    return weir_session_observe_many(&eval, &next, 1, &session->observer, err);
}

int32_t weir_chooser_next(struct weir_chooser *chooser)
{
    int32_t id = chooser->id;

    if (chooser->by_device)
        weir_sampler_take_drawn(&chooser->sampler, id);
    else
        id =
            weir_mask_choose(chooser->mask, &chooser->sampler, chooser->logits);
    weir_sampler_see_answer(&chooser->sampler, id);
    return id;
}
