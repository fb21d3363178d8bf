/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_forecast.h"

#include <stdio.h>
#include <string.h>

#include "tools/bench_device.h"
#include "tools/forecast.h"
#include "tools/memory.h"

/* Of a budget at most, to measure memory with */
#define PROBE_SHARE 8

static int make(struct run_forecast *forecast, const weir_model *model,
                const struct weir_session_options *options, size_t n_prompt,
                struct weir_err *err)
{
    const struct weir_jamba *jamba = model->jamba;
    struct weir_plan_machine machine;
    struct weir_plan_budget budget;
    struct weir_plan plan = {0};
    struct device_speeds speeds;
    int rc;

    forecast_init(&machine, &budget);
    machine.n_threads = weir_pool_n_threads(jamba->pool);
    budget.ram_bytes = weir_budget_bytes(&jamba->budget);
    budget.n_ctx = options->n_ctx;
    budget.n_prompt = n_prompt;
    budget.cache = memory_kept(model);
    forecast_know_drive(&machine, jamba->file);
    forecast_know_ram(&machine);
    rc = forecast_measure(&machine, jamba->pool, budget.ram_bytes / PROBE_SHARE,
                          err);
    if (!rc && jamba->on)
        rc = device_measure(&jamba->on->room, &speeds, err);
    if (!rc && jamba->on)
        device_describe(jamba->on, &speeds, &machine, &budget);
    if (!rc)
        rc = forecast_make(
            &plan, &machine, &budget, jamba->file, &jamba->config,
            options->kv == WEIR_KV_F32 ? WEIR_F32 : WEIR_BF16, err);
    forecast->prompt = plan.prompt;
    forecast->answer = plan.decode;
    weir_plan_fini(&plan);
    return rc;
}

void run_forecast_make(struct run_forecast *forecast, const weir_model *model,
                       const struct weir_session_options *options,
                       size_t n_prompt)
{
    struct weir_err err;

    memset(forecast, 0, sizeof(*forecast));
    if (!make(forecast, model, options, n_prompt, &err))
        return;
    memset(forecast, 0, sizeof(*forecast));
    snprintf(forecast->why, sizeof(forecast->why), "%.255s", err.message);
}

static void print_speed(const char *what, const struct weir_plan_speed *speed,
                        double tps)
{
    if (tps > 0)
        fprintf(stderr,
                "plan      %s %.2f tok/s by %s, %.1f %% of it reached\n", what,
                speed->tps, weir_plan_resource_name(speed->limit),
                100 * tps / speed->tps);
}

void run_forecast_print(const struct run_forecast *forecast, double prompt_tps,
                        double answer_tps)
{
    if (*forecast->why) {
        fprintf(stderr, "plan      none: %s\n", forecast->why);
        return;
    }
    print_speed("prompt", &forecast->prompt, prompt_tps);
    print_speed("answer", &forecast->answer, answer_tps);
}

static json_t *speed_json(const struct weir_plan_speed *speed, double tps)
{
    return json_pack("{s:f, s:s, s:f}", "tps", speed->tps, "limit",
                     weir_plan_resource_name(speed->limit), "share",
                     tps / speed->tps);
}

json_t *run_forecast_json(const struct run_forecast *forecast,
                          double prompt_tps, double answer_tps)
{
    if (!(forecast->prompt.tps > 0))
        return json_null();
    return json_pack("{s:o, s:o}", "prompt",
                     speed_json(&forecast->prompt, prompt_tps), "answer",
                     speed_json(&forecast->answer, answer_tps));
}
