/* Preloaded into iptables-legacy-save: answers in the kernel's place with the blob of a replace, for
 * extensions that the kernel lacks. The environment's BLOB names its file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { GET_INFO = 64, GET_ENTRIES = 65, HEADER = 96, ENTRIES_HEADER = 40 };

int getsockopt(int fd, int level, int option, void *value, socklen_t *length)
{
	static char blob[1 << 20];
	char *answer = value;
	FILE *file;
	size_t size;

	if (option != GET_INFO && option != GET_ENTRIES)
		return syscall(SYS_getsockopt, fd, level, option, value, length);
	file = fopen(getenv("BLOB"), "rb");
	size = fread(blob, 1, sizeof(blob), file);
	fclose(file);
	if (option == GET_ENTRIES) {
		memcpy(answer + ENTRIES_HEADER, blob + HEADER, size - HEADER);
		return 0;
	}
	/* The offsets of hooks stand before the numbers, not behind them. */
	memcpy(answer, blob, 36);
	memcpy(answer + 36, blob + 44, 40);
	memcpy(answer + 76, blob + 36, 8);
	return 0;
}
