/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether guesses pay.  A guess that is right saves the time to read an expert;
 * one that is wrong costs memory bandwidth, and now and then the few reads that
 * are under way when something else is wanted.  Blind guesses among 16 experts
 * of which two are wanted are right in one case of eight: below twice that,
 * over the last WEIR_GOVERNOR_WINDOW guesses that came to an end, no more are
 * made for the next WEIR_GOVERNOR_PAUSE chances.  Then it is tried again from
 * nothing.  All of it is counted, none of it timed.
 */
#ifndef WEIR_OFFLOAD_GOVERNOR_H
#define WEIR_OFFLOAD_GOVERNOR_H

#include <stdint.h>

#define WEIR_GOVERNOR_WINDOW 32
#define WEIR_GOVERNOR_LEAST  8 /* right guesses of these */
#define WEIR_GOVERNOR_PAUSE  512

/* Zero it. */
struct weir_governor {
    uint32_t right;    /* a bit for each of the last guesses, 1: right */
    unsigned n_known;  /* of these */
    unsigned n_paused; /* chances to come that are let go */
};

/* A chance to guess: 1 when it should be taken. */
int weir_governor_allows(struct weir_governor *governor);

/* A guess came to an end. */
void weir_governor_note(struct weir_governor *governor, int is_right);

#endif
