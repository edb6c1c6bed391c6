/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keys of the bucket that no file name can show: counted once each as far as they are remembered,
 * the first ones said in the log. Lock: hidden.lock, a leaf.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "listing.h"

enum { REMEMBERED = 4096, LISTED = 1000, LOGGED = 20 };

static struct {
	pthread_mutex_t lock;
	uint64_t hashes[REMEMBERED]; /* 0: free */
	uint64_t count;
	char *listed[LISTED]; /* escaped, ours */
	size_t n_listed;
} hidden = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* hidden.lock held. Is it one that was not noted yet? */
static bool is_new(uint64_t hash)
{
	for (size_t i = 0; i < 16; i++) {
		uint64_t *slot = &hidden.hashes[(hash + i) % REMEMBERED];

		if (*slot == hash)
			return false;
		if (*slot && i < 15)
			continue;
		*slot = hash;
		return true;
	}
	return false;
}

void hidden_key_note(const char *dir_key, const char *name, size_t len)
{
	_cleanup_text_ struct text key = { 0 }, shown = { 0 };
	uint64_t n = 0;

	text_add_str(&key, dir_key);
	text_add(&key, name, len);
	text_add_escaped(&shown, key.data ? key.data : "", key.len);
	pthread_mutex_lock(&hidden.lock);
	if (is_new(hash_bytes(key.data ? key.data : "", key.len) | 1)) {
		n = ++hidden.count;
		if (hidden.n_listed < LISTED && shown.data)
			hidden.listed[hidden.n_listed++] = strdup(shown.data);
	}
	pthread_mutex_unlock(&hidden.lock);
	if (n && n <= LOGGED)
		log_warn("the key %s cannot be shown as a file%s", shown.data ? shown.data : "",
			 n == LOGGED ? "; more of them are only counted" : "");
}

void hidden_keys_list(struct text *out)
{
	pthread_mutex_lock(&hidden.lock);
	for (size_t i = 0; i < hidden.n_listed; i++) {
		if (hidden.listed[i])
			text_printf(out, "%s\n", hidden.listed[i]);
	}
	pthread_mutex_unlock(&hidden.lock);
}

uint64_t hidden_keys_count(void)
{
	uint64_t n;

	pthread_mutex_lock(&hidden.lock);
	n = hidden.count;
	pthread_mutex_unlock(&hidden.lock);
	return n;
}
