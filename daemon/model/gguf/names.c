// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/gguf/names.h"

#include "daemon/model/arch/geometry.h"

#include <stdio.h>

static const char *const plain_names[N_ROLES] = {
    [ROLE_EMBEDDING] = "token_embd", [ROLE_FINAL_NORM] = "output_norm",
    [ROLE_HEAD] = "output",          [ROLE_INPUT_NORM] = "attn_norm",
    [ROLE_Q_NORM] = "attn_q_norm",   [ROLE_K_NORM] = "attn_k_norm",
    [ROLE_POST_NORM] = "ffn_norm",   [ROLE_ROUTER] = "ffn_gate_inp",
};

static const char *const part_names[N_GROUPS][GROUP_PARTS_MAX] = {
    [GROUP_QKV] = {"attn_q", "attn_k", "attn_v"},
    [GROUP_O] = {"attn_output"},
    [GROUP_GATE_UP] = {"ffn_gate_exps", "ffn_up_exps"},
    [GROUP_DOWN] = {"ffn_down_exps"},
};

void gguf_plain_name(enum tensor_role role, int layer, char ret_name[GGUF_NAME_SIZE]) {
    int n = 0;

    if (role == ROLE_EMBEDDING || role == ROLE_FINAL_NORM || role == ROLE_HEAD)
        n = snprintf(ret_name, GGUF_NAME_SIZE, "%s", plain_names[role]);
    else
        n = snprintf(ret_name, GGUF_NAME_SIZE, "blk.%d.%s", layer, plain_names[role]);
    snprintf(ret_name + n, GGUF_NAME_SIZE - (size_t)n, ".weight");
}

void gguf_part_name(enum group group, int part, int layer, char ret_name[GGUF_NAME_SIZE]) {
    snprintf(ret_name, GGUF_NAME_SIZE, "blk.%d.%s.weight", layer, part_names[group][part]);
}
