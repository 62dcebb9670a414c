// SPDX-License-Identifier: Apache-2.0
#include "api/request/refusal.h"

#include "api/request/api.h"
#include "api/request/request.h"
#include "api/request/route.h"
#include "base/log/log.h"
#include "base/log/messages.h"

#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

/* Where the request came from, as a number. */
static void name_place(const struct request *request, char *ret_text, size_t size) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    socklen_t length = sizeof(struct sockaddr_in);

    if (info && info->client_addr->sa_family == AF_INET6)
        length = sizeof(struct sockaddr_in6);
    if (request->listener->endpoint.is_unix || !info ||
        getnameinfo(info->client_addr, length, ret_text, (socklen_t)size, NULL, 0, NI_NUMERICHOST))
        snprintf(ret_text, size, "the unix socket");
}

void refusal_log(const struct request *request, unsigned status, const char *code) {
    const struct caller *caller = &request->caller;
    const struct route *route = request->route;
    struct log_fields fields = {.message_id = MESSAGE_REFUSED,
                                .request = request->id,
                                .code = code,
                                .job = request->job,
                                .owner = caller->owner[0] ? caller->owner : NULL};
    char who[OWNER_SIZE + 64] = "unknown", job[32] = "", place[64];

    if (status != MHD_HTTP_UNAUTHORIZED && status != MHD_HTTP_FORBIDDEN)
        return;
    if (caller->owner[0] && caller->auth == AUTH_TOKEN)
        snprintf(who, sizeof(who), "'%s' with the role %s by a token", caller->owner,
                 role_name(caller->role));
    else if (caller->owner[0])
        snprintf(who, sizeof(who), "'%s' with the role %s", caller->owner, role_name(caller->role));
    if (request->job)
        snprintf(job, sizeof(job), " of job %" PRId64, request->job);
    name_place(request, place, sizeof(place));
    log_record(LOG_WARNING, &fields, "request %s refused: %u %s: %s at %s asked %s %s%s",
               request->id, status, code, who, place,
               route ? route_method_name(route->method) : "-", route ? route->path : "-", job);
}
