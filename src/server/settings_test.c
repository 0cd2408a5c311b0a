// SPDX-License-Identifier: Apache-2.0
#include "base/test.h"
#include "base/time.h"
#include "os/io.h"
#include "server/settings.h"

static const char *const nothing[] = { "HOME=/home/nobody", NULL };

static Str config_file(struct arena *a, Str content)
{
    Str path = str_cat(a, test_dir(a), S("/headrace.toml"));
    EXPECT_OK(io_write_file(io_real(), a, path, content));
    return path;
}

static Settings *loaded(struct arena *a, SettingsInput in)
{
    Settings *s = arena_new(a, Settings, 1);
    Str problem = S("");
    EXPECT_OK(settings_load(a, &in, s, &problem));
    return s;
}

static Str problem_of(struct arena *a, SettingsInput in)
{
    Settings *s = arena_new(a, Settings, 1);
    Str problem = S("");
    EXPECT_ERR(ERR_INVALID, settings_load(a, &in, s, &problem));
    return problem;
}

static bool mentions(Str text, Str part)
{
    return str_search(text, part) < text.n;
}

TEST(without_any_source_every_setting_has_its_default)
{
    Settings *s = loaded(a, (SettingsInput){ .environment = nothing });
    EXPECT_STR(S("/home/nobody/.local/share/headrace"), settings_text(s, S("data_dir")));
    EXPECT_INT(1, settings_value(s, S("listen"))->item_count);
    EXPECT_STR(S("127.0.0.1:4566"), settings_value(s, S("listen"))->items[0]);
    EXPECT_INT(64 << 20, settings_size(s, S("journal.file_size")));
    EXPECT(settings_factor(s, S("limits")) == 1);
    EXPECT(!settings_given(s, S("listen")) && s->file.p == NULL);
}

TEST(without_a_home_there_is_no_data_directory_by_default)
{
    static const char *const homeless[] = { "PATH=/bin", NULL };
    Settings *s = loaded(a, (SettingsInput){ .environment = homeless });
    EXPECT_STR(S(""), settings_text(s, S("data_dir")));
    s = loaded(a, (SettingsInput){ .environment = homeless, .root = true });
    EXPECT_STR(S("/var/lib/headrace"), settings_text(s, S("data_dir")));
}

TEST(every_default_and_example_is_a_good_value)
{
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *row = &setting_table[i];
        SettingFlag flag = { .name = setting_flag(a, row), .value = row->example };
        SettingsInput in = { .flags = &flag, .flag_count = 1, .environment = nothing };
        Settings *s = loaded(a, in);
        EXPECT_STR(row->example, s->at[i].text);
        EXPECT(row->help.n > 0 && row->example.n > 0);
    }
}

TEST(no_two_settings_share_a_flag)
{
    for (size_t i = 0; i < setting_count; i++)
        EXPECT(setting_of_flag(setting_flag(a, &setting_table[i])) == &setting_table[i]);
}

TEST(a_flag_wins_over_the_environment_and_that_over_the_file)
{
    Str file = config_file(a, S("region = 'from-file'\nprofile = \"dev\"\n"
                                "[log]\nlevel = 'debug'\n"));
    static const char *const environment[] = { "HEADRACE_REGION=from-environment",
                                               "HEADRACE_LOG_LEVEL=warn",
                                               "STATE_DIRECTORY=/var/lib/a:/var/lib/b", NULL };
    SettingFlag flag = { .name = S("log-level"), .value = S("error") };
    SettingsInput in = {
        .flags = &flag, .flag_count = 1, .environment = environment, .file = file
    };
    Settings *s = loaded(a, in);
    EXPECT_STR(S("error"), settings_text(s, S("log.level")));
    EXPECT_STR(S("flag --log-level"), settings_value(s, S("log.level"))->origin);
    EXPECT_STR(S("from-environment"), settings_text(s, S("region")));
    EXPECT_STR(S("environment HEADRACE_REGION"), settings_value(s, S("region"))->origin);
    EXPECT_STR(S("dev"), settings_text(s, S("profile")));
    EXPECT_STR(str_cat(a, file, S(" line 2")), settings_value(s, S("profile"))->origin);
    EXPECT_STR(S("/var/lib/a"), settings_text(s, S("data_dir")));
    EXPECT_STR(file, s->file);
}

