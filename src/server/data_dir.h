// SPDX-License-Identifier: Apache-2.0
// The data directory: one process holds it, and one file says which format it has.
//
//     DIR/lock           held by the server while it runs; contains its process id and, on the
//                        next line, where it listens
//     DIR/FORMAT         one a line: headrace-data, format N, reader N, version V, crc32c H
//     DIR/credentials    the root key, if it was made here (credentials.h)
//     DIR/tls/           the certificate, if it was made here (os/tls.h)
//     DIR/clock          how far the virtual clock has been moved (clock.h)
//     DIR/journal/       the log
//     DIR/headrace.db    the key-value store
//
// "reader" is the least format number that a program must know to read the directory. The checksum
// is over all bytes before its line.
#pragma once
#include "os/io.h"

enum { DATA_FORMAT = 1, DATA_READER_LEAST = 1 };

struct data_dir;

// Makes the directory (0700) and its parents if absent, takes the lock, checks the format or writes
// it into a new directory. ERR_BUSY: somebody holds it. ERR_FORMAT: newer than this program.
// ERR_CORRUPT: the marker is damaged, or there is a journal without one. `ret_problem` then is a
// full sentence.
Err data_dir_open(struct io *io, struct arena *a, Str path, Str version, struct data_dir **ret,
                  Str *ret_problem);
// The same in two halves, for a directory whose content lies elsewhere: the lock first; then the
// format, through the table `content`, under the same path.
Err data_dir_hold(struct io *io, struct arena *a, Str path, struct data_dir **ret,
                  Str *ret_problem);
Err data_dir_check(struct data_dir *d, struct io *content, struct arena *a, Str path, Str version,
                   Str *ret_problem);
// Whether this program may touch a directory of that marker; OK if there is none. Changes nothing.
Err data_dir_look(struct io *io, struct arena *a, Str path, Str version, Str *ret_problem);

// Notes where the server listens, "http://127.0.0.1:4566", for tools that find the lock held. Only
// a convenience: failures are ignored.
void data_dir_note_address(struct data_dir *d, Str url);

// What the holder of the lock has noted; absent: nothing.
Str data_dir_address(struct io *io, struct arena *a, Str path);

// Writes the marker into a directory that a restore has filled. Then it is one, and not before.
Err data_dir_mark(struct io *io, struct arena *a, Str path, Str version, Str *ret_problem);
void data_dir_close(struct data_dir *d); // gives the lock back; NULL is fine
AUTO_CLOSE(data_dir)
bool data_dir_is_new(const struct data_dir *d); // made by this open
