/* SPDX-License-Identifier: Apache-2.0 */
/* What a user of the installed library writes first. */
#include <stdio.h>
#include <weir.h>

int main(void)
{
    struct weir_err err;
    weir_model *model;

    if (weir_model_open("/nonexistent.weir", NULL, &model, &err) == WEIR_OK)
        return 1;
    printf("libweir %s\n", weir_version());
    return 0;
}
