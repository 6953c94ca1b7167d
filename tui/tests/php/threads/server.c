// A program that embeds PHP as FrankenPHP does: threads of its own that run one request after the other, on the library of a
// thread-safe build (ZTS).
//
//   server SOCKET THREADS            each connection is one request: the line "METHOD URI SCRIPT\n", answered by what the script
//                                    prints, the status in a first line
//   server SOCKET THREADS SCRIPT     no requests: each thread runs SCRIPT, in one request that begins at the start
//
// It prints "ready" once all threads have begun. Scripts have one more function, thread_cpu_time_ns().

#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <main/php.h>
#include <main/SAPI.h>
#include <main/php_main.h>
#include <main/php_variables.h>
#include <TSRM/TSRM.h>

struct connection {
    int socket;
    // What the script has printed.
    char *body;
    size_t length;
};

static int listener;
static int threads;
static const char *worker;
static pthread_barrier_t begun;

static size_t written(const char *text, size_t length)
{
    struct connection *connection = SG(server_context);
    if (connection) {
        connection->body = realloc(connection->body, connection->length + length);
        memcpy(connection->body + connection->length, text, length);
        connection->length += length;
    }
    return length;
}

static void nothing_to_flush(void *context)
{
    (void)context;
}

static int headers_are_kept(sapi_headers_struct *headers)
{
    (void)headers;
    return SAPI_HEADER_SENT_SUCCESSFULLY;
}

static char *no_cookies(void)
{
    return NULL;
}

static void variables(zval *array)
{
    php_import_environment_variables(array);
    if (SG(request_info).request_uri) {
        php_register_variable("REQUEST_URI", SG(request_info).request_uri, array);
    }
    if (SG(request_info).request_method) {
        php_register_variable("REQUEST_METHOD", (char *)SG(request_info).request_method, array);
    }
}

// CPU time of the thread that asks.
ZEND_BEGIN_ARG_INFO_EX(no_arguments, 0, 0, 0)
ZEND_END_ARG_INFO()

ZEND_FUNCTION(thread_cpu_time_ns)
{
    struct timespec time;
    ZEND_PARSE_PARAMETERS_NONE();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    RETURN_LONG(time.tv_sec * 1000000000L + time.tv_nsec);
}

static const zend_function_entry functions[] = {
    ZEND_FE(thread_cpu_time_ns, no_arguments)
    ZEND_FE_END
};

static void logged(const char *message, int level)
{
    (void)level;
    fprintf(stderr, "%s\n", message);
}

static int started(sapi_module_struct *module)
{
    return php_module_startup(module, NULL);
}

static sapi_module_struct module = {
    .name = "threads",
    .pretty_name = "Threads of a test",
    .startup = started,
    .shutdown = php_module_shutdown_wrapper,
    .ub_write = written,
    .flush = nothing_to_flush,
    .sapi_error = php_error,
    .send_headers = headers_are_kept,
    .read_cookies = no_cookies,
    .register_server_variables = variables,
    .log_message = logged,
};

// One request, from its start to its end. Returns its status.
static int request(struct connection *connection, char *method, char *uri, char *script)
{
    char *query = uri ? strchr(uri, '?') : NULL;
    SG(server_context) = connection;
    SG(request_info).request_method = method;
    SG(request_info).request_uri = uri;
    SG(request_info).query_string = query ? query + 1 : NULL;
    SG(request_info).path_translated = script;
    SG(request_info).content_length = 0;
    SG(sapi_headers).http_response_code = 200;
    if (php_request_startup() == FAILURE) {
        fprintf(stderr, "a request does not start\n");
        exit(1);
    }
    zend_file_handle file;
    zend_stream_init_filename(&file, script);
    file.primary_script = 1;
    php_execute_script(&file);
    zend_destroy_file_handle(&file);
    int status = SG(sapi_headers).http_response_code;
    php_request_shutdown(NULL);
    SG(server_context) = NULL;
    return status;
}

static void answer(int socket)
{
    char line[4096];
    size_t length = 0;
    while (length < sizeof line - 1 && read(socket, line + length, 1) == 1 && line[length] != '\n') {
        length++;
    }
    line[length] = 0;
    char *rest = line, *method = strsep(&rest, " "), *uri = strsep(&rest, " ");
    if (rest) {
        struct connection connection = { .socket = socket };
        int status = request(&connection, method, uri, rest);
        dprintf(socket, "%d\n", status);
        for (size_t sent = 0; sent < connection.length;) {
            ssize_t more = write(socket, connection.body + sent, connection.length - sent);
            if (more <= 0) {
                break;
            }
            sent += more;
        }
        free(connection.body);
    }
    close(socket);
}

static void *thread(void *unused)
{
    (void)unused;
    (void)ts_resource(0);
    pthread_barrier_wait(&begun);
    if (worker) {
        char script[4096];
        snprintf(script, sizeof script, "%s", worker);
        request(NULL, NULL, NULL, script);
        return NULL;
    }
    for (;;) {
        int socket = accept(listener, NULL, NULL);
        if (socket < 0) {
            perror("accept");
            exit(1);
        }
        answer(socket);
    }
}

int main(int count, char **arguments)
{
    if (count < 3) {
        fprintf(stderr, "%s SOCKET THREADS [SCRIPT]\n", arguments[0]);
        return 2;
    }
    threads = atoi(arguments[2]);
    worker = arguments[3];
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", arguments[1]);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) {
        perror(arguments[1]);
        return 1;
    }
    php_tsrm_startup();
    zend_signal_startup();
    sapi_startup(&module);
    module.additional_functions = functions;
    module.ini_entries = "display_errors=0\nlog_errors=1\nhtml_errors=0\nmemory_limit=128M\nmax_execution_time=0\n";
    if (module.startup(&module) == FAILURE) {
        fprintf(stderr, "PHP does not start\n");
        return 1;
    }
    pthread_barrier_init(&begun, NULL, threads + 1);
    pthread_t id;
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&id, NULL, thread, NULL)) {
            perror("a thread");
            return 1;
        }
    }
    pthread_barrier_wait(&begun);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        pause();
    }
}
