/* json.h: writes JSON to standard output, with its commas.
 *
 *     struct json json = {0};
 *     json_open(&json, NULL, '{');
 *     json_text(&json, "name", "main");
 *     json_open(&json, "values", '[');
 *     json_integer(&json, NULL, 17);
 *     json_close(&json, ']');
 *     json_close(&json, '}');                  {"name":"main","values":[17]} and a newline
 *
 * `key` is NULL in arrays and at the top. */
#ifndef HT_TOOL_JSON_H
#define HT_TOOL_JSON_H

#include "sys/compiler.h"

struct json {
    unsigned depth;
    bool needs_comma;
};

void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);

/* What is no UTF-8 in it becomes U+FFFD. */
void json_text(struct json *json, const char *key, const char *text);
void json_integer(struct json *json, const char *key, int64_t number);
/* Whole numbers to the last digit, others to the ninth. What is no number in JSON, infinite ones for
 * example, is null. */
void json_number(struct json *json, const char *key, double number);
void json_boolean(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);

#endif
