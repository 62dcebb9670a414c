// SPDX-License-Identifier: Apache-2.0
#include "client/job/layers.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "client/http/answer.h"
#include "client/screen/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *layers_matrix_name(const char *name) {
    static const char prefix[] = "model.layers.";
    const char *rest = name;

    if (!str_has_prefix(name, prefix))
        return name;
    rest += strlen(prefix);
    rest += strspn(rest, "0123456789");
    return rest[0] == '.' && rest[1] ? rest + 1 : name;
}

static void add_reason(struct layers *sum, const char *reason) {
    for (int i = 0; i < sum->n_reasons; i++)
        if (str_equal(sum->reasons[i].reason, reason)) {
            sum->reasons[i].n++;
            return;
        }
    if (sum->n_reasons == LAYERS_REASONS_MAX)
        return;
    sum->reasons[sum->n_reasons].reason = reason;
    sum->reasons[sum->n_reasons++].n = 1;
}

static void add_worst(struct layers *sum, const struct layer_matrix *matrix) {
    int at = sum->n_worst;

    while (at > 0 && sum->worst[at - 1].error < matrix->error)
        at--;
    if (at == LAYERS_WORST_MAX)
        return;
    if (sum->n_worst < LAYERS_WORST_MAX)
        sum->n_worst++;
    memmove(&sum->worst[at + 1], &sum->worst[at],
            sizeof(*matrix) * (size_t)(sum->n_worst - 1 - at));
    sum->worst[at] = *matrix;
}

void layers_add(struct layers *sum, const json_t *layer, double percdamp) {
    const json_t *matrices = json_object_get(layer, "matrices"), *entry;
    size_t i;

    sum->n_layers++;
    json_array_foreach(matrices, i, entry) {
        struct layer_matrix matrix = {
            .layer = answer_int(layer, "layer", 0),
            .name = answer_text(entry, "name"),
            .method = answer_text(entry, "method"),
            .error = answer_number(entry, "error"),
            .tokens = answer_int(entry, "tokens", -1),
        };
        double damping = answer_number(entry, "damping");

        sum->n_matrices++;
        if (answer_text(entry, "reason")[0]) {
            sum->n_fallbacks++;
            sum->fallback = matrix.method;
            add_reason(sum, answer_text(entry, "reason"));
        } else if (damping > percdamp * 1.000001) {
            sum->n_raised++;
            sum->damping_most = MAX(sum->damping_most, damping);
        }
        if (isfinite(matrix.error)) {
            sum->error_sum += matrix.error;
            add_worst(sum, &matrix);
        }
    }
}

char *layers_line(const json_t *layer, const struct layers *sum) {
    struct strbuf line = {};
    char seconds[TEXT_SIZE];

    text_duration(answer_number(layer, "seconds"), seconds);
    strbuf_printf(&line, "layer %" PRId64 ": %" PRId64 " matrices in %s",
                  answer_int(layer, "layer", 0), sum->n_matrices, seconds);
    if (sum->n_worst)
        strbuf_printf(&line, ", worst error %.3g in %s", sum->worst[0].error,
                      layers_matrix_name(sum->worst[0].name));
    if (sum->n_fallbacks)
        strbuf_printf(&line, ", %" PRId64 " fell back to %s", sum->n_fallbacks, sum->fallback);
    if (sum->n_raised)
        strbuf_printf(&line, ", damping raised for %" PRId64, sum->n_raised);
    return strbuf_steal(&line);
}
