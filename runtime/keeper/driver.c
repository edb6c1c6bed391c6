/* SPDX-License-Identifier: MIT */
/*
 * The drivers' texts. Pure. Each piece is there for a case that was met:
 *
 * - `until` and not `while`: under `set -n` a skipped command counts as true, and the loop ends.
 * - `for` of one round: a stray break or continue in a command hits it, and not the loop.
 * - `.` and not eval: `return 5` works, line numbers are the script's own, and there is no function
 *   scope. Redirections on it are undone afterwards.
 * - `if . prev`: the last command's $? is there for the next, and set -e is not tripped.
 * - `builtin` gets past functions of the user's; sh cannot override special builtins, and loses
 *   functions named printf and read.
 * - An empty number after read ends the shell: an overridden read must not run a script twice.
 *   ${…:?}: so does an unset variable. `>|`: also under set -C.
 * - bash, INT: a DEBUG trap that returns from every function and file up to the loop; the rest
 *   of the script is dropped and the shell lives. The flag is set before the trap, or the trap
 *   would see the loop. sh has no such trap: its shell ends, with its environment left in `env`.
 * - Several reads in bash: an end of file is not the shell's end, but a read that fails for ever
 *   must not spin. TMOUT= in the first only: it may be readonly.
 * - `: <go` in sh's loop: dash's read returns when a trapped signal comes; without the folder it
 *   ends.
 */
#include "keeper/driver.h"

#include <string.h>

const char driver_command[] = "eval \"$" DRIVER_VARIABLE "\"";
const char driver_prev_text[] = "return \"$__sbx_s\"\n";

static const char bash_text[] =
	"builtin unset -v " DRIVER_VARIABLE "\n"
	"trap '{ builtin export -p; builtin export -f; } >|@D/env; builtin pwd -P >|@D/cwd' EXIT\n"
	"trap '__sbx_i=1; builtin set -T; builtin trap \"[[ \\${BASH_SOURCE-} ]] &&"
	" builtin return 130\" DEBUG' INT\n"
	"__sbx_g=0 __sbx_i=\n"
	"until\n"
	"  __sbx_s=$?\n"
	"  if [[ $__sbx_i == 1 ]]; then builtin trap - DEBUG; builtin set +T; __sbx_s=130; fi\n"
	"  builtin printf '%s %d\\n' \"${__sbx_g:?}\" \"$__sbx_s\" >@D/st && __sbx_g= && {\n"
	"    IFS= TMOUT= builtin read -r __sbx_g <@D/go || IFS= builtin read -r __sbx_g <@D/go ||\n"
	"    IFS= builtin read -r __sbx_g <@D/go; } || __sbx_g=\n"
	"  if [[ $__sbx_i == 1 ]]; then builtin trap - DEBUG; builtin set +T; fi\n"
	"  __sbx_i=\n"
	"  [[ ! $__sbx_g ]]\n"
	"do\n"
	"  for __sbx_g in \"$__sbx_g\"; do\n"
	"    if builtin . @D/prev\n"
	"    then builtin . @D/cmd <@D/in >@D/out 2>@D/err\n"
	"    else builtin . @D/cmd <@D/in >@D/out 2>@D/err\n"
	"    fi\n"
	"  done\n"
	"done\n";

static const char sh_text[] =
	"unset -v " DRIVER_VARIABLE "\n"
	"trap 'export -p >|@D/env; pwd -P >|@D/cwd' EXIT\n"
	"trap 'case $__sbx_g in \"\") ;; *) exit 130 ;; esac' INT\n"
	"__sbx_g=0\n"
	"until\n"
	"  __sbx_s=$?\n"
	"  unset -f printf read\n"
	"  printf '%s %d\\n' \"${__sbx_g:?}\" \"$__sbx_s\" >@D/st && __sbx_g= &&\n"
	"    until IFS= read -r __sbx_g <@D/go; do : <@D/go; done || __sbx_g=\n"
	"  case $__sbx_g in '') ;; *) ! : ;; esac\n"
	"do\n"
	"  for __sbx_g in \"$__sbx_g\"; do\n"
	"    if . @D/prev\n"
	"    then . @D/cmd <@D/in >@D/out 2>@D/err\n"
	"    else . @D/cmd <@D/in >@D/out 2>@D/err\n"
	"    fi\n"
	"  done\n"
	"done\n";

void driver_add(struct text *t, enum driver_kind kind, const char *dir)
{
	const char *p = kind == DRIVER_BASH ? bash_text : sh_text;
	const char *at;

	while ((at = strstr(p, "@D"))) {
		text_add(t, p, at - p);
		text_add_str(t, dir);
		p = at + 2;
	}
	text_add_str(t, p);
}
