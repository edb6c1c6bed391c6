/* SPDX-License-Identifier: MIT */
/* keeper/session_env: what a box prints as its environment; a value that is set as a command is read
 * back as it was. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* fuzz/run links base only. */
#include "keeper/session_env.c"	      /* NOLINT(bugprone-suspicious-include) */
#include "keeper/session_env_parse.c" /* NOLINT(bugprone-suspicious-include) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct env_var *var)
{
	struct session_env env = { 0 };
	struct text t = { 0 };
	const char *rest;
	char *end;

	session_env_add_assignment(&t, DRIVER_SH, var->name, var->value);
	assert(!t.failed && !strncmp(t.data, "command ", 8));
	/* Its last line ends in " || :\n". */
	end = t.data + t.len - strlen(" || :\n");
	end[0] = '\n';
	end[1] = '\0';
	assert(session_env_parse_exports(&env, t.data + 8, &rest) == 0 && !*rest);
	assert(env.n == 1 && !strcmp(env.vars[0].value, var->value));
	session_env_free(&env);
	text_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session_env env = { 0 };
	char *text = malloc(size + 1);
	const char *rest;

	assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	session_env_script_may_change(text, size);
	if (session_env_parse_exports(&env, text, &rest) == 0)
		assert(rest >= text && rest <= text + size);
	for (size_t i = 0; i < env.n; i++)
		check_round_trip(&env.vars[i]);
	session_env_free(&env);
	free(text);
	return 0;
}
