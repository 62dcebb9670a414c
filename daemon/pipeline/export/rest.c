// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/export/rest.h"

#include "base/str.h"

#include <errno.h>
#include <stdlib.h>

int rest_make(struct run *run, const struct format_ops *format, struct shard *shard,
              bool *ret_plain) {
    const struct format_context context = run_format_context(run);
    const struct arch *arch = run->checkpoint->config.arch;

    *ret_plain = true;
    for (size_t i = 0; i < arch->n_tensors; i++) {
        const struct arch_tensor *row = &arch->tensors[i];
        const struct tensor *t =
            arch_in_layer(row) ? NULL : checkpoint_find(run->checkpoint, "%s.weight", row->name);
        int r = t ? format->add_plain(&context, t, shard) : 0;

        if (r)
            return r;
        *ret_plain &= !t || shard->tensors[shard->n_tensors - 1].data == t->data;
    }
    return 0;
}

int rest_begin(struct run *run) {
    int r;

    if (run->params->format->container)
        return 0;
    run->rest = calloc(1, sizeof(*run->rest));
    if (!run->rest)
        return failure_oom(run->failure);
    r = rest_make(run, run->params->format, &run->rest->file.shard, &run->rest->plain);
    return r ? r
             : shard_file_start(&run->rest->file, str_format("%s/rest.safetensors", run->work_dir),
                                run->failure);
}

int rest_poll(struct run *run) {
    return run->rest && task_is_done(&run->rest->file.task) ? rest_finish(run) : 0;
}

int rest_finish(struct run *run) {
    return shard_file_finish(&run->rest->file, run->failure);
}

void rest_done(struct run *run) {
    if (!run->rest)
        return;
    shard_file_done(&run->rest->file);
    free(run->rest);
    run->rest = NULL;
}
