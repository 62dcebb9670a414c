// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/export/license.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/macros.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

#define README_BYTES_MAX ((size_t)4 << 20)
#define LINES_MAX 1000 /* of the YAML */
#define BLANKS " \t\r"

/* Letters that need no quotes in YAML, and none of which marks anything up. */
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

/* @value [size], perhaps in quotes, into @ret [max] if it consists of @letters after @prefix. */
static void take(const char *value, size_t size, const char *prefix, const char *letters, char *ret,
                 size_t max) {
    size_t n = strlen(prefix);

    while (size && strchr(BLANKS, *value))
        value++, size--;
    while (size && strchr(BLANKS, value[size - 1]))
        size--;
    if (size > 1 && (*value == '"' || *value == '\'') && value[size - 1] == *value)
        value++, size -= 2;
    if (ret[0] || size >= max || size <= n || strchr("-_.", *value) || memcmp(value, prefix, n) ||
        strspn(value + n, letters) < size - n)
        return;
    memcpy(ret, value, size);
    ret[size] = '\0';
}

static void take_line(const char *line, size_t size, struct license *license) {
    static const char name[] = "license_name:", link[] = "license_link:", id[] = "license:";

    if (size > strlen(id) && !strncmp(line, id, strlen(id)))
        take(line + strlen(id), size - strlen(id), "", LETTERS, license->id, sizeof(license->id));
    else if (size > strlen(name) && !strncmp(line, name, strlen(name)))
        take(line + strlen(name), size - strlen(name), "", LETTERS, license->name,
             sizeof(license->name));
    else if (size > strlen(link) && !strncmp(line, link, strlen(link)))
        take(line + strlen(link), size - strlen(link), "https://", LETTERS "/", license->link,
             sizeof(license->link));
}

/* Is the line, [size], one of "---"? */
static bool is_rule(const char *line, size_t size) {
    return size >= 3 && !strncmp(line, "---", 3) && strspn(line + 3, BLANKS) >= size - 3;
}

/* @text ends with a NUL. */
static void take_lines(const char *text, struct license *license) {
    struct license found = {};

    for (int i = 0; i <= LINES_MAX && *text; i++) {
        size_t size = strcspn(text, "\n");

        if (is_rule(text, size) && i > 0) {
            *license = found;
            return;
        }
        if (i == 0 && !is_rule(text, size))
            return;
        take_line(text, size, &found);
        text += size + (text[size] == '\n');
    }
}

int license_read(const char *root, const char *dir, struct license *ret_license,
                 struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/README.md", dir);
    cleanup(freep) char *text = NULL;
    size_t size;
    int r;

    *ret_license = (struct license){};
    if (!path)
        return failure_oom(failure);
    r = file_read_in(root, path, README_BYTES_MAX, &text, &size);
    if (r == -ENOMEM || r == -EIO)
        return failure_open(failure, r, "cannot read", path);
    if (!r)
        take_lines(text, ret_license);
    if (!ret_license->id[0]) /* the others say more of it */
        *ret_license = (struct license){};
    return 0;
}
