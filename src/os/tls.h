// SPDX-License-Identifier: Apache-2.0
// TLS with OpenSSL 3: server and client contexts, and the certificate made at first start.
#pragma once
#include "os/io.h"

struct tls_context;

// Lets OpenSSL take its memory as bookkeeping does (base/memory.h): its functions then do not fail
// for want of it. Before anything else of OpenSSL is called in the process; without effect later.
void tls_take_memory(void);

// Makes DIR/tls/key.pem and DIR/tls/cert.pem unless they exist: an ECDSA P-256 key and a
// self-signed certificate of ten years for localhost, 127.0.0.1, ::1, *.localhost and the machine's
// own name. The certificate is also a CA for itself, so that clients can be pointed at it.
Err tls_make_certificate(struct io *io, Str dir, Str *ret_cert_path, Str *ret_key_path,
                         struct arena *a);

// A server context with ALPN h2 and http/1.1, TLS 1.2 or newer.
Err tls_server_context(Str cert_path, Str key_path, struct tls_context **ret);
// A client context. verify == false accepts any certificate; ca_path absent: the system's CAs.
Err tls_client_context(bool verify, Str ca_path, struct tls_context **ret);
void tls_context_close(struct tls_context *t); // NULL is fine
AUTO_CLOSE(tls_context)
void *tls_context_ssl(struct tls_context *t); // the SSL_CTX, for rooms that move bytes themselves
// Lets an SSL, made from such an SSL_CTX, move its bytes through io on the socket, which stays the
// caller's. ERR_BUSY of the table is what OpenSSL calls WANT_READ and WANT_WRITE.
Err tls_attach(void *ssl, struct io *io, int fd);
