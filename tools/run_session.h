/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The option --session of weir run: what the model remembers of a text is taken
 * from a file and left there, also when the user ends it with Ctrl-C.
 */
#ifndef WEIR_TOOLS_RUN_SESSION_H
#define WEIR_TOOLS_RUN_SESSION_H

#include "engine/session.h"

struct run_session {
    const char *path; /* NULL: none, and nothing below does anything */
    size_t n_held;    /* tokens of the file; 0: it is new */
    double load_s, save_s;
};

/* Looks at the file, if it is there, and gives the session room for it. */
int run_session_prepare(struct run_session *file, const weir_model *model,
                        struct weir_session_options *options,
                        struct weir_err *err);

int run_session_load(struct run_session *file, weir_session *session,
                     struct weir_err *err);

/*
 * From now on the first signal that would end the process makes
 * run_session_is_over() true, and the second one ends it.
 */
void run_session_catch(const struct run_session *file);
int run_session_is_over(void);

int run_session_save(struct run_session *file, const weir_session *session,
                     struct weir_err *err);

/* Dies of the signal, if there was one. */
void run_session_die(void);

/* A line of --stats: of n_prompt tokens n_cached were there. */
void run_session_print(const struct run_session *file, size_t n_prompt,
                       size_t n_cached);

#endif
