/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/inspect_cpu.h"

#include <errno.h>
#include <stdio.h>

#include "base/json.h"
#include "kernels/levels.h"

static void print_text(enum weir_level chosen)
{
    const char *operation;
    enum weir_level server;

    printf("detected   %s\ncompiled  ", weir_level_name(weir_level_detected()));
    for (int i = 0; i < WEIR_N_LEVELS; i++)
        if (weir_level_compiled(i))
            printf(" %s", weir_level_name(i));
    printf("\nchosen     %s\n\n", weir_level_name(chosen));
    for (unsigned i = 0;
         (operation = weir_kernels_operation(chosen, i, &server)); i++)
        printf("%-15s %s\n", operation, weir_level_name(server));
}

static json_t *make_json(enum weir_level chosen)
{
    json_t *compiled = json_array(), *operations = json_object(), *root;
    const char *operation;
    enum weir_level server;
    int bad = 0;

    for (int i = 0; i < WEIR_N_LEVELS; i++)
        if (weir_level_compiled(i))
            bad |= json_array_append_new(compiled,
                                         json_string(weir_level_name(i)));
    for (unsigned i = 0;
         (operation = weir_kernels_operation(chosen, i, &server)); i++)
        bad |= json_object_set_new(operations, operation,
                                   json_string(weir_level_name(server)));
    root =
        json_pack("{s:s, s:o, s:s, s:o}", "detected",
                  weir_level_name(weir_level_detected()), "compiled", compiled,
                  "chosen", weir_level_name(chosen), "operations", operations);
    if (!bad)
        return root;
    json_decref(root);
    return NULL;
}

int inspect_cpu(int json, struct weir_err *err)
{
    enum weir_level chosen;
    json_t *root;
    int rc = weir_level_choose(&chosen, err);

    if (rc)
        return rc;
    while (!weir_level_compiled(chosen))
        chosen--;
    if (!json) {
        print_text(chosen);
        return 0;
    }
    root = make_json(chosen);
    if (!root)
        return weir_err_nomem(err, 4096, "JSON");
    rc = json_dumpf(root, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(root);
    return rc ? weir_err_errno(err, errno, "write", "standard output") : 0;
}
