// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "os/io_fault.h"
#include "os/io_mem.h"
#include "os/tls.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static X509 *read_certificate(struct arena *a, Str path)
{
    FILE *f = fopen(str_c(a, path), "rb");
    EXPECT(f != NULL);
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    EXPECT(cert != NULL);
    return cert;
}

static bool holds_name(X509 *cert, Str name)
{
    bool found = false;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        const ASN1_STRING *text = n->d.dNSName;
        found |= n->type == GEN_DNS && str_eq(name, str_from(ASN1_STRING_get0_data(text),
                                                             (size_t)ASN1_STRING_length(text)));
    }
    GENERAL_NAMES_free(names);
    return found;
}

TEST(a_certificate_is_made_once_for_the_names_of_this_machine)
{
    Str dir = test_dir(a), cert_path, key_path, again_path;
    EXPECT_OK(tls_make_certificate(io_real(), dir, &cert_path, &key_path, a));
    Str made, again;
    EXPECT_OK(io_read_file(io_real(), a, cert_path, 65536, &made));
    EXPECT_OK(tls_make_certificate(io_real(), dir, &again_path, &key_path, a));
    EXPECT_OK(io_read_file(io_real(), a, again_path, 65536, &again));
    EXPECT_STR(made, again);

    struct stat st;
    EXPECT(stat(str_c(a, key_path), &st) == 0 && (st.st_mode & 0777) == 0600);
    X509 *cert = read_certificate(a, cert_path);
    EXPECT(X509_check_host(cert, "localhost", 0, 0, NULL) == 1);
    EXPECT(holds_name(cert, S("*.localhost"))); // OpenSSL itself never matches a top-level one
    EXPECT(X509_check_host(cert, "example.org", 0, 0, NULL) == 0);
    EXPECT(X509_check_ip_asc(cert, "127.0.0.1", 0) == 1);
    EXPECT(X509_check_ip_asc(cert, "::1", 0) == 1);
    EXPECT(X509_check_ca(cert) == 1);
    EXPECT(X509_verify(cert, X509_get0_pubkey(cert)) == 1);
    int days = 0, seconds = 0;
    EXPECT(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) == 1);
    EXPECT(days >= 3649);
    X509_free(cert);
}

TEST(a_first_start_that_broke_off_before_the_certificate_is_made_good)
{
    Str dir = test_dir(a), cert_path, key_path;
    EXPECT_OK(tls_make_certificate(io_real(), dir, &cert_path, &key_path, a));
    EXPECT_OK(io_real()->unlink(io_real(), cert_path));
    EXPECT_OK(tls_make_certificate(io_real(), dir, &cert_path, &key_path, a));
    AUTO(tls_context) t = NULL;
    EXPECT_OK(tls_server_context(cert_path, key_path, &t));
}

TEST(a_certificate_without_its_key_is_reported_not_replaced)
{
    Str dir = test_dir(a), cert_path, key_path;
    EXPECT_OK(tls_make_certificate(io_real(), dir, &cert_path, &key_path, a));
    EXPECT_OK(io_real()->unlink(io_real(), key_path));
    EXPECT_ERR(ERR_INVALID, tls_make_certificate(io_real(), dir, &cert_path, &key_path, a));
}

static BIO *bio_of(struct arena *a, struct io *io, Str path)
{
    Str pem;
    EXPECT_OK(io_read_file(io, a, path, 65536, &pem));
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    EXPECT(bio != NULL);
    return bio;
}

static void expect_pair(struct arena *a, struct io *io, Str cert_path, Str key_path)
{
    BIO *cert_bio = bio_of(a, io, cert_path), *key_bio = bio_of(a, io, key_path);
    X509 *cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    EXPECT(cert != NULL && key != NULL && X509_check_private_key(cert, key) == 1);
    EVP_PKEY_free(key);
    X509_free(cert);
    BIO_free(key_bio);
    BIO_free(cert_bio);
}

TEST(power_cut_anywhere_in_the_first_start_leaves_a_pair_or_the_way_to_one)
{
    Str dir = S("/data"), cert_path, key_path, cert;
    bool passed = false;
    for (uint64_t n = 0; !passed; n++) {
        AUTO(io_mem) disk = io_mem_open(n);
        EXPECT_OK(io_mem_io(disk)->mkdir(io_mem_io(disk), dir));
        EXPECT_OK(io_mem_io(disk)->sync_dir(io_mem_io(disk), S("/")));
        AUTO(io_fault) f = io_fault_open(io_mem_io(disk), n);
        io_fault_add(f, (IoFault){ .ops = IO_OP_CHANGE, .skip = n, .power_off = true });
        Err e = tls_make_certificate(io_fault_io(f), dir, &cert_path, &key_path, a);
        passed = io_fault_hits(f) == 0;
        EXPECT(passed == (e.kind == ERR_NONE));
        if (passed)
            EXPECT_OK(io_read_file(io_mem_io(disk), a, cert_path, 65536, &cert));

        AUTO(io_mem) later = io_mem_crash(disk, (IoMemCrash){ .seed = n, .keep = IO_KEEP_NONE });
        struct io *io = io_mem_io(later);
        EXPECT_OK(tls_make_certificate(io, dir, &cert_path, &key_path, a));
        expect_pair(a, io, cert_path, key_path);
        Str now;
        EXPECT_OK(io_read_file(io, a, cert_path, 65536, &now));
        EXPECT(!passed || str_eq(cert, now)); // what was told to exist still does
    }
}

