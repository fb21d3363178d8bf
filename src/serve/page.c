/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The browser is told to run and to show nothing but what the page itself
 * brings, and to connect to nobody else (Content Security Policy Level 3), so
 * that not even a mistake in the page lets a model's answer do anything.  Its
 * own script and style are known by a number that nobody can guess.
 */
#include "serve/page.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "serve/reply.h"

#define PAGE_BYTES  ((size_t)256 << 10)
#define NONCE_BYTES 16

static const char policy[] =
    "default-src 'none'; connect-src 'self'; img-src data:; "
    "script-src 'nonce-%1$s'; style-src 'nonce-%1$s'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

static int draw_nonce(char *nonce, struct weir_err *err)
{
    unsigned char bytes[NONCE_BYTES];

    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        return weir_err_set(err, WEIR_EIO, "the system has no random numbers");
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(nonce + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

static int put_together(const char *nonce, struct weir_buf *buf,
                        struct weir_err *err)
{
    const char *const *part = weir_page_parts;
    int rc = 0;

    for (; *part && !rc; part++) {
        if (part != weir_page_parts)
            rc = weir_buf_add(buf, nonce, strlen(nonce), err);
        if (!rc)
            rc = weir_buf_add(buf, *part, strlen(*part), err);
    }
    return rc;
}

static void add_headers(struct evhttp_request *req, const char *nonce)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    char text[sizeof(policy) + 4 * NONCE_BYTES];

    snprintf(text, sizeof(text), policy, nonce);
    evhttp_add_header(headers, "Content-Security-Policy", text);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evhttp_add_header(headers, "Referrer-Policy", "no-referrer");
    evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
}

void weir_serve_page(struct weir_server *server, struct evhttp_request *req,
                     const json_t *body)
{
    struct weir_buf buf = WEIR_BUF(PAGE_BYTES);
    struct weir_fault fault = {.param = ""};
    char nonce[2 * NONCE_BYTES + 1];
    int rc = draw_nonce(nonce, &fault.err);

    (void)body;
    if (!rc)
        rc = put_together(nonce, &buf, &fault.err);
    weir_server_count(server, rc ? 500 : 200);
    if (rc) {
        weir_reply_fault(req, 500, &fault);
    } else {
        add_headers(req, nonce);
        weir_reply_text(req, 200, "text/html; charset=utf-8", buf.data,
                        buf.n_bytes);
    }
    weir_buf_fini(&buf);
}
