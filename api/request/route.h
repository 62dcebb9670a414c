// SPDX-License-Identifier: Apache-2.0
/* A route: a method at a path, and its handler. The table of all is api/routes/table.c. */
#pragma once

#include "api/service.h"

#include <microhttpd.h>
#include <stdbool.h>

struct request;

enum route_method { ROUTE_GET, ROUTE_POST, ROUTE_DELETE }; /* HEAD goes with GET */

struct route {
    /* Its parts "{id}", "{org}", "{name}", "{folder}" and "{asset}" stand for what request.h says.
     */
    const char *path;
    enum MHD_Result (*handle)(struct request *request);
    enum route_method method;
    const char *query; /* parameters, a space between; NULL: none */
    const char *type;  /* what it answers, as openapi.json says too; NULL: it depends */
    const char *also;  /* another type that it answers, where Accept asks for it */
    bool body_is_optional;
    bool is_public;  /* every caller gets it, also without a token */
    enum role needs; /* what a caller needs at least; service.h says who may do what to a job */
};

/* route_method_name() - "GET". */
const char *route_method_name(enum route_method method);
