/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_session.h"

#include <signal.h>
#include <stdio.h>

#include "base/path.h"
#include "tools/progress.h"

int run_session_prepare(struct run_session *file, const weir_model *model,
                        struct weir_session_options *options,
                        struct weir_err *err)
{
    int rc;

    if (!file->path)
        return 0;
    rc = weir_path_check_output(file->path, model->jamba->file->path, err);
    if (!rc && weir_path_exists(file->path))
        rc = weir_session_file_tokens(model, file->path, &file->n_held, err);
    if (options->n_ctx < file->n_held)
        options->n_ctx = file->n_held;
    options->snapshot_bytes =
        weir_session_usual_snapshots(model, options->n_ctx);
    return rc;
}

int run_session_load(struct run_session *file, weir_session *session,
                     struct weir_err *err)
{
    double start = progress_seconds();
    int rc = file->n_held ? weir_session_load(session, file->path, err) : 0;

    file->load_s = progress_seconds() - start;
    return rc;
}

static volatile sig_atomic_t ended_by;

static void take_signal(int number)
{
    ended_by = number;
}

/* Who started us may want it to be ignored, as nohup and `&` do. */
static void catch_signal(int number)
{
    struct sigaction action;

    if (sigaction(number, NULL, &action) || action.sa_handler == SIG_IGN)
        return;
    action = (struct sigaction){.sa_handler = take_signal,
                                .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

void run_session_catch(const struct run_session *file)
{
    if (!file->path)
        return;
    catch_signal(SIGINT);
    catch_signal(SIGTERM);
}

int run_session_is_over(void)
{
    return ended_by != 0;
}

void run_session_die(void)
{
    if (!ended_by)
        return;
    signal(ended_by, SIG_DFL);
    raise(ended_by);
}

int run_session_save(struct run_session *file, const weir_session *session,
                     struct weir_err *err)
{
    double start = progress_seconds();
    int rc = file->path ? weir_session_save(session, file->path, err) : 0;

    file->save_s = progress_seconds() - start;
    return rc;
}

void run_session_print(const struct run_session *file, size_t n_prompt,
                       size_t n_cached)
{
    if (file->path)
        fprintf(
            stderr,
            "session   %zu tokens of the prompt, of %zu, were there; loaded "
            "in %.3f s, saved in %.3f s\n",
            n_cached, n_prompt, file->load_s, file->save_s);
}
