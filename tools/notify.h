/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the manager of services how far this one is: sd_notify(3). */
#ifndef WEIR_TOOLS_NOTIFY_H
#define WEIR_TOOLS_NOTIFY_H

#include "base/err.h"

/* Sends "READY=1" and so on, when NOTIFY_SOCKET says where to. */
int notify_manager(const char *state, struct weir_err *err);

#endif
