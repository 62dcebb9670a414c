// SPDX-License-Identifier: Apache-2.0
#include "client/http/http.h"

#include "api/wire.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "client/http/advice.h"
#include "client/http/answer.h"
#include "client/screen/interrupt.h"
#include "client/screen/text.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#define STATUS_NO_CONTENT 204
#define STATUS_ERROR 500       /* and above: the server is at fault */
#define ANSWER_MAX (64u << 20) /* a list of 500 jobs has some MB */
#define CONNECT_SECONDS 10L
#define ANSWER_SECONDS 60L
#define SILENCE_SECONDS 45L /* three heartbeats */
#define TICK_SECONDS 0.2

struct http {
    CURL *easy;
    CURLM *multi;
    char *base;        /* "http://127.0.0.1:7878", no slash at the end */
    char *socket_path; /* NULL: TCP */
    char *name;
    char *authorization; /* the header; NULL: none */
    bool local;          /* on this machine; no proxy then */
    long status;
};

/* One request on its way. */
struct transfer {
    struct http *http;
    const struct http_sink *sink; /* NULL: the body is collected */
    struct strbuf body;           /* of an answer without sink, of an error */
    bool begun;
    int result; /* why the write callback stopped it; 1: enough */
};

DEFINE_CLEANUP(struct curl_slist *, slist_freep, curl_slist_free_all)

static bool is_loopback(const char *url) {
    static const char *const names[] = {"http://127.", "http://localhost", "http://[::1]",
                                        "https://localhost"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_has_prefix(url, names[i]))
            return true;
    return false;
}

static int name_server(struct http *http, const char *server, struct failure *failure) {
    if (str_has_prefix(server, "unix:")) {
        const char *path = server + strlen("unix:");

        if (path[0] != '/')
            return failure_set(failure, -EINVAL, "usage", "use unix:/PATH/OF/SOCKET",
                               "not the absolute path of a socket: '%s'", path);
        http->socket_path = strdup(path);
        http->base = strdup("http://localhost");
        http->local = true;
    } else if (strstr(server, "://")) {
        if (!str_has_prefix(server, "http://") && !str_has_prefix(server, "https://"))
            return failure_set(failure, -EINVAL, "usage", "use http://HOST:PORT or unix:/PATH",
                               "unknown kind of server: '%s'", server);
        http->base = strdup(server);
    } else if (server[0] && server[0] != '/') {
        http->base = str_format("http://%s", server);
    } else {
        return failure_set(failure, -EINVAL, "usage", "use http://HOST:PORT or unix:/PATH",
                           "not a server: '%s'", server);
    }
    http->name = text_cleaned(server);
    if (!http->base || !http->name || (http->local && !http->socket_path))
        return failure_oom(failure);
    while (str_has_prefix(http->base, "http") && http->base[strlen(http->base) - 1] == '/')
        http->base[strlen(http->base) - 1] = '\0';
    http->local = http->local || is_loopback(http->base);
    return 0;
}

int http_new(const char *server, struct http **ret_http, struct failure *failure) {
    cleanup(http_freep) struct http *http = calloc(1, sizeof(*http));
    int r;

    if (!http)
        return failure_oom(failure);
    if (!server)
        server = access(WIRE_DEFAULT_SOCKET, F_OK) == 0 ? "unix:" WIRE_DEFAULT_SOCKET
                                                        : "http://" WIRE_DEFAULT_HOST
                                                          ":" WIRE_DEFAULT_PORT;
    r = name_server(http, server, failure);
    if (r)
        return r;
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return failure_set(failure, -ENOTSUP, "curl", NULL, "cannot initialise libcurl");
    http->easy = curl_easy_init();
    http->multi = curl_multi_init();
    if (!http->easy || !http->multi)
        return failure_oom(failure);
    *ret_http = steal_ptr(http);
    return 0;
}

void http_free(struct http *http) {
    if (http->easy)
        curl_easy_cleanup(http->easy);
    if (http->multi)
        curl_multi_cleanup(http->multi);
    free(http->base);
    free(http->socket_path);
    free(http->name);
    free(http->authorization);
    free(http);
}

int http_set_token(struct http *http, const char *token) {
    char *header = token ? str_format("Authorization: Bearer %s", token) : NULL;

    if (token && !header)
        return -ENOMEM;
    free(http->authorization);
    http->authorization = header;
    return 0;
}

const char *http_server(const struct http *http) {
    return http->name;
}

const char *http_socket(const struct http *http) {
    return http->socket_path;
}

bool http_is_local(const struct http *http) {
    return http->local;
}

bool http_is_transient(const struct http *http, int r) {
    if (r == -EREMOTEIO)
        return http->status >= 502 && http->status <= 504;
    return r == -ECOMM || r == -EPIPE;
}

