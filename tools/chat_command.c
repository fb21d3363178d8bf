/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "tools/chat.h"
#include "tools/memory.h"

struct chat_command {
    const char *name;
    const char *operand; /* NULL: none; in brackets: need not be there */
    void (*run)(struct chat *chat, const char *operand);
    const char *help;
};

static void run_help(struct chat *chat, const char *operand);

static void tell(const struct chat *chat, const struct weir_err *err)
{
    cli_fail(chat->cli, err);
}

static void run_system(struct chat *chat, const char *operand)
{
    const char *system = chat_text_system(&chat->text);
    struct weir_err err;

    if (!*operand)
        printf("%s\n", system ? system : "There is no system message.");
    else if (chat_text_set_system(&chat->text,
                                  strcmp(operand, "\"\"") ? operand : "", &err))
        tell(chat, &err);
}

static void run_regen(struct chat *chat, const char *operand)
{
    (void)operand;
    if (chat_text_ends_with(&chat->text, "assistant"))
        chat_text_drop(&chat->text);
    if (chat_text_count(&chat->text))
        chat_say(chat);
    else
        puts("There is nothing to answer again.");
}

static void run_undo(struct chat *chat, const char *operand)
{
    (void)operand;
    if (!chat_text_count(&chat->text)) {
        puts("There is nothing to take back.");
        return;
    }
    if (chat_text_ends_with(&chat->text, "assistant"))
        chat_text_drop(&chat->text);
    if (chat_text_ends_with(&chat->text, "user"))
        chat_text_drop(&chat->text);
    printf("Taken back; there are %zu messages.\n",
           chat_text_count(&chat->text));
}

static void run_save(struct chat *chat, const char *operand)
{
    struct weir_err err;

    if (chat_text_save(&chat->text, operand, &err))
        tell(chat, &err);
    else
        printf("Saved %zu messages.\n", chat_text_count(&chat->text));
}

static void run_load(struct chat *chat, const char *operand)
{
    struct weir_err err;

    if (chat_text_load(&chat->text, operand, &err))
        tell(chat, &err);
    else
        printf("Loaded %zu messages.\n", chat_text_count(&chat->text));
}

static void run_stats(struct chat *chat, const char *operand)
{
    (void)operand;
    chat_print_stats(chat);
    memory_print(chat->model);
    sampling_print(chat->sampling);
}

static void run_clear(struct chat *chat, const char *operand)
{
    (void)operand;
    chat_text_clear(&chat->text);
    puts("A new chat.");
}

static void run_bye(struct chat *chat, const char *operand)
{
    (void)operand;
    chat->is_over = 1;
}

static const struct chat_command commands[] = {
    {"help", NULL, run_help, "this"},
    {"system", "[TEXT]", run_system,
     "show the system message, or set it; \"\" takes it away"},
    {"regen", NULL, run_regen, "answer the last message again"},
    {"undo", NULL, run_undo, "take the last message back, and its answer"},
    {"save", "FILE", run_save, "write the messages down, as JSON"},
    {"load", "FILE", run_load, "go on with messages that were saved"},
    {"stats", NULL, run_stats, "tokens, speeds and memory"},
    {"clear", NULL, run_clear, "a new chat, with the same system message"},
    {"bye", NULL, run_bye, "end; so does Ctrl-D"},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void run_help(struct chat *chat, const char *operand)
{
    char head[32];

    (void)chat;
    (void)operand;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        snprintf(head, sizeof(head), "/%s %s", commands[i].name,
                 commands[i].operand ? commands[i].operand : "");
        printf("  %-16s %s\n", head, commands[i].help);
    }
    puts("  \"\"\"              begins and ends a message of several lines\n"
         "  Ctrl-C           stops an answer, or drops a line");
}

static const struct chat_command *find(const char *name, size_t n)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strlen(commands[i].name) == n && !memcmp(commands[i].name, name, n))
            return &commands[i];
    return NULL;
}

static void tell_unknown(const char *line)
{
    printf("There is no command %s; there are", line);
    for (size_t i = 0; i < N_COMMANDS; i++)
        printf("%s /%s",
               i == 0               ? ""
               : i + 1 < N_COMMANDS ? ","
                                    : " and",
               commands[i].name);
    puts(".\nA message that begins with / goes between \"\"\" and \"\"\".");
}

void chat_command(struct chat *chat, const char *line)
{
    size_t n = strcspn(line + 1, " \t");
    const struct chat_command *command = find(line + 1, n);
    const char *operand = line + 1 + n + strspn(line + 1 + n, " \t");

    if (!command)
        tell_unknown(line);
    else if (!command->operand && *operand)
        printf("/%s takes nothing behind it.\n", command->name);
    else if (command->operand && *command->operand != '[' && !*operand)
        printf("/%s wants the name of a file.\n", command->name);
    else
        command->run(chat, operand);
}
