// SPDX-License-Identifier: Apache-2.0
/* What the API answers: a table of methods and paths. Any thread. */
#pragma once

#include "api/request/request.h"
#include "api/request/route.h"

#include <stddef.h>

extern const struct route routes[];
extern const size_t n_routes;

enum route_match { ROUTE_FOUND, ROUTE_OTHER_METHOD, ROUTE_NONE };

/*
 * route_find() - find the handler of @method and @path; sets route, job, org, name of @request, or
 * with ROUTE_OTHER_METHOD its allow.
 */
enum route_match route_find(const char *method, const char *path, struct request *request);

/* The handlers, by the file that has them. They answer a request that passed its checks. */

/* jobs.c */
enum MHD_Result jobs_get(struct request *request);
enum MHD_Result job_get(struct request *request);
enum MHD_Result job_cancel(struct request *request);
enum MHD_Result job_retry(struct request *request);
enum MHD_Result job_delete(struct request *request);
enum MHD_Result job_layers_get(struct request *request);
enum MHD_Result job_windows_get(struct request *request);
enum MHD_Result groups_get(struct request *request);
enum MHD_Result group_get(struct request *request);
enum MHD_Result group_cancel(struct request *request);

/* order.c */
enum MHD_Result job_hold(struct request *request);
enum MHD_Result job_release(struct request *request);
enum MHD_Result job_priority(struct request *request);
enum MHD_Result group_hold(struct request *request);
enum MHD_Result group_release(struct request *request);
enum MHD_Result group_priority(struct request *request);

/* submit.c */
enum MHD_Result jobs_post(struct request *request);
enum MHD_Result groups_post(struct request *request);
enum MHD_Result estimate_post(struct request *request);
enum MHD_Result group_estimate_post(struct request *request);

/* events.c */
enum MHD_Result job_events_get(struct request *request);
enum MHD_Result events_get(struct request *request);

/* backup.c */
enum MHD_Result backup_post(struct request *request);
enum MHD_Result orphans_get(struct request *request);
enum MHD_Result orphan_adopt_post(struct request *request);
enum MHD_Result backup_get(struct request *request);

/* artifacts.c */
enum MHD_Result backup_file_get(struct request *request);
enum MHD_Result artifacts_get(struct request *request);
enum MHD_Result artifact_get(struct request *request);

/* metrics.c */
enum MHD_Result metrics_get(struct request *request);

/* models.c */
enum MHD_Result models_get(struct request *request);
enum MHD_Result datasets_get(struct request *request);
enum MHD_Result model_delete(struct request *request);

/* tokens.c */
enum MHD_Result whoami_get(struct request *request);
enum MHD_Result tokens_get(struct request *request);
enum MHD_Result tokens_post(struct request *request);
enum MHD_Result token_delete(struct request *request);

/* dashboard.c */
enum MHD_Result root_get(struct request *request);
enum MHD_Result asset_get(struct request *request);

/* system.c */
enum MHD_Result openapi_get(struct request *request);
enum MHD_Result version_get(struct request *request);
enum MHD_Result devices_get(struct request *request);
enum MHD_Result status_get(struct request *request);
enum MHD_Result health_get(struct request *request);
enum MHD_Result ready_get(struct request *request);
