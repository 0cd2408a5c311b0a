// SPDX-License-Identifier: Apache-2.0
// SQLite's files through the io table, so that every read, write and sync of kv can be made to
// fail.
//
// One vfs serves one database of this process: its connections share locks and the index of the
// write-ahead log in our memory, so that no -shm file is needed. Another process is kept out by the
// owner, who holds the io lock of the file.
#pragma once
#include "os/io.h"

struct sqlite_vfs;

// The name is registered with SQLite until the close. The io table is borrowed.
Err sqlite_vfs_open(struct io *io, struct sqlite_vfs **ret);
void sqlite_vfs_close(struct sqlite_vfs *v); // every connection is closed; NULL is fine
AUTO_CLOSE(sqlite_vfs)
const char *sqlite_vfs_name(const struct sqlite_vfs *v);

// A result code of SQLite as an error of ours: the io error behind it, if this thread met one since
// the last call, and otherwise what the code says.
Err sqlite_vfs_err(int result_code);
// The io error alone, which SQLite may have swallowed.
Err sqlite_vfs_met(void);

// What was written to the write-ahead log since the last call of either has been committed...
void sqlite_vfs_wal_settle(struct sqlite_vfs *v);
// ...or must never be: a failed sync may have left a whole transaction in the log, which a restart
// would take for committed. Its first frame is overwritten, durably. On an error call it again.
Err sqlite_vfs_wal_undo(struct sqlite_vfs *v);
