/* SPDX-License-Identifier: MIT */
/*
 * net: a box's network.
 *
 *	mode                       none, or private: out to public addresses and nothing else
 *	allow deny                 exceptions, one a line
 *	bandwidth                  bytes a second each way
 *	log rules                  connections; the kernel's rules
 *
 * A change is checked here, kept in the box's settings, and answered when the kernel has it. Lock:
 * box->lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "box.h"
#include "daemon.h"
#include "dirs.h"
#include "fuse_ops.h"
#include "keeper.h"
#include "net.h"
#include "net_policy.h"
#include "network.h"
#include "store.h"
#include "wake.h"

/* --- writing ------------------------------------------------------------------------------------ */

/* What a write that the kernel refuses puts back. */
struct net_undo {
	unsigned int changes; /* of the box, with this write */
	bool private, chosen;
	uint64_t bandwidth;
	size_t deny; /* offset of that in lists; allow is at 0 */
	char lists[];
};

static struct chunk *undo_new(const struct box *box)
{
	size_t allow = strlen(box->net_allow) + 1, deny = strlen(box->net_deny) + 1;
	struct chunk *chunk = chunk_new(sizeof(struct net_undo) + allow + deny);
	struct net_undo undo = {
		.changes = box->net_changes + 1,
		.private = box->net_private,
		.chosen = box->net_chosen,
		.bandwidth = box->net_bandwidth,
		.deny = allow,
	};

	if (!chunk)
		return NULL;
	memcpy(chunk->bytes, &undo, sizeof(undo));
	memcpy(chunk->bytes + sizeof(undo), box->net_allow, allow);
	memcpy(chunk->bytes + sizeof(undo) + allow, box->net_deny, deny);
	return chunk;
}

/* A later write stands. box->lock held. */
static void undo(struct box *box, const struct chunk *chunk)
{
	const char *lists = chunk->bytes + sizeof(struct net_undo);
	struct net_undo was;

	memcpy(&was, chunk->bytes, sizeof(was));
	if (was.changes != box->net_changes || box->removed)
		return;
	if (string_replace(&box->net_allow, lists) < 0 ||
	    string_replace(&box->net_deny, lists + was.deny) < 0)
		log_error("box %s: put its network's settings back: out of memory", box->name);
	box->net_private = was.private;
	box->net_chosen = was.chosen;
	box->net_bandwidth = was.bandwidth;
	store_save(box);
	net_update(box, 0);
}

static void write_answer(struct park *park, int error)
{
	_cleanup_chunk_ struct chunk *chunk = take_ptr(park->chunk);

	if (error && error != EINTR) {
		pthread_mutex_lock(&park->box->lock);
		undo(park->box, chunk);
		pthread_mutex_unlock(&park->box->lock);
	}
	if (error)
		fuse_reply_err(park->req, error);
	else
		fuse_reply_write(park->req, park->wait.size);
}

static const struct park_type write_park = { reply_look, write_answer, NULL };

/* What was written by this handle so far; opened for appending, behind what was there. */
static char *value_so_far(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	char *value = NULL;

	pthread_mutex_lock(&h->lock);
	if (h->rendered)
		text_reset(&h->text);
	h->rendered = false;
	if (!h->text.len && (h->flags & O_APPEND))
		h->row->show(ctx, &h->text);
	text_add(&h->text, data, size);
	if (!h->text.failed && h->text.len <= NET_MAX_TEXT + 1 &&
	    strlen(h->text.data) == h->text.len)
		value = strdup(h->text.data);
	pthread_mutex_unlock(&h->lock);
	return value;
}

/* store: checks and sets the value; 0, or -errno. ask: tells the running box (net.h). box->lock held. */
static int net_write(struct ctx *ctx, struct handle *h, const char *data, size_t size,
		     int (*store)(struct ctx *ctx, const char *value),
		     int (*ask)(struct box *box, uint64_t tag))
{
	struct park_wait wait = { .size = size, .tag = keeper_new_tag() };
	_cleanup_free_ char *value = value_so_far(ctx, h, data, size);
	struct box *box = ctx->box;
	_cleanup_chunk_ struct chunk *chunk = NULL;
	int r;

	if (!value) {
		tree_refuse(ctx, "net/%s: text of %d KiB at the most", h->row->name,
			    NET_MAX_TEXT >> 10);
		return -EINVAL;
	}
	pthread_mutex_lock(&box->lock);
	chunk = undo_new(box);
	r = box->removed ? -ESTALE : chunk ? store(ctx, value) : -ENOMEM;
	if (r == 0) {
		box->net_changes++;
		r = store_save(box);
	}
	/* A start under way asks for itself, with what is set by then. */
	if (r == 0 && box->keeper)
		r = ask(box, wait.tag);
	if (r == 1)
		r = park_add(&box->parks, &box->lock, &write_park, ctx->req, h, box, &wait) ?: 1;
	if (r < 0 && chunk)
		undo(box, chunk);
	if (r == 1) {
		box->parks.first->chunk = take_ptr(chunk); /* that is the one */
		r = TREE_ANSWERED;
	}
	pthread_mutex_unlock(&box->lock);
	return r;
}

