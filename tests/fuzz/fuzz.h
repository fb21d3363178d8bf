/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzzers share.  A fuzzer is one file fuzz_NAME.c that feeds a
 * parser bytes of a stranger and checks what the parser's header promises: a
 * refusal that says why, or a result that can be used without further checks.
 * It is linked with libFuzzer (configure --enable-fuzzers), or else with
 * replay.c, which gives it the inputs in corpus/NAME.
 */
#ifndef WEIR_TESTS_FUZZ_H
#define WEIR_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Returns 0, or does not return. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Ends the program, as a crash would, where `cond` does not hold. */
#define FUZZ_CHECK(cond)                                                       \
    ((cond) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #cond))

void fuzz_fail(const char *file, int line, const char *what)
    __attribute__((noreturn));

/* A refusal: a negative code, the same in `err`, and one line of text. */
void fuzz_check_refused(int rc, const struct weir_err *err);

/*
 * Makes `data` the whole content of one file in memory, the same at every
 * call.  Returns a path to it.
 */
const char *fuzz_path(const uint8_t *data, size_t n_bytes);

#endif
