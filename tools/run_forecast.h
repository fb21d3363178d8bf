/* SPDX-License-Identifier: Apache-2.0 */
/* What weir plan foretells of a run, beside what came of it. */
#ifndef WEIR_TOOLS_RUN_FORECAST_H
#define WEIR_TOOLS_RUN_FORECAST_H

#include "base/json.h"
#include "engine/session.h"
#include "offload/plan.h"

struct run_forecast {
    struct weir_plan_speed prompt, answer; /* tps 0: not known */
    char why[256];                         /* it is not */
};

/*
 * Measures the machine, and plans for a session whose prompt has n_prompt
 * tokens.  To be called before the first session, which gets the memory that
 * this takes for a moment.
 */
void run_forecast_make(struct run_forecast *forecast, const weir_model *model,
                       const struct weir_session_options *options,
                       size_t n_prompt);

/* Tokens a second that were reached, 0: none were wanted */
void run_forecast_print(const struct run_forecast *forecast, double prompt_tps,
                        double answer_tps);
json_t *run_forecast_json(const struct run_forecast *forecast,
                          double prompt_tps, double answer_tps);

#endif
