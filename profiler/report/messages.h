/* messages.h: the parts of a profile, written one by one.
 *
 * A protobuf message is the sequence of its fields, so a Profile can be written field by field
 * without ever being whole: 460 bytes of memory for each stack are saved, and the allocations.
 * Strings are not kept either: each gets the next number as it is written. Equal strings may then
 * have several numbers; readers do not mind, and gzip makes them short. */
#ifndef HT_REPORT_MESSAGES_H
#define HT_REPORT_MESSAGES_H

#include <protobuf-c/protobuf-c.h>

#include "report/gzip.h"
#include "sample/frames.h"

/* The repeated fields of Profile (proto/profile.proto). */
enum ht_field {
    HT_FIELD_SAMPLE = 2,
    HT_FIELD_MAPPING = 3,
    HT_FIELD_LOCATION = 4,
    HT_FIELD_FUNCTION = 5,
    HT_FIELD_STRING = 6,
};

/* The longest string as the profile has it. */
#define HT_STRING_MAX ((size_t)16 * 1024)

/* The largest message is a sample: a location for each frame, four values and a label, each a
 * varint of at most 10 bytes. */
#define HT_MESSAGE_MAX ((HT_DEPTH_MAX + 32) * 10)

struct ht_messages {
    struct ht_gzip *gzip;
    int64_t string_count;
    uint8_t packed[HT_MESSAGE_MAX];
    char text[HT_STRING_MAX + 1];
};

/* `messages` is zeroed memory, except for gzip. Writes the string 0, which is empty. */
void ht_messages_start(struct ht_messages *messages);

/* One element of a repeated field. */
void ht_messages_put(struct ht_messages *messages, enum ht_field field,
                     const ProtobufCMessage *message);

/* The fields of a Profile that are set in `profile`, at most HT_MESSAGE_MAX bytes of them. */
void ht_messages_put_fields(struct ht_messages *messages, const ProtobufCMessage *profile);

/* Writes a string, with odd bytes escaped, and returns its number; 0 for an empty one. */
int64_t ht_messages_string(struct ht_messages *messages, const char *text);

#endif
