/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int notify_manager(const char *state, struct weir_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;
    ssize_t n_sent;
    int fd;

    if (n == 0)
        return 0;
    if (n >= sizeof(address.sun_path) || (*path != '/' && *path != '@'))
        return weir_err_set(err, WEIR_EARG,
                            "NOTIFY_SOCKET is no path of a socket: %s", path);
    memcpy(address.sun_path, path, n);
    if (*path == '@')
        address.sun_path[0] = '\0'; /* a name without a file */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return weir_err_errno(err, errno, "make", "a socket");
    n_sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL,
                    (struct sockaddr *)&address,
                    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    if (n_sent < 0)
        weir_err_errno(err, errno, "notify", path);
    close(fd);
    return n_sent < 0 ? WEIR_EIO : 0;
}
