// SPDX-License-Identifier: Apache-2.0
/*
 * The program's log. When stderr is the journal of systemd, a record is a text and fields that
 * journalctl can search for; when the journal cannot be reached it is a line "<N>text", which the
 * manager makes a record of; else a line with the time. What comes from outside cannot make lines
 * or fields of its own. Libraries return, only the daemon logs. Any thread.
 */
#pragma once

#include "base/macros.h"

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

/* What a record is about, beside its text. 0 or NULL: nothing; borrowed. */
struct log_fields {
    const char *message_id; /* MESSAGE_ID, of base/log/messages.h */
    int64_t job;            /* JOB_ID */
    const char *owner;      /* OWNER, of the job or of the request */
    const char *device;     /* DEVICE */
    const char *code;       /* ERROR_CODE, of a failure */
    const char *request;    /* REQUEST_ID */
    bool has_layer;
    int layer; /* LAYER, from 0 */
};

/* LOG_FIELDS() - a struct log_fields of these members: LOG_FIELDS(.job = id, .owner = owner) */
#define LOG_FIELDS(...) (&(struct log_fields){__VA_ARGS__})

/* log_open() - see where stderr goes; before that it is a terminal. Main thread, first of all. */
void log_open(void);

/* log_set_level() - drop what is less urgent than @level (LOG_ERR ... LOG_DEBUG; LOG_INFO first) */
void log_set_level(int level);

/* log_write() - by the macros below, which know the place in the source. @fields may be NULL. */
void log_write(int level, const struct log_fields *fields, const char *file, int line,
               const char *function, const char *format, ...) printf_format(6, 7);

#define log_record(level, fields, ...)                                                             \
    log_write(level, fields, __FILE__, __LINE__, __func__, __VA_ARGS__)
#define log_error(...) log_record(LOG_ERR, NULL, __VA_ARGS__)
#define log_warning(...) log_record(LOG_WARNING, NULL, __VA_ARGS__)
#define log_notice(...) log_record(LOG_NOTICE, NULL, __VA_ARGS__)
#define log_info(...) log_record(LOG_INFO, NULL, __VA_ARGS__)
#define log_debug(...) log_record(LOG_DEBUG, NULL, __VA_ARGS__)
