// SPDX-License-Identifier: Apache-2.0
// The commands, one a line, each answered with one line: "ok ..." or "error ...". README.md tells
// them. Whoever connects is served until it leaves, one after the other.
#include "mount.h"

#include "base/str.h"
#include "base/time.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 1024 };

static const struct {
    const char *name;
    int error;
} errors[] = {
    { "EIO", EIO },       { "ENOSPC", ENOSPC }, { "EROFS", EROFS },
    { "EDQUOT", EDQUOT }, { "EACCES", EACCES }, { "EMFILE", EMFILE },
};

static bool number_of(const char *text, uint64_t *ret)
{
    return str_u64(str_of(text), ret).kind == ERR_NONE;
}

static bool read_error(const char *text, Rule *rule)
{
    for (size_t i = 0; i < COUNT_OF(errors); i++)
        if (strcmp(errors[i].name, text) == 0)
            rule->error = errors[i].error;
    return rule->error != 0;
}

static bool read_ops(char *text, Rule *rule)
{
    char *rest = NULL;
    for (char *word = strtok_r(text, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        unsigned ops = op_of_name(word);
        if (ops == 0)
            return false;
        rule->ops |= ops;
    }
    return rule->ops != 0;
}

static bool read_keep(const char *text, Rule *rule)
{
    static const char *const words[] = {
        [KEEP_SOME] = "some", [KEEP_NONE] = "none", [KEEP_ALL] = "all"
    };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strcmp(words[i], text) == 0) {
            rule->cut.keep = (Keep)i;
            return true;
        }
    }
    return false;
}

static bool read_path(const char *text, Rule *rule)
{
    size_t n = strlen(text);
    if (n >= sizeof rule->path)
        return false;
    memcpy(rule->path, text, n + 1);
    return true;
}

static bool read_torn(const char *text, Rule *rule)
{
    uint64_t bytes;
    if (!number_of(text, &bytes) || bytes < 512 || bytes > PAGE_BYTES || (bytes & (bytes - 1)) != 0)
        return false;
    rule->cut.sector_bytes = (unsigned)bytes;
    return true;
}

static bool read_delay(const char *text, int64_t unit_ns, Rule *rule)
{
    uint64_t n;
    if (!number_of(text, &n) || n > 3600 * 1000)
        return false;
    rule->delay_ns = (int64_t)n * unit_ns;
    return true;
}

static bool read_times(const char *text, Rule *rule)
{
    if (strcmp(text, "all") != 0)
        return number_of(text, &rule->times);
    rule->times = UINT64_MAX;
    return true;
}

// One word of a command: "key=value" or "flag".
static bool read_word(char *word, Rule *rule)
{
    char *value = strchr(word, '=');
    if (value == NULL) {
        rule->forgets |= strcmp(word, "forget") == 0;
        rule->tears |= strcmp(word, "tear") == 0;
        return strcmp(word, "forget") == 0 || strcmp(word, "tear") == 0;
    }
    *value++ = 0;
    if (strcmp(word, "op") == 0)
        return read_ops(value, rule);
    if (strcmp(word, "path") == 0)
        return read_path(value, rule);
    if (strcmp(word, "after") == 0)
        return number_of(value, &rule->after);
    if (strcmp(word, "times") == 0)
        return read_times(value, rule);
    if (strcmp(word, "errno") == 0)
        return read_error(value, rule);
    if (strcmp(word, "ms") == 0)
        return read_delay(value, NS_PER_MS, rule);
    if (strcmp(word, "us") == 0)
        return read_delay(value, NS_PER_US, rule);
    if (strcmp(word, "seed") == 0)
        return number_of(value, &rule->cut.seed);
    if (strcmp(word, "torn") == 0)
        return read_torn(value, rule);
    if (strcmp(word, "keep") == 0)
        return read_keep(value, rule);
    return false;
}

