/* The process that holds a pod's namespaces: it sleeps, collects orphaned children and leaves when told to.
 * The node of the test cluster uses it as its process 1 for the same reasons. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void stop(int signal_number) {
    (void)signal_number;
    _exit(0);
}

static void reap(int signal_number) {
    (void)signal_number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(void) {
    if (signal(SIGINT, stop) == SIG_ERR || signal(SIGTERM, stop) == SIG_ERR || signal(SIGCHLD, reap) == SIG_ERR) {
        return EXIT_FAILURE;
    }
    /* Children that ended before the handler was there are collected here. */
    reap(SIGCHLD);
    for (;;) {
        pause();
    }
}
