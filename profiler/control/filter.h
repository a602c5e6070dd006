/* filter.h: what a seccomp filter says to a system call, without making it.
 *
 * Such a filter is a classic BPF program over struct seccomp_data; linux/filter.h and
 * linux/bpf_common.h name its instructions. Jumps only go forward, so it ends. */
#ifndef HT_CONTROL_FILTER_H
#define HT_CONTROL_FILTER_H

#include <linux/filter.h>

#include "sys/compiler.h"

/* Whether the call returns, with a result or an error: SECCOMP_RET_ALLOW, LOG or ERRNO. Anything
 * else ends the process or has somebody else look at it. False too for a program that the kernel
 * would refuse. The call's own address, which a filter could ask for, is 0. Context: any. */
bool ht_filter_lets(const struct sock_filter *program, unsigned length, long number,
                    const uint64_t arguments[6]);

#endif
