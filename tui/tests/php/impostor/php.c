/* A program that shows itself as php-fpm 8.2 and is hostile to whoever observes it. It has no PHP in it: the names, the banner and
 * the globals are all that an observer can ask for. The first argument says what it does; it goes on until it is ended.
 *
 * With -DNOTES=N one probe has N places, with -DSHIFT=N all code is N bytes further on, and with -DLOADER it is a program that
 * loads the library of its first argument and calls what the second one names.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef LOADER
#include <dlfcn.h>

int main(int count, char **arguments)
{
	void *library = dlopen(arguments[1], RTLD_NOW);
	int (*run)(int, char **) = library ? (int (*)(int, char **))dlsym(library, "run") : NULL;
	return run ? run(count - 1, arguments + 1) : 1;
}
#else

#ifdef SHIFT
__asm__(".text\n.space " SHIFT ", 0x90\n");
#endif

/* Each of these has to be a function of its own that is called, whatever the compiler thinks of it. */
#define PROBED __attribute__((noinline, noipa))

const char banner[] = "X-Powered-By: PHP/8.2.36", interface_name[] = "FPM/FastCGI";
/* Room as in PHP 8.2; `previous_execute_data` is at 48 of a frame, the file name at 152 of a function. */
uint64_t executor_globals[256], sapi_globals[64];
char zend_dtrace_enabled;
void *zend_execute_ex = &zend_execute_ex;
#define CURRENT_FRAME (488 / 8)
#define SCRIPT (40 / 8)
#define STATUS (216 / 8)
#define ENVIRONMENT (8296 / 8)

static volatile uint64_t calls;
PROBED int php_request_startup(void) { calls++; return 0; }
PROBED void php_request_shutdown(void *unused) { (void)unused; calls++; }
PROBED void *compile_file(void *handle, int type) { (void)type; calls++; return handle; }
PROBED void zend_error_zstr_at(int level, void *file, uint32_t line, void *message)
{
	(void)level, (void)file, (void)line, (void)message;
	calls++;
}
PROBED void zend_throw_exception_internal(void *object) { (void)object; calls++; }
PROBED int zend_exception_error(void *object, int severity) { (void)object, (void)severity; calls++; return 0; }

#ifdef NOTES
#define TEXT(number) #number
#define TIMES(number) TEXT(number)
/* `request__startup` at many places, each with a semaphore of its own. */
__asm__(".section .stapsdt.base,\"a\",@progbits\nbase_of_notes: .byte 0\n.data\nsemaphores: .space 2*" TIMES(NOTES) "\n.text\n"
	"places: .rept " TIMES(NOTES) "\nnop\n.endr\nret\n.set number, 0\n.section .note.stapsdt,\"\",@note\n"
	".rept " TIMES(NOTES) "\n.balign 4\n.4byte 92f - 91f, 94f - 93f, 3\n91: .asciz \"stapsdt\"\n92:\n"
	"93: .8byte places + number, base_of_notes, semaphores + 2 * number\n"
	".asciz \"php\"\n.asciz \"request__startup\"\n.asciz \"8@%rdi\"\n94: .balign 4\n.set number, number + 1\n.endr\n.text\n");
#endif

/* Chance that is the same in each run. */
static uint64_t state = 1;
static uint64_t chance(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return state >> 33 ^ state >> 7;
}

struct string { uint32_t references, kind; uint64_t hash, length; char text[40]; };

/* A name that was never there before, with the hash that the caller wants. */
static struct string *name(struct string *into, const char *before, uint64_t number, uint64_t hash)
{
	into->length = (uint64_t)snprintf(into->text, sizeof into->text, "%s%llu", before, (unsigned long long)number);
	into->hash = hash;
	return into;
}

/* Threads that end inside a request, after the first thread has left: nobody says that their process has ended. */
static void *request_without_end(void *unused)
{
	(void)unused;
	php_request_startup();
	return NULL;
}

static void threads(void)
{
	for (int rounds = 1;; rounds++) {
		pid_t child = fork();
		if (child == 0) {
			pthread_t thread;
			for (int i = 0; i < 64; i++)
				if (pthread_create(&thread, NULL, request_without_end, NULL) == 0)
					pthread_detach(thread);
			pthread_exit(NULL);
		}
		waitpid(child, NULL, 0);
		pthread_t some[64];
		int started = 0;
		while (started < 64 && pthread_create(&some[started], NULL, request_without_end, NULL) == 0)
			started++;
		while (started > 0)
			pthread_join(some[--started], NULL);
		printf("%d threads\n", rounds * 128);
		fflush(stdout);
	}
}

/* Requests, exceptions, errors and files without end, each at a place that is new; one of eight requests has no end, and one has
 * two. */
static void *flood_one(void *number)
{
	struct string file = {.references = 1}, message = {.references = 1};
	uint64_t class_entry[64] = {2, (uint64_t)&message}, object[32] = {0}, handle[16] = {0};
	for (uint64_t round = (uint64_t)number << 40;; round++) {
		php_request_startup();
		name(&file, "/srv/flood/", round, 0);
		name(&message, "flood ", round, 0);
		object[2] = (uint64_t)class_entry;
		object[5] = (uint64_t)&message, object[6] = 6;
		object[11] = (uint64_t)&file, object[12] = 6;
		object[13] = round, object[14] = 4;
		zend_throw_exception_internal(object);
		zend_exception_error(object, 1);
		zend_error_zstr_at(2, &file, (uint32_t)round, &message);
		handle[5] = (uint64_t)&file;
		compile_file(handle, 8);
		compile_file(handle, 8);
		if (round % 8 != 0)
			php_request_shutdown(NULL);
		if (round % 8 == 1)
			php_request_shutdown(NULL);
	}
	return NULL;
}

