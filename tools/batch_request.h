/* SPDX-License-Identifier: Apache-2.0 */
/* From the body of a line to a text that can go into step. */
#ifndef WEIR_TOOLS_BATCH_REQUEST_H
#define WEIR_TOOLS_BATCH_REQUEST_H

#include "engine/schedule.h"
#include "serve/openai.h"
#include "tools/batch_args.h"

struct batch_request {
    struct weir_completion completion; /* with the prompt as ids */
    struct weir_request request;       /* whose ids are those */
};

/*
 * Reads the body of line `number` over what the options say.  The id makes the
 * seed where the body names none; "" is the number.  An enum weir_code with the
 * fault.  Release with batch_request_fini(), also after an error.
 */
int batch_request_init(struct batch_request *request,
                       const struct batch_args *args, const weir_model *model,
                       const json_t *body, uint64_t number, const char *id,
                       struct weir_fault *fault);
void batch_request_fini(struct batch_request *request);

#endif
