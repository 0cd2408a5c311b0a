// SPDX-License-Identifier: Apache-2.0
// headrace-lossyfs: mounts BACKING at MOUNT as a disk that can lose what was not synced.
#define FUSE_USE_VERSION 312
#include "mount.h"

#include "base/arena.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { STATUS_FAILED = 1, STATUS_USAGE = 2, WORKERS_MAX = 16 };

static int usage(void)
{
    fputs("usage: headrace-lossyfs --control SOCKET BACKING MOUNT\n", stderr);
    return STATUS_USAGE;
}

static int complain(const char *what, int error)
{
    fprintf(stderr, "lossyfs: %s: %s\n", what, strerrordesc_np(error));
    return STATUS_FAILED;
}

static int serve(struct fuse_session *session)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(config, WORKERS_MAX);
    int error = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return error < 0 ? complain("serving", -error) : 0; // positive: the signal that ended it
}

static int run(struct mount *m, const char *control, const char *at)
{
    char name[] = "lossyfs", option[] = "-o", value[] = "fsname=lossyfs,subtype=lossyfs";
    char *words[] = { name, option, value, NULL };
    struct fuse_args arguments = FUSE_ARGS_INIT(3, words);
    struct fuse_session *session = fuse_session_new(&arguments, &mount_ops, sizeof mount_ops, m);
    fuse_opt_free_args(&arguments);
    if (session == NULL)
        return STATUS_FAILED; // libfuse has said why
    int status = STATUS_FAILED;
    if (fuse_set_signal_handlers(session) == 0) {
        if (fuse_session_mount(session, at) == 0) {
            int error = control_start(m, control);
            if (error != 0) {
                complain(control, error);
            } else {
                puts("Ready.");
                fflush(stdout);
                status = serve(session);
            }
            fuse_session_unmount(session);
        }
        fuse_remove_signal_handlers(session);
    }
    fuse_session_destroy(session);
    return status;
}

int main(int count, char **words)
{
    static const struct option options[] = { { "control", required_argument, NULL, 'c' }, { 0 } };
    const char *control = NULL;
    for (int c; (c = getopt_long(count, words, "", options, NULL)) != -1;) {
        if (c != 'c')
            return usage();
        control = optarg;
    }
    if (control == NULL || count - optind != 2)
        return usage();

    struct rlimit files; // every file of BACKING stays open
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    static struct mount m = { .lock = PTHREAD_MUTEX_INITIALIZER };
    if (disk_open(words[optind], &m.disk) != 0)
        return STATUS_FAILED;
    int status = run(&m, control, words[optind + 1]);
    (void)unlink(control);
    pthread_mutex_lock(&m.lock); // for good: no command comes any more
    int error = disk_close(m.disk);
    return error != 0 ? complain("writing what was not synced", error) : status;
}
