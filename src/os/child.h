// SPDX-License-Identifier: Apache-2.0
// Child processes: started with exactly the environment and descriptors they are given, watched
// through a pidfd, so that no signal handler and no race over process ids is needed.
#pragma once
#include "base/str.h"

struct child;

typedef struct ChildConfig {
    const char *const *argv;            // argv[0] is looked up in PATH; NULL-terminated
    const char *const *envp;            // NULL-terminated; NULL: an empty environment
    Str dir;                            // working directory; absent: ours
    int stdin_fd, stdout_fd, stderr_fd; // -1: /dev/null. Everything else is closed in the child.
} ChildConfig;

typedef struct ChildEnd {
    bool signalled;
    int code; // exit status, or the signal's number
} ChildEnd;

Err child_start(const ChildConfig *config, struct child **ret); // ERR_NOT_FOUND: no such program
int child_pid(const struct child *c);
int child_pidfd(const struct child *c);               // readable when it has ended
Err child_signal(struct child *c, int signal_number); // ERR_CLOSED once it has been waited for
Err child_wait(struct child *c, int64_t timeout_ns, ChildEnd *ret); // ERR_TIMEOUT; < 0: forever
void child_close(struct child *c); // kills and reaps it if it still runs; NULL is fine
AUTO_CLOSE(child)
