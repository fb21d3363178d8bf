/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Test Anything Protocol, as far as the tests of weir need it.  A test
 * program calls tap_ok() once for each thing that it checks and ends with
 * `return tap_done();`.  One thread only.
 */
#ifndef WEIR_TESTS_TAP_H
#define WEIR_TESTS_TAP_H

/* One result.  The text says what holds when cond is not 0. */
void tap_ok(int cond, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* One line of explanation, usually after a failure. */
void tap_diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* One result that could not be had here; the text says why. */
void tap_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Ends the program before its first result: nothing can be tested here.  The
 * plan says so; the exit status is 0, as automake's driver wants it.
 */
void tap_skip_all(const char *why) __attribute__((noreturn));

/* Prints the plan.  The exit status: 0, or 1 when a result was not ok. */
int tap_done(void);

#endif
