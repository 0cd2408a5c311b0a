// SPDX-License-Identifier: Apache-2.0
#include "os/tls.h"
#include "base/buf.h"
#include "base/memory.h"
#include "base/time.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { PEM_BYTES_MAX = 65536, CERTIFICATE_DAYS = 3650, HOST_NAME_BYTES_MAX = 64 };

struct tls_context {
    SSL_CTX *ssl;
};

static void *take(size_t bytes, const char *file, int line)
{
    (void)file;
    (void)line;
    return bytes > 0 ? memory_get(bytes) : NULL;
}

static void give(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

static void *resize(void *p, size_t bytes, const char *file, int line)
{
    if (bytes > 0)
        return memory_resize(p, bytes);
    give(p, file, line);
    return NULL;
}

void tls_take_memory(void)
{
    if (CRYPTO_set_mem_functions(take, resize, give) != 1)
        ERR_clear_error(); // it has begun to allocate: it keeps the C library's functions
}

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
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
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
    // HTTP says itself where a request ends; many clients leave without a TLS goodbye.
    SSL_CTX_set_options(t->ssl, SSL_OP_IGNORE_UNEXPECTED_EOF);
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

// ---- Bytes of a connection: a BIO on the table of functions.

struct wire {
    struct io *io;
    int fd;
    bool ended; // the peer sends no more
};

static int wire_write(BIO *bio, const char *p, int n)
{
    struct wire *w = BIO_get_data(bio);
    IoPart part = { .p = (void *)(uintptr_t)p, .n = (size_t)n };
    size_t done = 0;
    BIO_clear_retry_flags(bio);
    Err e = w->io->send(w->io, w->fd, &part, 1, &done);
    if (e.kind == ERR_BUSY)
        BIO_set_retry_write(bio);
    return e.kind == ERR_NONE ? (int)done : -1;
}

static int wire_read(BIO *bio, char *p, int n)
{
    struct wire *w = BIO_get_data(bio);
    size_t done = 0;
    BIO_clear_retry_flags(bio);
    Err e = w->io->receive(w->io, w->fd, p, (size_t)n, false, &done);
    if (e.kind == ERR_BUSY)
        BIO_set_retry_read(bio);
    w->ended = e.kind == ERR_NONE && done == 0;
    return e.kind == ERR_NONE ? (int)done : -1;
}

static long wire_control(BIO *bio, int command, long number, void *unused)
{
    (void)number;
    (void)unused;
    const struct wire *w = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH: // nothing is kept back
        return 1;
    case BIO_CTRL_EOF:
        return w->ended;
    default:
        return 0;
    }
}

static int wire_done(BIO *bio)
{
    free(BIO_get_data(bio));
    return 1;
}

static BIO_METHOD *wire_method; // NULL: OpenSSL could not make it

static void make_wire_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "headrace io");
    bool made = m != NULL && BIO_meth_set_write(m, wire_write) == 1 &&
                BIO_meth_set_read(m, wire_read) == 1 && BIO_meth_set_ctrl(m, wire_control) == 1 &&
                BIO_meth_set_destroy(m, wire_done) == 1;
    if (made)
        wire_method = m;
    else
        BIO_meth_free(m);
}

Err tls_attach(void *ssl, struct io *io, int fd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CHECK(pthread_once(&once, make_wire_method) == 0);
    BIO *bio = wire_method != NULL ? BIO_new(wire_method) : NULL;
    if (bio == NULL)
        return fail(ERR_IO, "OpenSSL cannot attach a connection");
    struct wire *w = xalloc(sizeof *w);
    *w = (struct wire){ .io = io, .fd = fd };
    BIO_set_data(bio, w);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio); // owns it from here on
    return OK;
}

// ---- The certificate of the first start.

static Err openssl_failed(void)
{
    ERR_clear_error();
    return fail(ERR_IO, "OpenSSL cannot make the TLS certificate");
}

