// SPDX-License-Identifier: Apache-2.0
#include "base/log/log.h"

#include "base/clock.h"
#include "base/log/journal.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 1024
#define FIELDS_MAX 12

static atomic_int log_level = LOG_INFO;
static bool to_journal; /* else to stderr */

/* A record for the journal. */
struct record {
    struct iovec fields[FIELDS_MAX];
    int n_fields;
    char space[TEXT_MAX + 2048]; /* "NAME=value" of each, with a NUL */
    size_t used;
};

void log_set_level(int level) {
    log_level = level;
}

/* JOURNAL_STREAM is "DEVICE:INODE" of the stream that the manager made; children inherit the
 * variable, and may have another stderr. */
void log_open(void) {
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    to_journal = false;
    if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2 || fstat(STDERR_FILENO, &st))
        return;
    if (st.st_dev == (dev_t)device && st.st_ino == (ino_t)inode)
        to_journal = true;
}

/* A field without a value, or for which there is no room, is left out. */
static void add_field(struct record *record, const char *name, const char *value) {
    size_t left = sizeof(record->space) - record->used;
    char *at = record->space + record->used;
    int n;

    if (!value || !value[0] || record->n_fields == FIELDS_MAX)
        return;
    n = snprintf(at, left, "%s=%s", name, value);
    if (n < 0 || (size_t)n >= left)
        return;
    str_make_printable(at + strlen(name) + 1);
    record->fields[record->n_fields++] = (struct iovec){at, strlen(at)};
    record->used += strlen(at) + 1;
}

static void add_number(struct record *record, const char *name, int64_t value) {
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, value);
    add_field(record, name, text);
}

static void add_fields(struct record *record, const struct log_fields *fields) {
    add_field(record, "MESSAGE_ID", fields->message_id);
    if (fields->job)
        add_number(record, "JOB_ID", fields->job);
    add_field(record, "OWNER", fields->owner);
    if (fields->has_layer)
        add_number(record, "LAYER", fields->layer);
    add_field(record, "DEVICE", fields->device);
    add_field(record, "ERROR_CODE", fields->code);
    add_field(record, "REQUEST_ID", fields->request);
}

/* One write, so that lines of different threads do not mix. A failure cannot be reported anywhere.
 */
static void write_line(int level, const char *text) {
    char line[TEXT_MAX + 76], when[CLOCK_TEXT_SIZE];
    int n;

    if (!to_journal) {
        clock_format(clock_wall_ms(), when);
        n = snprintf(line, sizeof(line), "%s quantd: %s\n", when, text);
    } else {
        n = snprintf(line, sizeof(line), "<%d>%s\n", level, text);
    }
    if (write(STDERR_FILENO, line, n) < 0)
        return;
}

void log_write(int level, const struct log_fields *fields, const char *file, int line,
               const char *function, const char *format, ...) {
    struct record record;
    char text[TEXT_MAX];
    va_list args;

    if (level > log_level)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    str_make_printable(text);

    record.n_fields = 0;
    record.used = 0;
    if (to_journal) {
        add_field(&record, "MESSAGE", text);
        add_number(&record, "PRIORITY", level);
        if (fields)
            add_fields(&record, fields);
        add_field(&record, "CODE_FILE", file + strspn(file, "./"));
        add_number(&record, "CODE_LINE", line);
        add_field(&record, "CODE_FUNC", function);
        if (!journal_send(record.fields, record.n_fields))
            return;
    }
    write_line(level, text);
}