TEST(a_file_wins_over_the_state_directory_of_the_service_manager)
{
    Str file = config_file(a, S("data_dir = '/srv/x'\n"));
    static const char *const environment[] = { "STATE_DIRECTORY=/var/lib/a", NULL };
    Settings *s = loaded(a, (SettingsInput){ .environment = environment, .file = file });
    EXPECT_STR(S("/srv/x"), settings_text(s, S("data_dir")));
}

TEST(a_variable_that_is_no_setting_is_noted_with_the_nearest_one)
{
    static const char *const environment[] = { "HEADRACE_LISTN=x",
                                               "HEADRACE=y",
                                               "HEADRACE_ACCESS_KEY_ID=z",
                                               "HEADRACE_CONFIG=",
                                               "HEADRACE_SOMETHING_ELSE=w",
                                               "PATH=/bin",
                                               NULL };
    Settings *s = loaded(a, (SettingsInput){ .environment = environment });
    EXPECT_INT(2, s->unknown_count);
    EXPECT_STR(S("HEADRACE_LISTN; did you mean HEADRACE_LISTEN?"), s->unknown[0]);
    EXPECT_STR(S("HEADRACE_SOMETHING_ELSE"), s->unknown[1]);
}

TEST(listeners_come_as_a_list_from_every_source)
{
    Str file = config_file(a, S("listen = ['a:1', 'b:2']\n"));
    Settings *s = loaded(a, (SettingsInput){ .environment = nothing, .file = file });
    EXPECT_INT(2, settings_value(s, S("listen"))->item_count);
    EXPECT_STR(S("b:2"), settings_value(s, S("listen"))->items[1]);

    static const char *const environment[] = { "HEADRACE_LISTEN=c:3,d:4,e:5", NULL };
    s = loaded(a, (SettingsInput){ .environment = environment, .file = file });
    EXPECT_INT(3, settings_value(s, S("listen"))->item_count);

    const SettingFlag flags[] = { { S("listen"), S("f:6") }, { S("listen"), S("g:7") } };
    SettingsInput in = {
        .flags = flags, .flag_count = 2, .environment = environment, .file = file
    };
    s = loaded(a, in);
    EXPECT_INT(2, settings_value(s, S("listen"))->item_count);
    EXPECT_STR(S("f:6"), settings_value(s, S("listen"))->items[0]);
    EXPECT_STR(S("g:7"), settings_value(s, S("listen"))->items[1]);
}

TEST(an_unknown_key_is_refused_with_its_line_and_the_nearest_name)
{
    Str file = config_file(a, S("region = 'x'\n\nlisen = ['a:1']\n"));
    Str problem = problem_of(a, (SettingsInput){ .environment = nothing, .file = file });
    EXPECT(str_ends(problem, S("unknown key 'lisen' in line 3; did you mean 'listen'?")));

    file = config_file(a, S("colour = 'red'\n"));
    problem = problem_of(a, (SettingsInput){ .environment = nothing, .file = file });
    EXPECT(str_ends(problem, S("unknown key 'colour' in line 1")));
}

TEST(a_wrong_value_is_refused_with_where_it_came_from_and_what_would_do)
{
    static const char *const environment[] = { "HEADRACE_PROFILE=prod", NULL };
    EXPECT_STR(S("environment HEADRACE_PROFILE: 'prod' is not a value for profile; it must be one "
                 "of production|dev"),
               problem_of(a, (SettingsInput){ .environment = environment }));

    static const struct {
        Str flag, value, wanted;
    } cases[] = {
        { S_INIT("journal-file-size"), S_INIT("64 parsecs"), S_INIT("a value such as 256MiB") },
        { S_INIT("journal-file-size"), S_INIT("1kB"), S_INIT("between 1048576 and") },
        { S_INIT("http-idle-timeout"), S_INIT("fast"), S_INIT("a value such as 10m") },
        { S_INIT("threads"), S_INIT("-1"), S_INIT("a value such as 4") },
        { S_INIT("threads"), S_INIT("5000"), S_INIT("between 0 and 256") },
        { S_INIT("limits"), S_INIT("0"), S_INIT("on, off or a number above 0") },
        { S_INIT("limits"), S_INIT("nan"), S_INIT("on, off or a number above 0") },
        { S_INIT("allow-dev-on-network"), S_INIT("yes"), S_INIT("true or false") },
        { S_INIT("listen"), S_INIT(""), S_INIT("texts that are not empty") },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        SettingFlag flag = { .name = cases[i].flag, .value = cases[i].value };
        SettingsInput in = { .flags = &flag, .flag_count = 1, .environment = nothing };
        Str problem = problem_of(a, in);
        EXPECT(mentions(problem, cases[i].wanted) && str_starts(problem, S("flag --")));
    }
}

