// SPDX-License-Identifier: Apache-2.0
#include "daemon/data/text/json_lines.h"

#include "base/json.h"
#include "daemon/data/text/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FIELDS_SHOWN 8

static int no_object(const struct json_lines *lines, const char *subject, const json_t *value,
                     struct failure *failure) {
    return failure_set(failure, -EBADMSG, "dataset_invalid",
                       json_is_array(value)
                           ? "write JSON lines, an object a line: jq -c '.[]' FILE > FILE.jsonl"
                           : "write JSON lines: on each line an object with the text in a field",
                       "cannot read '%s': not an object with a string '%s'", subject, lines->field);
}

/* The object has no such string: says which others it has. */
static int no_field(const struct json_lines *lines, const char *subject, json_t *object,
                    struct failure *failure) {
    cleanup(strbuf_done) struct strbuf fields = {};
    const char *key;
    json_t *value;
    int n = 0;

    json_object_foreach(object, key, value) {
        if (json_is_string(value) && n++ < FIELDS_SHOWN)
            strbuf_printf(&fields, "%s%.40s", n > 1 ? ", " : "", key);
    }
    return failure_set(failure, -EBADMSG, "dataset_invalid",
                       n ? "name the field with the text as file:PATH#FIELD"
                         : "write the text of each document into a field 'text'",
                       "cannot read '%s': no string '%.40s', but %s", subject, lines->field,
                       n ? fields.data : "no other string either");
}

static int add_line(const struct json_lines *lines, const char *line, size_t size,
                    const char *subject, struct documents *documents, struct failure *failure) {
    cleanup(json_decrefp) json_t *object = NULL;
    json_t *text;
    int r;

    r = json_parse(line, size, subject, "dataset_invalid", &object, failure);
    if (r)
        return r;
    if (!json_is_object(object))
        return no_object(lines, subject, object, failure);
    text = json_object_get(object, lines->field);
    if (!json_is_string(text))
        return no_field(lines, subject, object, failure);
    return documents_add(documents, json_string_value(text), json_string_length(text),
                         lines->separator, subject, failure);
}

int json_lines_read(const struct json_lines *lines, struct reader *reader,
                    struct documents *documents, struct failure *failure) {
    char subject[192];
    const char *line;
    size_t size;

    for (size_t n = 1; documents->n < lines->max; n++) {
        int r = reader_line(reader, &line, &size, failure);

        if (r < 0)
            return r;
        if (r == 0)
            break;
        if (lines->lenient && n == 1 && size >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
            line += 3;
            size -= 3;
        }
        if (lines->lenient)
            text_strip(&line, &size);
        if (lines->lenient && size == 0)
            continue;
        snprintf(subject, sizeof(subject), "%.150s, line %zu", lines->subject, n);
        r = add_line(lines, line, size, subject, documents, failure);
        if (r)
            return r;
    }
    return documents_end(documents, failure);
}