static int net_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	return handle_reply_rendered(ctx, h, size, offset);
}

/* --- mode --------------------------------------------------------------------------------------- */

static int net_mode_show(struct ctx *ctx, struct text *out)
{
	struct box *box = ctx->box;
	char why[256];
	bool private;

	net_unable(why, sizeof(why));
	pthread_mutex_lock(&box->lock);
	private = box->net_private && (box->net_chosen || !why[0]);
	pthread_mutex_unlock(&box->lock);
	text_add_str(out, private ? "private\n" : "none\n");
	return 0;
}

static int net_mode_store(struct ctx *ctx, const char *value)
{
	bool private = !strcmp(value, "private") || !strcmp(value, "private\n");
	char why[256];

	if (!private && strcmp(value, "none") && strcmp(value, "none\n")) {
		tree_refuse(ctx, "net/mode: none or private");
		return -EINVAL;
	}
	net_unable(why, sizeof(why));
	if (private && why[0]) {
		tree_refuse(ctx, "net/mode: this machine has no network for boxes: %s", why);
		return -EOPNOTSUPP;
	}
	ctx->box->net_private = private;
	ctx->box->net_chosen = true;
	return 0;
}

static int net_mode_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	return net_write(ctx, h, data, size, net_mode_store, net_switch);
}

/* --- allow, deny -------------------------------------------------------------------------------- */

static int show_list(struct ctx *ctx, char *const *list, struct text *out)
{
	pthread_mutex_lock(&ctx->box->lock);
	text_add_str(out, *list);
	pthread_mutex_unlock(&ctx->box->lock);
	return 0;
}

static int net_allow_show(struct ctx *ctx, struct text *out)
{
	return show_list(ctx, &ctx->box->net_allow, out);
}

static int net_deny_show(struct ctx *ctx, struct text *out)
{
	return show_list(ctx, &ctx->box->net_deny, out);
}

/* Does one hold something of the other? */
static bool overlap(const uint8_t *a, unsigned int a_len, const uint8_t *b, unsigned int b_len)
{
	unsigned int len = MIN(a_len, b_len);

	return net_cidr_holds(a, len, b, len);
}

static bool rule_opens(const struct net_rule *rule, const struct net_range *range)
{
	uint8_t addr[16];
	unsigned int len;
	int family;

	if (!rule->family || net_parse_cidr(range->cidr, &family, addr, &len) < 0)
		return false;
	if (family == AF_INET && rule->family == AF_INET6) {
		uint8_t v4[4];

		memcpy(v4, addr, sizeof(v4));
		net_make_nat64(v4, len, addr, &len);
		family = AF_INET6;
	}
	return family == rule->family && overlap(addr, len, rule->addr, rule->prefix);
}

/* Does an address rule open something that is not public? */
static bool opens_private(const struct net_policy *policy)
{
	for (size_t i = 0; i < policy->n; i++) {
		for (size_t j = 0; j < net_n_ranges; j++) {
			if (rule_opens(&policy->rules[i], &net_ranges[j]))
				return true;
		}
	}
	return false;
}

static int set_list(struct ctx *ctx, const char *what, const char *value, char **list)
{
	bool allow = !strcmp(what, "allow");
	struct net_policy policy;
	char why[256], *copy;
	size_t len = strlen(value);
	int r = net_policy_parse(value, allow, &policy, why, sizeof(why));

	if (r == 0 && allow && ctx->uid != 0 && !the_options.network_open_private &&
	    opens_private(&policy)) {
		snprintf(why, sizeof(why),
			 "only root may open what is not public "
			 "(network.open_private)");
		r = -EPERM;
	}
	net_policy_free(&policy);
	if (r < 0) {
		tree_refuse(ctx, "net/%s: %s", what, r == -ENOMEM ? "out of memory" : why);
		return r;
	}
	if (asprintf(&copy, "%s%s", value, len && value[len - 1] != '\n' ? "\n" : "") < 0)
		return -ENOMEM;
	if (!strcmp(copy, "\n"))
		*copy = '\0';
	free(*list);
	*list = copy;
	return 0;
}

static int net_allow_store(struct ctx *ctx, const char *value)
{
	return set_list(ctx, "allow", value, &ctx->box->net_allow);
}

static int net_deny_store(struct ctx *ctx, const char *value)
{
	return set_list(ctx, "deny", value, &ctx->box->net_deny);
}

static int net_allow_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	return net_write(ctx, h, data, size, net_allow_store, net_update);
}

static int net_deny_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	return net_write(ctx, h, data, size, net_deny_store, net_update);
}

/* --- bandwidth ---------------------------------------------------------------------------------- */

static int net_bandwidth_show(struct ctx *ctx, struct text *out)
{
	uint64_t rate;
	char buf[32];

	pthread_mutex_lock(&ctx->box->lock);
	rate = ctx->box->net_bandwidth;
	pthread_mutex_unlock(&ctx->box->lock);
	text_printf(out, "%s\n", format_size(buf, rate));
	return 0;
}

