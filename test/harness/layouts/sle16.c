// What SUSE's sshd does that Debian's does not: where /etc/ssh/sshd_config is missing, it reads the vendor's.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
    FILE *file = real(path, mode);

    return file || strcmp(path, "/etc/ssh/sshd_config") ? file : real("/usr/etc/ssh/sshd_config", mode);
}
