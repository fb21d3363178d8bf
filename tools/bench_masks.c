/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each mask is made behind a pass over the model, as when it answers: what the
 * mask wants is in the caches as far as the weights have left it there.
 */
#include "tools/bench_masks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/trace.h"

/* Of this thread: what else is at work on the machine does not count. */
static double cpu_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e6 * (double)now.tv_sec + (double)now.tv_nsec / 1e3;
}

int masks_read(struct masks *masks, struct answer_form *form,
               struct weir_err *err)
{
    double start = cpu_us();
    int rc;

    masks->form = form;
    rc = answer_form_read(form, err);
    masks->row.grammar_ms = (cpu_us() - start) / 1e3;
    return rc;
}

int masks_open(struct masks *masks, const weir_model *model,
               struct weir_err *err)
{
    double start = cpu_us();
    int rc = answer_form_open(masks->form, model, err);

    masks->row.token_tree_ms = (cpu_us() - start) / 1e3;
    return rc;
}

void masks_close(struct masks *masks)
{
    answer_form_close(masks->form);
}

/* Texts that are being written */
struct writing {
    const struct masks *masks;
    const weir_model *model;
    struct weir_sampler sampler;
    struct weir_mask *mask; /* of the one under way; NULL between two */
    float *logits;          /* [n_vocab] */
    double *us;             /* [n] of each mask */
    size_t n_texts;         /* begun */
};

static int begin_text(struct writing *w, struct weir_err *err)
{
    const struct weir_config *config = &w->model->jamba->config;

    w->n_texts++;
    return answer_form_begin(w->masks->form, w->model, config->eos,
                             config->n_eos, &w->mask, err);
}

static void end_text(struct writing *w)
{
    answer_form_end(w->mask);
    w->mask = NULL;
}

/* Where no token goes on *id stays, to be read again. */
static int choose(struct writing *w, double *us, int32_t *id,
                  struct weir_err *err)
{
    double start = cpu_us();
    int32_t chosen;

    weir_mask_next(w->mask);
    *us = cpu_us() - start;
    chosen = weir_mask_choose(w->mask, &w->sampler, w->logits);
    if (chosen >= 0)
        *id = chosen;
    if (chosen < 0 || weir_model_is_eos(w->model, chosen) ||
        answer_form_ends(w->mask, chosen))
        end_text(w);
    if (chosen >= 0 || chosen == WEIR_MASK_NO_TOKEN)
        return 0;
    return weir_err_set(err, WEIR_ECORRUPT,
                        "%s: its scores are not finite; its weights are "
                        "damaged or overflow",
                        w->model->jamba->file->path);
}

static int write_texts(struct writing *w, weir_session *session, int32_t id,
                       size_t n, struct weir_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        rc = weir_session_eval(session, &id, 1, w->logits, err);
        weir_trace_part("masks", -1);
        if (!rc && !w->mask)
            rc = begin_text(w, err);
        if (!rc)
            rc = choose(w, &w->us[i], &id, err);
        weir_trace_part(NULL, -1);
    }
    return rc;
}

static int compare_times(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* The least that is as long as `percent` of the sorted times or longer */
static double quantile(const double *us, size_t n, size_t percent)
{
    return us[(percent * n + 99) / 100 - 1];
}

static void fill_row(struct masks_row *row, struct writing *w, size_t n)
{
    qsort(w->us, n, sizeof(*w->us), compare_times);
    row->n = n;
    row->us_median = quantile(w->us, n, 50);
    row->us_p99 = quantile(w->us, n, 99);
    row->us_max = w->us[n - 1];
    row->n_texts = w->n_texts;
}

static int begin_writing(struct writing *w, size_t n, struct weir_err *err)
{
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;
    size_t n_vocab = weir_model_n_vocab(w->model);

    sampling.temperature = 1;
    w->logits = calloc(n_vocab, sizeof(*w->logits));
    w->us = calloc(n, sizeof(*w->us));
    if (!w->logits || !w->us)
        return weir_err_nomem(err, n * sizeof(*w->us), "a test");
    return weir_sampler_init(&w->sampler, &sampling, n_vocab, err);
}

int masks_measure(struct masks *masks, weir_session *session,
                  const weir_model *model, int32_t id, size_t n,
                  struct weir_err *err)
{
    struct writing w = {.masks = masks, .model = model};
    int rc = begin_writing(&w, n, err);

    if (!rc)
        rc = write_texts(&w, session, id, n, err);
    if (!rc)
        fill_row(&masks->row, &w, n);
    end_text(&w);
    weir_sampler_fini(&w.sampler);
    free(w.logits);
    free(w.us);
    return rc;
}

/* ---- columns and keys ---- */

void masks_print_md_head(void)
{
    fputs(" grammar ms | token tree ms | mask µs: median, 99 %, most | texts |",
          stdout);
}

void masks_print_md_rule(void)
{
    fputs(" ---: | ---: | ---: | ---: |", stdout);
}

void masks_print_md(const struct masks_row *row)
{
    printf(" %.2f | %.2f |", row->grammar_ms, row->token_tree_ms);
    if (row->n)
        printf(" %.1f, %.1f, %.1f | %zu |", row->us_median, row->us_p99,
               row->us_max, row->n_texts);
    else
        fputs(" | |", stdout);
}

void masks_print_csv_head(void)
{
    fputs(",grammar_ms,token_tree_ms,mask_us_median,mask_us_p99,mask_us_max,"
          "mask_texts",
          stdout);
}

void masks_print_csv(const struct masks_row *row)
{
    printf(",%.17g,%.17g", row->grammar_ms, row->token_tree_ms);
    if (row->n)
        printf(",%.17g,%.17g,%.17g,%zu", row->us_median, row->us_p99,
               row->us_max, row->n_texts);
    else
        fputs(",,,,", stdout);
}

static json_t *of_masks(const struct masks_row *row, double value)
{
    return row->n ? json_real(value) : json_null();
}

int masks_add_json(json_t *root, const struct masks_row *row)
{
    json_t *n_texts =
        row->n ? json_integer((json_int_t)row->n_texts) : json_null();

    return json_object_update_new(
        root,
        json_pack("{s:f, s:f, s:o, s:o, s:o, s:o}", "grammar_ms",
                  row->grammar_ms, "token_tree_ms", row->token_tree_ms,
                  "mask_us_median", of_masks(row, row->us_median),
                  "mask_us_p99", of_masks(row, row->us_p99), "mask_us_max",
                  of_masks(row, row->us_max), "mask_texts", n_texts));
}
