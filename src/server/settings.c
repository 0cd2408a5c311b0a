// SPDX-License-Identifier: Apache-2.0
#include "server/settings.h"
#include "base/buf.h"
#include "base/time.h"
#include "os/io.h"
#include "server/port_owner.h"
#include "server/toml.h"

#include <math.h>

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

// The order is the one that `headrace config print` and the manual show.
const struct setting setting_table[] = {
    { S_INIT("data_dir"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("Directory that holds everything the server keeps"), S_INIT("/var/lib/headrace") },
    { S_INIT("zones"), SETTING_LIST, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("Directories on disks of their own that all hold everything; none: data_dir alone"),
      S_INIT("/mnt/a/headrace") },
    { S_INIT("zones_min"), SETTING_COUNT, S_INIT("0"), S_INIT(""), 0, 5,
      S_INIT("Zones that must have a record before it is acknowledged; 0 for more than half"),
      S_INIT("2") },
    { S_INIT("zones_lag"), SETTING_DURATION, S_INIT("2s"), S_INIT(""), 10 * NS_PER_MS,
      3600 * NS_PER_S, S_INIT("How long a zone may take after enough others have done their part"),
      S_INIT("5s") },
    { S_INIT("zones_start_anyway"), SETTING_SWITCH, S_INIT("false"), S_INIT(""), 0, 0,
      S_INIT("Start with too few zones, and give up what only the missing ones hold"),
      S_INIT("true") },
    { S_INIT("listen"), SETTING_LIST, S_INIT("127.0.0.1:4566"), S_INIT(""), 0, 0,
      S_INIT("Address and port to serve on; may be given several times"),
      S_INIT("127.0.0.1:4567") },
    { S_INIT("profile"), SETTING_CHOICE, S_INIT("production"), S_INIT("production|dev"), 0, 0,
      S_INIT("dev accepts any well-formed credentials"), S_INIT("dev") },
    { S_INIT("region"), SETTING_TEXT, S_INIT("us-east-1"), S_INIT(""), 0, 0,
      S_INIT("Region of the command line and of headrace env when nothing names one"),
      S_INIT("eu-central-1") },
    { S_INIT("limits"), SETTING_FACTOR, S_INIT("on"), S_INIT(""), 0, 0,
      S_INIT("Limits of a shard: on as AWS has them, off, or a factor"), S_INIT("2.5") },
    { S_INIT("account_shards"), SETTING_COUNT, S_INIT("0"), S_INIT(""), 0, 1000000,
      S_INIT("Open shards of an account in a region; 0 for as many as AWS allows there"),
      S_INIT("500") },
    { S_INIT("account_alarms"), SETTING_COUNT, S_INIT("0"), S_INIT(""), 0, 1000000,
      S_INIT("Alarms of an account in a region; 0 for as many as AWS allows there"),
      S_INIT("500") },
    { S_INIT("change_time"), SETTING_DURATION, S_INIT("0s"), S_INIT(""), 0, 3600 * NS_PER_S,
      S_INIT("How long making, changing and deleting a stream takes; AWS takes about 20s"),
      S_INIT("20s") },
    { S_INIT("threads"), SETTING_COUNT, S_INIT("0"), S_INIT(""), 0, 256,
      S_INIT("Event loops; 0 for one on each processor"), S_INIT("4") },
    { S_INIT("workers"), SETTING_COUNT, S_INIT("16"), S_INIT(""), 1, 1024,
      S_INIT("Threads for work that waits on the disk; as many again for S3"), S_INIT("32") },
    { S_INIT("io_uring"), SETTING_CHOICE, S_INIT("auto"), S_INIT("auto|off"), 0, 0,
      S_INIT("Whether the journal may be written through io_uring"), S_INIT("off") },
    { S_INIT("on_disk_failure"), SETTING_CHOICE, S_INIT("stop"), S_INIT("stop|read-only"), 0, 0,
      S_INIT("When the journal has failed twice: end with status 14, or stay up for readers only"),
      S_INIT("read-only") },
    { S_INIT("allow_dev_on_network"), SETTING_SWITCH, S_INIT("false"), S_INIT(""), 0, 0,
      S_INIT("Serve the profile dev to other machines, without any protection"), S_INIT("true") },
    { S_INIT("memory.requests"), SETTING_SIZE, S_INIT("0"), S_INIT(""), 0, 1024 * GIB,
      S_INIT("Memory for all requests under way, above which they get 503; 0 for a quarter of what "
             "the process may have"),
      S_INIT("1GiB") },
    { S_INIT("functions.endpoints"), SETTING_LIST, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("HTTP endpoints in the place of Lambda functions: NAME=URL, or an ARN for NAME"),
      S_INIT("enrich=http://127.0.0.1:9000/2015-03-31/functions/function/invocations") },
    { S_INIT("s3.restore_delay"), SETTING_DURATION, S_INIT("60s"), S_INIT(""), 0,
      7 * 86400 * NS_PER_S,
      S_INIT("How long restoring an object takes that is archived (GLACIER, DEEP_ARCHIVE)"),
      S_INIT("4h") },
    { S_INIT("destinations.private"), SETTING_SWITCH, S_INIT("true"), S_INIT(""), 0, 0,
      S_INIT("Deliveries may go to private addresses and over plain HTTP"), S_INIT("false") },
    { S_INIT("destinations.verify"), SETTING_SWITCH, S_INIT("true"), S_INIT(""), 0, 0,
      S_INIT("Certificates of the destinations of deliveries must be vouched for"),
      S_INIT("false") },
    { S_INIT("destinations.ca"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("Certificates (PEM) that vouch for destinations; the system's when absent"),
      S_INIT("/etc/headrace/ca.pem") },
    { S_INIT("destinations.keys"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("Keys of AWS (a shared credentials file) to sign requests to its OpenSearch domains"),
      S_INIT("/etc/headrace/aws-credentials") },
    { S_INIT("destinations.sign"), SETTING_SWITCH, S_INIT("false"), S_INIT(""), 0, 0,
      S_INIT("Sign requests to every OpenSearch destination, not only to hosts of AWS"),
      S_INIT("true") },
    { S_INIT("destinations.domains"), SETTING_LIST, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("Where OpenSearch domains are that deliveries name by their ARN: NAME=URL, or an ARN "
             "for NAME"),
      S_INIT("logs=https://search:9200") },
    { S_INIT("destinations.memory"), SETTING_SIZE, S_INIT("0"), S_INIT(""), 0, 1024 * GIB,
      S_INIT("Memory for batches on their way to destinations and functions; 0 for half of "
             "memory.requests, 256 MiB at most"),
      S_INIT("64MiB") },
    { S_INIT("destinations.gzip"), SETTING_CHOICE, S_INIT("auto"), S_INIT("auto|fast|small"), 0, 0,
      S_INIT("Work for GZIP and ZIP of deliveries: little, much, or much while there is time"),
      S_INIT("fast") },
    { S_INIT("log.level"), SETTING_CHOICE, S_INIT("info"), S_INIT("debug|info|warn|error"), 0, 0,
      S_INIT("Least important log lines to write"), S_INIT("warn") },
    { S_INIT("log.format"), SETTING_CHOICE, S_INIT("auto"), S_INIT("auto|text|json"), 0, 0,
      S_INIT("Log lines as text or JSON; auto writes text to a terminal"), S_INIT("json") },
    { S_INIT("journal.file_size"), SETTING_SIZE, S_INIT("64MiB"), S_INIT(""), MIB, 16 * GIB,
      S_INIT("Size of a new journal file"), S_INIT("256MiB") },
    { S_INIT("journal.tail_cache"), SETTING_SIZE, S_INIT("256MiB"), S_INIT(""), MIB, 1024 * GIB,
      S_INIT("Memory for recent records, so that consumers who keep up never reach the disk"),
      S_INIT("1GiB") },
    { S_INIT("journal.queue"), SETTING_SIZE, S_INIT("64MiB"), S_INIT(""), 32 * MIB, 16 * GIB,
      S_INIT("Records waiting to be written, over which puts are throttled"), S_INIT("128MiB") },
    { S_INIT("journal.reserve"), SETTING_SIZE, S_INIT("64MiB"), S_INIT(""), MIB, 16 * GIB,
      S_INIT("Disk space held back, so that a full disk can still be cleared"), S_INIT("128MiB") },
    { S_INIT("journal.seal_size"), SETTING_SIZE, S_INIT("64MiB"), S_INIT(""), MIB, 64 * GIB,
      S_INIT("Journal that gathers before its oldest files become compressed containers"),
      S_INIT("1GiB") },
    { S_INIT("journal.unsealed_max"), SETTING_SIZE, S_INIT("4GiB"), S_INIT(""), 16 * MIB,
      1024 * GIB, S_INIT("Journal that a start may have to read, over which puts are throttled"),
      S_INIT("8GiB") },
    { S_INIT("journal.read_cache"), SETTING_SIZE, S_INIT("32MiB"), S_INIT(""), MIB, 1024 * GIB,
      S_INIT("Memory for older records, unpacked for consumers who are far behind"),
      S_INIT("256MiB") },
    { S_INIT("tls.cert"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("Certificate chain (PEM); one is made in DATA_DIR/tls when absent"),
      S_INIT("/etc/headrace/cert.pem") },
    { S_INIT("tls.key"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("Private key (PEM) of the certificate"), S_INIT("/etc/headrace/key.pem") },
    { S_INIT("http.connections"), SETTING_COUNT, S_INIT("10000"), S_INIT(""), 1, 1000000,
      S_INIT("Open connections, over which new ones are refused"), S_INIT("50000") },
    { S_INIT("http.undecided"), SETTING_COUNT, S_INIT("1000"), S_INIT(""), 1, 1000000,
      S_INIT("Connections that have not sent anything yet, over which the oldest is closed"),
      S_INIT("10000") },
    { S_INIT("http.streams"), SETTING_COUNT, S_INIT("256"), S_INIT(""), 1, 10000,
      S_INIT("Concurrent requests on one HTTP/2 connection"), S_INIT("1000") },
    { S_INIT("http.body_pool"), SETTING_SIZE, S_INIT("512MiB"), S_INIT(""), 64 * MIB, 1024 * GIB,
      S_INIT("Memory for request bodies of all connections together"), S_INIT("1GiB") },
    { S_INIT("http.idle_timeout"), SETTING_DURATION, S_INIT("120s"), S_INIT(""), NS_PER_S,
      86400 * NS_PER_S, S_INIT("How long a connection may stay open without a request"),
      S_INIT("10m") },
    { S_INIT("http.drain_timeout"), SETTING_DURATION, S_INIT("10s"), S_INIT(""), NS_PER_MS,
      3600 * NS_PER_S, S_INIT("How long running requests may take to end at shutdown"),
      S_INIT("30s") },
};
const size_t setting_count = COUNT_OF(setting_table);
_Static_assert(COUNT_OF(setting_table) <= SETTING_COUNT_MAX, "Settings holds every row");

// Buckets at other S3 endpoints, by the bucket's name: [s3.remote.NAME].
const struct setting named_setting_table[] = {
    { S_INIT("endpoint"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("URL of the S3 endpoint that has the objects of the bucket NAME; must be given"),
      S_INIT("https://s3.eu-central-1.amazonaws.com") },
    { S_INIT("region"), SETTING_TEXT, S_INIT("us-east-1"), S_INIT(""), 0, 0,
      S_INIT("Region that requests to the endpoint are signed for"), S_INIT("eu-central-1") },
    { S_INIT("bucket"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("The bucket's name there; the same when absent"), S_INIT("acme-logs") },
    { S_INIT("prefix"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("What stands before every key there, and is not seen here"), S_INIT("team-a/") },
    { S_INIT("credentials_file"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("File of keys as AWS's shared credentials file, read again when it changes; absent: "
             "AWS_ACCESS_KEY_ID and its like in the environment"),
      S_INIT("/etc/headrace/remote.credentials") },
    { S_INIT("credentials_section"), SETTING_TEXT, S_INIT("default"), S_INIT(""), 0, 0,
      S_INIT("Section of that file"), S_INIT("backup") },
    { S_INIT("account"), SETTING_TEXT, S_INIT("000000000000"), S_INIT(""), 0, 0,
      S_INIT("Account here that owns the bucket"), S_INIT("111122223333") },
    { S_INIT("style"), SETTING_CHOICE, S_INIT("path"), S_INIT("path|host"), 0, 0,
      S_INIT("Whether the bucket stands in the path or in the host's name"), S_INIT("host") },
    { S_INIT("private"), SETTING_SWITCH, S_INIT("true"), S_INIT(""), 0, 0,
      S_INIT("The endpoint may have a private address and be plain HTTP"), S_INIT("false") },
    { S_INIT("verify"), SETTING_SWITCH, S_INIT("true"), S_INIT(""), 0, 0,
      S_INIT("The endpoint's certificate must be vouched for"), S_INIT("false") },
    { S_INIT("ca"), SETTING_TEXT, S_INIT(""), S_INIT(""), 0, 0,
      S_INIT("Certificates (PEM) that vouch for it; the system's when absent"),
      S_INIT("/etc/headrace/ca.pem") },
    { S_INIT("timeout"), SETTING_DURATION, S_INIT("20s"), S_INIT(""), NS_PER_MS, 3600 * NS_PER_S,
      S_INIT("How long the endpoint may be silent"), S_INIT("5s") },
    { S_INIT("connections"), SETTING_COUNT, S_INIT("64"), S_INIT(""), 1, 1000,
      S_INIT("Connections to the endpoint, over which callers are told to slow down"),
      S_INIT("16") },
};
const size_t named_setting_count = COUNT_OF(named_setting_table);
_Static_assert(COUNT_OF(named_setting_table) <= NAMED_SETTING_COUNT_MAX, "NamedSettings holds all");

enum { CONFIG_BYTES_MAX = 1 << 20, NAME_DISTANCE_MAX = 3 };

static const struct unit {
    Str name;
    int64_t factor;
} size_units[] = {
    { S_INIT(""), 1 },
    { S_INIT("B"), 1 },
    { S_INIT("kB"), 1000 },
    { S_INIT("KB"), 1000 },
    { S_INIT("MB"), 1000000 },
    { S_INIT("GB"), 1000000000 },
    { S_INIT("TB"), INT64_C(1000000000000) },
    { S_INIT("KiB"), KIB },
    { S_INIT("MiB"), MIB },
    { S_INIT("GiB"), GIB },
    { S_INIT("TiB"), 1024 * GIB },
}, duration_units[] = {
    { S_INIT("ms"), NS_PER_MS },
    { S_INIT("s"), NS_PER_S },
    { S_INIT("m"), 60 * NS_PER_S },
    { S_INIT("min"), 60 * NS_PER_S },
    { S_INIT("h"), 3600 * NS_PER_S },
    { S_INIT("d"), 86400 * NS_PER_S },
};

// digits[blank]unit, into a number below 2^63.
static Err parse_unit(Str s, const struct unit *units, size_t n, int64_t *ret)
{
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    uint64_t number;
    TRY(str_u64(str_head(s, digits), &number));
    Str name = str_trim(str_skip(s, digits));
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(units[i].name, name))
            continue;
        if (number > (uint64_t)(INT64_MAX / units[i].factor))
            return fail(ERR_INVALID, "too large");
        *ret = (int64_t)number * units[i].factor;
        return OK;
    }
    return fail(ERR_INVALID, "unknown unit");
}

Err parse_size(Str s, uint64_t *ret_bytes)
{
    int64_t bytes;
    TRY(parse_unit(s, size_units, COUNT_OF(size_units), &bytes));
    *ret_bytes = (uint64_t)bytes;
    return OK;
}

Err parse_duration(Str s, int64_t *ret_ns)
{
    return parse_unit(s, duration_units, COUNT_OF(duration_units), ret_ns);
}

static Err parse_factor(Str s, double *ret)
{
    double factor = str_eq(s, S("on")) ? 1 : 0;
    if (!str_eq(s, S("on")) && !str_eq(s, S("off"))) {
        TRY(str_double(s, &factor));
        if (!isfinite(factor) || factor <= 0 || factor > 1e6)
            return fail(ERR_INVALID, "not a factor");
    }
    *ret = factor;
    return OK;
}

static bool is_choice(Str choices, Str word)
{
    for (Str one; choices.n > 0;) {
        (void)str_cut(choices, '|', &one, &choices);
        if (str_eq(one, word))
            return true;
    }
    return false;
}

// What is wrong with a value, or an absent Str.
static Str complaint(struct arena *a, const struct setting *s, Str text)
{
    int64_t number = 0;
    uint64_t count = 0;
    double factor;
    bool good = true, ranged = false;
    switch (s->type) {
    case SETTING_TEXT:
    case SETTING_LIST:
        return str_find(text, '\0') < text.n ? S("text without zero bytes") : (Str){ 0 };
    case SETTING_SIZE:
        good = parse_unit(text, size_units, COUNT_OF(size_units), &number).kind == ERR_NONE;
        ranged = true;
        break;
    case SETTING_DURATION:
        good = parse_duration(text, &number).kind == ERR_NONE;
        ranged = true;
        break;
    case SETTING_COUNT:
        good = str_u64(text, &count).kind == ERR_NONE && count <= INT64_MAX;
        number = (int64_t)count;
        ranged = true;
        break;
    case SETTING_SWITCH:
        return is_choice(S("true|false"), text) ? (Str){ 0 } : S("true or false");
    case SETTING_CHOICE:
        return is_choice(s->choices, text) ? (Str){ 0 } : str_cat(a, S("one of "), s->choices);
    case SETTING_FACTOR:
        good = parse_factor(text, &factor).kind == ERR_NONE;
        return good ? (Str){ 0 } : S("on, off or a number above 0, such as 2.5");
    }
    if (!good)
        return str_cat3(a, S("a value such as "), s->example, S(""));
    if (ranged && (number < s->min || (s->max > 0 && number > s->max)))
        return str_fmt(a, "between %lld and %lld%s", (long long)s->min, (long long)s->max,
                       s->type == SETTING_SIZE       ? " bytes"
                       : s->type == SETTING_DURATION ? " nanoseconds"
                                                     : "");
    return (Str){ 0 };
}

struct loader {
    struct arena *a;
    Settings *settings;
    Str *problem;
    Str *all; // of settings_check: where problems gather; NULL: the first one ends it
    size_t all_count;
    int rank[SETTING_COUNT_MAX]; // of the source that set a value: a higher one replaces it
};

enum { RANK_DEFAULT, RANK_SYSTEMD, RANK_FILE, RANK_ENVIRONMENT, RANK_FLAG };

// OK when all problems are wanted: what is wrong is left as it was.
static Err refuse(struct loader *l, Str problem)
{
    if (l->all != NULL) {
        if (l->all_count < SETTINGS_PROBLEMS_MAX)
            l->all[l->all_count++] = problem;
        return OK;
    }
    *l->problem = problem;
    return fail(ERR_INVALID, "configuration refused");
}

// Sets one value. Of a list given twice by the same kind of source, both stay.
static Err set(struct loader *l, const struct setting *s, int rank, Str origin, SettingValue given)
{
    size_t i = (size_t)(s - setting_table);
    if (s->type == SETTING_LIST && given.items == NULL) {
        given.items = arena_new(l->a, Str, 1);
        given.items[0] = given.text;
        given.item_count = given.text.n > 0 || s->fallback.n > 0 ? 1 : 0;
    }
    Str wanted = complaint(l->a, s, given.text);
    for (size_t k = 0; wanted.p == NULL && k < given.item_count; k++)
        if (given.items[k].n == 0)
            wanted = S("a list of texts that are not empty");
    if (wanted.p != NULL)
        return refuse(l, str_fmt(l->a, "%.*s: '%.*s' is not a value for %.*s; it must be %.*s",
                                 FMT(origin), FMT(str_head(given.text, 80)), FMT(s->key),
                                 FMT(wanted)));
    SettingValue *v = &l->settings->at[i];
    if (rank < l->rank[i])
        return OK;
    if (rank == l->rank[i] && s->type == SETTING_LIST && rank != RANK_DEFAULT) {
        Str *both = arena_new(l->a, Str, v->item_count + given.item_count);
        for (size_t k = 0; k < v->item_count; k++)
            both[k] = v->items[k];
        for (size_t k = 0; k < given.item_count; k++)
            both[v->item_count + k] = given.items[k];
        given.items = both;
        given.item_count += v->item_count;
        given.text = str_cat3(l->a, v->text, S(","), given.text);
    }
    *v = given;
    v->origin = origin;
    l->rank[i] = rank;
    return OK;
}

static Str spelled(struct arena *a, Str key, char separator, bool upper)
{
    Str out = str_dup(a, key);
    char *p = (char *)(uintptr_t)out.p; // our own copy
    for (size_t i = 0; i < out.n; i++) {
        if (p[i] == '.' || p[i] == '_')
            p[i] = separator;
        else if (upper && p[i] >= 'a' && p[i] <= 'z')
            p[i] = (char)(p[i] - 'a' + 'A');
    }
    return out;
}

Str setting_flag(struct arena *a, const struct setting *s)
{
    return spelled(a, s->key, '-', false);
}

Str setting_environment(struct arena *a, const struct setting *s)
{
    return str_cat(a, S("HEADRACE_"), spelled(a, s->key, '_', true));
}

// '.', '_' and '-' are the same in a flag, so that a key may be written as the file has it.
static bool same_name(Str x, Str y)
{
    if (x.n != y.n)
        return false;
    for (size_t i = 0; i < x.n; i++) {
        char c = x.p[i] == '.' || x.p[i] == '_' ? '-' : x.p[i];
        char d = y.p[i] == '.' || y.p[i] == '_' ? '-' : y.p[i];
        if (c != d)
            return false;
    }
    return true;
}

const struct setting *setting_of_flag(Str name)
{
    for (size_t i = 0; i < setting_count; i++)
        if (same_name(setting_table[i].key, name))
            return &setting_table[i];
    return NULL;
}

static const struct setting *setting_of_key(Str key)
{
    for (size_t i = 0; i < setting_count; i++)
        if (str_eq(setting_table[i].key, key))
            return &setting_table[i];
    return NULL;
}

// "; did you mean 'listen'?", or nothing when no key is near.
static Str suggestion(struct arena *a, Str key)
{
    size_t best = NAME_DISTANCE_MAX + 1;
    Str name = S("");
    for (size_t i = 0; i < setting_count; i++) {
        size_t distance = str_distance(setting_table[i].key, key);
        if (distance < best) {
            best = distance;
            name = setting_table[i].key;
        }
    }
    return name.n > 0 ? str_fmt(a, "; did you mean '%.*s'?", FMT(name)) : S("");
}

static Str lines_before(Str content, unsigned line)
{
    Str rest = content, head;
    for (unsigned i = 1; i < line && rest.n > 0; i++)
        (void)str_cut(rest, '\n', &head, &rest);
    return str_head(content, content.n - rest.n);
}

static Err set_defaults(struct loader *l)
{
    for (size_t i = 0; i < setting_count; i++)
        TRY(set(l, &setting_table[i], RANK_DEFAULT, S("default"),
                (SettingValue){ .text = setting_table[i].fallback }));
    return OK;
}

// ---- Sections with names

static const struct setting *named_setting_of(Str key)
{
    for (size_t i = 0; i < named_setting_count; i++)
        if (str_eq(named_setting_table[i].key, key))
            return &named_setting_table[i];
    return NULL;
}

// "s3.remote.my.bucket.endpoint": the section is what stands in the middle, whatever dots it has.
static bool is_named(Str key, Str *ret_name, Str *ret_last)
{
    Str rest = key;
    if (!str_starts(key, S(NAMED_SETTING_SECTION ".")))
        return false;
    rest = str_skip(rest, S(NAMED_SETTING_SECTION ".").n);
    size_t dot = rest.n;
    while (dot > 0 && rest.p[dot - 1] != '.')
        dot--;
    if (dot < 2)
        return false;
    *ret_name = str_head(rest, dot - 1);
    *ret_last = str_skip(rest, dot);
    return true;
}

static NamedSettings *named_section(struct loader *l, Str name, Str origin)
{
    NamedSettings **at = &l->settings->named;
    while (*at != NULL && !str_eq((*at)->name, name))
        at = &(*at)->next;
    if (*at != NULL)
        return *at;
    *at = arena_new(l->a, NamedSettings, 1);
    (*at)->name = str_dup(l->a, name);
    (*at)->origin = origin;
    for (size_t i = 0; i < named_setting_count; i++)
        (*at)->at[i] =
            (SettingValue){ .text = named_setting_table[i].fallback, .origin = S("default") };
    return *at;
}

static Err set_named(struct loader *l, Str origin, Str name, Str last, const TomlValue *v)
{
    const struct setting *s = named_setting_of(last);
    if (s == NULL) {
        AUTO_BUF(all);
        for (size_t i = 0; i < named_setting_count; i++)
            buf_addf(&all, "%s%.*s", i > 0 ? ", " : "", FMT(named_setting_table[i].key));
        return refuse(l,
                      str_fmt(l->a, "%.*s: unknown key '%.*s'; a section %s.NAME has %.*s",
                              FMT(origin), FMT(v->key), NAMED_SETTING_SECTION, FMT(buf_str(&all))));
    }
    NamedSettings *section = named_section(l, name, origin);
    Str wanted = v->kind == TOML_LIST ? S("one value, not a list") : complaint(l->a, s, v->text);
    if (wanted.p != NULL)
        return refuse(l,
                      str_fmt(l->a, "%.*s: '%.*s' is not a value for %.*s; it must be %.*s",
                              FMT(origin), FMT(str_head(v->text, 80)), FMT(v->key), FMT(wanted)));
    section->at[s - named_setting_table] = (SettingValue){ .text = v->text, .origin = origin };
    return OK;
}

static bool is_plain_prefix(Str prefix)
{
    for (size_t i = 0; i < prefix.n; i++) {
        char c = prefix.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.' || c == '/'))
            return false;
    }
    return true;
}

static Err check_named(struct loader *l, const NamedSettings *s)
{
    Str url = settings_named_text(s, S("endpoint")), wrong = { 0 };
    bool secure = str_starts(url, S("https://"));
    if (url.n == 0)
        wrong = S("there is no endpoint");
    else if (!secure && !str_starts(url, S("http://")))
        wrong = S("endpoint must be http://HOST:PORT or https://HOST:PORT");
    else if (!secure && !str_eq(settings_named_text(s, S("private")), S("true")))
        wrong = S("endpoint is plain HTTP, which private = false does not allow");
    else if (!is_plain_prefix(settings_named_text(s, S("prefix"))))
        wrong = S("prefix may have letters, digits and -_./ alone");
    if (wrong.p == NULL)
        return OK;
    return refuse(l, str_fmt(l->a, "%.*s: [%s.%.*s]: %.*s", FMT(s->origin), NAMED_SETTING_SECTION,
                             FMT(s->name), FMT(wrong)));
}

static Err set_from_line(struct loader *l, Str path, const TomlValue *v)
{
    Str origin = str_fmt(l->a, "%.*s line %u", FMT(path), v->line), name, last;
    if (is_named(v->key, &name, &last))
        return set_named(l, origin, name, last, v);
    const struct setting *s = setting_of_key(v->key);
    if (s == NULL)
        return refuse(l, str_fmt(l->a, "%.*s: unknown key '%.*s' in line %u%.*s", FMT(path),
                                 FMT(v->key), v->line, FMT(suggestion(l->a, v->key))));
    if (v->kind == TOML_LIST && s->type != SETTING_LIST)
        return refuse(
            l, str_fmt(l->a, "%.*s: %.*s takes one value, not a list", FMT(origin), FMT(s->key)));
    SettingValue given = { .text = v->text };
    if (v->kind == TOML_LIST) {
        given.items = v->items;
        given.item_count = v->item_count;
        given.text = S("");
        for (size_t k = 0; k < v->item_count; k++)
            given.text = k == 0 ? v->items[0] : str_cat3(l->a, given.text, S(","), v->items[k]);
        if (v->item_count == 0 && s->fallback.n > 0)
            return refuse(l,
                          str_fmt(l->a, "%.*s: %.*s is an empty list", FMT(origin), FMT(s->key)));
    }
    return set(l, s, RANK_FILE, origin, given);
}

static Err set_from_file(struct loader *l, Str path, Str content)
{
    TomlDoc doc = { 0 };
    TomlFault fault = { 0 };
    if (toml_parse(l->a, content, &doc, &fault).kind != ERR_NONE) {
        TRY(refuse(l,
                   str_fmt(l->a, "%.*s line %u: %.*s", FMT(path), fault.line, FMT(fault.reason))));
        // What stands before that line may have problems of its own.
        content = lines_before(content, fault.line);
        if (toml_parse(l->a, content, &doc, &fault).kind != ERR_NONE)
            return OK;
    }
    for (size_t i = 0; i < doc.n; i++)
        TRY(set_from_line(l, path, &doc.at[i]));
    for (const NamedSettings *s = l->settings->named; s != NULL; s = s->next)
        TRY(check_named(l, s));
    return OK;
}

static Str environment_get(const char *const *environment, Str name)
{
    for (size_t i = 0; environment != NULL && environment[i] != NULL; i++) {
        Str line = str_of(environment[i]);
        if (str_starts(line, name) && line.n > name.n && line.p[name.n] == '=')
            return str_skip(line, name.n + 1);
    }
    return (Str){ 0 };
}

static bool is_known_variable(struct arena *a, Str name)
{
    static const Str others[] = { S_INIT("HEADRACE_CONFIG"), S_INIT("HEADRACE_ACCESS_KEY_ID"),
                                  S_INIT("HEADRACE_SECRET_ACCESS_KEY") };
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (str_eq(others[i], name))
            return true;
    for (size_t i = 0; i < setting_count; i++)
        if (str_eq(setting_environment(a, &setting_table[i]), name))
            return true;
    return false;
}

static Str with_nearest_variable(struct arena *a, Str name)
{
    size_t best = NAME_DISTANCE_MAX + 1;
    Str nearest = S("");
    for (size_t i = 0; i < setting_count; i++) {
        Str variable = setting_environment(a, &setting_table[i]);
        size_t distance = str_distance(variable, name);
        if (distance < best) {
            best = distance;
            nearest = variable;
        }
    }
    return nearest.n > 0 ? str_cat3(a, name, S("; did you mean "), str_cat(a, nearest, S("?")))
                         : name;
}

static void note_unknown_variables(struct loader *l, const char *const *environment)
{
    size_t n = 0;
    while (environment != NULL && environment[n] != NULL)
        n++;
    l->settings->unknown = arena_new(l->a, Str, n);
    for (size_t i = 0; i < n; i++) {
        Str name, value;
        (void)str_cut(str_of(environment[i]), '=', &name, &value);
        if (str_starts(name, S("HEADRACE_")) && !is_known_variable(l->a, name))
            l->settings->unknown[l->settings->unknown_count++] = with_nearest_variable(l->a, name);
    }
}

static Err set_from_environment(struct loader *l, const char *const *environment)
{
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *s = &setting_table[i];
        Str name = setting_environment(l->a, s);
        Str text = environment_get(environment, name);
        if (text.n == 0)
            continue; // an empty variable is the same as none
        SettingValue given = { .text = text };
        if (s->type == SETTING_LIST) {
            given.items = arena_new(l->a, Str, text.n + 1);
            for (Str rest = text; rest.n > 0;)
                (void)str_cut(rest, ',', &given.items[given.item_count++], &rest);
        }
        TRY(set(l, s, RANK_ENVIRONMENT, str_cat(l->a, S("environment "), name), given));
    }
    return OK;
}

static Err set_from_flags(struct loader *l, const SettingsInput *in)
{
    for (size_t i = 0; i < in->flag_count; i++) {
        const SettingFlag *f = &in->flags[i];
        const struct setting *s = setting_of_flag(f->name);
        if (s == NULL) {
            TRY(refuse(l, str_fmt(l->a, "unknown flag --%.*s", FMT(f->name))));
            continue;
        }
        TRY(set(l, s, RANK_FLAG, str_cat(l->a, S("flag --"), setting_flag(l->a, s)),
                (SettingValue){ .text = f->value }));
    }
    return OK;
}

// BASE/rest, where BASE is a variable or, without it, a directory below HOME. Absent without
// either: a place that everybody may write to is no place for data.
static Str below_home(struct arena *a, const char *const *environment, Str variable, Str otherwise,
                      Str rest)
{
    Str base = environment_get(environment, variable);
    if (base.n == 0 || base.p[0] != '/') { // XDG: relative paths are invalid
        Str home = environment_get(environment, S("HOME"));
        if (home.n == 0)
            return (Str){ 0 };
        base = str_cat3(a, home, S("/"), otherwise);
    }
    return str_cat3(a, base, S("/"), rest);
}

static Err set_data_dir(struct loader *l, const SettingsInput *in)
{
    const struct setting *s = setting_of_key(S("data_dir"));
    Str state = environment_get(in->environment, S("STATE_DIRECTORY")), rest;
    if (state.n > 0) {
        (void)str_cut(state, ':', &state, &rest); // systemd lists several; the first is ours
        return set(l, s, RANK_SYSTEMD, S("environment STATE_DIRECTORY"),
                   (SettingValue){ .text = state });
    }
    Str path = in->root ? S("/var/lib/headrace")
                        : below_home(l->a, in->environment, S("XDG_DATA_HOME"), S(".local/share"),
                                     S("headrace"));
    return set(l, s, RANK_DEFAULT, S("default"),
               (SettingValue){ .text = path.p != NULL ? path : S("") });
}

// The configuration file, and whether somebody named it: then it must be there.
static Str config_path(struct arena *a, const SettingsInput *in, bool *ret_named)
{
    Str named = in->file.n > 0 ? in->file : environment_get(in->environment, S("HEADRACE_CONFIG"));
    *ret_named = named.n > 0;
    if (named.n > 0)
        return named;
    Str dir = environment_get(in->environment, S("CONFIGURATION_DIRECTORY"));
    if (dir.n > 0)
        return str_cat(a, dir, S("/headrace.toml"));
    if (in->root)
        return S("/etc/headrace/headrace.toml");
    return below_home(a, in->environment, S("XDG_CONFIG_HOME"), S(".config"),
                      S("headrace/config.toml"));
}

static Err load(struct loader *l, const SettingsInput *in)
{
    TRY(set_defaults(l));
    TRY(set_data_dir(l, in));

    bool named;
    Str path = config_path(l->a, in, &named), content = S("");
    Err e = path.n > 0 ? io_read_file(io_real(), l->a, path, CONFIG_BYTES_MAX, &content)
                       : fail(ERR_NOT_FOUND, "no place for a configuration file");
    if (e.kind == ERR_NONE) {
        l->settings->file = path;
        TRY(set_from_file(l, path, content));
    } else if (named || e.kind != ERR_NOT_FOUND) {
        TRY(refuse(l, str_fmt(l->a, "%.*s cannot be read: %s (%s)", FMT(path), e.text,
                              err_kind_name(e.kind))));
    }
    TRY(set_from_environment(l, in->environment));
    note_unknown_variables(l, in->environment);
    return set_from_flags(l, in);
}

Err settings_load(struct arena *a, const SettingsInput *in, Settings *ret, Str *ret_problem)
{
    Settings *settings = arena_new(a, Settings, 1);
    struct loader l = { .a = a, .settings = settings, .problem = ret_problem };
    TRY(load(&l, in));
    *ret = *settings;
    return OK;
}

// ---- Together

// "listen (headrace.toml line 3): why".
static void refuse_value(struct loader *l, Str key, Str why)
{
    Str origin = settings_value(l->settings, key)->origin;
    err_ignore(refuse(l, str_fmt(l->a, "%.*s: %.*s: %.*s", FMT(origin), FMT(key), FMT(why))));
}

static void check_listen(struct loader *l)
{
    const SettingValue *listen = settings_value(l->settings, S("listen"));
    bool is_dev = str_eq(settings_text(l->settings, S("profile")), S("dev"));
    for (size_t i = 0; i < listen->item_count; i++) {
        Str address = listen->items[i];
        uint16_t port;
        if (address_port(address, &port).kind != ERR_NONE)
            refuse_value(l, S("listen"),
                         str_fmt(l->a, "'%.*s' is no address; write HOST:PORT", FMT(address)));
        else if (is_dev && !address_is_loopback(address) &&
                 !settings_switch(l->settings, S("allow_dev_on_network")))
            refuse_value(l, S("listen"),
                         str_fmt(l->a,
                                 "%.*s can be reached by other machines, and the profile dev "
                                 "takes any credentials; set allow_dev_on_network if that is "
                                 "wanted",
                                 FMT(address)));
    }
}

static void check_file(struct loader *l, Str key)
{
    struct io *io = io_real();
    struct io_file *f = NULL;
    Str path = settings_text(l->settings, key);
    if (path.n == 0)
        return;
    Err e = io->open(io, path, IO_READ, &f);
    if (e.kind != ERR_NONE)
        refuse_value(l, key,
                     str_fmt(l->a, "%.*s cannot be read (%s)", FMT(path), err_kind_name(e.kind)));
    io->close(f);
}

static void check_together(struct loader *l)
{
    Str cert = settings_text(l->settings, S("tls.cert"));
    Str key = settings_text(l->settings, S("tls.key"));
    check_listen(l);
    if ((cert.n > 0) != (key.n > 0))
        refuse_value(l, cert.n > 0 ? S("tls.cert") : S("tls.key"),
                     S("tls.cert and tls.key must be given together"));
    check_file(l, S("tls.cert"));
    check_file(l, S("tls.key"));
    if (settings_text(l->settings, S("data_dir")).n == 0)
        err_ignore(refuse(l, S("data_dir: there is no default without HOME; name a directory")));
}

void settings_check(struct arena *a, const SettingsInput *in, Settings *ret, Str **ret_problems,
                    size_t *ret_n)
{
    Str problem;
    struct loader l = { .a = a,
                        .settings = arena_new(a, Settings, 1),
                        .problem = &problem,
                        .all = arena_new(a, Str, SETTINGS_PROBLEMS_MAX) };
    CHECK(load(&l, in).kind == ERR_NONE); // refuse() lets it go on
    check_together(&l);
    *ret = *l.settings;
    *ret_problems = l.all;
    *ret_n = l.all_count;
}

const SettingValue *settings_value(const Settings *s, Str key)
{
    const struct setting *row = setting_of_key(key);
    CHECK(row != NULL);
    return &s->at[row - setting_table];
}

Str settings_text(const Settings *s, Str key)
{
    return settings_value(s, key)->text;
}

Str settings_named_text(const NamedSettings *s, Str key)
{
    const struct setting *row = named_setting_of(key);
    CHECK(row != NULL);
    return s->at[row - named_setting_table].text;
}

// The values were checked when they were set.
uint64_t settings_size(const Settings *s, Str key)
{
    uint64_t bytes = 0;
    CHECK(parse_size(settings_text(s, key), &bytes).kind == ERR_NONE);
    return bytes;
}

int64_t settings_duration(const Settings *s, Str key)
{
    int64_t ns = 0;
    CHECK(parse_duration(settings_text(s, key), &ns).kind == ERR_NONE);
    return ns;
}

uint64_t settings_number(const Settings *s, Str key)
{
    uint64_t number = 0;
    CHECK(str_u64(settings_text(s, key), &number).kind == ERR_NONE);
    return number;
}

bool settings_switch(const Settings *s, Str key)
{
    return str_eq(settings_text(s, key), S("true"));
}

double settings_factor(const Settings *s, Str key)
{
    double factor = 0;
    CHECK(parse_factor(settings_text(s, key), &factor).kind == ERR_NONE);
    return factor;
}

bool settings_given(const Settings *s, Str key)
{
    return !str_eq(settings_value(s, key)->origin, S("default"));
}
