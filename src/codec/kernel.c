// SPDX-License-Identifier: Apache-2.0
#include "codec/kernel.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

const struct kernel *kernel_choose(struct kernel_choice *c)
{
    const struct kernel *const *k = c->table;
    while (!(*k)->supported())
        k++;
    CHECK(k < c->table + c->count);
    atomic_store_explicit(&c->chosen, *k, memory_order_relaxed);
    return *k;
}

void kernel_use(struct kernel_choice *c, const struct kernel *k)
{
    atomic_store(&c->chosen, k);
}

bool processor_always(void)
{
    return true;
}

#if defined(__x86_64__)
bool processor_has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
}

bool processor_has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

bool processor_has_sse41(void)
{
    return __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1");
}

bool processor_has_pclmul(void)
{
    return __builtin_cpu_supports("pclmul");
}

bool processor_has_vpclmul(void)
{
    return processor_has_avx2() && processor_has_pclmul() && __builtin_cpu_supports("vpclmulqdq");
}

bool processor_has_sha_ni(void)
{
    unsigned a, b, c, d;
    return processor_has_sse41() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}
#elif defined(__aarch64__)
bool processor_has_sha2(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0;
}

bool processor_has_pmull(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_PMULL) != 0;
}
#endif
