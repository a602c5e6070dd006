/* meter.c: runs a command and writes what it used.
 *
 *     meter RESULT [NAME=VALUE...] -- COMMAND [ARGUMENT...]
 *
 * The settings are for the command alone. RESULT gets a line "STATUS SECONDS KIB": as of wait(2),
 * CPU time of user and system, peak memory.
 *
 * compare.py cannot ask for the peak itself: Linux counts what a process had before its execve(),
 * and a child of Python begins with all that Python has. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

int main(int argc, char **argv)
{
    int command = 2;
    while (command < argc && strcmp(argv[command], "--") != 0)
        command++;
    if (command + 1 >= argc) {
        fputs("usage: meter RESULT [NAME=VALUE...] -- COMMAND [ARGUMENT...]\n", stderr);
        return 2;
    }
    FILE *result = fopen(argv[1], "we");
    pid_t child = result != NULL ? fork() : -1;
    if (child < 0) {
        perror(argv[1]);
        return 1;
    }
    if (child == 0) {
        for (int i = 2; i < command; i++)
            putenv(argv[i]);
        execv(argv[command + 1], argv + command + 1);
        perror(argv[command + 1]);
        _exit(127);
    }
    int status;
    struct rusage usage;
    while (wait4(child, &status, 0, &usage) < 0)
        if (errno != EINTR)
            return 1;
    fprintf(result, "%d %.6f %ld\n", status, seconds(usage.ru_utime) + seconds(usage.ru_stime),
            usage.ru_maxrss);
    return fclose(result) == 0 ? 0 : 1;
}
