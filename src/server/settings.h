// SPDX-License-Identifier: Apache-2.0
// Every setting of the server, in one table: its key in the TOML file, its flag, its environment
// variable, type, default and help all come from the same row.
//
//     key  journal.file_size    flag  --journal-file-size    environment HEADRACE_JOURNAL_FILE_SIZE
//
// The first of these that is given decides: flag, environment, file, default. What cannot be
// understood is refused with the place it came from; an unknown key with the nearest name.
#pragma once
#include "base/str.h"

typedef enum SettingType {
    SETTING_TEXT, // anything
    SETTING_LIST, // texts: a repeated flag, commas in the environment, a list in the file; one that
                  // is empty by default may be empty
    SETTING_SIZE, // bytes: "64MiB", "1GB", "4096"
    SETTING_DURATION, // "30s", "500ms", "2m", "1h"
    SETTING_COUNT,    // a whole number
    SETTING_SWITCH,   // true or false
    SETTING_CHOICE,   // one of the words in `choices`
    SETTING_FACTOR,   // "on", "off" or a positive number
} SettingType;

struct setting {
    Str key;
    SettingType type;
    Str fallback;     // the default, as a user would write it; "" for none
    Str choices;      // of a SETTING_CHOICE: "auto|off"
    int64_t min, max; // of sizes (bytes), durations (ns) and counts; both 0: any
    Str help;         // one sentence without a full stop
    Str example;      // a value worth showing
};

extern const struct setting setting_table[];
extern const size_t setting_count;
enum { SETTING_COUNT_MAX = 64 };

// Settings that there are once for each name that the file gives: the key "s3.remote.NAME.endpoint"
// is the row `endpoint` of the section NAME. The file alone can set them.
extern const struct setting named_setting_table[];
extern const size_t named_setting_count;
enum { NAMED_SETTING_COUNT_MAX = 16 };
#define NAMED_SETTING_SECTION "s3.remote"

typedef struct SettingValue {
    Str text;   // as it was given
    Str *items; // of a SETTING_LIST
    size_t item_count;
    Str origin; // "default", "flag --listen", "environment HEADRACE_LISTEN", "a.toml line 3"
} SettingValue;

typedef struct NamedSettings {
    Str name, origin;                         // origin: of its first line
    SettingValue at[NAMED_SETTING_COUNT_MAX]; // as named_setting_table is ordered
    struct NamedSettings *next;
} NamedSettings;

typedef struct Settings {
    SettingValue at[SETTING_COUNT_MAX]; // as setting_table is ordered
    NamedSettings *named;               // in the order of the file; NULL: none
    Str file;                           // the configuration file that was read; absent: none
    // Variables that begin with HEADRACE_ and are no setting, each with the nearest one:
    // "HEADRACE_X; did you mean HEADRACE_Y?". They may be somebody else's, so they are only worth a
    // warning.
    Str *unknown;
    size_t unknown_count;
} Settings;

// A flag with its value, as the command line was taken apart.
typedef struct SettingFlag {
    Str name; // without the dashes: "data-dir"
    Str value;
} SettingFlag;

typedef struct SettingsInput {
    const SettingFlag *flags;
    size_t flag_count;
    const char *const *environment; // NULL-terminated "NAME=value"
    Str file;                       // --config; absent: HEADRACE_CONFIG or the usual places
    bool root;                      // FHS paths instead of XDG ones
} SettingsInput;

// ERR_INVALID (or the file's own error) with a full sentence in ret_problem.
Err settings_load(struct arena *a, const SettingsInput *in, Settings *ret, Str *ret_problem);

// The same without stopping at the first problem: all of them, each a sentence that says where it
// is (file and line, variable or flag) and which key is meant. Also what only shows when settings
// are seen together. A file that is not TOML is read up to where it is none. What good values there
// are is in `ret`.
enum { SETTINGS_PROBLEMS_MAX = 1000 };
void settings_check(struct arena *a, const SettingsInput *in, Settings *ret, Str **ret_problems,
                    size_t *ret_n);

// The row of a flag's name ("log-level" or "log.level"), or NULL.
const struct setting *setting_of_flag(Str name);
Str setting_flag(struct arena *a, const struct setting *s);        // "log-level"
Str setting_environment(struct arena *a, const struct setting *s); // "HEADRACE_LOG_LEVEL"

// Values by key. The key exists and has that type: anything else is our own mistake.
const SettingValue *settings_value(const Settings *s, Str key);
Str settings_text(const Settings *s, Str key);
Str settings_named_text(const NamedSettings *s, Str key); // "endpoint"
uint64_t settings_size(const Settings *s, Str key);       // bytes
int64_t settings_duration(const Settings *s, Str key);
uint64_t settings_number(const Settings *s, Str key);
bool settings_switch(const Settings *s, Str key);
double settings_factor(const Settings *s, Str key); // on: 1, off: 0
bool settings_given(const Settings *s, Str key);    // not by default

// "64MiB" and "30s". ERR_INVALID.
Err parse_size(Str s, uint64_t *ret_bytes);
Err parse_duration(Str s, int64_t *ret_ns);
