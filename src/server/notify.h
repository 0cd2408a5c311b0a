// SPDX-License-Identifier: Apache-2.0
// The service manager's notification protocol (sd_notify(3)), without its library.
#pragma once
#include "base/str.h"

// Sends "READY=1" or the like to the socket whose path is in NOTIFY_SOCKET ('@' for an abstract
// one). Nothing happens when `socket_path` is empty.
Err notify_manager(Str socket_path, Str state);
