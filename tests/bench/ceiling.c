/* SPDX-License-Identifier: MIT */
/*
 * What a server gives to a client that does nothing but ask: requests that were signed beforehand, sent
 * by a number of threads with a kept connection each. No file, no cache, no kernel in between.
 *
 *   ceiling THREADS SOURCE <REQUESTS
 *
 * A request is one line of words with tabs between them: method, URL, offset and length of its body in
 * the file SOURCE, then headers. Prints the seconds all of them took, then the ETag of each in order
 * ("-": none). A body whose header says its SHA-256 is hashed before it is sent, as a client would have
 * to. Ends with 1 and a sentence when a request is refused.
 */
#include <curl/curl.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_MAX = 64, LINE_MAX_BYTES = 16384 };

struct request {
	char *line, *method, *url;
	struct curl_slist *headers;
	const unsigned char *body;
	size_t length, sent;
	char sha256[65]; /* "": need not be known */
	char etag[80];
};

static struct {
	struct request *all;
	size_t n, room;
	atomic_size_t next;
	const unsigned char *source;
	size_t source_len;
} work;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "ceiling: %s: %s\n", what, why);
	exit(1);
}

static size_t give(char *buf, size_t size, size_t n, void *arg)
{
	struct request *r = arg;
	size_t left = r->length - r->sent;

	n *= size;
	if (n > left)
		n = left;
	memcpy(buf, r->body + r->sent, n);
	r->sent += n;
	return n;
}

static size_t drop(char *bytes, size_t size, size_t n, void *arg)
{
	(void)bytes, (void)arg;
	return size * n;
}

static size_t header(char *line, size_t size, size_t n, void *arg)
{
	struct request *r = arg;

	if (n * size > 6 && !strncasecmp(line, "etag:", 5))
		sscanf(line + 5, " %79[^\r\n]", r->etag);
	return size * n;
}

static void hash(const struct request *r)
{
	unsigned char digest[32];
	char hex[65];

	if (!EVP_Digest(r->body, r->length, digest, NULL, EVP_sha256(), NULL))
		die(r->url, "no SHA-256");
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	if (strcmp(hex, r->sha256))
		die(r->url, "signed for another body");
}

static void perform(CURL *curl, struct request *r)
{
	long status = 0;
	CURLcode rc;

	if (r->sha256[0])
		hash(r);
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, r->url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, r->headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, r);
	curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L << 10);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	if (!strcmp(r->method, "PUT")) {
		curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, give);
		curl_easy_setopt(curl, CURLOPT_READDATA, r);
		curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->length);
	}
	if (!strcmp(r->method, "DELETE"))
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, "DELETE");
	rc = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (rc != CURLE_OK)
		die(r->url, curl_easy_strerror(rc));
	if (status / 100 != 2) {
		char text[32];

		snprintf(text, sizeof(text), "refused with %ld", status);
		die(r->url, text);
	}
}

static void *worker(void *arg)
{
	CURL *curl = curl_easy_init();

	(void)arg;
	if (!curl)
		die("curl", "no memory");
	for (size_t i; (i = atomic_fetch_add(&work.next, 1)) < work.n;)
		perform(curl, &work.all[i]);
	curl_easy_cleanup(curl);
	return NULL;
}

static void take_line(const char *line)
{
	static const char sha[] = "x-amz-content-sha256: ";
	char *save = NULL, *word;
	size_t offset;
	struct request *r;

	if (work.n == work.room) {
		work.room = work.room ? 2 * work.room : 1024;
		work.all = reallocarray(work.all, work.room, sizeof(*work.all));
	}
	r = work.all ? &work.all[work.n++] : NULL;
	if (!r)
		die("requests", "no memory");
	*r = (struct request){ .line = strdup(line), .etag = "-" };
	r->method = r->line ? strtok_r(r->line, "\t\n", &save) : NULL;
	r->url = strtok_r(NULL, "\t\n", &save);
	word = strtok_r(NULL, "\t\n", &save);
	offset = word ? strtoull(word, NULL, 10) : 0;
	word = strtok_r(NULL, "\t\n", &save);
	if (!r->method || !r->url || !word)
		die("requests", "a line is no request");
	r->length = strtoull(word, NULL, 10);
	r->body = work.source + offset;
	if (offset > work.source_len || r->length > work.source_len - offset)
		die(r->url, "its body lies outside of the source");
	while ((word = strtok_r(NULL, "\t\n", &save))) {
		r->headers = curl_slist_append(r->headers, word);
		if (!strncmp(word, sha, sizeof(sha) - 1) && strlen(word) == sizeof(sha) - 1 + 64 &&
		    r->length)
			memcpy(r->sha256, word + sizeof(sha) - 1, 65);
	}
	r->headers = curl_slist_append(r->headers, "Expect:");
}

static void map_source(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path, "cannot be opened");
	work.source_len = (size_t)st.st_size;
	work.source = mmap(NULL, work.source_len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (work.source == MAP_FAILED)
		die(path, "cannot be mapped");
	close(fd);
}

int main(int argc, char **argv)
{
	static char line[LINE_MAX_BYTES];
	pthread_t threads[THREADS_MAX];
	struct timespec from, to;
	int n = argc == 3 ? (int)strtol(argv[1], NULL, 10) : 0;

	if (n < 1 || n > THREADS_MAX)
		die("usage", "ceiling THREADS SOURCE <REQUESTS");
	map_source(argv[2]);
	curl_global_init(CURL_GLOBAL_ALL);
	while (fgets(line, sizeof(line), stdin))
		take_line(line);
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, worker, NULL))
			die("threads", "no more of them");
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%.6f\n",
	       (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	for (size_t i = 0; i < work.n; i++)
		printf("%s\n", work.all[i].etag);
	return 0;
}
