// SPDX-License-Identifier: Apache-2.0
// The probe service as a program, for clients in other languages: prints its port, and serves until
// its standard input ends. The key it knows is given as arguments: access key, secret, token or "".
#include "aws/probe_serve.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    enum { ACCESS_KEY = 1, SECRET, TOKEN, ARGUMENTS };
    if (argc != ARGUMENTS) {
        fprintf(stderr, "usage: %s ACCESS-KEY SECRET TOKEN\n", argv[0]);
        return 2;
    }
    AUTO(keyring) keys = NULL;
    Key key = { .access_key = str_of(argv[ACCESS_KEY]),
                .secret = str_of(argv[SECRET]),
                .session_token = str_of(argv[TOKEN]),
                .account = S("111122223333"),
                .principal = S("arn:aws:iam::111122223333:root") };
    if (key.session_token.n == 0)
        key.session_token = (Str){ 0 };
    keyring_open(false, &keys);
    if (keyring_add(keys, &key).kind != ERR_NONE)
        return 2;
    struct probe_server *server;
    probe_serve(keys, &server);
    printf("%u\n", probe_server_port(server));
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    probe_server_close(server);
    return 0;
}