static bool rule_of_command(const char *command, Rule *ret)
{
    static const struct {
        const char *command;
        Rule rule;
    } rows[] = {
        { "fail", { .kind = RULE_FAIL, .times = 1 } },
        { "delay", { .kind = RULE_DELAY, .times = UINT64_MAX } },
        { "lie", { .kind = RULE_LIE, .times = UINT64_MAX } },
        { "cut", { .kind = RULE_CUT, .times = 1, .cut.sector_bytes = PAGE_BYTES } },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (strcmp(rows[i].command, command) == 0) {
            *ret = rows[i].rule;
            return true;
        }
    }
    return false;
}

static void answer_stats(const struct mount *m, char *ret, size_t room)
{
    const struct rules *r = &m->rules;
    int n = snprintf(ret, room, "ok cut=%d cut_ns=%lld", m->disk->off, (long long)m->cut_ns);
    for (unsigned i = 0; i < OP_KINDS; i++)
        n += snprintf(ret + n, room - (size_t)n, " %s=%llu", op_name(i),
                      (unsigned long long)r->counts[i]);
    snprintf(ret + n, room - (size_t)n,
             " failed=%llu lied=%llu delayed_ms=%llu dirty_bytes=%llu names_pending=%zu",
             (unsigned long long)r->failed, (unsigned long long)r->lied,
             (unsigned long long)(r->delayed_ns / NS_PER_MS),
             (unsigned long long)disk_dirty_bytes(m->disk), m->disk->change_count);
}

static const char *add_rule(struct mount *m, Rule *rule)
{
    if (rule->kind == RULE_CUT && rule->ops == 0)
        return mount_cut(m, rule->cut) ? "ok" : "error the power is off";
    if (rule->ops == 0)
        return "error op= is missing";
    if (rule->kind == RULE_FAIL && rule->error == 0)
        rule->error = EIO;
    return rules_add(&m->rules, rule) ? "ok" : "error there are too many rules";
}

static void obey_locked(struct mount *m, char *line, char *ret, size_t room)
{
    char *rest = NULL;
    const char *command = strtok_r(line, " \n", &rest);
    Rule rule;
    if (command == NULL) {
        snprintf(ret, room, "error no command");
    } else if (strcmp(command, "stats") == 0) {
        answer_stats(m, ret, room);
    } else if (strcmp(command, "clear") == 0) {
        rules_clear(&m->rules);
        snprintf(ret, room, "ok");
    } else if (!rule_of_command(command, &rule)) {
        snprintf(ret, room, "error there is no command %s", command);
    } else {
        for (char *word; (word = strtok_r(NULL, " \n", &rest)) != NULL;) {
            if (!read_word(word, &rule)) {
                snprintf(ret, room, "error what is %s", word);
                return;
            }
        }
        snprintf(ret, room, "%s", add_rule(m, &rule));
    }
}

void control_obey(struct mount *m, char *line, char *ret, size_t room)
{
    pthread_mutex_lock(&m->lock);
    obey_locked(m, line, ret, room);
    pthread_mutex_unlock(&m->lock);
}

struct control {
    struct mount *mount;
    int fd;
};

static void *serve(void *self)
{
    const struct control *c = self;
    while (true) {
        int fd = accept(c->fd, NULL, NULL);
        FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
        if (in == NULL)
            continue;
        char line[LINE_BYTES_MAX], reply[LINE_BYTES_MAX];
        while (fgets(line, sizeof line, in) != NULL) {
            control_obey(c->mount, line, reply, sizeof reply);
            dprintf(fd, "%s\n", reply);
        }
        fclose(in);
    }
    return NULL;
}

int control_start(struct mount *m, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path)
        return ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, 4) != 0)
        return errno;
    static struct control control; // lives as long as its thread: as the process
    control = (struct control){ .mount = m, .fd = fd };
    sigset_t all, before;
    sigfillset(&all); // signals are for the main thread
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, serve, &control);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error != 0 ? error : pthread_detach(thread);
}
