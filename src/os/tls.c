// SPDX-License-Identifier: Apache-2.0
#include "os/tls.h"
#include "base/arena.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

struct tls_context {
    SSL_CTX *ssl;
};

void tls_context_close(struct tls_context *t)
{
    if (t == NULL)
        return;
    SSL_CTX_free(t->ssl);
    free(t);
}

void *tls_context_ssl(struct tls_context *t)
{
    return t->ssl;
}

static Err context_open(const SSL_METHOD *method, struct tls_context **ret)
{
    SSL_CTX *ssl = SSL_CTX_new(method);
    if (ssl == NULL)
        return fail(ERR_IO, "OpenSSL cannot make a context");
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ssl, 1); // one call to the kernel reads many records
    struct tls_context *t = xalloc(sizeof *t);
    t->ssl = ssl;
    *ret = t;
    return OK;
}

// The client's own order is not asked: what we prefer of what it offers.
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                           const unsigned char *in, unsigned in_n, void *unused)
{
    static const unsigned char ours[] = { 2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1' };
    (void)ssl;
    (void)unused;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_n, ours, sizeof ours, in, in_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK; // unknown names are no reason to refuse: the first bytes
                                     // decide
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

Err tls_server_context(Str cert_path, Str key_path, struct tls_context **ret)
{
    AUTO(arena) tmp = arena_open();
    AUTO(tls_context) t = NULL;
    TRY(context_open(TLS_server_method(), &t));
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(t->ssl, str_c(tmp, cert_path)) != 1)
        return fail(ERR_INVALID, "the TLS certificate cannot be read");
    if (SSL_CTX_use_PrivateKey_file(t->ssl, str_c(tmp, key_path), SSL_FILETYPE_PEM) != 1)
        return fail(ERR_INVALID, "the TLS key cannot be read");
    if (SSL_CTX_check_private_key(t->ssl) != 1)
        return fail(ERR_INVALID, "the TLS key does not belong to the certificate");
    SSL_CTX_set_alpn_select_cb(t->ssl, choose_protocol, NULL);
    // Sessions live in tickets at the clients only: nothing grows here.
    SSL_CTX_set_session_cache_mode(t->ssl, SSL_SESS_CACHE_OFF);
    *ret = t;
    t = NULL;
    return OK;
}

Err tls_client_context(bool verify, Str ca_path, struct tls_context **ret)
{
    AUTO(arena) tmp = arena_open();
    AUTO(tls_context) t = NULL;
    TRY(context_open(TLS_client_method(), &t));
    ERR_clear_error();
    SSL_CTX_set_verify(t->ssl, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (verify && ca_path.p != NULL) {
        if (SSL_CTX_load_verify_locations(t->ssl, str_c(tmp, ca_path), NULL) != 1)
            return fail(ERR_INVALID, "the file of trusted certificates cannot be read");
    } else if (verify && SSL_CTX_set_default_verify_paths(t->ssl) != 1) {
        return fail(ERR_IO, "the system's trusted certificates cannot be read");
    }
    *ret = t;
    t = NULL;
    return OK;
}
