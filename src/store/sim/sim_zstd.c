// SPDX-License-Identifier: Apache-2.0
// Contexts of zstd are kept and given out again: making one fills more memory than a world's
// records, and a world makes hundreds.
#include "base/arena.h"

#include <zstd.h>

enum { KEPT_MAX = 8 };

ZSTD_DCtx *__real_ZSTD_createDCtx(void);
size_t __real_ZSTD_freeDCtx(ZSTD_DCtx *c);
ZSTD_CCtx *__real_ZSTD_createCCtx(void);
size_t __real_ZSTD_freeCCtx(ZSTD_CCtx *c);
ZSTD_DCtx *__wrap_ZSTD_createDCtx(void);
size_t __wrap_ZSTD_freeDCtx(ZSTD_DCtx *c);
ZSTD_CCtx *__wrap_ZSTD_createCCtx(void);
size_t __wrap_ZSTD_freeCCtx(ZSTD_CCtx *c);

static ZSTD_DCtx *readers[KEPT_MAX];
static ZSTD_CCtx *writers[KEPT_MAX];
static size_t reader_count, writer_count;

ZSTD_DCtx *__wrap_ZSTD_createDCtx(void)
{
    return reader_count > 0 ? readers[--reader_count] : __real_ZSTD_createDCtx();
}

size_t __wrap_ZSTD_freeDCtx(ZSTD_DCtx *c)
{
    if (c == NULL || reader_count == KEPT_MAX)
        return __real_ZSTD_freeDCtx(c);
    readers[reader_count++] = c;
    return ZSTD_DCtx_reset(c, ZSTD_reset_session_and_parameters);
}

ZSTD_CCtx *__wrap_ZSTD_createCCtx(void)
{
    return writer_count > 0 ? writers[--writer_count] : __real_ZSTD_createCCtx();
}

size_t __wrap_ZSTD_freeCCtx(ZSTD_CCtx *c)
{
    if (c == NULL || writer_count == KEPT_MAX)
        return __real_ZSTD_freeCCtx(c);
    writers[writer_count++] = c;
    return ZSTD_CCtx_reset(c, ZSTD_reset_session_and_parameters);
}
