/* groups_print.h: how reports show what their rows are about. */
#ifndef HT_TOOL_GROUPS_PRINT_H
#define HT_TOOL_GROUPS_PRINT_H

#include "groups.h"
#include "json.h"
#include "table.h"

/* table_cell() of a printf(). */
void groups_cell(struct table *table, const char *format, ...) HT_PRINTF(2, 3);

/* "stack 3:" and its frames, indented. */
void groups_put_stack(const struct terminal *terminal, const struct groups *groups,
                      const struct frames *frames, size_t group, size_t number);

/* "stack": a list of the frames. */
void groups_json_stack(struct json *json, const struct groups *groups, const struct frames *frames,
                       size_t group);

#endif