static void flood(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, flood_one, (void *)1);
	flood_one((void *)2);
}

/* Memory that lies: pointers to nothing, to itself, across the end of what is mapped, lengths without measure, frames in a circle,
 * the hashes of other people's names, and mappings that look like scoreboards. */
static uint64_t *room, *last_page;
#define WORDS 4096

static uint64_t a_pointer(void)
{
	switch (chance() % 12) {
	case 0: return 0;
	case 1: return chance() % 8192;
	case 2: return UINT64_MAX - chance() % 64;
	case 3: return 0xffff800000000000u + chance();
	case 4: return (uint64_t)last_page + 4096 - chance() % 64;
	case 5: return (uint64_t)room + chance() % (WORDS * 8);
	case 6: return 1ull << (chance() % 64);
	default: return (uint64_t)(room + chance() % (WORDS - 64));
	}
}

static void forge(void)
{
	for (int i = 0; i < WORDS; i++)
		switch (chance() % 6) {
		case 0: room[i] = 1ull << (chance() % 64); break;
		case 1: room[i] = chance() % 40; break;
		case 2: room[i] = (chance() << 40) | 2; break;
		case 3: room[i] = 0x4141414141414141u; break;
		default: room[i] = a_pointer();
		}
	memcpy(last_page, room, 4096);
	/* A bucket of the environment of FastCGI whose next one is itself. */
	uint64_t *bucket = room + 3000;
	bucket[0] = 1955 | 11ull << 32, bucket[1] = (uint64_t)"REQUEST_URI", bucket[2] = UINT32_MAX;
	bucket[3] = a_pointer(), bucket[4] = (uint64_t)bucket;
	room[ENVIRONMENT + (1955 & 127)] = (uint64_t)bucket;
	for (int i = 0; i < 64; i++)
		sapi_globals[i] = a_pointer();
	if (chance() % 2)
		sapi_globals[0] = (uint64_t)room;
	sapi_globals[STATUS] = chance();
	/* A frame whose next one is itself, or any, and whose instruction is anywhere. */
	uint64_t *frame = room + 2000;
	frame[0] = a_pointer();
	frame[6] = chance() % 2 ? (uint64_t)frame : a_pointer();
	frame[3] = (uint64_t)(room + 2100);
	room[2100] = 2, room[2101] = (uint64_t)(room + 2200), room[2119] = (uint64_t)(room + 2300);
	/* `burn` of another program, as far as its hash goes: DJB's, with the highest bit set (Zend/zend_string.h). */
	room[2201] = 0x800000017c94cd7cu, room[2202] = chance() % 2 ? 4 : chance() << 20;
	executor_globals[CURRENT_FRAME] = chance() % 2 ? (uint64_t)frame : a_pointer();
}

/* Computes with a frame and an instruction in the registers of PHP's executor: some bytes or pages from the frame's own, or anywhere. */
static void compute(void)
{
#ifdef __x86_64__
	register uint64_t frame __asm__("r14") = executor_globals[CURRENT_FRAME];
	register uint64_t opline __asm__("r15") = chance() % 2 ? a_pointer() : room[2000] + 32 * (chance() % 131072) - 16 * (chance() % 262144);
	uint64_t rounds = 300000;
	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(rounds) : "r"(frame), "r"(opline));
#endif
}

static void forged(void)
{
	char *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(two + 4096, 4096);
	last_page = (uint64_t *)two;
	room = calloc(WORDS + 64, 8);
	for (int i = 0; i < 1300; i++) {
		/* The header of a pool with one worker, see `struct fpm_scoreboard_s`. */
		uint32_t *board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		snprintf((char *)board + 16, 32, i % 3 ? "www" : "forged-%d", i);
		board[12] = 1 + i % 3, board[26] = 1, board[16] = board[17] = i % 2;
		memset(board + 18, 0xff, 32);
		memset(board + 28, 0xff, 8);
	}
	for (;;) {
		struct timespec began, now;
		forge();
		php_request_startup();
		zend_throw_exception_internal((void *)a_pointer());
		zend_exception_error((void *)a_pointer(), -1);
		zend_error_zstr_at((int)chance(), (void *)a_pointer(), (uint32_t)chance(), (void *)a_pointer());
		compile_file((void *)a_pointer(), (int)chance());
		/* Some time on a CPU, and a moment off it, with these frames. */
		clock_gettime(CLOCK_MONOTONIC, &began);
		do
			clock_gettime(CLOCK_MONOTONIC, &now);
		while ((now.tv_sec - began.tv_sec) * 1000000000 + now.tv_nsec - began.tv_nsec < 1000000);
		compute();
		usleep(10);
		php_request_shutdown((void *)a_pointer());
	}
}

/* As many requests as it is told, then it waits: each of them is there to be counted. */
static void requests(long count)
{
	while (count-- > 0) {
		php_request_startup();
		php_request_shutdown(NULL);
	}
	puts("done");
	fflush(stdout);
	for (;;)
		pause();
}

int run(int count, char **arguments)
{
	const char *what = count > 1 ? arguments[1] : "";
	sapi_globals[SCRIPT] = (uint64_t)"/srv/impostor.php";
	if (strcmp(what, "threads") == 0)
		threads();
	else if (strcmp(what, "flood") == 0)
		flood();
	else if (strcmp(what, "forged") == 0)
		forged();
	else if (strcmp(what, "requests") == 0)
		requests(count > 2 ? atol(arguments[2]) : 0);
	else
		for (;;)
			pause();
	return 0;
}

int main(int count, char **arguments) { return run(count, arguments); }
#endif
