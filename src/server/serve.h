// SPDX-License-Identifier: Apache-2.0
// The server process: opens everything in order, serves until it is told to stop, closes everything
// in the reverse order.
#pragma once
#include "server/exit_code.h"
#include "server/settings.h"

typedef struct ServeConfig {
    const Settings *settings;
    const SettingsInput *input; // to read the log level again at SIGHUP
    Str version;
    Str access_key, secret_key; // the root key; both empty: kept in or made for the data directory
    Str notify_socket;          // of the service manager; empty: none
    Str journal_stream;         // JOURNAL_STREAM, "device:inode" of the log of the service manager
    bool attached; // ends with its standard input and leaves SIGINT to whoever holds the other end
} ServeConfig;

// Returns when it has ended. Problems have been printed.
ExitCode serve(const ServeConfig *config);

// What work on a data directory without serving it may use.
typedef struct OfflineStore {
    struct io *io;       // of the files
    struct io *place_io; // of all others, and the real time
    Str data_dir;
    struct log *log;
    struct kv *kv;
} OfflineStore;

// Opens the store as serve does, with its recovery, and calls `work` in place of serving. A
// directory that is not there is made: look before. Problems have been printed.
ExitCode serve_offline(const ServeConfig *config,
                       ExitCode (*work)(void *self, const OfflineStore *store), void *self);
