/* SPDX-License-Identifier: MIT */
#include "services/halo/repl.h"

#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "services/halo/print.h"

enum {
    HISTORY_LINES = 1000,
    MIN_TOKENS = 8, /* fewer, or all in one network packet, are no measurement */
};

static const double MIN_DECODE_S = 0.02;

struct repl {
    struct talk *talk;
    bool with_stats;
    EditLine *editor;
    History *history;
    int interrupt_fd; /* signalfd of SIGINT */
    bool is_continued; /* the line before ended in a backslash */
    bool was_cancelled; /* Ctrl-C at the prompt */
    struct buf text; /* what was entered so far */
};

void repl_print_text(void *ctx, struct str text)
{
    (void)ctx;
    bool is_terminal = isatty(STDOUT_FILENO) == 1;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool is_control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
        (void)putchar(is_terminal && is_control ? '?' : c);
    }
    (void)fflush(stdout);
}

void repl_print_stats(const struct api_reply *r)
{
    double decode_s = r->total_s - r->first_s;
    unsigned long long n = r->completion_tokens;
    (void)fprintf(stderr, "[%llu + %llu tokens, first after %.2f s, all after %.2f s",
                  (unsigned long long)r->prompt_tokens, n, r->first_s, r->total_s);
    if (n > MIN_TOKENS && decode_s > MIN_DECODE_S)
        (void)fprintf(stderr, ", %.1f tok/s", (double)(n - 1) / decode_s);
    (void)fprintf(stderr, ", %s]\n", r->end == API_CANCELLED ? "cancelled" : r->finish);
}

/* ---- the editor -------------------------------------------------------------------------------- */

static struct repl *repl_of(EditLine *e)
{
    void *r = NULL;
    (void)el_get(e, EL_CLIENTDATA, &r);
    return r;
}

static char *prompt(EditLine *e)
{
    static char first[] = "> ";
    static char further[] = ". ";
    return repl_of(e)->is_continued ? further : first;
}

static unsigned char cancel_line(EditLine *e, int c)
{
    (void)c;
    repl_of(e)->was_cancelled = true;
    return CC_NEWLINE;
}

static void open_editor(struct repl *r)
{
    HistEvent ev;
    (void)setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    r->history = history_init();
    (void)history(r->history, &ev, H_SETSIZE, HISTORY_LINES);
    (void)history(r->history, &ev, H_SETUNIQUE, 1);
    r->editor = el_init("halo", stdin, stdout, stderr);
    (void)el_set(r->editor, EL_CLIENTDATA, r);
    (void)el_set(r->editor, EL_PROMPT, prompt);
    (void)el_set(r->editor, EL_EDITOR, "emacs");
    (void)el_set(r->editor, EL_HIST, history, r->history);
    (void)el_set(r->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_set(r->editor, EL_ADDFN, "halo-cancel", "drop the line", cancel_line);
    (void)el_set(r->editor, EL_BIND, "^C", "halo-cancel", NULL);
    /* At the prompt Ctrl-C is a key like others; while a reply runs it is a signal. */
    (void)el_set(r->editor, EL_SETTY, "-d", "-isig", NULL);
}

/* Reads an entry into r->text; a backslash at the end of a line continues it. False at the end. */
static bool read_entry(struct repl *r)
{
    buf_reset(&r->text);
    r->is_continued = false;
    for (;;) {
        int n = 0;
        r->was_cancelled = false;
        /* Before the prompt shows: keys that come early are keys already. */
        (void)el_set(r->editor, EL_PREP_TERM, 1);
        const char *line = el_gets(r->editor, &n);
        if (line == NULL || n <= 0)
            return false;
        if (r->was_cancelled) {
            (void)printf("^C\n");
            buf_reset(&r->text);
            r->is_continued = false;
            continue;
        }
        size_t len = (size_t)n;
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            len--;
        r->is_continued = len > 0 && line[len - 1] == '\\';
        buf_add(&r->text, line, r->is_continued ? len - 1 : len);
        if (!r->is_continued)
            return true;
        buf_add_char(&r->text, '\n');
    }
}

/* ---- entries ----------------------------------------------------------------------------------- */

static void drain_interrupts(const struct repl *r)
{
    struct signalfd_siginfo info;
    while (read(r->interrupt_fd, &info, sizeof info) == (ssize_t)sizeof info) {
    }
}

static void say(struct repl *r, const char *text)
{
    struct api_reply reply;
    drain_interrupts(r);
    talk_say(r->talk, text, r->interrupt_fd, repl_print_text, NULL, &reply);
    drain_interrupts(r);
    (void)printf("\n");
    if (reply.end == API_FAILED)
        (void)fprintf(stderr, "%serror:%s %s\n", print_color(COLOR_BAD), print_color(COLOR_OFF),
                      reply.error);
    else if (r->with_stats)
        repl_print_stats(&reply);
    else if (reply.end == API_CANCELLED)
        (void)printf("%s[cancelled]%s\n", print_color(COLOR_DIM), print_color(COLOR_OFF));
}

static void print_commands(void)
{
    (void)printf("/reset         forget the conversation\n"
                 "/system TEXT   set the system message and forget the conversation\n"
                 "/quit          leave; so does Ctrl-D\n"
                 "Ctrl-C ends a running reply. A backslash at the end of a line continues it.\n");
}

/* False to leave. */
static bool run_command(struct repl *r, const char *text)
{
    static const char SYSTEM[] = "/system";
    size_t n = strlen(SYSTEM);
    if (strcmp(text, "/quit") == 0 || strcmp(text, "/exit") == 0)
        return false;
    if (strcmp(text, "/reset") == 0) {
        talk_reset(r->talk);
        (void)printf("[a new conversation]\n");
    } else if (strncmp(text, SYSTEM, n) == 0 && (text[n] == '\0' || text[n] == ' ')) {
        const char *system = text + n + strspn(text + n, " ");
        talk_set_system(r->talk, system);
        (void)printf("[a new conversation %s]\n",
                     *system != '\0' ? "with this system message" : "without a system message");
    } else {
        if (strcmp(text, "/help") != 0)
            (void)printf("there is no command %s\n", text);
        print_commands();
    }
    return true;
}

static bool handle_entry(struct repl *r)
{
    HistEvent ev;
    const char *text = r->text.ptr + strspn(r->text.ptr, " \t\n");
    if (*text == '\0')
        return true;
    (void)history(r->history, &ev, H_ENTER, r->text.ptr);
    if (*text == '/')
        return run_command(r, text);
    say(r, r->text.ptr);
    return true;
}

int repl_run(struct talk *talk, bool with_stats)
{
    struct repl r = {.talk = talk, .with_stats = with_stats};
    sigset_t interrupt;
    (void)sigemptyset(&interrupt);
    (void)sigaddset(&interrupt, SIGINT);
    if (sigprocmask(SIG_BLOCK, &interrupt, NULL) != 0)
        return EXIT_FAILURE;
    r.interrupt_fd = signalfd(-1, &interrupt, SFD_CLOEXEC | SFD_NONBLOCK);
    if (r.interrupt_fd < 0)
        return EXIT_FAILURE;
    open_editor(&r);
    (void)printf("/help shows the commands; Ctrl-D leaves\n");
    while (read_entry(&r) && handle_entry(&r)) {
    }
    el_end(r.editor);
    history_end(r.history);
    buf_fini(&r.text);
    (void)close(r.interrupt_fd);
    (void)printf("\n");
    return EXIT_SUCCESS;
}
