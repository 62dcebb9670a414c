// SPDX-License-Identifier: Apache-2.0
/* What daemon and client must spell the same way. */
#pragma once

#define WIRE_DEFAULT_SOCKET "/run/quantd/quantd.sock"
#define WIRE_DEFAULT_HOST "127.0.0.1"
#define WIRE_DEFAULT_PORT "7878"

#define WIRE_JSON "application/json"
#define WIRE_PROBLEM "application/problem+json"
#define WIRE_EVENT_STREAM "text/event-stream"
#define WIRE_HTML "text/html"

/* Largest request body that the API takes. */
#define WIRE_BODY_MAX (64 * 1024)

/* Most jobs or events that one list answers, and how many without ?limit=. */
#define WIRE_LIMIT_MAX 500
#define WIRE_LIMIT_DEFAULT 100

/*
 * Event streams (GET /v1/jobs/{id}/events and /v1/events with Accept: text/event-stream):
 *
 *   event: job         data: the job object as it is now; first, only of one job; without id, but
 *                      when the job has ended and no event follows: then that of the last event
 *   event: start       data: {last_seq}; first, only of all jobs: where the stream begins; without
 *                      ?after= and Last-Event-ID also its id
 *   event: TYPE, id:   data: {seq, job, type, at, data}; a stored event, id and seq are the same
 *   event: progress    data: {job, type, at, data: the job's progress object}, without seq and
 *                      id when it was not stored: the newest state, at most 4 a second
 *   event: reset       data: {after, last_seq}: the cursor is of another store and was dropped
 *   a comment          every 15 s without other traffic
 *
 * Every block has data: some clients take a block of retry or id alone, or a blank line after a
 * comment, for an event. The stream of one job ends after its last event. ?after=SEQ or the header
 * Last-Event-ID (which wins) resumes after that event. With that header and no event left the
 * answer is 204, on which an EventSource does not connect again.
 */
#define WIRE_EVENT_JOB "job"
#define WIRE_EVENT_START "start"
#define WIRE_EVENT_RESET "reset"

#define WIRE_RETRY_MS 2000
#define WIRE_HEARTBEAT_SECONDS 15

/*
 * Every TYPE of an event, spelled here alone: openapi.json, quantd-api(7) and the dashboard have
 * copies, which tests/lint/events.py compares with this list. In the order of a job's life.
 */
#define WIRE_EVENT_JOB_QUEUED "job.queued"
#define WIRE_EVENT_JOB_REORDERED "job.reordered"
#define WIRE_EVENT_JOB_STARTED "job.started"
#define WIRE_EVENT_JOB_RESUMED "job.resumed"
#define WIRE_EVENT_PHASE_STARTED "phase.started"
#define WIRE_EVENT_PROGRESS "progress"
#define WIRE_EVENT_PLAN_FINISHED "plan.finished"
#define WIRE_EVENT_LAYER_FINISHED "layer.finished"
#define WIRE_EVENT_EVAL_PROGRESS "eval.progress"
#define WIRE_EVENT_EVAL_FINISHED "eval.finished"
#define WIRE_EVENT_JOB_WARNING "job.warning"
#define WIRE_EVENT_JOB_PAUSED "job.paused"
#define WIRE_EVENT_JOB_INTERRUPTED "job.interrupted"
#define WIRE_EVENT_JOB_CANCELLING "job.cancelling"
#define WIRE_EVENT_JOB_CANCELLED "job.cancelled"
#define WIRE_EVENT_JOB_FAILED "job.failed"
#define WIRE_EVENT_JOB_SUCCEEDED "job.succeeded"

/* The phases that a job goes through, in their order; likewise. */
#define WIRE_PHASE_PULL "pull"
#define WIRE_PHASE_LOAD "load"
#define WIRE_PHASE_PLAN "plan"
#define WIRE_PHASE_CALIBRATE "calibrate"
#define WIRE_PHASE_QUANTIZE "quantize"
#define WIRE_PHASE_EVALUATE "evaluate"
#define WIRE_PHASE_EXPORT "export"
