/* SPDX-License-Identifier: Apache-2.0 */
/* Small models to run out of memory with, in a folder of the test's own. */
#ifndef WEIR_TESTS_FAULT_MODEL_H
#define WEIR_TESTS_FAULT_MODEL_H

#include "model/import.h"

struct fault_model {
    const char *name;
    struct weir_import import;
    const char *tokenizer; /* its name in the checkpoint's folder, or NULL */
    const char *data;
    size_t n_bytes;
};

/* Both quantisations, all codecs, both kinds of tokenizer and none. */
#define N_FAULT_MODELS 4
extern const struct fault_model fault_models[N_FAULT_MODELS];

/* The folder is made, with an error in words when it cannot be, and removed. */
int fault_room_make(void);
void fault_room_remove(void);

/* A path in the folder, valid until the third call from now. */
const char *fault_at(const char *name);

/* The path of a file of tests/golden; valid until the next call. */
const char *fault_golden(const char *name);

/* Lays the checkpoint `golden` into the folder, with the model's tokenizer. */
int fault_lay(const struct fault_model *model, const char *golden);

/* Packs what lies there. */
int fault_pack(const struct fault_model *model, const char *name,
               struct weir_err *err);

#endif