TEST(contexts_refuse_what_is_no_certificate)
{
    Str dir = test_dir(a), cert_path, key_path;
    EXPECT_OK(tls_make_certificate(io_real(), dir, &cert_path, &key_path, a));
    AUTO(tls_context) t = NULL;
    EXPECT_ERR(ERR_INVALID, tls_server_context(key_path, key_path, &t));
    EXPECT_ERR(ERR_INVALID, tls_server_context(cert_path, cert_path, &t));
    EXPECT_ERR(ERR_INVALID, tls_client_context(true, str_cat(a, dir, S("/none.pem")), &t));
    EXPECT_OK(tls_client_context(true, cert_path, &t));
}

// Moves bytes between two ends in memory until neither can go on.
static void shake_both(SSL *client, SSL *server)
{
    for (int i = 0; i < 10; i++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
}

static void check_handshake(struct tls_context *server, struct tls_context *client, Str offer,
                            Str want)
{
    BIO *c = NULL, *s = NULL;
    EXPECT(BIO_new_bio_pair(&c, 65536, &s, 65536) == 1);
    SSL *cs = SSL_new(tls_context_ssl(client)), *ss = SSL_new(tls_context_ssl(server));
    SSL_set_bio(cs, c, c);
    SSL_set_bio(ss, s, s);
    SSL_set_connect_state(cs);
    SSL_set_accept_state(ss);
    if (offer.n > 0)
        SSL_set_alpn_protos(cs, (const unsigned char *)offer.p, (unsigned)offer.n);
    SSL_set1_host(cs, "localhost");
    shake_both(cs, ss);
    EXPECT(SSL_is_init_finished(cs) && SSL_is_init_finished(ss));
    const unsigned char *chosen = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(cs, &chosen, &n);
    EXPECT_STR(want, str_from(n > 0 ? (const char *)chosen : "", n));
    SSL_free(cs);
    SSL_free(ss);
}

TEST(a_client_that_trusts_the_certificate_shakes_hands_and_h2_is_preferred)
{
    Str dir = test_dir(a), cert_path, key_path;
    EXPECT_OK(tls_make_certificate(io_real(), dir, &cert_path, &key_path, a));
    AUTO(tls_context) server = NULL;
    AUTO(tls_context) client = NULL;
    EXPECT_OK(tls_server_context(cert_path, key_path, &server));
    EXPECT_OK(tls_client_context(true, cert_path, &client));
    check_handshake(server, client, S("\x08http/1.1\x02h2"), S("h2"));
    check_handshake(server, client, S("\x08http/1.1"), S("http/1.1"));
    check_handshake(server, client, S("\x03xyz"), S(""));
    check_handshake(server, client, S(""), S(""));
}

// ---- Bytes through the table of functions.

static void shake_through(struct io *io, struct tls_context *server, struct tls_context *client)
{
    int pair[2];
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    SSL *cs = SSL_new(tls_context_ssl(client)), *ss = SSL_new(tls_context_ssl(server));
    EXPECT_OK(tls_attach(cs, io, pair[0]));
    EXPECT_OK(tls_attach(ss, io, pair[1]));
    SSL_set_connect_state(cs);
    SSL_set_accept_state(ss);
    SSL_set1_host(cs, "localhost");
    while (!SSL_is_init_finished(cs) || !SSL_is_init_finished(ss)) {
        int r = SSL_do_handshake(cs);
        EXPECT(r == 1 || SSL_want_read(cs) || SSL_want_write(cs));
        r = SSL_do_handshake(ss);
        EXPECT(r == 1 || SSL_want_read(ss) || SSL_want_write(ss));
    }
    while (SSL_write(cs, "hello", 5) != 5)
        EXPECT(SSL_want_write(cs));
    char got[5];
    while (SSL_peek(ss, got, sizeof got) != sizeof got)
        EXPECT(SSL_want_read(ss));
    EXPECT(SSL_read(ss, got, sizeof got) == sizeof got && memcmp(got, "hello", 5) == 0);
    SSL_free(cs);
    EXPECT(shutdown(pair[0], SHUT_WR) == 0); // without a goodbye
    int r = SSL_read(ss, got, sizeof got);
    while (r < 0 && SSL_get_error(ss, r) == SSL_ERROR_WANT_READ)
        r = SSL_read(ss, got, sizeof got);
    EXPECT_INT(SSL_ERROR_ZERO_RETURN, SSL_get_error(ss, r)); // HTTP knows where its requests end
    close(pair[0]);
    do
        r = SSL_write(ss, "late", 4);
    while (r <= 0 && BIO_should_retry(SSL_get_wbio(ss)));
    EXPECT(r <= 0); // and no signal
    SSL_free(ss);
    close(pair[1]);
}

TEST(tls_moves_its_bytes_through_the_table_whole_or_in_pieces)
{
    Str dir = test_dir(a), cert_path, key_path;
    EXPECT_OK(tls_make_certificate(io_real(), dir, &cert_path, &key_path, a));
    AUTO(tls_context) server = NULL;
    AUTO(tls_context) client = NULL;
    EXPECT_OK(tls_server_context(cert_path, key_path, &server));
    EXPECT_OK(tls_client_context(true, cert_path, &client));
    shake_through(io_real(), server, client);
    AUTO(io_fault) f = io_fault_open(io_real(), 3);
    io_fault_net(f, (IoNetFault){ .piece_bytes_max = 7, .busy_percent = 30 });
    shake_through(io_fault_io(f), server, client);
    EXPECT(io_fault_net_hits(f) > 100);
}