static int net_bandwidth_store(struct ctx *ctx, const char *value)
{
	_cleanup_free_ char *copy = strdup(value);
	uint64_t rate;

	if (!copy)
		return -ENOMEM;
	if (parse_size(text_strip(copy), &rate) < 0 || rate < NET_MIN_BANDWIDTH) {
		tree_refuse(ctx, "net/bandwidth: bytes a second each way, as 10M, from 8K; or "
				 "unlimited");
		return -EINVAL;
	}
	if (rate > the_options.network_bandwidth && ctx->uid != 0) {
		tree_refuse(ctx, "net/bandwidth: above network.bandwidth only root may go");
		return -EPERM;
	}
	ctx->box->net_bandwidth = rate;
	return 0;
}

static int net_bandwidth_write(struct ctx *ctx, struct handle *h, const char *data, size_t size)
{
	return net_write(ctx, h, data, size, net_bandwidth_store, net_update);
}

/* --- log, rules --------------------------------------------------------------------------------- */

static int net_log_show(struct ctx *ctx, struct text *out)
{
	static const char *const files[] = { NET_LOG_OLD, NET_LOG };
	_cleanup_close_ int dir = -1;

	pthread_mutex_lock(&ctx->box->lock);
	dir = store_box_dir(ctx->box);
	pthread_mutex_unlock(&ctx->box->lock);
	for (size_t i = 0; dir >= 0 && i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *text = NULL;
		size_t len = 0;

		if (read_file_at(dir, files[i], 2 * NET_LOG_MAX, &text, &len) == 0)
			text_add(out, text, len);
	}
	return dir < 0 ? dir : 0;
}

static void rules_answer(struct park *park, int error)
{
	_cleanup_chunk_ struct chunk *chunk = take_ptr(park->chunk);
	struct handle *h = park->handle;

	if (error) {
		fuse_reply_err(park->req, error);
		return;
	}
	pthread_mutex_lock(&h->lock);
	text_reset(&h->text);
	if (chunk)
		text_add(&h->text, chunk->bytes, chunk->len);
	h->rendered = true;
	pthread_mutex_unlock(&h->lock);
	fuse_reply_buf(park->req, h->text.data, MIN(h->text.len, park->wait.size));
}

static const struct park_type rules_park = { reply_look, rules_answer, NULL };

static int net_rules_show(struct ctx *ctx, struct text *out)
{
	(void)ctx;
	(void)out; /* nothing runs: there are none */
	return 0;
}

static int net_rules_read(struct ctx *ctx, struct handle *h, size_t size, off_t offset)
{
	struct park_wait wait = { .size = size, .tag = keeper_new_tag() };
	struct box *box = ctx->box;
	int r = 0;

	if (!h->rendered && offset == 0) {
		pthread_mutex_lock(&box->lock);
		r = net_ask_rules(box, wait.tag);
		if (r == 1) {
			r = park_add(&box->parks, &box->lock, &rules_park, ctx->req, h, box, &wait);
			r = r < 0 ? r : TREE_ANSWERED;
		}
		pthread_mutex_unlock(&box->lock);
	}
	return r ? r : handle_reply_rendered(ctx, h, size, offset);
}

static const struct row_ops mode_ops = { .read = net_read, .write = net_mode_write };
static const struct row_ops allow_ops = { .read = net_read, .write = net_allow_write };
static const struct row_ops deny_ops = { .read = net_read, .write = net_deny_write };
static const struct row_ops bandwidth_ops = { .read = net_read, .write = net_bandwidth_write };
static const struct row_ops rules_ops = { .read = net_rules_read };

static const struct row net_rows[] = {
	{ "mode", S_IFREG | 0600, ROW_SIZED, .show = net_mode_show, .ops = &mode_ops,
	  .help = "none, or private: out to public addresses, and nothing in" },
	{ "allow", S_IFREG | 0600, ROW_SIZED, .show = net_allow_show, .ops = &allow_ops,
	  .help = "hosts, addresses, CIDRs, with :PORT or not, one a line: also these" },
	{ "deny", S_IFREG | 0600, ROW_SIZED, .show = net_deny_show, .ops = &deny_ops,
	  .help = "likewise: not these, unless allow names them" },
	{ "bandwidth", S_IFREG | 0600, ROW_SIZED, .show = net_bandwidth_show, .ops = &bandwidth_ops,
	  .help = "bytes a second each way, as 10M, or unlimited" },
	{ "log", S_IFREG | 0400, ROW_SIZED, .show = net_log_show,
	  .help = "connections: when, allowed or refused, where" },
	{ "rules", S_IFREG | 0400, .show = net_rules_show, .ops = &rules_ops,
	  .help = "what the kernel enforces now" },
};

const struct dir_type dir_net = {
	.rows = net_rows,
	.n_rows = ARRAY_SIZE(net_rows),
	.mode = 0700,
	.unlink = entry_unlink,
	.rmdir = entry_rmdir,
	.hint = "echo example.com > net/allow; a line each",
};
