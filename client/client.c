// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include "base/str.h"
#include "client/http/token.h"
#include "client/screen/text.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define VERBS_MAX 64

static const struct arg_option global_options[] = {
    {"server", "SERVER", "address of quantd: http://HOST:PORT or unix:PATH"},
    {"token-file", "FILE", "file with the access token for quantd"},
    {"json", NULL, "print one JSON value to stdout, and nothing else"},
    {"help", NULL, "show this help"},
    {"version", NULL, "print the version of quantctl"},
};

static const struct arg_table global_table = {global_options, ARRAY_SIZE(global_options)};

int client_exit_status(int r) {
    switch (r) {
    case -EINVAL:
        return EXIT_USAGE;
    case -ECOMM:
    case -EPIPE:
    case -EPROTO:
    case -EREMOTEIO:
        return EXIT_DAEMON;
    case -EINTR:
        return EXIT_DETACHED;
    default:
        return EXIT_LOCAL;
    }
}

int client_print_json(const json_t *value, struct failure *failure) {
    /* ASCII: what others have written cannot steer the terminal. */
    if (json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) || putchar('\n') == EOF ||
        fflush(stdout))
        return failure_set(failure, -EIO, "io_error", NULL, "cannot write the answer to stdout");
    return 0;
}

static void help(void) {
    printf("usage: quantctl [--server SERVER] [--json] VERB ...\n\n"
           "Queues GPTQ quantization jobs for OLMoE models with quantd, and follows them.\n\n");
    for (size_t i = 0; verbs[i]; i++) {
        cleanup(freep) char *form = str_format("%s %s", verbs[i]->name, verbs[i]->usage);

        printf("  %-25s %s\n", form ? form : verbs[i]->name, verbs[i]->summary);
    }
    printf("  %-25s %s\n\n", "help [VERB]", "show this help, or that of a verb");
    args_help(stdout, &global_table);
    printf("\nThe default SERVER is QUANTD_SERVER, else the local socket, else 127.0.0.1:7878.\n"
           "The token for TCP is QUANTD_TOKEN, or in the file that QUANTD_TOKEN_FILE names.\n"
           "Exit status: 0 success; 1 the job failed, or doctor found an error; 2 wrong\n"
           "usage; 3 quantd cannot be reached or answered with an error; 4 the job was\n"
           "cancelled; 5 an error on this machine; 130 stopped by Ctrl-C.\n");
}

static void help_verb(const struct verb *verb) {
    printf("usage: quantctl %s%s%s [OPTION ...]\n\n%s\n\n", verb->name, verb->usage[0] ? " " : "",
           verb->usage, verb->summary);
    args_help(stdout, &verb->table);
    args_help(stdout, &global_table);
    if (verb->details)
        printf("\n%s", verb->details);
}

static int find_verb(const char *name, const struct verb **ret_verb, struct failure *failure) {
    const char *names[VERBS_MAX], *closest;
    char hint[96] = "'quantctl help' lists the verbs";
    size_t n = 0;

    for (; verbs[n] && n < VERBS_MAX; n++) {
        names[n] = verbs[n]->name;
        if (str_equal(name, names[n])) {
            *ret_verb = verbs[n];
            return 0;
        }
    }
    closest = text_closest(name, names, n);
    if (closest)
        snprintf(hint, sizeof(hint), "did you mean '%s'? 'quantctl help' lists the verbs", closest);
    return failure_set(failure, -EINVAL, "usage", hint, "unknown verb '%s'", name);
}

static int help_on(int n_words, char **words, struct failure *failure) {
    const struct verb *verb;
    int r;

    if (n_words == 0) {
        help();
        return EXIT_OK;
    }
    r = find_verb(words[0], &verb, failure);
    if (!r)
        help_verb(verb);
    return r;
}

static int run_verb(const struct verb *verb, const struct args *args, struct failure *failure) {
    const char *server = args_get(args, "server");
    cleanup(http_freep) struct http *http = NULL;
    cleanup(freep) char *token = NULL;
    struct client client = {.json = args_has(args, "json")};
    int r;

    if (!server)
        server = getenv("QUANTD_SERVER");
    r = http_new(server && server[0] ? server : NULL, &http, failure);
    if (!r)
        r = token_find(args_get(args, "token-file"), !http_socket(http), &token, failure);
    if (!r && http_set_token(http, token))
        r = failure_oom(failure);
    if (r)
        return r;
    client.http = http;
    terminal_init(&client.terminal, client.json ? stderr : stdout);
    r = verb->run(&client, args, failure);
    if (r == EXIT_OK && (fflush(client.terminal.file) || ferror(client.terminal.file)))
        return failure_set(failure, -EIO, "io_error", NULL, "cannot write the answer");
    return r;
}

static int parse_and_run(int argc, char **argv, struct failure *failure) {
    struct arg_table tables[] = {global_table, {}};
    const struct verb *verb = NULL;
    struct args args = {};
    int used = 0, more = 0, r;

    r = args_parse(&args, argc - 1, argv + 1, tables, 1, 0, &used, failure);
    if (r)
        return r;
    argc -= 1 + used;
    argv += 1 + used;
    if (args_has(&args, "version")) {
        printf("quantctl %s\n", QUANTD_VERSION);
        return EXIT_OK;
    }
    if (args_has(&args, "help") || (argc > 0 && str_equal(argv[0], "help")))
        return help_on(MAX(argc - !args_has(&args, "help"), 0), argv + !args_has(&args, "help"),
                       failure);
    if (argc == 0)
        return failure_set(failure, -EINVAL, "usage", "'quantctl help' lists the verbs",
                           "no verb was given");
    r = find_verb(argv[0], &verb, failure);
    if (r)
        return r;
    tables[1] = verb->table;
    r = args_parse(&args, argc - 1, argv + 1, tables, 2, verb->most, &more, failure);
    if (r)
        return r;
    if (args_has(&args, "help")) {
        help_verb(verb);
        return EXIT_OK;
    }
    if (more < argc - 1)
        return failure_set(failure, -EINVAL, "usage", "--help shows the usage of the verb",
                           "too many arguments for %s: '%s'", verb->name, argv[1 + more]);
    if (args.n_positional < verb->least)
        return failure_set(failure, -EINVAL, "usage", "--help shows the usage of the verb",
                           "missing arguments for %s: %s", verb->name, verb->usage);
    return run_verb(verb, &args, failure);
}

void client_print_failure(const struct failure *failure) {
    struct terminal terminal;

    terminal_init(&terminal, stderr);
    if (!terminal.redraw)
        terminal.width = INT_MAX; /* not wrapped in a file or pipe */
    fprintf(stderr, "%squantctl:%s ", terminal_style(&terminal, STYLE_RED),
            terminal_style(&terminal, STYLE_PLAIN));
    terminal_wrap(&terminal, (int)strlen("quantctl: "), failure->detail);
    if (!failure->hint[0])
        return;
    fprintf(stderr, "hint: ");
    terminal_wrap(&terminal, (int)strlen("hint: "), failure->hint);
}

int client_run(int argc, char **argv) {
    struct failure failure = {};
    int r;

    setlocale(LC_CTYPE, "");
    r = parse_and_run(argc, argv, &failure);
    if (r >= 0)
        return r;
    fflush(stdout);
    client_print_failure(&failure);
    return client_exit_status(r);
}
