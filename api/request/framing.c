// SPDX-License-Identifier: Apache-2.0
#include "api/request/framing.h"

#include "base/macros.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#define VERSION_SIZE 8 /* "HTTP/1.1" */

/* The head in memory: line ends, and the colons behind names, have become NULs. */
struct head {
    const char *begin, *end;
    const char *at; /* behind what was looked at */
    int n_length, n_encoding;
    bool is_chunked;
    const char *wrong;
};

static bool is_token(const char *text, size_t size) {
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < size; i++) {
        char c = text[i], letter = (char)(c | 0x20);

        if (!(c >= '0' && c <= '9') && !(letter >= 'a' && letter <= 'z') &&
            !memchr(others, c, sizeof(others) - 1))
            return false;
    }
    return size > 0;
}

/* A bare CR above all, at which another program may see a line end. */
static bool has_control(const char *text, size_t size, const char *allowed) {
    for (size_t i = 0; i < size; i++)
        if (((unsigned char)text[i] < ' ' && !strchr(allowed, text[i])) || text[i] == 0x7f)
            return true;
    return false;
}

static bool is_name(const char *key, size_t key_size, const char *name) {
    return key_size == strlen(name) && strncasecmp(key, name, key_size) == 0;
}

static bool lies_within(const struct head *head, const char *at) {
    return (uintptr_t)at >= (uintptr_t)head->begin && (uintptr_t)at <= (uintptr_t)head->end;
}

/* Are the bytes from @from up to @to as many NULs, and spaces? */
static bool is_gap(const char *from, const char *to, int n_zeros) {
    for (; from < to; from++) {
        if (*from == '\0')
            n_zeros--;
        else if (*from != ' ' && *from != '\t')
            return false;
    }
    return n_zeros == 0;
}

/*
 * A header follows the one before it: between them is a line end, between name and value a colon
 * and spaces. More is what came behind a NUL, where libmicrohttpd ends a text.
 */
static bool follows(struct head *head, const char *key, size_t key_size, const char *value,
                    size_t size) {
    bool fits;

    if (!lies_within(head, key) || !lies_within(head, value))
        return true; /* a copy: this libmicrohttpd does not keep heads as they come */
    fits = head->at <= key && is_gap(head->at, key, 2) && key + key_size <= value &&
           is_gap(key + key_size, value, 1);
    head->at = value + size;
    return fits;
}

static enum MHD_Result check_header(void *arg, enum MHD_ValueKind kind, const char *key,
                                    size_t key_size, const char *value, size_t size) {
    struct head *head = arg;

    (void)kind;
    value = value ? value : "";
    if (!is_token(key, key_size))
        head->wrong = "the name of a header has a byte that no name may have";
    else if (memchr(value, '\0', size) || has_control(value, size, "\t"))
        head->wrong = "a header has a control character in it";
    else if (!follows(head, key, key_size, value, size))
        head->wrong = "a header has a NUL in it, or its line does not end in CR LF";
    if (is_name(key, key_size, MHD_HTTP_HEADER_CONTENT_LENGTH))
        head->n_length++;
    if (is_name(key, key_size, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
        head->n_encoding++;
        head->is_chunked = is_name(value, size, "chunked");
    }
    return head->wrong ? MHD_NO : MHD_YES;
}

/* A NUL is where libmicrohttpd ends a text, so the next part does not follow at once. */
static bool line_has_nul(const struct request_line *line, const struct head *head) {
    const char *method_end = line->method + strlen(line->method);

    if (line->is_broken)
        return true;
    if (!lies_within(head, line->uri) || !lies_within(head, line->version))
        return false;
    if (line->uri_end + 1 != line->version)
        return true;
    return line->uri <= method_end || !is_gap(method_end, line->uri, 1);
}

void framing_read_uri(struct request_line *line, const char *uri) {
    line->uri = uri;
    line->uri_end = uri ? uri + strlen(uri) : NULL;
    line->is_broken = uri && (strstr(uri, "%00") || has_control(uri, strlen(uri), ""));
}

const char *framing_check(struct MHD_Connection *connection, const struct request_line *line) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    struct head head = {.begin = line->method};

    head.end = head.begin + (info ? info->header_size : 0);
    head.at = line->version + VERSION_SIZE;
    if (line_has_nul(line, &head))
        return "the first line has a NUL or another control character in it";
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, check_header, &head);
    if (head.wrong)
        return head.wrong;
    if (lies_within(&head, head.at) && !is_gap(head.at, head.end, 4))
        return "the last header has a NUL in it, or its line does not end in CR LF";
    if (head.n_length > 1 || head.n_encoding > 1)
        return "a header that says how long the body is comes twice";
    if (head.n_length && head.n_encoding)
        return "Content-Length and Transfer-Encoding exclude each other";
    if (head.n_encoding && !head.is_chunked)
        return "the only Transfer-Encoding is 'chunked'";
    return NULL;
}
