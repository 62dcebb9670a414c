// SPDX-License-Identifier: Apache-2.0
#include "api/request/metrics.h"
#include "api/request/answer.h"
#include "api/request/api.h"
#include "api/request/response.h"
#include "api/routes/table.h"
#include "api/stream/fanout.h"
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
        return answer_failure(request, r, &failure);
    source.devices = devices;
    source.n_streams = fanout_count(request->api->fanout);
    metrics_render(request->api->metrics, &source, &text);
    return answer_response(request, MHD_HTTP_OK, response_text(&text, METRICS_TYPE));
}