static size_t take_data(char *data, size_t one, size_t size, void *ctx) {
    struct transfer *transfer = ctx;
    const struct http_sink *sink = transfer->sink;
    long status = 0;

    (void)one;
    curl_easy_getinfo(transfer->http->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!sink || status / 100 != 2) {
        if (transfer->body.length + size > ANSWER_MAX)
            return 0;
        strbuf_append(&transfer->body, data, size);
        return transfer->body.failed ? 0 : size;
    }
    if (!transfer->begun && sink->begin)
        transfer->result = sink->begin(sink->ctx, status == 206);
    transfer->begun = true;
    if (!transfer->result)
        transfer->result = sink->data(sink->ctx, data, size);
    return transfer->result ? 0 : size;
}

/* The failure of a transfer that curl has given up. */
static int broken(struct http *http, CURLcode code, const char *text, struct failure *failure) {
    long error = 0, connects = 0;
    const char *why;

    curl_easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &error);
    curl_easy_getinfo(http->easy, CURLINFO_NUM_CONNECTS, &connects);
    why = error && code == CURLE_COULDNT_CONNECT ? strerror((int)error)
          : text[0]                              ? text
                                                 : curl_easy_strerror(code);
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return failure_oom(failure);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return failure_set(failure, -EINVAL, "usage", "use http://HOST:PORT or unix:/PATH",
                           "not a server: '%s'", http->name);
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return failure_set(
            failure, -ECOMM, "daemon_unreachable",
            error == EACCES ? "run 'sudo usermod -aG quantd $USER', then log in again; 'quantctl "
                              "doctor' finds out more"
                            : "start it with 'systemctl start quantd' or by hand (quantd(8)), "
                              "or name another server with --server; 'quantctl doctor' finds "
                              "out more",
            "cannot reach quantd at '%s': %s", http->name, why);
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_WRITE_ERROR: /* only when the answer was too long: a sink has its own result */
        return failure_set(failure, -EPROTO, "bad_answer",
                           "check that this is the address of quantd",
                           "invalid answer from '%s': %s", http->name,
                           code == CURLE_WRITE_ERROR ? "it is too long" : why);
    default:
        return failure_set(failure, -EPIPE, "connection_lost", NULL,
                           "lost the connection to '%s': %s", http->name, why);
    }
}

/* The failure that an error answer describes. */
static int problem(struct http *http, const struct strbuf *body, struct failure *failure) {
    cleanup(json_decrefp) json_t *answer = NULL;
    const char *detail, *code, *request, *advice;
    char id[96] = "";

    if (!body->data ||
        json_parse(body->data, body->length, "answer", "bad_answer", &answer, NULL) ||
        !json_is_object(answer))
        return failure_set(failure, -EREMOTEIO, "bad_answer",
                           "check that this is the address of quantd",
                           "'%s' answered with status %ld", http->name, http->status);
    detail = answer_text(answer, "detail");
    code = answer_text(answer, "code");
    request = answer_text(answer, "request_id");
    advice = advice_for(code);
    if (request[0] && http->status >= STATUS_ERROR) /* to find it in the log of quantd */
        snprintf(id, sizeof(id), ", request %.64s", request);
    failure_set(failure, -EREMOTEIO, code, advice ? advice : answer_text(answer, "hint"),
                "%.400s (%s%s)", detail[0] ? detail : answer_text(answer, "title"),
                code[0] ? code : "error", id);
    text_clean(failure->detail);
    text_clean(failure->hint);
    return -EREMOTEIO;
}

/* Waits for the transfer to end. Return: 0 and *ret_code, or -EINTR. */
static int wait_for(struct transfer *transfer, CURLcode *ret_code) {
    const struct http_sink *sink = transfer->sink;
    double ticked = clock_monotonic();
    CURLM *multi = transfer->http->multi;

    for (;;) {
        CURLMsg *message;
        int running, left;

        if (curl_multi_perform(multi, &running) != CURLM_OK)
            running = 0;
        message = curl_multi_info_read(multi, &left);
        if (message && message->msg == CURLMSG_DONE) {
            *ret_code = message->data.result;
            return 0;
        }
        if (!running) {
            *ret_code = CURLE_RECV_ERROR;
            return 0;
        }
        if (interrupt_caught())
            return -EINTR;
        if (sink && sink->tick && clock_monotonic() - ticked >= TICK_SECONDS) {
            transfer->result = sink->tick(sink->ctx);
            ticked = clock_monotonic();
            if (transfer->result)
                return 0;
        }
        curl_multi_poll(multi, NULL, 0, (int)(TICK_SECONDS * 1000), NULL);
    }
}

static void set_options(struct http *http, const char *url, const struct transfer *transfer,
                        char *error) {
    CURL *easy = http->easy;

    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "quantctl/" QUANTD_VERSION);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    if (http->socket_path)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, http->socket_path);
    if (http->local)
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    if (transfer->sink) {
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, SILENCE_SECONDS);
    } else {
        curl_easy_setopt(easy, CURLOPT_TIMEOUT, ANSWER_SECONDS);
    }
}

