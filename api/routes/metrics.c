// SPDX-License-Identifier: Apache-2.0
#include "api/metrics.h"
#include "api/response.h"
#include "api/routes.h"
#include "api/server.h"
#include "base/cleanup.h"
#include "base/json.h"

enum MHD_Result metrics_get(struct request *request) {
    struct service *service = request->api->service;
    cleanup(json_decrefp) json_t *devices = NULL;
    struct service_stats stats;
    struct metrics_source source = {.stats = &stats};
    struct failure failure = {};
    struct strbuf text = {};
    int r;

    r = service->stats(service->ctx, &stats, &failure);
    if (r == 0)
        r = service->devices(service->ctx, &devices, &failure);
    if (r)
        return request_fail(request, r, &failure);
    source.devices = devices;
    source.n_streams = hub_count(request->api->hub);
    metrics_render(request->api->metrics, &source, &text);
    return request_answer(request, MHD_HTTP_OK, response_text(&text, METRICS_TYPE));
}
