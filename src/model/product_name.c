/* SPDX-License-Identifier: Apache-2.0 */
#include "model/product_name.h"

#include <string.h>

const char *weir_product_name(const char *tensor)
{
    static const struct {
        const char *part, *name;
    } names[] = {
        {".gate_proj.", "gate, up"},  {".down_proj.", "down"},
        {".in_proj.", "in_proj"},     {".x_proj.", "x_proj"},
        {".dt_proj.", "dt_proj"},     {".out_proj.", "out_proj"},
        {".q_proj.", "q, k, v"},      {".o_proj.", "o_proj"},
        {".router.", "router"},       {"lm_head.", "lm_head"},
        {"embed_tokens.", "lm_head"},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strstr(tensor, names[i].part))
            return names[i].name;
    return "product";
}
