// SPDX-License-Identifier: Apache-2.0
// The row of every command; each lives in the file of its name.
#pragma once
#include "cli/command.h"

extern const struct command command_serve, command_demo, command_env, command_stream_ls,
    command_stream_create, command_stream_show, command_stream_consumers, command_stream_put,
    command_stream_tail, command_stream_lag, command_stream_replay, command_stream_split,
    command_stream_merge, command_stream_scale, command_stream_rm, command_doctor,
    command_config_print, command_config_check, command_healthcheck, command_version,
    command_store_check, command_store_stat, command_store_dump, command_backup_create,
    command_backup_list, command_backup_verify, command_backup_restore, command_backup_prune,
    command_firehose_ls, command_firehose_create, command_firehose_show, command_firehose_send,
    command_firehose_flush, command_firehose_redrive, command_firehose_rm, command_blob_ls,
    command_blob_cat, command_blob_put, command_blob_rm, command_blob_mb, command_access_explain,
    command_clock_show, command_clock_advance, command_completion, command_man, command_help;
