/* request.h: how a tool asks the library in another process for something.
 *
 * It sends the collector, a thread named "heaptap-sigN" or "heaptap-none", a queued signal that the
 * C library keeps for itself (pthread_cancel()) and lets no program handle or wait for. With it
 * comes a value: a mark in the upper 16 bits says what is wanted, a random number, the nonce, in
 * the lower 32 in which file the answer is awaited: one that the tool has made in the /tmp of the
 * process, for the user of the process. */
#ifndef HT_CONTROL_REQUEST_H
#define HT_CONTROL_REQUEST_H

#define HT_REQUEST_SIGNAL    32
#define HT_REQUEST_PROFILE   UINT64_C(0x6874) /* a profile, and a line of tell.h */
#define HT_REQUEST_STATUS    UINT64_C(0x6875) /* the line of status.h */
#define HT_REQUEST_LIFETIMES UINT64_C(0x6876) /* a profile, one of lifetimes, and a line for each */
#define HT_REQUEST_INTERVAL  UINT64_C(0x6877) /* another interval (retune.h), and that line */
#define HT_REQUEST_FILE      "/tmp/.heaptap-report.%08x"

#endif
