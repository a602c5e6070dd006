#include "report/messages.h"

#include <string.h>

#include "report/text.h"

#include "sys/poison.h"

#define WIRE_TYPE_LENGTH 2u /* length-delimited: messages and strings */

static void put_header(struct ht_messages *messages, enum ht_field field, size_t length)
{
    uint8_t header[11] = {(uint8_t)((unsigned)field << 3 | WIRE_TYPE_LENGTH)};
    size_t used = 1;
    for (; length >= 0x80; length >>= 7)
        header[used++] = (uint8_t)(length | 0x80);
    header[used++] = (uint8_t)length;
    ht_gzip_write(messages->gzip, header, used);
}

void ht_messages_start(struct ht_messages *messages)
{
    put_header(messages, HT_FIELD_STRING, 0);
    messages->string_count = 1;
}

void ht_messages_put(struct ht_messages *messages, enum ht_field field,
                     const ProtobufCMessage *message)
{
    size_t length = protobuf_c_message_pack(message, messages->packed);
    put_header(messages, field, length);
    ht_gzip_write(messages->gzip, messages->packed, length);
}

void ht_messages_put_fields(struct ht_messages *messages, const ProtobufCMessage *profile)
{
    ht_gzip_write(messages->gzip, messages->packed,
                  protobuf_c_message_pack(profile, messages->packed));
}

int64_t ht_messages_string(struct ht_messages *messages, const char *text)
{
    size_t length = ht_text_clean(text, strlen(text), messages->text, sizeof(messages->text));
    if (length == 0)
        return 0;
    put_header(messages, HT_FIELD_STRING, length);
    ht_gzip_write(messages->gzip, messages->text, length);
    return messages->string_count++;
}