TEST(a_file_that_was_named_must_be_there)
{
    static const char *const environment[] = { "HEADRACE_CONFIG=/nonexistent/headrace.toml", NULL };
    Str problem = problem_of(a, (SettingsInput){ .environment = environment });
    EXPECT(str_starts(problem, S("/nonexistent/headrace.toml cannot be read")));
}

TEST(a_broken_file_is_refused_with_its_line)
{
    Str file = config_file(a, S("region = 'x'\nprofile = dev\n"));
    Str problem = problem_of(a, (SettingsInput){ .environment = nothing, .file = file });
    EXPECT(mentions(problem, S(" line 2: 'dev' is neither")));
}

TEST(sizes_and_durations_have_units)
{
    uint64_t bytes = 0;
    int64_t ns = 0;
    EXPECT_OK(parse_size(S("64MiB"), &bytes));
    EXPECT_INT(64 << 20, bytes);
    EXPECT_OK(parse_size(S("5 kB"), &bytes));
    EXPECT_INT(5000, bytes);
    EXPECT_OK(parse_size(S("4096"), &bytes));
    EXPECT_INT(4096, bytes);
    EXPECT_ERR(ERR_INVALID, parse_size(S("9999999TiB"), &bytes));
    EXPECT_ERR(ERR_INVALID, parse_size(S("MiB"), &bytes));
    EXPECT_OK(parse_duration(S("1500ms"), &ns));
    EXPECT_INT(1500 * NS_PER_MS, ns);
    EXPECT_OK(parse_duration(S("2h"), &ns));
    EXPECT_INT(7200 * NS_PER_S, ns);
    EXPECT_ERR(ERR_INVALID, parse_duration(S("30"), &ns));
}

static Str *problems_of(struct arena *a, SettingsInput in, size_t *ret_n)
{
    Settings *s = arena_new(a, Settings, 1);
    Str *all = NULL;
    settings_check(a, &in, s, &all, ret_n);
    return all;
}

TEST(a_check_names_every_problem_with_its_line_and_key)
{
    size_t n = 0;
    Str file = config_file(a, S("lisen = [\"127.0.0.1:1\"]\n"
                                "profile = \"none\"\n"
                                "limits = \"off\"\n"
                                "[journal]\n"
                                "file_size = \"lots\"\n"
                                "[tls]\n"
                                "cert = \"/nowhere/cert.pem\"\n"));
    Str *all = problems_of(a, (SettingsInput){ .environment = nothing, .file = file }, &n);
    static const char *const wanted[] = {
        "unknown key 'lisen' in line 1; did you mean 'listen'?",
        "line 2: 'none' is not a value for profile",
        "line 5: 'lots' is not a value for journal.file_size",
        "line 7: tls.cert: tls.cert and tls.key must be given together",
        "line 7: tls.cert: /nowhere/cert.pem cannot be read (not-found)",
    };
    EXPECT_INT(COUNT_OF(wanted), n);
    for (size_t i = 0; i < n; i++)
        EXPECT(mentions(all[i], str_of(wanted[i])) && mentions(all[i], file));
}