/* Runs the request that the caller has set up on http->easy; an error answer is a failure. */
static int perform(struct transfer *transfer, const char *path, struct curl_slist *headers,
                   struct failure *failure) {
    struct http *http = transfer->http;
    cleanup(freep) char *url = str_format("%s%s", http->base, path);
    char error[CURL_ERROR_SIZE] = "";
    CURLcode code = CURLE_OK;
    int r;

    if (!url || !headers ||
        (http->authorization && !curl_slist_append(headers, http->authorization)))
        return failure_oom(failure);
    http->status = 0;
    set_options(http, url, transfer, error);
    curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, headers);
    if (curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
        return failure_oom(failure);
    r = wait_for(transfer, &code);
    curl_multi_remove_handle(http->multi, http->easy);
    curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &http->status);
    curl_easy_setopt(http->easy, CURLOPT_ERRORBUFFER, NULL);

    if (r)
        return failure_set(failure, r, "interrupted", NULL, "interrupted");
    if (transfer->result)
        return MIN(transfer->result, 0);
    if (code != CURLE_OK)
        return broken(http, code, error, failure);
    if (http->status / 100 != 2)
        return problem(http, &transfer->body, failure);
    return 0;
}

static struct curl_slist *add_header(struct curl_slist *headers, const char *name,
                                     const char *value) {
    cleanup(freep) char *header = str_format("%s: %s", name, value);
    struct curl_slist *grown = header ? curl_slist_append(headers, header) : NULL;

    if (!grown)
        curl_slist_free_all(headers);
    return grown;
}

/*
 * A handle of its own for each request: libcurl 7.88 keeps a pointer to the last header over
 * curl_easy_reset(), and a folded line at the top of the next answer would write through it. The
 * connections are the multi handle's, and stay.
 */
static int renew(struct http *http) {
    curl_easy_cleanup(http->easy);
    http->easy = curl_easy_init();
    return http->easy ? 0 : -ENOMEM;
}

int http_call(struct http *http, const char *method, const char *path, const json_t *body,
              const char *idempotency_key, json_t **ret_answer, struct failure *failure) {
    cleanup(slist_freep) struct curl_slist *headers = NULL;
    cleanup(freep) char *text = body ? json_text(body, JSON_COMPACT) : strdup("");
    struct transfer transfer = {.http = http};
    int r;

    if (!text || renew(http))
        return failure_oom(failure);
    headers = add_header(NULL, "Accept", WIRE_JSON ", " WIRE_PROBLEM);
    if (body && headers)
        headers = add_header(headers, "Content-Type", WIRE_JSON);
    if (idempotency_key && headers)
        headers = add_header(headers, "Idempotency-Key", idempotency_key);
    if (!str_equal(method, "GET")) {
        curl_easy_setopt(http->easy, CURLOPT_POSTFIELDS, text);
        curl_easy_setopt(http->easy, CURLOPT_CUSTOMREQUEST, method);
    }
    r = perform(&transfer, path, headers, failure);
    if (!r && http->status == STATUS_NO_CONTENT)
        *ret_answer = json_null();
    else if (!r && json_parse(transfer.body.data ? transfer.body.data : "", transfer.body.length,
                              "answer", "bad_answer", ret_answer, NULL))
        r = failure_set(failure, -EPROTO, "bad_answer", "check that this is the address of quantd",
                        "invalid answer from '%s': it is not JSON", http->name);
    strbuf_done(&transfer.body);
    return r;
}

int http_get(struct http *http, const char *path, json_t **ret_answer, struct failure *failure) {
    return http_call(http, "GET", path, NULL, NULL, ret_answer, failure);
}

int http_stream(struct http *http, const char *path, uint64_t last_event_id,
                const struct http_sink *sink, struct failure *failure) {
    cleanup(slist_freep) struct curl_slist *headers = NULL;
    struct transfer transfer = {.http = http, .sink = sink};
    char id[24];
    int r;

    if (renew(http))
        return failure_oom(failure);
    headers = add_header(NULL, "Accept", WIRE_EVENT_STREAM);
    snprintf(id, sizeof(id), "%llu", (unsigned long long)last_event_id);
    if (last_event_id && headers)
        headers = add_header(headers, "Last-Event-ID", id);
    r = perform(&transfer, path, headers, failure);
    strbuf_done(&transfer.body);
    return r;
}

int http_download(struct http *http, const char *path, uint64_t offset,
                  const struct http_sink *sink, struct failure *failure) {
    cleanup(slist_freep) struct curl_slist *headers = NULL;
    struct transfer transfer = {.http = http, .sink = sink};
    char range[32];
    int r;

    if (renew(http))
        return failure_oom(failure);
    curl_easy_setopt(http->easy, CURLOPT_BUFFERSIZE, 512L * 1024);
    headers = add_header(NULL, "Accept", "*/*");
    snprintf(range, sizeof(range), "%llu-", (unsigned long long)offset);
    if (offset)
        curl_easy_setopt(http->easy, CURLOPT_RANGE, range);
    r = perform(&transfer, path, headers, failure);
    strbuf_done(&transfer.body);
    return r;
}