// The machine's name, if it is one that a certificate can hold; else empty.
static Str host_name(struct arena *a)
{
    char name[HOST_NAME_BYTES_MAX + 1] = { 0 };
    if (gethostname(name, HOST_NAME_BYTES_MAX) != 0)
        return S("");
    Str ret = str_dup(a, str_of(name));
    for (size_t i = 0; i < ret.n; i++) {
        char c = ret.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '.'))
            return S("");
    }
    return ret;
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool added = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool add_extensions(X509 *cert, struct arena *tmp)
{
    Str host = host_name(tmp);
    Str names = S("DNS:localhost,DNS:*.localhost,IP:127.0.0.1,IP:::1");
    if (host.n > 0 && !str_eq(host, S("localhost")))
        names = str_cat3(tmp, names, S(",DNS:"), host);
    return add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") &&
           add_extension(cert, NID_key_usage, "critical,digitalSignature,keyCertSign") &&
           add_extension(cert, NID_ext_key_usage, "serverAuth") &&
           add_extension(cert, NID_subject_key_identifier, "hash") &&
           add_extension(cert, NID_subject_alt_name, str_c(tmp, names));
}

static bool fill_certificate(struct io *io, X509 *cert, EVP_PKEY *key, struct arena *tmp)
{
    uint64_t serial = 0;
    io->random(io, &serial, sizeof serial);
    // Valid since yesterday: clients' clocks differ.
    time_t now = (time_t)(io->wall_ns(io) / NS_PER_S);
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_set_version(cert, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), (serial >> 1) | 1) == 1 &&
           X509_time_adj_ex(X509_getm_notBefore(cert), -1, 0, &now) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(cert), CERTIFICATE_DAYS, 0, &now) != NULL &&
           X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Headrace",
                                      -1, -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, name) == 1 && X509_set_pubkey(cert, key) == 1 &&
           add_extensions(cert, tmp) && X509_sign(cert, key, EVP_sha256()) > 0;
}

static Str bio_text(struct arena *a, BIO *bio)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    return str_dup(a, str_from(p, n > 0 ? (size_t)n : 0));
}

static Err make_pems(struct io *io, struct arena *a, Str *ret_cert, Str *ret_key)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    BIO *key_bio = BIO_new(BIO_s_mem()), *cert_bio = BIO_new(BIO_s_mem());
    bool made = key != NULL && cert != NULL && key_bio != NULL && cert_bio != NULL &&
                fill_certificate(io, cert, key, a) &&
                PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
                PEM_write_bio_X509(cert_bio, cert) == 1;
    if (made) {
        *ret_key = bio_text(a, key_bio);
        *ret_cert = bio_text(a, cert_bio);
    }
    BIO_free(key_bio);
    BIO_free(cert_bio);
    X509_free(cert);
    EVP_PKEY_free(key);
    return made ? OK : openssl_failed();
}

static Err exists(struct io *io, struct arena *tmp, Str path, bool *ret)
{
    Str content;
    Err e = io_read_file(io, tmp, path, PEM_BYTES_MAX, &content);
    if (e.kind != ERR_NONE && e.kind != ERR_NOT_FOUND)
        return e;
    *ret = e.kind == ERR_NONE;
    return OK;
}

Err tls_make_certificate(struct io *io, Str dir, Str *ret_cert_path, Str *ret_key_path,
                         struct arena *a)
{
    AUTO(arena) tmp = arena_open();
    Str folder = str_cat(a, dir, S("/tls"));
    Str cert_path = str_cat(a, folder, S("/cert.pem")),
        key_path = str_cat(a, folder, S("/key.pem"));
    bool has_cert = false, has_key = false;
    TRY(exists(io, tmp, cert_path, &has_cert));
    TRY(exists(io, tmp, key_path, &has_key));
    if (!has_cert || !has_key) { // one without the other is a first start that broke off
        if (has_cert)
            return fail(ERR_INVALID, "there is a TLS certificate without its key");
        Str cert = { 0 }, key = { 0 };
        TRY(io->mkdir(io, folder));
        TRY(io->sync_dir(io, dir)); // the folder's name; what is in it io_write_file makes durable
        TRY(make_pems(io, tmp, &cert, &key));
        TRY(io_write_file(io, tmp, key_path, key));
        TRY(io_write_file(io, tmp, cert_path, cert));
    }
    *ret_cert_path = cert_path;
    *ret_key_path = key_path;
    return OK;
}