TEST(a_check_finds_what_stands_before_a_line_that_is_no_toml)
{
    size_t n = 0;
    Str file = config_file(a, S("listn = \"x\"\nprofile = dev\nlisen = 1\n"));
    Str *all = problems_of(a, (SettingsInput){ .environment = nothing, .file = file }, &n);
    EXPECT_INT(2, n);
    EXPECT(mentions(all[0], S("line 2")) && mentions(all[1], S("unknown key 'listn' in line 1")));
}

TEST(a_check_sees_settings_together_wherever_they_come_from)
{
    size_t n = 0;
    static const char *const variables[] = { "HEADRACE_PROFILE=dev", "HEADRACE_LIMITS=much", NULL };
    static const SettingFlag flags[] = { { S_INIT("listen"), S_INIT("0.0.0.0:4566") },
                                         { S_INIT("listen"), S_INIT("nonsense") } };
    Str *all = problems_of(
        a, (SettingsInput){ .environment = variables, .flags = flags, .flag_count = 2 }, &n);
    EXPECT_INT(4, n);
    EXPECT(mentions(all[0], S("environment HEADRACE_LIMITS")) && mentions(all[0], S("limits")));
    EXPECT(mentions(all[1], S("flag --listen")) && mentions(all[1], S("the profile dev")));
    EXPECT(mentions(all[2], S("'nonsense' is no address")));
    EXPECT(mentions(all[3], S("data_dir")));
}

TEST(a_check_of_a_good_configuration_finds_nothing)
{
    size_t n = 1;
    Str file = config_file(a, S("profile = \"production\"\nlisten = [\"127.0.0.1:0\"]\n"));
    (void)problems_of(a, (SettingsInput){ .environment = nothing, .file = file }, &n);
    EXPECT_INT(0, n);
    (void)problems_of(a, (SettingsInput){ .environment = nothing, .file = S("/nowhere") }, &n);
    EXPECT_INT(1, n); // a file that was named and is not there
}

TEST(sections_with_names_are_as_many_as_the_file_has)
{
    Str file = config_file(a, S("[s3.remote.\"my.bucket\"]\nendpoint = 'http://127.0.0.1:9000'\n"
                                "timeout = '5s'\n[s3.remote.other]\nendpoint = 'https://s3.x'\n"
                                "prefix = 'a/'\nconnections = 3\n"));
    Settings *s = loaded(a, (SettingsInput){ .file = file, .environment = nothing });
    const NamedSettings *n = s->named;
    EXPECT_STR(S("my.bucket"), n->name);
    EXPECT_STR(S("http://127.0.0.1:9000"), settings_named_text(n, S("endpoint")));
    EXPECT_STR(S("5s"), settings_named_text(n, S("timeout")));
    EXPECT_STR(S("us-east-1"), settings_named_text(n, S("region")));
    EXPECT_STR(S("other"), n->next->name);
    EXPECT_STR(S("3"), settings_named_text(n->next, S("connections")));
    EXPECT(n->next->next == NULL);
    EXPECT(loaded(a, (SettingsInput){ .environment = nothing })->named == NULL);
}

TEST(a_section_with_a_name_is_held_against_its_rows)
{
    static const struct {
        const char *lines, *says;
    } bad[] = {
        { "region = 'x'\n", "there is no endpoint" },
        { "endpoint = 'ftp://x'\n", "endpoint must be" },
        { "endpoint = 'http://x'\nprivate = false\n", "plain HTTP" },
        { "endpoint = 'http://x'\nprefix = 'a b'\n", "prefix may have" },
        { "endpoint = 'http://x'\ntimeout = 'soon'\n", "is not a value for s3.remote.b.timeout" },
        { "endpoint = ['http://x']\n", "one value, not a list" },
        { "endpoint = 'http://x'\nbuckit = 'b'\n", "unknown key 's3.remote.b.buckit'" },
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Str file = config_file(a, str_cat(a, S("[s3.remote.b]\n"), str_of(bad[i].lines)));
        Str problem = problem_of(a, (SettingsInput){ .file = file, .environment = nothing });
        EXPECT(str_search(problem, str_of(bad[i].says)) < problem.n);
    }
    for (size_t i = 0; i < named_setting_count; i++)
        EXPECT(named_setting_table[i].help.n > 0 && named_setting_table[i].example.n > 0);
}
