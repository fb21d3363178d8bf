/* SPDX-License-Identifier: Apache-2.0 */
/* Ctrl-C in a chat: it stops what is computed, and not the program. */
#ifndef WEIR_TOOLS_CHAT_INTERRUPT_H
#define WEIR_TOOLS_CHAT_INTERRUPT_H

/* From now on; a read that waits for the terminal ends with EINTR. */
void chat_interrupt_catch(void);

/* Whether there was one since it was last cleared */
int chat_interrupt_seen(void);

/* Readable from then on, whichever thread it came to; -1 without a pipe */
int chat_interrupt_fd(void);

void chat_interrupt_clear(void);

#endif
